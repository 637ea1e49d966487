//! Ranges that a user queue's save area lives in: `kfd_queue_buffer_svm_get`, `_put`. Spec kfd-svm 12.

use super::Svms;
use super::locks::SvmsLocked;
use super::range::Handle;
use crate::Errno;
use crate::attr::Flags;
use crate::platform::{Atomic, Platform, Shared};
use crate::units::Pages;

impl<P: Platform> Svms<P> {
    /// A queue of GPU `gpu` has its save area in `pages`: all of it must be always mapped, and be mapped on that GPU.
    /// Nothing held.
    ///
    /// # Errors
    /// `EINVAL`: it is not.
    pub fn queue_buffer_get(&self, gpu: usize, pages: Pages) -> Result<(), Errno> {
        let svms = self.lock_svms();
        let usable = |handle: Handle<P>| {
            let (range, attrs) = (self.range(handle), self.range(handle).attrs.read_once());
            range.mapped_to_gpu.read_once() && attrs.accessible().has(gpu) && attrs.flags.has(Flags::GPU_ALWAYS_MAPPED)
        };
        if !self.for_each_range_of(&svms, pages, usable) {
            return Err(Errno::EINVAL);
        }
        self.for_each_range_of(&svms, pages, |handle| {
            self.range(handle).queue_refcount.inc_return();
            true
        });
        Ok(())
    }

    /// The queue is destroyed. Ranges that are gone meanwhile are passed over. Nothing held.
    pub fn queue_buffer_put(&self, pages: Pages) {
        let svms = self.lock_svms();
        let mut page = pages.first;
        while page <= pages.last {
            let Some(handle) = self.range_from_addr(&svms, page) else {
                page += 1;
                continue;
            };
            let range = self.range(handle);
            if range.queue_refcount.load() != 0 {
                range.queue_refcount.dec_return();
            }
            page = range.pages().last + 1;
        }
    }

    /// Calls `f` with each range of `pages` until it says false; false also where there is none.
    fn for_each_range_of(&self, svms: &SvmsLocked<'_, P>, pages: Pages, f: impl Fn(Handle<P>) -> bool) -> bool {
        let mut page = pages.first;
        while page <= pages.last {
            match self.range_from_addr(svms, page) {
                Some(handle) if f(handle) => page = self.range(handle).pages().last + 1,
                _ => return false,
            }
        }
        true
    }
}
