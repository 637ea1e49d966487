//! What an access may see, whoever comes first.
//!
//! Worked out from all operations of a scenario together, without their order: every value that somebody writes, zero where
//! memory may be fresh, a fault where memory may be gone or forbidden. Where nobody destroys anything, nothing but a written
//! value will do, and a lost write is seen.

/// All that happens in a scenario.
pub(super) struct Knowledge {
    /// Every value that is written, and 0 unless all memory is written before the race and none can be fresh.
    values: Vec<u64>,
    /// Whether memory may be gone or forbidden.
    may_fault: bool,
    /// Whether the GPU may be refused.
    may_refuse: bool,
}

fn word(line: &str) -> &str {
    line.split(' ').next().unwrap_or("")
}

fn written(line: &str) -> Option<u64> {
    line.split("value=").nth(1)?.split(' ').next()?.parse().ok()
}

impl Knowledge {
    /// Of the operations `lines`, those before the race among them.
    pub(super) fn of<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let lines: Vec<&str> = lines.collect();
        let any = |words: &[&str]| lines.iter().any(|line| words.contains(&word(line)));
        let mut values: Vec<u64> = lines.iter().filter_map(|line| written(line)).collect();
        let filled = lines.iter().any(|line| line.starts_with("store \"buf\" value="));
        if !filled || any(&["munmap", "mmap", "dontneed", "mremap"]) {
            values.push(0);
        }
        values.sort_unstable();
        Knowledge {
            values,
            may_fault: any(&["munmap", "mmap", "mprotect", "mremap", "exit"]),
            may_refuse: any(&["close"])
                || lines.iter().any(|line| line.contains("access=\"none\"") || line.contains("gpu-ro")),
        }
    }

    /// `line` with what it may see, when it is an access. `process`: of a child, whose memory is not the driver's.
    pub(super) fn told(&self, line: &str, process: bool, xnack: bool) -> String {
        let mut seen: Vec<String> = self.values.iter().map(u64::to_string).collect();
        let by_gpu = matches!(word(line), "read" | "write");
        // Without XNACK a GPU reaches what was promised, which I7 judges; anything else may fault.
        if self.may_fault || by_gpu && (!xnack || self.may_refuse) {
            seen.push("fault".to_owned());
        }
        let _ = process;
        match word(line) {
            "load" | "read" => format!("{line} expect=\"{}\"", seen.join("|")),
            _ => line.to_owned(),
        }
    }
}
