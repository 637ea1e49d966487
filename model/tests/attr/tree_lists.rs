//! The list against a `VecDeque`, and what it does with misuse and corruption.

use crate::probe::{Probe, ProbeCache};
use model::list::{List, ListLink, ListNode};
use model::platform::{Cache, Handle, Kernel, Objects, Plain};
use proptest::prelude::*;
use std::collections::VecDeque;

type Cell<T> = <Probe as Kernel>::Plain<T>;

struct Item {
    link: Cell<ListLink<Item>>,
}
impl ListNode<Probe> for Item {
    fn link(&self) -> &Cell<ListLink<Self>> {
        &self.link
    }
}

struct World {
    cache: ProbeCache<Item>,
    list: List<Probe, Item>,
}

impl World {
    fn new() -> Self {
        Probe::reset();
        World { cache: ProbeCache::new("item").unwrap(), list: List::new() }
    }
    fn item(&self) -> Handle<Item> {
        self.cache.alloc(Item { link: Plain::new(ListLink::default()) }).unwrap()
    }
    fn pushed<const N: usize>(&self) -> [Handle<Item>; N] {
        std::array::from_fn(|_| {
            let item = self.item();
            self.list.push_back(&self.cache, item);
            item
        })
    }
    fn content(&self) -> Vec<Handle<Item>> {
        self.list.iter(&self.cache).collect()
    }
}

#[derive(Clone, Debug)]
enum Op {
    Push(usize),
    PopFront,
    Remove(usize),
    MoveToTail(usize),
    InsertBefore(usize, Option<usize>),
}

const ITEMS: usize = 8;

fn op() -> impl Strategy<Value = Op> {
    let item = 0..ITEMS;
    prop_oneof![
        4 => item.clone().prop_map(Op::Push),
        1 => Just(Op::PopFront),
        2 => item.clone().prop_map(Op::Remove),
        1 => item.clone().prop_map(Op::MoveToTail),
        2 => (item.clone(), prop::option::of(item)).prop_map(|(n, at)| Op::InsertBefore(n, at)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_deque(ops in prop::collection::vec(op(), 30..120)) {
        let world = World::new();
        let (list, cache) = (&world.list, &world.cache);
        let items: Vec<_> = (0..ITEMS).map(|_| world.item()).collect();
        let mut reference: VecDeque<usize> = VecDeque::new();
        for op in ops {
            let at = |n: usize| reference.iter().position(|&m| m == n);
            let misuse = match op {
                Op::Push(n) => {
                    list.push_back(cache, items[n]);
                    let on = at(n).is_some();
                    if !on {
                        reference.push_back(n);
                    }
                    on
                }
                Op::PopFront => {
                    prop_assert_eq!(list.pop_front(cache), reference.pop_front().map(|n| items[n]));
                    false
                }
                Op::Remove(n) => {
                    list.remove(cache, items[n]);
                    let on = at(n);
                    on.map(|i| reference.remove(i));
                    on.is_none()
                }
                Op::MoveToTail(n) => {
                    let on = at(n);
                    if on.is_some() {
                        list.move_to_tail(cache, items[n]);
                        on.map(|i| reference.remove(i));
                        reference.push_back(n);
                    }
                    false
                }
                Op::InsertBefore(n, before) => {
                    list.insert_before(cache, before.map(|b| items[b]), items[n]);
                    let place = before.map_or(Some(reference.len()), at);
                    match (at(n), place) {
                        (None, Some(place)) => {
                            reference.insert(place, n);
                            false
                        }
                        _ => true,
                    }
                }
            };
            prop_assert_eq!(Probe::warnings().len(), misuse as usize);
            prop_assert_eq!(list.check(cache), Ok(reference.len()));
            prop_assert_eq!(list.is_empty(), reference.is_empty());
            prop_assert_eq!(list.front(), reference.front().map(|&n| items[n]));
            prop_assert_eq!(list.back(), reference.back().map(|&n| items[n]));
            prop_assert_eq!(world.content(), reference.iter().map(|&n| items[n]).collect::<Vec<_>>());
            for (i, &n) in reference.iter().enumerate() {
                prop_assert_eq!(list.next(cache, items[n]), reference.get(i + 1).map(|&m| items[m]));
                prop_assert_eq!(list.prev(cache, items[n]), i.checked_sub(1).map(|j| items[reference[j]]));
            }
            for (n, &item) in items.iter().enumerate() {
                prop_assert_eq!(cache.get(item).link.get().is_linked(), reference.contains(&n));
            }
        }
    }
}

#[test]
fn an_object_on_one_list_cannot_be_added_to_another() {
    let world = World::new();
    let [a, b] = world.pushed();
    let other = List::<Probe, Item>::new();
    other.push_back(&world.cache, a);
    assert!(Probe::warnings()[0].contains("on a list already"));
    assert!(other.is_empty());
    assert_eq!(world.content(), [a, b]);
}

#[test]
fn the_ends_of_one_list_cannot_be_removed_through_another() {
    let world = World::new();
    let [a, b, c] = world.pushed();
    let other = List::<Probe, Item>::new();
    for item in [a, c] {
        other.remove(&world.cache, item);
        assert!(Probe::warnings()[0].contains("neighbours"));
        other.move_to_tail(&world.cache, item);
        assert!(Probe::warnings()[0].contains("neighbours"));
    }
    other.insert_before(&world.cache, Some(a), world.item());
    assert!(Probe::warnings()[0].contains("not on this list"));
    assert_eq!(world.list.check(&world.cache), Ok(3));
    assert_eq!(world.content(), [a, b, c]);
    assert_eq!(other.check(&world.cache), Ok(0));
}

#[test]
fn an_object_may_be_removed_while_the_list_is_walked() {
    let world = World::new();
    let items: [_; 4] = world.pushed();
    let mut seen = Vec::new();
    for item in world.list.iter(&world.cache) {
        seen.push(item);
        world.list.remove(&world.cache, item);
        world.cache.free(item);
    }
    assert_eq!(seen, items);
    assert!(world.list.is_empty());
}

#[test]
fn check_sees_a_wiped_link_wherever_it_is() {
    for victim in 0..3 {
        let world = World::new();
        let items: [_; 3] = world.pushed();
        assert_eq!(world.list.check(&world.cache), Ok(3));
        world.cache.get(items[victim]).link.set(ListLink::default());
        assert!(world.list.check(&world.cache).is_err(), "victim {victim}");
    }
}

#[test]
fn check_sees_a_tail_that_the_walk_does_not_reach() {
    let world = World::new();
    let [_, b] = world.pushed();
    let as_the_last = world.cache.get(b).link.get();
    let [_] = world.pushed();
    world.cache.get(b).link.set(as_the_last);
    assert_eq!(world.list.check(&world.cache).unwrap_err().what, "list: the tail is not the last object");
}

#[test]
fn check_ends_on_a_list_that_runs_in_a_circle() {
    let world = World::new();
    let [a, _, c] = world.pushed();
    // The last object claims to be the first: the walk comes by the second again.
    let first = world.cache.get(a).link.get();
    world.cache.get(c).link.set(first);
    assert!(world.list.check(&world.cache).is_err());
}
