//! Loads and stores that may fault, and what came of them.

#![allow(unsafe_code)] // a signal handler, and accesses to whatever is there

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};

thread_local! {
    /// Whether an access of [`load`] or [`store`] is under way, and has not faulted.
    static EXPECTED: AtomicBool = const { AtomicBool::new(false) };
    /// The signal that it brought; 0 when none.
    static SIGNAL: AtomicI32 = const { AtomicI32::new(0) };
}

/// Length of the instructions of [`access`], in bytes.
const LENGTH: i64 = 3;

/// Steps over the access.
extern "C" fn on_fault(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    if !EXPECTED.with(|expected| expected.swap(false, SeqCst)) {
        // SAFETY: both may be called in signal handlers; a fault that nobody expects ends the process.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        return;
    }
    SIGNAL.with(|came| came.store(signal, SeqCst));
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel gives the context of the interrupted access to a handler with SA_SIGINFO.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] += LENGTH };
}

/// SIGSEGV and SIGBUS of [`load`] and [`store`] are results from now on, in forked processes too.
///
/// # Errors
/// As sigaction says.
pub(crate) fn catch_faults() -> io::Result<()> {
    for signal in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: zeroes are a sigaction, and the handler touches an atomic and its context only.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(signal, &action, std::ptr::null_mut())
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes an access, or gives the signal that it brought.
fn access(make: impl FnOnce() -> u64) -> Result<u64, i32> {
    EXPECTED.with(|expected| expected.store(true, SeqCst));
    let value = make();
    if EXPECTED.with(|expected| expected.swap(false, SeqCst)) {
        Ok(value)
    } else {
        Err(SIGNAL.with(|came| came.load(SeqCst)))
    }
}

/// The word at `addr`, or the signal (SIGSEGV, SIGBUS). `addr` is of memory where no Rust object lives.
pub(crate) fn load(addr: u64) -> Result<u64, i32> {
    access(|| {
        let value: u64;
        // SAFETY: a load that is not allowed comes to on_fault, which goes on behind it. With these registers it is 3
        // bytes long: REX.W, opcode, ModRM.
        unsafe { std::arch::asm!("mov rax, qword ptr [rcx]", out("rax") value, in("rcx") addr, options(nostack)) };
        value
    })
}

/// Stores a word at `addr`, or gives the signal. `addr` is of memory where no Rust object lives.
pub(crate) fn store(addr: u64, value: u64) -> Result<(), i32> {
    let made = access(|| {
        // SAFETY: as above.
        unsafe { std::arch::asm!("mov qword ptr [rcx], rax", in("rax") value, in("rcx") addr, options(nostack)) };
        0
    });
    made.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_result() {
        catch_faults().expect("handlers can be set");
        let mut word = 7u64;
        let addr = std::ptr::from_mut(&mut word) as u64;
        assert_eq!((load(addr), load(8), load(addr)), (Ok(7), Err(libc::SIGSEGV), Ok(7)));
        assert_eq!((store(addr, 9), store(8, 9)), (Ok(()), Err(libc::SIGSEGV)));
        assert_eq!(std::hint::black_box(word), 9);
    }
}
