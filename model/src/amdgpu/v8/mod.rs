//! `poc-v8`: a faithful port of the newest posting: XNACK on, driven by retry faults. The other specimen.
//!
//! Spec amdgpu-svm 7.1 to 7.4 as one state, step by step: locks are dropped exactly where the posting drops them, lockless
//! words are lockless, and nothing is repaired (the bugs of spec 6.6 are here by faithfulness). Ranges are mapped when the
//! GPU faults, and by a prefetch; a notifier takes the PTEs away and nobody brings them back but the next fault. Queues are
//! never stopped.
//!
//! | file | functions of the posting |
//! |---|---|
//! | `set` | `op_set_attr`, `op_get_attr`, `op_reset_attr`, `attr_set_range`, `apply_attr_change` |
//! | `fault` | `amdgpu_svm_handle_fault`, `fault_get_unregistered_attrs`, `fault_check_allowed`, `fault_map_range` |
//! | `map` | `range_find_or_insert`, `range_get_pages`, `range_is_valid`, `range_update_mapping`, `range_map_attrs` |
//! | `notifier` | `range_invalidate` in its two phases, `capture_checkpoint_ts` |
//! | `invalidate` | `range_invalidate_interval`, `range_remove`, `range_evict` |
//! | `queue` | `gc_enqueue`, `dequeue_locked`, `put_if_dequeued`, `unqueue` |
//! | `gc` | `garbage_collector` and its worker |
//! | `migrate` | `range_migrate_to_vram`, and what the platform calls for device memory |
//! | `lifecycle` | `close`, `fini` |
//!
//! # What differs from the posting, and why
//! * Attribute nodes live inside of the attribute mutex, so the fault handler takes it for a moment whenever the posting
//!   looks at its node without (see [`Svm::v8_look`](super::Svm)); that the node may be gone by then is as posted.
//! * No BO shares the address space, so the overlap check has nothing to find. No VMA is known to be heap or stack, so the
//!   default attributes of one do not say SYSMEM.
//! * Waiting for the root's reservation is never interrupted: no signals are simulated.
//! * The pagemap belongs to the instance, because it is the only one that the process has on that GPU.
//! * Times are in milliseconds.

pub(crate) mod fault;
pub(crate) mod gc;
pub(crate) mod invalidate;
pub(crate) mod lifecycle;
pub(crate) mod map;
pub(crate) mod migrate;
pub(crate) mod notifier;
pub(crate) mod queue;
pub(crate) mod set;

use super::Svm;
use crate::Errno;
use crate::pagemap::Pagemap;
use crate::platform::{Atomic, ClientId, KAtomic, KShared, KSpinLock, Platform, Shared, SpinLock, Vram};

/// How long after a range was mapped a fault on it counts as a duplicate, in milliseconds
/// (`AMDGPU_SVM_RANGE_RETRY_FAULT_PENDING`).
pub const RETRY_FAULT_PENDING_MS: u64 = 2;

/// For how long pages that a migration brought to the GPU stay there, in milliseconds.
pub const TIMESLICE_MS: u64 = 5;

/// Where device memory is possible, chunks up to this many bytes are taken only where the CPU has all their pages.
pub const CHECK_PAGES_THRESHOLD: u64 = 64 << 10;

/// How often `fault_map_range` is gone through at most.
pub const FAULT_ATTEMPTS: u32 = 3;

/// What only this design keeps in an instance.
pub(crate) struct State<P: Platform> {
    /// GL (the posting's `work_lock`).
    pub(crate) work_lock: KSpinLock<P, queue::Queue<P>>,
    /// Set to 1 once, by close.
    pub(crate) exiting: KAtomic<P>,
    /// Faults that are not newer are stale. 0: none are. A lockless word.
    pub(crate) checkpoint_ts: KShared<P, u64>,
    /// The GPU's memory; None: it has none.
    pub(crate) pagemap: Option<Pagemap<P>>,
}

impl<P: Platform> State<P> {
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new(gpu: &P::Gpu, client: ClientId) -> Result<Self, Errno> {
        Ok(State {
            work_lock: SpinLock::new("work_lock", queue::Queue::new())?,
            exiting: Atomic::new("svm.exiting", 0),
            checkpoint_ts: Shared::new("svm.checkpoint_ts", 0),
            pagemap: match gpu.pagemap() {
                Some(_) => Some(Pagemap::new(gpu.clone(), client)?),
                None => None,
            },
        })
    }
}

/// The part of a range that only holders of SL look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RangeOwned {
    /// `validate_timestamp`: when the range was last mapped, in milliseconds. None: never.
    pub(crate) validated_ms: Option<u64>,
}

impl<P: Platform> Svm<P> {
    /// This design's state.
    ///
    /// # Panics
    /// In an instance of another design.
    pub(crate) fn v8(&self) -> &State<P> {
        self.v8.as_ref().expect("poc-v8's functions are called for poc-v8 only")
    }
}
