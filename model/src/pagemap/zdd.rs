//! The zdd (`struct drm_pagemap_zdd`): what the device folios of one migration have in common, and the word that names it.
//!
//! Every device folio carries a word, `zone_device_data`. The kernel keeps the pointer to the zdd in it and, because
//! pointers are aligned, the MIGRATED flag in bit 0. Here the handle's bits (32 of slot, below 32 of generation) are
//! shifted up by one to make room for it, so the generation has 31 bits in the word; a zdd whose generation needs more is
//! refused as if memory were short. Spec drm-gpusvm 16.

use super::{DevmemHandle, Pagemap};
use crate::Errno;
use crate::note;
use crate::platform::{Atomic, Cache, Completion, Handle, KAtomic, Objects, Platform};

/// Names a [`Zdd`]. Copying it takes no reference.
pub type ZddHandle<P> = Handle<Zdd<P>>;

/// Bit 0 of the word: the folio's contents have moved away, whoever still holds it.
const MIGRATED: u64 = 1;

/// Whether a folio's word says MIGRATED: nothing is to be fetched from it any more.
pub const fn is_migrated(word: u64) -> bool {
    word & MIGRATED != 0
}

/// The word with the flag set.
pub(super) const fn with_migrated(word: u64) -> u64 {
    word | MIGRATED
}

/// Whether two folios of *one* pagemap came with the same migration (`drm_pagemap_page_zone_device_data` of both). The
/// words of two pagemaps cannot be compared.
pub const fn same_zdd(a: u64, b: u64) -> bool {
    a & !MIGRATED == b & !MIGRATED
}

/// `struct drm_pagemap_zdd`.
pub struct Zdd<P: Platform> {
    /// One for the migration while it runs, one for each device folio.
    refcount: KAtomic<P>,
    /// Owns a reference to it. Constant.
    pub(super) devmem: DevmemHandle<P>,
}

impl<P: Platform> Pagemap<P> {
    /// `drm_pagemap_zdd_alloc`: one reference. On success it owns the caller's reference to `devmem`.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn zdd_alloc(&self, devmem: DevmemHandle<P>) -> Result<ZddHandle<P>, Errno> {
        let zdd = self.zdds.alloc(Zdd { refcount: KAtomic::<P>::new("zdd.refcount", 1), devmem })?;
        if self.zdd_of(zdd.to_bits() << 1) != zdd {
            self.zdds.free(zdd);
            return Err(Errno::ENOMEM);
        }
        Ok(zdd)
    }

    /// The word that names `zdd`, MIGRATED not set.
    pub(super) fn word_of(&self, zdd: ZddHandle<P>) -> u64 {
        zdd.to_bits() << 1
    }

    /// `drm_pagemap_page_zone_device_data`: the zdd that a folio's word names, whatever its flag says.
    pub(super) fn zdd_of(&self, word: u64) -> ZddHandle<P> {
        ZddHandle::<P>::from_bits(word >> 1)
    }

    /// The zdd. A handle of a freed one is a violation of I4 in the lab.
    #[track_caller]
    pub(super) fn zdd(&self, zdd: ZddHandle<P>) -> &Zdd<P> {
        self.zdds.get(zdd)
    }

    /// `drm_pagemap_zdd_get`. The caller knows of a reference that stays.
    #[track_caller]
    pub(super) fn zdd_get(&self, zdd: ZddHandle<P>) {
        self.zdd(zdd).refcount.inc_return();
    }

    /// `drm_pagemap_zdd_put`; the last one (`drm_pagemap_zdd_destroy`) says that the allocation is detached and drops it.
    /// Any context.
    #[track_caller]
    pub(super) fn zdd_put(&self, zdd: ZddHandle<P>) {
        let object = self.zdd(zdd);
        if object.refcount.dec_return() != 0 {
            return;
        }
        let devmem = object.devmem;
        note!(P::Kernel, "zdd of {:?} is gone: no page is in it any more", self.devmem(devmem).block());
        self.devmem(devmem).detached.complete_all();
        self.devmem_put(devmem);
        self.zdds.free(zdd);
    }

    /// `drm_pagemap_folio_free`, the pagemap's `folio_free` op: the last reference to a device folio is gone, `data` is its
    /// `zone_device_data`. The last folio of an allocation gives its memory back to the GPU. Any context.
    #[track_caller]
    pub fn folio_free(&self, data: u64) {
        self.zdd_put(self.zdd_of(data));
    }

    /// `drm_pagemap_folio_split`: a device folio is about to become `folios` folios, each of which gets the old one's word,
    /// flag included, and a reference to the zdd. The folio lock is held. Any context.
    #[track_caller]
    pub fn folio_split(&self, data: u64, folios: u64) {
        for _ in 1..folios {
            self.zdd_get(self.zdd_of(data));
        }
    }

    /// How many references the zdd named by a folio's word has. Exact at rest only.
    #[track_caller]
    pub fn zdd_refcount(&self, data: u64) -> u64 {
        self.zdd(self.zdd_of(data)).refcount.load()
    }
}
