//! The event log, warnings: text that is formatted here, on the stack, and handed to C.

use crate::ffi;
use core::fmt::{self, Write};
use core::panic::Location;
use core::sync::atomic::{AtomicBool, Ordering};

/// Bytes of a line of the event log; what is longer is cut.
pub const LINE: usize = 160;

/// Whether anybody wants the event log. Off by default.
static ON: AtomicBool = AtomicBool::new(false);

/// Text of at most [`LINE`] bytes.
pub(crate) struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    /// What `what` says, cut where it is too long.
    pub(crate) fn new(what: fmt::Arguments<'_>) -> Self {
        let mut line = Line { bytes: [0; LINE], len: 0 };
        // It fails when the line is full, and then what is there is told.
        let _ = line.write_fmt(what);
        line
    }

    pub(crate) fn as_ptr(&self) -> *const core::ffi::c_char {
        self.bytes.as_ptr().cast()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Write for Line {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = &mut self.bytes[self.len..];
        // The model's text is ASCII, so a cut is not inside of a character; C prints bytes anyway.
        let n = s.len().min(room.len());
        room[..n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        if n < s.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

/// Whether notes are written down.
#[inline]
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Switches the event log on or off.
pub fn switch(on: bool) {
    ON.store(on, Ordering::Relaxed);
}

/// A line for the event log, if it is on. Any context.
pub fn note(what: fmt::Arguments<'_>) {
    if is_on() {
        let line = Line::new(what);
        // SAFETY: pointer and length are of a live buffer; C copies.
        unsafe { ffi::svmlab_c_log(line.as_ptr(), line.len()) }
    }
}

/// `WARN` with this text, said to be at `place`.
#[cold]
pub fn warn_at(what: fmt::Arguments<'_>, place: &'static Location<'static>) {
    let line = Line::new(what);
    // SAFETY: pointer and length are of a live buffer, `place` lives for the call; C copies.
    unsafe { ffi::svmlab_c_warn(line.as_ptr(), line.len(), &raw_place(place)) }
}

pub(crate) fn raw_place(place: &'static Location<'static>) -> ffi::RawPlace {
    let file = place.file();
    ffi::RawPlace { file: file.as_ptr(), file_len: file.len(), line: place.line(), column: place.column() }
}

/// C switches the event log on or off.
#[unsafe(no_mangle)]
extern "C" fn svmlab_rs_log_switch(on: bool) {
    switch(on);
}
