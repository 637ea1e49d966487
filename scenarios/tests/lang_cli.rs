//! The command as somebody at a shell meets it: what it says, what it keeps, which exit codes it ends with.

use scenarios::cli::{command, corpus, load_corpus};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of this test's own, empty at first.
fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    dir
}

fn svmlab(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svmlab"))
        .args(args)
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .output()
        .expect("the command runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}
fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}
fn code(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

/// A scenario that both designs answer, and that is quickly answered.
const SMALL: &str = "two-set-attrs";

#[test]
fn help_can_be_understood_by_somebody_new() {
    let mut pages = String::new();
    let mut svmlab = command().term_width(100);
    svmlab.build();
    pages += &format!("{}\n", svmlab.render_long_help());
    for sub in svmlab.get_subcommands_mut() {
        pages += &format!("\n==== {} ====\n\n{}\n", sub.get_name(), sub.clone().term_width(100).render_long_help());
    }
    // the end of a line of clap's is often blank
    let pages: Vec<&str> = pages.lines().map(str::trim_end).collect();
    let pages = pages.join("\n");
    insta::assert_snapshot!(pages);
}

#[test]
fn without_arguments_it_says_what_to_try_first_and_that_works() {
    let dir = folder("first");
    let output = svmlab(&dir, &[]);
    let text = out(&output);
    assert_eq!(code(&output), 0);
    let show = text.lines().find_map(|l| l.trim().strip_prefix("svmlab show ")).expect("something to show");
    let name = show.split_whitespace().next().expect("a name");
    assert!(text.contains(&format!("svmlab check {name}")), "{text}");
    assert_eq!(code(&svmlab(&dir, &["show", name])), 0);
}

#[test]
fn every_scenario_of_the_corpus_is_right_and_called_like_its_file() {
    let scenarios = load_corpus().unwrap_or_else(|bad| panic!("{}", bad.render(100, false)));
    let names: Vec<&str> = scenarios.iter().map(|s| s.name.as_str()).collect();
    let files: Vec<&str> =
        corpus().iter().map(|(path, _)| path.rsplit('/').next().unwrap_or(path).trim_end_matches(".kdl")).collect();
    assert!(!names.is_empty());
    // Where the folder says the suite, the name does.
    for (name, (file, (path, _))) in names.iter().zip(files.iter().zip(corpus())) {
        let suite = path.starts_with("peer/") && name.ends_with(&format!("-{file}"));
        assert!(suite || name == file, "{path} holds {name}");
    }
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), names.len(), "a name says which: {names:?}");
}

#[test]
fn every_scenario_of_the_corpus_survives_being_written_back() {
    for scenario in load_corpus().unwrap_or_else(|bad| panic!("{}", bad.render(100, false))) {
        let again = scenarios::lang::parse("again.kdl", &scenario.to_kdl());
        assert_eq!(again.unwrap_or_else(|bad| panic!("{}", bad.render(100, false))), scenario);
    }
}

#[test]
fn list_names_every_scenario_also_for_machines() {
    let dir = folder("list");
    let plain = out(&svmlab(&dir, &["list"]));
    let json: serde_json::Value = serde_json::from_str(&out(&svmlab(&dir, &["list", "--json"]))).expect("JSON");
    let listed: Vec<&str> =
        json["scenarios"].as_array().expect("a list").iter().filter_map(|s| s["name"].as_str()).collect();
    assert_eq!(listed.len(), corpus().len());
    for name in listed {
        assert!(plain.lines().any(|l| l.split_whitespace().next() == Some(name)), "{name}");
    }
}

#[test]
fn a_wrong_scenario_is_shown_in_place_and_ends_with_2() {
    let dir = folder("wrong");
    let text = "scenario \"wrong\" {\n    about \"?\"\n    region \"buf\" at=4096 sise=\"4K\"\n\
                \x20   thread \"t\" { exit; }\n}\n";
    std::fs::write(dir.join("wrong.kdl"), text).expect("written");
    for args in [&["check", "wrong.kdl"][..], &["show", "wrong.kdl"], &["check", "."]] {
        let output = svmlab(&dir, args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(err(&output).contains("wrong.kdl:3:"), "{}", err(&output));
        assert!(err(&output).contains("did you mean `size`?"), "{}", err(&output));
        assert_eq!(out(&output), "", "nothing is run when anything is wrong");
    }
}

#[test]
fn a_scenario_that_does_not_exist_ends_with_2_and_a_guess() {
    let dir = folder("missing");
    let misspelt = svmlab(&dir, &["check", "set-atr-vs-mprotect"]);
    assert_eq!((code(&misspelt), err(&misspelt).contains("did you mean `set-attr-vs-mprotect`?")), (2, true));
    let file = svmlab(&dir, &["check", "nowhere.kdl"]);
    assert_eq!((code(&file), err(&file)), (2, "error: nowhere.kdl: no such file\n".to_owned()));
    let empty = svmlab(&dir, &["check", "."]);
    assert_eq!((code(&empty), err(&empty)), (2, "error: .: no .kdl file in this folder\n".to_owned()));
    let design = svmlab(&dir, &["check", "--design", "hardend"]);
    assert_eq!((code(&design), err(&design).contains("'hardened'")), (2, true));
}

#[test]
fn two_scenarios_of_one_name_are_not_mixed_up() {
    let dir = folder("twice");
    let text = "scenario \"same\" { about \"?\"; thread \"t\" { exit; } }";
    for file in ["a.kdl", "b.kdl"] {
        std::fs::write(dir.join(file), text).expect("written");
    }
    let output = svmlab(&dir, &["check", "."]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("two scenarios are called same: ./a.kdl and ./b.kdl"), "{}", err(&output));
}

#[test]
fn expected_verdicts_end_with_0_and_the_same_violation_asked_for_with_1() {
    let dir = folder("codes");
    let all = svmlab(&dir, &["check", SMALL]);
    assert_eq!(code(&all), 0, "{}{}", out(&all), err(&all));
    assert!(out(&all).contains("holds in every interleaving"), "{}", out(&all));
    let poc = svmlab(&dir, &["check", SMALL, "--design", "poc-v1"]);
    assert_eq!(code(&poc), 1, "{}{}", out(&poc), err(&poc));
    let hardened = svmlab(&dir, &["check", SMALL, "--design", "hardened"]);
    assert_eq!(code(&hardened), 0, "{}{}", out(&hardened), err(&hardened));
}

#[test]
fn an_unexpected_verdict_ends_with_1() {
    let dir = folder("unexpected");
    let (_, text) = corpus().iter().find(|(path, _)| path.ends_with(&format!("{SMALL}.kdl"))).expect("in the corpus");
    let claims = text.replace("violates \"poc-v1\"", "violates \"poc-v1\" \"I12\" //");
    assert_ne!(&claims, text);
    std::fs::write(dir.join("claims.kdl"), claims).expect("written");
    let output = svmlab(&dir, &["check", "claims.kdl"]);
    assert_eq!(code(&output), 1, "{}{}", out(&output), err(&output));
    assert!(out(&output).contains("NO: violates I12"), "{}", out(&output));
}

#[test]
fn a_violation_is_saved_and_replays_as_the_same_story() {
    let dir = folder("replay");
    let check = svmlab(&dir, &["check", SMALL, "--design", "poc-v1"]);
    let trace = format!("traces/{SMALL}.poc-v1.trace");
    assert!(dir.join(&trace).exists());
    let replay = svmlab(&dir, &["replay", &trace]);
    assert_eq!(code(&replay), 0, "{}", err(&replay));
    let table = |text: &str| {
        let lines: Vec<String> = text.lines().skip_while(|l| !l.starts_with("─")).map(str::to_owned).collect();
        lines.into_iter().take_while(|l| !l.starts_with("replay with")).collect::<Vec<_>>()
    };
    assert!(table(&out(&check)).len() > 5);
    assert_eq!(table(&out(&replay)), table(&out(&check)), "the same events in the same order");
    assert_eq!(out(&svmlab(&dir, &["replay", &trace])), out(&replay), "any number of times");
}

#[test]
fn a_trace_that_is_none_ends_with_2() {
    let dir = folder("no-trace");
    std::fs::write(dir.join("x.trace"), "hello\n").expect("written");
    let output = svmlab(&dir, &["replay", "x.trace"]);
    assert_eq!(code(&output), 2);
    assert!(err(&output).starts_with("error: x.trace: "), "{}", err(&output));
    assert_eq!(code(&svmlab(&dir, &["replay", "nowhere.trace"])), 2);
}

#[test]
fn the_number_of_jobs_changes_no_byte_of_the_output() {
    let dir = folder("jobs");
    let names = [SMALL, "two-halves", "get-vs-set"];
    let run = |jobs| out(&svmlab(&dir, &[&["check", "--json", "--full", "--jobs", jobs], &names[..]].concat()));
    let one = run("1");
    let json: serde_json::Value = serde_json::from_str(&one).expect("JSON");
    assert!(json["results"].as_array().expect("a list").len() >= 3);
    assert_eq!(run("3"), one);
}

#[test]
fn the_self_test_says_the_same_on_any_number_of_threads() {
    let dir = folder("selftest");
    let run = |threads: &str, more: &[&str]| {
        let args = ["selftest", "engine", "--programs", "24", "--seed", "300", "--threads", threads];
        svmlab(&dir, &[&args, more].concat())
    };
    let (one, three) = (run("1", &[]), run("3", &[]));
    assert_eq!((code(&one), code(&three)), (0, 0), "{}", out(&one));
    assert_eq!(out(&one), out(&three));
    assert!(out(&one).contains("agree on 24 programs"), "{}", out(&one));
    let json: serde_json::Value =
        serde_json::from_str(&out(&run("2", &["--json", "--flavour", "locks"]))).expect("JSON");
    assert_eq!((&json["programs"], &json["difference"]), (&24.into(), &serde_json::Value::Null));
    assert_eq!(json["flavours"].as_array().map(Vec::len), Some(1));
    let wrong = run("1", &["--flavour", "lokcs"]);
    assert_eq!((code(&wrong), err(&wrong).contains("locks")), (2, true), "{}", err(&wrong));
}
