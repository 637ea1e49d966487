//! Taking the notifier lock: `drm_gpusvm_notifier_lock`, and the callback's own way. Spec drm-gpusvm 2.

use super::{GpuSvm, Ported};
use crate::framework::{NotifierRead, NotifierWrite};
use crate::platform::RwSem;

impl<P: Ported, R: 'static> GpuSvm<P, R> {
    /// `drm_gpusvm_notifier_lock`: NL for read, until dropped. Inside mmap_lock and the driver lock. Not recursive.
    #[track_caller]
    pub fn notifier_lock(&self) -> NotifierRead<'_, P> {
        NotifierRead::new(self.notifier_lock.read())
    }

    /// NL for write: the callback, and nobody else.
    #[track_caller]
    pub(super) fn notifier_lock_in_callback(&self) -> NotifierWrite<'_, P> {
        NotifierWrite::new(self.notifier_lock.write())
    }
}
