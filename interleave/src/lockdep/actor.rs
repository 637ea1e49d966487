//! What an actor holds, and in which context it is.

use super::chain::{Chains, Node, ROOT};
use super::class::ClassId;
use std::panic::Location;

/// How a lock is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    pub(super) fn new(class: ClassId, how: How, wait: Wait, irq: Irq) -> Key {
        Key(u32::from(class) << 8 | u32::from(wait == Wait::Never) << 4 | (irq as u32) << 2 | how as u32)
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
        self.0 & 1 << 4 == 0
    }
    pub(super) const fn irq(self) -> Irq {
        match self.0 >> 2 & 3 {
            0 => Irq::On,
            1 => Irq::Off,
            _ => Irq::Handler,
        }
    }
}

/// A lock that is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub(super) key: Key,
    pub(super) place: &'static Location<'static>,
    /// The stack up to here.
    node: Node,
}

/// See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Holder {
    pub(super) held: Vec<Held>,
    /// The first lock of the context it is in: a handler does not nest in what it interrupts.
    floor: usize,
    in_handler: bool,
    irqs_off: u32,
    pub(super) noreclaim: u32,
    pub(super) subclass: u8,
    /// The map it waits for, and how often that had been begun then.
    pub(super) awaits: Option<(ClassId, u32)>,
}

impl Holder {
    pub(super) fn reset(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        held.clear();
        *self = Holder { held, ..Holder::default() };
    }

    #[inline]
    pub(super) fn irq(&self) -> Irq {
        match (self.in_handler, self.irqs_off) {
            (true, _) => Irq::Handler,
            (false, 0) => Irq::On,
            (false, _) => Irq::Off,
        }
    }

    /// What forbids it to sleep.
    pub(super) fn why_atomic(&self) -> &'static str {
        match self.irq() {
            Irq::Handler => "in an interrupt handler",
            Irq::Off => "while interrupts are off",
            Irq::On => "while it holds a spinlock",
        }
    }

    /// What it holds in the context it is in.
    pub(super) fn context(&self) -> &[Held] {
        &self.held[self.floor..]
    }

    /// The stack below place `at`.
    #[inline]
    fn below(&self, at: usize) -> Node {
        if at == self.floor || at == 0 { ROOT } else { self.held[at - 1].node }
    }

    /// The stack.
    #[inline]
    pub(super) fn node(&self) -> Node {
        self.below(self.held.len())
    }

    #[inline]
    pub(super) fn push(&mut self, key: Key, place: &'static Location<'static>, node: Node) {
        self.held.push(Held { key, place, node });
    }

    /// Lets go of the innermost lock of `class` that is held like this.
    #[inline]
    pub(super) fn pop(&mut self, class: ClassId, how: How, chains: &mut Chains) {
        let is = |held: &Held| held.key.class() == class && held.key.how() == how;
        if self.held.last().is_some_and(is) {
            self.held.pop();
        } else if let Some(at) = self.held.iter().rposition(is) {
            self.held.remove(at);
            self.floor -= usize::from(at < self.floor);
            // Whatever order there is between those that stay is known: they were taken one after the other.
            for above in at..self.held.len() {
                self.held[above].node = chains.child(self.below(above), self.held[above].key.number()).0;
            }
        }
    }

    /// A handler begins; what it interrupts is given back when it ends.
    pub(super) fn enter_handler(&mut self) -> Option<usize> {
        if self.in_handler {
            return None;
        }
        assert!(self.irqs_off == 0, "an interrupt is handled while interrupts are off");
        self.in_handler = true;
        Some(std::mem::replace(&mut self.floor, self.held.len()))
    }

    /// The handler ends.
    pub(super) fn leave_handler(&mut self, floor: usize) {
        self.in_handler = false;
        self.floor = floor;
    }

    pub(super) fn irqs_off(&mut self) {
        self.irqs_off += 1;
    }

    /// Whether interrupts are on again.
    pub(super) fn irqs_back(&mut self) -> bool {
        self.irqs_off = self.irqs_off.saturating_sub(1);
        self.irqs_off == 0 && !self.in_handler
    }
}
