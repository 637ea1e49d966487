//! Ctrl-C loses nothing that was found.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

#[test]
fn what_was_found_before_ctrl_c_is_printed_and_saved() {
    let traces = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("interrupted-traces");
    let _ = std::fs::remove_dir_all(&traces);
    let endless = ["--strategy", "random", "--executions", "1000000000000", "--jobs", "1"];
    let mut svmlab = Command::new(env!("CARGO_BIN_EXE_svmlab"))
        .args(["check", "two-halves", "get-vs-set", "--design", "poc-v1"])
        .args(endless)
        .arg("--traces")
        .arg(&traces)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("svmlab starts");
    let mut out = BufReader::new(svmlab.stdout.take().expect("a pipe"));
    let mut first = String::new();
    // The first race is told as soon as it is found; then the endless search of the second scenario runs.
    out.read_line(&mut first).expect("the story begins");
    assert!(first.starts_with("I2 falls: scenario two-halves"), "{first}");
    let killed = Command::new("kill").arg("-INT").arg(svmlab.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("the rest of the output");
    let status = svmlab.wait().expect("svmlab ends");
    assert_eq!(status.code(), Some(130), "{rest}");
    assert!(rest.contains("interrupted"), "{rest}");
    assert!(traces.join("two-halves.poc-v1.trace").is_file(), "the trace of what was found is there");
}

#[test]
fn a_self_test_that_is_interrupted_prints_what_it_has() {
    let mut svmlab = Command::new(env!("CARGO_BIN_EXE_svmlab"))
        .args(["selftest", "engine", "--programs", "1000000000", "--threads", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("svmlab starts");
    // Long enough for the handler to stand; that nothing was compared yet would be said too.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let killed = Command::new("kill").arg("-INT").arg(svmlab.id().to_string()).status().expect("kill runs");
    assert!(killed.success());
    let mut told = String::new();
    svmlab.stdout.take().expect("a pipe").read_to_string(&mut told).expect("the table");
    assert_eq!(svmlab.wait().expect("svmlab ends").code(), Some(130), "{told}");
    assert!(told.contains("interrupted after") && told.contains("dangerous"), "{told}");
}
