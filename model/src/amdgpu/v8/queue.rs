//! The GC's queue and the queue fields of a range: `queue_state`. Spec amdgpu-svm 7.3, 7.5 (what the states mean), 6.6.
//!
//! All of it is under GL. The state says who owns the queue's reference; PROCESSING, that whoever dequeued the range will
//! look at `pending_ops` again. The enqueuer decides by `pending_ops` alone whether the range is on the list, and so puts
//! one that is being processed on the list behind the owner's back (bug L1).

use super::super::Svm;
use super::super::range::{Handle, Range};
use crate::framework::Instance;
use crate::list::List;
use crate::note;
use crate::platform::{Atomic, Plain, Platform, SpinLock, Work};
use crate::units::Pages;

/// `enum amdgpu_svm_range_queue_state`. (The XNACK-off series adds a fourth, for its restore list.)
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum QueueState {
    /// No reference.
    #[default]
    NotQueued,
    /// On the list; one reference.
    InGc,
    /// Somebody works on it; one reference, that worker's to drop.
    Processing,
}

/// The queue fields of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RangeQueue {
    /// Who has it.
    pub(crate) state: QueueState,
    /// `pending_ops & UNMAP`: there is no other operation.
    pub(crate) unmap: bool,
    /// The hull of what was unmapped. The GC does not look at it.
    pub(crate) pending: Pages,
}

impl Default for RangeQueue {
    fn default() -> Self {
        RangeQueue { state: QueueState::NotQueued, unmap: false, pending: Pages::EMPTY }
    }
}

/// The list, inside GL.
pub(crate) struct Queue<P: Platform> {
    /// `gc.list`.
    pub(crate) gc: List<P::Kernel, Range<P>>,
}

impl<P: Platform> Queue<P> {
    pub(crate) fn new() -> Self {
        Queue { gc: List::new() }
    }
}

/// `struct amdgpu_svm_range_op_ctx`.
pub(crate) struct WorkItem<P: Platform> {
    pub(crate) range: Handle<P>,
    pub(crate) pages: Pages,
    pub(crate) unmap: bool,
}

impl<P: Platform> Svm<P> {
    /// `gc_enqueue(range, start, last)`: in the notifier. Nothing once the instance is closing.
    pub(super) fn v8_gc_enqueue(&self, handle: Handle<P>, pages: Pages) {
        let state = self.v8();
        if state.exiting.load() != 0 {
            return;
        }
        let queue = state.work_lock.lock();
        let range = self.gpusvm.range(handle);
        let mut q = range.driver.v8_queue.get();
        if q.state == QueueState::NotQueued {
            self.gpusvm.range_get(handle);
            q.state = QueueState::InGc;
        }
        q.pending = q.pending.hull(&pages);
        if !q.unmap {
            note!(P::Kernel, "range {} put on the GC's list, {:?}, hull {}", range.bytes(), q.state, q.pending);
            queue.gc.push_back(self.gpusvm.range_cache(), handle);
        }
        q.unmap = true;
        range.driver.v8_queue.set(q);
        drop(queue);
        self.gc_work.queue();
    }

    /// `dequeue_locked(list)`. GL held.
    pub(super) fn v8_dequeue_locked(&self, queue: &Queue<P>) -> Option<WorkItem<P>> {
        let handle = queue.gc.pop_front(self.gpusvm.range_cache())?;
        Some(self.gpusvm.range(handle).driver.v8_queue.with_mut(|q| {
            let item = WorkItem { range: handle, pages: q.pending, unmap: q.unmap };
            *q = RangeQueue { state: QueueState::Processing, unmap: false, pending: Pages::EMPTY };
            item
        }))
    }

    /// Takes GL for one [`Svm::v8_dequeue_locked`].
    pub(super) fn v8_dequeue(&self) -> Option<WorkItem<P>> {
        let queue = self.v8().work_lock.lock();
        self.v8_dequeue_locked(&queue)
    }

    /// `put_if_dequeued(range)`: back to the list if there is new work, else drops the queue's reference, outside of GL.
    pub(super) fn v8_put_if_dequeued(&self, handle: Handle<P>) {
        let queue = self.v8().work_lock.lock();
        let range = self.gpusvm.range(handle);
        let mut q = range.driver.v8_queue.get();
        if q.state != QueueState::Processing {
            return;
        }
        let again = q.unmap;
        if again {
            note!(P::Kernel, "range {}: unmapped again while it was processed, back to the list", range.bytes());
            queue.gc.push_back(self.gpusvm.range_cache(), handle);
            q.state = QueueState::InGc;
        } else {
            q.state = QueueState::NotQueued;
        }
        range.driver.v8_queue.set(q);
        drop(queue);
        if again {
            self.gc_work.queue();
        } else {
            self.gpusvm.range_put(handle);
        }
    }

    /// `range_unqueue(range)`: takes it off the list, if it is there. SL held.
    pub(super) fn v8_unqueue(&self, handle: Handle<P>) {
        let queue = self.v8().work_lock.lock();
        let range = self.gpusvm.range(handle);
        let mut q = range.driver.v8_queue.get();
        let put = q.state == QueueState::InGc;
        if put {
            queue.gc.remove(self.gpusvm.range_cache(), handle);
            q.state = QueueState::NotQueued;
            q.unmap = false;
            range.driver.v8_queue.set(q);
        }
        drop(queue);
        if put {
            self.gpusvm.range_put(handle);
        }
    }
}
