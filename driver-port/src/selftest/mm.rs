//! Address spaces: references, mmap_lock, VMAs.

use super::thread::{Flag, beside, grace, wait};
use super::{Failure, Outcome, Test, ensure, made};
use crate::ffi::{self, RawMm};
use crate::mm::LinuxMm;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use model::Errno;
use model::platform::{DeviceMemory, Mm, Vma};
use model::units::{Bytes, PAGE_SIZE};

pub(super) const TESTS: &[Test] = &[
    Test { name: "references of an mm are counted, those to its struct and those to its memory", run: references },
    Test { name: "in a child: an mm is kept", run: keep },
    Test { name: "an mm whose process is gone gives no reference to its memory", run: gone },
    Test { name: "mmap_lock lets readers in together and keeps a writer out", run: readers },
    Test { name: "mmap_lock held for write keeps others out, and can be downgraded", run: writer },
    Test { name: "find_vma finds what contains an address, or else the next", run: find },
    Test { name: "a VMA's flags are its rights and kind", run: flags },
    Test { name: "the stack is known as the stack, and a mapping is not", run: stack },
];

/// The running task's.
pub(super) fn current() -> Result<LinuxMm, Failure> {
    // SAFETY: no precondition.
    let raw = made(NonNull::new(unsafe { ffi::svmlab_c_current_mm() }).ok_or(Errno::ESRCH))?;
    // SAFETY: it stays while the task runs the test, and the test keeps it no longer.
    Ok(unsafe { LinuxMm::from_raw(raw) })
}

/// Memory of the running task, unmapped when it goes.
pub(super) struct Mapping {
    pub(super) bytes: Bytes,
}

impl Mapping {
    pub(super) fn new(pages: u64, write: bool) -> Result<Self, Failure> {
        Self::at(0, pages, write)
    }

    /// In the place of what is there, unless `addr` is 0.
    pub(super) fn at(addr: u64, pages: u64, write: bool) -> Result<Self, Failure> {
        let size = pages * PAGE_SIZE;
        // SAFETY: the running task has an address space; what is replaced is a test's own.
        let start = unsafe { ffi::svmlab_c_map(addr, size, write) };
        made(if start == 0 { Err(Errno::ENOMEM) } else { Ok(()) })?;
        Ok(Mapping { bytes: Bytes::new(start, start + size) })
    }

    /// The address of a page.
    pub(super) fn page(&self, number: u64) -> u64 {
        self.bytes.start + number * PAGE_SIZE
    }

    pub(super) fn poke(&self, page: u64, value: u64) -> Outcome {
        // SAFETY: the running task has an address space.
        let done = unsafe { ffi::svmlab_c_poke(self.page(page), value) };
        ensure!(done, "page {page} cannot be written");
        Ok(())
    }
}

/// munmap of `pages` of it.
pub(super) fn unmap(from: u64, pages: u64) -> bool {
    // SAFETY: the running task has an address space; what is unmapped is a test's own.
    unsafe { ffi::svmlab_c_unmap(from, pages * PAGE_SIZE) }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { ffi::svmlab_c_unmap(self.bytes.start, self.bytes.len()) };
    }
}

struct Facts {
    users: u64,
    count: u64,
    start_stack: u64,
}

fn facts(mm: &LinuxMm) -> Facts {
    let mut facts = [0; 3];
    // SAFETY: the mm is there, and C fills three words.
    unsafe { ffi::svmlab_c_mm_facts(mm.as_raw(), &mut facts) };
    Facts { users: facts[0], count: facts[1], start_stack: facts[2] }
}

fn references() -> Outcome {
    let mm = current()?;
    let before = facts(&mm);
    mm.mmgrab();
    let grabbed = facts(&mm);
    let got = mm.mmget_not_zero();
    let used = facts(&mm);
    mm.mmput();
    mm.mmdrop();
    let after = facts(&mm);
    ensure!(grabbed.count == before.count + 1, "mmgrab: {} becomes {}", before.count, grabbed.count);
    ensure!(got && used.users == before.users + 1, "mmget_not_zero: {} becomes {}", before.users, used.users);
    ensure!(after.users == before.users, "mmput: {} instead of {}", after.users, before.users);
    ensure!(after.count == before.count, "mmdrop: {} instead of {}", after.count, before.count);
    ensure!(mm.mmget_not_zero(), "mmget_not_zero failed");
    mm.mmput_async();
    ensure!(facts(&mm).users == before.users, "mmput_async: {} instead of {}", facts(&mm).users, before.users);
    ensure!(mm.is_same(&current()?), "an mm is not itself");
    Ok(())
}

/// An mm with a grab of ours, of a process that is to end.
static KEPT: AtomicPtr<RawMm> = AtomicPtr::new(ptr::null_mut());

fn keep() -> Outcome {
    let mm = current()?;
    mm.mmgrab();
    let mut kept = mm.as_raw();
    kept = KEPT.swap(kept, Ordering::AcqRel);
    if let Some(old) = NonNull::new(kept) {
        // SAFETY: the grab was ours.
        unsafe { LinuxMm::from_raw(old) }.mmdrop();
    }
    Ok(())
}

fn gone() -> Outcome {
    let kept = NonNull::new(KEPT.swap(ptr::null_mut(), Ordering::AcqRel));
    // SAFETY: the grab of `keep` is ours now, and given back below.
    let mm = unsafe { LinuxMm::from_raw(made(kept.ok_or(Errno::ESRCH))?) };
    let dead = wait(|| facts(&mm).users == 0);
    let got = dead && mm.mmget_not_zero();
    mm.mmdrop();
    ensure!(dead, "its process does not end");
    ensure!(!got, "it gave one");
    Ok(())
}

fn readers() -> Outcome {
    let mm = current()?;
    let (inside, go, writer_coming, written) = (Flag::new(), Flag::new(), Flag::new(), Flag::new());
    let guard = mm.mmap_read_lock();
    let met = beside(
        || {
            let _guard = mm.mmap_read_lock();
            inside.set();
            go.wait();
        },
        || {
            let met = inside.wait();
            go.set();
            met
        },
    )?;
    let kept_out = beside(
        || {
            writer_coming.set();
            drop(mm.mmap_write_lock());
            written.set();
        },
        || {
            let came = writer_coming.wait();
            grace();
            let kept_out = came && !written.is_set();
            drop(guard);
            kept_out
        },
    )?;
    ensure!(met, "the second reader does not come in while the first is");
    ensure!(kept_out, "a writer came in beside a reader");
    ensure!(written.is_set(), "the writer never came in");
    Ok(())
}

fn writer() -> Outcome {
    let mm = current()?;
    let (coming, inside) = (Flag::new(), Flag::new());
    let guard = mm.mmap_write_lock();
    let (kept_out, let_in) = beside(
        || {
            coming.set();
            let _guard = mm.mmap_read_lock();
            inside.set();
        },
        || {
            let came = coming.wait();
            grace();
            let kept_out = came && !inside.is_set();
            let _guard = mm.mmap_write_downgrade(guard);
            (kept_out, inside.wait())
        },
    )?;
    ensure!(kept_out, "a reader came in beside the writer");
    ensure!(let_in, "downgraded, it keeps a reader out");
    Ok(())
}

fn vma_at(mm: &LinuxMm, addr: u64) -> Option<Vma> {
    let guard = mm.mmap_read_lock();
    mm.find_vma(&guard, addr)
}

fn find() -> Outcome {
    let mm = current()?;
    // Three pages with a hole in the middle; between two pages of another kind they are not merged with anything.
    let whole = Mapping::new(5, false)?;
    let middle = Mapping::at(whole.page(1), 3, true)?;
    ensure!(unmap(whole.page(2), 1), "cannot be unmapped");
    let first = Bytes::new(middle.page(0), middle.page(1));
    let last = Bytes::new(middle.page(2), middle.page(3));
    let at = |addr| vma_at(&mm, addr).map(|vma| vma.bytes);
    for (addr, wanted) in [
        (first.start, first),
        (first.end - 1, first),
        (first.end, last),
        (last.start - 1, last),
        (last.start, last),
        (last.end - 1, last),
    ] {
        ensure!(at(addr) == Some(wanted), "at {addr:#x} is {:?}, not {wanted}", at(addr));
    }
    ensure!(at(u64::MAX >> 1).is_none(), "above everything is {:?}", at(u64::MAX >> 1));
    let guard = mm.mmap_write_lock();
    let found = mm.find_vma_write_locked(&guard, last.start).map(|vma| vma.bytes);
    drop(guard);
    ensure!(found == Some(last), "mmap_lock held for write: {found:?}");
    Ok(())
}

fn flags() -> Outcome {
    let mm = current()?;
    for write in [false, true] {
        let mapping = Mapping::new(1, write)?;
        let vma = made(vma_at(&mm, mapping.bytes.start).ok_or(Errno::EFAULT))?;
        let flags = vma.flags;
        ensure!(flags.read && flags.write == write && flags.anon, "mapped with write={write}: {flags:?}");
        ensure!(!(flags.io || flags.pfnmap || flags.mixedmap || flags.hugetlb), "plain memory: {flags:?}");
    }
    // The program's own text is a file's.
    let stack = facts(&mm).start_stack;
    let text = made(vma_at(&mm, 0).ok_or(Errno::EFAULT))?;
    ensure!(text.bytes.start < stack && !text.flags.anon, "the first VMA, of a file: {:?}", text.flags);
    Ok(())
}

fn stack() -> Outcome {
    let mm = current()?;
    let mapping = Mapping::new(1, true)?;
    let stack = made(vma_at(&mm, facts(&mm).start_stack).ok_or(Errno::EFAULT))?;
    let other = made(vma_at(&mm, mapping.bytes.start).ok_or(Errno::EFAULT))?;
    ensure!(mm.is_heap_or_stack(&stack), "{} has the stack", stack.bytes);
    ensure!(!mm.is_heap_or_stack(&other), "{} is neither heap nor stack", other.bytes);
    Ok(())
}
