//! The attribute array behind `attrs_ptr`.

use crate::ffi;
use crate::uapi::SvmAttribute;
use model::Errno;
use model::amdgpu::UserAttrs;
use model::attr::UapiAttr;

/// How many elements are copied at a time, on the stack.
const CHUNK: usize = 32;

/// `struct drm_amdgpu_svm_attribute *` in the memory of the running task.
pub(super) struct UserArray(pub(super) u64);

impl UserArray {
    /// Where element `index` is; None: that is beyond the address space.
    fn at(&self, index: usize) -> Option<u64> {
        self.0.checked_add((index * size_of::<SvmAttribute>()) as u64)
    }
}

impl UserAttrs for UserArray {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        for (number, chunk) in out.chunks_mut(CHUNK).enumerate() {
            let mut raw = [SvmAttribute::default(); CHUNK];
            let from = self.at(number * CHUNK).ok_or(Errno::EFAULT)?;
            let size = chunk.len() * size_of::<SvmAttribute>();
            // SAFETY: there is room for CHUNK of them, and any bytes are one; whether the source is there C finds out.
            if !unsafe { ffi::svmlab_c_copy_from_user(raw.as_mut_ptr().cast(), from, size) } {
                return Err(Errno::EFAULT);
            }
            for (attr, raw) in chunk.iter_mut().zip(raw) {
                *attr = UapiAttr { ty: raw.attr_type, value: raw.value };
            }
        }
        Ok(())
    }

    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        for (number, chunk) in attrs.chunks(CHUNK).enumerate() {
            let mut raw = [SvmAttribute::default(); CHUNK];
            for (raw, attr) in raw.iter_mut().zip(chunk) {
                *raw = SvmAttribute { attr_type: attr.ty, value: attr.value };
            }
            let to = self.at(number * CHUNK).ok_or(Errno::EFAULT)?;
            // SAFETY: CHUNK initialised elements without padding; whether the target is there C finds out.
            if !unsafe { ffi::svmlab_c_copy_to_user(to, raw.as_ptr().cast(), size_of_val(&raw[..chunk.len()])) } {
                return Err(Errno::EFAULT);
            }
        }
        Ok(())
    }
}
