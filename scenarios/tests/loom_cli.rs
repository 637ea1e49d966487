//! `svmlab check --engine loom` as somebody at a shell meets it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svmlab"));
    command.args(["check", "--engine", "loom"]).args(args).current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.env_remove("COLUMNS").env_remove("RUST_LOG");
    command
}

fn run(args: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command(args).output().expect("the command runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("it ended by itself"), text(stdout), text(stderr))
}

#[test]
fn both_verdicts_are_told_beside_each_other_and_found_violations_are_no_failure() {
    let (code, out, err) = run(&["two-set-attrs", "two-halves"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(out.lines().filter(|line| line.ends_with("  yes")).count(), 4, "{out}");
    assert!(out.contains("violates I2") && out.contains("holds in every interleaving"), "{out}");
    assert!(out.contains("agree on 4 of 4 questions") && out.contains("leaves no trace to replay"), "{out}");
}

#[test]
fn machines_get_the_same() {
    let (code, out, _) = run(&["two-set-attrs", "--json", "--design", "poc-v1"]);
    let json: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    let result = &json["results"][0];
    assert_eq!((code, &result["agree"]), (0, &true.into()), "{out}");
    assert_eq!((&result["loom"]["verdict"], &result["own"]["verdict"]), (&"violates".into(), &"violates".into()));
    assert_eq!((&result["loom"]["work_items"], &result["loom"]["worker_threads"]), (&2.into(), &2.into()));
    assert!(result["loom"]["message"].as_str().expect("a message").starts_with("I2: "));
}

#[test]
fn too_small_a_budget_is_no_verdict() {
    let (code, out, _) = run(&["set-attr-vs-mprotect", "--design", "hardened", "--executions", "8"]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("unfinished") && out.contains("agree on 0 of 1 question"), "{out}");
}

#[test]
fn what_loom_does_not_have_is_refused() {
    for (args, word) in [(&["--strategy", "pct"][..], "--strategy"), (&["--full"], "--full")] {
        let (code, out, err) = run(args);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.starts_with("error: ") && err.contains(word) && err.lines().count() == 1, "{err}");
    }
    assert_eq!(run(&["--preemptions", "256"]).0, 2);
}

#[test]
fn ctrl_c_keeps_what_was_found() {
    let mut svmlab = command(&["two-halves", "set-attr-vs-mprotect", "--design", "poc-v1", "-v", "--jobs", "1"])
        .args(["--executions", "1000000000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("svmlab starts");
    let mut err = BufReader::new(svmlab.stderr.take().expect("a pipe"));
    // The second scenario is begun when the first is done, and does not end.
    for name in ["two-halves", "set-attr-vs-mprotect"] {
        let mut line = String::new();
        err.read_line(&mut line).expect("a line");
        assert!(line.contains(name), "{line}");
    }
    assert!(Command::new("kill").arg("-INT").arg(svmlab.id().to_string()).status().expect("kill runs").success());
    let mut out = String::new();
    svmlab.stdout.take().expect("a pipe").read_to_string(&mut out).expect("the output");
    assert_eq!(svmlab.wait().expect("svmlab ends").code(), Some(130), "{out}");
    assert!(out.contains("violates I2") && out.contains("interrupted"), "{out}");
}

#[test]
fn the_page_about_loom_shows_what_is_printed() {
    let page = include_str!("../../docs/loom.md");
    let (_, block) = page.split_once("```text\n$ svmlab check --engine loom ").expect("a block of output");
    let (names, told) = block.split_once('\n').expect("the command's line");
    let (told, _) = told.split_once("```").expect("its end");
    let (_, out, _) = run(&names.split_whitespace().collect::<Vec<_>>());
    // How many executions it takes may change; what is said may not.
    let words = |text: &str| -> Vec<Vec<String>> {
        let rows = text.lines().take_while(|line| !line.is_empty());
        rows.map(|row| row.split("  ").map(str::trim).filter(|c| !c.is_empty()).map(str::to_owned).collect())
            .map(|row: Vec<String>| row.into_iter().filter(|c| !c.starts_with(|c: char| c.is_ascii_digit())).collect())
            .collect()
    };
    assert_eq!(words(told), words(&out));
    assert!(words(told).len() > 6, "the whole table");
}
