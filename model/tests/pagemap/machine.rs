//! The scripted world with two GPUs that have memory, and a pagemap for each.

use super::gpusvm_script::{K4, RW, Script, ScriptGpu, Seq, World, shared};
use model::Errno;
use model::pagemap::{MigrateDetails, Pagemap};
use model::platform::*;
use model::units::Bytes;
use std::rc::{Rc, Weak};

/// The world's GPU.
pub(crate) const OWN: PagemapId = PagemapId(0);
/// The other one.
pub(crate) const PEER: PagemapId = PagemapId(1);
/// The owner of both, unless a test says otherwise.
pub(crate) const OWNER: Owner = Owner(7);
/// First frame of the own GPU's memory.
pub(crate) const VRAM: u64 = 1 << 40;
const PEER_VRAM: u64 = VRAM + (1 << 28);

/// The parts.
pub(crate) struct Machine {
    pub(crate) w: World,
    pub(crate) pagemap: Rc<Pagemap<Script>>,
    pub(crate) peer_gpu: ScriptGpu,
    pub(crate) peer: Rc<Pagemap<Script>>,
}

impl Machine {
    /// Two GPUs that share an owner, each with `pages` pages of memory.
    pub(crate) fn new(pages: u64) -> Self {
        Self::with_owners(pages, OWNER, OWNER)
    }

    pub(crate) fn with_owners(pages: u64, own: Owner, peer: Owner) -> Self {
        let w = World::new();
        let peer_gpu = ScriptGpu::new(w.mm.frames.clone());
        w.gpu.add_memory(DevicePage { pagemap: OWN, owner: own }, VRAM, pages);
        peer_gpu.add_memory(DevicePage { pagemap: PEER, owner: peer }, PEER_VRAM, pages);
        let make =
            |gpu: &ScriptGpu, client| Rc::new(Pagemap::new(gpu.clone(), ClientId(client)).expect("it has memory"));
        let (pagemap, peer) = (make(&w.gpu, 0), make(&peer_gpu, 1));
        for (gpu, its) in [(&w.gpu, &pagemap), (&peer_gpu, &peer)] {
            let its = Rc::downgrade(its);
            gpu.on_evict(Rc::new(move |block| its.upgrade().expect("alive").evict(block)));
        }
        let both: [Weak<_>; 2] = [Rc::downgrade(&pagemap), Rc::downgrade(&peer)];
        let find = move |id: PagemapId| both[id.0 as usize].upgrade().expect("alive");
        let of = find.clone();
        w.mm.frames.on_free(Rc::new(move |id, data| of(id).folio_free(data)));
        let of = find.clone();
        w.mm.frames.on_split(Rc::new(move |id, data, folios| of(id).folio_split(data, folios)));
        w.mm.on_device_fault(Rc::new(move |id, mm, held, addr, pfn| find(id).migrate_to_ram(mm, held, addr, pfn)));
        w.log();
        Machine { w, pagemap, peer_gpu, peer }
    }

    /// A VMA at `[start, end)` whose pages exist, holding their page numbers counted from 1.
    pub(crate) fn populated(&self, start: u64, end: u64) {
        self.w.mm.map(start, end, RW);
        for (i, addr) in (start..end).step_by(K4 as usize).enumerate() {
            self.fill(addr, i as u64 + 1);
        }
    }

    /// The CPU writes to a page that is in system memory or nowhere.
    pub(crate) fn fill(&self, addr: u64, content: u64) {
        let pfn = 0x5000 + (addr >> 12);
        self.w.mm.populate(addr, addr + K4, pfn, 0);
        self.w.mm.frames.set_content(pfn, content);
    }

    pub(crate) fn populate_mm(&self, start: u64, end: u64) -> Result<(), Errno> {
        self.pagemap.populate_mm(&self.w.mm, Bytes::new(start, end), &MigrateDetails::default())
    }

    /// Whose memory the page is in; None: system memory, or nowhere.
    pub(crate) fn place(&self, addr: u64) -> Option<PagemapId> {
        self.w.mm.frames.device(self.w.mm.pfn(addr)?).map(|device| device.pagemap)
    }

    pub(crate) fn places(&self, start: u64, end: u64) -> Vec<Option<PagemapId>> {
        (start..end).step_by(K4 as usize).map(|addr| self.place(addr)).collect()
    }

    /// What the page holds, wherever it is.
    pub(crate) fn content(&self, addr: u64) -> u64 {
        self.w.mm.frames.content(self.w.mm.pfn(addr).expect("there is a page"))
    }

    pub(crate) fn contents(&self, start: u64, end: u64) -> Vec<u64> {
        (start..end).step_by(K4 as usize).map(|addr| self.content(addr)).collect()
    }

    /// Nothing is half done, and no device memory is in use or remembered.
    pub(crate) fn assert_no_devmem(&self) {
        assert!(self.w.gpu.blocks().is_empty() && self.peer_gpu.blocks().is_empty(), "GPU memory is allocated");
        assert_eq!(Seq::objects("drm_pagemap_zdd"), 0, "zdds");
        assert_eq!(Seq::objects("drm_pagemap_devmem"), 0, "allocations");
        for of in [OWN, PEER] {
            assert_eq!(self.w.mm.frames.folios(Some(of)), 0, "device folios of {of:?}");
        }
        self.assert_settled();
        self.pagemap.fini();
        self.peer.fini();
        assert_eq!(self.w.warns(), [""; 0]);
    }

    /// Nothing is half done.
    pub(crate) fn assert_settled(&self) {
        assert_eq!(self.w.mm.frames.locked(), 0, "folios are left locked");
        assert_eq!(self.w.mm.users(), 1, "mm users");
        assert_eq!(self.peer_gpu.live(), 0, "mappings of the peer");
        assert_eq!(self.w.mm.unmapped_folios(), 0, "destinations that nobody uses");
        shared(|s| {
            assert!(!s.migrating && s.copies_pending == 0);
            assert_eq!(s.held, [""; 0], "locks");
        });
    }
}
