//! Failures that hardware and allocators may produce, each asked for one time ahead.

use model::Errno;
use model::platform::{Kernel, SpinLock};

/// A place that can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// `drm_exec` on the root page directory.
    ReserveRoot,
    /// The allocation of a page table on the way.
    TableAlloc,
    /// `dma_map_page`.
    DmaMap,
    /// The hardware scheduler unmaps the queues (the outermost quiesce). EIO means a hang: the driver counts the queues as
    /// stopped, and so do we. Any other error leaves them running.
    UnmapQueues,
    /// The hardware scheduler maps the queues again (the outermost resume). They stay stopped.
    MapQueues,
}

/// How many failures can be due.
const DUE: usize = 16;

/// What will fail next.
pub struct Injected<K: Kernel>(K::SpinLock<[Option<(Point, Errno)>; DUE]>);

impl<K: Kernel> Injected<K> {
    /// Nothing.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Injected(SpinLock::new("gpu failures", [None; DUE])?))
    }

    /// The next time `point` is reached it fails with `errno`. Several of one point fail in the order asked for.
    ///
    /// # Errors
    /// `ENOSPC`: sixteen are due already.
    pub fn add(&self, point: Point, errno: Errno) -> Result<(), Errno> {
        let mut due = self.0.lock();
        *due.iter_mut().find(|slot| slot.is_none()).ok_or(Errno::ENOSPC)? = Some((point, errno));
        Ok(())
    }

    /// The failure that is due at `point`, taken away.
    ///
    /// # Errors
    /// What was injected.
    pub(super) fn check(&self, point: Point) -> Result<(), Errno> {
        let mut due = self.0.lock();
        let Some(at) = due.iter().position(|slot| slot.is_some_and(|(p, _)| p == point)) else { return Ok(()) };
        let failure = due[at].take();
        // Those behind move up, so that the first that was asked for comes first.
        due[at..].rotate_left(1);
        failure.map_or(Ok(()), |(_, errno)| Err(errno))
    }
}
