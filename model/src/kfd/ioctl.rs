//! `AMDKFD_IOC_SVM`: `kfd_ioctl_svm`, `svm_ioctl`. Spec peer-tests 0.4.

use super::Svms;
use crate::Errno;
use crate::amdgpu::{IoctlArgs, UserAttrs};
use crate::attr::{UapiAttr, request_pages};
use crate::platform::{Kernel, Platform};
use crate::units::PAGE_SIZE;

/// KFD_IOCTL_SVM_OP_SET_ATTR.
pub const KFD_IOCTL_SVM_OP_SET_ATTR: u32 = 0;
/// KFD_IOCTL_SVM_OP_GET_ATTR.
pub const KFD_IOCTL_SVM_OP_GET_ATTR: u32 = 1;

/// As many attributes as fit behind `struct kfd_ioctl_svm_args` in the 14 bits of size that an ioctl number has.
pub const MAX_ATTRS: u32 = ((1 << 14) - 1 - 24) / 8;

impl<P: Platform> Svms<P> {
    /// The ioctl. The array follows the arguments in user memory, so `attrs_ptr_null` means nothing here; attribute types
    /// and flags are numbered as in the DRM interface, but the value of an access or location attribute is a GPU id, or
    /// [`LOCATION_SYSMEM`](super::LOCATION_SYSMEM), [`LOCATION_UNDEFINED`](super::LOCATION_UNDEFINED). Nothing held.
    ///
    /// # Errors
    /// `EINVAL`: address or size is 0 or not page aligned, unknown attribute, GPU or operation (for which the original
    /// forgets the sign). `EFAULT`: the array; a hole, IO or PFN mapping in the interval. `EADDRINUSE`: a buffer object is
    /// mapped there. Then those of migration and mapping.
    pub fn ioctl(&self, args: &IoctlArgs, user: &mut dyn UserAttrs) -> Result<(), Errno> {
        let aligned = args.start_addr.is_multiple_of(PAGE_SIZE) && args.size.is_multiple_of(PAGE_SIZE);
        if !aligned || args.start_addr == 0 || args.size == 0 || args.nattr > MAX_ATTRS {
            return Err(Errno::EINVAL);
        }
        let pages = request_pages(args.start_addr, args.size);
        let mut attrs = P::Kernel::alloc_array(args.nattr as usize, UapiAttr::default())?;
        user.copy_in(&mut attrs)?;
        if pages.is_empty() {
            // It wraps: no VMA reaches there.
            return Err(Errno::EFAULT);
        }
        match args.operation {
            KFD_IOCTL_SVM_OP_SET_ATTR => self.set_attr(pages, &attrs),
            KFD_IOCTL_SVM_OP_GET_ATTR => {
                self.get_attr(pages, &mut attrs)?;
                user.copy_out(&attrs)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}
