//! The kernel for one thread: a lock that is not free is a failed test.

use super::{allocate, holds, log, shared};
use model::Errno;
use model::platform::*;
use std::cell::{Cell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// The kernel.
pub(crate) struct Seq;

thread_local! {
    /// Live objects of each cache.
    static OBJECTS: RefCell<BTreeMap<&'static str, usize>> = RefCell::default();
}

impl Seq {
    /// How many objects of the cache are alive.
    pub(crate) fn objects(cache: &str) -> usize {
        OBJECTS.with_borrow(|o| o.get(cache).copied().unwrap_or(0))
    }
}

impl Kernel for Seq {
    type Mutex<T: 'static> = Lock<T>;
    type SpinLock<T: 'static> = Lock<T>;
    type RwSem<T: 'static> = Lock<T>;
    type Atomic = Word;
    type Shared<T: Copy + PartialEq + fmt::Debug + 'static> = Once<T>;
    type Plain<T: 'static> = Field<T>;
    type Cache<T: 'static> = Slab<T>;
    type Array<T: Copy + 'static> = Vec<T>;
    type WorkQueue = Never;
    type Work = Never;
    type DelayedWork = Never;
    type Completion = Done;
    type NoReclaim = ();

    fn alloc_array<T: Copy + 'static>(len: usize, fill: T) -> Result<Vec<T>, Errno> {
        allocate("array")?;
        Ok(vec![fill; len])
    }
    fn alloc_workqueue(_: &'static str, _: QueueKind) -> Result<Never, Errno> {
        unreachable!("drm_gpusvm queues no work")
    }
    fn noreclaim() {}
    fn now_ms() -> u64 {
        shared(|s| s.now_ms)
    }
    fn retry_point(why: &'static str) {
        shared(|s| s.retries.push(why));
        assert!(shared(|s| s.retries.len()) < 10_000, "no end of retries: {why}");
    }
    fn noting() -> bool {
        true
    }
    fn note(what: fmt::Arguments<'_>) {
        shared(|s| s.notes.push(what.to_string()));
    }
    fn planted(which: Plant) -> bool {
        shared(|s| s.plants.contains(&which))
    }
    fn warn(what: fmt::Arguments<'_>) {
        shared(|s| s.warns.push(what.to_string()));
    }
}

/// Mutex, spinlock, rwsem.
pub(crate) struct Lock<T> {
    name: &'static str,
    value: RefCell<T>,
    /// Readers are counted here; the value itself is lent for read through a second borrow.
    readers: Cell<usize>,
}

impl<T> Lock<T> {
    fn enter(&self, how: &str) {
        shared(|s| s.held.push(self.name));
        log(format!("{how} {}", self.name));
    }
    fn leave(&self) {
        shared(|s| {
            let at = s.held.iter().rposition(|l| *l == self.name).expect("it is held");
            s.held.remove(at);
        });
        log(format!("unlock {}", self.name));
    }
}

/// Held for write.
pub(crate) struct Exclusive<'a, T> {
    lock: &'a Lock<T>,
    value: Option<RefMut<'a, T>>,
}
impl<T> Deref for Exclusive<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("held")
    }
}
impl<T> DerefMut for Exclusive<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("held")
    }
}
impl<T> Drop for Exclusive<'_, T> {
    fn drop(&mut self) {
        if self.value.take().is_some() {
            self.lock.leave();
        }
    }
}

/// Held for read.
pub(crate) struct Reading<'a, T> {
    lock: &'a Lock<T>,
    value: std::cell::Ref<'a, T>,
}
impl<T> Deref for Reading<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}
impl<T> Drop for Reading<'_, T> {
    fn drop(&mut self) {
        self.lock.readers.set(self.lock.readers.get() - 1);
        self.lock.leave();
    }
}

impl<T> Lock<T> {
    fn make(name: &'static str, value: T) -> Result<Self, Errno> {
        Ok(Lock { name, value: RefCell::new(value), readers: Cell::new(0) })
    }
    fn exclusive(&self) -> Exclusive<'_, T> {
        let Ok(value) = self.value.try_borrow_mut() else { panic!("{} is not free", self.name) };
        self.enter("write");
        Exclusive { lock: self, value: Some(value) }
    }
}

impl<T: 'static> Mutex<T> for Lock<T> {
    type Guard<'a> = Exclusive<'a, T>;
    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Lock::make(name, value)
    }
    fn lock(&self) -> Exclusive<'_, T> {
        self.exclusive()
    }
}
impl<T: 'static> SpinLock<T> for Lock<T> {
    type Guard<'a> = Exclusive<'a, T>;
    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Lock::make(name, value)
    }
    fn lock(&self) -> Exclusive<'_, T> {
        self.exclusive()
    }
}
impl<T: 'static> RwSem<T> for Lock<T> {
    type ReadGuard<'a> = Reading<'a, T>;
    type WriteGuard<'a> = Exclusive<'a, T>;
    fn new(name: &'static str, value: T) -> Result<Self, Errno> {
        Lock::make(name, value)
    }
    fn read(&self) -> Reading<'_, T> {
        assert_eq!(self.readers.get(), 0, "{} is taken for read twice by one thread", self.name);
        let Ok(value) = self.value.try_borrow() else { panic!("{} is not free", self.name) };
        self.readers.set(1);
        self.enter("read");
        Reading { lock: self, value }
    }
    fn write(&self) -> Exclusive<'_, T> {
        self.exclusive()
    }
    fn downgrade<'a>(mut guard: Exclusive<'a, T>) -> Reading<'a, T>
    where
        Self: 'a,
    {
        let lock = guard.lock;
        drop(guard.value.take());
        lock.readers.set(1);
        Reading { lock, value: lock.value.borrow() }
    }
}

/// An atomic word.
pub(crate) struct Word(Cell<u64>);
impl Atomic for Word {
    fn new(_: &'static str, value: u64) -> Self {
        Word(Cell::new(value))
    }
    fn load(&self) -> u64 {
        self.0.get()
    }
    fn store(&self, value: u64) {
        self.0.set(value);
    }
    fn swap(&self, value: u64) -> u64 {
        self.0.replace(value)
    }
    fn cmpxchg(&self, old: u64, new: u64) -> u64 {
        let was = self.0.get();
        if was == old {
            self.0.set(new);
        }
        was
    }
    fn inc_return(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        self.0.get()
    }
    fn dec_return(&self) -> u64 {
        self.0.set(self.0.get().checked_sub(1).expect("I5: one reference too many is put"));
        self.0.get()
    }
    fn inc_unless_zero(&self) -> bool {
        let some = self.0.get() != 0;
        self.0.set(self.0.get() + u64::from(some));
        some
    }
}

/// A lockless word.
pub(crate) struct Once<T>(Cell<T>);
impl<T: Copy + PartialEq + fmt::Debug> model::platform::Shared<T> for Once<T> {
    fn new(_: &'static str, value: T) -> Self {
        Once(Cell::new(value))
    }
    fn read_once(&self) -> T {
        self.0.get()
    }
    fn write_once(&self, value: T) {
        self.0.set(value);
    }
}

/// A plain field.
pub(crate) struct Field<T>(RefCell<T>);
impl<T> Plain<T> for Field<T> {
    fn new(value: T) -> Self {
        Field(RefCell::new(value))
    }
    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> R {
        f(&self.0.borrow())
    }
    fn with_mut<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        // One row of the lock contract, by type: a tree of ranges changes under the notifier lock. (What a thread of
        // its own would make a data race, one thread can only assert.)
        if std::any::type_name::<T>().contains("Handle<model::framework::range::Range<")
            || std::any::type_name::<T>().contains("TreeLink<model::framework::range::Range<")
        {
            assert!(holds("notifier_lock"), "a tree of ranges changes without the notifier lock");
        }
        f(&mut self.0.borrow_mut())
    }
}

/// A completion.
pub(crate) struct Done {
    name: &'static str,
    done: Cell<bool>,
}
impl Completion for Done {
    fn new(name: &'static str) -> Self {
        Done { name, done: Cell::new(false) }
    }
    fn complete_all(&self) {
        assert!(!self.done.replace(true), "{} is completed twice", self.name);
        log(format!("complete {}", self.name));
    }
    fn is_done(&self) -> bool {
        self.done.get()
    }
    fn wait(&self) {
        assert!(self.done.get(), "one thread would wait for itself");
    }
}

/// Objects live as long as the test process: that way a reference can be handed out without `unsafe`.
pub(crate) struct Slab<T: 'static> {
    name: &'static str,
    /// By slot; None when freed. A slot is used once.
    slots: RefCell<Vec<Option<&'static T>>>,
}
impl<T> Objects<T> for Slab<T> {
    fn get(&self, handle: Handle<T>) -> &T {
        self.slots.borrow()[handle.index as usize].unwrap_or_else(|| panic!("I4: {} {handle:?} is freed", self.name))
    }
}
impl<T> Cache<T> for Slab<T> {
    fn new(name: &'static str) -> Result<Self, Errno> {
        OBJECTS.with_borrow_mut(|o| o.insert(name, 0));
        Ok(Slab { name, slots: RefCell::default() })
    }
    fn alloc_or(&self, value: T, undo: impl FnOnce(&T)) -> Result<Handle<T>, Errno> {
        allocate(self.name).inspect_err(|_| undo(&value))?;
        OBJECTS.with_borrow_mut(|o| *o.entry(self.name).or_default() += 1);
        let mut slots = self.slots.borrow_mut();
        slots.push(Some(Box::leak(Box::new(value))));
        Ok(Handle::from_parts(slots.len() as u32 - 1, 1))
    }
    fn free(&self, handle: Handle<T>) {
        let object = self.slots.borrow_mut()[handle.index as usize].take();
        assert!(object.is_some(), "I4: {} {handle:?} is freed twice", self.name);
        OBJECTS.with_borrow_mut(|o| *o.entry(self.name).or_default() -= 1);
        log(format!("free {}", self.name));
    }
}

/// Work: there is none.
pub(crate) enum Never {}
impl WorkQueue<Seq> for Never {
    fn work(&self, _: ClientId, _: WorkFunc) -> Result<Never, Errno> {
        match *self {}
    }
    fn delayed_work(&self, _: ClientId, _: WorkFunc) -> Result<Never, Errno> {
        match *self {}
    }
    fn flush(&self) {
        match *self {}
    }
    fn destroy(&self) {
        match *self {}
    }
}
impl Work for Never {
    fn queue(&self) -> bool {
        match *self {}
    }
    fn flush(&self) {
        match *self {}
    }
    fn cancel_sync(&self) -> bool {
        match *self {}
    }
}
impl DelayedWork for Never {
    fn queue(&self, _: u64) -> bool {
        match *self {}
    }
    fn flush(&self) {
        match *self {}
    }
    fn cancel_sync(&self) -> bool {
        match *self {}
    }
}
