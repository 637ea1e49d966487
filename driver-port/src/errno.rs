//! Error numbers as C functions return them: 0 or more is good, below that an errno, negated.

use core::ffi::c_int;
use model::Errno;

/// The errno of this number; None: the model has no name for it.
pub fn known(number: u32) -> Option<Errno> {
    use Errno::*;
    const ALL: [Errno; 19] = [
        EPERM, ENOENT, ESRCH, EINTR, EIO, EAGAIN, ENOMEM, EACCES, EFAULT, EBUSY, EEXIST, ENODEV, EINVAL, ENOSPC,
        EDEADLK, ETIME, EOVERFLOW, EOPNOTSUPP, EADDRINUSE,
    ];
    ALL.into_iter().find(|errno| *errno as u32 == number)
}

/// The errno that C spells `-(errno)`. One the model has no name for is told as `EIO`, and the log says which it was.
pub fn from_raw(negative: c_int) -> Errno {
    match known(negative.unsigned_abs()) {
        Some(errno) => errno,
        None => {
            crate::log::note(format_args!("errno {negative} is told as EIO"));
            Errno::EIO
        }
    }
}

/// Of a function that returns 0 or a negative errno.
pub fn check(ret: c_int) -> Result<(), Errno> {
    if ret < 0 { Err(from_raw(ret)) } else { Ok(()) }
}

/// What a function with C's convention returns.
pub fn to_raw(result: Result<(), Errno>) -> c_int {
    result.map_or_else(|errno| -(errno as c_int), |()| 0)
}
