//! A simulated Linux mm: what a GPU driver's notifiers and `hmm_range_fault` see of it.
//!
//! Everything is generic over a [`Lab`](interleave::lab::Lab), so that the same mm runs under every scheduler there is.
//! A [`Memory`] is shared by the machine; an [`AddressSpace`] is one process, seen by the driver through
//! [`model::platform::Mm`] and by the process through the system calls and accesses below.
//!
//! | module | answers to |
//! |---|---|
//! | `memory` | `struct page`, RAM |
//! | `vma` | `struct vm_area_struct`, the VMA tree, per-VMA locks |
//! | `pagetable` | the CPU page table |
//! | `interval` | `mm/mmu_notifier.c`, interval notifiers |
//! | `space` | `struct mm_struct`: locks, and the steps that operations are made of |
//! | `fault` | CPU accesses, `mm/memory.c` |
//! | `mapping` | mmap, munmap, populate: `mm/vma.c` |
//! | `mprotect` | `mm/mprotect.c`, NUMA hint scan |
//! | `madvise` | MADV_DONTNEED, the OOM reaper |
//! | `migrate` | `mm/migrate.c` |
//! | `device` | device-private pages: `mm/memremap.c`, the CPU fault on them |
//! | `collect`, `migrate_device` | `mm/migrate_device.c` |
//! | `rmap` | who maps a page: `mm/rmap.c` |
//! | `lifetime` | mm references, `exit_mmap` |
//! | `hmm` | `mm/hmm.c` |
//! | `mm` | the driver's view |
//! | `peek` | views for checks |
//!
//! Not modelled: fork, mremap, swap, khugepaged, userfaultfd, device-exclusive entries, device-coherent memory, shared and file mappings.

mod collect;
mod device;
mod fault;
mod hmm;
mod interval;
mod lifetime;
mod madvise;
mod mapping;
mod memory;
mod migrate;
mod migrate_device;
mod mm;
mod mprotect;
mod pagetable;
mod peek;
mod rmap;
mod space;
mod vma;

pub use device::{AsyncPutFn, DeviceFaultFn, FolioFreeFn, device_pfn};
pub use interval::{InvalidateFn, ReturnedFn, SubId, SubState, SubView, UNINITIALISED_OWNER};
pub use memory::{BLOCK_ORDER, BLOCK_PAGES, HUGE_ZERO_PFN, Memory, POISON, Word, ZERO_PFN, is_zero_pfn};
pub use pagetable::{Entry, Prot, Pte};
pub use space::{AddressSpace, MmapRead, Options, Sigsegv, TASK_SIZE};
