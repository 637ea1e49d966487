//! Suite `hmm`, on demand: the kernel's own hmm selftests (`tools/testing/selftests/mm/hmm-tests.c`), as a check of the
//! machine that all other suites run on. `vm/hmm-selftests` puts the program there, and the module that it drives.

use crate::suite::{Args, Checks, Suite};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub(crate) const SUITE: Suite = Suite { name: "hmm", about: "the kernel's own hmm selftests", run };

const PROGRAM: &str = "/hmm-tests";

/// A benchmark, which takes minutes under an emulator.
const LEFT_OUT: &str = "benchmark_thp_migration";

/// How many have to pass for the run to count; the others are skipped for want of device-coherent memory.
const MOST: usize = 30;

fn run(checks: &mut Checks<'_>, _: &Args) {
    // Some of the tests are of huge pages.
    checks.check("huge pages are set aside", || fs::write("/proc/sys/vm/nr_hugepages", "64"));
    let child = Command::new(PROGRAM).args(["-T", LEFT_OUT]).current_dir("/tmp").stdout(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            checks.check("the selftests start", || Err::<(), _>(error));
            return;
        }
    };
    let (mut passed, mut said) = (0, Vec::new());
    for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()).map_while(Result::ok) {
        match result(&line) {
            Some((name, Ok(remark))) => {
                passed += usize::from(remark.is_empty());
                checks.check(name, || Ok::<_, String>(remark));
            }
            Some((name, Err(()))) => {
                checks.check(name, || Err::<(), _>(said.join("\n")));
            }
            None => {
                said.push(line);
                continue;
            }
        }
        said.clear();
    }
    checks.check("most of them passed, and the program is content", || match child.wait() {
        Ok(status) if status.success() && passed >= MOST => Ok(format!("{passed} passed")),
        Ok(status) => Err(format!("{passed} passed; {status}")),
        Err(error) => Err(error.to_string()),
    });
}

/// What a line of the TAP report says of a test: passed, skipped with a reason, or failed.
fn result(line: &str) -> Option<(&str, Result<String, ()>)> {
    let (ok, rest) = match line.strip_prefix("not ") {
        Some(rest) => (false, rest),
        None => (true, line),
    };
    let (_, rest) = rest.strip_prefix("ok ")?.split_once(' ')?;
    let (name, skipped) = match rest.split_once('#') {
        Some((name, remark)) => (name, remark.trim().strip_prefix("SKIP")),
        None => (rest, None),
    };
    let remark = skipped.map(|why| format!("skipped: {}", why.trim())).unwrap_or_default();
    Some((name.trim(), if ok { Ok(remark) } else { Err(()) }))
}

#[cfg(test)]
mod tests {
    use super::result;

    #[test]
    fn tap_lines_are_told_apart() {
        assert_eq!(
            result("ok 3 hmm.hmm_device_private.anon_read"),
            Some(("hmm.hmm_device_private.anon_read", Ok(String::new())))
        );
        assert_eq!(
            result("ok 4 hmm.a # SKIP no DEVICE_COHERENT"),
            Some(("hmm.a", Ok("skipped: no DEVICE_COHERENT".into())))
        );
        assert_eq!(result("not ok 5 hmm.b"), Some(("hmm.b", Err(()))));
        assert_eq!(result("# hmm-tests.c:80:b:Expected 1 == 2"), None);
        assert_eq!(result("1..74"), None);
    }
}
