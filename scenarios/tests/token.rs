//! A token replays what was found, or says in one line why it does not.

use interleave::lab::Invariant;
use scenarios::cli::{corpus, load_corpus};
use scenarios::lang::{Design, Scenario};
use scenarios::run::{CheckOptions, CheckVerdict, check_scenario};
use scenarios::token::{Token, TokenError, looks_like_token};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Characters that go into a mail without being broken.
const SHORT: usize = 64;

fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a temporary folder");
    dir
}

fn svmlab(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svmlab"));
    command.args(args).current_dir(dir).env_remove("RUST_LOG").output().expect("the command runs")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// What `svmlab check` prints after "by token: svmlab replay".
fn token_line(output: &Output) -> Vec<String> {
    let text = out(output);
    let line = text.lines().find_map(|l| l.trim().strip_prefix("by token: svmlab replay ")).expect("a token");
    line.split(' ').map(str::to_owned).collect()
}

fn table(output: &Output) -> Vec<String> {
    let text = out(output);
    let lines = text.lines().skip_while(|l| !l.starts_with('─')).take_while(|l| !l.starts_with("replay with"));
    lines.map(str::to_owned).collect()
}

fn found(scenario: &Scenario) -> Option<Token> {
    let never = Arc::new(AtomicBool::new(false));
    match check_scenario(scenario, Design::PocV1, &CheckOptions::default(), &never, None).verdict {
        CheckVerdict::Violated(finding) => Some(finding.token),
        _ => None,
    }
}

#[test]
fn every_race_of_the_corpus_fits_into_a_mail_and_replays_from_it() {
    let mut tokens = 0;
    for scenario in load_corpus().expect("the corpus parses") {
        // what holds has no token, and is explored elsewhere
        if !scenario.verdict(Design::PocV1).is_some_and(|v| v.answer != scenarios::lang::Answer::Holds) {
            continue;
        }
        let token = found(&scenario).expect("the corpus says that something falls");
        let text = token.to_text();
        let replayed = Token::parse(&text).and_then(|t| t.replay(&scenario)).unwrap_or_else(|e| panic!("{text}: {e}"));
        let violation = replayed.timeline.violation.expect("what fell falls again");
        // Livelocks are long whatever is done; what is to fit, beside its name, is a race.
        let short = violation.invariant == Invariant::I6 || text.len() - scenario.name.len() <= SHORT;
        assert!(short && looks_like_token(&text), "{text}: {} characters", text.len());
        assert_eq!(replayed.design, Design::PocV1);
        tokens += 1;
    }
    assert!(tokens >= 8);
}

#[test]
fn a_token_tells_the_story_that_was_found() {
    let dir = folder("token");
    let check = svmlab(&dir, &["check", "two-set-attrs", "--design", "poc-v1"]);
    let token = token_line(&check);
    assert_eq!(token.len(), 1, "the corpus needs no file: {token:?}");
    let replay = svmlab(&dir, &["replay", &token[0]]);
    assert_eq!(replay.status.code(), Some(0), "{replay:?}");
    assert!(table(&check).len() > 5);
    assert_eq!(table(&replay), table(&check));
}

#[test]
fn a_schedule_that_is_not_the_recorded_one_is_noticed() {
    let scenario = load_corpus().expect("parses").into_iter().find(|s| s.name == "two-set-attrs").expect("there");
    let token = found(&scenario).expect("something falls");
    let mut shorter = token.clone();
    shorter.schedule.choices.pop();
    let mut other = token.clone();
    other.schedule.choices.reverse();
    let mut with_values = token;
    with_values.schedule.values = vec![1];
    for changed in [shorter, other, with_values] {
        assert!(matches!(changed.replay(&scenario), Err(TokenError::Differs(_))), "{}", changed.to_text());
    }
}

#[test]
fn what_is_wrong_with_a_token_is_said_in_one_line() {
    let dir = folder("token-errors");
    let (_, text) = corpus().iter().find(|(path, _)| path.ends_with("two-set-attrs.kdl")).expect("in the corpus");
    let mine = text.replace("two-set-attrs", "my-own");
    std::fs::write(dir.join("mine.kdl"), &mine).expect("written");
    std::fs::write(dir.join("changed.kdl"), mine.replace("4K", "8K")).expect("written");
    let check = svmlab(&dir, &["check", "mine.kdl", "--design", "poc-v1"]);
    let token = token_line(&check);
    assert_eq!(token[1..], ["--scenario", "mine.kdl"]);
    let token = token[0].as_str();
    let replay = svmlab(&dir, &["replay", token, "--scenario", "mine.kdl"]);
    assert_eq!((replay.status.code(), table(&replay)), (Some(0), table(&check)));

    let damaged = format!("{}A", &token[..token.len() - 1]);
    let damaged = if damaged == token { format!("{}B", &token[..token.len() - 1]) } else { damaged };
    let version = token.replacen(":1", ":2", 1);
    let trace = "traces/my-own.poc-v1.trace";
    let mut told = String::new();
    for (claim, args) in [
        ("the scenario is not in the corpus", &["replay", token][..]),
        ("its text has changed", &["replay", token, "--scenario", "changed.kdl"]),
        ("another scenario", &["replay", token, "--scenario", "two-holes"]),
        ("a file that is not there", &["replay", token, "--scenario", "nowhere.kdl"]),
        ("several scenarios", &["replay", token, "--scenario", ".."]),
        ("a character changed", &["replay", &damaged, "--scenario", "mine.kdl"]),
        ("half of it", &["replay", &token[..token.len() / 2]]),
        ("another version", &["replay", &version]),
        ("neither file nor token", &["replay", "nothing"]),
        ("a trace file with a scenario", &["replay", trace, "--scenario", "mine.kdl"]),
    ] {
        if claim == "several scenarios" {
            let both = dir.join("both");
            std::fs::create_dir_all(&both).expect("a folder");
            std::fs::write(both.join("a.kdl"), &mine).expect("written");
            std::fs::write(both.join("b.kdl"), mine.replace("my-own", "my-other")).expect("written");
        }
        let args: Vec<&str> = args.iter().map(|arg| if *arg == ".." { "both" } else { arg }).collect();
        let output = svmlab(&dir, &args);
        assert_eq!((output.status.code(), out(&output)), (Some(2), String::new()), "{claim}");
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(error.lines().count(), 1, "{claim}: {error}");
        told += &format!("## {claim}\n{error}\n");
    }
    insta::assert_snapshot!(told);
}
