//! What CPU threads do: system calls and ioctls, and what they make of the results.

use super::promise::Change;
use super::record::Part;
use super::uapi::{Uapi, contradicts};
use super::wave::pages_of;
use super::{Device, World};
use crate::lang::{Access, Advice, Area, Attr, Design, Op, OpKind, Prot, RegionKind, Returns, Seen};
use interleave::lab::{Gate, Invariant, Lab, Violation};
use model::Errno;
use model::amdgpu::UserAttrs;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_RESET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::attr::UapiAttr;
use model::note;
use model::platform::VmaFlags;
use model::units::{Bytes, Pages};
use sim_mm::{AddressSpace, Remap};

/// `vm_flags` of a region.
pub(super) fn vma_flags(prot: Prot, kind: RegionKind) -> VmaFlags {
    VmaFlags {
        read: prot.read,
        write: prot.write,
        io: kind == RegionKind::Io,
        pfnmap: kind == RegionKind::PfnMap,
        mixedmap: kind == RegionKind::MixedMap,
        anon: kind == RegionKind::Anon,
        hugetlb: kind == RegionKind::Hugetlb,
    }
}

/// AMDGPU_SVM_FLAG_GPU_RO.
const GPU_RO: u32 = 0x08;

/// The attribute array in user memory.
pub(super) struct UserArray(pub(super) Vec<UapiAttr>);

impl UserAttrs for UserArray {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        out.copy_from_slice(&self.0);
        Ok(())
    }
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.0.copy_from_slice(attrs);
        Ok(())
    }
}

fn show(result: Result<(), Errno>) -> String {
    match result {
        Ok(()) => "0".into(),
        Err(errno) => format!("-{errno}"),
    }
}

/// The pages an interval touches, for the ground truth; aligned outwards because a refused call may be unaligned.
fn touched(bytes: Bytes) -> Pages {
    Bytes::new(bytes.start, bytes.end.max(bytes.start + 1)).pages()
}

impl<L: Lab> World<L> {
    /// One operation of thread `who`.
    pub(crate) fn perform(&self, op: &Op) {
        self.perform_in(&self.mm, op);
    }

    /// One operation of a thread of the process whose address space is `mm`.
    pub(crate) fn perform_in(&self, mm: &AddressSpace<L>, op: &Op) {
        match &op.kind {
            OpKind::SetAttr { gpu, area, attrs, returns } => self.set_attr(gpu, area, attrs, returns),
            OpKind::GetAttr { gpu, area, checks, returns } => self.get_attr(gpu, area, checks, returns),
            OpKind::ResetAttr { gpu, area, returns } => self.reset_attr(gpu, area, returns),
            OpKind::EvictVram { gpu } => self.device(gpu).vm.evict_one(),
            OpKind::Munmap { area } => {
                let result = self.changing(mm, Change::TAKE_BACK, area.bytes, || mm.munmap(area.bytes));
                self.must(op, &Returns::ok(), result);
            }
            OpKind::Mmap { area, prot, populate } => {
                let flags = vma_flags(*prot, RegionKind::Anon);
                let result = self.changing(mm, Change::TAKE_BACK, area.bytes, || mm.mmap(area.bytes, flags));
                self.must(op, &Returns::ok(), result);
                if *populate {
                    self.must(op, &Returns::ok(), mm.populate(area.bytes));
                }
            }
            OpKind::Mprotect { area, prot, returns } => {
                let flags = vma_flags(*prot, RegionKind::Anon);
                let call = || mm.mprotect(area.bytes, flags.read, flags.write);
                let result = self.changing(mm, Change::REPROTECT, area.bytes, call);
                self.must(op, returns, result);
            }
            OpKind::Store { area, value, expect } => {
                for page in pages_of(area) {
                    let seen = mm.store(page, *value).map_or(Seen::Fault, |()| Seen::Done);
                    if self.keeps(|| if seen == Seen::Done { Part::Stored } else { Part::CpuFault }) {
                        continue;
                    }
                    self.seen(op, page, expect, seen);
                }
            }
            OpKind::Load { area, expect } => {
                for page in pages_of(area) {
                    let seen = mm.load(page).map_or(Seen::Fault, Seen::Value);
                    if self.keeps(|| if let Seen::Value(value) = seen { Part::Word(value) } else { Part::CpuFault }) {
                        continue;
                    }
                    self.seen(op, page, expect, seen);
                }
            }
            OpKind::Dontneed { area } => {
                self.must(op, &Returns::ok(), mm.madvise_dontneed(area.bytes));
            }
            OpKind::Migrate { area } => self.must(op, &Returns::Any, mm.migrate_pages(area.bytes).map(drop)),
            OpKind::Fork { child } => {
                let number = self.children.iter().position(|c| c.name == *child).expect("check looked for it");
                let space = mm.fork(number as u32 + 1).expect("nothing fails there");
                self.children[number].born(space);
            }
            OpKind::Mremap { area, to, len, keep, returns } => {
                let how = Remap { to: to.as_ref().map(|to| to.bytes.start), keep_old: *keep };
                let call = || mm.mremap(area.bytes, *len, how);
                let result = match to {
                    // What is at the target goes, and what comes there was promised somewhere else.
                    Some(to) => self.changing(mm, Change::TAKE_BACK, area.bytes, || {
                        self.changing(mm, Change::TAKE_BACK, to.bytes, call)
                    }),
                    None if *len < area.bytes.len() => {
                        let tail = Bytes::new(area.bytes.start + len, area.bytes.end);
                        self.changing(mm, Change::TAKE_BACK, tail, call)
                    }
                    None => call(),
                };
                self.must(op, returns, result);
            }
            OpKind::Advise { advice, area } => {
                let result = match advice {
                    Advice::Reclaim => mm.reclaim(area.bytes).map(drop),
                    Advice::Pageout => mm.madvise_pageout(area.bytes),
                    Advice::Free => mm.madvise_free(area.bytes),
                    Advice::Cold => mm.madvise_cold(area.bytes),
                    Advice::Collapse => mm.madvise_collapse(area.bytes),
                    Advice::Mlock => mm.mlock(area.bytes, true),
                    Advice::Munlock => mm.mlock(area.bytes, false),
                    Advice::OomReap => self.changing(mm, Change::TAKE_BACK, Bytes::new(0, u64::MAX), || {
                        mm.oom_reap();
                        Ok(())
                    }),
                };
                self.must(op, &Returns::Any, result);
            }
            OpKind::After { actor } => self.wait_for(actor),
            OpKind::Close { gpu } => self.device(gpu).close(),
            OpKind::Fini { gpu } => self.device(gpu).fini(),
            // A child has no queues and no notifiers.
            OpKind::Exit if *mm != self.mm => mm.exit(),
            // Whoever puts the last user of the mm takes it down; from here on nobody counts on anything.
            OpKind::Exit => self.changing(mm, Change::TAKE_BACK, Bytes::new(0, u64::MAX), || {
                self.ended.set(true);
                mm.exit();
            }),
            // A kernel that faults for good ends; the thread that waited for it goes on.
            OpKind::Read { .. } | OpKind::Write { .. } | OpKind::Add { .. } | OpKind::Copy { .. } => {
                self.perform_on_gpu(op);
            }
        }
    }

    fn set_attr(&self, gpu: &str, area: &Area, attrs: &[Attr], returns: &Returns) {
        let device = self.device(gpu);
        let began = L::stamp();
        let access = attrs.iter().rev().find_map(|a| if let Attr::Access(access) = a { Some(*access) } else { None });
        let pages = touched(area.bytes);
        let read_only = attrs.iter().rev().find_map(|a| match a {
            Attr::Flags { mask, set } if mask & GPU_RO != 0 => Some(*set),
            _ => None,
        });
        let withdraws = (access == Some(Access::None)).then(|| device.promises.begin(Change::TAKE_BACK, pages));
        // KFD's flags are the process's, whatever GPU the call is about.
        let concerned = if self.design == Design::Kfd { &self.gpus[..] } else { std::slice::from_ref(device) };
        let forbid = |device: &Device<L>| device.promises.begin(Change::FORBID_WRITES, pages);
        let forbids: Vec<Change> =
            if read_only == Some(true) { concerned.iter().map(forbid).collect() } else { Vec::new() };
        let (uapi, id) = (self.uapi(), self.gpu_id(gpu));
        let mut user = UserArray(attrs.iter().flat_map(|a| uapi.request(*a, id)).collect());
        note!(L, "SET_ATTR {} {}", area.bytes, describe(attrs));
        let result = device.ioctl(AMDGPU_SVM_OP_SET_ATTR, area.bytes, &mut user);
        note!(L, "SET_ATTR {} returns {}", area.bytes, show(result));
        if let Some(change) = withdraws {
            device.promises.end(change, L::stamp());
        }
        for (device, change) in concerned.iter().zip(forbids) {
            device.promises.end(change, L::stamp());
        }
        if !self.keeps(|| Part::returned(result)) && !returns.allows(result) {
            wrong::<L>(format!("SET_ATTR {} returned {}, which the scenario rules out", area.bytes, show(result)));
        }
        if result.is_ok() && matches!(access, Some(Access::Enable | Access::InPlace)) {
            device.promises.promise(pages, began, L::stamp());
        }
        if result.is_ok() {
            device.promises.returned(pages, L::stamp());
        }
        if result.is_ok() && read_only == Some(false) {
            concerned.iter().for_each(|device| device.promises.allow_writes(pages, began));
        }
    }

    fn get_attr(&self, gpu: &str, area: &Area, checks: &[Attr], returns: &Returns) {
        let (result, answers) = self.ask(gpu, area, checks);
        note!(L, "GET_ATTR {} returns {}", area.bytes, show(result));
        if self.keeps(|| Part::returned(result)) {
            if result.is_ok() {
                self.keeps(|| Part::answered(&answers));
            }
            return;
        }
        if !returns.allows(result) {
            wrong::<L>(format!("GET_ATTR {} returned {}, which the scenario rules out", area.bytes, show(result)));
        }
        if result.is_ok() {
            self.check_answers(area, checks, &answers);
        }
    }

    /// GET_ATTR for what `checks` are about: what came back, check by check.
    pub(crate) fn ask(&self, gpu: &str, area: &Area, checks: &[Attr]) -> (Result<(), Errno>, Vec<Vec<UapiAttr>>) {
        let (uapi, id) = (self.uapi(), self.gpu_id(gpu));
        let questions: Vec<Vec<UapiAttr>> = checks.iter().map(|c| uapi.question(*c, id)).collect();
        let mut user = UserArray(questions.concat());
        let result = self.device(gpu).ioctl(AMDGPU_SVM_OP_GET_ATTR, area.bytes, &mut user);
        let mut rest = user.0.as_slice();
        let answers = questions.iter().map(|question| {
            let (these, others) = rest.split_at(question.len());
            rest = others;
            these.to_vec()
        });
        (result, answers.collect())
    }

    /// Compares what GET_ATTR answered with what it must answer.
    pub(crate) fn check_answers(&self, area: &Area, checks: &[Attr], answers: &[Vec<UapiAttr>]) {
        for (check, answer) in checks.iter().zip(answers) {
            if !self.uapi().says(*check, answer) {
                let answered: Vec<String> =
                    answer.iter().map(|a| format!("type {} value {:#x}", a.ty, a.value)).collect();
                let answered = answered.join(", ");
                wrong::<L>(format!("GET_ATTR {}: asked about {check:?}, answered {answered}", area.bytes));
            }
        }
        if contradicts(self.uapi(), answers) {
            let what =
                format!("GET_ATTR {} answers that all pages have a flag and none has it: {answers:?}", area.bytes);
            wrong::<L>(what);
        }
    }

    fn reset_attr(&self, gpu: &str, area: &Area, returns: &Returns) {
        let device = self.device(gpu);
        let reset = device.promises.begin(Change::TAKE_BACK, touched(area.bytes));
        let result = device.ioctl(AMDGPU_SVM_OP_RESET_ATTR, area.bytes, &mut UserArray(Vec::new()));
        note!(L, "RESET_ATTR {} returns {}", area.bytes, show(result));
        device.promises.end(reset, L::stamp());
        if !self.keeps(|| Part::returned(result)) && !returns.allows(result) {
            wrong::<L>(format!("RESET_ATTR {} returned {}, which the scenario rules out", area.bytes, show(result)));
        }
    }

    fn uapi(&self) -> Uapi {
        Uapi::of(self.design)
    }

    /// The number by which attributes name the GPU called `gpu`.
    fn gpu_id(&self, gpu: &str) -> u32 {
        Attr::gpu_id(self.scenario.gpus.iter().position(|g| g.name == gpu).expect("the parser resolves GPU names"))
    }

    fn must(&self, op: &Op, returns: &Returns, result: Result<(), Errno>) {
        if !self.keeps(|| Part::returned(result)) && !returns.allows(result) {
            wrong::<L>(format!("{} returned {}, which the scenario rules out", op.kind.name(), show(result)));
        }
    }

    /// Compares what an access saw with what the scenario allows. A wrong value is a lost or stale write (I10), a wrong
    /// fault a wrong verdict (I11).
    pub(super) fn seen(&self, op: &Op, place: u64, expect: &[Seen], seen: Seen) {
        if expect.is_empty() || expect.contains(&seen) {
            return;
        }
        let (invariant, what) = match seen {
            Seen::Value(value) => (Invariant::I10, format!("{} of {place:#x} saw {value}", op.kind.name())),
            Seen::Done => (Invariant::I11, format!("{} of {place:#x} went through", op.kind.name())),
            Seen::Fault => (Invariant::I11, format!("{} of {place:#x} faulted", op.kind.name())),
        };
        L::fail(Violation::new(invariant, format!("{what}, the scenario allows {}", list(expect)), None));
    }

    /// Keeps what an operation came to, if this world keeps a record; what is kept is not judged.
    pub(crate) fn keeps(&self, part: impl FnOnce() -> Part) -> bool {
        match &self.record {
            Some(record) => {
                record.keep(part());
                true
            }
            None => false,
        }
    }

    fn wait_for(&self, actor: &str) {
        if let Some(gate) = self.finished(actor) {
            gate.wait_until(1);
        }
    }

    /// Makes a call during which nobody can count on `bytes`, on any GPU.
    /// On the memory of a child nobody counts.
    fn changing<R>(&self, mm: &AddressSpace<L>, change: Change, bytes: Bytes, call: impl FnOnce() -> R) -> R {
        if *mm != self.mm {
            return call();
        }
        let begin = |device: &Device<L>| device.promises.begin(change, touched(bytes));
        let changes: Vec<Change> = self.gpus.iter().map(begin).collect();
        let result = call();
        for (device, change) in self.gpus.iter().zip(changes) {
            device.promises.end(change, L::stamp());
        }
        result
    }
}

fn wrong<L: Lab>(what: String) -> ! {
    L::fail(Violation::new(Invariant::I11, what, None))
}

fn list(expect: &[Seen]) -> String {
    let words: Vec<String> = expect
        .iter()
        .map(|seen| match seen {
            Seen::Value(value) => value.to_string(),
            Seen::Done => "success".into(),
            Seen::Fault => "a fault".into(),
        })
        .collect();
    words.join(" or ")
}

/// A request in the words of scenario files.
fn describe(attrs: &[Attr]) -> String {
    let words: Vec<String> = attrs
        .iter()
        .map(|attr| match attr {
            Attr::Access(access) => format!("access={}", access.name()),
            Attr::Flags { mask, set } => {
                let names: Vec<&str> =
                    crate::lang::FLAGS.iter().filter(|(_, bit)| mask & bit != 0).map(|(name, _)| *name).collect();
                format!("{}{}", if *set { "+" } else { "-" }, names.join(" "))
            }
            Attr::PreferredLoc(loc) => format!("preferred-loc={loc:#x}"),
            Attr::PrefetchLoc(loc) => format!("prefetch-loc={loc:#x}"),
            Attr::Granularity(log2) => format!("granularity={log2}"),
        })
        .collect();
    words.join(", ")
}
