//! What the primitives call. All of it is about the running actor; outside of executions nothing happens.

use super::Lockdep;
use super::actor::{How, Key, Wait};
use super::class::{ClassId, Sort};
use super::learn::Moment;
use super::lesson::Waits;
use crate::engine::clock::MAX_ACTORS;
use crate::engine::exec::{Exec, Mode};
use crate::engine::work::{ItemId, QueueId};
use std::panic::Location;

type Place = &'static Location<'static>;

impl Exec {
    /// The class of a lock or map; 0 when the validator is off.
    pub(crate) fn lock_class(&mut self, sort: Sort, name: &'static str) -> ClassId {
        if self.lockdep.on { self.lockdep.classes.plain(sort, name) } else { 0 }
    }

    /// The running actor is about to take a lock. Its class with the subclass that holds now, to be given back.
    #[inline]
    pub(crate) fn lock_taken(&mut self, class: ClassId, how: How, wait: Wait, place: Place) -> ClassId {
        if class == 0 || self.mode != Mode::Running {
            return class;
        }
        let holder = &mut self.lockdep.holders[self.current as usize % MAX_ACTORS];
        let key = holder.key(class, how, wait);
        match self.lockdep.chains.find(holder.node, key.number()) {
            Some(node) if holder.subclass == 0 && holder.has_room() => {
                holder.push(key, place, node);
                class
            }
            _ => self.lock_taken_anew(class, how, wait, place),
        }
    }

    /// The same, when it is new or nested, or there is no room.
    #[cold]
    #[inline(never)]
    fn lock_taken_anew(&mut self, class: ClassId, how: How, wait: Wait, place: Place) -> ClassId {
        let Exec { lockdep, current, .. } = self;
        let holder = &lockdep.holders[*current as usize];
        let class = match holder.subclass {
            0 => class,
            subclass => lockdep.classes.nested(class, subclass),
        };
        let key = holder.key(class, how, wait);
        let (node, seen) = lockdep.chains.child(holder.node, key.number());
        if !seen {
            self.lock_is_new(key, Waits::Takes, place);
        }
        self.lockdep.holders[self.current as usize].push(key, place, node);
        class
    }

    /// The running actor lets go of it.
    #[inline]
    pub(crate) fn lock_released(&mut self, class: ClassId, how: How) {
        if class != 0 && self.mode == Mode::Running {
            self.lockdep.holders[self.current as usize % MAX_ACTORS].pop(class, how, &mut self.lockdep.chains);
        }
    }

    /// `lock_sync`: the running actor waits for those that have it, and does not take it.
    pub(crate) fn lock_synced(&mut self, class: ClassId, place: Place) {
        if class == 0 || self.mode != Mode::Running {
            return;
        }
        let begun = self.lockdep.classes.get(class).begun;
        let holder = &mut self.lockdep.holders[self.current as usize % MAX_ACTORS];
        holder.awaits = Some((class, begun));
        let key = holder.key(class, How::Write, Wait::May);
        // Not the same as taking it, which also says that it is held with interrupts on.
        let (_, seen) = self.lockdep.chains.child(holder.node, key.sync());
        if !seen {
            self.lock_is_new(key, Waits::Syncs, place);
        }
    }

    /// The running actor takes it upon itself to signal; whoever waits for the map waits for it.
    pub(crate) fn map_begun(&mut self, class: ClassId, place: Place) {
        if class != 0 && self.mode == Mode::Running {
            self.lockdep.classes.begin(class);
        }
        self.lock_taken(class, How::Recursive, Wait::Never, place);
    }

    /// `fs_reclaim_acquire` and `_release` of an allocation with `GFP_KERNEL`.
    pub(crate) fn might_reclaim(&mut self, place: Place) {
        if !self.lockdep.on || self.mode != Mode::Running {
            return;
        }
        let holder = &self.lockdep.holders[self.current as usize % MAX_ACTORS];
        if holder.noreclaim > 0 {
            return;
        }
        let key = holder.key(Lockdep::RECLAIM, How::Write, Wait::May);
        let (node, seen) = self.lockdep.chains.child(holder.node, key.allocation());
        if !seen {
            let inner = holder.key(Lockdep::NOTIFIER, How::Write, Wait::May);
            self.lock_is_new(key, Waits::Allocates, place);
            self.lockdep.holders[self.current as usize].push(key, place, node);
            self.lock_is_new(inner, Waits::Allocates, place);
            self.lock_released(Lockdep::RECLAIM, How::Write);
        }
    }

    /// Enters (or leaves) a section whose allocations do not reclaim. Whether the running actor is one.
    pub(crate) fn noreclaim(&mut self, enter: bool) {
        if self.mode == Mode::Running {
            let depth = &mut self.lockdep.holders[self.current as usize].noreclaim;
            *depth = if enter { *depth + 1 } else { depth.saturating_sub(1) };
        }
    }

    /// Locks that the running actor takes from now on have this subclass; returns the one before.
    pub(crate) fn lock_subclass(&mut self, subclass: u8) -> u8 {
        if self.mode != Mode::Running {
            return 0;
        }
        std::mem::replace(&mut self.lockdep.holders[self.current as usize].subclass, subclass)
    }

    /// The running actor becomes an interrupt handler; None when it is one. Give the result to [`Exec::handler_ends`].
    pub(crate) fn handler_begins(&mut self) -> Option<usize> {
        if self.mode != Mode::Running {
            return None;
        }
        let floor = self.lockdep.holders[self.current as usize].enter_handler()?;
        self.atomic_depth[self.current as usize] += 1;
        Some(floor)
    }

    /// The handler returns.
    pub(crate) fn handler_ends(&mut self, floor: usize) {
        if self.mode == Mode::Running {
            self.lockdep.holders[self.current as usize].leave_handler(floor, &mut self.lockdep.chains);
            self.atomic_depth[self.current as usize] -= 1;
        }
    }

    /// `local_irq_save`. Sleeping is forbidden until they are back.
    pub(crate) fn irqs_off(&mut self) {
        if self.mode == Mode::Running {
            self.lockdep.holders[self.current as usize].irqs_off();
            self.atomic_depth[self.current as usize] += 1;
        }
    }

    /// `local_irq_restore`.
    pub(crate) fn irqs_back(&mut self, place: Place) {
        if self.mode != Mode::Running {
            return;
        }
        let depth = &mut self.atomic_depth[self.current as usize];
        *depth = depth.saturating_sub(1);
        if self.lockdep.holders[self.current as usize].irqs_back() && self.lockdep.on {
            let moment = Moment {
                actor: self.current,
                name: &self.all_names[self.current as usize],
                frames: &self.frames[..self.depth],
                place,
            };
            self.lockdep.learn_irqs_on(&moment);
        }
    }

    /// The maps of a work item's queue and of the item.
    pub(crate) fn maps_of(&mut self, id: ItemId) -> (ClassId, ClassId) {
        let (queue, name) = (self.items[id].queue, self.items[id].name());
        (self.map_of_queue(queue), self.lock_class(Sort::Work, name))
    }

    /// The map of a workqueue.
    pub(crate) fn map_of_queue(&mut self, queue: QueueId) -> ClassId {
        let name = self.queues[queue].name;
        self.lock_class(Sort::Queue, name)
    }

    /// What forbids `actor` to sleep.
    pub(crate) fn why_atomic(&self, actor: u8) -> &'static str {
        self.lockdep.holders[actor as usize].why_atomic()
    }

    /// Who has the map called `name`, which `actor` waits for, and how often it was begun since `actor` waits.
    pub(crate) fn map_holders(&self, actor: u8, name: &str) -> (Vec<usize>, u32) {
        let Some(class) = self.lockdep.classes.map(name) else { return (Vec::new(), 0) };
        let has = |a: &usize| self.lockdep.holders[*a].held.iter().any(|held| held.key.class() == class);
        let since = match self.lockdep.holders[actor as usize].awaits {
            Some((awaited, begun)) if awaited == class => self.lockdep.classes.get(class).begun.wrapping_sub(begun),
            _ => 0,
        };
        ((0..self.actors).filter(has).collect(), since)
    }

    #[cold]
    fn lock_is_new(&mut self, key: Key, waits: Waits, place: Place) {
        let Exec { lockdep, all_names: names, frames, depth, current, .. } = self;
        let moment = Moment { actor: *current, name: &names[*current as usize], frames: &frames[..*depth], place };
        lockdep.learn(key, waits, &moment);
    }
}
