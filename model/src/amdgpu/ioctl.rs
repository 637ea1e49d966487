//! `amdgpu_gem_svm_ioctl`. Spec amdgpu-svm 1.3, 4.10.

use super::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_RESET_ATTR, AMDGPU_SVM_OP_SET_ATTR, IoctlArgs, UserAttrs};
use super::{Design, Svm};
use crate::Errno;
use crate::attr::{MAX_ATTRS, UapiAttr};
use crate::platform::{Kernel, Platform};
use crate::units::PAGE_SIZE;

impl<P: Platform> Svm<P> {
    /// The ioctl. Rule 1 (`EOPNOTSUPP` without an instance) is
    /// [`VmManager::ioctl`](super::vm::VmManager::ioctl)'s. Nothing held.
    ///
    /// # Errors
    /// The first failing rule of spec amdgpu-svm 1.3 wins; then those of [`Svm::set_attr`], [`Svm::get_attr`] or
    /// [`Svm::reset_attr`].
    pub fn ioctl(&self, args: &IoctlArgs, user: &mut dyn UserAttrs) -> Result<(), Errno> {
        if !args.start_addr.is_multiple_of(PAGE_SIZE) || !args.size.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::EINVAL);
        }
        if args.start_addr == 0 || args.size == 0 {
            return Err(Errno::EINVAL);
        }
        if self.design == Design::PocV8 && args.operation == AMDGPU_SVM_OP_RESET_ATTR {
            return self.reset_attr(args.start_addr, args.size);
        }
        if args.nattr == 0 || args.nattr > MAX_ATTRS {
            return Err(Errno::EINVAL);
        }
        if args.attrs_ptr_null {
            return Err(Errno::EINVAL);
        }
        let mut attrs = P::Kernel::alloc_array(args.nattr as usize, UapiAttr::default())?;
        user.copy_in(&mut attrs)?;
        match args.operation {
            AMDGPU_SVM_OP_SET_ATTR => self.set_attr(args.start_addr, args.size, &attrs),
            AMDGPU_SVM_OP_GET_ATTR => {
                self.get_attr(args.start_addr, args.size, &mut attrs)?;
                user.copy_out(&attrs)
            }
            _ => Err(Errno::EINVAL),
        }
    }

    /// SET_ATTR below the ioctl. `start` and `size` in bytes, page aligned, not 0. Nothing held.
    ///
    /// # Errors
    /// `EINVAL`, `EFAULT` by rules 8 to 11 of spec amdgpu-svm 1.3, with nothing stored; then those of mapping (1.4).
    pub fn set_attr(&self, start: u64, size: u64, attrs: &[UapiAttr]) -> Result<(), Errno> {
        match self.design {
            Design::PocV1 => {
                self.range_sync_work();
                self.poc_attr_set(start, size, attrs)
            }
            Design::Hardened => self.hardened_attr_set(start, size, attrs),
            Design::PocV8 => self.v8_attr_set(start, size, attrs),
        }
    }

    /// RESET_ATTR below the ioctl, of `poc-v8` only: the pages have the default attributes again; what is mapped stays.
    /// `start` and `size` in bytes, page aligned, not 0. Nothing held.
    ///
    /// # Errors
    /// `EINVAL` (the interval wraps, or another design), `ENOMEM`.
    pub fn reset_attr(&self, start: u64, size: u64) -> Result<(), Errno> {
        match self.design {
            Design::PocV1 | Design::Hardened => Err(Errno::EINVAL),
            Design::PocV8 => self.v8_attr_reset(start, size),
        }
    }
}
