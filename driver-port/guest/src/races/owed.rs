//! What the application may count on: the promises that the simulator judges by, kept by real threads.

use interleave::lab::Stamp;
use model::units::{Bytes, Pages};
use scenarios::lang::{Access, Attr, OpKind, Scenario};
use scenarios::world::{Change, Promises};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// AMDGPU_SVM_FLAG_GPU_RO.
const GPU_RO: u32 = 0x08;

/// The promises of one GPU.
pub(crate) struct Owed {
    promises: Mutex<Promises>,
    clock: AtomicU32,
}

/// A call under way.
pub(crate) struct Call {
    began: Stamp,
    changes: Vec<Change>,
}

fn pages(bytes: Bytes) -> Pages {
    Bytes::new(bytes.start, bytes.end.max(bytes.start + 1)).pages()
}

impl Owed {
    pub(crate) fn new(scenario: &Scenario) -> Owed {
        let regions = scenario.regions.iter().map(|region| region.bytes.pages()).collect();
        Owed { promises: Mutex::new(Promises::new(regions)), clock: AtomicU32::new(1) }
    }

    fn now(&self) -> Stamp {
        Stamp(self.clock.fetch_add(1, Ordering::SeqCst))
    }

    fn with<R>(&self, f: impl FnOnce(&Promises) -> R) -> R {
        f(&self.promises.lock().expect("nobody panics with it"))
    }

    /// The call that is `op` begins.
    pub(crate) fn begin(&self, op: &OpKind) -> Call {
        let began = self.now();
        self.with(|promises| {
            let begin = |change, bytes| promises.begin(change, pages(bytes));
            let changes = match op {
                OpKind::Munmap { area } | OpKind::Mmap { area, .. } | OpKind::ResetAttr { area, .. } => {
                    vec![begin(Change::TAKE_BACK, area.bytes)]
                }
                OpKind::Mprotect { area, .. } => vec![begin(Change::REPROTECT, area.bytes)],
                OpKind::SetAttr { area, attrs, .. } => {
                    let mut changes = Vec::new();
                    if access(attrs) == Some(Access::None) {
                        changes.push(begin(Change::TAKE_BACK, area.bytes));
                    }
                    if read_only(attrs) == Some(true) {
                        changes.push(begin(Change::FORBID_WRITES, area.bytes));
                    }
                    changes
                }
                OpKind::Close { .. } | OpKind::Fini { .. } => {
                    promises.begin_taking_back_all();
                    Vec::new()
                }
                _ => Vec::new(),
            };
            Call { began, changes }
        })
    }

    /// The call has returned; `ok`: with 0.
    pub(crate) fn end(&self, op: &OpKind, call: Call, ok: bool) {
        let now = self.now();
        self.with(|promises| {
            call.changes.into_iter().for_each(|change| promises.end(change, now));
            if let (OpKind::SetAttr { area, attrs, .. }, true) = (op, ok) {
                if matches!(access(attrs), Some(Access::Enable | Access::InPlace)) {
                    promises.promise(pages(area.bytes), call.began, now);
                }
                if read_only(attrs) == Some(false) {
                    promises.allow_writes(pages(area.bytes), call.began);
                }
            }
        });
    }

    /// The pages that can be counted on now.
    pub(crate) fn pages(&self) -> Vec<u64> {
        self.with(|promises| promises.pages().into_iter().map(|(page, _)| page).collect())
    }
}

fn access(attrs: &[Attr]) -> Option<Access> {
    attrs.iter().rev().find_map(|attr| if let Attr::Access(access) = attr { Some(*access) } else { None })
}

fn read_only(attrs: &[Attr]) -> Option<bool> {
    attrs.iter().rev().find_map(|attr| match attr {
        Attr::Flags { mask, set } if mask & GPU_RO != 0 => Some(*set),
        _ => None,
    })
}
