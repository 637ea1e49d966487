//! Files and shared memory: pages that a page cache owns.
//!
//! Answers to the page cache and to `do_read_fault`, `do_cow_fault` and `do_shared_fault` in `mm/memory.c`. A file is
//! there as a whole from its creation on, as a preallocated one or a tmpfs file that was written is; so which frame
//! stands behind a page of it never changes. It is neither truncated nor migrated nor reclaimed. Shared anonymous memory
//! (MAP_SHARED | MAP_ANONYMOUS) is a file without a name, as in the kernel.

use crate::memory::{Memory, OWNERS};
use crate::pagetable::{Prot, Pte};
use crate::space::{AddressSpace, Inner, check_range, prot_of};
use crate::vma::VmaNode;
use interleave::lab::Lab;
use model::Errno;
use model::platform::VmaFlags;
use model::units::{Bytes, PAGE_SIZE};
use std::fmt;

/// Frames of files are named like those of address spaces; these numbers are the files'.
pub(crate) const FIRST_FILE: u32 = 8;

/// A file. A cheap handle; the page cache keeps its pages for as long as the [`Memory`] lives.
pub struct File<L: Lab> {
    memory: Memory<L>,
    first: u64,
    pages: u64,
    /// tmpfs, memfd, shared anonymous memory: nothing is written back, so nobody wants to be told of writes.
    shmem: bool,
}

impl<L: Lab> Clone for File<L> {
    fn clone(&self) -> Self {
        File { memory: self.memory.clone(), ..*self }
    }
}

impl<L: Lab> fmt::Debug for File<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({} pages from pfn {:#x})", self.pages, self.first)
    }
}

impl<L: Lab> File<L> {
    /// A file of `pages` zeroed pages, all in the page cache. `id` (below 8) names its frames and must be unique among
    /// the files of one [`Memory`].
    pub fn new(memory: &Memory<L>, id: u32, pages: u64) -> Self {
        assert!(id < OWNERS - FIRST_FILE, "files are numbered from 0 to 7");
        let first = memory.alloc_run(FIRST_FILE + id, pages);
        memory.set_shared(first, pages, true);
        File { memory: memory.clone(), first, pages, shmem: false }
    }

    /// The same in tmpfs (`memfd_create`).
    pub fn shmem(memory: &Memory<L>, id: u32, pages: u64) -> Self {
        File { shmem: true, ..File::new(memory, id, pages) }
    }

    /// The word at byte `offset` of the file, as read(2) would give it. A scheduling point.
    #[track_caller]
    pub fn read(&self, offset: u64) -> u64 {
        self.memory.load(self.frame(offset / PAGE_SIZE), offset)
    }

    /// write(2) of one word. A scheduling point.
    #[track_caller]
    pub fn write(&self, offset: u64, value: u64) {
        self.memory.store(self.frame(offset / PAGE_SIZE), offset, value);
    }

    /// As [`File::read`], without a scheduling point: for checks.
    pub fn peek(&self, offset: u64) -> u64 {
        self.memory.peek(self.frame(offset / PAGE_SIZE), offset)
    }

    /// Whether both are one file.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.first == other.first
    }

    fn frame(&self, index: u64) -> u64 {
        assert!(index < self.pages, "page {index} of {self:?}");
        self.first + index
    }
}

/// What a VMA maps of which file, and how.
pub(crate) struct Backing<L: Lab> {
    pub(crate) file: File<L>,
    /// The page address at which page 0 of the file would stand (wrapping).
    pub(crate) origin: u64,
    /// MAP_SHARED.
    pub(crate) shared: bool,
    /// Whether the file system wants to be told of the first write to a page (`vma_wants_writenotify`): shared memory
    /// does not.
    pub(crate) notify: bool,
}

impl<L: Lab> Backing<L> {
    /// The frame behind `page`.
    pub(crate) fn frame(&self, page: u64) -> u64 {
        self.file.frame(page.wrapping_sub(self.origin))
    }

    /// EINVAL unless the file reaches to `page`.
    pub(crate) fn must_have(&self, page: u64) -> Result<(), Errno> {
        if page.wrapping_sub(self.origin) < self.file.pages { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// The same part of the file, `bytes` (wrapping) further up.
    pub(crate) fn moved(&self, bytes: u64) -> Self {
        let pages = (bytes as i64 / PAGE_SIZE as i64) as u64;
        Backing { file: self.file.clone(), origin: self.origin.wrapping_add(pages), ..*self }
    }
}

impl<L: Lab> AddressSpace<L> {
    /// `mmap(MAP_FIXED)` of `file` from its page `offset` on, MAP_SHARED or MAP_PRIVATE. See [`AddressSpace::mmap`].
    ///
    /// # Errors
    /// As [`AddressSpace::mmap`]; `EINVAL` also for pages behind the end of the file, and for flags that say anonymous
    /// or hugetlb.
    #[track_caller]
    pub fn mmap_file(
        &self,
        bytes: Bytes,
        flags: VmaFlags,
        file: &File<L>,
        offset: u64,
        shared: bool,
    ) -> Result<(), Errno> {
        self.map_backed(bytes, flags, file, offset, shared, !file.shmem)
    }

    /// `mmap(MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS)`: `file` is what stands behind it, of which nobody else knows.
    ///
    /// # Errors
    /// As [`AddressSpace::mmap_file`].
    #[track_caller]
    pub fn mmap_shared(&self, bytes: Bytes, flags: VmaFlags, file: &File<L>) -> Result<(), Errno> {
        self.map_backed(bytes, flags, file, 0, true, false)
    }

    #[track_caller]
    fn map_backed(
        &self,
        bytes: Bytes,
        flags: VmaFlags,
        file: &File<L>,
        offset: u64,
        shared: bool,
        notify: bool,
    ) -> Result<(), Errno> {
        self.inner.needs_sharing("a file mapping");
        let pages = check_range(bytes)?;
        if flags.anon || flags.hugetlb || offset.checked_add(pages.count()).is_none_or(|end| end > file.pages) {
            return Err(Errno::EINVAL);
        }
        let origin = pages.first.wrapping_sub(offset);
        self.mmap_backed(bytes, flags, Some(Backing { file: file.clone(), origin, shared, notify }))
    }
}

impl<L: Lab> Inner<L> {
    /// The entry for a page of the page cache (`finish_fault`); takes its reference.
    pub(crate) fn map_file_page(&self, vma: &VmaNode<L>, backing: &Backing<L>, pfn: u64, write: bool) -> Pte {
        let most = match (backing.shared, backing.notify && !write) {
            (true, false) => Prot::Write,
            _ => Prot::Read,
        };
        self.memory.share(pfn, 1);
        Pte::Present { pfn, prot: prot_of(vma.flags()).min(most) }
    }

    /// What stands behind an address that has no entry, for checks.
    pub(crate) fn peek_backing(&self, addr: u64) -> u64 {
        let vma = self.vmas.borrow().lookup(addr);
        let backing = vma.as_ref().and_then(|vma| vma.backing.as_ref());
        backing.map_or(0, |backing| self.memory.peek(backing.frame(addr / PAGE_SIZE), addr))
    }

    pub(crate) fn needs_sharing(&self, what: &str) {
        assert!(self.options.shares, "{what} needs an address space with Options::shares");
    }
}
