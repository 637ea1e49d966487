//! Small concurrent scenarios that nobody wrote: two to four actors on a few pages, from a grammar and a seed.
//!
//! A seed is a scenario, for good: the same text on every machine. What is generated is text of the scenario language, so
//! that what falls can be kept as a file. Nobody says what a design answers; the invariants judge, and what an access may
//! see is worked out from who writes and who destroys (`knowledge`), generously: an expectation that is there is right in
//! every interleaving.
//!
//! ```text
//! scenario  = machine prepare actor{2..4}
//! machine   = XNACK on | off, VRAM or none, one GPU or two, 1..4 pages
//! prepare   = store* [set-attr access [preferred-loc]] [read]
//! actor     = app | ioctl | kernel | wave | child | end
//! app       = (munmap | mmap | mprotect | dontneed | mremap | fork | store | load){1..2}   dontneed: if nobody unmaps
//! ioctl     = (set-attr | get-attr){1..2}
//! kernel    = (migrate | reclaim | evict-vram){1..2}
//! wave      = (read | write){1..2}
//! end       = app exit | close
//! ```

mod dice;
mod knowledge;

use crate::lang::{Scenario, parse};
use dice::Dice;
use knowledge::Knowledge;
use std::fmt::Write;

/// Pages of the region.
const PAGES: [u64; 4] = [1, 2, 2, 4];
/// First address of the region.
const AT: u64 = 0x20_0000;

/// What an actor is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    App,
    Ioctl,
    Kernel,
    Wave,
    Child,
    Exit,
    Close,
}

/// The machine and what is going on on it, as far as it decides what else makes sense.
struct Machine {
    xnack: bool,
    vram: bool,
    gpus: u64,
    pages: u64,
}

/// The scenario of a seed.
///
/// # Panics
/// Never: what the grammar makes, the parser takes, which a test holds for many seeds.
pub fn generated(seed: u64) -> Scenario {
    let text = text(seed);
    match parse(&format!("generated/{}.kdl", name(seed)), &text) {
        Ok(scenario) => scenario,
        Err(bad) => panic!("the grammar made what the parser refuses:\n{}", bad.render(100, false)),
    }
}

/// The name of a seed's scenario.
pub fn name(seed: u64) -> String {
    format!("generated-{seed}")
}

/// The seed that a scenario of this name has; None: it has another name.
pub fn seed_of(name: &str) -> Option<u64> {
    name.strip_prefix("generated-")?.parse().ok()
}

/// The text of a seed's scenario.
pub fn text(seed: u64) -> String {
    let mut dice = Dice::new(seed);
    let machine = Machine {
        xnack: dice.chance(1, 2),
        vram: dice.chance(1, 3),
        gpus: if dice.chance(1, 5) { 2 } else { 1 },
        pages: dice.pick(&PAGES),
    };
    let mut roles = roles(&mut dice);
    if roles.contains(&Role::Exit) {
        // The threads of a process end together; who is left is the GPU, and others who want its memory.
        roles.retain(|role| matches!(role, Role::Exit | Role::Wave) || *role == Role::Kernel && machine.vram);
    }
    let mut made = Made { dice, machine, roles, lines: Vec::new(), number: 0 };
    let prepare = made.prepare();
    let mut actors = made.actors();
    let unmaps = made.lines.iter().any(|line| line.starts_with("munmap") || line.starts_with("mremap"));
    if unmaps {
        // It must succeed, and would not where nothing is mapped.
        let lines = actors.iter_mut().flat_map(|(_, lines)| lines.iter_mut()).chain(&mut made.lines);
        lines.for_each(|line| *line = line.replace("dontneed", "load"));
    }
    let knowledge =
        Knowledge::of(made.lines.iter().map(|line| line.as_str()).chain(prepare.iter().map(String::as_str)));
    made.print(seed, &prepare, &actors, &knowledge)
}

fn roles(dice: &mut Dice) -> Vec<Role> {
    let count = dice.pick(&[2, 2, 3, 3, 3, 4]);
    let mut roles: Vec<Role> = Vec::new();
    while roles.len() < count {
        let role = dice.weighted(&[
            (6, Role::App),
            (5, Role::Ioctl),
            (4, Role::Kernel),
            (5, Role::Wave),
            (1, Role::Child),
            (1, Role::Exit),
            (1, Role::Close),
        ]);
        let at_most = if matches!(role, Role::App | Role::Ioctl | Role::Kernel) { 2 } else { 1 };
        let ends = |role: &Role| matches!(role, Role::Exit | Role::Close);
        let one_end = !ends(&role) || !roles.iter().any(ends);
        if roles.iter().filter(|r| **r == role).count() < at_most && one_end {
            roles.push(role);
        }
    }
    roles
}

/// A scenario in the making.
struct Made {
    dice: Dice,
    machine: Machine,
    roles: Vec<Role>,
    /// Every operation so far.
    lines: Vec<String>,
    /// The last value that somebody writes.
    number: u64,
}

impl Made {
    fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// A part of the region: mostly a page, else all of it.
    fn part(&mut self) -> String {
        if self.machine.pages > 1 && self.dice.chance(2, 3) {
            let page = self.dice.below(self.machine.pages);
            format!("\"buf\" offset=\"{}K\" size=\"4K\"", 4 * page)
        } else {
            "\"buf\"".to_owned()
        }
    }

    fn page(&mut self) -> String {
        let page = self.dice.below(self.machine.pages);
        format!("\"buf\" offset=\"{}K\" size=\"4K\"", 4 * page)
    }

    fn value(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    fn gpu(&mut self) -> String {
        match self.machine.gpus {
            1 => String::new(),
            gpus => format!(" gpu=\"gpu{}\"", self.dice.below(gpus)),
        }
    }

    fn prepare(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.dice.chance(2, 3) {
            let value = self.value();
            lines.push(format!("store \"buf\" value={value}"));
        }
        if self.dice.chance(5, 6) {
            for gpu in 0..self.machine.gpus {
                let on = if self.machine.gpus > 1 { format!(" gpu=\"gpu{gpu}\"") } else { String::new() };
                let there = if self.machine.vram && self.dice.chance(2, 3) { " preferred-loc=\"gpu\"" } else { "" };
                let fetch = if !there.is_empty() && self.dice.chance(1, 2) { " prefetch-loc=\"gpu\"" } else { "" };
                lines.push(format!("set-attr \"buf\"{on} access=\"enable\"{there}{fetch}"));
            }
            if self.machine.xnack && self.dice.chance(2, 3) {
                let gpu = self.gpu();
                lines.push(format!("read \"buf\"{gpu}"));
            }
        }
        lines
    }

    fn actors(&mut self) -> Vec<(String, Vec<String>)> {
        let mut actors = Vec::new();
        let mut forked = self.has(Role::Child);
        for (index, role) in self.roles.clone().into_iter().enumerate() {
            let head = match role {
                Role::App => format!("thread \"app{index}\""),
                Role::Ioctl => format!("thread \"ioctl{index}\""),
                Role::Kernel => format!("thread \"kernel{index}\""),
                Role::Close | Role::Exit => format!("thread \"end{index}\""),
                Role::Child => format!("thread \"child{index}\" process=\"child\""),
                Role::Wave if self.machine.gpus > 1 => {
                    format!("gpu \"wave{index}\" on=\"gpu{}\"", self.dice.below(self.machine.gpus))
                }
                Role::Wave => format!("gpu \"wave{index}\""),
            };
            let mut lines = Vec::new();
            if matches!(role, Role::App | Role::Kernel) && std::mem::take(&mut forked) {
                lines.push("fork \"child\"".to_owned());
            }
            for _ in 0..self.dice.pick(&[1, 1, 2]) {
                let line = match role {
                    Role::App => self.app(),
                    Role::Ioctl => self.ioctl(),
                    Role::Kernel => self.kernel(),
                    Role::Wave => self.access(),
                    Role::Child => self.child(),
                    Role::Exit => self.app(),
                    Role::Close => format!("close{}", self.gpu()),
                };
                if role != Role::Close || lines.is_empty() {
                    lines.push(line);
                }
            }
            if role == Role::Exit {
                lines.push("exit".to_owned());
            }
            self.lines.extend(lines.iter().cloned());
            actors.push((head, lines));
        }
        if forked {
            // Somebody has to bear the child.
            actors.push(("thread \"parent\"".to_owned(), vec!["fork \"child\"".to_owned()]));
            self.lines.push("fork \"child\"".to_owned());
        }
        actors
    }

    fn app(&mut self) -> String {
        #[derive(Clone, Copy)]
        enum What {
            Munmap,
            Mmap,
            Protect,
            Dontneed,
            Move,
            Store,
            Load,
        }
        let what = [
            (6, What::Munmap),
            (4, What::Mmap),
            (4, What::Protect),
            (3, What::Dontneed),
            (1, What::Move),
            (3, What::Store),
            (3, What::Load),
        ];
        match self.dice.weighted(&what) {
            What::Munmap => format!("munmap {}", self.part()),
            What::Mmap => format!("mmap {}", self.part()),
            What::Protect => {
                let prot = self.dice.pick(&["r", "none", "rw"]);
                format!("mprotect {} prot=\"{prot}\"", self.part())
            }
            What::Dontneed => format!("dontneed {}", self.page()),
            What::Move => format!("mremap {} to=\"there\"", self.page()),
            What::Store => {
                let value = self.value();
                format!("store {} value={value}", self.page())
            }
            What::Load => format!("load {}", self.page()),
        }
    }

    fn ioctl(&mut self) -> String {
        let (part, gpu) = (self.part(), self.gpu());
        if self.dice.chance(1, 6) {
            // Nobody sets it, so it is the default, whatever else happens.
            return format!("get-attr {part}{gpu} granularity=9");
        }
        let mut attrs = String::new();
        let access = self.dice.weighted(&[(6, "enable"), (2, "in-place"), (2, "none")]);
        let _ = write!(attrs, " access=\"{access}\"");
        if self.dice.chance(1, 5) {
            let on = self.dice.pick(&["#true", "#false"]);
            let _ = write!(attrs, " gpu-ro={on}");
        }
        if self.machine.vram && self.dice.chance(1, 3) {
            let place = self.dice.pick(&["gpu", "gpu", "system"]);
            let _ = write!(attrs, " prefetch-loc=\"{place}\"");
        }
        format!("set-attr {part}{gpu}{attrs}")
    }

    fn kernel(&mut self) -> String {
        let evict = if self.machine.vram { 6 } else { 0 };
        let others = !self.has(Role::Exit);
        match self.dice.weighted(&[(if others { 4 } else { 0 }, 0), (if others { 2 } else { 0 }, 1), (evict, 2)]) {
            0 => format!("migrate {}", self.page()),
            1 => format!("reclaim {}", self.page()),
            _ => format!("evict-vram{}", self.gpu()),
        }
    }

    fn access(&mut self) -> String {
        if self.dice.chance(1, 3) {
            let value = self.value();
            format!("write {} value={value}", self.page())
        } else {
            format!("read {}", self.page())
        }
    }

    fn child(&mut self) -> String {
        if self.dice.chance(1, 3) {
            let value = self.value();
            format!("store {} value={value}", self.page())
        } else {
            format!("load {}", self.page())
        }
    }

    fn print(&self, seed: u64, prepare: &[String], actors: &[(String, Vec<String>)], knowledge: &Knowledge) -> String {
        let mut out = format!(
            "// Made by `svmlab generate {seed}`.\nscenario \"{}\" {{\n    about \"Do the invariants hold in what seed {seed} \
             comes to?\"\n",
            name(seed)
        );
        let Machine { xnack, vram, gpus, pages } = self.machine;
        for gpu in 0..gpus {
            let called = if gpus > 1 { format!(" \"gpu{gpu}\"") } else { String::new() };
            let memory = if vram { " vram=\"64K\"" } else { "" };
            let _ = writeln!(out, "    gpu{called} xnack=#{xnack}{memory}");
        }
        let _ = writeln!(out, "    region \"buf\" at={AT:#x} size=\"{}K\" populate=#true", 4 * pages);
        let _ = writeln!(out, "    region \"there\" at={:#x} size=\"{}K\" mapped=#false", 2 * AT, 4 * pages);
        let mut block = |head: &str, lines: &[String], process: bool| {
            let _ = writeln!(out, "    {head} {{");
            for line in lines {
                let _ = writeln!(out, "        {}", knowledge.told(line, process, xnack));
            }
            let _ = writeln!(out, "    }}");
        };
        if !prepare.is_empty() {
            block("prepare", prepare, false);
        }
        for (head, lines) in actors {
            block(head, lines, head.contains("process="));
        }
        out.push_str("}\n");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Design;

    #[test]
    fn every_seed_is_a_scenario_that_some_design_can_be_asked() {
        for seed in 0..2000 {
            let scenario = generated(seed);
            assert_eq!(seed_of(&scenario.name), Some(seed));
            assert!(scenario.refusal(Design::Hardened).is_none(), "{}", scenario.source.text);
        }
    }

    #[test]
    fn a_seed_is_the_same_scenario_for_good() {
        assert_eq!(text(7), text(7));
        assert_ne!(text(7), text(8));
    }
}
