//! Random programs of one thread, as scenarios.

use model::units::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use scenarios::lang::{
    Access, Advice, Area, Attr, Design, GpuDecl, Op, OpKind, Place, Prot, Region, Returns, Scenario, ScenarioBuilder,
    Seen,
};

const PAGE: u64 = 0x1000;
/// Where things happen.
const BUF: Bytes = Bytes::new(0x20_0000, 0x24_0000);
/// Where memory is moved to; empty at first.
const ELSEWHERE: Bytes = Bytes::new(0x40_0000, 0x42_0000);

/// One program, and the design that it is put to.
#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) design: Design,
    pub(crate) xnack: bool,
    pub(crate) ops: Vec<OpKind>,
}

/// A source of choices that is the same everywhere.
pub(crate) struct Dice(ChaCha8Rng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// Some pages of `within`, most often few.
    fn area(&mut self, name: &str, within: Bytes) -> Area {
        let pages = within.len() / PAGE;
        let first = self.below(pages);
        let most = match self.below(4) {
            0 => pages - first,
            _ => (pages - first).min(8),
        };
        let start = within.start + first * PAGE;
        Area { region: name.into(), bytes: Bytes::new(start, start + (1 + self.below(most)) * PAGE) }
    }

    fn buf(&mut self) -> Area {
        self.area("buf", BUF)
    }

    /// Few pages of one region or the other: accesses happen page by page.
    fn touched(&mut self) -> Area {
        let mut area = match self.below(6) {
            0 => self.area("elsewhere", ELSEWHERE),
            _ => self.buf(),
        };
        area.bytes = Bytes::new(area.bytes.start, area.bytes.end.min(area.bytes.start + 3 * PAGE));
        area
    }

    fn attr(&mut self, design: Design) -> Attr {
        match self.below(8) {
            0..=3 => Attr::Access(self.one_of(&[Access::Enable, Access::Enable, Access::InPlace, Access::None])),
            4 => Attr::Granularity(self.below(12) as u32),
            5 => Attr::PreferredLoc(self.one_of(&[Attr::SYSTEM, Attr::UNDEFINED, 1])),
            6 => Attr::PrefetchLoc(self.one_of(&[Attr::SYSTEM, 1])),
            _ => {
                // GPU_ALWAYS_MAPPED has no attribute in the newer interface.
                let flags: &[u32] =
                    if design == Design::PocV8 { &[0x02, 0x08, 0x10] } else { &[0x02, 0x08, 0x10, 0x40] };
                Attr::Flags { mask: self.one_of(flags), set: self.below(3) != 0 }
            }
        }
    }

    fn attrs(&mut self, design: Design) -> Vec<Attr> {
        (0..1 + self.below(2)).map(|_| self.attr(design)).collect()
    }

    fn prot(&mut self) -> Prot {
        self.one_of(&[Prot::RW, Prot::RW, Prot::RW, Prot::R, Prot::NONE])
    }

    fn op(&mut self, number: u64, design: Design) -> OpKind {
        let (gpu, expect, returns) = (GpuDecl::DEFAULT_NAME.to_owned(), Vec::<Seen>::new(), Returns::Any);
        // Every value is written once.
        let value = 0x1000 + number;
        match self.below(32) {
            0..=5 => OpKind::SetAttr { gpu, area: self.buf(), attrs: self.attrs(design), returns },
            6 | 7 => OpKind::GetAttr { gpu, area: self.buf(), checks: self.attrs(design), returns },
            8 => match design {
                Design::PocV8 => OpKind::ResetAttr { gpu, area: self.buf(), returns },
                _ => OpKind::Munmap { area: self.buf() },
            },
            9 | 10 => OpKind::Munmap { area: self.buf() },
            11 | 12 => OpKind::Mmap { area: self.buf(), prot: self.prot(), populate: self.below(2) == 0 },
            13 | 14 => OpKind::Mprotect { area: self.buf(), prot: self.prot(), returns },
            15 | 16 => OpKind::Store { area: self.touched(), value, expect },
            17 | 18 => OpKind::Load { area: self.touched(), expect },
            19 => OpKind::Dontneed { area: self.buf() },
            20 => {
                OpKind::Advise { advice: self.one_of(&[Advice::Pageout, Advice::Free, Advice::Cold]), area: self.buf() }
            }
            21 => self.mremap(),
            22..=25 => OpKind::Read { gpu, area: self.touched(), expect },
            26..=28 => OpKind::Write { gpu, area: self.touched(), value, expect },
            29 => OpKind::Add { gpu, area: self.touched(), value: 1, expect },
            _ => {
                let (area, mut to) = (self.touched(), self.touched());
                let pages = area.bytes.len().min(to.bytes.len());
                to.bytes = Bytes::new(to.bytes.start, to.bytes.start + pages);
                let area = Area { bytes: Bytes::new(area.bytes.start, area.bytes.start + pages), ..area };
                OpKind::Copy { gpu, area, to, expect }
            }
        }
    }

    fn mremap(&mut self) -> OpKind {
        let (from, to) = if self.below(3) == 0 {
            (("elsewhere", ELSEWHERE), ("buf", BUF))
        } else {
            (("buf", BUF), ("elsewhere", ELSEWHERE))
        };
        let (area, mut to) = (self.area(from.0, from.1), self.area(to.0, to.1));
        let pages = area.bytes.len().min(to.bytes.len());
        to.bytes = Bytes::new(to.bytes.start, to.bytes.start + pages);
        let area = Area { bytes: Bytes::new(area.bytes.start, area.bytes.start + pages), ..area };
        OpKind::Mremap { area, to: Some(to), len: pages, keep: self.below(3) == 0, returns: Returns::Any }
    }
}

impl Program {
    /// The program with this number.
    pub(crate) fn generate(seed: u64, length: u64) -> Program {
        let mut dice = Dice::new(seed);
        let (design, xnack) = dice.one_of(&[
            (Design::Hardened, true),
            (Design::Hardened, false),
            (Design::PocV1, false),
            (Design::PocV8, true),
        ]);
        let ops = (0..2 + dice.below(length)).map(|number| dice.op(number, design)).collect();
        Program { design, xnack, ops }
    }

    /// As a scenario of one thread.
    pub(crate) fn scenario(&self) -> Scenario {
        let mut gpu = GpuDecl::new(GpuDecl::DEFAULT_NAME);
        gpu.xnack = self.xnack;
        let built = ScenarioBuilder::new("fuzz", "Do both worlds do the same?")
            .gpu(gpu)
            .region_with("buf", BUF.start, BUF.len(), |region: &mut Region| region.populate = false)
            .unmapped_region("elsewhere", ELSEWHERE.start, ELSEWHERE.len())
            .thread("app", |list| list.load("buf", 0, &[]))
            .build();
        let mut scenario = built.expect("it is always the same");
        // The text says nothing of what comes in now.
        (scenario.source.path, scenario.source.text) = ("random program".into(), "".into());
        let op = |kind: &OpKind| Op { kind: kind.clone(), at: Place::default() };
        scenario.threads[0].ops = self.ops.iter().map(op).collect();
        scenario
    }

    /// The program without the operation at `index`.
    pub(crate) fn without(&self, index: usize) -> Program {
        let mut less = self.clone();
        less.ops.remove(index);
        less
    }
}
