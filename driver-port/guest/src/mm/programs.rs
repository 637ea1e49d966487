//! Generated programs, and how one that shows a difference becomes small.

use super::compare::Referee;
use super::op::{ARENA, Advice, Ask, FILE_PAGES, FILES, Op, Program, Rights, Span, Step, What, Who};
use super::sim::SHARED;
use crate::suite::Checks;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::ops::Range;

/// Steps of a program, before those go that make no sense.
const STEPS: usize = 14;
/// Programs that are run to make one small.
const SHRINKS: usize = 300;
/// Differences after which a run ends.
const ENOUGH: usize = 5;

/// Where operations like to be: a few pages at the start of the arena, two blocks of 2 MiB as a whole, and parts of them.
fn span() -> impl Strategy<Value = Span> {
    let small = (0u64..8, 1u64..9).prop_map(|(first, count)| Span { first, count });
    let block = (1u64..4, 1u64..3).prop_map(|(block, count)| Span { first: block * 512, count: count * 512 });
    let part = (1u64..4, select(&[0u64, 1, 8, 256, 504, 511][..]), select(&[1u64, 8, 255, 256, 504, 512, 520][..]))
        .prop_map(|(block, first, count)| Span { first: block * 512 + first, count });
    prop_oneof![3 => small, 1 => block, 2 => part].prop_filter("in the arena", |span| span.end() <= ARENA)
}

fn page() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0u64..10,
        2 => (1u64..4, select(&[0u64, 1, 8, 255, 256, 504, 511][..])).prop_map(|(block, page)| block * 512 + page),
    ]
}

fn rights() -> impl Strategy<Value = Rights> {
    prop_oneof![6 => Just(Rights::Both), 2 => Just(Rights::Read), 1 => Just(Rights::None), 1 => Just(Rights::Write)]
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        6 => Just(What::Anon),
        1 => Just(What::Shared),
        1 => (0..FILES, 0u64..8).prop_map(|(file, at)| What::Private(file, at)),
        1 => (0..FILES, 0u64..8).prop_map(|(file, at)| What::File(file, at)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let advice = [Advice::Dontneed, Advice::Free, Advice::Cold, Advice::Pageout, Advice::Collapse];
    prop_oneof![
        5 => (span(), rights(), what()).prop_map(|(span, rights, what)| Op::Mmap(span, rights, what)),
        2 => span().prop_map(Op::Munmap),
        2 => (span(), 1u64..9, proptest::option::of(page()), any::<bool>()).prop_map(|(from, len, to, same)| {
            let len = if same { from.count } else { len };
            Op::Mremap(from, len, to, false)
        }),
        1 => (span(), page()).prop_map(|(from, to)| Op::Mremap(from, from.count, Some(to), true)),
        3 => (span(), rights()).prop_map(|(span, rights)| Op::Mprotect(span, rights)),
        4 => (span(), select(advice.to_vec())).prop_map(|(span, advice)| Op::Madvise(span, advice)),
        1 => span().prop_map(Op::Mlock),
        1 => span().prop_map(Op::Munlock),
        3 => page().prop_map(Op::Load),
        7 => (page(), 1u64..100).prop_map(|(page, value)| Op::Store(page, value)),
        2 => (span(), select(vec![Ask::Look, Ask::Read, Ask::Write])).prop_map(|(span, ask)| Op::Hmm(span, ask)),
        2 => Just(Op::Fork),
        1 => Just(Op::Exit),
        1 => span().prop_map(Op::Migrate),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = prop_oneof![3 => Just(Who::Parent), 1 => Just(Who::Child)];
    let step = (who, op()).prop_map(|(who, op)| Step { who, op });
    // Operations on nothing say little: most programs begin with memory where operations like to be.
    let mapped = |first, count| {
        let what = prop_oneof![5 => Just(What::Anon), 1 => what()];
        what.prop_map(move |what| Step { who: Who::Parent, op: Op::Mmap(Span { first, count }, Rights::Both, what) })
    };
    let start = proptest::collection::vec(prop_oneof![2 => mapped(0, 16), 1 => mapped(512, 1024)], 0..3);
    (start, proptest::collection::vec(step, 2..STEPS)).prop_map(|(mut all, steps)| {
        all.extend(steps);
        all
    })
}

/// The steps that make sense where they are, and that both sides can do.
fn fit(steps: Vec<Step>) -> Program {
    let (mut child, mut children, mut shared, mut files) = (false, 0, 0, false);
    let mut fits = |step: &Step| match (step.who, step.op) {
        (Who::Parent, Op::Fork) => {
            let fits = !child && children < 7;
            child |= fits;
            children += u32::from(fits);
            fits
        }
        (Who::Parent, Op::Exit) => std::mem::replace(&mut child, false),
        (Who::Child, Op::Fork | Op::Exit) => false,
        (Who::Child, _) if !child => false,
        (_, Op::Mmap(_, _, What::Shared)) => {
            files = true;
            shared += 1;
            shared <= SHARED
        }
        (_, Op::Mmap(span, _, What::File(_, at) | What::Private(_, at))) => {
            files = true;
            at + span.count <= FILE_PAGES
        }
        // The simulator's files stay where they are.
        (_, Op::Migrate(_) | Op::Madvise(_, Advice::Pageout | Advice::Collapse)) => !files,
        // Behind the end of the object there is a SIGBUS in the one, and no such mapping in the other.
        (_, Op::Mremap(from, len, to, _)) => {
            to.unwrap_or(0) + len <= ARENA && from.first + len <= ARENA && (shared == 0 || len <= from.count)
        }
        _ => true,
    };
    Program(steps.into_iter().filter(|step| fits(step)).collect())
}

/// The generator of a seed.
fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config { failure_persistence: None, ..Config::default() }, rng)
}

/// Programs of one check.
const CHECK: u64 = 250;

/// Checks `count` programs of a seed; `verbose` to name each on stderr, for a machine that dies.
pub(crate) fn run_all(checks: &mut Checks<'_>, referee: &Referee<'_>, count: u64, seed: u64, verbose: bool) {
    let mut runner = runner(seed);
    for first in (0..count).step_by(CHECK as usize) {
        let range = first..count.min(first + CHECK);
        let name = format!("generated programs {} to {} of seed {seed}", range.start, range.end - 1);
        checks.check(&name, || run(referee, &mut runner, range, verbose));
    }
}

/// Runs the programs of a range.
///
/// # Errors
/// The small programs on which the two sides differ.
fn run(referee: &Referee<'_>, runner: &mut TestRunner, range: Range<u64>, verbose: bool) -> Result<String, String> {
    let (mut found, mut steps_done) = (Vec::new(), 0);
    for number in range.clone() {
        let mut tree = steps().new_tree(runner).map_err(|reason| reason.to_string())?;
        let program = fit(tree.current());
        steps_done += program.0.len();
        if verbose {
            eprintln!("mm: program {number}: {program}");
        }
        if let Some(how) = referee.program(&program)? {
            let (_, how) = shrink(referee, &mut tree, (program, how))?;
            found.push(format!("program {number}: {how}"));
            if found.len() == ENOUGH {
                found.push(format!("{} programs were not run", range.end - number - 1));
                break;
            }
        }
    }
    if found.is_empty() { Ok(format!("{steps_done} steps")) } else { Err(found.join("\n")) }
}

/// Looks for a program that shows the fault which is planted in the simulator; what it is when it is small.
///
/// # Errors
/// None was found in many, or it did not become small: the suite does not see what it should.
pub(crate) fn find_plant(referee: &Referee<'_>) -> Result<String, String> {
    const MANY: u64 = 300;
    const SMALL: usize = 4;
    let mut runner = runner(1);
    for number in 0..MANY {
        let mut tree = steps().new_tree(&mut runner).map_err(|reason| reason.to_string())?;
        let program = fit(tree.current());
        if let Some(how) = referee.program(&program)? {
            let (small, how) = shrink(referee, &mut tree, (program, how))?;
            return match small.0.len() {
                0..=SMALL => Ok(format!("program {number} became `{small}`")),
                more => Err(format!("program {number} still has {more} steps: {how}")),
            };
        }
    }
    Err(format!("{MANY} programs do not show it"))
}

/// The smallest program found that still differs, and how.
fn shrink(
    referee: &Referee<'_>,
    tree: &mut impl ValueTree<Value = Vec<Step>>,
    first: (Program, String),
) -> Result<(Program, String), String> {
    let mut small = first;
    let mut more = tree.simplify();
    for _ in 0..SHRINKS {
        if !more {
            break;
        }
        let program = fit(tree.current());
        let differs = match program == small.0 {
            // Only steps went that were not run.
            true => Some(small.1.clone()),
            false => referee.program(&program)?,
        };
        more = match differs {
            Some(how) => {
                small = (program, how);
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    Ok(small)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_a_seed_are_the_same_every_time_and_can_be_read_back() {
        let all = |seed| -> Vec<Program> {
            let mut runner = runner(seed);
            (0..50)
                .map(|_| fit(steps().new_tree(&mut runner).expect("nothing is filtered for long").current()))
                .collect()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
        for program in all(7) {
            assert_eq!(program.to_string().parse(), Ok(program));
        }
    }

    #[test]
    fn the_simulator_runs_every_program_to_its_end() {
        let mut runner = runner(2);
        for _ in 0..300 {
            let program = fit(steps().new_tree(&mut runner).expect("nothing is filtered for long").current());
            let seen = crate::mm::sim::run(&program, None).unwrap_or_else(|error| panic!("{error}: `{program}`"));
            assert!(seen.len() > program.0.len(), "`{program}`");
        }
    }

    #[test]
    fn no_step_is_by_a_child_that_is_not_there() {
        let program =
            fit("child: load 1; exit; fork; fork; child: load 2; exit; child: load 3".parse::<Program>().unwrap().0);
        assert_eq!(program.to_string(), "fork; child: load 2; exit");
    }
}
