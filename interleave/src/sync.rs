//! What the kernel builds from words to wait on: completions, wait queues, sequence counters, reference counts. Written
//! once for every [`Lab`].

use crate::lab::{Gate, Lab};
use model::platform::{self, Atomic};

/// `struct completion`.
pub struct Completion<L: Lab> {
    done: L::Gate,
}

/// Far more than anybody waits for, as after `complete_all`.
const ALL: u64 = u32::MAX as u64 / 2;

impl<L: Lab> Completion<L> {
    /// Nothing is complete yet.
    pub fn new(name: &'static str) -> Self {
        Completion { done: Gate::new(name, 0) }
    }
    /// `complete`: lets one waiter go, now or later. Callable from any context.
    #[track_caller]
    pub fn complete(&self) {
        self.done.add(1);
    }
    /// `complete_all`: lets all waiters go, now and later.
    #[track_caller]
    pub fn complete_all(&self) {
        self.done.store(ALL);
    }
    /// `reinit_completion`.
    #[track_caller]
    pub fn reinit(&self) {
        self.done.store(0);
    }
    /// `completion_done`.
    #[track_caller]
    pub fn is_done(&self) -> bool {
        self.done.load() != 0
    }
    /// `wait_for_completion`. Sleeps.
    #[track_caller]
    pub fn wait(&self) {
        self.done.take();
    }
    /// `try_wait_for_completion`.
    #[track_caller]
    pub fn try_wait(&self) -> bool {
        self.done.try_take()
    }
    /// `wait_for_completion_timeout`: false when the time was up. That it is, is one of the failures that an actor may
    /// meet ([`Config::failures`](crate::Config::failures)), at any moment. Sleeps.
    #[track_caller]
    pub fn wait_timeout(&self) -> bool {
        if L::fails() {
            return self.try_wait();
        }
        self.wait();
        true
    }
}

/// What the driver knows of it.
impl<L: Lab> platform::Completion for Completion<L> {
    fn new(name: &'static str) -> Self {
        Completion::new(name)
    }
    #[track_caller]
    fn complete_all(&self) {
        self.complete_all();
    }
    #[track_caller]
    fn is_done(&self) -> bool {
        self.is_done()
    }
    #[track_caller]
    fn wait(&self) {
        self.wait();
    }
}

/// `wait_queue_head_t`: sleep until a condition holds, asked again whenever somebody wakes. A condition that becomes true
/// without a wake-up stays unseen, as in the kernel.
pub struct WaitQueue<L: Lab> {
    /// How often somebody woke.
    wakes: L::Gate,
}

impl<L: Lab> WaitQueue<L> {
    /// `init_waitqueue_head`.
    pub fn new(name: &'static str) -> Self {
        WaitQueue { wakes: Gate::new(name, 0) }
    }
    /// `wake_up_all`. Callable from any context.
    #[track_caller]
    pub fn wake_up_all(&self) {
        self.wakes.add(1);
    }
    /// `wait_event`: returns once `condition` holds. Sleeps.
    #[track_caller]
    pub fn wait_event(&self, mut condition: impl FnMut() -> bool) {
        loop {
            // On the queue first, then the look: a wake-up between the two is not missed.
            let seen = self.wakes.load();
            if condition() {
                return;
            }
            self.wakes.wait_while(seen);
        }
    }
    /// `wait_event_timeout`: false when the time was up and the condition does not hold. That it is, is one of the
    /// failures that an actor may meet, at any moment. Sleeps.
    #[track_caller]
    pub fn wait_event_timeout(&self, mut condition: impl FnMut() -> bool) -> bool {
        loop {
            let seen = self.wakes.load();
            if condition() {
                return true;
            }
            if L::fails() {
                return condition();
            }
            self.wakes.wait_while(seen);
        }
    }
    /// `prepare_to_wait` and `schedule` once, without a loop around: returns when somebody wakes, or for no reason, which
    /// is one of the failures that an actor may meet. Whether `condition` held when it was looked at. Sleeps.
    #[track_caller]
    pub fn sleep_once(&self, condition: impl FnOnce() -> bool) -> bool {
        let seen = self.wakes.load();
        let held = condition();
        if !held && !L::fails() {
            self.wakes.wait_while(seen);
        }
        held
    }
}

/// `seqcount_t`: who writes has a lock of their own; who reads looks again when somebody wrote meanwhile. What it
/// protects are lockless words.
pub struct SeqCount<L: Lab> {
    sequence: L::Gate,
}

impl<L: Lab> SeqCount<L> {
    /// `seqcount_init`.
    pub fn new(name: &'static str) -> Self {
        SeqCount { sequence: Gate::new(name, 0) }
    }
    /// `write_seqcount_begin`: the count is odd from here on. Writers must exclude each other.
    #[track_caller]
    pub fn write_begin(&self) {
        self.sequence.add(1);
    }
    /// `write_seqcount_end`.
    #[track_caller]
    pub fn write_end(&self) {
        self.sequence.add(1);
    }
    /// `read_seqcount_begin`: spins while somebody writes.
    #[track_caller]
    pub fn read_begin(&self) -> u64 {
        self.sequence.spin_until(1, 0)
    }
    /// `read_seqcount_retry`: whether somebody wrote since.
    #[track_caller]
    pub fn read_retry(&self, begin: u64) -> bool {
        self.sequence.load() != begin
    }
    /// The loop around a read: `read` again until nobody wrote meanwhile.
    #[track_caller]
    pub fn read<R>(&self, mut read: impl FnMut() -> R) -> R {
        loop {
            let begin = self.read_begin();
            let value = read();
            if !self.read_retry(begin) {
                return value;
            }
            L::retry_point("the sequence has moved");
        }
    }
}

/// `struct kref`.
pub struct Kref<L: Lab> {
    count: L::Atomic,
    name: &'static str,
}

impl<L: Lab> Kref<L> {
    /// `kref_init`: one reference.
    pub fn new(name: &'static str) -> Self {
        Kref { count: Atomic::new(name, 1), name }
    }
    /// `kref_get`: the caller has a reference already. A count of zero is what `refcount_t` warns about.
    #[track_caller]
    pub fn get(&self) {
        if !self.count.inc_unless_zero() {
            L::warn(format_args!("{}: a reference is taken when there is none left", self.name));
        }
    }
    /// `kref_get_unless_zero`.
    #[track_caller]
    pub fn get_unless_zero(&self) -> bool {
        self.count.inc_unless_zero()
    }
    /// `kref_put`: whether it was the last, and the caller has to release.
    #[track_caller]
    pub fn put(&self) -> bool {
        self.count.dec_return() == 0
    }
}
