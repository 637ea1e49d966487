//! Suite `platform`: the module's self-tests, which try each primitive that the driver stands on in the kernel it runs on.
//! They are in `driver-port/src/selftest`; here they are asked for, one by one.

use crate::suite::{Args, Checks, Suite};
use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::process::{Command, ExitCode};

pub(crate) const SUITE: Suite =
    Suite { name: "platform", about: "locks, memory, work items, notifiers and hmm as the driver uses them", run };

const TESTS: &str = "/sys/kernel/debug/svmlab/selftest";
const PLANTS: &str = "/sys/kernel/debug/svmlab/plant";

/// A test whose name begins so is run by a process of its own, which ends before the next one begins.
const IN_A_CHILD: &str = "in a child: ";
/// What that process is started with, before the name of the test.
pub(crate) const CHILD: &str = "--selftest";

fn run(checks: &mut Checks<'_>, args: &Args) {
    // A bug on purpose, and nothing else: whether anybody saw it stands in the kernel's log, and the host looks there.
    if let Some(plant) = args.get("bug") {
        let known = names(checks, PLANTS);
        checks.check(&format!("planted: {plant}"), || match known.iter().any(|name| name == plant) {
            true => ask(PLANTS, plant),
            false => Err(format!("there are {}", known.join(", "))),
        });
        return;
    }
    for name in names(checks, TESTS) {
        checks.check(&name, || if name.starts_with(IN_A_CHILD) { in_a_child(&name) } else { ask(TESTS, &name) });
    }
}

/// What there is to be run; having none is a failure.
fn names(checks: &mut Checks<'_>, file: &str) -> Vec<String> {
    let list = fs::read_to_string(format!("{file}s")).map_err(|error| error.to_string());
    let names: Vec<String> = list.iter().flat_map(|list| list.lines()).map(ToOwned::to_owned).collect();
    if names.is_empty() {
        checks.check("the module has self-tests", || Err::<(), _>(list.err().unwrap_or_default()));
    }
    names
}

/// Has the module run one: what is read back says what was wrong.
fn ask(file: &str, name: &str) -> Result<(), String> {
    let said = |error: std::io::Error| error.to_string();
    let mut file = OpenOptions::new().read(true).write(true).open(file).map_err(said)?;
    file.write_all(name.as_bytes()).map_err(said)?;
    let mut wrong = String::new();
    file.read_to_string(&mut wrong).map_err(said)?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn in_a_child(name: &str) -> Result<(), String> {
    let child = Command::new("/proc/self/exe").args([CHILD, name]).output().map_err(|error| error.to_string())?;
    let wrong = String::from_utf8_lossy(&child.stdout);
    match (child.status.success(), wrong.trim()) {
        (true, "") => Ok(()),
        (_, wrong) => Err(format!("{}: {wrong}", child.status)),
    }
}

/// The process that [`in_a_child`] starts.
pub(crate) fn child(name: &str) -> ExitCode {
    match ask(TESTS, name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            println!("{wrong}");
            ExitCode::FAILURE
        }
    }
}
