//! Units: byte intervals are half-open, page intervals are inclusive, as in the driver's own structures.

use core::fmt;

/// log2 of the CPU and GPU page size.
pub const PAGE_SHIFT: u32 = 12;
/// Page size in bytes.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;

/// A half-open interval of virtual addresses in bytes, `[start, end)`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bytes {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl Bytes {
    /// `[start, end)`.
    pub const fn new(start: u64, end: u64) -> Self {
        Bytes { start, end }
    }
    /// Length in bytes; 0 when empty or inverted.
    pub const fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
    /// Whether no byte is inside.
    pub const fn is_empty(&self) -> bool {
        self.start >= self.end
    }
    /// Whether the two share a byte.
    pub const fn overlaps(&self, other: &Bytes) -> bool {
        self.start < other.end && other.start < self.end
    }
    /// Whether `other` lies wholly inside.
    pub const fn covers(&self, other: &Bytes) -> bool {
        self.start <= other.start && other.end <= self.end
    }
    /// Whether the byte at `addr` is inside.
    pub const fn contains(&self, addr: u64) -> bool {
        self.start <= addr && addr < self.end
    }
    /// The common part, possibly empty.
    pub fn clip(&self, other: &Bytes) -> Bytes {
        Bytes { start: self.start.max(other.start), end: self.end.min(other.end) }
    }
    /// The pages touched; both ends must be page aligned and the interval not empty.
    pub const fn pages(&self) -> Pages {
        Pages { first: self.start >> PAGE_SHIFT, last: (self.end - 1) >> PAGE_SHIFT }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.start, self.end)
    }
}
impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An inclusive interval of page numbers, `first..=last`. Empty when `first > last`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pages {
    /// First page.
    pub first: u64,
    /// Last page, inclusive.
    pub last: u64,
}

impl Pages {
    /// The interval that holds nothing, and that [`Pages::hull`] treats as neutral.
    pub const EMPTY: Pages = Pages { first: u64::MAX, last: 0 };

    /// `first..=last`.
    pub const fn new(first: u64, last: u64) -> Self {
        Pages { first, last }
    }
    /// Whether no page is inside.
    pub const fn is_empty(&self) -> bool {
        self.first > self.last
    }
    /// Number of pages.
    pub const fn count(&self) -> u64 {
        if self.is_empty() { 0 } else { self.last - self.first + 1 }
    }
    /// Whether the two share a page.
    pub const fn overlaps(&self, other: &Pages) -> bool {
        self.first <= other.last && other.first <= self.last
    }
    /// Whether `page` is inside.
    pub const fn contains(&self, page: u64) -> bool {
        self.first <= page && page <= self.last
    }
    /// Whether `other` lies wholly inside.
    pub const fn covers(&self, other: &Pages) -> bool {
        self.first <= other.first && other.last <= self.last
    }
    /// The common part, possibly empty.
    pub fn clip(&self, other: &Pages) -> Pages {
        Pages { first: self.first.max(other.first), last: self.last.min(other.last) }
    }
    /// The convex hull of both.
    pub fn hull(&self, other: &Pages) -> Pages {
        Pages { first: self.first.min(other.first), last: self.last.max(other.last) }
    }
    /// The same interval in bytes; saturates at the top of the address space.
    pub const fn bytes(&self) -> Bytes {
        Bytes { start: self.first << PAGE_SHIFT, end: (self.last << PAGE_SHIFT).saturating_add(PAGE_SIZE) }
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() { write!(f, "pages (none)") } else { write!(f, "pages {:#x}-{:#x}", self.first, self.last) }
    }
}
impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
