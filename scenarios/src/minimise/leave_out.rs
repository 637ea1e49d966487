//! Smaller scenarios by leaving something out: actors, operations, GPUs, regions, and what need not be said.

use super::Candidate;
use super::measure::all_ops;
use crate::lang::{Explore, FinalKind, GpuDecl, Op, OpKind, Prot, RegionKind, Returns, Scenario, StrategyHint};

/// Without one thread or wave each, and without whoever waits for it doing so.
pub(super) fn actors(s: &Scenario) -> Vec<Candidate> {
    (0..s.actors().count()).map(|index| Candidate::of(s).without_actor(index)).collect()
}

/// Without one operation of a thread or wave each; one that was all its actor did takes the actor with it.
pub(super) fn operations(s: &Scenario) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let lists = s.threads.iter().map(|t| t.ops.len()).chain(s.waves.iter().map(|w| w.ops.len()));
    for (actor, ops) in lists.enumerate().filter(|(_, ops)| *ops > 1) {
        for at in 0..ops {
            let mut smaller = Candidate::of(s);
            smaller.ops_of(actor).remove(at);
            candidates.push(smaller);
        }
    }
    candidates
}

/// Without one operation of `prepare` each.
pub(super) fn preparation(s: &Scenario) -> Vec<Candidate> {
    (0..s.prepare.len())
        .map(|at| {
            let mut smaller = Candidate::of(s);
            smaller.scenario.prepare.remove(at);
            smaller
        })
        .collect()
}

/// Without one GPU each: what happens on it goes with it, or happens on another.
pub(super) fn gpus(s: &Scenario) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    if s.gpus.len() < 2 {
        return candidates;
    }
    for gpu in &s.gpus {
        let mut without = Candidate::of(s).without_ops(|op| op.gpu() == Some(&gpu.name));
        while let Some(at) = without.scenario.waves.iter().position(|w| w.gpu == gpu.name) {
            let index = without.scenario.threads.len() + at;
            without = without.without_actor(index);
        }
        let other = s.gpus.iter().find(|other| other.name != gpu.name).map_or("", |other| &other.name);
        let mut moved = Candidate::of(s);
        for op in moved.all_ops() {
            if let Some(on) = op.kind.gpu_mut().filter(|on| **on == gpu.name) {
                other.clone_into(on);
            }
        }
        for wave in moved.scenario.waves.iter_mut().filter(|w| w.gpu == gpu.name) {
            other.clone_into(&mut wave.gpu);
        }
        for mut candidate in [without, moved] {
            candidate.scenario.gpus.retain(|g| g.name != gpu.name);
            candidate.scenario.finals.retain(|f| final_gpu(&f.kind) != Some(&gpu.name));
            candidates.push(candidate);
        }
    }
    candidates
}

/// Without one region each, and without what happens in it.
pub(super) fn regions(s: &Scenario) -> Vec<Candidate> {
    let without = |name: &str| {
        let mut smaller =
            Candidate::of(s).without_ops(|op| op.area().into_iter().chain(op.second_area()).any(|a| a.region == name));
        smaller.scenario.regions.retain(|r| r.name != name);
        smaller.scenario.finals.retain(|f| final_region(&f.kind) != Some(name));
        smaller
    };
    s.regions.iter().map(|r| without(&r.name)).collect()
}

/// Without what is expected at rest: all of it, then one by one.
pub(super) fn expectations(s: &Scenario) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    if s.finals.len() > 1 {
        candidates.push(Candidate::with(s, |s| s.finals.clear()));
    }
    candidates.extend((0..s.finals.len()).map(|at| {
        Candidate::with(s, |s| {
            s.finals.remove(at);
        })
    }));
    for (at, f) in s.finals.iter().enumerate() {
        let parts = match &f.kind {
            FinalKind::Mapped { except, .. } => except.len(),
            FinalKind::Attr { checks, .. } if checks.len() > 1 => checks.len(),
            _ => 0,
        };
        candidates.extend((0..parts).map(|part| {
            Candidate::with(s, |s| match &mut s.finals[at].kind {
                FinalKind::Mapped { except, .. } => {
                    except.remove(part);
                }
                FinalKind::Attr { checks, .. } => {
                    checks.remove(part);
                }
                _ => {}
            })
        }));
    }
    candidates
}

/// Without search hints, planted bugs, and properties of GPUs and regions that are not the usual ones.
pub(super) fn properties(s: &Scenario) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let mut try_with = |change: &dyn Fn(&mut Scenario)| {
        let smaller = Candidate::with(s, change);
        if smaller.scenario != *s {
            candidates.push(smaller);
        }
    };
    try_with(&|s| s.explore = Explore::default());
    try_with(&|s| (s.explore.strategy, s.explore.executions) = (StrategyHint::Exhaustive, None));
    try_with(&|s| s.explore.preemptions = None);
    try_with(&|s| s.explore.executions = None);
    try_with(&|s| s.explore.events = None);
    try_with(&|s| s.explore.timers = None);
    try_with(&|s| s.explore.retries = None);
    try_with(&|s| s.explore.failures = None);
    try_with(&|s| s.peers.clear());
    for at in 0..s.plants.len() {
        try_with(&|s| {
            s.plants.remove(at);
        });
    }
    for at in 0..s.gpus.len() {
        let usual = GpuDecl::new("");
        try_with(&|s| s.gpus[at].xnack = false);
        try_with(&|s| s.gpus[at].gc = usual.gc);
        try_with(&|s| s.gpus[at].apu = false);
        try_with(&|s| s.gpus[at].chunk_sizes = None);
        try_with(&|s| s.gpus[at].notifier_size = None);
        try_with(&|s| s.gpus[at].granularity = None);
        try_with(&|s| s.gpus[at].vram = 0);
        try_with(&|s| s.gpus[at].hive = None);
        try_with(&|s| s.gpus[at].retry_cam = false);
        try_with(&|s| s.gpus[at].sdma_updates = false);
    }
    for at in 0..s.regions.len() {
        try_with(&|s| s.regions[at].prot = Prot::RW);
        try_with(&|s| s.regions[at].kind = RegionKind::Anon);
        try_with(&|s| s.regions[at].thp = false);
    }
    candidates
}

/// Operations without what they need not say: what they may return or see, attributes beside others.
pub(super) fn details_of_operations(s: &Scenario) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    let count = all_ops(s).count();
    let mut try_with = |at: usize, change: &dyn Fn(&mut OpKind)| {
        let mut smaller = Candidate::of(s);
        change(&mut smaller.all_ops().nth(at).expect("as many as were counted").kind);
        if smaller.scenario != *s {
            candidates.push(smaller);
        }
    };
    for at in 0..count {
        let unsaid = if at < s.prepare.len() { Returns::ok() } else { Returns::Any };
        try_with(at, &|op| match op {
            access if access.is_access() => access.expect_mut().into_iter().for_each(Vec::clear),
            OpKind::Mmap { prot, .. } => *prot = Prot::RW,
            call => {
                if let Some(returns) = call.returns_mut() {
                    returns.clone_from(&unsaid);
                }
            }
        });
        try_with(at, &|op| {
            if let OpKind::Mmap { populate, .. } = op {
                *populate = false;
            }
        });
        for part in 0..16 {
            try_with(at, &|op| match op {
                OpKind::SetAttr { attrs: list, .. } | OpKind::GetAttr { checks: list, .. }
                    if list.len() > 1 && part < list.len() =>
                {
                    list.remove(part);
                }
                _ => {}
            });
        }
    }
    candidates
}

fn final_gpu(f: &FinalKind) -> Option<&str> {
    match f {
        FinalKind::Mapped { gpu, .. }
        | FinalKind::Unmapped { gpu, .. }
        | FinalKind::Attr { gpu, .. }
        | FinalKind::Queues { gpu, .. } => Some(gpu),
        FinalKind::Value { .. } => None,
    }
}

fn final_region(f: &FinalKind) -> Option<&str> {
    match f {
        FinalKind::Mapped { area, .. }
        | FinalKind::Unmapped { area, .. }
        | FinalKind::Value { area, .. }
        | FinalKind::Attr { area, .. } => Some(&area.region),
        FinalKind::Queues { .. } => None,
    }
}

impl Candidate {
    /// `s` as it is.
    pub(super) fn of(s: &Scenario) -> Candidate {
        Candidate { scenario: s.clone(), actors: (0..s.actors().count() as u8).map(Some).collect() }
    }

    /// `s` with a change that concerns no actor.
    pub(super) fn with(s: &Scenario, change: impl Fn(&mut Scenario)) -> Candidate {
        let mut candidate = Candidate::of(s);
        change(&mut candidate.scenario);
        candidate
    }

    fn ops_of(&mut self, actor: usize) -> &mut Vec<Op> {
        let threads = self.scenario.threads.len();
        match actor.checked_sub(threads) {
            None => &mut self.scenario.threads[actor].ops,
            Some(wave) => &mut self.scenario.waves[wave].ops,
        }
    }

    /// Every operation, in the order of [`all_ops`].
    pub(super) fn all_ops(&mut self) -> impl Iterator<Item = &mut Op> {
        let s = &mut self.scenario;
        let threads = s.threads.iter_mut().flat_map(|t| &mut t.ops);
        s.prepare.iter_mut().chain(threads).chain(s.waves.iter_mut().flat_map(|w| &mut w.ops))
    }

    /// Without the thread or wave that is number `index` now.
    fn without_actor(mut self, index: usize) -> Candidate {
        let s = &mut self.scenario;
        let name = match index.checked_sub(s.threads.len()) {
            None => s.threads.remove(index).name,
            Some(wave) => s.waves.remove(wave).name,
        };
        for new in self.actors.iter_mut() {
            *new = new.and_then(|n| match (n as usize).cmp(&index) {
                std::cmp::Ordering::Less => Some(n),
                std::cmp::Ordering::Equal => None,
                std::cmp::Ordering::Greater => Some(n - 1),
            });
        }
        self.without_ops(|op| *op == OpKind::After { actor: name.clone() })
    }

    /// Without the operations that `unwanted` says, and without actors that have nothing left to do.
    fn without_ops(mut self, unwanted: impl Fn(&OpKind) -> bool) -> Candidate {
        self.scenario.prepare.retain(|op| !unwanted(&op.kind));
        for actor in 0..self.scenario.actors().count() {
            self.ops_of(actor).retain(|op| !unwanted(&op.kind));
        }
        let idle = (0..self.scenario.actors().count()).find(|actor| self.ops_of(*actor).is_empty());
        match idle {
            Some(actor) => self.without_actor(actor),
            None => self,
        }
    }
}
