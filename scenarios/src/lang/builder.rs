//! The same scenarios from Rust, for tests.
//!
//! A builder only collects; [`ScenarioBuilder::build`] writes what was collected as KDL and reads that back, so that a
//! built scenario is checked by the same rules as a written one and its errors are shown in a text.

use super::ast::*;
use super::error::BadScenario;
use super::parse::parse;
use interleave::lab::Invariant;
use model::Errno;
use model::platform::Plant;
use model::units::{Bytes, PAGE_SIZE};

/// Collects a [`Scenario`]. Declare regions and GPUs before the operations that name them.
#[derive(Clone, Debug)]
pub struct ScenarioBuilder(Scenario);

impl ScenarioBuilder {
    /// A scenario called `name` that asks `about`.
    pub fn new(name: &str, about: &str) -> Self {
        ScenarioBuilder(Scenario {
            name: name.to_owned(),
            about: about.to_owned(),
            source: Source { path: format!("{name} (built)"), text: "".into() },
            gpus: Vec::new(),
            regions: Vec::new(),
            prepare: Vec::new(),
            threads: Vec::new(),
            waves: Vec::new(),
            verdicts: Vec::new(),
            finals: Vec::new(),
            explore: Explore::default(),
            plants: Vec::new(),
            peers: Vec::new(),
        })
    }

    /// Adds a GPU. Without any there is one called `gpu0`.
    pub fn gpu(mut self, gpu: GpuDecl) -> Self {
        self.0.gpus.push(gpu);
        self
    }
    /// Adds a populated anonymous read-write region of `size` bytes.
    pub fn region(self, name: &str, at: u64, size: u64) -> Self {
        self.region_with(name, at, size, |_| {})
    }
    /// Adds a region and changes what is unusual about it.
    pub fn region_with(mut self, name: &str, at: u64, size: u64, change: impl FnOnce(&mut Region)) -> Self {
        let mut region = Region {
            name: name.to_owned(),
            bytes: Bytes::new(at, at.saturating_add(size)),
            prot: Prot::RW,
            populate: true,
            kind: RegionKind::Anon,
            thp: false,
            mapped: true,
            at: Place::default(),
        };
        change(&mut region);
        self.0.regions.push(region);
        self
    }
    /// Adds to what happens before the race.
    pub fn prepare(mut self, ops: impl FnOnce(OpList<'_>) -> OpList<'_>) -> Self {
        let list = ops(OpList::new(&self.0, Returns::ok())).ops;
        self.0.prepare.extend(list);
        self
    }
    /// Adds a thread.
    pub fn thread(mut self, name: &str, ops: impl FnOnce(OpList<'_>) -> OpList<'_>) -> Self {
        let ops = ops(OpList::new(&self.0, Returns::Any)).ops;
        self.0.threads.push(Thread { name: name.to_owned(), process: None, ops, at: Place::default() });
        self
    }
    /// Adds a thread of a child, which some thread or `prepare` forks.
    pub fn child_thread(mut self, name: &str, process: &str, ops: impl FnOnce(OpList<'_>) -> OpList<'_>) -> Self {
        let ops = ops(OpList::new(&self.0, Returns::Any)).ops;
        let process = Some(process.to_owned());
        self.0.threads.push(Thread { name: name.to_owned(), process, ops, at: Place::default() });
        self
    }
    /// Adds a region where nothing is mapped yet.
    pub fn unmapped_region(self, name: &str, at: u64, size: u64) -> Self {
        self.region_with(name, at, size, |region| (region.mapped, region.populate) = (false, false))
    }
    /// Adds a wave on the first GPU.
    pub fn wave(self, name: &str, ops: impl FnOnce(OpList<'_>) -> OpList<'_>) -> Self {
        let gpu = first_gpu(&self.0);
        self.wave_on(name, &gpu, ops)
    }
    /// Adds a wave on the GPU called `gpu`.
    pub fn wave_on(mut self, name: &str, gpu: &str, ops: impl FnOnce(OpList<'_>) -> OpList<'_>) -> Self {
        let list = OpList { gpu: gpu.to_owned(), ..OpList::new(&self.0, Returns::Any) };
        let ops = ops(list).ops;
        self.0.waves.push(Wave { name: name.to_owned(), gpu: gpu.to_owned(), ops, at: Place::default() });
        self
    }
    /// Says that `design` holds.
    pub fn holds(mut self, design: Design) -> Self {
        self.0.verdicts.push(Verdict { design, answer: Answer::Holds, at: Place::default() });
        self
    }
    /// Says that `design` violates one of `invariants`.
    pub fn violates(mut self, design: Design, invariants: &[Invariant]) -> Self {
        let answer = Answer::Violates(invariants.to_vec());
        self.0.verdicts.push(Verdict { design, answer, at: Place::default() });
        self
    }
    /// Says what must be so at rest: all of `region` mapped on the first GPU but `except`, given as (offset, size).
    pub fn mapped(mut self, region: &str, except: &[(u64, u64)]) -> Self {
        let kind = FinalKind::Mapped {
            gpu: first_gpu(&self.0),
            area: part(&self.0, region, 0, None),
            except: except.iter().map(|(offset, size)| part(&self.0, region, *offset, Some(*size))).collect(),
        };
        self.0.finals.push(Final { kind, at: Place::default() });
        self
    }
    /// Says what must be so at rest.
    pub fn finally(mut self, kind: FinalKind) -> Self {
        self.0.finals.push(Final { kind, at: Place::default() });
        self
    }
    /// Says how to search.
    pub fn explore(mut self, explore: Explore) -> Self {
        self.0.explore = explore;
        self
    }
    /// Plants a bug.
    pub fn plant(mut self, plant: Plant) -> Self {
        self.0.plants.push(plant);
        self
    }

    /// The scenario.
    ///
    /// # Errors
    /// What [`parse`] says about it.
    pub fn build(self) -> Result<Scenario, BadScenario> {
        parse(&self.0.source.path, &self.0.to_kdl())
    }
}

/// Collects operations. Offsets and sizes are bytes in the region; `None` is all that is left of it.
#[derive(Debug)]
pub struct OpList<'a> {
    scenario: &'a Scenario,
    returns: Returns,
    /// Where accesses of the GPU happen.
    gpu: String,
    ops: Vec<Op>,
}

impl<'a> OpList<'a> {
    fn new(scenario: &'a Scenario, returns: Returns) -> Self {
        OpList { scenario, returns, gpu: first_gpu(scenario), ops: Vec::new() }
    }
    fn part(&self, region: &str, offset: u64, size: impl Into<Option<u64>>) -> Area {
        part(self.scenario, region, offset, size.into())
    }

    /// Any operation.
    pub fn op(mut self, kind: OpKind) -> Self {
        self.ops.push(Op { kind, at: Place::default() });
        self
    }
    /// The last call, if it returns anything, returns one of `results`.
    pub fn returning(mut self, results: &[Result<(), Errno>]) -> Self {
        if let Some(returns) = self.ops.last_mut().and_then(|op| op.kind.returns_mut()) {
            *returns = Returns::OneOf(results.to_vec());
        }
        self
    }
    /// SET_ATTR on the first GPU.
    pub fn set_attr(self, region: &str, offset: u64, size: impl Into<Option<u64>>, attrs: &[Attr]) -> Self {
        let (gpu, area) = (first_gpu(self.scenario), self.part(region, offset, size));
        let returns = self.returns.clone();
        self.op(OpKind::SetAttr { gpu, area, attrs: attrs.to_vec(), returns })
    }
    /// GET_ATTR on the first GPU.
    pub fn get_attr(self, region: &str, offset: u64, size: impl Into<Option<u64>>, checks: &[Attr]) -> Self {
        let (gpu, area) = (first_gpu(self.scenario), self.part(region, offset, size));
        let returns = self.returns.clone();
        self.op(OpKind::GetAttr { gpu, area, checks: checks.to_vec(), returns })
    }
    /// `munmap`.
    pub fn munmap(self, region: &str, offset: u64, size: impl Into<Option<u64>>) -> Self {
        let area = self.part(region, offset, size);
        self.op(OpKind::Munmap { area })
    }
    /// `mmap` over it, read-write, not populated.
    pub fn mmap(self, region: &str, offset: u64, size: impl Into<Option<u64>>) -> Self {
        let area = self.part(region, offset, size);
        self.op(OpKind::Mmap { area, prot: Prot::RW, populate: false })
    }
    /// `mprotect`.
    pub fn mprotect(self, region: &str, offset: u64, size: impl Into<Option<u64>>, prot: Prot) -> Self {
        let area = self.part(region, offset, size);
        let returns = self.returns.clone();
        self.op(OpKind::Mprotect { area, prot, returns })
    }
    /// MADV_DONTNEED.
    pub fn dontneed(self, region: &str, offset: u64, size: impl Into<Option<u64>>) -> Self {
        let area = self.part(region, offset, size);
        self.op(OpKind::Dontneed { area })
    }
    /// `mremap` to the beginning of the region `to`.
    pub fn mremap(self, region: &str, offset: u64, size: impl Into<Option<u64>>, to: &str) -> Self {
        let area = self.part(region, offset, size);
        let (len, returns) = (area.bytes.len(), self.returns.clone());
        let to = Some(self.part(to, 0, Some(len)));
        self.op(OpKind::Mremap { area, to, len, keep: false, returns })
    }
    /// `fork`.
    pub fn fork(self, child: &str) -> Self {
        self.op(OpKind::Fork { child: child.to_owned() })
    }
    /// Reclaim, mlock, and the rest of [`Advice`].
    pub fn advise(self, advice: Advice, region: &str, offset: u64, size: impl Into<Option<u64>>) -> Self {
        let area = self.part(region, offset, size);
        self.op(OpKind::Advise { advice, area })
    }
    /// Page migration by the kernel.
    pub fn migrate(self, region: &str, offset: u64, size: impl Into<Option<u64>>) -> Self {
        let area = self.part(region, offset, size);
        self.op(OpKind::Migrate { area })
    }
    /// A CPU store.
    pub fn store(self, region: &str, offset: u64, value: u64) -> Self {
        let area = self.part(region, offset, PAGE_SIZE);
        self.op(OpKind::Store { area, value, expect: Vec::new() })
    }
    /// A CPU load.
    pub fn load(self, region: &str, offset: u64, expect: &[Seen]) -> Self {
        let area = self.part(region, offset, PAGE_SIZE);
        self.op(OpKind::Load { area, expect: expect.to_vec() })
    }
    /// A GPU load.
    pub fn read(self, region: &str, offset: u64, expect: &[Seen]) -> Self {
        let area = self.part(region, offset, PAGE_SIZE);
        let gpu = self.gpu.clone();
        self.op(OpKind::Read { gpu, area, expect: expect.to_vec() })
    }
    /// A GPU store.
    pub fn write(self, region: &str, offset: u64, value: u64) -> Self {
        let area = self.part(region, offset, PAGE_SIZE);
        let gpu = self.gpu.clone();
        self.op(OpKind::Write { gpu, area, value, expect: Vec::new() })
    }
    /// Waits until `actor` has finished.
    pub fn after(self, actor: &str) -> Self {
        self.op(OpKind::After { actor: actor.to_owned() })
    }
    /// Closes the first GPU's file.
    pub fn close(self) -> Self {
        let gpu = first_gpu(self.scenario);
        self.op(OpKind::Close { gpu })
    }
    /// Tears the first GPU's VM down.
    pub fn fini(self) -> Self {
        let gpu = first_gpu(self.scenario);
        self.op(OpKind::Fini { gpu })
    }
    /// The process drops its address space.
    pub fn exit(self) -> Self {
        self.op(OpKind::Exit)
    }
}

fn first_gpu(s: &Scenario) -> String {
    s.gpus.first().map_or(GpuDecl::DEFAULT_NAME, |g| g.name.as_str()).to_owned()
}

/// A part of a region; of one that does not exist, whatever: building says so.
fn part(s: &Scenario, region: &str, offset: u64, size: Option<u64>) -> Area {
    let whole = s.region(region).map_or(Bytes::new(0, 0), |r| r.bytes);
    let start = whole.start.saturating_add(offset);
    let end = size.map_or(whole.end.max(start), |size| start.saturating_add(size));
    Area { region: region.to_owned(), bytes: Bytes::new(start, end) }
}
