//! The mm's conformance: the same program of operations in sim-mm and in the kernel that runs, step by step.

mod compare;
#[expect(unsafe_code, reason = "system calls that std and rustix do not have, on memory where no Rust object lives")]
mod kernel;
mod op;
mod programs;
mod rows;
mod seen;
mod sim;
#[expect(unsafe_code, reason = "as in kernel")]
mod sys;

use crate::driver;
use crate::suite::{Args, Checks, Suite};
use compare::Referee;
use kernel::Kernel;
use sim_mm::Fault;

/// The suite.
pub(crate) const SUITE: Suite = Suite { name: "mm", about: "the simulated mm against the kernel's", run };

fn run(checks: &mut Checks<'_>, args: &Args) {
    if !checks.check("the machine is prepared", driver::prepare) {
        return;
    }
    let kernel = match Kernel::new() {
        Ok(kernel) => kernel,
        Err(error) => {
            checks.check("/dev/svmlab_mm opens", || Err::<(), _>(error));
            return;
        }
    };
    let plant = args.get("plant").map(|name| {
        Fault::ALL.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("there is no plant {name}")).1
    });
    let referee = Referee { kernel: &kernel, plant };
    if let Some(texts) = args.get("program") {
        for text in texts.split('|') {
            checks.check(&format!("the program {text}"), || referee.given(text));
        }
        return;
    }
    let table = args.get("table").is_some();
    rows::run(checks, &referee, table);
    for (name, plant) in Fault::ALL {
        let planted = Referee { kernel: &kernel, plant: Some(plant) };
        checks.check(&format!("a fault planted in the simulator is found: {name}"), || programs::find_plant(&planted));
    }
    let (count, seed) = (args.number("programs", 100), args.number("seed", 1));
    let verbose = args.get("verbose").is_some();
    programs::run_all(checks, &referee, count, seed, verbose);
}
