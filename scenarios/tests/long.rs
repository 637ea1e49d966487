//! Long searches of the command: threads, checkpoints, a kill in the middle, shards, merge.

use interleave::trace::checksum;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A folder of its own for each test.
fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("long-{name}"));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a folder");
    dir
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svmlab"));
    command.current_dir(dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    command(dir, args).output().expect("svmlab runs")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What bad input is answered with.
fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Some thousand executions.
const SCENARIO: [&str; 5] = ["check", "restore-vs-munmap", "--design", "hardened", "--json"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SCENARIO, more].concat()
}

#[test]
fn threads_change_no_byte_of_the_output() {
    let dir = folder("threads");
    let one = run(&dir, &SCENARIO);
    assert_eq!(one.status.code(), Some(0));
    for threads in ["2", "3"] {
        assert_eq!(out(&run(&dir, &with(&["--threads", threads]))), out(&one), "{threads}");
    }
    // with a violation, its trace included
    let violated = ["check", "set-attr-vs-partial-munmap", "--design", "poc-v1"];
    let one = run(&dir, &violated);
    assert!(out(&one).contains("I7 falls"), "{}", out(&one));
    let trace = dir.join("traces/set-attr-vs-partial-munmap.poc-v1.trace");
    let first = std::fs::read(&trace).expect("a trace");
    let three = run(&dir, &[&violated[..], &["--threads", "3"]].concat());
    assert_eq!(out(&three), out(&one));
    assert_eq!(std::fs::read(&trace).expect("a trace"), first);
}

#[test]
fn a_search_that_is_killed_again_and_again_ends_as_if_it_had_not_been() {
    let dir = folder("killed");
    // Long enough to be in the middle of.
    let scenario = ["check", "two-holes", "--design", "hardened", "--json"];
    let with = |more: &[&'static str]| [&scenario, more].concat();
    let alone = out(&run(&dir, &scenario));
    let file = dir.join("saved/two-holes.hardened.checkpoint");
    let mut how = "--checkpoint";
    let mut kills = 0;
    for threads in ["1", "2", "3"] {
        let args = with(&[how, "saved", "--checkpoint-every", "0.01", "--threads", threads]);
        let mut svmlab = command(&dir, &args).spawn().expect("svmlab starts");
        let before = std::fs::read(&file).ok();
        // until it has saved something new
        while std::fs::read(&file).ok() == before && svmlab.try_wait().expect("it can be asked").is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        svmlab.kill().expect("SIGKILL");
        kills += usize::from(svmlab.wait().expect("it ends").code().is_none());
        how = "--resume";
    }
    assert!(kills > 0, "it was always done already");
    let resumed = run(&dir, &with(&["--resume", "saved", "--threads", "2"]));
    assert_eq!(out(&resumed), alone);
    // what is finished stays so
    assert_eq!(out(&run(&dir, &with(&["--resume", "saved"]))), alone);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused_with_the_reason() {
    let dir = folder("refused");
    assert_eq!(run(&dir, &with(&["--checkpoint", "saved"])).status.code(), Some(0));
    let file = dir.join("saved/restore-vs-munmap.hardened.checkpoint");
    let text = std::fs::read_to_string(&file).expect("a checkpoint");
    let said = |more: &[&str], what: &str| {
        let said = error(&run(&dir, &with(more)));
        assert!(said.contains(what), "{said}");
        assert!(said.contains("restore-vs-munmap"), "the file is named: {said}");
    };
    said(&["--checkpoint", "saved"], "there is a checkpoint already; go on from it with --resume saved");
    said(&["--resume", "elsewhere"], "no checkpoint of restore-vs-munmap.hardened in this folder");
    said(&["--resume", "saved", "--preemptions", "1"], "only an exhaustive search has checkpoints");
    said(&["--resume", "saved", "--plant", "skip-read-retry"], "`plants` is");
    std::fs::write(&file, text.replace("svmlab-checkpoint 2", "svmlab-checkpoint 1")).expect("written");
    said(&["--resume", "saved"], "expected `svmlab-checkpoint 2`, found `svmlab-checkpoint 1`");
    std::fs::write(&file, text.replace("\"executions\":", "\"executions\":1")).expect("written");
    said(&["--resume", "saved"], "the checksum does not fit");
    std::fs::write(&file, &text[..text.len() - 30]).expect("written");
    said(&["--resume", "saved"], "the checkpoint is damaged");
    // whole, and of a build that differs in something that nobody numbered
    let body = text[..text.rfind("checksum ").expect("a checksum")].replace("(build ", "(build 0");
    std::fs::write(&file, format!("{body}checksum {:016x}\n", checksum(body.as_bytes()))).expect("written");
    said(&["--resume", "saved"], "it is of another search: `svmlab` is \"0.1.0 (build 0");
}

/// `text` of a shard's report with `change` made to what it says, and a checksum that fits.
fn forged(text: &str, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut json: serde_json::Value = serde_json::from_str(text).expect("JSON");
    change(&mut json);
    json.as_object_mut().expect("an object").remove("checksum");
    let open = serde_json::to_string_pretty(&json).expect("plain data");
    let open = open.trim_end_matches("\n}");
    format!("{open},\n  \"checksum\": \"{:016x}\"\n}}\n", checksum(open.as_bytes()))
}

#[test]
fn shards_together_are_the_search_and_a_hole_is_named() {
    let dir = folder("shards");
    let alone: serde_json::Value = serde_json::from_str(&out(&run(&dir, &SCENARIO))).expect("JSON");
    let scenario = &SCENARIO[..4];
    for shard in ["1/3", "2/3", "3/3"] {
        let done = run(&dir, &[scenario, &["--shard", shard]].concat());
        assert_eq!(done.status.code(), Some(0), "{done:?}");
    }
    let report = |n| format!("shards/restore-vs-munmap.hardened.{n}-of-3.json");
    let (one, two, three) = (report(1), report(2), report(3));
    let merged = run(&dir, &["merge", &one, &two, &three, "--json"]);
    assert_eq!(merged.status.code(), Some(0), "{merged:?}");
    let merged: serde_json::Value = serde_json::from_str(&out(&merged)).expect("JSON");
    let distinct = |json: &serde_json::Value| {
        let stats = &json["results"][0]["stats"];
        stats["executions"].as_u64().zip(stats["cut"].as_u64()).map(|(all, cut)| all - cut)
    };
    assert!(distinct(&alone).is_some());
    assert_eq!(distinct(&merged), distinct(&alone), "distinct executions");
    assert_eq!(merged["results"][0]["verdict"], "holds");

    let hole = error(&run(&dir, &["merge", &one, &three]));
    assert!(hole.contains("are in no report: 2, 5, 8"), "{hole}");
    assert!(hole.contains("there is no report of shard 2/3"), "{hole}");
    let twice = error(&run(&dir, &["merge", &one, &two, &three, &two]));
    assert!(twice.contains("it would count twice"), "{twice}");
    run(&dir, &["check", "partial-munmap", "--design", "hardened", "--shard", "2/3"]);
    let other = error(&run(&dir, &["merge", &one, "shards/partial-munmap.hardened.2-of-3.json", &three]));
    assert!(other.contains("of another search: the scenario is partial-munmap"), "{other}");

    // a report with half of its tasks: named, and finished by the same command
    let path = dir.join(&two);
    let whole = std::fs::read_to_string(&path).expect("a report");
    let half = forged(&whole, |report| report["done"].as_array_mut().expect("a list").truncate(3));
    std::fs::write(&path, half).expect("written");
    let unfinished = error(&run(&dir, &["merge", &one, &two, &three]));
    assert!(unfinished.contains("2-of-3.json is not finished"), "{unfinished}");
    assert_eq!(run(&dir, &[scenario, &["--shard", "2/3"]].concat()).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&path).expect("a report"), whole);

    // a byte that is another one, and a build that is: neither counts
    let bytes = whole.as_bytes();
    let ends = [0, 1, bytes.len() - 21, bytes.len() - 5, bytes.len() - 1];
    for at in ends.into_iter().chain((0..bytes.len()).step_by(bytes.len() / 7)) {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        std::fs::write(&path, changed).expect("written");
        let said = error(&run(&dir, &["merge", &one, &two, &three]));
        assert!(said.contains("2-of-3.json: "), "byte {at}: {said}");
    }
    std::fs::write(&path, whole.replace("\"cut\": ", "\"cut\": 1")).expect("written");
    let said = error(&run(&dir, &["merge", &one, &two, &three]));
    assert!(said.contains("2-of-3.json: the report is damaged or was changed"), "{said}");
    let another_build = |report: &mut serde_json::Value| report["search"]["svmlab"] = "0.1.0 (build 0)".into();
    std::fs::write(&path, forged(&whole, another_build)).expect("written");
    let said = error(&run(&dir, &["merge", &one, &two, &three]));
    assert!(said.contains("2-of-3.json: of another search: the version of svmlab is 0.1.0 (build 0), in"), "{said}");
    let said = error(&run(&dir, &["merge", &two]));
    assert!(said.contains("it is of another build: of svmlab 0.1.0 (build 0), and this is 0.1.0 (build "), "{said}");
    let said = error(&run(&dir, &[scenario, &["--shard", "2/3"]].concat()));
    assert!(said.contains("there is a report of another search or version here"), "{said}");
}

#[test]
fn a_deadlock_that_is_predicted_is_so_by_threads_resumed_searches_and_shards() {
    let dir = folder("predicted");
    let scenario = ["check", "set-attr-vs-mprotect", "--design", "hardened", "--plant", "skip-noreclaim"];
    let with = |more: &[&'static str]| run(&dir, &[&scenario[..], more].concat());
    let one = with(&[]);
    assert_eq!(one.status.code(), Some(1), "{one:?}");
    assert!(out(&one).contains("possible circular locking dependency"), "{}", out(&one));
    for side in ["0", "1"] {
        let trace = format!("traces/set-attr-vs-mprotect.hardened.skip-noreclaim.lockdep-1.{side}.trace");
        assert!(out(&one).contains(&format!("svmlab replay {trace}")), "{}", out(&one));
        let told = run(&dir, &["replay", &trace]);
        assert_eq!(told.status.code(), Some(0), "{told:?}");
        assert!(out(&told).contains("one side of what is predicted, no further: possible circular"), "{}", out(&told));
    }
    for how in [&["--threads", "3"][..], &["--checkpoint", "saved"], &["--resume", "saved"]] {
        let other = with(how);
        assert_eq!((other.status.code(), out(&other)), (Some(1), out(&one)), "{how:?}");
    }
    for shard in ["1/2", "2/2"] {
        assert_eq!(with(&["--shard", shard]).status.code(), Some(0));
    }
    let report = |n| format!("shards/set-attr-vs-mprotect.hardened.{n}-of-2.json");
    let merged = run(&dir, &["merge", &report(1), &report(2)]);
    assert_eq!(merged.status.code(), Some(1), "{merged:?}");
    let cycle = "mmu_notifier_invalidate_range_start -> notifier_lock -> mmu_notifier_invalidate_range_start";
    assert!(out(&one).contains(cycle) && out(&merged).contains(cycle), "{}", out(&merged));
}

#[test]
fn a_violation_in_a_shard_is_told_by_merge() {
    let dir = folder("violation");
    let scenario = ["check", "set-attr-vs-partial-munmap", "--design", "poc-v1"];
    for shard in ["1/2", "2/2"] {
        assert_eq!(run(&dir, &[&scenario[..], &["--shard", shard]].concat()).status.code(), Some(0));
    }
    let report = |n| format!("shards/set-attr-vs-partial-munmap.poc-v1.{n}-of-2.json");
    let merged = run(&dir, &["merge", &report(1), &report(2)]);
    let text = out(&merged);
    assert_eq!(merged.status.code(), Some(0), "the scenario says so: {text}");
    assert!(text.starts_with("I7 falls: scenario set-attr-vs-partial-munmap"), "{text}");
    let replayed = run(&dir, &["replay", "traces/set-attr-vs-partial-munmap.poc-v1.trace"]);
    assert_eq!(replayed.status.code(), Some(0), "{replayed:?}");
}
