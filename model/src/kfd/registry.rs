//! The set of ranges: tree, list and interval notifiers. It changes under MM-W and SV only.
//!
//! Answers to `svm_range_add_to_svms`, `_unlink`, `_add_notifier_locked`, `_remove_notifier`, `svm_range_from_addr`,
//! `svm_range_list_lock_and_flush_work`, `svm_range_check_vm`. Spec kfd-svm 2, 5.2.

use super::Svms;
use super::locks::SvmsLocked;
use super::mmap::WriteGuard;
use super::range::{All, Handle, Range, WorkOp};
use crate::Errno;
use crate::list::{ListLink, ListNode};
use crate::note;
use crate::platform::{Gpu, Kernel, Mm, NotifierEntry, Plain, Platform, Shared, SpinLock, Work};
use crate::tree::{TreeLink, TreeNode};
use crate::units::Pages;

impl<P: Platform> Svms<P> {
    /// `svm_range_add_to_svms`: into list and tree, under its bounds as they are now.
    pub(super) fn add_to_svms(&self, _svms: &SvmsLocked<'_, P>, handle: Handle<P>) {
        let range = self.range(handle);
        self.list.push_back(&self.ranges, handle);
        range.node.set(range.pages());
        self.objects.insert(&self.ranges, handle);
    }

    /// `svm_range_unlink`: out of list and tree, if it is there (a child may not be yet), and off its buffer object's
    /// list.
    pub(super) fn unlink(&self, _svms: &SvmsLocked<'_, P>, handle: Handle<P>) {
        let range = self.range(handle);
        if let Some(bo) = range.bo.read_once().bo {
            self.bo_remove_range(bo, handle);
        }
        if <Range<P> as ListNode<P::Kernel, All>>::link(range).with(ListLink::is_linked) {
            self.list.remove(&self.ranges, handle);
        }
        self.leave_tree(handle);
    }

    /// Out of the tree, if it is there. Our tree takes no overlaps, not even for a moment under SV, so what is about to be
    /// cut or replaced leaves before its parts come; in the original it leaves after.
    pub(super) fn leave_tree(&self, handle: Handle<P>) {
        if TreeNode::<P::Kernel>::link(self.range(handle)).with(TreeLink::is_linked) {
            self.objects.remove(&self.ranges, handle);
        }
    }

    /// `svm_range_add_notifier_locked`. The original looks at no error; the range then has no notifier.
    pub(super) fn add_notifier_locked(&self, mmap: &WriteGuard<'_, P>, handle: Handle<P>) {
        let range = self.range(handle);
        let pages = range.pages();
        let entry = NotifierEntry { client: self.config.client, cookie: handle.to_bits() };
        let publish = |sub| range.notifier.set(Some((sub, pages)));
        if let Err(error) = self.mm.interval_insert_locked(mmap, entry, pages.bytes(), publish) {
            note!(P::Kernel, "notifier of {pages}: {error}, and nobody looks");
        }
    }

    /// `svm_range_remove_notifier`: waits for callbacks, PR must not be held.
    pub(super) fn remove_notifier(&self, handle: Handle<P>) {
        let range = self.range(handle);
        if let Some((sub, _)) = range.notifier.get() {
            self.mm.interval_remove(sub);
            range.notifier.set(None);
        }
    }

    /// `svm_range_update_notifier_and_interval_tree`: both again, with the bounds as they are now.
    pub(super) fn update_notifier_and_tree(&self, mmap: &WriteGuard<'_, P>, handle: Handle<P>) {
        let range = self.range(handle);
        let pages = range.pages();
        let listens = range.notifier.get().map(|(_, listens)| listens);
        if listens == Some(pages) {
            return;
        }
        if listens.is_some() {
            self.leave_tree(handle);
            self.remove_notifier(handle);
        }
        range.node.set(pages);
        self.objects.insert(&self.ranges, handle);
        self.add_notifier_locked(mmap, handle);
    }

    /// `svm_range_from_addr`: the range at a page, which may be a child that is found through the old interval of its
    /// parent.
    pub(super) fn range_from_addr(&self, _svms: &SvmsLocked<'_, P>, page: u64) -> Option<Handle<P>> {
        let range = self.objects.first_overlap(&self.ranges, page, page)?;
        if self.range(range).pages().contains(page) {
            return Some(range);
        }
        let mut next = self.first_child(range);
        while let Some(child) = next {
            if self.range(child).pages().contains(page) {
                return Some(child);
            }
            next = self.next_child(child);
        }
        None
    }

    /// `svm_range_list_lock_and_flush_work`: MM-W, at a moment when nothing waits for the deferred work.
    pub(super) fn lock_and_flush_work(&self) -> WriteGuard<'_, P> {
        loop {
            self.deferred_work.flush();
            let mmap = self.mm.mmap_write_lock();
            // The original looks without the lock.
            if self.deferred.lock().is_empty() {
                return mmap;
            }
            drop(mmap);
            P::Kernel::retry_point("lock_and_flush_work: the deferred list has grown again");
        }
    }

    /// `svm_range_check_vm` and `_check_vm_userptr`: what some GPU's VM has mapped there besides SVM.
    ///
    /// # Errors
    /// Those of the reservation.
    pub(super) fn check_vm(&self, pages: Pages) -> Result<Option<Pages>, Errno> {
        for (_, gpu) in self.gpus_of(self.supported()) {
            let root = gpu.reserve_root()?;
            if let Some(mapping) = gpu.bo_mapping(&root, pages) {
                return Ok(Some(mapping));
            }
        }
        Ok(None)
    }

    /// `work_item.op`.
    pub(super) fn op(&self, handle: Handle<P>) -> WorkOp {
        self.range(handle).op.read_once()
    }
}
