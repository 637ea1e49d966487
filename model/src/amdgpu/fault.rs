//! The retry fault handler. Spec amdgpu-svm 4.10.

use super::{Design, Svm};
use crate::Errno;
use crate::framework::DriverLocked;
use crate::platform::{Atomic, Platform, RetryFault};
use crate::units::{PAGE_SHIFT, Pages};

impl<P: Platform> Svm<P> {
    /// `amdgpu_svm_handle_fault` after `lookup_by_pasid`: the caller has found this instance by its PASID and taken a
    /// reference, and puts it afterwards. Nothing held.
    ///
    /// # Errors
    /// `EAGAIN` (closing), `EOPNOTSUPP` (XNACK off), and those of mapping. `hardened` also `EPERM`: no access, or a
    /// write to what may only be read. `poc-v1` does not look at `write` (race R33), nor at its state again after it
    /// got SL (race R35); neither of the two looks at `time`. `poc-v8`: `EPERM` (the VMA does not allow it), `ENOMEM`, and
    /// what [`v8`](super::v8) lets through; Ok says that the GPU may try again, not that anything is mapped.
    pub fn handle_fault(&self, fault: RetryFault) -> Result<(), Errno> {
        let page = fault.addr >> PAGE_SHIFT;
        match self.design {
            Design::PocV1 => {
                if self.poc.exiting.load() != 0 {
                    return Err(Errno::EAGAIN);
                }
                if !self.xnack_enabled {
                    return Err(Errno::EOPNOTSUPP);
                }
                let sl = self.lock_svm();
                self.map_attr_ranges(DriverLocked::by::<P>(&sl), Pages::new(page, page))
            }
            Design::Hardened => self.hardened_fault(page, fault.write),
            Design::PocV8 => self.v8_handle_fault(&fault),
        }
    }
}
