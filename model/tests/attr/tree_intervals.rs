//! The interval tree against a `BTreeMap`, and what it does with misuse and corruption.

use crate::probe::{Probe, ProbeCache};
use model::platform::{Cache, Handle, Kernel, Objects, Plain};
use model::tree::{IntervalTree, TreeLink, TreeNode};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Cell<T> = <Probe as Kernel>::Plain<T>;

struct Span {
    link: Cell<TreeLink<Span>>,
    bounds: Cell<(u64, u64)>,
}
impl TreeNode<Probe> for Span {
    fn link(&self) -> &Cell<TreeLink<Self>> {
        &self.link
    }
    fn first(&self) -> u64 {
        self.bounds.get().0
    }
    fn last(&self) -> u64 {
        self.bounds.get().1
    }
}

struct World {
    cache: ProbeCache<Span>,
    tree: IntervalTree<Probe, Span>,
}

impl World {
    fn new() -> Self {
        Probe::reset();
        World { cache: ProbeCache::new("span").unwrap(), tree: IntervalTree::new() }
    }
    fn span(&self, first: u64, last: u64) -> Handle<Span> {
        let link = Plain::new(TreeLink::default());
        self.cache.alloc(Span { link, bounds: Plain::new((first, last)) }).unwrap()
    }
    fn insert(&self, first: u64, last: u64) -> Handle<Span> {
        let span = self.span(first, last);
        self.tree.insert(&self.cache, span);
        span
    }
    fn bounds(&self, span: Handle<Span>) -> (u64, u64) {
        self.cache.get(span).bounds.get()
    }
    fn forwards(&self) -> Vec<(u64, u64)> {
        let first = self.tree.first(&self.cache);
        std::iter::successors(first, |&at| self.tree.next(&self.cache, at)).map(|at| self.bounds(at)).collect()
    }
    fn backwards(&self) -> Vec<(u64, u64)> {
        let last = self.tree.last(&self.cache);
        std::iter::successors(last, |&at| self.tree.prev(&self.cache, at)).map(|at| self.bounds(at)).collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u64, u64),
    /// Removes the n-th node (modulo) that ever existed, linked or not.
    Remove(usize),
    Query(u64, u64),
}

fn op() -> impl Strategy<Value = Op> {
    let point = prop_oneof![8 => 0u64..200, 1 => (u64::MAX - 20)..=u64::MAX];
    prop_oneof![
        5 => (point.clone(), 0u64..6).prop_map(|(a, n)| Op::Insert(a, a.saturating_add(n))),
        3 => any::<usize>().prop_map(Op::Remove),
        2 => (point.clone(), point).prop_map(|(a, b)| Op::Query(a, b)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_an_ordered_map(ops in prop::collection::vec(op(), 30..200)) {
        let world = World::new();
        let mut reference: BTreeMap<u64, (u64, Handle<Span>)> = BTreeMap::new();
        let mut ever = Vec::new();
        for op in ops {
            match op {
                Op::Insert(first, last) => {
                    let overlap = reference.iter().any(|(&a, &(b, _))| a <= last && first <= b);
                    let span = world.insert(first, last);
                    ever.push((first, span));
                    prop_assert_eq!(Probe::warnings().len(), overlap as usize);
                    if !overlap {
                        reference.insert(first, (last, span));
                    }
                }
                Op::Remove(n) if !ever.is_empty() => {
                    let (first, span) = ever[n % ever.len()];
                    let linked = reference.get(&first).is_some_and(|&(_, h)| h == span);
                    world.tree.remove(&world.cache, span);
                    prop_assert_eq!(Probe::warnings().len(), !linked as usize);
                    if linked {
                        reference.remove(&first);
                    }
                }
                Op::Remove(_) => {}
                Op::Query(first, last) => {
                    let want = reference.iter().find(|&(&a, &(b, _))| a <= last && first <= b).map(|(_, v)| v.1);
                    prop_assert_eq!(world.tree.first_overlap(&world.cache, first, last), want);
                    let after = want.and_then(|h| world.tree.next_overlap(&world.cache, h, last));
                    let want = reference.iter().filter(|&(&a, &(b, _))| a <= last && first <= b).nth(1);
                    if first <= last {
                        prop_assert_eq!(after, want.map(|(_, v)| v.1));
                    }
                }
            }
            prop_assert_eq!(world.tree.check(&world.cache), Ok(reference.len()));
            prop_assert_eq!(world.tree.is_empty(), reference.is_empty());
        }
        let want: Vec<_> = reference.iter().map(|(&a, &(b, _))| (a, b)).collect();
        prop_assert_eq!(&world.forwards(), &want);
        prop_assert_eq!(world.backwards(), want.into_iter().rev().collect::<Vec<_>>());
    }
}

#[test]
fn stays_balanced_whatever_the_order_of_insertion_and_removal() {
    const N: u64 = 3000;
    let ascending: Vec<u64> = (0..N).collect();
    let descending: Vec<u64> = (0..N).rev().collect();
    // 1009 is prime to 3000, so this is a permutation.
    let scattered: Vec<u64> = (0..N).map(|n| n * 1009 % N).collect();
    for order in [&ascending, &descending, &scattered] {
        for removal in [&ascending, &descending, &scattered] {
            let world = World::new();
            let mut spans = vec![None; N as usize];
            for &n in order {
                spans[n as usize] = Some(world.insert(10 * n, 10 * n + 9));
            }
            // An AVL tree of height 15 has at least 1596 nodes, of height 16 2583, of height 17 4180.
            let height = spans.iter().map(|s| world.cache.get(s.unwrap()).link.get().height()).max();
            assert!(height <= Some(16), "{height:?}");
            assert_eq!(world.tree.check(&world.cache), Ok(N as usize));
            for (i, &n) in removal.iter().enumerate() {
                world.tree.remove(&world.cache, spans[n as usize].unwrap());
                if i % 500 == 0 {
                    assert_eq!(world.tree.check(&world.cache), Ok(N as usize - i - 1));
                }
            }
            assert!(world.tree.is_empty());
            assert_eq!(Probe::warnings(), [""; 0]);
        }
    }
}

#[test]
fn an_inverted_query_finds_a_node_around_it_as_the_kernel_does() {
    let world = World::new();
    let wide = world.insert(0, 10);
    assert_eq!(world.tree.first_overlap(&world.cache, 5, 3), Some(wide));
    assert_eq!(world.tree.first_overlap(&world.cache, 12, 3), None);
}

#[test]
fn a_double_insertion_is_reported_and_changes_nothing() {
    let world = World::new();
    let other = IntervalTree::<Probe, Span>::new();
    let a = world.insert(1, 2);
    world.insert(5, 6);
    world.tree.insert(&world.cache, a);
    other.insert(&world.cache, a);
    let warnings = Probe::warnings();
    assert_eq!(warnings.len(), 2);
    assert!(warnings.iter().all(|w| w.contains("linked already")), "{warnings:?}");
    assert_eq!(world.tree.check(&world.cache), Ok(2));
    assert!(other.is_empty());
}

#[test]
fn removal_from_a_tree_that_the_node_is_not_in_is_reported_and_changes_nothing() {
    let world = World::new();
    let other = IntervalTree::<Probe, Span>::new();
    other.insert(&world.cache, world.span(1, 2));
    let a = world.insert(1, 2);
    let b = world.insert(3, 4);
    for span in [a, b] {
        other.remove(&world.cache, span);
        assert!(Probe::warnings()[0].contains("not in"));
    }
    assert_eq!(world.tree.check(&world.cache), Ok(2));
    assert_eq!(other.check(&world.cache), Ok(1));
}

#[test]
fn an_empty_interval_is_refused() {
    let world = World::new();
    world.insert(3, 2);
    assert!(Probe::warnings()[0].contains("empty"));
    assert!(world.tree.is_empty());
}

#[test]
fn check_sees_a_linked_node_that_changed_its_bounds() {
    let world = World::new();
    let a = world.insert(1, 2);
    world.insert(5, 6);
    world.cache.get(a).bounds.set((1, 5));
    assert_eq!(world.tree.check(&world.cache).unwrap_err().what, "tree: intervals overlap or are out of order");
    world.cache.get(a).bounds.set((2, 1));
    assert_eq!(world.tree.check(&world.cache).unwrap_err().what, "tree: empty interval");
}

#[test]
fn check_sees_a_link_that_was_wiped_at_the_root_and_below() {
    for victim in 0..3 {
        let world = World::new();
        let spans = [world.insert(1, 2), world.insert(5, 6), world.insert(8, 9)];
        assert_eq!(world.tree.check(&world.cache), Ok(3));
        world.cache.get(spans[victim]).link.set(TreeLink::default());
        assert!(world.tree.check(&world.cache).is_err(), "victim {victim}");
    }
}

#[test]
fn check_ends_on_links_that_run_in_a_circle() {
    let world = World::new();
    let spans = [world.insert(1, 2), world.insert(5, 6), world.insert(8, 9)];
    // The left leaf claims to be what the root is: its child is itself.
    let root = world.cache.get(spans[1]).link.get();
    world.cache.get(spans[0]).link.set(root);
    assert!(world.tree.check(&world.cache).is_err());
}
