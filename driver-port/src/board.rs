//! [`gpu::Board`] on the DMA API and the kernel's own memory; and what ends with a process.

use crate::ffi::{self, RawDevice, RawProcess, RawWord};
use crate::gpu::{Access, Board, MmIdentity, WaitWord};
use crate::mm::LinuxMm;
use crate::{errno, gpu};
use core::ptr::NonNull;
use model::Errno;
use model::platform::{DmaAddr, DmaDirection};

/// The module's device on the bus.
///
/// # Invariants
/// The device stays until the module goes.
#[derive(Clone, Copy)]
pub struct LinuxBoard {
    device: NonNull<RawDevice>,
}

// SAFETY: the DMA API may be called by any task.
unsafe impl Send for LinuxBoard {}
// SAFETY: the DMA API may be called by any task.
unsafe impl Sync for LinuxBoard {}

impl LinuxBoard {
    /// # Safety
    /// `device` is a `struct device` that can do DMA and stays until the last use of this.
    pub unsafe fn new(device: NonNull<RawDevice>) -> Self {
        LinuxBoard { device }
    }

    /// The page frame behind a bus address; None: it is none of memory.
    pub fn frame(&self, addr: u64) -> Option<u64> {
        // SAFETY: the device is there.
        let pfn = unsafe { ffi::svmlab_c_bus_pfn(self.device.as_ptr(), addr) };
        (pfn != u64::MAX).then_some(pfn)
    }
}

impl Board for LinuxBoard {
    type WaitWord = Word;

    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        let to_device = direction == DmaDirection::ToDevice;
        // SAFETY: the device is there, and hmm_range_fault has named the frame.
        let addr = unsafe { ffi::svmlab_c_dma_map(self.device.as_ptr(), pfn, order.into(), to_device) };
        if addr >> gpu::Pte::ADDRESS_BITS == 0 { Ok(DmaAddr(addr)) } else { Err(Errno::EFAULT) }
    }

    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        let to_device = direction == DmaDirection::ToDevice;
        // SAFETY: the device is there, and the mapping is one of dma_map's, given back once.
        unsafe { ffi::svmlab_c_dma_unmap(self.device.as_ptr(), addr.0, order.into(), to_device) }
    }

    fn word(&self, addr: u64, access: Access) -> Option<u64> {
        let (op, mut value) = match access {
            Access::Load => (ffi::BUS_LOAD, 0),
            Access::Store(value) => (ffi::BUS_STORE, value),
            Access::Add(value) => (ffi::BUS_ADD, value),
        };
        // SAFETY: the device is there, and C asks whether there is memory. That the page is still the process's is not
        // promised: a GPU with a stale entry reads what is there, and to show that is what this one is for.
        unsafe { ffi::svmlab_c_bus_access(self.device.as_ptr(), addr, op, &mut value) }.then_some(value)
    }
}

/// An atomic word with a wait queue.
///
/// # Invariants
/// `raw` is a word of `svmlab_c_word_new`, ours.
pub struct Word {
    raw: NonNull<RawWord>,
}

// SAFETY: any task may read, write and wait for it.
unsafe impl Send for Word {}
// SAFETY: any task may read, write and wait for it.
unsafe impl Sync for Word {}

impl WaitWord for Word {
    fn new(value: u64) -> Result<Self, Errno> {
        // SAFETY: no precondition.
        let raw = unsafe { ffi::svmlab_c_word_new(value) };
        Ok(Word { raw: NonNull::new(raw).ok_or(Errno::ENOMEM)? })
    }

    fn load(&self) -> u64 {
        // SAFETY: `raw` is a word.
        unsafe { ffi::svmlab_c_word_load(self.raw.as_ptr()) }
    }

    fn store(&self, value: u64) {
        // SAFETY: `raw` is a word.
        unsafe { ffi::svmlab_c_word_store(self.raw.as_ptr(), value) }
    }

    fn wait_while(&self, value: u64, until_ms: u64, killable: bool) -> Result<u64, Errno> {
        // SAFETY: `raw` is a word.
        errno::check(unsafe { ffi::svmlab_c_word_wait(self.raw.as_ptr(), value, until_ms, killable) })?;
        Ok(self.load())
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: it is ours, and nobody waits for what is being dropped.
        unsafe { ffi::svmlab_c_word_free(self.raw.as_ptr()) }
    }
}

impl MmIdentity for LinuxMm {
    fn identity(&self) -> u64 {
        self.as_raw() as u64
    }
}

/// That KFD hears of the end of a process: one reference to the `mmu_notifier` that all its files share. It also keeps the
/// `mm_struct`, so that its number is not given to another.
///
/// # Invariants
/// `raw` is a reference of `svmlab_c_process_get`.
pub struct Process {
    raw: NonNull<RawProcess>,
}

impl Process {
    /// Of the running task's mm. Sleeps; takes mmap_lock for write.
    ///
    /// # Errors
    /// `ENOMEM`, `EINTR`.
    pub fn of_current(mm: &LinuxMm) -> Result<Self, Errno> {
        // SAFETY: the mm is there, and being the caller's it has users.
        let raw = unsafe { ffi::svmlab_c_process_get(mm.as_raw()) };
        // A pointer in the last page is an errno.
        match (raw as isize) < 0 && (raw as isize) >= -4095 {
            true => Err(errno::from_raw(raw as isize as i32)),
            false => Ok(Process { raw: NonNull::new(raw).ok_or(Errno::ENOMEM)? }),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { ffi::svmlab_c_process_put(self.raw.as_ptr()) }
    }
}
