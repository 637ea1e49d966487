//! The attribute tree against a map that knows every page by itself: set, get, clear and lookup, XNACK on and off, with
//! allocations that fail, at the bottom, in the middle and at the very top of the address space.

use crate::probe::Probe;
use model::Errno;
use model::attr::{Access, AttrChange, AttrTree, AttrType, Attrs, Flags, Location, Segment, Trigger, UapiAttr};
use model::units::Pages;
use proptest::prelude::*;

/// Pages of the window that is looked at.
const N: usize = 48;

/// What a page knows: its attributes and which node it belongs to. Nodes are told apart because neighbours with equal
/// attributes are not merged.
type Page = Option<(Attrs, u32)>;

struct Reference {
    xnack: bool,
    defaults: Attrs,
    pages: [Page; N],
    next_node: u32,
}

impl Reference {
    fn new(xnack: bool) -> Self {
        let access = if xnack { Access::Enable } else { Access::None };
        let nowhere = Location(-1);
        let defaults = Attrs { preferred_loc: nowhere, prefetch_loc: nowhere, flags: Flags(3), granularity: 9, access };
        Reference { xnack, defaults, pages: [None; N], next_node: 0 }
    }

    fn fresh(&mut self) -> u32 {
        self.next_node += 1;
        self.next_node
    }

    fn node_at(&self, at: usize) -> Option<u32> {
        self.pages[at].map(|(_, node)| node)
    }

    /// Last page of the run (node or hole) that `at` is in.
    fn run_end(&self, at: usize) -> usize {
        (at..N).take_while(|&i| self.node_at(i) == self.node_at(at)).last().unwrap()
    }

    fn run_start(&self, at: usize) -> usize {
        (0..=at).rev().take_while(|&i| self.node_at(i) == self.node_at(at)).last().unwrap()
    }

    fn attrs_at(&self, at: usize) -> Attrs {
        self.pages[at].map_or(self.defaults, |(attrs, _)| attrs)
    }

    fn runs(&self) -> Vec<(usize, usize, Attrs)> {
        let mut runs = Vec::new();
        let mut at = 0;
        while at < N {
            let end = self.run_end(at);
            if let Some((attrs, _)) = self.pages[at] {
                runs.push((at, end, attrs));
            }
            at = end + 1;
        }
        runs
    }

    fn after(mut attrs: Attrs, request: &[UapiAttr]) -> Attrs {
        for a in request {
            match a.ty {
                0 => attrs.preferred_loc = Location(a.value as i32),
                1 => attrs.prefetch_loc = Location(a.value as i32),
                2 => attrs.access = Access::Enable,
                3 => attrs.access = Access::InPlace,
                4 => attrs.access = Access::None,
                5 => attrs.flags.0 |= a.value,
                6 => attrs.flags.0 &= !a.value,
                7 => attrs.granularity = if a.value > 63 { 63 } else { a.value },
                _ => unreachable!(),
            }
        }
        attrs
    }

    fn trigger(a: &Attrs, b: &Attrs) -> Trigger {
        let changed = a.flags.0 ^ b.flags.0;
        let bits = [
            (a.access != b.access, 1),
            (changed & 0b1001_1010 != 0, 2),
            (changed & 0b0110_0101 != 0, 4),
            ((a.preferred_loc, a.prefetch_loc) != (b.preferred_loc, b.prefetch_loc), 8),
            (a.granularity != b.granularity, 16),
        ];
        Trigger(bits.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum())
    }

    /// One segment from `at`, given that many allocations. Says where it ends and what changed; `ENOMEM` changes
    /// nothing.
    fn set(
        &mut self,
        at: usize,
        last: usize,
        request: &[UapiAttr],
        memory: u32,
        base: u64,
    ) -> Result<(usize, Option<AttrChange>), Errno> {
        let (start, end) = (self.run_start(at), self.run_end(at));
        let until = end.min(last);
        let prev = self.attrs_at(at);
        let new = Self::after(prev, request);
        let stored = self.pages[at].is_some();
        let pages = Pages::new(base + at as u64, base + until as u64);
        if prev == new {
            let force = stored && !self.xnack && request.iter().any(|a| a.ty == 2 || a.ty == 3);
            return Ok((until, force.then_some(AttrChange { pages, trigger: Trigger(1), prev, new })));
        }
        let (head, tail) = (stored && start < at, stored && until < end);
        let needed = if stored { head as u32 + tail as u32 } else { 1 };
        if needed > memory {
            return Err(Errno::ENOMEM);
        }
        let (middle, rest) = (self.fresh(), self.fresh());
        self.pages[at..=until].fill(Some((new, middle)));
        if tail {
            self.pages[until + 1..=end].fill(Some((prev, rest)));
        }
        Ok((until, Some(AttrChange { pages, trigger: Self::trigger(&prev, &new), prev, new })))
    }

    fn clear(&mut self, first: usize, last: usize, memory: u32) -> Result<(), Errno> {
        let inner = self.pages[first].is_some() && self.run_start(first) < first && self.run_end(first) > last;
        if inner {
            if memory == 0 {
                return Err(Errno::ENOMEM);
            }
            let (end, rest) = (self.run_end(first), self.fresh());
            for page in &mut self.pages[last + 1..=end] {
                page.as_mut().unwrap().1 = rest;
            }
        }
        self.pages[first..=last].fill(None);
        Ok(())
    }

    fn get(&self, first: usize, last: usize, request: &mut [UapiAttr]) -> Result<(), Errno> {
        let mut all: Vec<Attrs> = (first..=last).map(|i| self.attrs_at(i)).collect();
        if all.is_empty() {
            all.push(self.defaults);
        }
        let common = |of: fn(&Attrs) -> i32, else_: i32| {
            if all.iter().all(|a| of(a) == of(&all[0])) { of(&all[0]) } else { else_ }
        };
        for a in request {
            match a.ty {
                0 => a.value = common(|a| a.preferred_loc.0, -1) as u32,
                1 => a.value = common(|a| a.prefetch_loc.0, -1) as u32,
                2 => a.ty = [4, 2, 3][common(|a| a.access as i32, 0) as usize],
                5 => a.value = all.iter().fold(u32::MAX, |x, a| x & a.flags.0),
                6 => a.value = !all.iter().fold(0, |x, a| x | a.flags.0),
                7 => a.value = all.iter().map(|a| a.granularity).min().unwrap(),
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set { first: usize, last: usize, request: Vec<UapiAttr>, memory: Option<u32> },
    Clear { first: usize, last: usize, memory: Option<u32> },
    Get { first: usize, last: usize, request: Vec<UapiAttr> },
    Lookup(usize),
}

fn settable() -> impl Strategy<Value = UapiAttr> {
    let location = prop_oneof![Just(0u32), Just(1), Just(0x8000_0000), Just(u32::MAX)];
    let flags = prop_oneof![3 => (0u32..8).prop_map(|bit| 1 << bit), 1 => 0u32..0x100];
    prop_oneof![
        1 => location.clone().prop_map(|value| UapiAttr { ty: 0, value }),
        1 => location.prop_map(|value| UapiAttr { ty: 1, value: value.min(u32::MAX - 1) }),
        4 => (2u32..5, 1u32..9).prop_map(|(ty, value)| UapiAttr { ty, value }),
        3 => (5u32..7, flags).prop_map(|(ty, value)| UapiAttr { ty, value }),
        1 => prop_oneof![0u32..3, Just(9), 60u32..70, Just(u32::MAX)].prop_map(|value| UapiAttr { ty: 7, value }),
    ]
}

fn interval() -> impl Strategy<Value = (usize, usize)> {
    prop_oneof![
        3 => (0..N, 0..6usize).prop_map(|(a, n)| (a, (a + n).min(N - 1))),
        1 => (0..N, 0..N).prop_map(|(a, b)| (a.min(b), a.max(b))),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let memory = || prop_oneof![4 => Just(None), 1 => (0u32..4).prop_map(Some)];
    let question = (0u32..9, any::<u32>()).prop_map(|(ty, value)| UapiAttr { ty, value });
    prop_oneof![
        6 => (interval(), prop::collection::vec(settable(), 1..4), memory())
            .prop_map(|((first, last), request, memory)| Op::Set { first, last, request, memory }),
        2 => (interval(), memory()).prop_map(|((first, last), memory)| Op::Clear { first, last, memory }),
        2 => (0..N, 0..N, prop::collection::vec(question, 1..6))
            .prop_map(|(first, last, request)| Op::Get { first, last, request }),
        1 => (0..N).prop_map(Op::Lookup),
    ]
}

/// `set_range` on both sides, segment by segment.
fn set_both(
    tree: &mut AttrTree<Probe>,
    reference: &mut Reference,
    base: u64,
    (first, last): (usize, usize),
    request: &[UapiAttr],
    memory: Option<u32>,
) -> Result<(), TestCaseError> {
    Probe::allow_allocations(memory);
    let mut left = memory.unwrap_or(u32::MAX);
    let mut at = first;
    while at <= last {
        let live = Probe::live_objects();
        let got = tree.set_segment(base + at as u64, base + last as u64, request);
        let want = reference.set(at, last, request, left, base);
        match (got, want) {
            (Ok(got), Ok((until, change))) => {
                prop_assert_eq!(got.last, base + until as u64);
                prop_assert_eq!(got.change, change);
                left -= (Probe::live_objects() - live) as u32;
                at = until + 1;
            }
            (got, want) => {
                prop_assert_eq!(got.map(|_| ()), want.map(|_| ()));
                break;
            }
        }
    }
    Probe::allow_allocations(None);
    Ok(())
}

fn compare(tree: &AttrTree<Probe>, reference: &Reference, base: u64) -> Result<(), TestCaseError> {
    let want: Vec<Segment> = reference
        .runs()
        .into_iter()
        .map(|(a, b, attrs)| Segment { pages: Pages::new(base + a as u64, base + b as u64), attrs, stored: true })
        .collect();
    prop_assert_eq!(tree.check(), Ok(want.len()));
    prop_assert_eq!(Probe::live_objects(), want.len() as i64);
    prop_assert_eq!(tree.nodes().collect::<Vec<_>>(), want);
    prop_assert_eq!(Probe::warnings(), [""; 0]);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 768, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_a_map_of_pages(
        xnack: bool,
        base in prop_oneof![Just(0), Just(0x7f00_0000_0000u64), Just(u64::MAX - (N as u64 - 1))],
        ops in prop::collection::vec(op(), 30..90),
    ) {
        Probe::reset();
        let mut tree = AttrTree::<Probe>::new(xnack, 9).unwrap();
        let mut reference = Reference::new(xnack);
        prop_assert_eq!(tree.defaults(), reference.defaults);
        for op in ops {
            match op {
                Op::Set { first, last, request, memory } => {
                    prop_assert_eq!(model::attr::check_set(&request), Ok(()));
                    set_both(&mut tree, &mut reference, base, (first, last), &request, memory)?;
                }
                Op::Clear { first, last, memory } => {
                    Probe::allow_allocations(memory);
                    let got = tree.clear_pages(Pages::new(base + first as u64, base + last as u64));
                    Probe::allow_allocations(None);
                    prop_assert_eq!(got, reference.clear(first, last, memory.unwrap_or(u32::MAX)));
                }
                Op::Get { first, last, request } => {
                    let (mut got, mut want) = (request.clone(), request);
                    let pages = Pages::new(base + first as u64, base + last as u64);
                    prop_assert_eq!(tree.get(pages, &mut got), reference.get(first, last, &mut want));
                    prop_assert_eq!(got, want);
                }
                Op::Lookup(at) => {
                    let got = tree.lookup_page(base + at as u64);
                    prop_assert_eq!(got.attrs, reference.attrs_at(at));
                    let end = reference.run_end(at);
                    // A hole behind the last node reaches to the end of everything.
                    let open = end == N - 1 && reference.pages[at].is_none();
                    prop_assert_eq!(got.last, if open { u64::MAX } else { base + end as u64 });
                }
            }
            compare(&tree, &reference, base)?;
        }
        // Segments tile the window exactly, holes included.
        let window = Pages::new(base, base + (N as u64 - 1));
        let mut next = 0;
        for segment in tree.segments(window) {
            prop_assert_eq!(segment.pages.first, base + next as u64);
            let end = reference.run_end(next);
            prop_assert_eq!(segment.pages.last, base + end as u64);
            prop_assert_eq!(segment.attrs, reference.attrs_at(next));
            prop_assert_eq!(segment.stored, reference.pages[next].is_some());
            next = end + 1;
        }
        prop_assert_eq!(next, N);
        tree.destroy();
        prop_assert_eq!((Probe::live_objects(), tree.check()), (0, Ok(0)));
    }

    #[test]
    fn set_accepts_exactly_what_rule_8_accepts(
        request in prop::collection::vec(
            (prop_oneof![0u32..10, any::<u32>()], prop_oneof![Just(0), 0u32..0x200, Just(u32::MAX), any::<u32>()]),
            0..5,
        ),
    ) {
        let fine = request.iter().all(|&(ty, value)| match ty {
            0 | 7 => true,
            1 => value != u32::MAX,
            2..=4 => value != 0 && value != u32::MAX,
            5 | 6 => value <= 0xff,
            _ => false,
        });
        let request: Vec<_> = request.into_iter().map(|(ty, value)| UapiAttr { ty, value }).collect();
        prop_assert_eq!(model::attr::check_set(&request).is_ok(), fine);
        for attr in request {
            prop_assert_eq!(attr.known().map(|ty: AttrType| ty as u32), Some(attr.ty).filter(|&ty| ty < 8));
        }
    }
}
