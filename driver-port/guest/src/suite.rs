//! How a suite is written: a function that makes named checks, one after the other.
//!
//! ```ignore
//! pub(crate) const SUITE: Suite = Suite { name: "mm", about: "the mm's events", run };
//!
//! fn run(checks: &mut Checks, args: &Args) {
//!     let programs = args.number("programs", 500);
//!     checks.check("munmap sends UNMAP", || compare(Op::Munmap));
//! }
//! ```
//!
//! A check is a closure that returns a `Result`: `Ok(())` or `Ok` of a remark that is printed beside its name, `Err` of
//! anything that can be displayed, several lines if need be. A panic in it is a failure of the check, not of the suite.

use crate::report::Report;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// A suite: what it is called on the command line, what it is about, and what it does.
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) run: fn(&mut Checks<'_>, &Args),
}

impl Suite {
    /// Runs it and tells `report`.
    pub(crate) fn run(&self, report: &mut Report, args: &Args) {
        report.suite(self.name, self.about);
        let start = Instant::now();
        let mut checks = Checks { report, passed: 0, failed: 0 };
        let died = catch_unwind(AssertUnwindSafe(|| (self.run)(&mut checks, args)));
        if let Err(panic) = died {
            checks.check("the suite comes to its end", || Err::<(), _>(panic_message(&*panic)));
        }
        if checks.passed + checks.failed == 0 {
            checks.check("the suite checks something", || Err::<(), _>("not one check was made"));
        }
        let (passed, failed) = (checks.passed, checks.failed);
        report.result(self.name, passed, failed, start.elapsed());
    }
}

/// Where a suite leaves its checks.
pub(crate) struct Checks<'a> {
    report: &'a mut Report,
    passed: u32,
    failed: u32,
}

impl Checks<'_> {
    /// Says a line that is no check.
    pub(crate) fn say(&mut self, text: &str) {
        self.report.say(text);
    }

    /// Makes one check. Returns whether it held, for what makes no sense otherwise.
    pub(crate) fn check<R: Remark, E: Display>(&mut self, name: &str, check: impl FnOnce() -> Result<R, E>) -> bool {
        self.report.start(name);
        let start = Instant::now();
        let outcome = match catch_unwind(AssertUnwindSafe(check)) {
            Ok(Ok(remark)) => Ok(remark.text()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic_message(&*panic)),
        };
        self.report.check(name, start.elapsed(), &outcome);
        *if outcome.is_ok() { &mut self.passed } else { &mut self.failed } += 1;
        outcome.is_ok()
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.as_deref().unwrap_or("with something that is no text"))
}

/// What a check that held has to say.
pub(crate) trait Remark {
    /// One line; empty for nothing.
    fn text(self) -> String;
}

impl Remark for () {
    fn text(self) -> String {
        String::new()
    }
}

impl Remark for String {
    fn text(self) -> String {
        self
    }
}

/// What stands on the kernel command line for the suites, as `key=value`.
#[derive(Default)]
pub(crate) struct Args {
    values: BTreeMap<String, String>,
    asked: RefCell<BTreeSet<String>>,
}

impl Args {
    /// Splits the words of the command line: `key=value` is an argument, anything else the name of a suite.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> (Vec<String>, Args) {
        let (mut names, mut args) = (Vec::new(), Args::default());
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => drop(args.values.insert(key.to_owned(), value.to_owned())),
                None => names.push(word),
            }
        }
        (names, args)
    }

    /// The value of `key`, if it was given.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.asked.borrow_mut().insert(key.to_owned());
        self.values.get(key).map(String::as_str)
    }

    /// The number given as `key`, or `default`.
    ///
    /// # Panics
    /// When it is not a number: the suite fails with that.
    #[allow(dead_code)] // for the suites that count
    pub(crate) fn number(&self, key: &str, default: u64) -> u64 {
        self.get(key).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{key}={text} is not a number")))
    }

    /// What was given and no suite asked for: most likely misspelt.
    pub(crate) fn unknown(&self) -> Vec<String> {
        self.values.keys().filter(|key| !self.asked.borrow().contains(*key)).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    /// What a suite reports.
    fn text(run: fn(&mut Checks<'_>, &Args)) -> String {
        #[derive(Clone, Default)]
        struct Kept(Rc<RefCell<Vec<u8>>>);
        impl std::io::Write for Kept {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.borrow_mut().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let kept = Kept::default();
        Suite { name: "self", about: "the harness", run }.run(&mut Report::to(kept.clone()), &Args::default());
        String::from_utf8(kept.0.take()).expect("a report is text")
    }

    #[test]
    fn words_are_suites_or_arguments() {
        let words = ["mm", "programs=40", "driver", "seed=x=y"];
        let (names, args) = Args::parse(words.iter().map(ToString::to_string));
        assert_eq!(names, ["mm", "driver"]);
        assert_eq!(args.number("programs", 1), 40);
        assert_eq!(args.number("rounds", 7), 7);
        assert_eq!(args.unknown(), ["seed"]);
        assert_eq!(args.get("seed"), Some("x=y"));
        assert!(args.unknown().is_empty());
    }

    #[test]
    fn a_failure_and_a_panic_are_counted_and_the_suite_goes_on() {
        let text = text(|checks, _| {
            assert!(checks.check("holds", || Ok::<_, String>("with a remark".to_owned())));
            assert!(!checks.check("fails", || Err::<(), _>("no\nnot at all")));
            assert!(!checks.check("panics", || -> Result<(), String> { panic!("oh {}", 1) }));
        });
        assert!(text.contains("holds: with a remark"), "{text}");
        assert!(text.contains("       | not at all\n"), "{text}");
        assert!(text.contains("panicked: oh 1"), "{text}");
        assert!(text.contains("@result self 1 2 "), "{text}");
    }

    #[test]
    fn a_suite_that_panics_has_failed() {
        assert!(text(|_, _| panic!("early")).contains("@result self 0 1 "));
    }

    #[test]
    fn a_suite_without_a_check_has_failed() {
        assert!(text(|_, _| ()).contains("@result self 0 1 "));
    }
}
