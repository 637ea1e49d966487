//! `SVMLAB_HARDWARE`: things that happen to a GPU.

use super::OpenVm;
use crate::framework::Callbacks;
use crate::gpu::Point;
use crate::{OnLinux, errno, uapi};
use model::Errno;
use model::platform::Mutex;

/// A place that can fail, by its number.
fn point(number: u32) -> Option<Point> {
    Some(match number {
        uapi::SVMLAB_POINT_RESERVE_ROOT => Point::ReserveRoot,
        uapi::SVMLAB_POINT_TABLE_ALLOC => Point::TableAlloc,
        uapi::SVMLAB_POINT_DMA_MAP => Point::DmaMap,
        uapi::SVMLAB_POINT_UNMAP_QUEUES => Point::UnmapQueues,
        uapi::SVMLAB_POINT_MAP_QUEUES => Point::MapQueues,
        _ => return None,
    })
}

#[cfg(feature = "lab")]
fn fail_allocation(nth: u32) -> Result<(), Errno> {
    // SAFETY: no precondition.
    let pending = unsafe { crate::ffi::svmlab_c_fail_allocation(nth) };
    if pending && nth == 0 { Err(Errno::EBUSY) } else { Ok(()) }
}

#[cfg(not(feature = "lab"))]
fn fail_allocation(_: u32) -> Result<(), Errno> {
    Err(Errno::EOPNOTSUPP)
}

impl<P: OnLinux> OpenVm<P> {
    pub(super) fn happen(&self, args: &uapi::Hardware) -> Result<(), Errno> {
        let gpu = &self.gpu;
        match args.what {
            uapi::SVMLAB_HW_FAIL => {
                let point = point(args.point).ok_or(Errno::EINVAL)?;
                if point == Point::DmaMap && !P::Framework::DMA_BY_GPU {
                    return Err(Errno::EOPNOTSUPP);
                }
                return gpu.injected().add(point, errno::known(args.error).ok_or(Errno::EINVAL)?);
            }
            uapi::SVMLAB_HW_SKIP_TLB_FLUSH => gpu.skip_flushes(args.value),
            uapi::SVMLAB_HW_EVICT_PAGE_TABLES => gpu.set_evicting(true),
            uapi::SVMLAB_HW_VALIDATE => gpu.set_evicting(false),
            uapi::SVMLAB_HW_UNPLUG => gpu.unplug(),
            uapi::SVMLAB_HW_RESET if args.value <= 1 => gpu.set_in_reset(args.value == 1),
            uapi::SVMLAB_HW_QUIESCE => return self.quiesce(),
            uapi::SVMLAB_HW_RESUME => return self.resume(),
            uapi::SVMLAB_HW_FLUSH_TLB => gpu.flush_tlb_now(),
            uapi::SVMLAB_HW_FAIL_ALLOCATION => return fail_allocation(args.value),
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }

    fn quiesce(&self) -> Result<(), Errno> {
        let mut stops = self.stops.lock();
        let next = stops.checked_add(1).ok_or(Errno::EINVAL)?;
        let result = self.gpu.kfd().quiesce_mm(self.mm.0.as_raw() as u64);
        // A hang counts as stopped.
        if matches!(result, Ok(()) | Err(Errno::EIO)) {
            *stops = next;
        }
        result
    }

    /// Only what was stopped here: a resume too many would undo the driver's own stop.
    fn resume(&self) -> Result<(), Errno> {
        let mut stops = self.stops.lock();
        *stops = stops.checked_sub(1).ok_or(Errno::EINVAL)?;
        self.gpu.kfd().resume_mm(self.mm.0.as_raw() as u64)
    }
}
