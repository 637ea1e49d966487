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
//! | `cow` | write faults on shared pages |
//! | `fork` | `dup_mmap`, `copy_page_range` |
//! | `file` | page cache, shared memory, file mappings |
//! | `mapping` | mmap, munmap, populate: `mm/vma.c` |
//! | `mremap` | `mm/mremap.c` |
//! | `mprotect` | `mm/mprotect.c`, NUMA hint scan |
//! | `madvise` | MADV_DONTNEED, the OOM reaper |
//! | `reclaim` | swap, kswapd, MADV_PAGEOUT, MADV_FREE, mlock |
//! | `collapse` | `mm/khugepaged.c`, MADV_COLLAPSE |
//! | `rmap` | who maps a page, migration entries: `mm/rmap.c` |
//! | `migrate` | `mm/migrate.c` |
//! | `device` | device-private pages: `mm/memremap.c`, the CPU fault on them |
//! | `collect`, `migrate_device` | `mm/migrate_device.c` |
//! | `lifetime` | mm references, `exit_mmap` |
//! | `hmm` | `mm/hmm.c` |
//! | `mm` | the driver's view |
//! | `peek` | views for checks |
//! | `costs` | what was asked of the mm |
//! | `plant` | faults to be found by who compares this mm with a kernel's |
//!
//! Not modelled: truncation, writeback, KSM, userfaultfd, device-exclusive entries, device-coherent memory; fork and mremap of
//! hugetlb.

mod collapse;
mod collect;
mod costs;
mod cow;
mod device;
mod fault;
mod file;
mod fork;
mod hmm;
mod interval;
mod lifetime;
mod madvise;
mod mapping;
mod memory;
mod merge;
mod migrate;
mod migrate_device;
mod mm;
mod mprotect;
mod mremap;
mod pagetable;
mod peek;
mod plant;
mod reclaim;
mod rmap;
mod space;
mod vma;

pub use costs::MmCosts;
pub use device::{AsyncPutFn, DeviceFaultFn, FolioFreeFn, ReleaseFn, device_pfn};
pub use file::File;
pub use interval::{InvalidateFn, ReturnedFn, SubId, SubState, SubView, UNINITIALISED_OWNER};
pub use memory::{BLOCK_ORDER, BLOCK_PAGES, HUGE_ZERO_PFN, Memory, POISON, Word, ZERO_PFN, is_zero_pfn};
pub use mremap::Remap;
pub use pagetable::{Entry, Prot, Pte};
pub use peek::VmaDetails;
pub use plant::Fault;
pub use space::{AddressSpace, MmapRead, MmapWrite, Options, Sigsegv, TASK_SIZE};
