//! What a GPU stands on that the driver does not see: the bus, the memory behind it, and words to wait for.

use model::Errno;
use model::platform::{DmaAddr, DmaDirection};

/// What a wave does to a 64-bit word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Loads it.
    Load,
    /// Stores a value.
    Store(u64),
    /// Adds to it, atomically.
    Add(u64),
}

impl Access {
    /// Whether it changes the word.
    pub const fn is_write(self) -> bool {
        matches!(self, Access::Store(_) | Access::Add(_))
    }
}

/// A device on a bus.
pub trait Board: 'static {
    /// A word that tasks can wait for.
    type WaitWord: WaitWord;

    /// `dma_map_page` of `1 << order` pages from `pfn`. Any context that may not sleep.
    ///
    /// # Errors
    /// `EFAULT` (DMA_MAPPING_ERROR).
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno>;
    /// `dma_unmap_page`.
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection);
    /// Reads or writes the aligned 64-bit word at a bus address, whatever is there now. The value read or stored, or the
    /// sum. None: no memory answers. Does not sleep.
    fn word(&self, addr: u64, access: Access) -> Option<u64>;
}

/// A 64-bit word and those who wait for it to change: `wait_queue_head_t` beside an atomic.
pub trait WaitWord: Sized + 'static {
    /// One with this value. Errors: `ENOMEM`.
    fn new(value: u64) -> Result<Self, Errno>;
    /// The value now.
    fn load(&self) -> u64;
    /// Sets the value and wakes everybody. Any context.
    fn store(&self, value: u64);
    /// Sleeps while the word has `value`; the other value.
    ///
    /// # Errors
    /// `ETIME`: [`now_ms`](model::platform::Kernel::now_ms) has passed `until_ms`. `EINTR`: the task is being killed, and
    /// the wait is `killable`.
    fn wait_while(&self, value: u64, until_ms: u64, killable: bool) -> Result<u64, Errno>;
}

/// Which address space a process is known by: `mm_struct *` as a number. Compared, never followed.
pub trait MmIdentity {
    /// The same for two handles of one address space, and for no others that exist at the time.
    fn identity(&self) -> u64;
}
