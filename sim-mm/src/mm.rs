//! The driver's view: [`model::platform::Mm`] for [`AddressSpace`].

use crate::interval::SubId;
use crate::space::{AddressSpace, MmapRead};
use interleave::lab::{Lab, Span};
use model::Errno;
use model::platform::{HmmPfn, HmmRange, Mm, NotifierEntry, RwSem, Shared, Vma};
use model::units::Bytes;

impl<L: Lab> Mm<L> for AddressSpace<L> {
    type ReadGuard<'a>
        = MmapRead<'a, L>
    where
        Self: 'a;
    type Sub = SubId;

    #[track_caller]
    fn mmgrab(&self) {
        self.grab();
    }

    #[track_caller]
    fn mmdrop(&self) {
        self.drop_grab();
    }

    #[track_caller]
    fn mmget_not_zero(&self) -> bool {
        self.get_user_not_zero()
    }

    #[track_caller]
    fn mmput(&self) {
        self.put_user();
    }

    #[track_caller]
    fn mmap_read_lock(&self) -> Self::ReadGuard<'_> {
        self.check_alive();
        self.inner.mmap_lock.read()
    }

    fn find_vma(&self, _held: &Self::ReadGuard<'_>, addr: u64) -> Option<Vma> {
        self.inner.vmas.borrow().find(addr).map(|vma| vma.view())
    }

    /// The first insertion of an mm registers under mmap_lock held for write, all VMA locks and all rmap locks
    /// (`mm_take_all_locks`). No signals here, so no EINTR.
    #[track_caller]
    fn interval_insert(&self, entry: NotifierEntry, bytes: Bytes, publish: impl FnOnce(SubId)) -> Result<SubId, Errno> {
        self.check_alive();
        let mm = &*self.inner;
        if !mm.registered.read_once() {
            let held = mm.mmap_lock.write();
            if !mm.notifiers.has_itree.get() {
                let vmas = mm.vmas.borrow().overlapping(Bytes::new(0, u64::MAX));
                mm.vma_start_write(&held, Span::ALL, &vmas);
                let _rmap = mm.anon_vma.write();
                mm.notifiers.has_itree.set(true);
                mm.registered.write_once(true);
                mm.vma_end_write(Span::ALL, &vmas, true);
            }
        }
        if bytes.is_empty() {
            return Err(Errno::EOVERFLOW);
        }
        if !mm.has_users() {
            L::warn(format_args!("interval notifier inserted into {self:?}, which has no users"));
            return Err(Errno::EINVAL);
        }
        self.grab();
        Ok(mm.notifiers.insert(entry, bytes, publish))
    }

    #[track_caller]
    fn interval_remove(&self, sub: SubId) {
        self.check_alive();
        self.inner.notifiers.remove(sub);
        self.drop_grab();
    }

    #[track_caller]
    fn interval_set_seq(&self, sub: SubId, seq: u64) {
        self.inner.notifiers.set_seq(sub, seq);
    }

    #[track_caller]
    fn read_begin(&self, sub: SubId) -> u64 {
        self.inner.notifiers.read_begin(sub)
    }

    #[track_caller]
    fn read_retry(&self, sub: SubId, seq: u64) -> bool {
        self.inner.notifiers.read_retry(sub, seq)
    }

    #[track_caller]
    fn hmm_range_fault(
        &self,
        held: &Self::ReadGuard<'_>,
        range: &HmmRange<SubId>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        self.inner.hmm_range_fault(held, range, pfns)
    }
}
