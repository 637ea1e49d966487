//! The notifier: an aligned window of the address space with one mmu interval notifier, and the ranges inside it.
//!
//! Answers to `struct drm_gpusvm_notifier` and `drm_gpusvm_notifier_invalidate`. Spec drm-gpusvm 1, 5, 12.
//!
//! A notifier exists for its ranges: it is registered with the mm just before its first range is created, linked into
//! the instance's tree just after, and goes with the last one. Between registration and linking, callbacks already
//! arrive; they find no range, but they move the sequence number, which is why [`Notifier::sub`] has to be there
//! before the registration becomes visible.
//!
//! The sequence number is per notifier: any event in the window makes a concurrent `get_pages` of any range in it
//! start over. Ranges that are mapped stay mapped.

use super::chunk::aligned_block;
use super::{GpuSvm, Ported};
use crate::Errno;
use crate::framework::{DriverLocked, NotifierHandle, NotifierWrite, Range};
use crate::note;
use crate::platform::{Cache, KPlain, Kernel, Mm, MmuEvent, NotifierEntry, Objects, Plain, Plant, Platform};
use crate::tree::{IntervalTree, TreeLink, TreeNode};
use crate::units::Bytes;

/// The mm's name for a registered interval notifier.
type Sub<P> = <<P as Platform>::Mm as Mm<<P as Platform>::Kernel>>::Sub;

/// `struct drm_gpusvm_notifier`. The bits of its handle are the cookie of the mmu interval notifier.
pub struct Notifier<P: Ported, R: 'static> {
    /// The window. Constant.
    bytes: Bytes,
    /// The embedded `mmu_interval_notifier`: set once, before any callback can arrive.
    sub: KPlain<P, Option<Sub<P>>>,
    /// In the instance's tree. Driver lock.
    link: KPlain<P, TreeLink<Notifier<P, R>>>,
    /// Changed under the driver lock and NL for read.
    pub(super) ranges: IntervalTree<P::Kernel, Range<P, R>>,
    /// Unregistered from the mm by fini. Driver lock.
    pub(super) removed: KPlain<P, bool>,
}

impl<P: Ported, R: 'static> Notifier<P, R> {
    /// The window, `notifier_size` bytes at a multiple of `notifier_size`. Constant.
    pub fn bytes(&self) -> Bytes {
        self.bytes
    }

    /// The mm's name for it. Driver lock, or inside a callback.
    ///
    /// # Panics
    /// Before the registration, when nobody can know the notifier.
    #[track_caller]
    pub fn sub(&self) -> Sub<P> {
        self.sub.get().expect("the notifier is registered before anybody sees it")
    }
}

impl<P: Ported, R: 'static> TreeNode<P::Kernel> for Notifier<P, R> {
    fn link(&self) -> &KPlain<P, TreeLink<Self>> {
        &self.link
    }
    fn first(&self) -> u64 {
        self.bytes.start
    }
    fn last(&self) -> u64 {
        self.bytes.end - 1
    }
}

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// The notifier. A handle of a freed one is a violation of I4 in the lab.
    #[track_caller]
    pub fn notifier(&self, notifier: NotifierHandle<P, R>) -> &Notifier<P, R> {
        self.notifiers.get(notifier)
    }

    /// `drm_gpusvm_notifier_find`: the lowest notifier that overlaps `bytes`.
    #[track_caller]
    pub fn first_notifier(&self, _locked: DriverLocked<'_>, bytes: Bytes) -> Option<NotifierHandle<P, R>> {
        self.root.first_overlap(&self.notifiers, bytes.start, bytes.end.wrapping_sub(1))
    }

    /// The notifier after `notifier`, when it begins below `end`. `notifier` must still be linked: to remove while
    /// walking, ask for the next one first. Spec drm-gpusvm 3.
    #[track_caller]
    pub fn next_notifier(
        &self,
        _locked: DriverLocked<'_>,
        notifier: NotifierHandle<P, R>,
        end: u64,
    ) -> Option<NotifierHandle<P, R>> {
        let next = self.root.next(&self.notifiers, notifier)?;
        (self.notifier(next).bytes.start < end).then_some(next)
    }

    /// The linked notifier whose window holds `addr`.
    #[track_caller]
    pub(super) fn find_notifier(&self, _locked: DriverLocked<'_>, addr: u64) -> Option<NotifierHandle<P, R>> {
        self.root.first_overlap(&self.notifiers, addr, addr)
    }

    /// `drm_gpusvm_notifier_alloc` and `mmu_interval_notifier_insert` of the window around `fault`. Without mmap_lock:
    /// the first notifier of an mm takes it for write. Not linked into the instance's tree yet.
    ///
    /// # Errors
    /// `ENOMEM`; what the registration says (`ENOMEM`, `EINTR`, `EOVERFLOW`, `EINVAL`).
    pub(super) fn register_notifier(&self, fault: u64) -> Result<NotifierHandle<P, R>, Errno> {
        // A window that would end above the last address: the registration refuses the empty interval, as it does in
        // the kernel, where the end wraps to 0.
        let bytes = aligned_block(fault, self.config.notifier_size).unwrap_or(Bytes::new(fault, 0));
        let notifier = self.notifiers.alloc(Notifier {
            bytes,
            sub: KPlain::<P, _>::new(None),
            link: KPlain::<P, _>::new(TreeLink::default()),
            ranges: IntervalTree::new(),
            removed: KPlain::<P, _>::new(false),
        })?;
        let entry = NotifierEntry { client: self.config.client, cookie: notifier.to_bits() };
        let object = self.notifier(notifier);
        let early = !P::Kernel::planted(Plant::Mlx5NotifierBeforeObject);
        let publish = |sub| object.sub.set(Some(sub).filter(|_| early));
        match self.mm.interval_insert(entry, bytes, publish) {
            Ok(sub) => {
                if !early {
                    object.sub.set(Some(sub));
                }
                note!(P::Kernel, "notifier {bytes} registered");
                Ok(notifier)
            }
            Err(error) => {
                note!(P::Kernel, "notifier {bytes}: registration says {error}");
                self.notifiers.free(notifier);
                Err(error)
            }
        }
    }

    /// Takes back [`register_notifier`](Self::register_notifier): waits for running callbacks, so never under a lock
    /// they take. The notifier was not linked.
    pub(super) fn unregister_notifier(&self, notifier: NotifierHandle<P, R>) {
        let object = self.notifier(notifier);
        self.mm.interval_remove(object.sub());
        note!(P::Kernel, "notifier {} unregistered again", object.bytes);
        self.notifiers.free(notifier);
    }

    /// Links a new notifier. Driver lock; NL is not needed, because callbacks come by handle and do not look here.
    pub(super) fn link_notifier(&self, _locked: DriverLocked<'_>, notifier: NotifierHandle<P, R>) {
        self.root.insert(&self.notifiers, notifier);
    }

    /// `drm_gpusvm_notifier_invalidate`, the `invalidate` op of the mmu interval notifier `cookie`: what the platform's
    /// callback must come to. `f` is the driver's `invalidate` op; it sees the notifier's ranges
    /// ([`first_range`](Self::first_range)) and must unmap the pages of every one that overlaps the event
    /// ([`unmap_pages_in_notifier`](Self::unmap_pages_in_notifier)). Spec drm-gpusvm 12.
    ///
    /// A non-blockable event is refused (false) without touching lock or sequence number. Otherwise NL is taken for
    /// write, the sequence number set, `f` called, NL dropped, and the answer is true. One event calls the notifiers
    /// it overlaps one after the other, and between two of them NL is free.
    pub fn notifier_invalidate(
        &self,
        cookie: u64,
        event: &MmuEvent,
        seq: u64,
        f: impl FnOnce(&NotifierWrite<'_, P>, NotifierHandle<P, R>),
    ) -> bool {
        if !event.blockable && !P::Kernel::planted(Plant::BlockingInNonblock) {
            if P::Kernel::planted(Plant::OdpNonblockMissedUnlock) {
                core::mem::forget(self.notifier_lock_in_callback());
            }
            return false;
        }
        let notifier = NotifierHandle::<P, R>::from_bits(cookie);
        let nl = self.notifier_lock_in_callback();
        if !P::Kernel::planted(Plant::NoSetSeq) {
            self.mm.interval_set_seq(self.notifier(notifier).sub(), seq);
        }
        note!(P::Kernel, "{} {} reaches notifier {}", event.kind.name(), event.bytes, self.notifier(notifier).bytes);
        f(&nl, notifier);
        true
    }
}
