//! Random programs of attribute calls, changes of the address space and accesses of the CPU and the GPU, in simulator and
//! kernel; what differs is made smaller until nothing can be left out.
//!
//! Arguments: `programs`, the `seed` of the first (the others follow), and the `length` of the longest.

mod program;

pub(crate) use program::Dice;

use crate::driver::{Framework, differ, on_both_cpus, prepare};
use crate::suite::{Args, Checks, Suite};
use program::Program;
use scenarios::conform::{Difference, program_order};

/// The suite.
pub(crate) const SUITE: Suite = Suite { name: "fuzz", about: "random programs in simulator and kernel", run };

fn run(checks: &mut Checks<'_>, args: &Args) {
    let (programs, length) = (args.number("programs", 30), args.number("length", 14));
    let seed = args.number("seed", 1);
    if !checks.check("the machine is prepared", prepare) {
        return;
    }
    for framework in Framework::ALL {
        checks.check(&format!("{programs} programs from seed {seed} come to the same on {framework}"), || {
            let made = on_both_cpus(programs as usize, |number| one(seed + number as u64, length, framework))?;
            made.into_iter().collect::<Result<(), String>>()
        });
    }
}

fn compared(program: &Program, framework: Framework) -> Result<Option<Difference>, String> {
    let scenario = program.scenario();
    let steps = program_order(&scenario).map_err(|error| error.to_string())?;
    differ(&scenario, &steps, program.design, framework, false)
}

/// Whether it shows something.
fn fails(program: &Program, framework: Framework) -> bool {
    !matches!(compared(program, framework), Ok(None))
}

fn one(seed: u64, length: u64, framework: Framework) -> Result<(), String> {
    let program = Program::generate(seed, length);
    if !fails(&program, framework) {
        return Ok(());
    }
    let small = shrink(program, |program| fails(program, framework));
    let how = match compared(&small, framework) {
        Ok(Some(difference)) => difference.in_words(&small.scenario(), ["simulator", "kernel"]),
        Ok(None) => "it does not show again".into(),
        Err(error) => error,
    };
    Err(format!("seed {seed}, {}:\n{}\n{how}", small.design, small.scenario().to_kdl()))
}

/// Leaves out operation after operation as long as the rest still shows it; the last first, on which none depends.
fn shrink(mut program: Program, fails: impl Fn(&Program) -> bool) -> Program {
    let mut index = program.ops.len();
    let mut left_out = false;
    loop {
        if index == 0 {
            if !left_out {
                return program;
            }
            (index, left_out) = (program.ops.len(), false);
        }
        index -= 1;
        if program.ops.len() > 1 {
            let less = program.without(index);
            if fails(&less) {
                (program, left_out) = (less, true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scenarios::conform::{compare, simulate};
    use scenarios::lang::OpKind;

    #[test]
    fn programs_run_in_the_simulator_and_are_the_same_every_time() {
        for seed in 1..200 {
            let program = Program::generate(seed, 14);
            assert!(program.ops == Program::generate(seed, 14).ops);
            let scenario = program.scenario();
            let steps = program_order(&scenario).expect("one thread");
            let run = simulate(&scenario, program.design, &steps);
            assert!(run.fell.is_some() || run.turns.len() == program.ops.len());
            assert!(run.fell.is_some() || compare(&run, &run.clone()).is_none());
        }
    }

    #[test]
    fn what_is_left_after_shrinking_is_needed() {
        let is_write = |op: &OpKind| matches!(op, OpKind::Write { .. });
        let program =
            (1..).map(|seed| Program::generate(seed, 40)).find(|p| p.ops.iter().filter(|op| is_write(op)).count() > 2);
        let two = |p: &Program| p.ops.iter().filter(|op| is_write(op)).count() >= 2;
        let small = shrink(program.expect("some program writes"), two);
        assert!(small.ops.len() == 2 && small.ops.iter().all(is_write));
    }
}
