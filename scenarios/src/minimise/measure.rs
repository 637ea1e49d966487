//! How big a failing scenario is, in the order of what matters to its reader.

use crate::lang::{Attr, Explore, FinalKind, GpuDecl, Op, OpKind, Prot, RegionKind, Returns, Scenario};
use model::units::Bytes;
use serde::Serialize;

/// A scenario and its failing execution in numbers. The order is that of the fields: fewer context switches are better
/// than anything else, then fewer operations, and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Measure {
    /// Of the execution.
    pub context_switches: u32,
    /// Of threads and waves, and of `prepare`.
    pub operations: usize,
    /// Threads and waves.
    pub actors: usize,
    /// GPUs.
    pub gpus: usize,
    /// Regions.
    pub regions: usize,
    /// Pages of all regions together.
    pub pages: u64,
    /// Things said that need not be said: expectations, search hints, unusual properties, additional attributes.
    pub details: usize,
}

impl Measure {
    /// Of `scenario`, failing in an execution with so many context switches.
    pub fn of(scenario: &Scenario, context_switches: u32) -> Measure {
        let s = scenario;
        let ops = || all_ops(s);
        Measure {
            context_switches,
            operations: ops().count(),
            actors: s.actors().count(),
            gpus: s.gpus.len(),
            regions: s.regions.len(),
            pages: s.regions.iter().map(|r| pages(r.bytes)).sum(),
            details: s.gpus.iter().map(of_gpu).sum::<usize>()
                + s.regions
                    .iter()
                    .map(|r| count(&[r.prot != Prot::RW, r.kind != RegionKind::Anon, r.thp, !r.mapped]))
                    .sum::<usize>()
                + ops().enumerate().map(|(at, op)| of_op(op, at < s.prepare.len())).sum::<usize>()
                + s.finals.iter().map(|f| of_final(&f.kind)).sum::<usize>()
                + of_explore(&s.explore)
                + s.plants.len()
                + s.peers.len(),
        }
    }

    /// Whether this is not bigger than `other` in any respect.
    pub fn is_within(&self, other: &Measure) -> bool {
        self.context_switches <= other.context_switches
            && self.operations <= other.operations
            && self.actors <= other.actors
            && self.gpus <= other.gpus
            && self.regions <= other.regions
            && self.pages <= other.pages
    }
}

/// Every operation, those of `prepare` first.
pub(super) fn all_ops(s: &Scenario) -> impl Iterator<Item = &Op> {
    let threads = s.threads.iter().flat_map(|t| &t.ops);
    s.prepare.iter().chain(threads).chain(s.waves.iter().flat_map(|w| &w.ops))
}

fn pages(bytes: Bytes) -> u64 {
    bytes.len().div_ceil(model::units::PAGE_SIZE)
}

fn count(said: &[bool]) -> usize {
    said.iter().filter(|said| **said).count()
}

fn of_gpu(gpu: &GpuDecl) -> usize {
    count(&[
        gpu.xnack,
        gpu.gc != GpuDecl::DEFAULT_GC,
        gpu.apu,
        gpu.chunk_sizes.is_some(),
        gpu.notifier_size.is_some(),
        gpu.granularity.is_some(),
        gpu.vram != 0,
        gpu.hive.is_some(),
        gpu.retry_cam,
        gpu.sdma_updates,
    ])
}

fn of_explore(e: &Explore) -> usize {
    let Explore { strategy, preemptions, executions, events, timers, retries, failures } = e;
    count(&[
        *strategy != Explore::default().strategy,
        preemptions.is_some(),
        executions.is_some(),
        events.is_some(),
        timers.is_some(),
        retries.is_some(),
        failures.is_some(),
    ])
}

fn of_op(op: &Op, prepare: bool) -> usize {
    let unsaid = if prepare { Returns::ok() } else { Returns::Any };
    let attrs = |list: &[Attr], returns: &Returns| list.len() - 1 + usize::from(*returns != unsaid);
    match &op.kind {
        OpKind::SetAttr { attrs: list, returns, .. } | OpKind::GetAttr { checks: list, returns, .. } => {
            attrs(list, returns)
        }
        OpKind::Mmap { prot, populate, .. } => count(&[*prot != Prot::RW, *populate]),
        OpKind::Mremap { keep, returns, .. } => count(&[*keep, *returns != unsaid]),
        OpKind::ResetAttr { returns, .. } | OpKind::Mprotect { returns, .. } => usize::from(*returns != unsaid),
        OpKind::Store { expect, .. }
        | OpKind::Load { expect, .. }
        | OpKind::Read { expect, .. }
        | OpKind::Write { expect, .. }
        | OpKind::Add { expect, .. }
        | OpKind::Copy { expect, .. } => usize::from(!expect.is_empty()),
        _ => 0,
    }
}

fn of_final(f: &FinalKind) -> usize {
    match f {
        FinalKind::Mapped { except, .. } => 1 + except.len(),
        FinalKind::Attr { checks, .. } => checks.len(),
        _ => 1,
    }
}
