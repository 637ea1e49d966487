//! The copy engine: jobs that run later, on their own, each with a fence.
//!
//! Answers to SDMA behind `drm_sched`: one entity whose jobs run in the order in which they were queued, among
//! everything else. Copies of memory always go this way; page-table updates do when
//! [`GpuConfig`](crate::GpuConfig)`::sdma_updates` says so.
//!
//! # Scheduling points
//! Queueing a job is one, on the work item ([`WorkFunc::CopyEngine`]), whose start takes up all that is queued; so the
//! item orders the queue and no further object is needed. A contiguous piece of a copy is two on "memory": reading the
//! source, writing the destination. An update is those that it would be at once. The fence is one, and so is waiting for
//! it. Nothing is left over when no job is queued. Before the actors start a job is done when it is queued.
//!
//! # What a copy must not reach
//! A frame leads the life that it led when the copy was queued, or it is a violation of I1.

use crate::page_table::BLOCK_SHIFT;
use crate::vm::GpuVm;
use interleave::lab::{Gate, Invariant, Lab, Stamp, Violation};
use model::platform::{ClientId, CopyJob, Fence, PteUpdate, QueueKind, Work, WorkFunc, WorkQueue};
use model::units::Pages;
use model::{Errno, note};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Sleeps until `gate` is not 0. Before the actors start nobody else can make it so: the work item runs here.
#[track_caller]
pub(crate) fn settle<L: Lab>(work: &L::Work, gate: &L::Gate) {
    if L::stamp() == Stamp::default() {
        work.flush();
    }
    gate.wait_while(0);
}

/// A contiguous piece of a copy.
struct Piece {
    job: CopyJob,
    /// The lives of the source frames when the copy was queued.
    from: Box<[u32]>,
    /// The same of the destination.
    to: Box<[u32]>,
}

/// What the engine is to do.
enum Job {
    Copy(Vec<Piece>),
    /// An update of the page table.
    Update(PteUpdate),
    /// The PDE0s of these blocks point to their tables.
    Link(Vec<u64>),
}

impl Job {
    /// The pages in whose blocks the job may take tables away.
    fn reshapes(&self) -> Option<Pages> {
        match self {
            Job::Update(update) if !update.unlocked && update.pages.count() >= 1 << BLOCK_SHIFT => Some(update.pages),
            _ => None,
        }
    }
}

/// A job that was queued.
struct Queued<L: Lab> {
    job: Job,
    /// 1 when it is done: its fence has signalled.
    done: L::Gate,
}

/// The copy engine of one GPU.
pub(crate) struct Engine<L: Lab> {
    work: L::Work,
    _queue: L::WorkQueue,
    ring: RefCell<Vec<Rc<Queued<L>>>>,
    /// Every job there ever was, by fence: whether one is done is asked of its gate only.
    jobs: RefCell<BTreeMap<u64, Rc<Queued<L>>>>,
}

impl<L: Lab> Engine<L> {
    pub(crate) fn new(client: ClientId) -> Result<Self, Errno> {
        let queue = L::alloc_workqueue("sdma", QueueKind::Unbound)?;
        let work = queue.work(client, WorkFunc::CopyEngine)?;
        Ok(Engine { work, _queue: queue, ring: RefCell::default(), jobs: RefCell::default() })
    }

    #[track_caller]
    fn submit(&self, fence: Fence, job: Job) {
        let queued = Rc::new(Queued { job, done: L::Gate::new("fence", 0) });
        self.work.queue();
        // In the step of the queueing.
        self.jobs.borrow_mut().insert(fence.0, Rc::clone(&queued));
        self.ring.borrow_mut().push(queued);
        if L::stamp() == Stamp::default() {
            self.work.flush();
        }
    }

    #[track_caller]
    fn wait(&self, fence: Fence) {
        let queued = self.jobs.borrow().get(&fence.0).cloned();
        if let Some(queued) = queued {
            settle::<L>(&self.work, &queued.done);
        }
    }

    /// Waits for the jobs that may take away a table that `pages` needs: what the driver knows of the tables and what
    /// the hardware sees of them must agree before more is built on it.
    #[track_caller]
    fn settle_tables(&self, pages: Pages) {
        let blocks = |pages: Pages| (pages.first >> BLOCK_SHIFT, pages.last >> BLOCK_SHIFT);
        let (first, last) = blocks(pages);
        let meets = |queued: &&Rc<Queued<L>>| {
            let other = queued.job.reshapes().map(blocks);
            other.is_some_and(|other| other.0 <= last && first <= other.1)
        };
        let before: Vec<_> = self.jobs.borrow().values().filter(meets).cloned().collect();
        before.iter().for_each(|queued| settle::<L>(&self.work, &queued.done));
    }
}

impl<L: Lab> GpuVm<L> {
    /// Queues the update on the copy engine.
    #[track_caller]
    pub(crate) fn submit_update(&self, engine: &Engine<L>, update: &PteUpdate) -> Fence {
        let fence = self.next_fence();
        engine.submit(fence, Job::Update(*update));
        note!(L, "{}: PTE update of {} queued, fence {}", self.name(), update.pages, fence.0);
        fence
    }

    /// Queues pointing PDE0s to their tables.
    #[track_caller]
    pub(crate) fn submit_link(&self, engine: &Engine<L>, blocks: Vec<u64>) {
        engine.submit(self.next_fence(), Job::Link(blocks));
    }

    /// See [`Engine::settle_tables`].
    #[track_caller]
    pub(crate) fn settle_tables(&self, pages: Pages) {
        if let Some(engine) = self.0.update_engine() {
            engine.settle_tables(pages);
        }
    }

    /// Waits for the job of `fence`, if the copy engine has it. One scheduling point if so.
    #[track_caller]
    pub(crate) fn wait_job(&self, fence: Fence) {
        if let Some(engine) = &self.0.engine {
            engine.wait(fence);
        }
    }

    /// Queues a copy of frames; see [`model::platform::Vram::copy`].
    ///
    /// # Errors
    /// `ENODEV` (unplugged, or there is no copy engine); what was injected at [`Point::Copy`](crate::inject::Point).
    #[track_caller]
    pub fn copy(&self, copies: &[CopyJob]) -> Result<Fence, Errno> {
        let engine = self.0.engine.as_ref().ok_or(Errno::ENODEV)?;
        self.injected().check(crate::inject::Point::Copy)?;
        if self.is_unplugged() {
            return Err(Errno::ENODEV);
        }
        if L::fails() {
            return Err(Errno::ENOMEM);
        }
        let frames = self.0.iommu.frames();
        let lives = |first: u64, pages: u64| (first..first + pages).map(|pfn| frames.generation(pfn)).collect();
        let piece = |job: &CopyJob| Piece { job: *job, from: lives(job.from, job.pages), to: lives(job.to, job.pages) };
        let pieces = copies.iter().filter(|job| job.pages > 0).map(piece).collect();
        let fence = self.next_fence();
        self.0.costs.add(|costs| costs.pages_copied += copies.iter().map(|job| job.pages).sum::<u64>());
        engine.submit(fence, Job::Copy(pieces));
        note!(L, "{}: copy of {} piece(s) queued, fence {}", self.name(), copies.len(), fence.0);
        Ok(fence)
    }

    /// The body of [`WorkFunc::CopyEngine`]: does what was queued before it started, in order.
    #[track_caller]
    pub(crate) fn run_copy_engine(&self) {
        let Some(engine) = &self.0.engine else { return };
        let jobs = std::mem::take(&mut *engine.ring.borrow_mut());
        for queued in jobs {
            match &queued.job {
                Job::Copy(pieces) => pieces.iter().for_each(|piece| self.copy_piece(piece)),
                Job::Update(update) => self.write_entries(update).unwrap_or_else(|errno| {
                    L::warn(format_args!("{}: {update:?} cannot be done: {errno}", self.name()));
                }),
                Job::Link(blocks) => self.write_pdes(blocks),
            }
            queued.done.store(1);
        }
    }

    /// Reads the source, writes the destination: two scheduling points, and the judgement on what was reached.
    #[track_caller]
    fn copy_piece(&self, piece: &Piece) {
        let (frames, CopyJob { from, to, pages }) = (self.0.iommu.frames(), piece.job);
        let words = frames.copy_out(from, pages);
        self.judge_copy("reads", from, &piece.from);
        frames.copy_in(to, pages, &words);
        self.judge_copy("writes", to, &piece.to);
        note!(L, "{}: {pages} page(s) copied, frame {from:#x} -> {to:#x}", self.name());
    }

    #[track_caller]
    fn judge_copy(&self, what: &str, first: u64, lives: &[u32]) {
        let frames = self.0.iommu.frames();
        let dead = (first..).zip(lives).find(|&(pfn, &life)| !frames.alive(pfn, life));
        if let Some((pfn, _)) = dead {
            let what = format!("{}: the copy engine {what} frame {pfn:#x}, which was freed", self.name());
            L::fail(Violation::new(Invariant::I1, what, frames.freed_at(pfn)));
        }
    }
}
