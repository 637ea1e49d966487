//! Failures that hardware and allocators may produce, each asked for one time ahead.
//!
//! Ask before the actors start: what is injected is plain data that no lock orders.

use model::Errno;
use std::cell::RefCell;

/// A place that can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// `drm_exec` on the root page directory.
    ReserveRoot,
    /// The allocation of a page table on the way.
    TableAlloc,
    /// `dma_map_page`.
    DmaMap,
    /// A buffer object in VRAM (`ENOMEM` in the kernel).
    VramAlloc,
    /// Queueing a job on the copy engine.
    Copy,
    /// The hardware scheduler unmaps the queues (the outermost quiesce). EIO means a hang: the driver counts the
    /// queues as stopped, and so do we. Any other error leaves them running.
    UnmapQueues,
    /// The hardware scheduler maps the queues again (the outermost resume). They stay stopped.
    MapQueues,
}

/// What will fail next.
#[derive(Default)]
pub struct Injected(RefCell<Vec<(Point, Errno)>>);

impl Injected {
    /// The next time `point` is reached it fails with `errno`. Several of one point fail in the order asked for.
    pub fn add(&self, point: Point, errno: Errno) {
        self.0.borrow_mut().push((point, errno));
    }

    /// The failure that is due at `point`, taken away.
    ///
    /// # Errors
    /// What was injected.
    pub(crate) fn check(&self, point: Point) -> Result<(), Errno> {
        let mut due = self.0.borrow_mut();
        match due.iter().position(|(at, _)| *at == point) {
            Some(index) => Err(due.remove(index).1),
            None => Ok(()),
        }
    }
}
