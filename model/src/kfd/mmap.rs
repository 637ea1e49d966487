//! mmap_lock as it is held: KFD maps ranges both under the read lock and, in the restore work, under the write lock.

use super::Svms;
use crate::Errno;
use crate::platform::{HmmPfn, HmmRange, Mm, Platform, Vma};
use crate::units::{Bytes, PAGE_SHIFT};

/// MM held for read.
pub(crate) type ReadGuard<'a, P> = <<P as Platform>::Mm as Mm<<P as Platform>::Kernel>>::ReadGuard<'a>;
/// MM held for write.
pub(crate) type WriteGuard<'a, P> = <<P as Platform>::Mm as Mm<<P as Platform>::Kernel>>::WriteGuard<'a>;
/// A subscription.
pub(crate) type Sub<P> = <<P as Platform>::Mm as Mm<<P as Platform>::Kernel>>::Sub;

/// MM held in one of the modes.
pub(crate) enum Mmap<'a, 'g, P: Platform + 'g> {
    Read(&'a ReadGuard<'g, P>),
    Write(&'a WriteGuard<'g, P>),
}
impl<P: Platform> Clone for Mmap<'_, '_, P> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<P: Platform> Copy for Mmap<'_, '_, P> {}

impl<P: Platform> Svms<P> {
    /// `vma_lookup`: the VMA that contains the byte at `addr`.
    pub(super) fn vma_lookup(&self, mmap: Mmap<'_, '_, P>, addr: u64) -> Option<Vma> {
        let vma = match mmap {
            Mmap::Read(held) => self.mm.find_vma(held, addr),
            Mmap::Write(held) => self.mm.find_vma_write_locked(held, addr),
        };
        vma.filter(|vma| vma.bytes.contains(addr))
    }

    /// `hmm_range_fault`.
    pub(super) fn hmm_range_fault(
        &self,
        mmap: Mmap<'_, '_, P>,
        range: &HmmRange<Sub<P>>,
        pfns: &mut [HmmPfn],
    ) -> Result<(), Errno> {
        match mmap {
            Mmap::Read(held) => self.mm.hmm_range_fault(held, range, pfns),
            Mmap::Write(held) => self.mm.hmm_range_fault_write_locked(held, range, pfns),
        }
    }

    /// `svm_range_is_valid`: all of `bytes` is in VMAs of ordinary memory, and no GPU has a buffer object there. Takes
    /// RESV of each GPU in turn.
    ///
    /// # Errors
    /// `EFAULT`, `EADDRINUSE`, and those of the reservation.
    pub(super) fn is_valid(&self, mmap: Mmap<'_, '_, P>, bytes: Bytes) -> Result<(), Errno> {
        let mut addr = bytes.start;
        loop {
            let vma = self.vma_lookup(mmap, addr).ok_or(Errno::EFAULT)?;
            if vma.flags.io || vma.flags.pfnmap || vma.flags.mixedmap {
                return Err(Errno::EFAULT);
            }
            addr = bytes.end.min(vma.bytes.end);
            if addr >= bytes.end {
                break;
            }
        }
        match self.check_vm(crate::units::Pages::new(bytes.start >> PAGE_SHIFT, (bytes.end - 1) >> PAGE_SHIFT))? {
            Some(_) => Err(Errno::EADDRINUSE),
            None => Ok(()),
        }
    }
}
