//! The naive reference: takes a program step by step, says what each call must return and each access must see, and
//! writes that down as a scenario.

use super::attrs::{self, ALWAYS_MAPPED, Attrs, DEFAULT_FLAGS, GPU_RO};
use super::pages::{OnGpu, Page, Vma, pages_of, whole_chunks};
use super::program::{Loc, Machine, Program, Request, Step, What};
use super::rules::{Avoid, Rule, Rules};
use model::Errno;
use model::units::{Bytes, PAGE_SIZE};
use scenarios::lang::{
    Access, Area, Design, GpuDecl, Op, OpKind, Place as At, Prot, Returns, Scenario, ScenarioBuilder, Seen,
};
use std::collections::BTreeSet;
use std::ops::Range;

/// Where region 0 and region 1 begin. Between them is a hole.
const REGIONS: [(&str, u64); 2] = [("buf", 0x20_0000), ("other", 0x28_0000)];

/// What an access of a GPU comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Comes {
    Through,
    Fault,
    Either,
    /// It is not put to the design.
    Avoided,
}

/// A page of a region.
type At1 = (usize, usize);

struct Reference<'p> {
    rules: Rules,
    machine: &'p Machine,
    regions: Vec<Vec<Page>>,
    last_vma: u32,
    ops: Vec<Op>,
}

/// The scenario that says what `program` must see. None when nothing of it is left.
pub(crate) fn scenario(program: &Program, rules: Rules) -> Option<Scenario> {
    let mut machine = program.machine.clone();
    if machine.gpus > 1 && machine.chunk() > 1 && rules.avoids(Avoid::EventOnPartOfAChunk) {
        // What one GPU brings to its memory is an event to the other.
        machine.vram = 0;
    }
    if !rules.xnack && rules.avoids(Avoid::VramWithStoppedQueues) {
        machine.vram = 0;
    }
    if machine.vram > 0 && machine.gpus > 1 && rules.avoids(Avoid::MixedRange) {
        machine.granularity = None;
    }
    let mut reference = Reference::new(&machine, rules);
    for (index, step) in program.steps.iter().enumerate() {
        reference.step(step, 1 + index as u64);
    }
    // An entry without access is a violation when everything is at rest.
    reference.give_access_back();
    let ops = reference.ops;
    if ops.is_empty() {
        return None;
    }
    let mut builder = ScenarioBuilder::new("sequential", "One thread: does each call and access come to what it must?");
    for gpu in 0..machine.gpus {
        builder = builder.gpu(GpuDecl {
            xnack: machine.xnack,
            vram: machine.vram * PAGE_SIZE,
            retry_cam: machine.cam,
            chunk_sizes: Some(machine.chunks.to_vec()),
            granularity: machine.granularity,
            ..GpuDecl::new(gpu_name(gpu))
        });
    }
    for ((name, start), pages) in REGIONS.iter().zip(&machine.regions) {
        builder = builder.region_with(name, *start, pages * PAGE_SIZE, |region| region.populate = machine.populate);
    }
    builder = builder.thread("app", |mut list| {
        for op in ops {
            list = list.op(op.kind);
        }
        list
    });
    builder = rules.plant.into_iter().fold(builder, ScenarioBuilder::plant);
    Some(builder.holds(rules.design).build().unwrap_or_else(|bad| panic!("{}", bad.render(100, false))))
}

fn gpu_name(gpu: usize) -> String {
    format!("gpu{gpu}")
}

impl<'p> Reference<'p> {
    fn new(machine: &'p Machine, rules: Rules) -> Self {
        let attrs = Attrs::default(rules.xnack, machine.granularity.unwrap_or(9).into());
        let on = OnGpu { attrs, promised: false, refused: false, may_be_mapped: false };
        let page = |vma| Page {
            vma: Some(Vma { id: vma, prot: Prot::RW }),
            values: BTreeSet::from([0]),
            registered: false,
            gpus: vec![on; machine.gpus],
        };
        let regions = machine.regions.iter().zip(0..).map(|(pages, vma)| vec![page(vma); *pages as usize]);
        Reference { rules, machine, regions: regions.collect(), last_vma: 1, ops: Vec::new() }
    }

    fn page(&self, (region, page): At1) -> &Page {
        &self.regions[region][page]
    }

    fn page_mut(&mut self, (region, page): At1) -> &mut Page {
        &mut self.regions[region][page]
    }

    fn area(&self, region: usize, pages: &Range<usize>) -> Area {
        let (name, start) = REGIONS[region];
        let at = |page: usize| start + page as u64 * PAGE_SIZE;
        Area { region: name.to_owned(), bytes: Bytes::new(at(pages.start), at(pages.end)) }
    }

    fn op(&mut self, kind: OpKind) {
        self.ops.push(Op { kind, at: At::default() });
    }

    fn has_hole(&self, region: usize, pages: &Range<usize>) -> bool {
        self.regions[region][pages.clone()].iter().any(|page| page.vma.is_none())
    }

    fn default_attrs(&self) -> Attrs {
        Attrs::default(self.rules.xnack, self.machine.granularity.unwrap_or(9).into())
    }

    fn fresh_vma(&mut self) -> u32 {
        self.last_vma += 1;
        self.last_vma
    }

    fn step(&mut self, step: &Step, value: u64) {
        let (region, mut pages) = pages_of(step.at, self.machine);
        if self.machine.vram > 0 && step.what.cuts() && self.rules.avoids(Avoid::CutOfVramRange) {
            pages = 0..self.regions[region].len();
        }
        let gpu = usize::from(step.gpu) % self.machine.gpus;
        let one = (region, pages.start);
        if self.disturbs_lost_pages(&step.what) {
            self.give_access_back();
        }
        if step.what.is_event() && self.rules.avoids(Avoid::EventOnPartOfAChunk) {
            pages = whole_chunks(pages, self.machine.chunk());
        }
        if step.what.changes_something() {
            self.wait_for_repair();
        }
        if matches!(step.what, What::Migrate | What::EvictVram)
            && self.machine.chunk() > 1
            && self.rules.avoids(Avoid::EventOnPartOfAChunk)
        {
            // It goes page by page.
            return;
        }
        match step.what {
            What::Set(request) => {
                if self.rules.avoids(Avoid::AttrsWithinAChunk) {
                    pages = whole_chunks(pages, self.machine.chunk());
                }
                self.set(gpu, region, pages, &request);
            }
            What::Get => self.get(gpu, region, pages),
            What::Reset if self.rules.design == Design::PocV8 => self.reset(gpu, region, pages),
            // The others have no such call.
            What::Reset => {}
            What::Munmap if self.rules.avoids(Avoid::HoleWithoutNewAttrs) => {
                self.renew(region, pages, Prot::RW, false, true);
            }
            What::Munmap => self.munmap(region, pages),
            What::Mmap { prot, populate } => {
                let unreadable = prot == Prot::NONE && self.rules.avoids(Avoid::Unreadable);
                let prot = if unreadable { Prot::R } else { prot };
                if self.rules.avoids(Avoid::HoleWithoutNewAttrs) {
                    self.renew(region, pages, prot, populate, false);
                } else {
                    self.mmap(region, pages, prot, populate);
                }
            }
            What::Mprotect(prot) => self.mprotect(region, pages, prot),
            What::Store => self.store(region, pages, value),
            What::Load => self.load(one),
            What::Dontneed => self.dontneed(region, pages),
            What::Migrate => {
                let area = self.area(region, &pages);
                self.op(OpKind::Migrate { area });
            }
            What::EvictVram => {
                if self.machine.vram > 0 {
                    self.op(OpKind::EvictVram { gpu: gpu_name(gpu) });
                }
            }
            What::Read => self.gpu_read(gpu, one),
            What::Write => self.gpu_write(gpu, one, value, false),
            What::Add => self.gpu_write(gpu, one, value, true),
            What::Copy { to } => {
                let to = (region, usize::from(to) % self.regions[region].len());
                self.gpu_copy(gpu, one, to);
            }
        }
    }

    // ---- attributes -----------------------------------------------------------------------------------------------

    /// SET_ATTR, less what the design is spared.
    fn set(&mut self, gpu: usize, region: usize, mut pages: Range<usize>, request: &Request) {
        if self.machine.vram > 0 && self.rules.avoids(Avoid::CutOfVramRange) {
            pages = 0..self.regions[region].len();
        }
        let gpus = self.machine.gpus;
        let mut request = *request;
        let no_longer = self.rules.design == Design::PocV8;
        if no_longer || (self.rules.xnack && self.rules.avoids(Avoid::VramWithStoppedQueues)) {
            request.set &= !ALWAYS_MAPPED;
            request.clear &= !ALWAYS_MAPPED;
        }
        if self.machine.vram > 0 && self.rules.avoids(Avoid::MixedRange) {
            request.granularity = None;
        }
        if gpus > 1 && self.rules.avoids(Avoid::FlagsOfOtherGpus) {
            (request.set, request.clear) = (0, 0);
        }
        if self.rules.avoids(Avoid::ReadOnlyZeroPages) {
            request.set &= !GPU_RO;
        }
        if request.access == Some(Access::None) && self.rules.avoids(Avoid::EventAfterLostAccess) {
            (request.set, request.clear) = (0, 0);
            if self.machine.vram > 0 {
                // Any call may move the pages.
                request.access = None;
            }
        }
        if self.machine.vram == 0 && self.rules.avoids(Avoid::FailingPrefetch) {
            request.prefetch = request.prefetch.map(|_| Loc::System);
        }
        if attrs::array(&request, gpus).is_empty() {
            return;
        }
        if self.rules.avoids(Avoid::SetOverZeroPages) {
            self.fill_zero_pages(region, pages.clone());
        }
        let holes = self.has_hole(region, &pages);
        let asks_for_access = request.access.is_some_and(|access| access != Access::None);
        let changes: Vec<(Attrs, Attrs, bool)> = self.regions[region][pages.clone()]
            .iter()
            .map(|page| {
                let old = page.gpus[gpu].attrs;
                let unreadable = page.vma.is_some_and(|vma| !vma.prot.read);
                (old, old.after(&request, gpus), unreadable)
            })
            .collect();
        if self.rules.design == Design::PocV8 && changes.iter().any(|(_, new, bad)| *bad && new.prefetches_to_gpu()) {
            // The first page that cannot be prefetched ends the call, and how much was set before depends on how the
            // attributes are cut.
            return;
        }
        // Whether the GPU is told: by a page whose access or flags change; with XNACK off by one that is asked about
        // again with nothing else.
        let told = |(old, new, _): &(Attrs, Attrs, bool)| {
            let differs = old.has_access() != new.has_access() || old.access != new.access || old.flags != new.flags;
            differs || (old == new && asks_for_access && !self.rules.xnack)
        };
        let eager = |attrs: &Attrs| !self.rules.xnack || attrs.flags & ALWAYS_MAPPED != 0;
        let any_told = changes.iter().any(told);
        let unreadable = changes.iter().any(|(_, new, bad)| *bad && new.has_access() && eager(new));
        let reports_unreadable = self.rules.design == Design::Hardened || self.rules.design == Design::PocV1;
        let refused = holes || (reports_unreadable && any_told && unreadable);
        let returns = if refused { Returns::OneOf(vec![Err(Errno::EFAULT)]) } else { Returns::ok() };
        let told_each: Vec<bool> = match self.rules.design {
            // One pass over everything if there is anything.
            Design::Hardened => vec![any_told; changes.len()],
            // Each segment by itself.
            Design::PocV1 => changes.iter().map(told).collect(),
            // Whatever is named in the call.
            Design::Kfd => vec![request.access.is_some() || request.set | request.clear != 0; changes.len()],
            Design::PocV8 => vec![false; changes.len()],
        };
        let area = self.area(region, &pages);
        let attrs = attrs::array(&request, gpus);
        self.op(OpKind::SetAttr { gpu: gpu_name(gpu), area, attrs, returns });
        if holes {
            return;
        }
        let shared = self.rules.has(Rule::AttrsOfTheProcess);
        let keeps_entries = self.rules.has(Rule::LostAccessStaysMapped);
        for ((page, (old, new, unreadable)), told) in pages.zip(changes).zip(told_each) {
            let prefetched = self.rules.has(Rule::AccessDoesNotMatter) && new.prefetches_to_gpu();
            let page = self.page_mut((region, page));
            page.registered = true;
            for (other, on) in page.gpus.iter_mut().enumerate() {
                if other == gpu {
                    on.attrs = new;
                } else if shared {
                    on.attrs = Attrs { access: on.attrs.access, ..new };
                } else {
                    continue;
                }
                let access = on.attrs.has_access();
                on.may_be_mapped = access || prefetched || (on.may_be_mapped && (keeps_entries || old == new));
                on.promised |= told && !unreadable && access;
            }
        }
    }

    fn get(&mut self, gpu: usize, region: usize, pages: Range<usize>) {
        let area = self.area(region, &pages);
        let on_gpu = |page: &Page| page.gpus[gpu].attrs;
        let of = &self.regions[region][pages.clone()];
        let mut found: Vec<Attrs> = match self.rules.has(Rule::HolesDoNotCount) {
            true => of.iter().filter(|page| page.registered).map(on_gpu).collect(),
            false => of.iter().map(on_gpu).collect(),
        };
        if found.is_empty() {
            found.push(self.default_attrs());
        }
        let checks = attrs::merged(&found, self.rules.design == Design::PocV8);
        let refused = self.rules.has(Rule::GetLooksAtVmas) && self.has_hole(region, &pages);
        let returns = if refused { Returns::OneOf(vec![Err(Errno::EFAULT)]) } else { Returns::ok() };
        self.op(OpKind::GetAttr { gpu: gpu_name(gpu), area, checks, returns });
    }

    fn reset(&mut self, gpu: usize, region: usize, pages: Range<usize>) {
        let default = self.default_attrs();
        let other_flags = |page: &Page| page.gpus[gpu].attrs.flags != DEFAULT_FLAGS;
        if self.rules.avoids(Avoid::ResetOfFlags) && self.regions[region][pages.clone()].iter().any(other_flags) {
            return;
        }
        let area = self.area(region, &pages);
        self.op(OpKind::ResetAttr { gpu: gpu_name(gpu), area, returns: Returns::ok() });
        for page in &mut self.regions[region][pages] {
            page.gpus[gpu].attrs = default;
        }
    }

    // ---- access that was lost ------------------------------------------------------------------------------------

    fn disturbs_lost_pages(&self, what: &What) -> bool {
        let alone = self.machine.gpus == 1 && self.machine.vram == 0;
        self.rules.avoids(Avoid::EventAfterLostAccess)
            && match what {
                What::Get => false,
                // The first access of the CPU, or of another GPU, may bring in a page, which is an event to the others.
                What::Set(request) if request.set | request.clear != 0 => true,
                What::Set(_) | What::Load | What::Read | What::Write | What::Add | What::Copy { .. } => !alone,
                _ => true,
            }
    }

    /// Access for every page that may have an entry and has no access.
    fn give_access_back(&mut self) {
        if !self.leaves_entries() {
            return;
        }
        // A prefetch that is still asked for would happen again, with every call.
        let prefetch = self.rules.has(Rule::AccessDoesNotMatter).then_some(Loc::System);
        let request = Request { access: Some(Access::Enable), prefetch, ..Request::default() };
        for gpu in 0..self.machine.gpus {
            for region in 0..self.regions.len() {
                let lost = |page: &Page| {
                    let on = &page.gpus[gpu];
                    page.vma.is_some() && on.may_be_mapped && !on.attrs.has_access()
                };
                let mut page = 0;
                while page < self.regions[region].len() {
                    let run = self.regions[region][page..].iter().take_while(|page| lost(page)).count();
                    if run > 0 {
                        self.set(gpu, region, page..page + run, &request);
                    }
                    page += run.max(1);
                }
            }
        }
    }

    /// Whether there can be entries without access.
    fn leaves_entries(&self) -> bool {
        self.rules.has(Rule::LostAccessStaysMapped) || self.rules.has(Rule::AccessDoesNotMatter)
    }

    /// GET_ATTR waits for the work that munmap leaves (not in the first posting); an access of the GPU waits until the queues
    /// run, and with them that everything is mapped again.
    fn wait_for_repair(&mut self) {
        if self.ops.is_empty() || !self.rules.avoids(Avoid::ChangeDuringRepair) {
            return;
        }
        let always_mapped = |page: &Page| page.gpus.iter().any(|on| on.attrs.flags & ALWAYS_MAPPED != 0);
        let stops = !self.rules.xnack || self.regions.iter().flatten().any(always_mapped);
        if self.rules.design != Design::PocV1 {
            // Each instance has its own work.
            (0..self.machine.gpus).for_each(|gpu| self.get(gpu, 0, 0..1));
        }
        if self.rules.design != Design::PocV8 && stops {
            self.gpu_read(0, (0, 0));
        }
    }

    // ---- mm -------------------------------------------------------------------------------------------------------

    fn unmapped(&mut self, region: usize, pages: Range<usize>) {
        let default = self.default_attrs();
        let forget = self.rules.has(Rule::AttrsGoWithTheMapping);
        for page in &mut self.regions[region][pages] {
            if page.vma.is_some() {
                page.unmapped();
                if forget {
                    page.registered = false;
                    page.gpus.iter_mut().for_each(|on| on.attrs = default);
                }
            }
        }
    }

    fn munmap(&mut self, region: usize, pages: Range<usize>) {
        let area = self.area(region, &pages);
        self.op(OpKind::Munmap { area });
        self.unmapped(region, pages);
    }

    fn mmap(&mut self, region: usize, pages: Range<usize>, prot: Prot, populate: bool) {
        let area = self.area(region, &pages);
        self.op(OpKind::Mmap { area, prot, populate });
        self.unmapped(region, pages.clone());
        let vma = Some(Vma { id: self.fresh_vma(), prot });
        for page in &mut self.regions[region][pages] {
            page.vma = vma;
            page.values = BTreeSet::from([0]);
        }
    }

    /// Whole chunks are mapped anew, and all their attributes set.
    fn renew(&mut self, region: usize, pages: Range<usize>, prot: Prot, populate: bool, munmap: bool) {
        let pages = whole_chunks(pages, self.machine.chunk());
        if munmap {
            self.munmap(region, pages.clone());
        }
        self.mmap(region, pages.clone(), prot, populate);
        let request = Request {
            access: Some(Access::Enable),
            preferred: Some(Loc::Undefined),
            prefetch: Some(Loc::System),
            set: DEFAULT_FLAGS,
            clear: 0xff & !DEFAULT_FLAGS,
            granularity: Some(self.default_attrs().granularity),
        };
        for gpu in 0..self.machine.gpus {
            // What was there before is not known; all of it is asked for, so the GPU is told.
            for page in &mut self.regions[region][pages.clone()] {
                page.gpus[gpu].attrs.access = Access::None;
            }
            self.set(gpu, region, pages.clone(), &request);
        }
    }

    fn mprotect(&mut self, region: usize, mut pages: Range<usize>, prot: Prot) {
        if prot == Prot::NONE && self.rules.avoids(Avoid::Unreadable) {
            return;
        }
        if self.rules.avoids(Avoid::PartOfAChunkProtected) {
            pages = whole_chunks(pages, self.machine.chunk());
        }
        let holes = self.has_hole(region, &pages);
        let area = self.area(region, &pages);
        let returns = if holes { Returns::OneOf(vec![Err(Errno::ENOMEM)]) } else { Returns::ok() };
        self.op(OpKind::Mprotect { area, prot, returns });
        // Up to the first hole; each VMA that changes is cut out.
        let mut last = None;
        for page in pages {
            let Some(vma) = self.page((region, page)).vma else { break };
            if vma.prot == prot {
                last = None;
                continue;
            }
            let id = match last {
                Some((of, id)) if of == vma.id => id,
                _ => self.fresh_vma(),
            };
            last = Some((vma.id, id));
            self.page_mut((region, page)).vma = Some(Vma { id, prot });
        }
    }

    fn dontneed(&mut self, region: usize, pages: Range<usize>) {
        if self.has_hole(region, &pages) {
            return;
        }
        if self.machine.vram > 0 && self.rules.avoids(Avoid::DropOfVramPages) {
            pages.clone().for_each(|page| self.load((region, page)));
            self.wait_for_repair();
        }
        let area = self.area(region, &pages);
        self.op(OpKind::Dontneed { area });
        for page in &mut self.regions[region][pages] {
            page.values = BTreeSet::from([0]);
        }
    }

    // ---- accesses of the CPU --------------------------------------------------------------------------------------

    /// As many pages as come to the same.
    fn store(&mut self, region: usize, pages: Range<usize>, value: u64) {
        let writable = |page: &Page| page.vma.is_some_and(|vma| vma.prot.write);
        let of = &self.regions[region][pages.clone()];
        let done = writable(&of[0]);
        let same = of.iter().take_while(|page| writable(page) == done).count();
        let pages = pages.start..pages.start + same;
        let area = self.area(region, &pages);
        let expect = vec![if done { Seen::Done } else { Seen::Fault }];
        self.op(OpKind::Store { area, value, expect });
        if done {
            self.regions[region][pages].iter_mut().for_each(|page| page.values = BTreeSet::from([value]));
        }
    }

    /// Stores the zero that pages hold which nobody has stored to.
    fn fill_zero_pages(&mut self, region: usize, pages: Range<usize>) {
        for page in pages {
            let of = self.page((region, page));
            if of.values == BTreeSet::from([0]) && of.vma.is_some_and(|vma| vma.prot.write) {
                self.store(region, page..page + 1, 0);
            }
        }
    }

    fn load(&mut self, at: At1) {
        let page = self.page(at);
        let readable = page.vma.is_some_and(|vma| vma.prot.read || vma.prot.write);
        let expect = if readable { values(page) } else { vec![Seen::Fault] };
        let area = self.area(at.0, &(at.1..at.1 + 1));
        self.op(OpKind::Load { area, expect });
    }

    // ---- accesses of a GPU ----------------------------------------------------------------------------------------

    fn comes(&self, gpu: usize, at: At1, write: bool) -> Comes {
        let (page, xnack) = (self.page(at), self.rules.xnack);
        let on = &page.gpus[gpu];
        let Some(vma) = page.vma else {
            return if self.rules.avoids(Avoid::GpuAccessToHole) { Comes::Avoided } else { Comes::Fault };
        };
        if self.rules.has(Rule::FaultRegisters) && on.refused && !page.registered {
            // Whether this registers the page is whether there is a fault.
            return Comes::Avoided;
        }
        if !vma.prot.read || (write && !vma.prot.write) {
            return Comes::Fault;
        }
        if write && on.attrs.flags & GPU_RO != 0 {
            return if self.rules.avoids(Avoid::GpuWriteToReadOnlyAttr) { Comes::Avoided } else { Comes::Fault };
        }
        let id = scenarios::lang::Attr::gpu_id(gpu);
        let preferred = on.attrs.preferred == scenarios::lang::Attr::SYSTEM || on.attrs.preferred == id;
        let access = on.attrs.has_access()
            || self.rules.has(Rule::AccessDoesNotMatter)
            || (self.rules.has(Rule::PreferredIsAccess) && preferred);
        if !access {
            let stays = self.rules.has(Rule::LostAccessStaysMapped) && on.may_be_mapped;
            return if stays { Comes::Either } else { Comes::Fault };
        }
        let certain = if xnack { !on.refused } else { on.promised };
        if certain { Comes::Through } else { Comes::Either }
    }

    /// What an access leaves behind.
    fn touch(&mut self, gpu: usize, at: At1, comes: Comes) {
        if !self.rules.xnack {
            return;
        }
        if self.rules.has(Rule::FaultRegisters) && self.page(at).vma.is_some() {
            self.register_around(at);
        }
        let no_access = !self.page(at).gpus[gpu].attrs.has_access();
        if no_access && comes != Comes::Fault && self.leaves_entries() {
            // The whole range is mapped, and that is whatever has no access either.
            for page in self.regions.iter_mut().flatten() {
                page.gpus[gpu].may_be_mapped |= !page.gpus[gpu].attrs.has_access();
            }
        }
        self.page_mut(at).gpus[gpu].refused |= comes != Comes::Through;
    }

    /// The free pages of the VMA next to the page, and itself.
    fn register_around(&mut self, (region, page): At1) {
        let pages = &mut self.regions[region];
        if pages[page].registered {
            return;
        }
        let vma = pages[page].vma;
        let free = |page: &Page| !page.registered && page.vma == vma;
        let first = page - pages[..page].iter().rev().take_while(|page| free(page)).count();
        let end = page + pages[page..].iter().take_while(|page| free(page)).count();
        for page in &mut pages[first..end] {
            page.registered = true;
            page.gpus.iter_mut().for_each(|on| on.may_be_mapped |= on.attrs.has_access());
        }
    }

    fn gpu_read(&mut self, gpu: usize, at: At1) {
        let comes = self.comes(gpu, at, false);
        let mut expect = match comes {
            Comes::Avoided => return,
            Comes::Fault => Vec::new(),
            Comes::Through | Comes::Either => values(self.page(at)),
        };
        expect.extend((comes != Comes::Through).then_some(Seen::Fault));
        let area = self.area(at.0, &(at.1..at.1 + 1));
        self.op(OpKind::Read { gpu: gpu_name(gpu), area, expect });
        self.touch(gpu, at, comes);
    }

    fn gpu_write(&mut self, gpu: usize, at: At1, value: u64, add: bool) {
        let comes = self.comes(gpu, at, true);
        if comes == Comes::Avoided {
            return;
        }
        let area = self.area(at.0, &(at.1..at.1 + 1));
        let (gpu_is, expect) = (gpu_name(gpu), done(comes));
        self.op(match add {
            true => OpKind::Add { gpu: gpu_is, area, value, expect },
            false => OpKind::Write { gpu: gpu_is, area, value, expect },
        });
        let written = match add {
            true => self.page(at).values.iter().map(|old| old + value).collect(),
            false => BTreeSet::from([value]),
        };
        self.touch(gpu, at, comes);
        self.written(at, comes, written);
    }

    fn gpu_copy(&mut self, gpu: usize, from: At1, to: At1) {
        let (reads, writes) = (self.comes(gpu, from, false), self.comes(gpu, to, true));
        if reads == Comes::Avoided || writes == Comes::Avoided {
            return;
        }
        let comes = match (reads, writes) {
            (Comes::Fault, _) | (_, Comes::Fault) => Comes::Fault,
            (Comes::Through, writes) => writes,
            _ => Comes::Either,
        };
        let area = |at: At1| self.area(at.0, &(at.1..at.1 + 1));
        let (source, target) = (area(from), area(to));
        self.op(OpKind::Copy { gpu: gpu_name(gpu), area: source, to: target, expect: done(comes) });
        self.touch(gpu, from, reads);
        if reads != Comes::Fault {
            // It may not have come to the write.
            let writes = if reads == Comes::Either { Comes::Either } else { writes };
            self.touch(gpu, to, writes);
        }
        let copied = self.page(from).values.clone();
        self.written(to, comes, copied);
    }

    fn written(&mut self, at: At1, comes: Comes, written: BTreeSet<u64>) {
        match comes {
            Comes::Through => self.page_mut(at).values = written,
            Comes::Either => self.page_mut(at).values.extend(written),
            Comes::Fault | Comes::Avoided => {}
        }
    }
}

fn values(page: &Page) -> Vec<Seen> {
    page.values.iter().map(|value| Seen::Value(*value)).collect()
}

fn done(comes: Comes) -> Vec<Seen> {
    match comes {
        Comes::Through => vec![Seen::Done],
        Comes::Either => vec![Seen::Done, Seen::Fault],
        Comes::Fault | Comes::Avoided => vec![Seen::Fault],
    }
}
