//! Forgetting attributes: `attr_clear_pages`, which the GC calls for what was unmapped.
//!
//! Source: spec amdgpu-svm 4.2.

use super::nodes::AttrTree;
use crate::Errno;
use crate::platform::Kernel;
use crate::units::Pages;

impl<K: Kernel> AttrTree<K> {
    /// `pages` become a hole: nodes inside are freed, nodes across a border are cut.
    ///
    /// # Errors
    /// `EINVAL` when `pages` is empty. `ENOMEM` when a node that reaches over both ends cannot be cut in two; it is
    /// then the only one, and stays whole. V1's only caller ignores the result (race R22).
    #[track_caller]
    pub fn clear_pages(&mut self, pages: Pages) -> Result<(), Errno> {
        if pages.is_empty() {
            return Err(Errno::EINVAL);
        }
        let mut next = self.first_overlap(pages);
        while let Some(node) = next {
            next = self.next_overlap(node, pages);
            let whole = self.pages_of(node);
            let (left, right) = (whole.first < pages.first, whole.last > pages.last);
            // Not evaluated unless it sticks out there, so neither can wrap.
            let head = || Pages::new(whole.first, pages.first - 1);
            let tail = || Pages::new(pages.last + 1, whole.last);
            match (left, right) {
                (true, true) => {
                    let rest = self.alloc(tail(), self.attrs_of(node))?;
                    self.resize(node, head());
                    self.insert(rest);
                }
                (true, false) => self.resize(node, head()),
                (false, true) => self.resize(node, tail()),
                (false, false) => {
                    self.remove(node);
                    self.free(node);
                }
            }
        }
        Ok(())
    }
}
