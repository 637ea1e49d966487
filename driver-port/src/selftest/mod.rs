//! The platform tried in the kernel it runs on, by who has `debugfs` (feature `lab`).
//!
//! Each test is one claim about one primitive, made where only the kernel can answer: two tasks, real memory, real
//! notifiers. A test that waits for what should not happen waits a little; for what should, long, and not for ever. C calls
//! them by number; the guest's suite `platform` runs them all.

#![allow(clippy::result_large_err)] // a failure is its text, and there is no other place for it

mod atomics;
mod hmm;
mod locks;
mod memory;
mod mm;
mod notifier;
mod plant;
mod thread;
mod work;

use crate::log::Line;
use core::ptr;

/// What was wrong.
type Failure = Line;
type Outcome = Result<(), Failure>;

/// A name for people, and the test or the planted bug itself.
struct Test {
    name: &'static str,
    run: fn() -> Outcome,
}

/// The claim, or else the text.
macro_rules! ensure {
    ($claim:expr, $($text:tt)*) => {
        if !$claim {
            return Err($crate::log::Line::new(format_args!($($text)*)));
        }
    };
}
use ensure;

/// That an allocation or the like went well, which is not what a test is about.
fn made<T, E: core::fmt::Debug>(result: Result<T, E>) -> Result<T, Failure> {
    result.map_err(|error| Line::new(format_args!("cannot be set up: {error:?}")))
}

const PARTS: [&[Test]; 8] = [
    locks::TESTS,
    atomics::TESTS,
    memory::TESTS,
    work::TESTS,
    work::DELAYED_TESTS,
    mm::TESTS,
    notifier::TESTS,
    hmm::TESTS,
];

fn find(plants: bool, number: u32) -> Option<&'static Test> {
    if plants {
        return plant::PLANTS.get(number as usize);
    }
    PARTS.iter().flat_map(|part| part.iter()).nth(number as usize)
}

/// The name of a test or of a planted bug; NULL: there are not so many.
///
/// # Safety
/// `len` can be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_selftest_name(plants: bool, number: u32, len: *mut usize) -> *const u8 {
    let Some(test) = find(plants, number) else { return ptr::null() };
    // SAFETY: as promised.
    unsafe { len.write(test.name.len()) };
    test.name.as_ptr()
}

/// Runs a test or a planted bug; returns how many bytes of `text` say what was wrong.
///
/// # Safety
/// `text` has room for `size` bytes; the running task has an address space, and holds nothing.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_selftest(plants: bool, number: u32, text: *mut u8, size: usize) -> usize {
    let failure = match find(plants, number).map(|test| (test.run)()) {
        Some(Ok(())) => return 0,
        Some(Err(failure)) => failure,
        None => Line::new(format_args!("there is no such test")),
    };
    let len = failure.len().min(size);
    // SAFETY: there is so much of both.
    unsafe { ptr::copy_nonoverlapping(failure.as_ptr().cast(), text, len) };
    len
}
