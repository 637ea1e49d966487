//! `hmm_range_fault`: what it brings about, what it says of pages, when it refuses.

use super::mm::{Mapping, unmap};
use super::notifier::Listener;
use super::work::registered;
use super::{Failure, Outcome, Test, ensure, made};
use crate::ffi;
use crate::kernel::LinuxKernel;
use crate::mm::{LinuxMm, Sub};
use model::Errno;
use model::platform::{HmmPfn, HmmRange, HmmRequest, Kernel, Mm, Owner};

pub(super) const TESTS: &[Test] = &[
    Test { name: "hmm: a snapshot tells what is there and faults nothing in", run: snapshot },
    Test { name: "hmm: a fault brings pages in, and they are the CPU's", run: fault },
    Test { name: "hmm: a fault for read gives no right to write, one for write does", run: rights },
    Test { name: "hmm: a write to memory that is read only is refused with EPERM", run: read_only },
    Test { name: "hmm: a hole is refused with EFAULT", run: hole },
    Test { name: "hmm: an answer that an invalidation overtook is refused with EBUSY", run: overtaken },
    Test { name: "hmm: many pages at once are each the right one", run: many },
];

/// A mapping with a notifier over it.
struct Mirror<'a> {
    mm: &'a LinuxMm,
    sub: Sub,
    mapping: &'a Mapping,
}

impl Mirror<'_> {
    /// Into `pfns`, from the first page on, with the sequence of now. As every caller must, it asks again when something
    /// came between, which may be the fault itself: in the place of the zero page comes another.
    fn ask(&self, request: HmmRequest, pfns: &mut [HmmPfn]) -> Result<(), Errno> {
        let once = |pfns: &mut [HmmPfn]| self.ask_with(self.mm.read_begin(self.sub), request, pfns);
        for _ in 0..100 {
            match once(pfns) {
                Err(Errno::EBUSY) => (),
                other => return other,
            }
        }
        once(pfns)
    }

    fn ask_with(&self, seq: u64, request: HmmRequest, pfns: &mut [HmmPfn]) -> Result<(), Errno> {
        let range = HmmRange {
            notifier: self.sub,
            notifier_seq: seq,
            start: self.mapping.bytes.start,
            request,
            owner: Owner::NONE,
        };
        let guard = self.mm.mmap_read_lock();
        self.mm.hmm_range_fault(&guard, &range, pfns)
    }
}

fn mirror(pages: u64, write: bool, test: impl FnOnce(&Mirror<'_>) -> Outcome) -> Outcome {
    let mapping = Mapping::new(pages, write)?;
    let listener = Listener::new(|| ())?;
    registered(&listener, |client| {
        let inserted = made(listener.insert(client, 0, mapping.bytes))?;
        test(&Mirror { mm: &listener.mm, sub: inserted.sub()?, mapping: &mapping })
    })?
}

/// The first word of the frame.
fn peek(pfn: HmmPfn) -> Result<u64, Failure> {
    ensure!(pfn.valid, "no page: {pfn:?}");
    // SAFETY: hmm named it, and the test unmaps nothing until it has looked.
    Ok(unsafe { ffi::svmlab_c_peek_frame(pfn.pfn) })
}

fn snapshot() -> Outcome {
    mirror(3, true, |mirror| {
        let mut pfns = [HmmPfn::default(); 3];
        mirror.mapping.poke(1, 0x51)?;
        made(mirror.ask(HmmRequest::Snapshot, &mut pfns))?;
        ensure!(pfns.map(|pfn| pfn.valid) == [false, true, false], "with the middle page there: {pfns:?}");
        ensure!(peek(pfns[1])? == 0x51, "the frame holds {:#x}", peek(pfns[1])?);
        made(mirror.ask(HmmRequest::Snapshot, &mut pfns))?;
        ensure!(!pfns[0].valid && !pfns[2].valid, "the first snapshot brought pages in: {pfns:?}");
        Ok(())
    })
}

fn fault() -> Outcome {
    mirror(2, true, |mirror| {
        let (mut pfns, mut again) = ([HmmPfn::default(); 2], [HmmPfn::default(); 2]);
        made(mirror.ask(HmmRequest::Write, &mut pfns))?;
        mirror.mapping.poke(0, 0x61)?;
        mirror.mapping.poke(1, 0x62)?;
        let found = [peek(pfns[0])?, peek(pfns[1])?];
        ensure!(found == [0x61, 0x62], "what the CPU then writes is seen as {found:x?}");
        made(mirror.ask(HmmRequest::Snapshot, &mut again))?;
        ensure!(pfns.map(|pfn| pfn.pfn) == again.map(|pfn| pfn.pfn), "other frames the second time: {again:?}");
        Ok(())
    })
}

fn rights() -> Outcome {
    mirror(1, true, |mirror| {
        let mut pfns = [HmmPfn::default()];
        made(mirror.ask(HmmRequest::Read, &mut pfns))?;
        // Nothing was written yet: that is the zero page.
        ensure!(pfns[0].valid && !pfns[0].write, "for read: {:?}", pfns[0]);
        ensure!(peek(pfns[0])? == 0, "what was never written holds {:#x}", peek(pfns[0])?);
        made(mirror.ask(HmmRequest::Write, &mut pfns))?;
        ensure!(pfns[0].valid && pfns[0].write && !pfns[0].error, "for write: {:?}", pfns[0]);
        Ok(())
    })
}

fn read_only() -> Outcome {
    mirror(1, false, |mirror| {
        let mut pfns = [HmmPfn::default()];
        let refused = mirror.ask(HmmRequest::Write, &mut pfns);
        ensure!(refused == Err(Errno::EPERM), "for write: {refused:?}");
        let allowed = mirror.ask(HmmRequest::Read, &mut pfns);
        ensure!(allowed == Ok(()) && pfns[0].valid, "for read: {allowed:?}, {:?}", pfns[0]);
        Ok(())
    })
}

fn hole() -> Outcome {
    mirror(3, true, |mirror| {
        let mut pfns = [HmmPfn::default(); 3];
        ensure!(unmap(mirror.mapping.page(1), 1), "cannot be unmapped");
        let refused = mirror.ask(HmmRequest::Read, &mut pfns);
        ensure!(refused == Err(Errno::EFAULT), "for read: {refused:?}");
        let looked = mirror.ask(HmmRequest::Snapshot, &mut pfns);
        ensure!(looked == Ok(()) && pfns[1].error, "a snapshot: {looked:?}, {:?}", pfns[1]);
        Ok(())
    })
}

fn overtaken() -> Outcome {
    mirror(3, true, |mirror| {
        let mut pfns = [HmmPfn::default()];
        let seq = mirror.mm.read_begin(mirror.sub);
        made(mirror.ask_with(seq, HmmRequest::Write, &mut pfns))?;
        ensure!(unmap(mirror.mapping.page(2), 1), "cannot be unmapped");
        let refused = mirror.ask_with(seq, HmmRequest::Write, &mut pfns);
        ensure!(refused == Err(Errno::EBUSY), "{refused:?}");
        made(mirror.ask(HmmRequest::Write, &mut pfns))?;
        Ok(())
    })
}

fn many() -> Outcome {
    const PAGES: u64 = 700;
    mirror(PAGES, true, |mirror| {
        let mut pfns = made(LinuxKernel::alloc_array(PAGES as usize, HmmPfn::default()))?;
        for page in 0..PAGES {
            mirror.mapping.poke(page, 0x7000 + page)?;
        }
        made(mirror.ask(HmmRequest::Write, &mut pfns))?;
        for (page, pfn) in pfns.iter().enumerate() {
            let found = peek(*pfn)?;
            ensure!(found == 0x7000 + page as u64 && pfn.write, "page {page} holds {found:#x}: {pfn:?}");
        }
        Ok(())
    })
}
