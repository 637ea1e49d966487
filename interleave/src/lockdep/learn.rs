//! What a stack that was not seen before teaches: recursion, order, use in interrupts. Written down here; what follows
//! from it is found out at the end of the search ([`predict`](super::predict)).
//!
//! Everything here happens once for each stack of classes in a part of a search; it may be slow.

use super::Lockdep;
use super::actor::{Irq, Key};
use super::lesson::{Lesson, Scene, Stacked, Waits};
use crate::engine::exec::short;
use crate::engine::frame::Frame;
use crate::explore::Schedule;
use std::borrow::Cow;
use std::panic::Location;

/// Who takes a lock, and when.
pub(super) struct Moment<'a> {
    pub(super) actor: u8,
    pub(super) name: &'a str,
    /// The events so far.
    pub(super) frames: &'a [Frame],
    pub(super) place: &'static Location<'static>,
}

impl Lockdep {
    /// `key` is taken on top of what the actor holds, for the first time.
    #[cold]
    pub(super) fn learn(&mut self, key: Key, waits: Waits, moment: &Moment<'_>) {
        let lesson = Lesson {
            scene: self.scene(self.stacked(key, moment.place), waits, moment),
            in_handler: key.irq() == Irq::Handler && key.waits(),
            irqs_on: key.irq() == Irq::On && waits == Waits::Takes,
            orders: key.waits(),
        };
        self.lessons.learn(lesson, &mut self.known);
    }

    /// What the actor holds has interrupts on from now.
    #[cold]
    pub(super) fn learn_irqs_on(&mut self, moment: &Moment<'_>) {
        for held in self.holders[moment.actor as usize].held.clone() {
            let scene = self.scene(self.stacked(held.key, held.place), Waits::Takes, moment);
            let lesson = Lesson { scene, in_handler: false, irqs_on: true, orders: false };
            self.lessons.learn(lesson, &mut self.known);
        }
    }

    fn stacked(&self, key: Key, place: &'static Location<'static>) -> Stacked {
        Stacked {
            class: self.classes.get(key.class()).name(),
            how: key.how(),
            begun: !key.waits(),
            file: Cow::Borrowed(short(place.file())),
            line: place.line(),
        }
    }

    fn scene(&self, taken: Stacked, waits: Waits, moment: &Moment<'_>) -> Scene {
        let held = self.holders[moment.actor as usize].context().iter();
        Scene {
            actor: moment.name.to_string(),
            held: held.map(|held| self.stacked(held.key, held.place)).collect(),
            taken,
            waits,
            schedule: Schedule::of(moment.frames),
        }
    }
}
