//! `svmlab replay --kernel` as somebody at a shell meets it when it cannot go on: one line that says why, before a minute is
//! spent on a virtual machine. What it does when it can is shown in docs/races.md, with real output.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("replay-kernel-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    dir
}

fn svmlab(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svmlab"));
    command.args(args).current_dir(dir).env_remove("RUST_LOG");
    command
}

/// What falls in it falls without any interleaving.
const RACE: &str = r#"scenario "race" {
    about "Do the page-table entries agree with the attributes that won?"
    gpu xnack=#false
    region "buf" at=0x200000 size="8K" populate=#true
    prepare { set-attr "buf" access="enable" }
    thread "a" { set-attr "buf" gpu-ro=#true }
    thread "b" { set-attr "buf" gpu-ro=#false gpu-exec=#true }
    expect { violates "poc-v1" "I2"; }
}
"#;

/// A counterexample of [`RACE`] with these changes: the trace file that `check` with these arguments writes.
fn trace(dir: &Path, changes: &[(&str, &str)], check: &[&str]) -> String {
    let text = changes.iter().fold(RACE.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    std::fs::write(dir.join("race.kdl"), text).expect("written");
    let checked = svmlab(dir, &[&["check", "race.kdl"], check].concat()).output().expect("the command runs");
    let mut traces = std::fs::read_dir(dir.join("traces")).into_iter().flatten();
    let file = traces.next().unwrap_or_else(|| panic!("{checked:?}")).expect("a file");
    format!("traces/{}", file.file_name().to_string_lossy())
}

/// The exit code, and the one line on stderr; there is nothing else.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!((String::from_utf8_lossy(&stdout).as_ref(), text.lines().count()), ("", 1), "{text}");
    (status.code(), text)
}

/// A name, what is different from [`RACE`], how it is checked, and why a kernel cannot take it.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a str);

#[test]
fn what_the_module_cannot_do_is_said_before_anything_is_built() {
    let (gpu, thread, poc) = ("gpu xnack=#false", "thread \"a\" {", &["--design", "poc-v1"]);
    let cases: &[Case<'_>] = &[
        ("vram", &[(gpu, "gpu xnack=#false vram=\"4K\"")], poc, "the scenario's GPU has memory of its own"),
        (
            "gpus",
            &[(gpu, "gpu \"x\" xnack=#false\n gpu \"y\" xnack=#false"), ("attr \"buf\"", "attr \"buf\" gpu=\"x\"")],
            poc,
            "the scenario has 2 GPUs",
        ),
        (
            "mremap",
            &[(thread, "thread \"c\" { mremap \"buf\" new-size=\"4K\"; }\n thread \"a\" {")],
            poc,
            "not staged in a kernel: mremap",
        ),
        ("plant", &[], &["--design", "poc-v1", "--plant", "skip-read-retry"], "skip-read-retry is a planted bug"),
        (
            "kfd",
            &[(thread, "thread \"c\" { mprotect \"buf\" size=\"4K\" prot=\"none\"; }\n thread \"a\" {")],
            &["--design", "kfd"],
            "kfd is not in",
        ),
    ];
    for (name, changes, check, why) in cases {
        let dir = folder(name);
        let trace = trace(&dir, changes, check);
        let (code, error) = refused(svmlab(&dir, &["replay", "--kernel", &trace]));
        assert_eq!(code, Some(2), "{error}");
        assert!(error.starts_with(&format!("error: {trace}: ")) && error.contains(why), "{name}: {error}");
    }
}

#[test]
fn what_does_not_replay_here_does_not_go_there() {
    let dir = folder("damaged");
    let file = trace(&dir, &[], &["--design", "poc-v1"]);
    let text = std::fs::read_to_string(dir.join(&file)).expect("a trace");
    std::fs::write(dir.join("cut.trace"), &text[..text.len() - 20]).expect("written");
    for (what, why) in [
        ("cut.trace", "error: cut.trace: "),
        ("nowhere.trace", "error: nowhere.trace: no such file"),
        ("two-set-attrs:1AAAA", "error: the token is damaged"),
    ] {
        let (code, error) = refused(svmlab(&dir, &["replay", "--kernel", what]));
        assert_eq!(code, Some(2), "{error}");
        assert!(error.starts_with(why), "{error}");
    }
}

#[test]
fn without_qemu_one_line_says_what_to_install() {
    let dir = folder("no-qemu");
    let trace = trace(&dir, &[], &["--design", "poc-v1"]);
    // What the script needs to come that far, and no more.
    let path = dir.join("bin");
    std::fs::create_dir(&path).expect("created");
    let all = std::env::var_os("PATH").expect("a PATH");
    for tool in ["bash", "env", "dirname", "basename"] {
        let found = std::env::split_paths(&all)
            .map(|folder| folder.join(tool))
            .find(|file| file.exists())
            .unwrap_or_else(|| panic!("there is no {tool}"));
        std::os::unix::fs::symlink(found, path.join(tool)).expect("linked");
    }
    let mut command = svmlab(&dir, &["replay", "--kernel", &trace]);
    command.env("PATH", &path);
    let (code, error) = refused(command);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("qemu-system-x86_64 is missing") && error.contains("apt-get install"), "{error}");
}
