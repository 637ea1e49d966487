//! From the kernel's callbacks to the driver, and what else differs between the frameworks.

use super::{DrmGpusvm, InCallback, OnDrm};
use crate::LinuxKernel;
use model::amdgpu::Svm;
use model::framework::{Framework, NotifierWrite};
use model::gpusvm::{Port, Ported};
use model::platform::{Handle, Kernel, MmuEvent, Platform};

/// What an instance's [`Client`](crate::registry::Client) does with a callback, by framework.
pub trait Callbacks<P: Platform<Framework = Self>>: Framework<P> {
    /// Whether pages are mapped for DMA through the platform's GPU, which counts and may be told to fail, and not by the
    /// framework itself.
    const DMA_BY_GPU: bool;

    /// An interval notifier that the driver registered was hit.
    fn mmu_invalidate(svm: &Svm<P>, cookie: u64, event: &MmuEvent, seq: u64) -> bool;

    /// The framework calls the driver for one of the instance's notifiers, with the notifier lock held for write.
    ///
    /// # Safety
    /// The running task is in the `invalidate` op of this instance, called for `notifier`, until this returns.
    unsafe fn invalidate(svm: &Svm<P>, notifier: u64, event: &MmuEvent);
}

impl<P: Ported> Callbacks<P> for Port {
    const DMA_BY_GPU: bool = true;

    fn mmu_invalidate(svm: &Svm<P>, cookie: u64, event: &MmuEvent, seq: u64) -> bool {
        svm.mmu_invalidate(cookie, event, seq)
    }

    unsafe fn invalidate(_: &Svm<P>, _: u64, event: &MmuEvent) {
        LinuxKernel::warn(format_args!("drm_gpusvm calls an instance that is not its own, for {}", event.bytes));
    }
}

impl<P: OnDrm> Callbacks<P> for DrmGpusvm {
    const DMA_BY_GPU: bool = false;

    fn mmu_invalidate(_: &Svm<P>, _: u64, event: &MmuEvent, _: u64) -> bool {
        LinuxKernel::warn(format_args!("an instance on drm_gpusvm has no notifier of its own, hit by {}", event.bytes));
        true
    }

    unsafe fn invalidate(svm: &Svm<P>, notifier: u64, event: &MmuEvent) {
        let nl = NotifierWrite::new(InCallback::new());
        svm.invalidate(&nl, Handle::from_bits(notifier), event);
    }
}
