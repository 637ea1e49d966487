//! A scenario written back as KDL. What [`parse`](super::parse) reads from it equals what was written.

use super::ast::*;
use super::ops::Where;
use super::size::human;
use interleave::lab::Invariant;
use model::Errno;
use model::platform::GcVersion;
use model::units::PAGE_SIZE;
use std::fmt::Write;

impl Scenario {
    /// The scenario as a KDL file.
    pub fn to_kdl(&self) -> String {
        let mut out = Out { text: String::new(), scenario: self };
        out.line(0, &format!("scenario {} {{", quoted(&self.name)));
        out.line(1, &format!("about {}", quoted(&self.about)));
        if !self.peers.is_empty() {
            let ids: Vec<String> = self.peers.iter().map(|id| quoted(id)).collect();
            out.line(1, &format!("peer {}", ids.join(" ")));
        }
        for gpu in &self.gpus {
            out.line(1, &gpu_decl(gpu));
        }
        for region in &self.regions {
            out.line(1, &region_decl(region));
        }
        if !self.plants.is_empty() {
            let names: Vec<String> = self.plants.iter().map(|p| quoted(p.name())).collect();
            out.line(1, &format!("plant {}", names.join(" ")));
        }
        if self.explore != Explore::default() {
            out.line(1, &explore(&self.explore));
        }
        if !self.prepare.is_empty() {
            out.block("prepare", &self.prepare, Where::Prepare);
        }
        for thread in &self.threads {
            let process = thread.process.as_ref().map_or(String::new(), |p| format!(" process={}", quoted(p)));
            out.block(&format!("thread {}{process}", quoted(&thread.name)), &thread.ops, Where::Thread);
        }
        for wave in &self.waves {
            let on = if self.gpus.len() > 1 { format!(" on={}", quoted(&wave.gpu)) } else { String::new() };
            out.block(&format!("gpu {}{on}", quoted(&wave.name)), &wave.ops, Where::Wave);
        }
        if !self.verdicts.is_empty() || !self.finals.is_empty() {
            out.line(1, "expect {");
            for verdict in &self.verdicts {
                out.line(2, &verdict_node(verdict));
            }
            for f in &self.finals {
                let line = out.final_node(&f.kind);
                out.line(2, &line);
            }
            out.line(1, "}");
        }
        out.line(0, "}");
        out.text
    }
}

struct Out<'a> {
    text: String,
    scenario: &'a Scenario,
}

impl Out<'_> {
    fn line(&mut self, depth: usize, line: &str) {
        // writing into a String cannot fail
        let _ = writeln!(self.text, "{:indent$}{line}", "", indent = depth * 4);
    }

    fn block(&mut self, head: &str, ops: &[Op], here: Where) {
        self.line(1, &format!("{head} {{"));
        for op in ops {
            let line = self.op(&op.kind, here);
            self.line(2, &line);
        }
        self.line(1, "}");
    }

    fn op(&self, kind: &OpKind, here: Where) -> String {
        let mut line = kind.name().to_owned();
        if let Some(area) = kind.area() {
            line += &self.area(area, kind.is_access());
        }
        if kind.is_access() && here != Where::Wave {
            line += &kind.gpu().map_or(String::new(), |gpu| self.gpu(gpu));
        }
        match kind {
            OpKind::SetAttr { gpu, attrs: list, returns, .. } | OpKind::GetAttr { gpu, checks: list, returns, .. } => {
                line += &self.gpu(gpu);
                line += &self.attrs(list);
                line += &returned(returns, here == Where::Prepare);
            }
            OpKind::Mmap { prot, populate, .. } => {
                if *prot != Prot::RW {
                    line += &format!(" prot={}", quoted(prot.name()));
                }
                if *populate {
                    line += " populate=#true";
                }
            }
            OpKind::Mprotect { prot, returns, .. } => {
                line += &format!(" prot={}", quoted(prot.name()));
                line += &returned(returns, here == Where::Prepare);
            }
            OpKind::Copy { to, expect, .. } => {
                line += &self.target(to);
                line += &seen(expect);
            }
            OpKind::Store { value, expect, .. }
            | OpKind::Write { value, expect, .. }
            | OpKind::Add { value, expect, .. } => {
                line += &format!(" value={value}");
                line += &seen(expect);
            }
            OpKind::Load { expect, .. } | OpKind::Read { expect, .. } => line += &seen(expect),
            OpKind::Mremap { area, to, len, keep, returns } => {
                line += &to.as_ref().map_or(String::new(), |to| self.target(to));
                if to.is_none() || *len != area.bytes.len() {
                    line += &format!(" new-size={}", size(*len));
                }
                if *keep {
                    line += " keep=#true";
                }
                line += &returned(returns, here == Where::Prepare);
            }
            OpKind::Fork { child } => line += &format!(" {}", quoted(child)),
            OpKind::After { actor } => line += &format!(" {}", quoted(actor)),
            OpKind::ResetAttr { gpu, returns, .. } => {
                line += &self.gpu(gpu);
                line += &returned(returns, here == Where::Prepare);
            }
            OpKind::EvictVram { gpu } | OpKind::Close { gpu } | OpKind::Fini { gpu } => line += &self.gpu(gpu),
            OpKind::Munmap { .. }
            | OpKind::Dontneed { .. }
            | OpKind::Migrate { .. }
            | OpKind::Advise { .. }
            | OpKind::Exit => {}
        }
        line
    }

    /// The region, and which part of it unless that is what an operation means by itself.
    fn area(&self, area: &Area, page: bool) -> String {
        let mut text = format!(" {}", quoted(&area.region));
        let whole = self.scenario.region(&area.region).map(|r| r.bytes);
        let offset = whole.map_or(0, |w| area.bytes.start.saturating_sub(w.start));
        if offset != 0 || page {
            text += &format!(" offset={}", size(offset));
        }
        let unsaid = if page { area.bytes.start + PAGE_SIZE } else { whole.map_or(u64::MAX, |w| w.end) };
        if area.bytes.end != unsaid {
            text += &format!(" size={}", size(area.bytes.len()));
        }
        text
    }

    /// Where something goes.
    fn target(&self, to: &Area) -> String {
        let start = self.scenario.region(&to.region).map_or(to.bytes.start, |r| r.bytes.start);
        let offset = match to.bytes.start.saturating_sub(start) {
            0 => String::new(),
            offset => format!(" to-offset={}", size(offset)),
        };
        format!(" to={}{offset}", quoted(&to.region))
    }

    fn gpu(&self, gpu: &str) -> String {
        if self.scenario.gpus.len() > 1 { format!(" gpu={}", quoted(gpu)) } else { String::new() }
    }

    fn attrs(&self, list: &[Attr]) -> String {
        let mut text = String::new();
        let location = |v: u32| match v {
            Attr::SYSTEM => quoted("system"),
            Attr::UNDEFINED => quoted("undefined"),
            other => match (0..).zip(&self.scenario.gpus).find(|(i, _)| Attr::gpu_id(*i) == other) {
                Some((_, gpu)) => quoted(&gpu.name),
                None => other.to_string(),
            },
        };
        for attr in list {
            text += &match attr {
                Attr::PreferredLoc(v) => format!(" preferred-loc={}", location(*v)),
                Attr::PrefetchLoc(v) => format!(" prefetch-loc={}", location(*v)),
                Attr::Access(a) => format!(" access={}", quoted(a.name())),
                Attr::Granularity(n) => format!(" granularity={n}"),
                Attr::Flags { mask, set } => match FLAGS.iter().find(|(_, bit)| bit == mask) {
                    Some((name, _)) => format!(" {name}=#{set}"),
                    None => format!(" {}={mask:#x}", if *set { "set-flags" } else { "clr-flags" }),
                },
            };
        }
        text
    }

    fn final_node(&self, kind: &FinalKind) -> String {
        match kind {
            FinalKind::Mapped { gpu, area, except } => {
                let mut text = format!("mapped{}{}", self.area(area, false), self.gpu(gpu));
                if !except.is_empty() {
                    let start = self.scenario.region(&area.region).map_or(0, |r| r.bytes.start);
                    let spans: Vec<String> = except
                        .iter()
                        .map(|a| format!("{}+{}", human(a.bytes.start.saturating_sub(start)), human(a.bytes.len())))
                        .collect();
                    text += &format!(" except={}", quoted(&spans.join(", ")));
                }
                text
            }
            FinalKind::Unmapped { gpu, area } => format!("unmapped{}{}", self.area(area, false), self.gpu(gpu)),
            FinalKind::Value { area, one_of } => {
                let values: Vec<String> = one_of.iter().map(u64::to_string).collect();
                let is = if let [only] = &values[..] { only.clone() } else { quoted(&values.join("|")) };
                format!("value{} is={is}", self.area(area, true))
            }
            FinalKind::Attr { gpu, area, checks } => {
                format!("attr{}{}{}", self.area(area, false), self.gpu(gpu), self.attrs(checks))
            }
            FinalKind::Queues { gpu, running } => {
                format!("queues {}{}", if *running { "\"running\"" } else { "\"stopped\"" }, self.gpu(gpu))
            }
        }
    }
}

fn gpu_decl(gpu: &GpuDecl) -> String {
    let mut text = format!("gpu {} xnack=#{}", quoted(&gpu.name), gpu.xnack);
    if gpu.gc != GpuDecl::DEFAULT_GC {
        let GcVersion(a, b, c) = gpu.gc;
        text += &format!(" gc=\"{a}.{b}.{c}\"");
    }
    if gpu.apu {
        text += " apu=#true";
    }
    if let Some(sizes) = &gpu.chunk_sizes {
        let sizes: Vec<String> = sizes.iter().map(|s| human(*s)).collect();
        text += &format!(" chunk-sizes={}", quoted(&sizes.join(" ")));
    }
    if let Some(bytes) = gpu.notifier_size {
        text += &format!(" notifier-size={}", size(bytes));
    }
    if let Some(granularity) = gpu.granularity {
        text += &format!(" granularity={granularity}");
    }
    if gpu.vram != 0 {
        text += &format!(" vram={}", size(gpu.vram));
    }
    if let Some(hive) = &gpu.hive {
        text += &format!(" hive={}", quoted(hive));
    }
    if gpu.retry_cam {
        text += " retry-cam=#true";
    }
    if gpu.sdma_updates {
        text += " sdma-updates=#true";
    }
    text
}

fn region_decl(r: &Region) -> String {
    let mut text = format!("region {} at={:#x} size={}", quoted(&r.name), r.bytes.start, size(r.bytes.len()));
    if !r.mapped {
        return text + " mapped=#false";
    }
    text += &format!(" prot={}", quoted(r.prot.name()));
    if r.populate {
        text += " populate=#true";
    }
    if r.kind != RegionKind::Anon {
        text += &format!(" kind={}", quoted(r.kind.name()));
    }
    if r.thp {
        text += " thp=#true";
    }
    text
}

fn explore(e: &Explore) -> String {
    let mut text = "explore".to_owned();
    match e.strategy {
        StrategyHint::Exhaustive => {}
        StrategyHint::Cached => text += " strategy=\"cached\"",
        StrategyHint::FewestPreemptions => text += " strategy=\"fewest-preemptions\"",
        StrategyHint::Pos { seed } => text += &format!(" strategy=\"pos\" seed={seed}"),
        StrategyHint::Random { seed } => text += &format!(" strategy=\"random\" seed={seed}"),
        StrategyHint::Pct { seed, depth } => text += &format!(" strategy=\"pct\" seed={seed} depth={depth}"),
    }
    let small = |n: Option<u32>| n.map(u64::from);
    for (key, value) in [
        ("preemptions", small(e.preemptions)),
        ("executions", e.executions),
        ("events", small(e.events)),
        ("timers", small(e.timers)),
        ("retries", small(e.retries)),
        ("failures", small(e.failures)),
    ] {
        if let Some(value) = value {
            text += &format!(" {key}={value}");
        }
    }
    text
}

fn verdict_node(v: &Verdict) -> String {
    match &v.answer {
        Answer::Holds => format!("holds {}", quoted(v.design.name())),
        Answer::Violates(list) => {
            let list: Vec<String> = list.iter().map(|i: &Invariant| quoted(&i.to_string())).collect();
            format!("violates {} {}", quoted(v.design.name()), list.join(" "))
        }
    }
}

fn returned(returns: &Returns, prepare: bool) -> String {
    let unsaid = if prepare { Returns::ok() } else { Returns::Any };
    match returns {
        same if *same == unsaid => String::new(),
        Returns::Any => " returns=\"any\"".to_owned(),
        Returns::OneOf(list) => {
            let words: Vec<String> = list
                .iter()
                .map(|r: &Result<(), Errno>| match r {
                    Ok(()) => "ok".to_owned(),
                    Err(e) => e.to_string(),
                })
                .collect();
            format!(" returns={}", quoted(&words.join("|")))
        }
    }
}

fn seen(list: &[Seen]) -> String {
    let word = |s: &Seen| match s {
        Seen::Value(v) => v.to_string(),
        Seen::Done => "ok".to_owned(),
        Seen::Fault => "fault".to_owned(),
    };
    match list {
        [] => String::new(),
        [Seen::Value(v)] => format!(" expect={v}"),
        several => format!(" expect={}", quoted(&several.iter().map(word).collect::<Vec<_>>().join("|"))),
    }
}

/// A size as a KDL value: a plain number, or a string with a suffix.
fn size(bytes: u64) -> String {
    let text = human(bytes);
    if text.ends_with(|c: char| c.is_ascii_digit()) { text } else { quoted(&text) }
}

/// A KDL string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c.is_control() || ('\u{2028}'..='\u{2029}').contains(&c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
