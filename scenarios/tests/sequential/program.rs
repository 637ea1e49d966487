//! What is generated: a small machine and a program of one thread, as plain data that knows nothing of what will happen.
//!
//! Every step is meaningful on every machine: places are taken modulo the sizes of the regions, so that whatever shrinking
//! makes of a program is a program.

use proptest::prelude::*;
use proptest::sample::select;
use scenarios::lang::{Access, Prot};

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Pages of each region; whole chunks of the largest size.
    pub regions: Vec<u64>,
    /// How many GPUs.
    pub gpus: usize,
    /// Whether GPU faults are retried.
    pub xnack: bool,
    /// Pages of VRAM of each GPU.
    pub vram: u64,
    /// Chunk sizes in bytes.
    pub chunks: &'static [u64],
    /// Whether there is a retry CAM.
    pub cam: bool,
    /// Whether the regions are populated at the start.
    pub populate: bool,
    /// Default granularity, log2 pages; None: 9.
    pub granularity: Option<u8>,
}

impl Machine {
    /// Pages of the largest chunk.
    pub(crate) fn chunk(&self) -> u64 {
        self.chunks[0] >> 12
    }
}

/// A machine and what its process does.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// On this.
    pub machine: Machine,
    /// This.
    pub steps: Vec<Step>,
}

/// Some pages of one region, all numbers modulo what there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Which region.
    pub region: u8,
    /// First page in it.
    pub first: u8,
    /// How many more; as many as are left.
    pub more: u8,
}

/// A location attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Loc {
    /// Undefined; as a place to prefetch to, system memory.
    Undefined,
    /// System memory.
    System,
    /// A GPU, modulo their number.
    Gpu(u8),
}

/// What a SET_ATTR asks for. Flags are bits of `AMDGPU_SVM_FLAG_*`; one that is both set and cleared is set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Request {
    /// Access.
    pub access: Option<Access>,
    /// PREFERRED_LOC.
    pub preferred: Option<Loc>,
    /// PREFETCH_LOC.
    pub prefetch: Option<Loc>,
    /// SET_FLAGS.
    pub set: u32,
    /// CLR_FLAGS.
    pub clear: u32,
    /// GRANULARITY.
    pub granularity: Option<u32>,
}

/// One step of the program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Where.
    pub at: Place,
    /// On or by which GPU, modulo their number, if that matters.
    pub gpu: u8,
    /// What.
    pub what: What,
}

/// See [`Step`]. Values that are written are made of the position of the step, so that each is written once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Set(Request),
    Get,
    Reset,
    Munmap,
    Mmap {
        prot: Prot,
        populate: bool,
    },
    Mprotect(Prot),
    Store,
    Load,
    Dontneed,
    Migrate,
    EvictVram,
    Read,
    Write,
    Add,
    /// To this page of the same region.
    Copy {
        to: u8,
    },
}

impl What {
    /// Whether pages are taken away by it, or may be.
    pub(crate) fn is_event(self) -> bool {
        matches!(
            self,
            What::Munmap
                | What::Mmap { .. }
                | What::Mprotect(_)
                | What::Dontneed
                | What::Migrate
                | What::EvictVram
                | What::Reset
        )
    }

    /// Whether ranges of a driver may be cut.
    pub(crate) fn cuts(self) -> bool {
        matches!(self, What::Set(_) | What::Munmap | What::Mmap { .. })
    }

    /// Whether pages, entries or attributes may change.
    pub(crate) fn changes_something(self) -> bool {
        self.is_event() || matches!(self, What::Set(_) | What::Store | What::Load)
    }
}

/// Programs on machines with or without XNACK. `vram`: whether GPUs may have memory.
pub(crate) fn programs(xnack: bool, vram: bool) -> impl Strategy<Value = Program> {
    let steps = proptest::collection::vec(step(), 1..14);
    (machine(xnack, vram), any::<bool>(), steps).prop_map(|(machine, registered, mut steps)| {
        // Half of the programs begin like most real ones: all of a region is given to a GPU.
        if registered {
            let request = Request { access: Some(Access::Enable), ..Request::default() };
            let everywhere = Place { region: 0, first: 0, more: u8::MAX };
            steps.insert(0, Step { at: everywhere, gpu: 0, what: What::Set(request) });
        }
        Program { machine, steps }
    })
}

fn machine(xnack: bool, vram: bool) -> impl Strategy<Value = Machine> {
    let chunks: &[&[u64]] = &[&[4 << 10], &[16 << 10, 4 << 10], &[64 << 10, 16 << 10, 4 << 10]];
    let vram = if vram { vec![0, 0, 64, 256] } else { vec![0] };
    let granularity = select(vec![None, Some(0), Some(2), Some(4)]);
    let rest = (1..=2usize, select(vram), any::<bool>(), prop::bool::weighted(0.7), granularity);
    (select(chunks), proptest::collection::vec(1..=24u64, 1..=2), rest).prop_map(
        move |(chunks, sizes, (gpus, vram, cam, populate, granularity))| {
            let chunk = chunks[0] >> 12;
            // 8 to 24 pages in all, or one chunk of the large ones in each of two regions.
            let most = (24 / chunk / sizes.len() as u64).max(1);
            let regions = sizes.iter().map(|n| (1 + (n - 1) % most).max(8 / chunk / sizes.len() as u64) * chunk);
            Machine { regions: regions.collect(), gpus, xnack, vram, chunks, cam, populate, granularity }
        },
    )
}

fn place() -> impl Strategy<Value = Place> {
    let more = prop_oneof![3 => Just(0u8), 4 => 1..8u8, 2 => Just(u8::MAX)];
    (any::<u8>(), any::<u8>(), more).prop_map(|(region, first, more)| Place { region, first, more })
}

fn step() -> impl Strategy<Value = Step> {
    (place(), any::<u8>(), what()).prop_map(|(at, gpu, what)| Step { at, gpu, what })
}

fn what() -> impl Strategy<Value = What> {
    let prot = || select(vec![Prot::RW, Prot::R, Prot::RW, Prot::NONE]);
    prop_oneof![
        6 => request().prop_map(What::Set),
        2 => Just(What::Get),
        1 => Just(What::Reset),
        2 => Just(What::Munmap),
        2 => (prot(), any::<bool>()).prop_map(|(prot, populate)| What::Mmap { prot, populate }),
        2 => prot().prop_map(What::Mprotect),
        3 => Just(What::Store),
        3 => Just(What::Load),
        2 => Just(What::Dontneed),
        2 => Just(What::Migrate),
        1 => Just(What::EvictVram),
        5 => Just(What::Read),
        3 => Just(What::Write),
        2 => Just(What::Add),
        2 => any::<u8>().prop_map(|to| What::Copy { to }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let access = select(vec![Access::Enable, Access::Enable, Access::InPlace, Access::None]);
    let loc = || select(vec![Loc::Undefined, Loc::System, Loc::Gpu(0), Loc::Gpu(1)]);
    // Each flag with its bit; read-only is the one that matters most.
    let flags = || {
        let bits = vec![0, 0, 0, 0x08, 0x08, 0x01, 0x02, 0x04, 0x10, 0x20, 0x40, 0x80, 0x0a];
        select(bits)
    };
    (
        proptest::option::weighted(0.6, access),
        proptest::option::weighted(0.2, loc()),
        proptest::option::weighted(0.2, loc()),
        flags(),
        flags(),
        proptest::option::weighted(0.15, 0..12u32),
    )
        .prop_map(|(access, preferred, prefetch, set, clear, granularity)| {
            let request = Request { access, preferred, prefetch, set, clear: clear & !set, granularity };
            match request {
                // An empty array is no request.
                Request { access: None, preferred: None, prefetch: None, set: 0, clear: 0, granularity: None } => {
                    Request { access: Some(Access::Enable), ..request }
                }
                _ => request,
            }
        })
}
