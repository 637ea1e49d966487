//! `poc-v1`: a faithful port of the first posting, its races included. The specimen.
//!
//! Spec amdgpu-svm 4.2 to 4.9, step by step: locks are dropped exactly where the posting drops them, lockless words are
//! lockless, and nothing is repaired. The races of spec amdgpu-svm 6 are here by faithfulness, not by planting.
//!
//! | file | functions of the posting |
//! |---|---|
//! | `set` | `amdgpu_svm_attr_set`, `set_range`, `apply_attr_change` |
//! | `map` | `range_map`, `map_interval`, `map_attr_ranges`, `remove_overlaps`, `rebuild_locked` |
//! | `notifier` | `amdgpu_svm_range_invalidate` |
//! | `quiesce` | `begin_restore`, `begin_compute`, `end_compute` |
//! | `queue` | `enqueue`, `dequeue_locked`, `requeue_restore_locked`, `put_if_dequeued` |
//! | `gc`, `restore` | the two workers |
//! | `sync` | `range_flush`, `range_sync_work`, `work_fini` |

pub(crate) mod gc;
pub(crate) mod map;
pub(crate) mod notifier;
pub(crate) mod queue;
pub(crate) mod quiesce;
pub(crate) mod restore;
pub(crate) mod set;
pub(crate) mod sync;

use crate::Errno;
use crate::platform::{Atomic, KAtomic, KSpinLock, Platform, SpinLock};

/// What only this design keeps in an instance. Spec amdgpu-svm 2.1.
pub(crate) struct State<P: Platform> {
    /// GL.
    pub(crate) gc_lock: KSpinLock<P, queue::Queues<P>>,
    /// 1: "we stopped KFD's queues".
    pub(crate) kfd_queues_quiesced: KAtomic<P>,
    /// Notifier callbacks (not ranges) that evicted since the last successful restore.
    pub(crate) evicted_ranges: KAtomic<P>,
    /// Set to 1 once, by close.
    pub(crate) exiting: KAtomic<P>,
}

impl<P: Platform> State<P> {
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(State {
            gc_lock: SpinLock::new("gc_lock", queue::Queues::new())?,
            kfd_queues_quiesced: Atomic::new("svm.kfd_queues_quiesced", 0),
            evicted_ranges: Atomic::new("svm.evicted_ranges", 0),
            exiting: Atomic::new("svm.exiting", 0),
        })
    }
}
