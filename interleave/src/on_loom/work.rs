//! `workqueue.c`: what is queued, armed, run, flushed and cancelled. Who runs it is a role.
//!
//! A worker ([`workers`]) runs its items whenever they are due; a thread whose body is [`Loom::run_pending`] runs what
//! was queued before it looked; a flush runs the item on the flusher's stack when nobody runs it yet. An item is never
//! concurrent with itself, and the items of an ordered queue are not with each other. An item that runs on a flusher's
//! stack and wants a lock of the flusher is reported as the self-deadlock that it would be with a worker as well.
//!
//! A timer may expire at any moment: an armed item counts as pending for [`Loom::run_pending`], after the queued ones,
//! shortest delay first.

use super::Loom;
use super::context::{self, Mode};
use super::monitor::Monitor;
use super::workers;
use crate::lab::{Invariant, Lab, Violation};
use loom::thread::ThreadId;
use model::Errno;
use model::platform::{self, ClientId, QueueKind, WorkFunc};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

/// Runs at rest after which an item that queues itself again counts as endless.
const ROUNDS_AT_REST: u32 = 1000;

/// What a work item runs.
pub(super) type Runner = Rc<dyn Fn(ClientId, WorkFunc)>;

/// A workqueue as its handles and items see it.
#[derive(Debug)]
pub(super) struct Queue {
    name: &'static str,
    kind: QueueKind,
    epoch: u64,
    state: Monitor<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    items: Vec<Item>,
    /// Pending items in queueing order; each at most once.
    pending: VecDeque<usize>,
    destroyed: bool,
}

#[derive(Debug)]
struct Item {
    client: ClientId,
    func: WorkFunc,
    /// Delay of the armed timer and the order of arming.
    armed: Option<(u64, u64)>,
    /// How often it was queued, and how many of these have been run.
    queued: u64,
    done: u64,
    /// Who runs it now, and what `done` becomes.
    running: Option<(ThreadId, u64)>,
    /// `cancel_work_sync` calls in flight; queueing is refused meanwhile.
    cancelling: u32,
    /// Expiries of its timer so far, but for those that a flush brought about.
    expired: u32,
}

/// Since when an item may run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Due {
    /// It is pending.
    Now,
    /// Its timer may have expired.
    Armed,
    /// So may it, but it has expired often enough: only when nothing else can go on.
    Late,
}

/// A step of a flush.
enum Step {
    Finished,
    Run(usize),
    /// The flusher is inside of what it waits for.
    Never,
}

impl QueueState {
    fn is_pending(&self, item: usize) -> bool {
        self.pending.contains(&item)
    }

    fn expire(&mut self, item: usize) {
        if self.items[item].armed.take().is_some() {
            self.pending.push_back(item);
        }
    }

    /// Whether the queue lets this pending item start.
    fn may_start(&self, item: usize, kind: QueueKind) -> bool {
        match kind {
            QueueKind::Unbound => self.items[item].running.is_none(),
            QueueKind::Ordered => self.pending.front() == Some(&item) && self.running().next().is_none(),
        }
    }

    fn running(&self) -> impl Iterator<Item = (usize, ThreadId)> {
        self.items.iter().enumerate().filter_map(|(i, item)| Some((i, item.running?.0)))
    }

    fn start(&mut self, item: usize, by: ThreadId) {
        self.pending.retain(|i| *i != item);
        let item = &mut self.items[item];
        item.running = Some((by, item.queued));
    }

    /// The next item for a worker that has run `already`: a pending one, or else one whose timer may expire.
    fn next(&mut self, kind: QueueKind, already: &[usize]) -> Option<usize> {
        let fresh = |i: &usize| !already.contains(i);
        if let Some(item) = self.pending.iter().copied().filter(fresh).find(|i| self.may_start(*i, kind)) {
            return Some(item);
        }
        let free = |i: &usize| match kind {
            QueueKind::Unbound => self.items[*i].running.is_none(),
            QueueKind::Ordered => self.pending.is_empty() && self.running().next().is_none(),
        };
        let armed = (0..self.items.len()).filter(fresh).filter(free).filter_map(|i| Some((self.items[i].armed?, i)));
        let (_, item) = armed.min()?;
        self.expire(item);
        Some(item)
    }

    fn due(&self, item: usize, kind: QueueKind) -> Option<Due> {
        if self.is_pending(item) {
            return self.may_start(item, kind).then_some(Due::Now);
        }
        self.items[item].armed?;
        let free = match kind {
            QueueKind::Unbound => self.items[item].running.is_none(),
            QueueKind::Ordered => self.pending.is_empty() && self.running().next().is_none(),
        };
        let late = self.items[item].expired >= workers::FREE_TIMERS;
        free.then_some(if late { Due::Late } else { Due::Armed })
    }
}

impl Queue {
    fn item_name(&self, item: usize) -> String {
        format!("{} on {}", self.worker_name(item), self.name)
    }

    /// Runs an item that was started.
    fn run(&self, item: usize) {
        let (client, func) = self.state.peek(|state| (state.items[item].client, state.items[item].func));
        let Some(runner) = context::runner() else {
            panic!("{} is to run, but Loom::on_work was not called", self.item_name(item));
        };
        runner(client, func);
        self.state.change(|state| {
            let item = &mut state.items[item];
            let (_, done) = item.running.take().expect("nobody else ends a run");
            item.done = done;
        });
        workers::wake();
    }

    /// How many items it has.
    pub(super) fn len(&self) -> usize {
        self.state.peek(|state| state.items.len())
    }

    /// Whether a worker may take `item` up; no scheduling point.
    pub(super) fn due(&self, item: usize) -> Option<Due> {
        self.state.peek(|state| state.due(item, self.kind))
    }

    /// A worker takes `item` up and runs it, if it is still due by then.
    #[track_caller]
    pub(super) fn take_up(&self, item: usize) {
        let me = context::this_thread();
        let started = self.state.change(|state| {
            let due = state.due(item, self.kind)?;
            if due != Due::Now {
                state.items[item].expired += 1;
                state.expire(item);
            }
            state.start(item, me);
            Some(())
        });
        if started.is_some() {
            self.run(item);
        }
    }

    /// What a thread is called that runs nothing but `item`.
    pub(super) fn worker_name(&self, item: usize) -> String {
        let (client, func) = self.state.peek(|state| (state.items[item].client, state.items[item].func));
        let suffix = if client.0 == 0 { String::new() } else { format!(".{}", client.0) };
        format!("{}{suffix}", workers::func_name(func))
    }

    /// Items that may run and that nobody runs. For the panic hook: never blocks or panics.
    pub(super) fn unserved(&self) -> Vec<String> {
        let names = |state: &QueueState| {
            let due = |i: &usize| state.due(*i, self.kind).is_some();
            (0..state.items.len()).filter(due).map(|i| workers::func_name(state.items[i].func).to_owned()).collect()
        };
        self.state.peek_if_free(names).unwrap_or_default()
    }

    /// Runs or waits until `finished`, on behalf of somebody who waits for `item`, or for the whole queue.
    #[track_caller]
    fn flush(&self, item: Option<usize>, mode: Mode, finished: impl Fn(&QueueState) -> bool) {
        let me = context::this_thread();
        loop {
            let step = self.state.wait(mode, self.name, |state| {
                if finished(state) {
                    return Some(Step::Finished);
                }
                // What we wait for cannot end when it is us who runs it, or who runs what is ahead of it.
                let ours = state
                    .running()
                    .any(|(i, by)| by == me && (item.is_none_or(|item| item == i) || self.kind == QueueKind::Ordered));
                if ours {
                    return Some(Step::Never);
                }
                let wanted = |i: &usize| match self.kind {
                    QueueKind::Unbound => item.is_none_or(|item| item == *i),
                    QueueKind::Ordered => true,
                };
                let next = state.pending.iter().copied().filter(wanted).find(|i| state.may_start(*i, self.kind))?;
                state.start(next, me);
                Some(Step::Run(next))
            });
            match step {
                Step::Finished => return,
                Step::Never => {
                    let what = item.map_or(self.name.to_owned(), |item| self.item_name(item));
                    let who = context::this_name();
                    let what = format!("self-deadlock: {who} waits for {what} from within its work");
                    Loom::fail(Violation::new(Invariant::I8, what, None));
                }
                Step::Run(next) => self.run(next),
            }
        }
    }

    #[track_caller]
    fn flush_item(&self, item: usize) {
        context::might_sleep("flush_work");
        let target = self.state.change(|state| {
            state.expire(item);
            state.items[item].queued
        });
        self.flush(Some(item), Mode::Flush, |state| {
            state.items[item].done >= target || (!state.is_pending(item) && state.items[item].running.is_none())
        });
    }

    /// `queue_work`, `queue_delayed_work`.
    #[track_caller]
    fn queue(&self, item: usize, delay: Option<u64>) -> bool {
        let outcome = self.state.change(|state| {
            if state.destroyed {
                return None;
            }
            let armed = (0..state.items.len()).filter_map(|i| Some(state.items[i].armed?.1)).max().unwrap_or(0);
            if state.is_pending(item) || state.items[item].armed.is_some() || state.items[item].cancelling > 0 {
                return Some(false);
            }
            state.items[item].queued += 1;
            match delay {
                Some(delay) => state.items[item].armed = Some((delay, armed + 1)),
                None => state.pending.push_back(item),
            }
            Some(true)
        });
        if outcome == Some(true) {
            workers::wake();
        }
        outcome.unwrap_or_else(|| {
            let what = format!("{} is queued after the workqueue was destroyed", self.item_name(item));
            Loom::fail(Violation::new(Invariant::I12, what, None))
        })
    }

    /// `cancel_work_sync`.
    #[track_caller]
    fn cancel(&self, item: usize) -> bool {
        context::might_sleep("cancel_work_sync");
        let (was_pending, running) = self.state.change(|state| {
            let was_pending = state.is_pending(item) || state.items[item].armed.is_some();
            state.pending.retain(|i| *i != item);
            let running = state.items[item].running.is_some();
            state.items[item].armed = None;
            state.items[item].cancelling += u32::from(running);
            (was_pending, running)
        });
        if running {
            self.flush(Some(item), Mode::Cancel, |state| state.items[item].running.is_none());
            self.state.change(|state| state.items[item].cancelling -= 1);
        }
        if was_pending {
            // Another item of an ordered queue may be the next one now.
            workers::wake();
        }
        was_pending
    }

    /// `destroy_workqueue`: an armed timer would fire into freed memory.
    #[track_caller]
    fn destroy(&self) {
        context::might_sleep("destroy_workqueue");
        self.flush(None, Mode::Flush, |state| state.pending.is_empty() && state.running().next().is_none());
        let armed = self.state.change(|state| {
            state.destroyed = true;
            (0..state.items.len()).find(|i| state.items[*i].armed.is_some())
        });
        if let Some(item) = armed {
            let what = format!("the timer of {} is armed when the workqueue is destroyed", self.item_name(item));
            Loom::fail(Violation::new(Invariant::I12, what, None));
        }
    }
}

impl Loom {
    /// What work items run, for the rest of this execution. Work runs only after this was called.
    pub fn on_work(run: Rc<dyn Fn(ClientId, WorkFunc)>) {
        context::set_runner(run);
    }

    /// Runs every item that is pending, armed timers included, once; returns whether there was one. The body of a
    /// worker, or what the first thread does when the others have ended. An item that is queued again while it runs is
    /// left to the next call, so that an item which arms itself for ever does not keep a caller for ever.
    #[track_caller]
    pub fn run_pending() -> bool {
        let mut any = false;
        for queue in context::queues() {
            let mut already = Vec::new();
            let me = context::this_thread();
            loop {
                let next = queue.state.change(|state| {
                    let next = state.next(queue.kind, &already)?;
                    state.start(next, me);
                    Some(next)
                });
                let Some(next) = next else { break };
                already.push(next);
                any = true;
                queue.run(next);
            }
        }
        any
    }

    /// Runs at rest what is left until nothing is. Work that never ends is a violation of I6.
    #[track_caller]
    pub fn run_all_pending() {
        for _ in 0..ROUNDS_AT_REST {
            if !Loom::run_pending() {
                return;
            }
        }
        let what =
            format!("{} is queued again by each of {ROUNDS_AT_REST} runs at rest", workers::unserved().join(", "));
        Loom::fail(Violation::new(Invariant::I6, what, None));
    }
}

/// A workqueue; destroyed on drop.
pub struct WorkQueue(Rc<Queue>);

impl WorkQueue {
    pub(super) fn new(name: &'static str, kind: QueueKind) -> Self {
        let state = Monitor::new(name, QueueState::default());
        let queue = Rc::new(Queue { name, kind, epoch: context::epoch(), state });
        context::add_queue(&queue);
        WorkQueue(queue)
    }

    fn add(&self, client: ClientId, func: WorkFunc) -> (Rc<Queue>, usize) {
        let item = Item { client, func, armed: None, queued: 0, done: 0, running: None, cancelling: 0, expired: 0 };
        let index = self.0.state.change(|state| {
            state.items.push(item);
            state.items.len() - 1
        });
        (self.0.clone(), index)
    }
}

impl fmt::Debug for WorkQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkQueue({})", self.0.name)
    }
}

impl Drop for WorkQueue {
    fn drop(&mut self) {
        // After a violation, or after the execution, there is nobody left to run anything.
        let over = std::thread::panicking() || self.0.epoch != context::epoch();
        if !over && !self.0.state.peek(|state| state.destroyed) {
            self.0.destroy();
        }
    }
}

impl platform::WorkQueue<Loom> for WorkQueue {
    /// Never fails.
    fn work(&self, client: ClientId, func: WorkFunc) -> Result<Work, Errno> {
        let (queue, item) = self.add(client, func);
        Ok(Work { queue, item })
    }

    /// Never fails.
    fn delayed_work(&self, client: ClientId, func: WorkFunc) -> Result<DelayedWork, Errno> {
        let (queue, item) = self.add(client, func);
        Ok(DelayedWork { queue, item })
    }

    fn flush(&self) {
        context::might_sleep("flush_workqueue");
        let targets: Vec<(usize, u64)> = self.0.state.look(|state| {
            let due = |i: &usize| state.is_pending(*i) || state.items[*i].running.is_some();
            (0..state.items.len()).filter(due).map(|i| (i, state.items[i].queued)).collect()
        });
        self.0.flush(None, Mode::Flush, |state| {
            targets.iter().all(|(i, target)| {
                state.items[*i].done >= *target || (!state.is_pending(*i) && state.items[*i].running.is_none())
            })
        });
    }

    fn destroy(&self) {
        self.0.destroy();
    }
}

/// `struct work_struct`.
#[derive(Debug)]
pub struct Work {
    queue: Rc<Queue>,
    item: usize,
}

impl platform::Work for Work {
    fn queue(&self) -> bool {
        self.queue.queue(self.item, None)
    }
    fn flush(&self) {
        self.queue.flush_item(self.item);
    }
    fn cancel_sync(&self) -> bool {
        self.queue.cancel(self.item)
    }
}

/// `struct delayed_work`.
#[derive(Debug)]
pub struct DelayedWork {
    queue: Rc<Queue>,
    item: usize,
}

impl platform::DelayedWork for DelayedWork {
    /// As in the kernel, no delay means `queue_work`.
    fn queue(&self, delay_ms: u64) -> bool {
        self.queue.queue(self.item, (delay_ms > 0).then_some(delay_ms))
    }
    fn flush(&self) {
        self.queue.flush_item(self.item);
    }
    fn cancel_sync(&self) -> bool {
        self.queue.cancel(self.item)
    }
}
