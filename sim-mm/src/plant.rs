//! Faults that can be planted in the simulated mm.
//!
//! The simulated mm is held against a kernel's, program by program. A comparison that finds nothing proves nothing, so it is
//! also made with one of these in place ([`Options::fault`](crate::Options::fault)), and has to find that. Each is one
//! question at one place, where the operation is; nobody but such a comparison plants one.

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A write fault on a page that others have, too, copies it without telling anybody.
    SilentCopy,
    /// PROTECTION_VMA ends a page before the range does.
    ShortProtect,
    /// A fork leaves what the parent may write to writable.
    WritableFork,
    /// mremap does not tell of the old range a second time, when its VMA goes.
    MoveToldOnce,
    /// MADV_DONTNEED ends its CLEAR before the pages are gone.
    EarlyEnd,
}

impl Fault {
    /// Every fault, and what it is called.
    pub const ALL: [(&'static str, Fault); 5] = [
        ("silent-copy", Fault::SilentCopy),
        ("short-protect", Fault::ShortProtect),
        ("writable-fork", Fault::WritableFork),
        ("move-told-once", Fault::MoveToldOnce),
        ("early-end", Fault::EarlyEnd),
    ];
}
