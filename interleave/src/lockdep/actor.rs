//! What an actor holds, and in which context it is.

use super::chain::{Chains, Node, ROOT};
use super::class::ClassId;
use serde::{Deserialize, Serialize};
use std::panic::Location;

/// How a lock is held.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub(crate) enum How {
    /// By nobody else.
    Write = 0,
    /// With other readers; a queued writer stops it.
    Read = 1,
    /// With other readers, whoever waits.
    Recursive = 2,
}

impl How {
    pub(super) const ALL: [How; 3] = [How::Write, How::Read, How::Recursive];
}

/// Whether taking it can wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// It can.
    May,
    /// It cannot: trylock, or the beginning of something that others wait for.
    Never,
}

/// Interrupts where a lock is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Irq {
    On = 0,
    Off = 1,
    Handler = 2,
}

/// One acquisition in one word: class, how, whether it can wait, interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key(u32);

impl Key {
    const NEVER_WAITS: u32 = 1 << 4;

    /// `irq` as a holder keeps it.
    #[inline]
    fn new(class: ClassId, how: How, wait: Wait, irq: u32) -> Key {
        let never = if wait == Wait::Never { Key::NEVER_WAITS } else { 0 };
        Key(u32::from(class) << 8 | never | irq | how as u32)
    }
    /// The same key for something that is known under another name: an allocation.
    pub(super) const fn allocation(self) -> u32 {
        self.0 | 1 << 5
    }
    /// The same key for waiting without taking.
    pub(super) const fn sync(self) -> u32 {
        self.0 | 1 << 6
    }
    pub(super) const fn number(self) -> u32 {
        self.0
    }
    pub(super) const fn class(self) -> ClassId {
        (self.0 >> 8) as ClassId
    }
    pub(super) const fn how(self) -> How {
        match self.0 & 3 {
            0 => How::Write,
            1 => How::Read,
            _ => How::Recursive,
        }
    }
    pub(super) const fn waits(self) -> bool {
        self.0 & Key::NEVER_WAITS == 0
    }
    pub(super) const fn irq(self) -> Irq {
        match self.0 >> 2 & 3 {
            0 => Irq::On,
            1 => Irq::Off,
            _ => Irq::Handler,
        }
    }
    /// Whether it is of `class` and held like this.
    #[inline]
    fn is(self, class: ClassId, how: How) -> bool {
        self.0 & !(Key::NEVER_WAITS | 3 << 2) == u32::from(class) << 8 | how as u32
    }
}

/// A lock that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) key: Key,
    /// The stack without it and what is on top.
    below: Node,
    pub(super) place: &'static Location<'static>,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Holder {
    pub(super) held: Vec<Held>,
    /// The stack.
    pub(super) node: Node,
    /// [`Irq`], where a key has it.
    irq: u32,
    pub(super) subclass: u8,
    pub(super) noreclaim: u32,
    /// The first lock of the context it is in: a handler does not nest in what it interrupts.
    floor: usize,
    irqs_off: u32,
    /// The map it waits for, and how often that had been begun then.
    pub(super) awaits: Option<(ClassId, u32)>,
}

impl Holder {
    pub(super) fn reset(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.clear();
        *self = Holder { held, ..Holder::default() };
    }

    /// What taking a lock here is.
    #[inline]
    pub(super) fn key(&self, class: ClassId, how: How, wait: Wait) -> Key {
        Key::new(class, how, wait, self.irq)
    }

    /// What forbids it to sleep.
    pub(super) fn why_atomic(&self) -> &'static str {
        match Key(self.irq).irq() {
            Irq::Handler => "in an interrupt handler",
            Irq::Off => "while interrupts are off",
            Irq::On => "while it holds a spinlock",
        }
    }

    /// What it holds in the context it is in.
    pub(super) fn context(&self) -> &[Held] {
        &self.held[self.floor..]
    }

    /// Whether pushing is but a store.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.held.len() < self.held.capacity()
    }

    #[inline]
    pub(super) fn push(&mut self, key: Key, place: &'static Location<'static>, node: Node) {
        self.held.push(Held { key, below: self.node, place });
        self.node = node;
    }

    /// Lets go of the innermost lock of `class` that is held like this.
    #[inline]
    pub(super) fn pop(&mut self, class: ClassId, how: How, chains: &mut Chains) {
        match self.held.last() {
            Some(last) if last.key.is(class, how) && self.floor < self.held.len() => {
                self.node = last.below;
                self.held.pop();
            }
            _ => self.pop_below(class, how, chains),
        }
    }

    #[cold]
    fn pop_below(&mut self, class: ClassId, how: How, chains: &mut Chains) {
        if let Some(at) = self.held.iter().rposition(|held| held.key.is(class, how)) {
            self.held.remove(at);
            self.floor -= usize::from(at < self.floor);
            self.find_node(chains);
        }
    }

    /// Whatever order there is between those that are held is known: they were taken one after the other.
    fn find_node(&mut self, chains: &mut Chains) {
        self.node = ROOT;
        for held in &mut self.held[self.floor..] {
            held.below = self.node;
            self.node = chains.child(self.node, held.key.number()).0;
        }
    }

    /// A handler begins; where what it interrupts begins is given back, for when it ends. None when it is one already.
    pub(super) fn enter_handler(&mut self) -> Option<usize> {
        if Key(self.irq).irq() == Irq::Handler {
            return None;
        }
        assert!(self.irqs_off == 0, "an interrupt is handled while interrupts are off");
        self.irq = (Irq::Handler as u32) << 2;
        self.node = ROOT;
        Some(std::mem::replace(&mut self.floor, self.held.len()))
    }

    /// The handler ends.
    pub(super) fn leave_handler(&mut self, floor: usize, chains: &mut Chains) {
        self.irq = Irq::On as u32;
        self.floor = floor;
        self.find_node(chains);
    }

    pub(super) fn irqs_off(&mut self) {
        self.irqs_off += 1;
        if Key(self.irq).irq() == Irq::On {
            self.irq = (Irq::Off as u32) << 2;
        }
    }

    /// Whether interrupts are on again.
    pub(super) fn irqs_back(&mut self) -> bool {
        self.irqs_off = self.irqs_off.saturating_sub(1);
        let on = self.irqs_off == 0 && Key(self.irq).irq() == Irq::Off;
        if on {
            self.irq = Irq::On as u32;
        }
        on
    }
}
