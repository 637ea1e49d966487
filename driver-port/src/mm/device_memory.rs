//! [`model::platform::DeviceMemory`] on `migrate_vma` and `migrate_device`.

use super::LinuxMm;
use crate::ffi;
use crate::gate::{self, Kind};
use crate::kernel::LinuxKernel;
use core::panic::Location;
use model::platform::DeviceMemory;

impl DeviceMemory<LinuxKernel> for LinuxMm {
    #[track_caller]
    fn mmput_async(&self) {
        gate::point(Kind::Mm, Location::caller());
        // SAFETY: the caller gives up a user reference it has.
        unsafe { ffi::svmlab_c_mmput_async(self.as_raw()) }
    }
}
