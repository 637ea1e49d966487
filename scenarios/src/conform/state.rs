//! How a driver and its GPU stand when everything is at rest, as plain data that any world can fill in.

use super::order::Step;
use crate::world::Part;
use interleave::lab::Violation;
use std::fmt;

/// A scenario run in program order.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The operations that were done, in order.
    pub turns: Vec<Turn>,
    /// What ended the run before its time, during the operation that would have come next.
    pub fell: Option<Fall>,
    /// How the GPUs stood before the first operation, in the scenario's order.
    pub before: Vec<GpuState>,
}

/// The end of a run before its time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fall {
    /// During which operation.
    pub step: Step,
    /// What it had come to until then.
    pub came: Vec<Part>,
    /// Whether it is an access of a GPU.
    pub access: bool,
    /// What fell.
    pub violation: Violation,
    /// What happened meanwhile.
    pub events: Vec<String>,
}

/// One operation and what it came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Which.
    pub step: Step,
    /// What it came to; nothing for a wave that was dead already.
    pub came: Vec<Part>,
    /// How the GPUs stand after it, in the scenario's order.
    pub after: Vec<GpuState>,
    /// What happened meanwhile, for people.
    pub events: Vec<String>,
}

/// One GPU with its driver. Everything that is compared.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GpuState {
    /// Whether there is an SVM instance.
    pub instance: bool,
    /// Whether close has begun.
    pub exiting: bool,
    /// Whether the process's queues run.
    pub running: bool,
    /// How many quiesces of the process on this GPU are not undone.
    pub quiesced: u32,
    /// Whether the instance believes that it holds one of them.
    pub stopped_by_us: bool,
    /// What the instance counts as evicted.
    pub evicted_ranges: u64,
    /// Whether ranges wait for a worker.
    pub pending: bool,
    /// DMA mappings that are not taken back; None where nobody can say.
    pub dma_mappings: Option<u64>,
    /// Ranges in address order.
    pub ranges: Vec<RangeState>,
    /// Stored attributes in address order.
    pub nodes: Vec<NodeState>,
    /// The pages of the scenario's regions that have a valid entry.
    pub pages: Vec<PageRun>,
}

/// One range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeState {
    /// First byte.
    pub start: u64,
    /// Behind the last.
    pub end: u64,
    /// The driver believes that it is on the GPU.
    pub gpu_mapped: bool,
    /// A worker's queue holds it.
    pub in_queue: bool,
    /// The framework's flags, as letters: `m`igrate_devmem, `u`nmapped, `p`artial_unmap, has_de`v`mem_pages,
    /// has_`d`ma_mapping.
    pub flags: RangeBits,
    /// Entries as last programmed; 0 when the design does not say.
    pub pte_flags: u64,
    /// Attribute flags at that time.
    pub attr_flags: u32,
    /// References, the tree's included.
    pub references: u64,
}

/// See [`RangeState::flags`]; bits in the order of the letters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RangeBits(pub u8);

impl RangeBits {
    /// From each flag.
    pub fn new(migrate_devmem: bool, unmapped: bool, partial_unmap: bool, devmem: bool, dma: bool) -> Self {
        let bits = [migrate_devmem, unmapped, partial_unmap, devmem, dma];
        RangeBits(bits.iter().enumerate().fold(0, |all, (i, bit)| all | u8::from(*bit) << i))
    }
}

impl fmt::Display for RangeBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in "mupvd".chars().enumerate() {
            write!(f, "{}", if self.0 & 1 << bit != 0 { letter } else { '-' })?;
        }
        Ok(())
    }
}

/// One stored attribute node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeState {
    /// First page.
    pub first: u64,
    /// Last page.
    pub last: u64,
    /// As the ioctl numbers it.
    pub preferred_loc: u32,
    /// As the ioctl numbers it.
    pub prefetch_loc: u32,
    /// Bits of `AMDGPU_SVM_FLAG_*`.
    pub flags: u32,
    /// log2 pages.
    pub granularity: u32,
    /// 0 none, 1 enable, 2 in place.
    pub access: u32,
}

/// What the GPU's page table has for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageState {
    /// Of the entry.
    pub pte_flags: u64,
    /// Whether it is part of a 2 MiB leaf.
    pub huge: bool,
    /// Whether it names the page that the CPU's page table has.
    pub same: bool,
}

/// Pages one after the other with the same state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageRun {
    /// First page.
    pub first: u64,
    /// Last page.
    pub last: u64,
    /// Of each.
    pub state: PageState,
}

impl PageRun {
    /// Adds a page behind all others.
    pub fn push(runs: &mut Vec<PageRun>, page: u64, state: PageState) {
        match runs.last_mut() {
            Some(run) if run.last + 1 == page && run.state == state => run.last = page,
            _ => runs.push(PageRun { first: page, last: page, state }),
        }
    }
}

impl fmt::Display for RangeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RangeState { start, end, gpu_mapped, in_queue, flags, pte_flags, attr_flags, references } = self;
        write!(f, "{start:#x}..{end:#x} {flags}")?;
        write!(f, "{}{}", if *gpu_mapped { " mapped" } else { "" }, if *in_queue { " queued" } else { "" })?;
        write!(f, " pte {pte_flags:#x} attr {attr_flags:#x} references {references}")
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NodeState { first, last, preferred_loc, prefetch_loc, flags, granularity, access } = self;
        write!(f, "{first:#x}-{last:#x} preferred {preferred_loc:#x} prefetch {prefetch_loc:#x}")?;
        write!(f, " flags {flags:#x} granularity {granularity} access {access}")
    }
}

impl fmt::Display for PageRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageRun { first, last, state: PageState { pte_flags, huge, same } } = self;
        write!(f, "{first:#x}-{last:#x} pte {pte_flags:#x}{}", if *huge { " huge" } else { "" })?;
        write!(f, "{}", if *same { "" } else { ", not the CPU's page" })
    }
}
