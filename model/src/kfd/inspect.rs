//! Looking at a process from outside: what invariants are checked against.
//!
//! Takes no lock except leaves, and so is right only **at rest**, or where the caller knows that the locks which protect
//! what it looks at are held.

use super::Svms;
use super::attrs::Attrs;
use super::dma::DmaSlot;
use super::gpus::GpuSet;
use super::pte::{VramOf, svm_pte_flags};
use super::range::{Handle, Range, WorkOp};
use crate::attr::{self, Access, Location, Segment};
use crate::platform::{Atomic, Gpu, Kernel, Objects, Plain, Platform, PteFlags, Shared, SpinLock};
use crate::tree::Corrupt;
use crate::units::Pages;

/// A process at rest.
pub struct Inspect<'a, P: Platform> {
    svms: &'a Svms<P>,
}

/// A range at rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RangeView {
    /// `[start, last]`.
    pub pages: Pages,
    /// Where its notifier listens; None: it has none.
    pub listens: Option<Pages>,
    /// Attributes.
    pub attrs: Attrs,
    /// The driver believes that it is on the GPUs (since an UNMAP or an eviction of a part: that it may be, in part).
    pub mapped_to_gpu: bool,
    /// Events since it was last mapped, XNACK off.
    pub invalid: u64,
    /// 0, or the id of the GPU that has pages of it.
    pub actual_loc: u32,
    /// Pages it believes to have in VRAM.
    pub vram_pages: u64,
    /// Whether it holds a reference to a buffer object, and which, by number.
    pub svm_bo: Option<u64>,
    /// User queues that live in it.
    pub queue_refcount: u64,
    /// Parts that were split off and are not ranges of their own yet.
    pub children: usize,
    /// What the deferred work will do with it; None: it does not wait for it.
    pub queued: Option<WorkOp>,
}

impl<P: Platform> Svms<P> {
    /// The process as it stands. At rest only.
    pub fn inspect(&self) -> Inspect<'_, P> {
        Inspect { svms: self }
    }
}

impl<'a, P: Platform> Inspect<'a, P> {
    /// Callbacks that evicted since the queues last ran (`evicted_ranges`).
    pub fn evicted_ranges(&self) -> u64 {
        self.svms.evicted_ranges.load()
    }

    /// Stops of the process's queues that we hold: one while something is evicted, and those of section 12, which nobody
    /// undoes.
    pub fn stops(&self) -> u64 {
        u64::from(self.evicted_ranges() != 0) + self.svms.queue_stops.load()
    }

    /// Whether the process is out of the table.
    pub fn exiting(&self) -> bool {
        !self.svms.listed.read_once()
    }

    /// Whether a range waits for the deferred or the restore work.
    pub fn has_pending_work(&self) -> bool {
        self.evicted_ranges() != 0 || !self.svms.deferred.lock().is_empty()
    }

    /// References of the process.
    pub fn references(&self) -> u64 {
        self.svms.refcount.load()
    }

    /// Buffer objects that exist.
    pub fn svm_bos(&self) -> usize {
        self.svms.bo_list.lock().iter(&self.svms.bos).count()
    }

    /// The ranges in address order. Children are not among them.
    pub fn ranges(&self) -> impl Iterator<Item = RangeView> + use<'a, P> {
        let svms = self.svms;
        let mut next = svms.objects.first(&svms.ranges);
        core::iter::from_fn(move || {
            let handle = next?;
            next = svms.objects.next(&svms.ranges, handle);
            Some(view(svms, handle))
        })
    }

    /// The children of the range that holds or held `page`, in the order in which they were split off.
    pub fn children_at(&self, page: u64) -> impl Iterator<Item = (Pages, WorkOp)> + use<'a, P> {
        let svms = self.svms;
        let parent = svms.objects.first_overlap(&svms.ranges, page, page);
        let mut next = parent.and_then(|parent| svms.first_child(parent));
        core::iter::from_fn(move || {
            let child = next?;
            next = svms.next_child(child);
            Some((svms.range(child).pages(), svms.op(child)))
        })
    }

    /// Whether GPU `gpu` is owed an entry for every page of the range whenever its queues run (XNACK off): access was
    /// given, it was mapped once, and nothing has hit it since.
    pub fn is_owed(&self, range: &RangeView, gpu: usize) -> bool {
        let supported = !self.svms.config.xnack || range.attrs.flags.has(attr::Flags::GPU_ALWAYS_MAPPED);
        supported && range.attrs.accessible().has(gpu) && range.mapped_to_gpu && range.invalid == 0
    }

    /// `pages` cut where ranges begin and end, holes included, with the attributes as GPU `gpu` sees them.
    pub fn for_each_segment(&self, gpu: usize, pages: Pages, mut f: impl FnMut(Segment)) {
        let (svms, mut at) = (self.svms, pages.first);
        let hole = attrs_for(&svms.default_attrs(), gpu);
        let mut next = svms.objects.first_overlap(&svms.ranges, pages.first, pages.last);
        while let Some(handle) = next {
            let range = svms.range(handle);
            let part = range.pages().clip(&pages);
            if !part.is_empty() {
                if at < part.first {
                    f(Segment { pages: Pages::new(at, part.first - 1), attrs: hole, stored: false });
                }
                f(Segment { pages: part, attrs: attrs_for(&range.attrs.read_once(), gpu), stored: true });
                at = part.last + 1;
            }
            next = svms.objects.next_overlap(&svms.ranges, handle, pages.last);
        }
        if at <= pages.last {
            f(Segment { pages: Pages::new(at, pages.last), attrs: hole, stored: false });
        }
    }

    /// What an entry of GPU `gpu` for `page` has to hold, if it holds anything, as far as the attributes go. None: no
    /// range is there.
    pub fn pte_flags(&self, gpu: usize, page: u64, read_only: bool) -> Option<PteFlags> {
        let svms = self.svms;
        let handle = svms.objects.first_overlap(&svms.ranges, page, page)?;
        let range = svms.range(handle);
        let at = page.checked_sub(range.pages().first)?;
        let bo = range.bo.read_once();
        let of_bo = bo.bo.filter(|_| bo.has_res).map(|bo| svms.bos.get(bo).gpu());
        let vram = matches!(range.slot(gpu, at as usize), DmaSlot::Vram(..)).then(|| match of_bo {
            Some(of_bo) if of_bo == gpu => VramOf::Own,
            Some(of_bo) if svms.same_hive(gpu, of_bo) => VramOf::SameHive,
            _ => VramOf::Foreign,
        });
        let properties = svms.gpu(gpu)?.properties();
        Some(svm_pte_flags(&properties, range.attrs.read_once().flags, vram, read_only))
    }

    /// Whether all trees and lists are well formed (I9), and say the same. Warns about what is not.
    pub fn check(&self) {
        let svms = self.svms;
        let warn = |what: &dyn core::fmt::Display| P::Kernel::warn(format_args!("{what}"));
        let in_tree = svms.objects.check(&svms.ranges);
        let in_list = svms.list.check(&svms.ranges);
        let waiting = svms.deferred.lock().check(&svms.ranges);
        let bos = svms.bo_list.lock().check(&svms.bos);
        for corrupt in [in_tree, in_list, waiting, bos].into_iter().filter_map(Result::err) {
            warn(&corrupt);
        }
        if let (Ok(tree), Ok(list)) = (in_tree, in_list)
            && tree != list
        {
            warn(&format_args!("{tree} ranges in svms.objects, {list} in svms.list"));
        }
        let mut next = svms.objects.first(&svms.ranges);
        while let Some(handle) = next {
            if let Err(corrupt) = self.check_range(handle) {
                warn(&corrupt);
            }
            next = svms.objects.next(&svms.ranges, handle);
        }
    }

    /// A range that does not wait for the deferred work is in the tree, and listens, where it is; it has no children.
    fn check_range(&self, handle: Handle<P>) -> Result<(), Corrupt> {
        let range = self.svms.range(handle);
        let (pages, listens) = (range.pages(), range.notifier.get().map(|(_, listens)| listens));
        if listens.is_some_and(|listens| listens != range.node.get()) {
            return Err(Corrupt::at("range: tree and notifier have different intervals", handle));
        }
        if !range.node.get().covers(&pages) {
            return Err(Corrupt::at("range: it reaches over its interval in the tree", handle));
        }
        if self.queued(handle).is_some() {
            return Ok(());
        }
        if !range.children.read_once().is_childless() {
            return Err(Corrupt::at("range: it has children and does not wait for the deferred work", handle));
        }
        if range.node.get() != pages {
            return Err(Corrupt::at("range: it was cut and does not wait for the deferred work", handle));
        }
        Ok(())
    }

    fn queued(&self, handle: Handle<P>) -> Option<WorkOp> {
        queued(self.svms, handle)
    }
}

fn queued<P: Platform>(svms: &Svms<P>, handle: Handle<P>) -> Option<WorkOp> {
    let deferred = svms.deferred.lock();
    svms.on_deferred_list(&deferred, handle).then(|| svms.op(handle))
}

fn view<P: Platform>(svms: &Svms<P>, handle: Handle<P>) -> RangeView {
    let range: &Range<P> = svms.range(handle);
    let bo = range.bo.read_once();
    let mut children = 0;
    let mut next = svms.first_child(handle);
    while let Some(child) = next {
        children += 1;
        next = svms.next_child(child);
    }
    RangeView {
        pages: range.pages(),
        listens: range.notifier.get().map(|(_, listens)| listens),
        attrs: range.attrs.read_once(),
        mapped_to_gpu: range.mapped_to_gpu.read_once(),
        invalid: range.invalid.load(),
        actual_loc: range.actual_loc.read_once(),
        vram_pages: range.vram_pages.read_once(),
        svm_bo: bo.bo.filter(|_| bo.has_res).map(crate::platform::Handle::to_bits),
        queue_refcount: range.queue_refcount.load(),
        children,
        queued: queued(svms, handle),
    }
}

/// The attributes of a range for one GPU, in the form that the per-GPU designs have.
fn attrs_for(attrs: &Attrs, gpu: usize) -> attr::Attrs {
    let one = GpuSet::one(gpu);
    attr::Attrs {
        preferred_loc: Location::from_raw(attrs.preferred_loc),
        prefetch_loc: Location::from_raw(attrs.prefetch_loc),
        flags: attrs.flags,
        granularity: attrs.granularity.into(),
        access: match (attrs.access.and(one).is_empty(), attrs.aip.and(one).is_empty()) {
            (false, _) => Access::Enable,
            (true, false) => Access::InPlace,
            (true, true) => Access::None,
        },
    }
}
