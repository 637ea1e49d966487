//! The ioctl's arguments as user space passes them: `struct drm_amdgpu_gem_svm`. Spec amdgpu-svm 1.1, 1.2.

use crate::Errno;
use crate::attr::UapiAttr;

/// Operation number of SET_ATTR.
pub const AMDGPU_SVM_OP_SET_ATTR: u32 = 0;
/// Operation number of GET_ATTR.
pub const AMDGPU_SVM_OP_GET_ATTR: u32 = 1;
/// Operation number of RESET_ATTR, from the fifth posting on (spec amdgpu-svm 7.3).
pub const AMDGPU_SVM_OP_RESET_ATTR: u32 = 2;

/// `struct drm_amdgpu_gem_svm`, except that the array behind `attrs_ptr` is reached through [`UserAttrs`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IoctlArgs {
    /// First byte.
    pub start_addr: u64,
    /// Bytes.
    pub size: u64,
    /// [`AMDGPU_SVM_OP_SET_ATTR`], [`AMDGPU_SVM_OP_GET_ATTR`], [`AMDGPU_SVM_OP_RESET_ATTR`], or anything else user space
    /// came up with.
    pub operation: u32,
    /// Elements of the array.
    pub nattr: u32,
    /// Whether `attrs_ptr` is 0.
    pub attrs_ptr_null: bool,
}

/// User memory behind `attrs_ptr`.
pub trait UserAttrs {
    /// `copy_from_user` of `out.len()` elements.
    ///
    /// # Errors
    /// `EFAULT`.
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno>;
    /// `copy_to_user` of all of `attrs`.
    ///
    /// # Errors
    /// `EFAULT`.
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno>;
}
