//! Work items and workqueues as the scheduler sees them.

use super::exec::{Exec, Mode};
use super::object::NOBODY;
use super::op::{Kind, ObjectId, Op};
use model::platform::{ClientId, QueueKind, WorkFunc};

/// Index of a work item.
pub(crate) type ItemId = usize;
/// Index of a workqueue.
pub(crate) type QueueId = usize;

/// A workqueue.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) name: &'static str,
    pub(crate) kind: QueueKind,
    pub(crate) object: ObjectId,
    /// Items in queueing order (ordered queues only).
    pub(crate) order: Vec<ItemId>,
    /// Whether an item of an ordered queue runs.
    pub(crate) busy: bool,
    pub(crate) destroyed: bool,
}

/// A work item, delayed or not.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) queue: QueueId,
    /// Its own object on an unbound queue, the queue's on an ordered one.
    pub(crate) object: ObjectId,
    pub(crate) client: ClientId,
    pub(crate) func: WorkFunc,
    pub(crate) actor: u8,
    /// How often it was queued.
    pub(crate) queued: u64,
    /// The instance that waits to run.
    pub(crate) pending: Option<u64>,
    /// The instance that waits for its timer, and when that expires.
    pub(crate) timer: Option<(u64, u64)>,
    /// The instance that runs.
    pub(crate) running: Option<u64>,
    /// Timer expiries so far.
    pub(crate) expired: u32,
}

impl Item {
    pub(crate) fn new(queue: QueueId, object: ObjectId, client: ClientId, func: WorkFunc, actor: u8) -> Self {
        Item {
            queue,
            object,
            client,
            func,
            actor,
            queued: 0,
            pending: None,
            timer: None,
            running: None,
            expired: 0,
        }
    }

    /// Whether instance `target` and all before it are done with.
    pub(crate) fn is_done(&self, target: u64) -> bool {
        let waits = |instance: Option<u64>| instance.is_some_and(|i| i <= target);
        !waits(self.pending) && !waits(self.running) && !waits(self.timer.map(|(i, _)| i))
    }

    /// What the kernel calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self.func {
            WorkFunc::Gc => "gc_work",
            WorkFunc::Restore => "restore_work",
        }
    }
}

impl Exec {
    pub(crate) fn add_queue(&mut self, name: &'static str, kind: QueueKind) -> QueueId {
        let object = self.add_object(name, 0);
        self.queues.push(Queue { name, kind, object, order: Vec::new(), busy: false, destroyed: false });
        self.queues.len() - 1
    }

    /// Registers a work item and the worker that runs it.
    pub(crate) fn add_item(&mut self, queue: QueueId, client: ClientId, func: WorkFunc) -> ItemId {
        let name = Item::new(queue, 0, client, func, 0).name();
        let object = match self.queues[queue].kind {
            QueueKind::Unbound => self.add_object(name, 0),
            QueueKind::Ordered => self.queues[queue].object,
        };
        let suffix = if client.0 == 0 { String::new() } else { format!(".{}", client.0) };
        let id = self.items.len();
        // In setup the threads do not exist yet: the engine renumbers workers behind them when the race begins.
        let actor =
            if self.mode == Mode::Running { self.add_actor(format!("{name}{suffix}"), true) } else { NOBODY };
        self.items.push(Item::new(queue, object, client, func, actor));
        if actor != NOBODY {
            self.pending[actor as usize] = Op::with_arg(Kind::WorkStart, object, id as u64);
        }
        id
    }

    /// Gives every item registered in setup its worker.
    pub(crate) fn add_workers(&mut self) {
        for id in 0..self.items.len() {
            let item = &self.items[id];
            let suffix = if item.client.0 == 0 { String::new() } else { format!(".{}", item.client.0) };
            let (name, object) = (format!("{}{suffix}", item.name()), item.object);
            let actor = self.add_actor(name, true);
            self.items[id].actor = actor;
            self.pending[actor as usize] = Op::with_arg(Kind::WorkStart, object, id as u64);
        }
    }

    /// The effect of `queue_work`; false when it was pending.
    pub(crate) fn queue_item(&mut self, id: ItemId) -> bool {
        let item = &mut self.items[id];
        if item.pending.is_some() || item.timer.is_some() {
            return false;
        }
        item.queued += 1;
        item.pending = Some(item.queued);
        let queue = item.queue;
        if self.queues[queue].kind == QueueKind::Ordered {
            self.queues[queue].order.push(id);
        }
        true
    }

    /// The effect of `queue_delayed_work`; false when it was pending.
    pub(crate) fn arm_item(&mut self, id: ItemId, delay_ms: u64) -> bool {
        let when = self.now_ms + delay_ms;
        let item = &mut self.items[id];
        if item.pending.is_some() || item.timer.is_some() {
            return false;
        }
        item.queued += 1;
        item.timer = Some((item.queued, when));
        true
    }

    /// Cuts the timer short: the item is pending now.
    pub(crate) fn expire_item(&mut self, id: ItemId) {
        let item = &mut self.items[id];
        if let Some((instance, _)) = item.timer.take() {
            item.pending = Some(instance);
            let queue = item.queue;
            if self.queues[queue].kind == QueueKind::Ordered {
                self.queues[queue].order.push(id);
            }
        }
    }

    /// Takes the item off its queue and stops its timer; whether there was anything.
    pub(crate) fn cancel_item(&mut self, id: ItemId) -> bool {
        let item = &mut self.items[id];
        let was = item.pending.take().is_some() | item.timer.take().is_some();
        let queue = item.queue;
        self.queues[queue].order.retain(|&other| other != id);
        was
    }

    /// The worker takes the item up; a timer that was running has expired.
    pub(crate) fn start_item(&mut self, id: ItemId) {
        let item = &mut self.items[id];
        item.running = match (item.pending.take(), item.timer.take()) {
            (Some(instance), timer) => {
                item.timer = timer;
                Some(instance)
            }
            (None, Some((instance, when))) => {
                item.expired += 1;
                self.now_ms = self.now_ms.max(when);
                Some(instance)
            }
            (None, None) => unreachable!("a worker starts only what is pending"),
        };
        let queue = &mut self.queues[item.queue];
        if queue.kind == QueueKind::Ordered {
            queue.order.retain(|&other| other != id);
            queue.busy = true;
        }
    }

    /// The worker has finished the item.
    pub(crate) fn end_item(&mut self, id: ItemId) {
        if self.mode == Mode::Ending {
            return;
        }
        let clock = self.hand_over();
        let item = &mut self.items[id];
        item.running = None;
        self.objects[item.object as usize].queued.join(&clock);
        let queue = &mut self.queues[item.queue];
        if queue.kind == QueueKind::Ordered {
            queue.busy = false;
        }
    }
}
