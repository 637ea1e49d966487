//! Workqueues, and the way from a work item back to its instance.

use super::thread::{Flag, grace, sleep, wait};
use super::{Failure, Outcome, Test, ensure, made};
use crate::kernel::{DelayedWork, LinuxKernel, Work, WorkQueue};
use crate::registry::{Client, Registration};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use model::platform::{ClientId, DelayedWork as _, Kernel, MmuEvent, QueueKind, Work as _, WorkFunc, WorkQueue as _};

pub(super) const TESTS: &[Test] = &[
    Test { name: "a work item runs once for each time it is queued", run: runs_once },
    Test { name: "a work item that is pending is not queued again", run: pending },
    Test { name: "a work item that runs can be queued, and does not run beside itself", run: requeue },
    Test { name: "a work item finds the instance and the function it was made with", run: dispatch },
    Test { name: "items of an unbound queue run beside each other", run: unbound },
    Test { name: "items of an ordered queue run one after the other, in the order of queueing", run: ordered },
    Test { name: "flushing a work item waits for its end", run: flush_item },
    Test { name: "flushing a queue waits for everything that was queued", run: flush_queue },
    Test { name: "cancelling a pending work item: it does not run", run: cancel_pending },
    Test { name: "cancelling a running work item waits for its end", run: cancel_running },
    Test { name: "destroying a queue runs what is pending, and what that queues", run: destroy_drains },
];

pub(super) const DELAYED_TESTS: &[Test] = &[
    Test { name: "a delayed work item runs after its delay, not before", run: delay },
    Test { name: "a delayed work item that is pending keeps its time", run: delay_kept },
    Test { name: "flushing a delayed work item runs it at once", run: delay_flush },
    Test { name: "cancelling a delayed work item: it does not run", run: delay_cancel },
];

/// An instance whose every work item runs one closure.
struct Items<F>(F);

impl<F: Fn(WorkFunc)> Client for Items<F> {
    fn mmu_invalidate(&self, _: u64, _: &MmuEvent, _: u64) -> bool {
        true
    }
    unsafe fn invalidate(&self, _: u64, _: &MmuEvent) {}
    fn work(&self, func: WorkFunc) {
        (self.0)(func);
    }
}

/// A number for `client` while `test` runs, which leaves nothing behind that calls it.
pub(super) fn registered<R>(client: &dyn Client, test: impl FnOnce(ClientId) -> R) -> Result<R, Failure> {
    let registration = made(Registration::new())?;
    let client: *const (dyn Client + '_) = client;
    // SAFETY: only the lifetime changes, and nobody uses it beyond, see the next line.
    let client: *mut (dyn Client + 'static) = unsafe { core::mem::transmute(client) };
    // SAFETY: not null, being a reference's. Notifiers and work items with this number are gone when `test` returns,
    // because it makes them itself and each goes with its handle or is removed.
    unsafe { registration.publish(NonNull::new_unchecked(client)) };
    Ok(test(registration.id()))
}

/// A queue of this kind with an instance whose items run `item`, for `test`; then it is flushed.
fn queue_with(
    kind: QueueKind,
    item: impl Fn(WorkFunc) + Sync,
    test: impl FnOnce(&WorkQueue, ClientId) -> Outcome,
) -> Outcome {
    let queue = made(LinuxKernel::alloc_workqueue("selftest", kind))?;
    registered(&Items(item), |client| test(&queue, client))?
}

fn work(queue: &WorkQueue, client: ClientId, func: WorkFunc) -> Result<Item, Failure> {
    Ok(Item(made(queue.work(client, func))?))
}

/// Those that are pending already are not.
fn queue_all(items: &[Item]) {
    for item in items {
        item.queue();
    }
}

/// Keeps an item running until it may go; one that nobody lets go has an end of its own.
fn hold(go: &Flag) {
    go.wait();
}

/// A work item that is neither pending nor running when it goes, however the test ends.
struct Item(Work);

impl core::ops::Deref for Item {
    type Target = Work;
    fn deref(&self) -> &Work {
        &self.0
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.0.cancel_sync();
    }
}

struct DelayedItem(DelayedWork);

impl core::ops::Deref for DelayedItem {
    type Target = DelayedWork;
    fn deref(&self) -> &DelayedWork {
        &self.0
    }
}

impl Drop for DelayedItem {
    fn drop(&mut self) {
        self.0.cancel_sync();
    }
}

#[derive(Default)]
struct Counter(AtomicU32);

impl Counter {
    fn add(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn sub(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
    fn get(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }
}

fn runs_once() -> Outcome {
    let runs = Counter::default();
    queue_with(
        QueueKind::Unbound,
        |_| runs.add(),
        |queue, client| {
            let item = work(queue, client, WorkFunc::Gc)?;
            for times in 1..=20 {
                ensure!(item.queue(), "it is pending before it was queued");
                ensure!(wait(|| runs.get() >= times), "it does not run");
                item.flush();
                ensure!(runs.get() == times, "queued {times} times, run {} times", runs.get());
            }
            Ok(())
        },
    )
}

fn pending() -> Outcome {
    let (go, runs) = (Flag::new(), Counter::default());
    let item = |func| match func {
        WorkFunc::Gc => hold(&go),
        _ => runs.add(),
    };
    queue_with(QueueKind::Ordered, item, |queue, client| {
        let (first, second) = (work(queue, client, WorkFunc::Gc)?, work(queue, client, WorkFunc::Restore)?);
        first.queue();
        let (once, twice) = (second.queue(), second.queue());
        go.set();
        queue.flush();
        ensure!(once && !twice, "queued: {once}, queued while pending: {twice}");
        ensure!(runs.get() == 1, "it ran {} times", runs.get());
        Ok(())
    })
}

fn requeue() -> Outcome {
    let (inside, go) = (Flag::new(), Flag::new());
    let (running, runs, together) = (Counter::default(), Counter::default(), Counter::default());
    let item = |_| {
        running.add();
        inside.set();
        go.wait();
        if running.get() > 1 {
            together.add();
        }
        runs.add();
        running.sub();
    };
    queue_with(QueueKind::Unbound, item, |queue, client| {
        let item = work(queue, client, WorkFunc::Gc)?;
        item.queue();
        let came = inside.wait();
        let again = item.queue();
        grace();
        go.set();
        item.flush();
        ensure!(came && again, "it cannot be queued while it runs");
        ensure!(runs.get() == 2, "queued twice, run {} times", runs.get());
        ensure!(together.get() == 0, "it ran beside itself");
        Ok(())
    })
}

fn dispatch() -> Outcome {
    let (gc, restore, other) = (Counter::default(), Counter::default(), Counter::default());
    let stranger = Counter::default();
    let item = |func| match func {
        WorkFunc::Gc => gc.add(),
        WorkFunc::Restore => restore.add(),
        _ => other.add(),
    };
    queue_with(
        QueueKind::Unbound,
        |_| stranger.add(),
        |queue, strange| {
            registered(&Items(item), |client| {
                let items = [
                    work(queue, client, WorkFunc::Gc)?,
                    work(queue, client, WorkFunc::Restore)?,
                    work(queue, client, WorkFunc::ReleaseProcess)?,
                    work(queue, strange, WorkFunc::Gc)?,
                ];
                queue_all(&items);
                queue.flush();
                let runs = [gc.get(), restore.get(), other.get(), stranger.get()];
                ensure!(runs == [1; 4], "gc, restore, another function, another instance ran {runs:?} times");
                Ok(())
            })?
        },
    )
}

/// Each of two items waits for the other to run, or for a while: how many met.
fn meet(kind: QueueKind, patient: bool) -> Result<(u32, bool), Failure> {
    let (first, second, met, order_kept) = (Flag::new(), Flag::new(), Counter::default(), Flag::new());
    let item = |func| {
        let (mine, theirs) = if func == WorkFunc::Gc { (&first, &second) } else { (&second, &first) };
        if func == WorkFunc::Gc && !theirs.is_set() {
            order_kept.set();
        }
        mine.set();
        let together = if patient {
            theirs.wait()
        } else {
            let before = theirs.is_set();
            grace();
            // For the second of two that run in turn, the first has been there long since.
            theirs.is_set() && !before
        };
        if together {
            met.add();
        }
    };
    queue_with(kind, item, |queue, client| {
        let (gc, restore) = (work(queue, client, WorkFunc::Gc)?, work(queue, client, WorkFunc::Restore)?);
        gc.queue();
        restore.queue();
        queue.flush();
        ensure!(first.is_set() && second.is_set(), "an item did not run");
        Ok(())
    })?;
    Ok((met.get(), order_kept.is_set()))
}

fn unbound() -> Outcome {
    let (met, _) = meet(QueueKind::Unbound, true)?;
    ensure!(met == 2, "{met} of two items met the other");
    Ok(())
}

fn ordered() -> Outcome {
    let (met, order) = meet(QueueKind::Ordered, false)?;
    ensure!(met == 0, "two items ran beside each other");
    ensure!(order, "the second item ran before the first");
    Ok(())
}

fn flush_item() -> Outcome {
    let (inside, over) = (Flag::new(), Flag::new());
    let item = |_| {
        inside.set();
        grace();
        over.set();
    };
    queue_with(QueueKind::Unbound, item, |queue, client| {
        let item = work(queue, client, WorkFunc::Gc)?;
        item.queue();
        inside.wait();
        item.flush();
        ensure!(over.is_set(), "the flush returned while it ran");
        Ok(())
    })
}

fn flush_queue() -> Outcome {
    let runs = Counter::default();
    let item = |_| {
        grace();
        runs.add();
    };
    queue_with(QueueKind::Ordered, item, |queue, client| {
        let items = [
            work(queue, client, WorkFunc::Gc)?,
            work(queue, client, WorkFunc::Restore)?,
            work(queue, client, WorkFunc::Deferred)?,
        ];
        queue_all(&items);
        queue.flush();
        ensure!(runs.get() == 3, "the flush returned when {} of 3 items had run", runs.get());
        Ok(())
    })
}

fn cancel_pending() -> Outcome {
    let (go, ran) = (Flag::new(), Flag::new());
    let item = |func| match func {
        WorkFunc::Gc => hold(&go),
        _ => ran.set(),
    };
    queue_with(QueueKind::Ordered, item, |queue, client| {
        let (first, second) = (work(queue, client, WorkFunc::Gc)?, work(queue, client, WorkFunc::Restore)?);
        first.queue();
        second.queue();
        let (cancelled, again) = (second.cancel_sync(), second.cancel_sync());
        go.set();
        queue.flush();
        ensure!(cancelled && !again, "cancelled: {cancelled}, once more: {again}");
        ensure!(!ran.is_set(), "it ran");
        ensure!(second.queue(), "it cannot be queued any more");
        queue.flush();
        ensure!(ran.is_set(), "queued anew it does not run");
        Ok(())
    })
}

fn cancel_running() -> Outcome {
    let (inside, over) = (Flag::new(), Flag::new());
    let item = |_| {
        inside.set();
        grace();
        over.set();
    };
    queue_with(QueueKind::Unbound, item, |queue, client| {
        let item = work(queue, client, WorkFunc::Gc)?;
        item.queue();
        inside.wait();
        let cancelled = item.cancel_sync();
        ensure!(!cancelled, "it counts as cancelled although it ran");
        ensure!(over.is_set(), "the cancel returned while it ran");
        Ok(())
    })
}

fn destroy_drains() -> Outcome {
    const TIMES: u32 = 4;
    let runs = Counter::default();
    let queue = made(LinuxKernel::alloc_workqueue("selftest", QueueKind::Unbound))?;
    let itself = AtomicPtr::<Work>::new(ptr::null_mut());
    let item = |_| {
        grace();
        runs.add();
        // SAFETY: NULL, or the item that runs.
        if let Some(work) = unsafe { itself.load(Ordering::Acquire).as_ref() }
            && runs.get() < TIMES
        {
            work.queue();
        }
    };
    registered(&Items(item), |client| {
        let item = work(&queue, client, WorkFunc::Gc)?;
        itself.store((&raw const item.0).cast_mut(), Ordering::Release);
        item.queue();
        queue.destroy();
        ensure!(runs.get() == TIMES, "destroyed after {} of {TIMES} runs", runs.get());
        Ok(())
    })?
}

fn delayed(queue: &WorkQueue, client: ClientId) -> Result<DelayedItem, Failure> {
    Ok(DelayedItem(made(queue.delayed_work(client, WorkFunc::Gc))?))
}

fn delay() -> Outcome {
    const DELAY_MS: u64 = 100;
    // Two timer ticks of 100 Hz: the clock of now_ms is that coarse, and read at both ends.
    const COARSE_MS: u64 = 20;
    let ran = Flag::new();
    queue_with(
        QueueKind::Unbound,
        |_| ran.set(),
        |queue, client| {
            let item = delayed(queue, client)?;
            let start = LinuxKernel::now_ms();
            ensure!(item.queue(DELAY_MS), "it is pending before it was queued");
            ensure!(ran.wait(), "it does not run");
            let took = LinuxKernel::now_ms() - start;
            ensure!(took + COARSE_MS >= DELAY_MS, "delayed by {DELAY_MS} ms, it ran after {took} ms");
            Ok(())
        },
    )
}

/// How often a test that has to be faster than a timer may try: a busy machine can be slower.
const ATTEMPTS: u32 = 30;

fn delay_kept() -> Outcome {
    let ran = Flag::new();
    queue_with(
        QueueKind::Unbound,
        |_| ran.set(),
        |queue, client| {
            let item = delayed(queue, client)?;
            for _ in 0..ATTEMPTS {
                ran.clear();
                let first = item.queue(50);
                let again = item.queue(3_600_000);
                if again && ran.wait() {
                    // It was not pending any more.
                    item.cancel_sync();
                    continue;
                }
                ensure!(first && !again, "queued: {first}, queued while pending: {again}");
                ensure!(ran.wait(), "it has got the other time");
                return Ok(());
            }
            ensure!(false, "it is never pending when it is queued again");
            Ok(())
        },
    )
}

fn delay_flush() -> Outcome {
    let ran = Flag::new();
    queue_with(
        QueueKind::Unbound,
        |_| {
            grace();
            ran.set();
        },
        |queue, client| {
            let item = delayed(queue, client)?;
            item.queue(3_600_000);
            item.flush();
            ensure!(ran.is_set(), "the flush returned, and it has not run");
            Ok(())
        },
    )
}

fn delay_cancel() -> Outcome {
    let ran = Flag::new();
    queue_with(
        QueueKind::Unbound,
        |_| ran.set(),
        |queue, client| {
            let item = delayed(queue, client)?;
            for _ in 0..ATTEMPTS {
                ran.clear();
                item.queue(30);
                let (cancelled, again) = (item.cancel_sync(), item.cancel_sync());
                if !cancelled && ran.is_set() {
                    continue;
                }
                sleep(80);
                ensure!(cancelled && !again, "cancelled: {cancelled}, once more: {again}");
                ensure!(!ran.is_set(), "it ran");
                return Ok(());
            }
            ensure!(false, "it always ran before it could be cancelled");
            Ok(())
        },
    )
}
