//! Lockless words: `READ_ONCE`, `WRITE_ONCE`.

use crate::ffi;
use crate::gate::{self, Kind};
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::panic::Location;
use core::sync::atomic::{AtomicU32, Ordering, fence};
use model::platform;

/// Bytes that the machine reads and writes at once.
const WORD: usize = size_of::<u64>();

/// A value that is read and written as a whole by whoever comes.
///
/// What fits into a word is one, and every access is one volatile load or store of it. A few of the model's values are
/// larger than the word that the driver has in C (an `Option` of a handle, where C has a pointer that may be NULL):
/// they are kept whole by a sequence counter. Which of the two it is, is decided at compile time.
pub struct Shared<T: Copy> {
    /// Odd while a larger value is being written.
    sequence: AtomicU32,
    value: UnsafeCell<Slot<T>>,
}

/// Room for a `T` that can also be read as words.
#[repr(align(8))]
union Slot<T: Copy> {
    value: T,
    word: MaybeUninit<u64>,
}

/// How a `T` is kept whole.
struct Layout<T>(T);

impl<T> Layout<T> {
    const IS_WORD: bool = size_of::<T>() <= WORD;
    /// Words of a slot.
    const WORDS: usize = size_of::<T>().div_ceil(WORD);
    const CHECKED: () = assert!(align_of::<T>() <= WORD && size_of::<T>() <= 256);
}

// SAFETY: every access is volatile and whole, in one word or by the sequence.
unsafe impl<T: Copy + Send> Sync for Shared<T> {}

impl<T: Copy + PartialEq + fmt::Debug + 'static> Shared<T> {
    fn words(&self) -> *mut MaybeUninit<u64> {
        self.value.get().cast()
    }

    fn read(&self) -> T {
        const { Layout::<T>::CHECKED };
        if Layout::<T>::IS_WORD {
            // SAFETY: a slot is a word at least, aligned, alive, and initialised as a T; whoever writes it meanwhile does
            // so with one store. A volatile access that races is what READ_ONCE is.
            return unsafe { Slot { word: self.words().read_volatile() }.value };
        }
        let mut copy = MaybeUninit::<Slot<T>>::uninit();
        let to = copy.as_mut_ptr().cast::<MaybeUninit<u64>>();
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            for i in 0..Layout::<T>::WORDS {
                // SAFETY: both are slots of this many words; a torn copy is thrown away.
                unsafe { to.add(i).write(self.words().add(i).read_volatile()) };
            }
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                // SAFETY: no writer came between, so this is a whole T.
                return unsafe { copy.assume_init().value };
            }
            core::hint::spin_loop();
        }
    }

    fn write(&self, value: T) {
        const { Layout::<T>::CHECKED };
        if Layout::<T>::IS_WORD {
            let mut slot = Slot { word: MaybeUninit::new(0) };
            slot.value = value;
            // SAFETY: as in read; WRITE_ONCE.
            return unsafe { self.words().write_volatile(slot.word) };
        }
        let from = Slot { value };
        let from = (&raw const from).cast::<MaybeUninit<u64>>();
        // SAFETY: paired below. A reader spins while the sequence is odd, so whoever made it so must not be preempted.
        unsafe { ffi::svmlab_c_preempt_disable() };
        let mut even = self.sequence.load(Ordering::Relaxed) & !1;
        while let Err(found) =
            self.sequence.compare_exchange_weak(even, even.wrapping_add(1), Ordering::Acquire, Ordering::Relaxed)
        {
            core::hint::spin_loop();
            even = found & !1;
        }
        fence(Ordering::Release);
        for i in 0..Layout::<T>::WORDS {
            // SAFETY: both are slots of this many words, and the odd sequence keeps other writers out.
            unsafe { self.words().add(i).write_volatile(from.add(i).read()) };
        }
        self.sequence.store(even.wrapping_add(2), Ordering::Release);
        // SAFETY: paired above.
        unsafe { ffi::svmlab_c_preempt_enable() };
    }
}

impl<T: Copy + PartialEq + fmt::Debug + 'static> platform::Shared<T> for Shared<T> {
    fn new(_name: &'static str, value: T) -> Self {
        Shared { sequence: AtomicU32::new(0), value: UnsafeCell::new(Slot { value }) }
    }

    #[track_caller]
    fn read_once(&self) -> T {
        gate::point(Kind::Load, Location::caller());
        self.read()
    }

    #[track_caller]
    fn write_once(&self, value: T) {
        gate::point(Kind::Store, Location::caller());
        self.write(value);
    }
}
