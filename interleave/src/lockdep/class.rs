//! Lock classes.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Number of a class, in the order in which the search met them. 0 is no class: the validator is off.
pub(crate) type ClassId = u16;

/// What a class stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum Sort {
    /// A lock.
    Lock,
    /// A map that code says it is in: reclaim, a callback, an epoch.
    Map,
    /// A work item's `lockdep_map`.
    Work,
    /// A workqueue's `lockdep_map`.
    Queue,
}

/// One class.
#[derive(Clone, Debug)]
pub(super) struct Class {
    sort: Sort,
    name: &'static str,
    subclass: u8,
    /// How often it was begun; only differences within one execution mean something.
    pub(super) begun: u32,
}

impl Class {
    /// What it is called where its number means nothing.
    pub(super) fn name(&self) -> Name {
        Name::new(self.sort, self.name, self.subclass)
    }
}

/// A class in words.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(super) struct Name {
    sort: Sort,
    name: Cow<'static, str>,
    subclass: u8,
}

impl Name {
    pub(super) fn new(sort: Sort, name: impl Into<Cow<'static, str>>, subclass: u8) -> Name {
        Name { sort, name: name.into(), subclass }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sort {
            Sort::Lock | Sort::Map => f.write_str(&self.name)?,
            Sort::Work => write!(f, "(work_completion)(&{})", self.name)?,
            Sort::Queue => write!(f, "(wq_completion){}", self.name)?,
        }
        if self.subclass == 0 { Ok(()) } else { write!(f, "/{}", self.subclass) }
    }
}

/// All of them. There are a few dozen.
#[derive(Debug)]
pub(super) struct Classes {
    /// The first is no class.
    list: Vec<Class>,
    /// Open addressing by name; 0 is empty.
    table: Vec<ClassId>,
    /// The last answer for each place in memory that a name is at, for names that come again and again. A text at one place
    /// is one text, so it answers as the table does.
    recent: [Recent; RECENT],
}

/// Where the name is, its length, and the answer for subclass 0; no class when empty.
type Recent = (usize, usize, ClassId, Sort);
const RECENT: usize = 64;

impl Default for Classes {
    fn default() -> Self {
        Classes { list: Vec::new(), table: Vec::new(), recent: [(0, 0, 0, Sort::Lock); RECENT] }
    }
}

impl Classes {
    /// The class of `name` with subclass 0; made when it is new.
    #[inline]
    pub(super) fn plain(&mut self, sort: Sort, name: &'static str) -> ClassId {
        let (at, len) = (name.as_ptr() as usize, name.len());
        let slot = (at ^ at >> 6) % RECENT;
        let recent = self.recent[slot];
        if recent.0 == at && recent.1 == len && recent.3 == sort && recent.2 != 0 {
            return recent.2;
        }
        let class = self.of(sort, name, 0);
        self.recent[slot] = (at, len, class, sort);
        class
    }

    /// The class of `name` and `subclass`; made when it is new.
    pub(super) fn of(&mut self, sort: Sort, name: &'static str, subclass: u8) -> ClassId {
        if self.list.len() * 2 >= self.table.len() {
            self.grow();
        }
        let mask = self.table.len() - 1;
        let mut at = Self::hash(sort, name, subclass) & mask;
        loop {
            let id = self.table[at];
            if id == 0 {
                break;
            }
            let class = &self.list[id as usize];
            if class.name == name && class.sort == sort && class.subclass == subclass {
                return id;
            }
            at = (at + 1) & mask;
        }
        let id = ClassId::try_from(self.list.len()).expect("a search meets a few dozen lock classes");
        self.list.push(Class { sort, name, subclass, begun: 0 });
        self.table[at] = id;
        id
    }

    /// The class of the same name with another subclass.
    pub(super) fn nested(&mut self, class: ClassId, subclass: u8) -> ClassId {
        let Class { sort, name, .. } = self.list[class as usize];
        self.of(sort, name, subclass)
    }

    pub(super) fn get(&self, class: ClassId) -> &Class {
        &self.list[class as usize]
    }

    pub(super) fn begin(&mut self, class: ClassId) {
        let begun = &mut self.list[class as usize].begun;
        *begun = begun.wrapping_add(1);
    }

    /// The map called `name`, if the search met it.
    pub(super) fn map(&self, name: &str) -> Option<ClassId> {
        self.list.iter().position(|c| c.sort == Sort::Map && c.name == name).map(|id| id as ClassId)
    }

    fn hash(sort: Sort, name: &str, subclass: u8) -> usize {
        let bytes = name.as_bytes();
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0) as usize;
        let (first, middle, last) = (byte(0), byte(bytes.len() / 2), byte(bytes.len().wrapping_sub(1)));
        let text = first * 31 + middle * 7 + last * 131 + bytes.len() * 17;
        text + sort as usize * 61 + subclass as usize * 101
    }

    fn grow(&mut self) {
        if self.list.is_empty() {
            self.list.push(Class { sort: Sort::Lock, name: "", subclass: 0, begun: 0 });
        }
        let size = (self.table.len() * 2).max(64);
        self.table = vec![0; size];
        for (id, class) in self.list.iter().enumerate().skip(1) {
            let mut at = Self::hash(class.sort, class.name, class.subclass) & (size - 1);
            while self.table[at] != 0 {
                at = (at + 1) & (size - 1);
            }
            self.table[at] = id as ClassId;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_its_sort_name_and_subclass() {
        let mut classes = Classes::default();
        let names: Vec<&'static str> = (0..200).map(|n| &*format!("lock {n}").leak()).collect();
        let ids: Vec<ClassId> = names.iter().map(|name| classes.of(Sort::Lock, name, 0)).collect();
        for (name, id) in names.iter().zip(&ids).chain(names.iter().zip(&ids)) {
            assert_eq!(classes.plain(Sort::Lock, name), *id);
            assert_ne!(classes.plain(Sort::Queue, name), *id);
            assert_eq!(classes.of(Sort::Lock, name, 0), *id);
            assert_ne!(classes.of(Sort::Map, name, 0), *id);
            let inner = classes.nested(*id, 1);
            assert_ne!(inner, *id);
            assert_eq!(classes.nested(*id, 1), inner);
        }
        let mut distinct = ids.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!((distinct.len(), ids[0]), (200, 1), "0 is no class");
        let inner = classes.nested(ids[3], 2);
        assert_eq!(classes.get(inner).name().to_string(), "lock 3/2");
        let work = classes.of(Sort::Work, "gc_work", 0);
        assert_eq!(classes.get(work).name().to_string(), "(work_completion)(&gc_work)");
    }
}
