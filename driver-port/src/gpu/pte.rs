//! A page-table entry: the address and `AMDGPU_PTE_*` in one word, as the hardware has it.

use core::fmt;
use model::platform::PteFlags;
use model::units::PAGE_SHIFT;

/// Bits 12 to 47 are the address.
const ADDRESS: u64 = ((1 << 48) - 1) & !((1 << PAGE_SHIFT) - 1);

/// One translation, or the lack of one.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Pte(pub u64);

impl Pte {
    /// No translation.
    pub const NONE: Pte = Pte(0);
    /// How much of an address an entry can hold.
    pub const ADDRESS_BITS: u32 = 48;

    /// An entry for the page at bus address `addr`, below 2^48. Bits of `flags` that lie in the address are dropped.
    pub const fn new(addr: u64, flags: PteFlags) -> Pte {
        Pte(addr & ADDRESS | flags.0 & !ADDRESS)
    }
    /// Rights and memory type.
    pub const fn flags(self) -> PteFlags {
        PteFlags(self.0 & !ADDRESS)
    }
    /// Bus address of the page in bytes.
    pub const fn addr(self) -> u64 {
        self.0 & ADDRESS
    }
    /// Whether the walker accepts it.
    pub const fn is_valid(self) -> bool {
        self.flags().has(PteFlags::VALID)
    }
    /// Whether it ends retry faults: an access that finds it gets a real fault.
    pub const fn is_no_retry(self) -> bool {
        !self.is_valid() && self.flags().has(PteFlags::NORETRY)
    }
    /// The entry `pages` further on in the same contiguous mapping.
    pub const fn plus(self, pages: u64) -> Pte {
        if self.is_valid() { Pte::new(self.addr() + (pages << PAGE_SHIFT), self.flags()) } else { self }
    }
    /// The entry `pages` further back in the same contiguous mapping.
    pub const fn minus(self, pages: u64) -> Pte {
        if self.is_valid() { Pte::new(self.addr() - (pages << PAGE_SHIFT), self.flags()) } else { self }
    }
}

impl fmt::Debug for Pte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_valid() {
            write!(f, "{:#x} {:?}", self.addr(), self.flags())
        } else {
            f.write_str(if self.is_no_retry() { "no-retry" } else { "none" })
        }
    }
}
