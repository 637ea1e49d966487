//! The retry fault handler. Spec amdgpu-svm 4.10.

use super::{Design, Svm};
use crate::Errno;
use crate::gpusvm::DriverLocked;
use crate::platform::{Atomic, Platform};
use crate::units::{PAGE_SHIFT, Pages};

impl<P: Platform> Svm<P> {
    /// `amdgpu_svm_handle_fault` after `lookup_by_pasid`: the caller has found this instance by its PASID and taken a
    /// reference, and puts it afterwards. `addr` is a byte address. Nothing held.
    ///
    /// # Errors
    /// `EAGAIN` (closing), `EOPNOTSUPP` (XNACK off), and those of mapping. `hardened` also `EPERM`: no access, or a
    /// write to what may only be read. `poc-v1` does not look at `write` (race R33), nor at its state again after it
    /// got SL (race R35).
    pub fn handle_fault(&self, addr: u64, write: bool) -> Result<(), Errno> {
        let page = addr >> PAGE_SHIFT;
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
            Design::Hardened => self.hardened_fault(page, write),
        }
    }
}
