//! A scenario as plain data: the machine, the address space, what runs, what must come out.
//!
//! The parser ([`super::parse`]), the builder ([`super::ScenarioBuilder`]) and the printer ([`Scenario::to_kdl`]) meet
//! here, and the world that runs a scenario reads nothing else. Every name in a checked scenario resolves: regions are
//! given as absolute byte intervals beside their name, a GPU that was not written is the only one there is.

use interleave::lab::Invariant;
use model::platform::{GcVersion, Plant};
use model::units::Bytes;
use std::fmt;
use std::sync::Arc;

pub use super::operation::*;

/// One scenario: one question about one small machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scenario {
    /// Short name, lower case with dashes; names the corpus entry and the trace file.
    pub name: String,
    /// The question it asks, one or a few sentences.
    pub about: String,
    /// The file it came from.
    pub source: Source,
    /// The GPUs; never empty in a checked scenario.
    pub gpus: Vec<GpuDecl>,
    /// What is mapped in the address space before anything runs, in the order written; never overlapping.
    pub regions: Vec<Region>,
    /// What happens, one after the other, before the race.
    pub prepare: Vec<Op>,
    /// CPU threads of the process that race.
    pub threads: Vec<Thread>,
    /// GPU waves that race.
    pub waves: Vec<Wave>,
    /// What each design answers. Empty: nobody said.
    pub verdicts: Vec<Verdict>,
    /// What must be so when everything is at rest, in a design that holds.
    pub finals: Vec<Final>,
    /// How to search, unless the command line says otherwise.
    pub explore: Explore,
    /// Bugs switched on for this scenario.
    pub plants: Vec<Plant>,
    /// Tests of other people's suites that this one answers to: ids in docs/peer-tests.md.
    pub peers: Vec<String>,
}

impl Scenario {
    /// The region called `name`.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|r| r.name == name)
    }
    /// The GPU called `name`.
    pub fn gpu(&self, name: &str) -> Option<&GpuDecl> {
        self.gpus.iter().find(|g| g.name == name)
    }
    /// The verdict the scenario expects of `design`, if it says one.
    pub fn verdict(&self, design: Design) -> Option<&Verdict> {
        self.verdicts.iter().find(|v| v.design == design)
    }
    /// The names of everything that races, threads first.
    pub fn actors(&self) -> impl Iterator<Item = &str> {
        self.threads.iter().map(|t| t.name.as_str()).chain(self.waves.iter().map(|w| w.name.as_str()))
    }
}

/// Where a scenario came from. Not part of what it says: any two sources compare equal.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as the user gave it, or a name for text that has none.
    pub path: String,
    /// The whole text.
    pub text: Arc<str>,
}

impl PartialEq for Source {
    fn eq(&self, _: &Source) -> bool {
        true
    }
}
impl Eq for Source {}

/// Where something stands in the source text, in bytes. Not part of what a scenario says: any two places compare equal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Byte offset of the first character.
    pub offset: usize,
    /// Length in bytes.
    pub len: usize,
}

impl PartialEq for Place {
    fn eq(&self, _: &Place) -> bool {
        true
    }
}
impl Eq for Place {}

/// The designs of the driver that a scenario can be asked of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Design {
    /// The posted series V1, its races included.
    PocV1,
    /// The newest posting, likewise: fault driven, XNACK on.
    PocV8,
    /// KFD's older SVM: one instance for the process, ranges that split.
    Kfd,
    /// Ours.
    Hardened,
}

impl Design {
    /// All of them, in the order in which reports list them.
    pub const ALL: &'static [Design] = &[Design::PocV1, Design::PocV8, Design::Kfd, Design::Hardened];

    /// The name used in scenarios, on command lines and in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Design::PocV1 => "poc-v1",
            Design::PocV8 => "poc-v8",
            Design::Kfd => "kfd",
            Design::Hardened => "hardened",
        }
    }
    /// The design called `name`.
    pub fn named(name: &str) -> Option<Design> {
        Design::ALL.iter().copied().find(|d| d.name() == name)
    }
}

impl fmt::Display for Design {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A GPU of the machine, and the one compute VM on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GpuDecl {
    /// Name; `gpu0` when the scenario does not say.
    pub name: String,
    /// Whether page faults of the GPU are retried.
    pub xnack: bool,
    /// GC IP version; decides PTE flags and whether XNACK exists (spec amdgpu-svm 3.1, 3.2).
    pub gc: GcVersion,
    /// `AMD_IS_APU`.
    pub apu: bool,
    /// Chunk sizes in bytes, descending, the last one 4 KiB. None: 2 MiB, 64 KiB, 4 KiB.
    pub chunk_sizes: Option<Vec<u64>>,
    /// Notifier size in bytes, a power of two. None: 512 MiB.
    pub notifier_size: Option<u64>,
    /// Module parameter `svm_default_granularity`, log2 pages. None: 9.
    pub granularity: Option<u8>,
    /// Bytes of VRAM, whole pages. 0: none that processes can use.
    pub vram: u64,
    /// Which hive it is in: GPUs of one hive reach each other's VRAM. None: it stands alone.
    pub hive: Option<String>,
    /// Whether retry faults go through a retry CAM, which keeps duplicates away in hardware.
    pub retry_cam: bool,
    /// Whether its page tables are written by the copy engine, some time after the driver asked for it.
    pub sdma_updates: bool,
    /// Where it is declared.
    pub at: Place,
}

impl GpuDecl {
    /// The GC version of a GPU that does not say: one that can do both XNACK modes.
    pub const DEFAULT_GC: GcVersion = GcVersion(9, 4, 3);
    /// The name of a GPU that does not say.
    pub const DEFAULT_NAME: &'static str = "gpu0";

    /// A GPU called `name`, all else as if nothing was written.
    pub fn new(name: impl Into<String>) -> Self {
        GpuDecl {
            name: name.into(),
            xnack: false,
            gc: Self::DEFAULT_GC,
            apu: false,
            chunk_sizes: None,
            notifier_size: None,
            granularity: None,
            vram: 0,
            hive: None,
            retry_cam: false,
            sdma_updates: false,
            at: Place::default(),
        }
    }
}

/// Rights of a VMA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prot {
    /// PROT_READ.
    pub read: bool,
    /// PROT_WRITE.
    pub write: bool,
}

impl Prot {
    /// PROT_NONE.
    pub const NONE: Prot = Prot { read: false, write: false };
    /// PROT_READ.
    pub const R: Prot = Prot { read: true, write: false };
    /// PROT_WRITE alone.
    pub const W: Prot = Prot { read: false, write: true };
    /// Both.
    pub const RW: Prot = Prot { read: true, write: true };

    /// As written in scenarios.
    pub const fn name(self) -> &'static str {
        match (self.read, self.write) {
            (false, false) => "none",
            (true, false) => "r",
            (false, true) => "w",
            (true, true) => "rw",
        }
    }
}

/// What backs a region.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionKind {
    /// Private anonymous memory.
    Anon,
    /// A device file mapped with VM_IO.
    Io,
    /// A device file mapped with VM_PFNMAP.
    PfnMap,
    /// A device file mapped with VM_MIXEDMAP.
    MixedMap,
    /// Huge pages from hugetlbfs, private.
    Hugetlb,
    /// MAP_SHARED | MAP_ANONYMOUS.
    Shared,
    /// A file of its own, MAP_SHARED.
    File,
    /// A file of its own, MAP_PRIVATE.
    FilePrivate,
}

impl RegionKind {
    /// All of them.
    pub const ALL: &'static [RegionKind] = &[
        RegionKind::Anon,
        RegionKind::Io,
        RegionKind::PfnMap,
        RegionKind::MixedMap,
        RegionKind::Hugetlb,
        RegionKind::Shared,
        RegionKind::File,
        RegionKind::FilePrivate,
    ];

    /// Whether pages of a file stand behind it.
    pub const fn has_file(self) -> bool {
        matches!(self, RegionKind::Shared | RegionKind::File | RegionKind::FilePrivate)
    }

    /// As written in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            RegionKind::Anon => "anon",
            RegionKind::Io => "io",
            RegionKind::PfnMap => "pfnmap",
            RegionKind::MixedMap => "mixedmap",
            RegionKind::Hugetlb => "hugetlb",
            RegionKind::Shared => "shared",
            RegionKind::File => "file",
            RegionKind::FilePrivate => "file-private",
        }
    }
}

/// A mapping that exists when the scenario begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Region {
    /// Name.
    pub name: String,
    /// Where, page aligned, not empty, not page 0.
    pub bytes: Bytes,
    /// Rights.
    pub prot: Prot,
    /// Whether every page is present from the start.
    pub populate: bool,
    /// What backs it.
    pub kind: RegionKind,
    /// Whether the mapping may use transparent huge pages.
    pub thp: bool,
    /// Whether it exists when the scenario begins. Else it is a place where something can be mapped, or moved to.
    pub mapped: bool,
    /// Where it is declared.
    pub at: Place,
}

/// A part of a region.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Area {
    /// The region's name.
    pub region: String,
    /// The part, as absolute addresses; inside the region.
    pub bytes: Bytes,
}

/// A CPU thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thread {
    /// Name, unique among threads and waves.
    pub name: String,
    /// The process it belongs to, when that is a child: it starts when the child has been forked.
    pub process: Option<String>,
    /// What it does, in order.
    pub ops: Vec<Op>,
    /// Where it is declared.
    pub at: Place,
}

/// A GPU wave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wave {
    /// Name, unique among threads and waves.
    pub name: String,
    /// The GPU it runs on.
    pub gpu: String,
    /// What it does, in order: GPU accesses and [`OpKind::After`] only.
    pub ops: Vec<Op>,
    /// Where it is declared.
    pub at: Place,
}

/// What a design answers to the scenario's question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Of whom.
    pub design: Design,
    /// What.
    pub answer: Answer,
    /// Where it is written.
    pub at: Place,
}

/// See [`Verdict`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// No interleaving violates anything.
    Holds,
    /// Some interleaving violates one of these; not empty.
    Violates(Vec<Invariant>),
}

/// Something that must be so when everything is at rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Final {
    /// What.
    pub kind: FinalKind,
    /// Where it is written.
    pub at: Place,
}

/// See [`Final`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FinalKind {
    /// Every page of `area` outside of `except` has a valid entry in the GPU's page table; no page of `except` has.
    Mapped {
        /// Whose page table.
        gpu: String,
        /// Where.
        area: Area,
        /// But not there.
        except: Vec<Area>,
    },
    /// No page of `area` has a valid entry in the GPU's page table.
    Unmapped {
        /// Whose page table.
        gpu: String,
        /// Where.
        area: Area,
    },
    /// The memory holds one of these.
    Value {
        /// One page.
        area: Area,
        /// Not empty.
        one_of: Vec<u64>,
    },
    /// GET_ATTR would answer this.
    Attr {
        /// On which GPU's VM.
        gpu: String,
        /// Where.
        area: Area,
        /// Not empty.
        checks: Vec<Attr>,
    },
    /// Whether the process's queues run on that GPU.
    Queues {
        /// Which GPU.
        gpu: String,
        /// Running, or stopped.
        running: bool,
    },
}

/// How to search.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Explore {
    /// With which strategy.
    pub strategy: StrategyHint,
    /// Only interleavings with at most so many preemptions. None: all of them.
    pub preemptions: Option<u32>,
    /// Stop after so many executions.
    pub executions: Option<u64>,
    /// Events after which an execution counts as endless.
    pub events: Option<u32>,
    /// How many expiries of each timer may happen at any moment.
    pub timers: Option<u32>,
    /// How many retries of each actor are free.
    pub retries: Option<u32>,
    /// How many failures each actor may meet: allocations that fail, waits that time out.
    pub failures: Option<u32>,
}

/// See [`Explore`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StrategyHint {
    /// Everything, with partial-order reduction where that is sound.
    #[default]
    Exhaustive,
    /// Everything; beginnings that are equivalent to one that was gone on from are not.
    Cached,
    /// Everything without a preemption, then with at most one, and so on.
    FewestPreemptions,
    /// Random walks.
    Random {
        /// Where the generator starts.
        seed: u64,
    },
    /// Partial order sampling.
    Pos {
        /// Where the generator starts.
        seed: u64,
    },
    /// Probabilistic concurrency testing.
    Pct {
        /// Where the generator starts.
        seed: u64,
        /// Depth of the bug looked for: priority change points plus one.
        depth: u32,
    },
}

impl StrategyHint {
    /// Whether the search comes to an end by itself.
    pub const fn ends(self) -> bool {
        match self {
            StrategyHint::Exhaustive | StrategyHint::Cached | StrategyHint::FewestPreemptions => true,
            StrategyHint::Random { .. } | StrategyHint::Pct { .. } | StrategyHint::Pos { .. } => false,
        }
    }
}
