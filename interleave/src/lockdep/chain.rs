//! Which stacks of held locks were seen before.
//!
//! Answers to lockdep's chain cache. A stack is a node of a trie; taking a lock goes to a child. When the child is there
//! already, everything that this acquisition can teach is known. One table holds all children.

/// A stack of held locks.
pub(super) type Node = u32;

/// Nothing is held.
pub(super) const ROOT: Node = 0;

/// Set in every key, so that no entry is 0.
const PRESENT: u64 = 1 << 31;

/// The trie.
#[derive(Debug)]
pub(super) struct Chains {
    /// Parent and key, and the child; open addressing, 0 is empty.
    table: Vec<(u64, Node)>,
    /// Nodes, the root excluded.
    len: u32,
}

impl Default for Chains {
    fn default() -> Self {
        Chains { table: vec![(0, ROOT); 256], len: 0 }
    }
}

impl Chains {
    const fn entry(node: Node, key: u32) -> u64 {
        (node as u64) << 32 | PRESENT | key as u64
    }

    /// Where `key`, below 2³¹, leads from `node`, if that was seen before.
    #[inline]
    pub(super) fn find(&self, node: Node, key: u32) -> Option<Node> {
        let (entry, mask) = (Self::entry(node, key), self.table.len() - 1);
        let mut at = Self::hash(entry) & mask;
        while let Some(&(found, child)) = self.table.get(at) {
            if found == entry {
                return Some(child);
            }
            if found == 0 {
                break;
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// Where `key` leads from `node`, and whether that was seen before.
    pub(super) fn child(&mut self, node: Node, key: u32) -> (Node, bool) {
        match self.find(node, key) {
            Some(child) => (child, true),
            None => (self.add(Self::entry(node, key)), false),
        }
    }

    #[cold]
    fn add(&mut self, entry: u64) -> Node {
        if (self.len as usize + 1) * 2 > self.table.len() {
            let old = std::mem::take(&mut self.table);
            self.table = vec![(0, ROOT); old.len() * 2];
            for (entry, child) in old.into_iter().filter(|(entry, _)| *entry != 0) {
                self.put(entry, child);
            }
        }
        self.len += 1;
        self.put(entry, self.len);
        self.len
    }

    fn put(&mut self, entry: u64, child: Node) {
        let mask = self.table.len() - 1;
        let mut at = Self::hash(entry) & mask;
        while self.table[at].0 != 0 {
            at = (at + 1) & mask;
        }
        self.table[at] = (entry, child);
    }

    #[inline]
    fn hash(entry: u64) -> usize {
        (entry.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_is_new_once() {
        let mut chains = Chains::default();
        let mut nodes = vec![ROOT];
        for depth in 0..6 {
            for parent in nodes.clone() {
                for key in 0..3 {
                    let (node, seen) = chains.child(parent, key + depth * 8);
                    assert!(!seen);
                    assert_eq!(chains.child(parent, key + depth * 8), (node, true));
                    nodes.push(node);
                }
            }
        }
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), 1 + chains.len as usize);
    }
}
