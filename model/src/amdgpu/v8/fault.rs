//! The retry fault handler. Spec amdgpu-svm 7.1, 7.4; the steps and their letters are the spec's.
//!
//! Nobody asks whether the attributes give access: a fault on INACCESSIBLE pages maps them. "Handled" is said in most cases
//! where nothing was done; the GPU then faults again.

use super::super::Svm;
use super::map::Finish;
use super::migrate::prefer_vram;
use super::{FAULT_ATTEMPTS, RETRY_FAULT_PENDING_MS};
use crate::Errno;
use crate::attr::{AttrHandle, Attrs, Flags, Segment};
use crate::framework::{DriverLocked, Instance};
use crate::note;
use crate::platform::{Atomic, DeviceMemory, FaultTime, Kernel, Mm, Plain, Platform, RetryFault, RetryFaults, Shared};
use crate::units::{PAGE_SHIFT, Pages};

impl<P: Platform> Svm<P> {
    /// `amdgpu_svm_handle_fault`. See [`Svm::handle_fault`].
    pub(crate) fn v8_handle_fault(&self, fault: &RetryFault) -> Result<(), Errno> {
        if self.gpu.in_reset() {
            return Ok(());
        }
        if self.v8().exiting.load() != 0 {
            note!(P::Kernel, "fault {:#x}: closing, dropped", fault.addr);
            return Ok(());
        }
        let mm = self.mm();
        if !mm.mmget_not_zero() {
            note!(P::Kernel, "fault {:#x}: the process is dying, dropped", fault.addr);
            return Ok(());
        }
        let result = self.v8_fault_alive(fault);
        mm.mmput_async();
        result
    }

    /// From the XNACK check on, with the address space kept alive.
    fn v8_fault_alive(&self, fault: &RetryFault) -> Result<(), Errno> {
        if !self.xnack_enabled {
            return Err(Errno::EOPNOTSUPP);
        }
        let word = &self.v8().checkpoint_ts;
        let checkpoint = word.read_once();
        if checkpoint != 0 {
            if !fault.time.is_after(FaultTime(checkpoint)) {
                note!(P::Kernel, "fault {:#x} at {}: stale, dropped", fault.addr, fault.time.0);
                self.gpu.filter_remove(fault.addr);
                return Ok(());
            }
            // A checkpoint that a notifier has taken since the look goes too.
            word.write_once(0);
        }
        let sl = self.lock_svm();
        let locked = DriverLocked::by::<P>(&sl);
        let (found, defaults) = {
            let tree = self.lock_attrs();
            (tree.bounds(fault.addr >> PAGE_SHIFT), tree.defaults())
        };
        let node = match found {
            Ok(node) => Ok(node),
            Err(gap) => self.v8_unregistered_attrs(fault.addr, gap, defaults),
        };
        let result = match node {
            Ok(node) => self.v8_fault_map_range(locked, fault, node),
            Err(Errno::EFAULT) => {
                note!(P::Kernel, "fault {:#x}: no VMA (stale, or the GPU follows a bad pointer)", fault.addr);
                return Ok(());
            }
            Err(e) => Err(e),
        };
        if result == Err(Errno::EAGAIN) {
            // The GPU faults again (L6).
            self.gpu.filter_remove(fault.addr);
            return Ok(());
        }
        result
    }

    /// `fault_get_unregistered_attrs`: a node with the defaults over the part of the gap that lies in the VMA and in the
    /// block of the default granularity. SL held; takes mmap_lock, then AL.
    ///
    /// # Errors
    /// `EFAULT` (no VMA), `EOPNOTSUPP` (device memory), `ENOMEM`.
    fn v8_unregistered_attrs(&self, addr: u64, gap: Pages, attrs: Attrs) -> Result<AttrHandle<P::Kernel>, Errno> {
        let vma = {
            let mm = self.mm();
            let mmap = mm.mmap_read_lock();
            self.v8_check_vma(&mmap, addr)?
        };
        let page = addr >> PAGE_SHIFT;
        let size = 1u64 << attrs.granularity;
        let first = page & !(size - 1);
        let block = Pages::new(first, first | (size - 1));
        let pages = vma.bytes.pages().clip(&block).clip(&gap);
        note!(P::Kernel, "fault {addr:#x}: nobody has set attributes, {pages} get the defaults");
        self.lock_attrs().insert_new(pages, attrs)
    }

    /// What the node says, now. The posting looks without AL; a RESET_ATTR, which takes no SL, may have freed the node.
    fn v8_look(&self, node: AttrHandle<P::Kernel>) -> Segment {
        self.lock_attrs().look(node)
    }

    /// `fault_check_allowed`: a VMA that is there allows the access. Takes mmap_lock.
    ///
    /// # Errors
    /// `EPERM`.
    fn v8_fault_allowed(&self, fault: &RetryFault) -> Result<(), Errno> {
        let mm = self.mm();
        let mmap = mm.mmap_read_lock();
        match mm.find_vma(&mmap, fault.addr).filter(|vma| vma.bytes.contains(fault.addr)) {
            Some(vma) if !vma.flags.read || fault.write && !vma.flags.write => Err(Errno::EPERM),
            _ => Ok(()),
        }
    }

    /// `fault_map_range`. SL held.
    ///
    /// # Errors
    /// `EPERM`, `ENOMEM`, those of finding the range except `EFAULT` and `ENOENT`, those of migrating, those of mapping;
    /// `EAGAIN` when no attempt is left.
    fn v8_fault_map_range(
        &self,
        locked: DriverLocked<'_>,
        fault: &RetryFault,
        node: AttrHandle<P::Kernel>,
    ) -> Result<(), Errno> {
        let attrs = self.v8_look(node).attrs;
        let vram = self.v8_devmem_possible() && prefer_vram(&attrs);
        let mut ctx = self.v8_ctx(&attrs);
        ctx.read_only = attrs.flags.has(Flags::GPU_RO);
        let began = P::Kernel::now_ms();
        let mut left = FAULT_ATTEMPTS;
        loop {
            // (a)
            self.v8_garbage_collector(locked);
            // (b)
            self.v8_fault_allowed(fault)?;
            // (c)
            let window = self.v8_look(node).pages.bytes();
            let handle = match self.v8_find_or_insert(locked, fault.addr, window, &mut ctx) {
                Err(Errno::EFAULT | Errno::ENOENT) => return Ok(()),
                found => found?,
            };
            let range = self.gpusvm.range(handle);
            // (d)
            if fault.write && ctx.read_only {
                note!(P::Kernel, "fault {:#x}: a store to range {}, which is read-only", fault.addr, range.bytes());
            }
            // (e)
            if range.driver.v8_owned.get().validated_ms.is_some_and(|at| began < at + RETRY_FAULT_PENDING_MS) {
                note!(P::Kernel, "fault {:#x}: range {} was mapped just now, dropped", fault.addr, range.bytes());
                return Ok(());
            }
            // (f)
            if self.v8_is_valid(handle, self.v8_look(node).attrs.flags) {
                note!(P::Kernel, "fault {:#x}: range {} is mapped, nothing to do", fault.addr, range.bytes());
                return Ok(());
            }
            if vram {
                self.v8_migrate_to_vram(locked, handle, ctx.timeslice_ms)?;
            }
            // (g)
            match self.v8_get_pages(locked, handle, &mut ctx) {
                Ok(()) => {}
                Err(e @ (Errno::EOPNOTSUPP | Errno::EFAULT | Errno::EBUSY)) => {
                    ctx.timeslice_ms <<= 1;
                    if !ctx.devmem_only && left > 1 {
                        left -= 1;
                        P::Kernel::retry_point("fault_map_range: no pages");
                        continue;
                    }
                    note!(P::Kernel, "fault {:#x}: no pages ({e}), given up", fault.addr);
                    return Ok(());
                }
                Err(e @ (Errno::EPERM | Errno::ENOMEM)) => return Err(e),
                Err(e) => {
                    note!(P::Kernel, "fault {:#x}: no pages ({e}), given up", fault.addr);
                    return Ok(());
                }
            }
            // (h)
            let flags = self.v8_look(node).attrs.flags;
            match self.v8_update_mapping(locked, handle, flags, ctx.read_only, Finish::AtOnce) {
                Err(Errno::EAGAIN) if left > 1 => {
                    left -= 1;
                    ctx.timeslice_ms <<= 1;
                    P::Kernel::retry_point("fault_map_range: invalidated before it was mapped");
                }
                done => return done,
            }
        }
    }
}
