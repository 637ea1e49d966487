//! The lower two levels of the GPU page table: PDE0 entries, each a 2 MiB block, and the tables below them.
//!
//! Answers to `amdgpu_vm_pt.c` (spec amdgpu-svm, appendix B and D8). What matters here and is easily got wrong:
//!
//! - A block that an update covers whole becomes a **huge leaf** in its PDE0; a table below it is freed. Whether a
//!   leaf is huge follows from the virtual address alone. Leaves above 2 MiB do not exist here: no SVM range is larger.
//! - A **locked** update of a part of a block needs a table, even to clear. A new table starts empty, and the hardware
//!   does not see it until `update_pdes` writes the PDE0: until then a huge leaf it replaces still translates, after it
//!   the pages of the leaf that the update did not touch are gone.
//! - An **unlocked** update never allocates. Where there is a table it writes that table's entries, linked or not.
//!   Where there is none, clearing clears the PDE0, that is a huge leaf **whole**; writing is ENOENT.
//!
//! An entry may also be the no-retry combination: no translation, but one that ends retry faults.
//!
//! Writers are ordered by the VM's eviction lock (updates) and the root reservation (locked updates, `update_pdes`).

use crate::iommu::Space;
use crate::vram::PEER;
use interleave::lab::{Lab, Span, Visible};
use model::Errno;
use model::platform::{Kernel, PteFlags, PteUpdate};
use model::units::{PAGE_SHIFT, Pages};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

/// log2 of the pages of a block, that is of a table's entries.
pub const BLOCK_SHIFT: u32 = 9;
/// Pages of a block.
pub const BLOCK_PAGES: u64 = 1 << BLOCK_SHIFT;

/// One translation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pte {
    /// Rights and memory type; [`PteFlags::NONE`] when there is no translation.
    pub flags: PteFlags,
    /// Bus address of the page in bytes; 0 when there is no translation.
    pub addr: u64,
}

impl Pte {
    /// No translation.
    pub const NONE: Pte = Pte { flags: PteFlags::NONE, addr: 0 };

    /// Whether the walker accepts it.
    pub const fn is_valid(&self) -> bool {
        self.flags.has(PteFlags::VALID)
    }
    /// Whether it ends retry faults: an access that finds it gets a real fault.
    pub const fn is_no_retry(&self) -> bool {
        !self.is_valid() && self.flags.has(PteFlags::NORETRY)
    }
    /// What its address is an address in.
    pub const fn space(&self) -> Space {
        let on_the_bus = self.flags.has(PteFlags::SYSTEM) && self.addr & PEER == 0;
        if on_the_bus { Space::Bus } else { Space::Vram }
    }
    /// The entry `pages` further on in the same contiguous mapping.
    pub(crate) const fn plus(self, pages: u64) -> Pte {
        if self.is_valid() { Pte { addr: self.addr + (pages << PAGE_SHIFT), ..self } } else { self }
    }
    /// The entry `pages` further back in the same contiguous mapping.
    pub(crate) const fn minus(self, pages: u64) -> Pte {
        if self.is_valid() { Pte { addr: self.addr - (pages << PAGE_SHIFT), ..self } } else { self }
    }
}

impl fmt::Debug for Pte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_valid() {
            write!(f, "{:#x} {:?}", self.addr, self.flags)
        } else {
            f.write_str(if self.is_no_retry() { "no-retry" } else { "none" })
        }
    }
}

/// What a walk found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The translation of the page that was asked for.
    pub pte: Pte,
    /// Whether it came from a PDE0.
    pub huge: bool,
}

/// One PDE0 and what is below it.
struct Block<L: Lab> {
    /// What the PDE0 says as a leaf, as of the block's first page; none when it points to the table or nowhere.
    leaf: Pte,
    table: Option<Table<L>>,
}

/// The 512 entries below a PDE0.
struct Table<L: Lab> {
    entries: <L as Kernel>::Array<Pte>,
    /// Whether the PDE0 points here.
    linked: bool,
}

impl<L: Lab> Block<L> {
    const fn empty() -> Self {
        Block { leaf: Pte::NONE, table: None }
    }
    /// What the hardware finds `index` pages into the block.
    fn walk(&self, index: u64) -> Leaf {
        match &self.table {
            Some(table) if table.linked => Leaf { pte: table.entries[index as usize], huge: false },
            _ => Leaf { pte: self.leaf.plus(index), huge: self.leaf.is_valid() },
        }
    }
}

/// The page table of one VM.
pub struct PageTable<L: Lab> {
    seen: L::Visible,
    blocks: RefCell<BTreeMap<u64, Block<L>>>,
}

/// The blocks that `pages` touches, each with the pages touched in it.
fn blocks_of(pages: Pages) -> impl Iterator<Item = (u64, Pages)> {
    (pages.first >> BLOCK_SHIFT..=pages.last >> BLOCK_SHIFT).map(move |block| (block, pages.clip(&pages_of(block))))
}

/// All pages of a block.
const fn pages_of(block: u64) -> Pages {
    Pages::new(block << BLOCK_SHIFT, (block << BLOCK_SHIFT) + BLOCK_PAGES - 1)
}

/// Indices into a block's table.
fn indices(part: Pages) -> std::ops::RangeInclusive<usize> {
    let index = |page: u64| (page & (BLOCK_PAGES - 1)) as usize;
    index(part.first)..=index(part.last)
}

impl<L: Lab> Default for PageTable<L> {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Lab> PageTable<L> {
    /// An empty one.
    pub fn new() -> Self {
        PageTable { seen: L::Visible::new("gpu page table"), blocks: RefCell::default() }
    }

    /// The object on which walks, updates and flushes are scheduling points, indexed by page.
    pub fn seen(&self) -> &L::Visible {
        &self.seen
    }

    /// What the hardware finds for `page`. No scheduling point.
    pub fn walk(&self, page: u64) -> Leaf {
        let blocks = self.blocks.borrow();
        let none = Leaf { pte: Pte::NONE, huge: false };
        blocks.get(&(page >> BLOCK_SHIFT)).map_or(none, |block| block.walk(page & (BLOCK_PAGES - 1)))
    }

    /// The first block that a locked update of `pages` needs a table for and that has none.
    pub(crate) fn missing_table(&self, pages: Pages) -> Option<u64> {
        let blocks = self.blocks.borrow();
        blocks_of(pages)
            .find(|(block, part)| {
                part.count() < BLOCK_PAGES && blocks.get(block).is_none_or(|present| present.table.is_none())
            })
            .map(|(block, _)| block)
    }

    /// Allocates an empty table. The caller holds no lock that the allocation could need.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn alloc_table() -> Result<<L as Kernel>::Array<Pte>, Errno> {
        L::alloc_array(BLOCK_PAGES as usize, Pte::NONE)
    }

    /// Hangs an empty table below `block`, not linked yet. There is none: whoever could add one needs the root.
    pub(crate) fn add_table(&self, block: u64, entries: <L as Kernel>::Array<Pte>) {
        let mut blocks = self.blocks.borrow_mut();
        blocks.entry(block).or_insert_with(Block::empty).table = Some(Table { entries, linked: false });
    }

    /// The pages whose translation `update` can change: more than it asks for where an unlocked clear meets a huge
    /// leaf.
    pub(crate) fn affected(&self, update: &PteUpdate) -> Pages {
        if !update.unlocked {
            return update.pages;
        }
        let blocks = self.blocks.borrow();
        blocks_of(update.pages)
            .filter(|(block, _)| blocks.get(block).is_some_and(|b| b.table.is_none() && b.leaf.is_valid()))
            .fold(update.pages, |all, (block, _)| all.hull(&pages_of(block)))
    }

    /// Does what `update` says; a scheduling point on everything affected. Tables that a locked update needs are
    /// there. Needs the eviction lock.
    ///
    /// # Errors
    /// `ENOENT`: an unlocked write where there is no table. Blocks before that one are written.
    #[track_caller]
    pub(crate) fn write(&self, update: &PteUpdate) -> Result<(), Errno> {
        let affected = self.affected(update);
        self.seen.write(Span::new(affected.first, affected.last));
        let base = match update.addr {
            Some(addr) if update.flags.has(PteFlags::VALID) => Pte { flags: update.flags, addr: addr.0 },
            _ if update.flags.has(PteFlags::NORETRY) => Pte { flags: update.flags, addr: 0 },
            _ => Pte::NONE,
        };
        let mut blocks = self.blocks.borrow_mut();
        for (number, part) in blocks_of(update.pages) {
            let first = base.plus(part.first - update.pages.first);
            let block = blocks.entry(number).or_insert_with(Block::empty);
            if part.count() == BLOCK_PAGES && !update.unlocked {
                *block = Block { leaf: first, table: None };
                continue;
            }
            match &mut block.table {
                Some(table) => {
                    for (at, entry) in table.entries[indices(part)].iter_mut().enumerate() {
                        *entry = first.plus(at as u64);
                    }
                }
                None if first.is_valid() => return Err(Errno::ENOENT),
                None => block.leaf = Pte::NONE,
            }
        }
        Ok(())
    }

    /// The blocks whose table the hardware does not see yet.
    pub(crate) fn unlinked(&self) -> Vec<u64> {
        let blocks = self.blocks.borrow();
        let late = |(_, block): &(_, &Block<L>)| block.table.as_ref().is_some_and(|table| !table.linked);
        blocks.iter().filter(late).map(|(number, _)| *number).collect()
    }

    /// The pages of `blocks`, and what lies between.
    pub(crate) fn hull(blocks: &[u64]) -> Pages {
        blocks.iter().fold(Pages::EMPTY, |all, number| all.hull(&pages_of(*number)))
    }

    /// Points the PDE0s of `blocks` at their tables, where there are some. The caller made it visible.
    pub(crate) fn link(&self, blocks: &[u64]) {
        for (number, block) in self.blocks.borrow_mut().iter_mut() {
            if blocks.contains(number)
                && let Some(table) = &mut block.table
                && !table.linked
            {
                table.linked = true;
                block.leaf = Pte::NONE;
            }
        }
    }

    /// Calls `f` for every page with a valid translation, in ascending order. No scheduling point.
    pub fn for_each_mapped(&self, mut f: impl FnMut(u64, Leaf)) {
        for (number, block) in self.blocks.borrow().iter() {
            let translates = block.leaf.is_valid() || block.table.as_ref().is_some_and(|table| table.linked);
            if !translates {
                continue;
            }
            for index in 0..BLOCK_PAGES {
                let leaf = block.walk(index);
                if leaf.pte.is_valid() {
                    f((number << BLOCK_SHIFT) + index, leaf);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use interleave::Sim;
    use model::platform::DmaAddr;

    fn update(unlocked: bool, first: u64, last: u64, addr: Option<DmaAddr>) -> PteUpdate {
        let flags = if addr.is_some() { PteFlags::VALID | PteFlags::READABLE } else { PteFlags::NONE };
        PteUpdate { unlocked, flush: true, allow_override: false, pages: Pages::new(first, last), flags, addr }
    }

    #[test]
    fn what_an_update_can_change_is_visible_to_the_scheduler() {
        let table = PageTable::<Sim>::new();
        table.write(&update(false, 0x200, 0x5ff, Some(DmaAddr(0x4000_0000)))).unwrap();
        let affected = |unlocked, first, last| table.affected(&update(unlocked, first, last, None));
        assert_eq!(affected(true, 0x210, 0x210), Pages::new(0x200, 0x3ff), "a huge leaf is cleared whole");
        assert_eq!(affected(true, 0x3ff, 0x400), Pages::new(0x200, 0x5ff), "and so are two");
        assert_eq!(affected(true, 0x1f0, 0x200), Pages::new(0x1f0, 0x3ff), "nothing is mapped below");
        assert_eq!(affected(false, 0x210, 0x210), Pages::new(0x210, 0x210), "a locked update goes to a table");
        table.add_table(1, PageTable::<Sim>::alloc_table().unwrap());
        assert_eq!(affected(true, 0x210, 0x210), Pages::new(0x210, 0x210), "and an unlocked one where there is one");
        assert_eq!(table.unlinked(), [1]);
        assert_eq!(PageTable::<Sim>::hull(&[1, 3]), Pages::new(0x200, 0x7ff));
    }
}
