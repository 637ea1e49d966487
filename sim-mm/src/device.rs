//! Device page frames: numbers, and their first and last reference. No more of device-private memory than a GPU alone
//! needs.

use crate::memory::Memory;
use crate::space::AddressSpace;
use interleave::lab::Lab;
use model::platform::{DeviceMemory, Owner, PagemapId};
use std::rc::Rc;

/// Called when the last page of a device folio is free, with its word.
pub type FolioFreeFn = Rc<dyn Fn(PagemapId, u64)>;

/// Frame number of page `page` of the device-private memory `id`.
pub const fn device_pfn(id: PagemapId, page: u64) -> u64 {
    (1 << 40) + ((id.0 as u64) << 28) + page
}

impl<L: Lab> Memory<L> {
    /// Declares the device-private memory `id` of `pages` pages.
    pub fn add_pagemap(&self, _id: PagemapId, _owner: Owner, _pages: u64) {}

    /// Sets whom the end of a device folio is told to.
    pub fn on_folio_free(&self, _call: FolioFreeFn) {}
}

impl<L: Lab> DeviceMemory<L> for AddressSpace<L> {
    fn zone_device_folio_init(&self, pfn: u64, order: u8, _data: u64) {
        self.inner.memory.init_device(pfn, 1 << order);
    }
    fn put_new_folio(&self, pfn: u64, order: u8) {
        self.inner.memory.put(pfn, 1 << order);
    }
}
