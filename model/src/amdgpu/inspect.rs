//! Looking at an instance from outside: what invariants are checked against.
//!
//! Takes no lock except AL, and so is right only **at rest**, when nothing of the instance runs, or where the caller
//! knows that the locks which protect what it looks at are held.

use super::range::{Handle, SvmRange};
use super::{Design, Svm};
use crate::attr::{Flags, Segment};
use crate::framework::{DriverLocked, Instance, NotifierHandle, RangeFlags, TreeAccess};
use crate::platform::{Atomic, DelayedWork, Kernel, Plain, Platform, PteFlags, Shared, SpinLock, Work};
use crate::units::{Bytes, Pages};

/// An instance at rest.
pub struct Inspect<'a, P: Platform> {
    svm: &'a Svm<P>,
}

/// A range at rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeView {
    /// `[start, end)`.
    pub bytes: Bytes,
    /// The framework's flags.
    pub flags: RangeFlags,
    /// The driver believes that it is on the GPU. (`hardened`: that it may be, in part.)
    pub gpu_mapped: bool,
    /// What it was last programmed with. (`hardened`: [`PteFlags::NONE`] when not all of it is. `poc-v8` does not store it,
    /// and a range of it may have several: always [`PteFlags::NONE`].)
    pub pte_flags: PteFlags,
    /// The attribute flags at that time.
    pub attr_flags: Flags,
    /// A queue holds a reference.
    pub in_queue: bool,
    /// References, the tree's included.
    pub references: u64,
}

impl<P: Platform> Svm<P> {
    /// The instance as it stands. At rest only.
    pub fn inspect(&self) -> Inspect<'_, P> {
        Inspect { svm: self }
    }

    /// The instance while it works: `f` looks under SL and NL, which keep workers, ioctls and the notifier away. `f` must
    /// neither allocate nor ask for what takes AL. Sleeps.
    pub fn look<R>(&self, f: impl FnOnce(&Inspect<'_, P>) -> R) -> R {
        let _svm = self.lock_svm();
        let _notifier = self.gpusvm.notifier_lock();
        f(&self.inspect())
    }

    /// Lets the work items that are queued run, delayed ones at once, and waits for them: how a laboratory brings an
    /// instance to rest. Nothing held; sleeps.
    pub fn flush_work(&self) {
        self.gc_work.flush();
        self.restore_work.flush();
        self.gc_work.flush();
    }
}

impl<'a, P: Platform> Inspect<'a, P> {
    /// `poc-v1`: notifier callbacks since the last resume (`evicted_ranges`). `hardened` keeps no such count: 1 while
    /// we hold the queues stopped. `poc-v8` stops no queues.
    pub fn evicted_ranges(&self) -> u64 {
        match self.svm.design {
            Design::PocV1 => self.svm.poc.evicted_ranges.load(),
            Design::Hardened => u64::from(self.queues_stopped()),
            Design::PocV8 => 0,
        }
    }

    /// Whether the instance believes that it has stopped KFD's queues, once.
    pub fn queues_stopped(&self) -> bool {
        match self.svm.design {
            Design::PocV1 => self.svm.poc.kfd_queues_quiesced.load() != 0,
            Design::Hardened => self.svm.hardened.gate.with(|g| g.stopped),
            Design::PocV8 => false,
        }
    }

    /// Whether close has begun.
    pub fn exiting(&self) -> bool {
        match self.svm.design {
            Design::PocV1 => self.svm.poc.exiting.load() != 0,
            Design::Hardened => self.svm.hardened.closed.get(),
            Design::PocV8 => self.svm.v8().exiting.load() != 0,
        }
    }

    /// Whether a range waits for a worker. `poc-v1` and `poc-v8` take GL for it.
    pub fn has_pending_work(&self) -> bool {
        match self.svm.design {
            Design::PocV1 => self.svm.poc.gc_lock.lock().has_pending(),
            Design::Hardened => !self.svm.hardened.pending.is_empty() || !self.svm.hardened.retry.is_empty(),
            Design::PocV8 => !self.svm.v8().work_lock.lock().gc.is_empty(),
        }
    }

    /// References of the instance.
    pub fn references(&self) -> u64 {
        self.svm.refcount.load()
    }

    /// The ranges in address order. Removed ranges that only a queue keeps are not among them.
    pub fn ranges(&self) -> Ranges<'a, P> {
        Ranges { svm: self.svm, notifier: None, range: None, started: false }
    }

    /// The range that holds the byte at `addr`.
    pub fn range_at(&self, addr: u64) -> Option<RangeView> {
        let (svm, byte, locked) = (self.svm, Bytes::new(addr, addr.saturating_add(1)), at_rest());
        let notifier = svm.gpusvm.first_notifier(locked, byte)?;
        let handle = svm.gpusvm.first_range(notifier, byte, TreeAccess::Driver(locked))?;
        Some(view(svm, handle))
    }

    /// `pages` cut where attributes are stored, holes included, in address order. Takes AL; `f` must not come back.
    pub fn for_each_segment(&self, pages: Pages, mut f: impl FnMut(Segment)) {
        for segment in self.svm.lock_attrs().segments(pages) {
            f(segment);
        }
    }

    /// The stored attribute nodes in address order. Takes AL; `f` must not come back.
    pub fn for_each_node(&self, mut f: impl FnMut(Segment)) {
        for segment in self.svm.lock_attrs().nodes() {
            f(segment);
        }
    }

    /// Whether all trees and lists are well formed (I9). Warns about what is not. Takes AL (and GL).
    pub fn check(&self) {
        let svm = self.svm;
        svm.gpusvm.check(at_rest());
        if let Err(corrupt) = svm.lock_attrs().check() {
            P::Kernel::warn(format_args!("{corrupt}"));
        }
        let cache = svm.gpusvm.range_cache();
        let lists = match svm.design {
            Design::PocV1 => {
                let queues = svm.poc.gc_lock.lock();
                [queues.gc.check(cache), queues.restore.check(cache)]
            }
            Design::Hardened => [svm.hardened.pending.check(cache), svm.hardened.retry.check(cache)],
            Design::PocV8 => [svm.v8().work_lock.lock().gc.check(cache), Ok(0)],
        };
        for corrupt in lists.into_iter().filter_map(Result::err) {
            P::Kernel::warn(format_args!("queue: {corrupt}"));
        }
    }
}

/// See [`Inspect::ranges`].
pub struct Ranges<'a, P: Platform> {
    svm: &'a Svm<P>,
    notifier: Option<NotifierHandle<P, SvmRange<P>>>,
    range: Option<Handle<P>>,
    started: bool,
}

const EVERYTHING: Bytes = Bytes::new(0, u64::MAX);

/// At rest nobody else holds the driver lock, and so the caller as good as does.
fn at_rest() -> DriverLocked<'static> {
    DriverLocked::at_rest()
}

impl<P: Platform> Iterator for Ranges<'_, P> {
    type Item = RangeView;

    fn next(&mut self) -> Option<RangeView> {
        let (gpusvm, locked) = (&self.svm.gpusvm, at_rest());
        if !self.started {
            self.started = true;
            self.notifier = gpusvm.first_notifier(locked, EVERYTHING);
            self.range = self.notifier.and_then(|n| gpusvm.first_range(n, EVERYTHING, TreeAccess::Driver(locked)));
        }
        loop {
            if let Some(handle) = self.range {
                self.range = gpusvm.next_range(handle, EVERYTHING.end, TreeAccess::Driver(locked));
                return Some(view(self.svm, handle));
            }
            self.notifier = gpusvm.next_notifier(locked, self.notifier?, EVERYTHING.end);
            self.range = self.notifier.and_then(|n| gpusvm.first_range(n, EVERYTHING, TreeAccess::Driver(locked)));
        }
    }
}

fn view<P: Platform>(svm: &Svm<P>, handle: Handle<P>) -> RangeView {
    let range = svm.gpusvm.range(handle);
    let driver = &range.driver;
    let (gpu_mapped, pte_flags, attr_flags, in_queue) = match svm.design {
        Design::PocV1 => (
            driver.gpu_mapped.read_once(),
            driver.pte_flags.read_once(),
            driver.attr_flags.read_once(),
            driver.queue.with(|q| q.in_queue),
        ),
        Design::Hardened => {
            let s = driver.state.get();
            (s.mapped, s.pte_flags, s.attr_flags, s.queued != super::hardened::Queued::No)
        }
        Design::PocV8 => (
            driver.gpu_mapped.read_once(),
            PteFlags::NONE,
            driver.attr_flags.read_once(),
            driver.v8_queue.with(|q| q.state != super::v8::queue::QueueState::NotQueued),
        ),
    };
    RangeView {
        bytes: range.bytes(),
        flags: range.flags(),
        gpu_mapped,
        pte_flags,
        attr_flags,
        in_queue,
        references: range.refcount(),
    }
}
