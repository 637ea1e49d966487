//! Device-private memory in a process: `ZONE_DEVICE` pages and `migrate_vma_*`, `migrate_device_*`.
//!
//! Answers to `include/linux/migrate.h`, `mm/migrate_device.c` and the part of `include/linux/memremap.h` that a GPU
//! driver uses. A device page has a page frame number like any other page; which pagemap a number belongs to is asked
//! of the mm ([`DeviceMemory::device_page`]). Source: spec drm-gpusvm.md 16-19, mm-events.md 2.3, 2.4, 3.4.

use super::{Kernel, Mm};
use crate::Errno;
use crate::units::Bytes;

/// Which device-private memory (`struct dev_pagemap`): at most one for each GPU.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PagemapId(pub u32);

/// What hmm and migrate_vma compare to tell one's own device pages from others' (`pgmap->owner`). GPUs with a fast
/// link between them may share one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Owner(pub u64);

impl Owner {
    /// NULL: nobody's. Every device page is foreign to it.
    pub const NONE: Owner = Owner(0);
}

/// What kind of device page a frame number names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevicePage {
    /// Whose memory it is.
    pub pagemap: PagemapId,
    /// That pagemap's owner.
    pub owner: Owner,
}

/// One slot of the `src` or `dst` array of migrate_vma.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MigratePfn {
    /// MIGRATE_PFN_VALID: `pfn` names a page. A collected hole is `migrate` without `valid`.
    pub valid: bool,
    /// MIGRATE_PFN_MIGRATE. In `src`: the page is collected, and after `migrate_vma_pages`, it moved.
    pub migrate: bool,
    /// MIGRATE_PFN_WRITE: the entry was writable.
    pub write: bool,
    /// MIGRATE_PFN_COMPOUND: the first slot of a 2 MiB folio; the other 511 are empty.
    pub compound: bool,
    /// Page frame number; meaningful when `valid`.
    pub pfn: u64,
}

/// Which source pages migrate_vma collects (`enum migrate_vma_direction`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MigrateSelect {
    /// MIGRATE_VMA_SELECT_SYSTEM; also zero pages. (Holes of anonymous memory are collected whatever is selected.)
    pub system: bool,
    /// MIGRATE_VMA_SELECT_DEVICE_PRIVATE, of the args' owner only.
    pub device_private: bool,
    /// MIGRATE_VMA_SELECT_COMPOUND: huge folios as one.
    pub compound: bool,
}

/// The constant part of `struct migrate_vma`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MigrateVma {
    /// `[start, end)`, inside one VMA.
    pub bytes: Bytes,
    /// Which device-private pages are selected, and the owner of the MIGRATE event.
    pub owner: Owner,
    /// What is collected.
    pub select: MigrateSelect,
    /// The page that a CPU fault holds locked and referenced: its frame number.
    pub fault_page: Option<u64>,
}

/// Device-private pages of an [`Mm`], and moving pages to and from them.
///
/// Contents are copied by whoever migrates, between `migrate_vma_setup` and `migrate_vma_pages`. All of this sleeps.
/// What is not implemented is that of a kernel without `CONFIG_DEVICE_PRIVATE`.
pub trait DeviceMemory<K: Kernel>: Mm<K> {
    /// `is_device_private_page` and its pagemap; None for system memory.
    fn device_page(&self, _pfn: u64) -> Option<DevicePage> {
        None
    }
    /// `folio->zone_device_data`: the word that the driver keeps with a device page.
    #[track_caller]
    fn zone_device_data(&self, _pfn: u64) -> u64 {
        0
    }
    /// Sets that word.
    #[track_caller]
    fn set_zone_device_data(&self, _pfn: u64, _data: u64) {}
    /// `zone_device_folio_init`: `1 << order` free device pages from `pfn` become a folio with one reference, locked.
    /// When its last reference goes, in whatever context, the platform calls the pagemap's `folio_free` with `data`.
    #[track_caller]
    fn zone_device_folio_init(&self, _pfn: u64, _order: u8, _data: u64) {}

    /// `migrate_vma_setup`: a MIGRATE event around collecting: pages are locked (trylock), isolated and replaced by
    /// migration entries. Fills `src`, one slot a page; returns `cpages`, counted by slots collected (a compound
    /// folio counts its pages).
    ///
    /// # Errors
    /// `EINVAL` (no VMA, or not inside one, or an IO/PFNMAP/hugetlb VMA).
    #[track_caller]
    fn migrate_vma_setup(
        &self,
        _held: &Self::ReadGuard<'_>,
        _args: &MigrateVma,
        _src: &mut [MigratePfn],
    ) -> Result<u64, Errno> {
        Err(Errno::EINVAL)
    }
    /// `migrate_vma_pages`: hands the struct page over to `dst` where `src` has `migrate` and `dst` a page; elsewhere
    /// clears `migrate` in `src`. Holes raise a second MIGRATE event and are filled inside it.
    #[track_caller]
    fn migrate_vma_pages(
        &self,
        _held: &Self::ReadGuard<'_>,
        _args: &MigrateVma,
        _src: &mut [MigratePfn],
        _dst: &[MigratePfn],
    ) {
    }
    /// `migrate_vma_finalize`: puts the new (or, where it did not move, the old) pages into the CPU page table, without
    /// an event; unlocks and puts both.
    #[track_caller]
    fn migrate_vma_finalize(
        &self,
        _held: &Self::ReadGuard<'_>,
        _args: &MigrateVma,
        _src: &mut [MigratePfn],
        _dst: &[MigratePfn],
    ) {
    }

    /// `migrate_device_pfns`: the same collection by frame number, whatever process maps them: no mmap_lock; free
    /// pages and pages that somebody has locked are skipped; CLEAR events through rmap. `src` comes with `valid` and
    /// `pfn` set. Returns how many were collected.
    #[track_caller]
    fn migrate_device_pfns(&self, _src: &mut [MigratePfn]) -> u64 {
        0
    }
    /// `migrate_device_pages`.
    #[track_caller]
    fn migrate_device_pages(&self, _src: &mut [MigratePfn], _dst: &[MigratePfn]) {}
    /// `migrate_device_finalize`.
    #[track_caller]
    fn migrate_device_finalize(&self, _src: &mut [MigratePfn], _dst: &[MigratePfn]) {}

    /// A new folio of `1 << order` pages of system memory as a destination: locked, one reference, contents undefined.
    ///
    /// # Errors
    /// `ENOMEM`.
    #[track_caller]
    fn alloc_folio(&self, _order: u8) -> Result<u64, Errno> {
        Err(Errno::ENOMEM)
    }
    /// Unlocks and puts a destination folio that was not used, in system or device memory.
    #[track_caller]
    fn put_new_folio(&self, _pfn: u64, _order: u8) {}

    /// `mmput_async`: the last reference's `exit_mmap` runs elsewhere.
    #[track_caller]
    fn mmput_async(&self) {
        self.mmput();
    }
}
