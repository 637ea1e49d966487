//! A panic of Rust code is a bug of this module: it is told, and the task dies in a `BUG`. Nothing unwinds.

use crate::ffi;
use crate::log::{Line, raw_place};
use core::panic::{Location, PanicInfo};

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let line = Line::new(format_args!("{}", info.message()));
    let place = info.location().map_or_else(
        || raw_place(Location::caller()),
        |place| ffi::RawPlace {
            file: place.file().as_ptr(),
            file_len: place.file().len(),
            line: place.line(),
            column: place.column(),
        },
    );
    // SAFETY: pointer and length are of a live buffer, and `place` lives for the call, which does not return.
    unsafe { ffi::svmlab_c_panic(line.as_ptr(), line.len(), &place) }
}
