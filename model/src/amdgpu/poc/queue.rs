//! The two worker queues and the queue fields of a range. Spec amdgpu-svm 2.3, 4.7.
//!
//! All of it is under GL. A range holds one extra reference while `in_queue`, however many times it is queued; both
//! workers share that reference (race R8), and pending work is kept as a convex hull (race R9).

use super::super::range::{Handle, Range};
use super::super::{RESTORE_DELAY_MS, Svm};
use crate::framework::Instance;
use crate::list::List;
use crate::note;
use crate::platform::{Atomic, DelayedWork, Plain, Platform, SpinLock, Work};
use crate::units::Pages;

/// What a queue entry asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum QueueOp {
    /// Map again and resume.
    Restore,
    /// Forget the attributes, destroy the range, rebuild the rest.
    Unmap,
}

/// `pending_ops`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct PendingOps {
    /// UNMAP, bit 0.
    pub(crate) unmap: bool,
    /// RESTORE, bit 1.
    pub(crate) restore: bool,
}

impl PendingOps {
    const fn is_empty(self) -> bool {
        !self.unmap && !self.restore
    }
}

/// The queue fields of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RangeQueue {
    /// On `gc_list`.
    pub(crate) gc_queued: bool,
    /// On `restore_work_list`; never together with `gc_queued`.
    pub(crate) restore_queued: bool,
    /// One extra range reference is held for the queues and workers.
    pub(crate) in_queue: bool,
    /// What is to be done.
    pub(crate) pending_ops: PendingOps,
    /// Where: the hull of the queued sub-intervals.
    pub(crate) pending: Pages,
}

impl Default for RangeQueue {
    fn default() -> Self {
        RangeQueue {
            gc_queued: false,
            restore_queued: false,
            in_queue: false,
            pending_ops: PendingOps::default(),
            pending: Pages::EMPTY,
        }
    }
}

/// The lists, inside GL.
pub(crate) struct Queues<P: Platform> {
    /// Unmap work.
    pub(crate) gc: List<P::Kernel, Range<P>>,
    /// Restore work.
    pub(crate) restore: List<P::Kernel, Range<P>>,
}

/// Which of the two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Which {
    /// `gc_list`.
    Gc,
    /// `restore_work_list`.
    Restore,
}

impl<P: Platform> Queues<P> {
    pub(crate) fn new() -> Self {
        Queues { gc: List::new(), restore: List::new() }
    }

    /// Whether anything waits for a worker.
    pub(crate) fn has_pending(&self) -> bool {
        !self.gc.is_empty() || !self.restore.is_empty()
    }
}

/// A dequeued piece of work.
pub(crate) struct WorkItem<P: Platform> {
    /// The range; removed already, possibly.
    pub(crate) range: Handle<P>,
    /// The hull at dequeue.
    pub(crate) pages: Pages,
    /// What was pending.
    pub(crate) ops: PendingOps,
}

impl<P: Platform> Svm<P> {
    /// `enqueue(range, start, last, op)`; any context, mostly NL-W.
    pub(super) fn enqueue(&self, handle: Handle<P>, pages: Pages, op: QueueOp) {
        if self.poc.exiting.load() != 0 {
            return;
        }
        let (mut gc, mut restore) = (false, false);
        let queues = self.poc.gc_lock.lock();
        let cache = self.gpusvm.range_cache();
        let range = self.gpusvm.range(handle);
        let mut q = range.driver.queue.get();
        if !q.in_queue {
            self.gpusvm.range_get(handle);
            q.in_queue = true;
        }
        q.pending = q.pending.hull(&pages);
        match op {
            QueueOp::Unmap => {
                q.pending_ops.unmap = true;
                q.pending_ops.restore |= !self.xnack_enabled;
            }
            QueueOp::Restore => q.pending_ops.restore = true,
        }
        if q.pending_ops.unmap {
            if q.restore_queued {
                queues.restore.remove(cache, handle);
                q.restore_queued = false;
                queues.gc.push_back(cache, handle);
                q.gc_queued = true;
            } else if !q.gc_queued {
                queues.gc.push_back(cache, handle);
                q.gc_queued = true;
            }
            gc = true;
        } else {
            if !q.gc_queued && !q.restore_queued {
                queues.restore.push_back(cache, handle);
                q.restore_queued = true;
            }
            restore = true;
        }
        range.driver.queue.set(q);
        note!(
            P::Kernel,
            "range {} enqueued for {}, hull {}",
            range.bytes(),
            if q.gc_queued { "GC" } else { "restore" },
            q.pending
        );
        drop(queues);
        if gc {
            self.gc_work.queue();
        }
        if restore {
            self.restore_work.queue(RESTORE_DELAY_MS);
        }
    }

    /// `dequeue_locked(list)`: `in_queue` stays true. GL held.
    pub(super) fn dequeue_locked(&self, queues: &Queues<P>, which: Which) -> Option<WorkItem<P>> {
        let cache = self.gpusvm.range_cache();
        let list = match which {
            Which::Gc => &queues.gc,
            Which::Restore => &queues.restore,
        };
        let handle = list.pop_front(cache)?;
        Some(self.gpusvm.range(handle).driver.queue.with_mut(|q| {
            match which {
                Which::Gc => q.gc_queued = false,
                Which::Restore => q.restore_queued = false,
            }
            let item = WorkItem { range: handle, pages: q.pending, ops: q.pending_ops };
            q.pending = Pages::EMPTY;
            q.pending_ops = PendingOps::default();
            item
        }))
    }

    /// Takes GL for one [`Svm::dequeue_locked`].
    pub(super) fn dequeue(&self, which: Which) -> Option<WorkItem<P>> {
        let queues = self.poc.gc_lock.lock();
        self.dequeue_locked(&queues, which)
    }

    /// `requeue_restore_locked(range, start, last)`: no exiting check. GL held.
    pub(super) fn requeue_restore_locked(&self, queues: &Queues<P>, handle: Handle<P>, pages: Pages) {
        let cache = self.gpusvm.range_cache();
        let range = self.gpusvm.range(handle);
        let mut q = range.driver.queue.get();
        q.pending = q.pending.hull(&pages);
        q.pending_ops.restore = true;
        if !q.gc_queued && !q.restore_queued {
            queues.restore.push_back(cache, handle);
            q.restore_queued = true;
        }
        range.driver.queue.set(q);
        note!(P::Kernel, "range {} requeued for restore, hull {}", range.bytes(), q.pending);
    }

    /// `put_if_dequeued(range)`: drops the queue reference, outside of GL, when nothing is pending any more.
    pub(super) fn put_if_dequeued(&self, handle: Handle<P>) {
        let queues = self.poc.gc_lock.lock();
        let range = self.gpusvm.range(handle);
        let bytes = range.bytes();
        let put = range.driver.queue.with_mut(|q| {
            let done =
                q.in_queue && !q.gc_queued && !q.restore_queued && q.pending.is_empty() && q.pending_ops.is_empty();
            if done {
                q.in_queue = false;
            }
            done
        });
        drop(queues);
        if put {
            note!(P::Kernel, "put {bytes}: in_queue reference dropped");
            self.gpusvm.range_put(handle);
        }
    }
}
