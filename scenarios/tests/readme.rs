//! The README shows what the command really prints.

use std::path::Path;
use std::process::Command;

#[test]
fn the_story_in_the_readme_is_the_story_that_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace root");
    let readme = std::fs::read_to_string(root.join("README.md")).expect("README.md");
    let (_, excerpt) = readme.split_once("```text\n").expect("a block of output");
    let (excerpt, _) = excerpt.split_once("\nscenario ").expect("the table after the story");
    let traces = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme-traces");
    let output = Command::new(env!("CARGO_BIN_EXE_svmlab"))
        .args(["check", "set-attr-vs-partial-munmap", "--design", "poc-v1", "--traces"])
        .arg(&traces)
        .env_remove("COLUMNS")
        .output()
        .expect("svmlab runs");
    assert_eq!(output.status.code(), Some(1), "a violation was asked for and found");
    let told = String::from_utf8(output.stdout).expect("text");
    let told: Vec<&str> = told.lines().map(str::trim_end).collect();
    let mut at = 0;
    for line in excerpt.lines().filter(|l| *l != "..." && !l.starts_with("replay with")) {
        match told[at..].iter().position(|t| *t == line) {
            Some(found) => at += found + 1,
            None => panic!("the README says, the command does not:\n{line}"),
        }
    }
}
