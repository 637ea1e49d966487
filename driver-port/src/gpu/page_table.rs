//! The lower two levels of the GPU page table: PDE0 entries, each a 2 MiB block, and the tables below them.
//!
//! The same rules as in the simulator (spec amdgpu-svm, appendix B and D8):
//!
//! - A block that a **locked** update covers whole becomes a **huge leaf** in its PDE0; a table below it is freed.
//! - A locked update of a part of a block needs a table, even to clear. A new table starts empty, and the hardware does not
//!   see it until `update_pdes` writes the PDE0: until then a huge leaf it replaces still translates, after it the pages
//!   of the leaf that the update did not touch are gone.
//! - An **unlocked** update never allocates. Where there is a table it writes that table's entries, linked or not. Where
//!   there is none, clearing clears the PDE0, that is a huge leaf **whole**; writing is ENOENT.
//!
//! Writers are ordered by the VM's eviction lock (updates) and the root reservation (locked updates, `update_pdes`). The
//! spinlock is for walks, which come at any time; it is held for one block, and tables are freed after it.

use super::pte::Pte;
use core::marker::PhantomData;
use model::Errno;
use model::platform::{Cache, Handle, Kernel, Objects, Plain, PteFlags, PteUpdate, SpinLock};
use model::tree::{IntervalTree, TreeLink, TreeNode};
use model::units::Pages;

/// log2 of the pages of a block, that is of a table's entries.
pub const BLOCK_SHIFT: u32 = 9;
/// Pages of a block.
pub const BLOCK_PAGES: u64 = 1 << BLOCK_SHIFT;

/// What a walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The translation of the page that was asked for.
    pub pte: Pte,
    /// Whether it came from a PDE0.
    pub huge: bool,
}

impl Leaf {
    /// Nothing there.
    pub const NONE: Leaf = Leaf { pte: Pte::NONE, huge: false };
}

/// The 512 entries below a PDE0.
pub type Entries<K> = <K as Kernel>::Array<Pte>;

/// One PDE0 and what is below it.
pub struct Block<K: Kernel> {
    number: u64,
    link: K::Plain<TreeLink<Block<K>>>,
    state: K::Plain<State<K>>,
}

struct State<K: Kernel> {
    /// What the PDE0 says as a leaf, as of the block's first page; none when it points to the table or nowhere.
    leaf: Pte,
    table: Option<Entries<K>>,
    /// Whether the PDE0 points to the table.
    linked: bool,
}

impl<K: Kernel> State<K> {
    /// What the hardware finds `index` pages into the block.
    fn walk(&self, index: u64) -> Leaf {
        match &self.table {
            Some(table) if self.linked => Leaf { pte: table[index as usize], huge: false },
            _ => Leaf { pte: self.leaf.plus(index), huge: self.leaf.is_valid() },
        }
    }
}

impl<K: Kernel> TreeNode<K> for Block<K> {
    fn link(&self) -> &K::Plain<TreeLink<Self>> {
        &self.link
    }
    fn first(&self) -> u64 {
        self.number
    }
    fn last(&self) -> u64 {
        self.number
    }
}

/// What a locked update has to bring along before it can write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missing {
    /// The PDE0's own place.
    Block(u64),
    /// A table below it.
    Table(u64),
}

/// Under the spinlock, beside the tree.
struct Tally {
    /// Blocks with a table that is not linked.
    unlinked: usize,
}

/// The page table of one VM.
pub struct PageTable<K: Kernel> {
    lock: K::SpinLock<Tally>,
    blocks: K::Cache<Block<K>>,
    tree: IntervalTree<K, Block<K>>,
    kernel: PhantomData<K>,
}

/// All pages of a block.
pub const fn pages_of(block: u64) -> Pages {
    Pages::new(block << BLOCK_SHIFT, (block << BLOCK_SHIFT) + BLOCK_PAGES - 1)
}

/// The blocks that `pages` touches.
fn blocks_of(pages: Pages) -> core::ops::RangeInclusive<u64> {
    pages.first >> BLOCK_SHIFT..=pages.last >> BLOCK_SHIFT
}

/// Indices into a block's table.
fn indices(part: Pages) -> core::ops::RangeInclusive<usize> {
    let index = |page: u64| (page & (BLOCK_PAGES - 1)) as usize;
    index(part.first)..=index(part.last)
}

impl<K: Kernel> PageTable<K> {
    /// An empty one.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        Ok(PageTable {
            lock: SpinLock::new("gpu page table", Tally { unlinked: 0 })?,
            blocks: Cache::new("gpu_block")?,
            tree: IntervalTree::new(),
            kernel: PhantomData,
        })
    }

    /// The block, under the lock.
    fn find(&self, number: u64) -> Option<&Block<K>> {
        self.tree.first_overlap(&self.blocks, number, number).map(|handle| self.blocks.get(handle))
    }

    /// What the hardware finds for `page`.
    pub fn walk(&self, page: u64) -> Leaf {
        let _lock = self.lock.lock();
        self.find(page >> BLOCK_SHIFT)
            .map_or(Leaf::NONE, |block| block.state.with(|state| state.walk(page & (BLOCK_PAGES - 1))))
    }

    /// What a locked update of `pages` lacks first. A block that is cleared whole and is not there lacks nothing.
    pub(super) fn missing(&self, update: &PteUpdate) -> Option<Missing> {
        let writes = entry_of(update) != Pte::NONE;
        let _lock = self.lock.lock();
        for number in blocks_of(update.pages) {
            let whole = update.pages.clip(&pages_of(number)).count() == BLOCK_PAGES;
            match self.find(number) {
                None if writes || !whole => return Some(Missing::Block(number)),
                Some(block) if !whole && block.state.with(|state| state.table.is_none()) => {
                    return Some(Missing::Table(number));
                }
                _ => {}
            }
        }
        None
    }

    /// Allocates an empty table. The caller holds no lock that the allocation could need.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn alloc_table() -> Result<Entries<K>, Errno> {
        K::alloc_array(BLOCK_PAGES as usize, Pte::NONE)
    }

    /// Allocates a block that is not in the tree yet.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(super) fn alloc_block(&self, number: u64) -> Result<Handle<Block<K>>, Errno> {
        let state = State { leaf: Pte::NONE, table: None, linked: false };
        self.blocks.alloc(Block { number, link: Plain::new(TreeLink::default()), state: Plain::new(state) })
    }

    /// Puts a block into the tree; there is none of its number, because whoever could add one needs the root.
    pub(super) fn add_block(&self, block: Handle<Block<K>>) {
        let _lock = self.lock.lock();
        self.tree.insert(&self.blocks, block);
    }

    /// Hangs an empty table below the block, not linked yet; there is none, for the same reason.
    pub(super) fn add_table(&self, number: u64, entries: Entries<K>) {
        let mut tally = self.lock.lock();
        if let Some(block) = self.find(number) {
            tally.unlinked += 1;
            block.state.with_mut(|state| {
                state.table = Some(entries);
                state.linked = false;
            });
        }
    }

    /// The pages whose translation `update` can change: more than it asks for where an unlocked clear meets a huge leaf.
    pub fn affected(&self, update: &PteUpdate) -> Pages {
        if !update.unlocked {
            return update.pages;
        }
        let _lock = self.lock.lock();
        let mut all = update.pages;
        let last = update.pages.last >> BLOCK_SHIFT;
        let mut next = self.tree.first_overlap(&self.blocks, update.pages.first >> BLOCK_SHIFT, last);
        while let Some(handle) = next {
            let block = self.blocks.get(handle);
            if block.state.with(|state| state.table.is_none() && state.leaf.is_valid()) {
                all = all.hull(&pages_of(block.number));
            }
            next = self.tree.next_overlap(&self.blocks, handle, last);
        }
        all
    }

    /// Does what `update` says. Blocks and tables that a locked update needs are there. Needs the eviction lock.
    ///
    /// # Errors
    /// `ENOENT`: an unlocked write where there is no table. Blocks before that one are written.
    pub(super) fn write(&self, update: &PteUpdate) -> Result<(), Errno> {
        let base = entry_of(update);
        let mut number = update.pages.first >> BLOCK_SHIFT;
        let last = update.pages.last >> BLOCK_SHIFT;
        loop {
            if base == Pte::NONE {
                // Clearing skips what is not there: the interval may be anything.
                let _lock = self.lock.lock();
                match self.tree.first_overlap(&self.blocks, number, last) {
                    Some(handle) => number = self.blocks.get(handle).number,
                    None => return Ok(()),
                }
            }
            let part = update.pages.clip(&pages_of(number));
            let freed = self.write_block(number, part, base.plus(part.first - update.pages.first), update.unlocked)?;
            drop(freed);
            if number >= last {
                return Ok(());
            }
            number += 1;
        }
    }

    /// One block's part; a table that is not needed any more, to be freed without the lock.
    fn write_block(&self, number: u64, part: Pages, first: Pte, unlocked: bool) -> Result<Option<Entries<K>>, Errno> {
        let mut tally = self.lock.lock();
        let Some(block) = self.find(number) else {
            return if first.is_valid() { Err(Errno::ENOENT) } else { Ok(None) };
        };
        block.state.with_mut(|state| {
            if part.count() == BLOCK_PAGES && !unlocked {
                if state.table.is_some() && !state.linked {
                    tally.unlinked -= 1;
                }
                state.leaf = first;
                state.linked = false;
                return Ok(state.table.take());
            }
            match &mut state.table {
                Some(table) => {
                    for (at, entry) in table[indices(part)].iter_mut().enumerate() {
                        *entry = first.plus(at as u64);
                    }
                }
                None if first.is_valid() => return Err(Errno::ENOENT),
                None => state.leaf = Pte::NONE,
            }
            Ok(None)
        })
    }

    /// Points the PDE0s at tables that locked updates allocated; how many.
    pub(super) fn link_all(&self) -> usize {
        let mut tally = self.lock.lock();
        let due = core::mem::take(&mut tally.unlinked);
        if due == 0 {
            return 0;
        }
        let mut next = self.tree.first(&self.blocks);
        while let Some(handle) = next {
            self.blocks.get(handle).state.with_mut(|state| {
                if state.table.is_some() && !state.linked {
                    state.linked = true;
                    state.leaf = Pte::NONE;
                }
            });
            next = self.tree.next(&self.blocks, handle);
        }
        due
    }

    /// Whether there are tables that the hardware does not see yet.
    pub(super) fn has_unlinked(&self) -> bool {
        self.lock.lock().unlinked > 0
    }

    /// How many pages have a valid translation.
    pub fn count_mapped(&self) -> u64 {
        let mut count = 0;
        let mut number = 0;
        loop {
            let _lock = self.lock.lock();
            let Some(handle) = self.tree.first_overlap(&self.blocks, number, u64::MAX) else { return count };
            let block = self.blocks.get(handle);
            number = block.number + 1;
            count += block.state.with(|state| match &state.table {
                Some(table) if state.linked => table.iter().filter(|pte| pte.is_valid()).count() as u64,
                _ if state.leaf.is_valid() => BLOCK_PAGES,
                _ => 0,
            });
        }
    }
}

impl<K: Kernel> Drop for PageTable<K> {
    fn drop(&mut self) {
        while let Some(handle) = self.tree.first(&self.blocks) {
            self.tree.remove(&self.blocks, handle);
            self.blocks.free(handle);
        }
    }
}

/// What the first entry of an update says.
fn entry_of(update: &PteUpdate) -> Pte {
    match update.addr {
        Some(addr) if update.flags.has(PteFlags::VALID) => Pte::new(addr.0, update.flags),
        _ if update.flags.has(PteFlags::NORETRY) => Pte::new(0, update.flags),
        _ => Pte::NONE,
    }
}
