//! The chapters that show the command show what it prints.
//!
//! A block that begins with `$ svmlab ...` is run; the rest of the block is its standard output. `UPDATE_BOOK=1 cargo test
//! -p scenarios --test book` writes what is printed now.

use rayon::prelude::*;
use std::path::Path;
use std::process::Command;

/// Chapters whose blocks are held.
const CHAPTERS: &[&str] = &["seed.md"];
const OPENING: &str = "```console\n$ svmlab ";

/// What `svmlab` with these words prints.
fn printed(words: &str) -> String {
    let traces = Path::new(env!("CARGO_TARGET_TMPDIR")).join("book-traces");
    let mut command = Command::new(env!("CARGO_BIN_EXE_svmlab"));
    command.args(words.split_whitespace()).env_remove("COLUMNS").current_dir(env!("CARGO_TARGET_TMPDIR"));
    if words.starts_with("check") {
        command.arg("--traces").arg(&traces);
    }
    let output = command.output().expect("svmlab runs");
    assert!(matches!(output.status.code(), Some(0 | 1)), "svmlab {words}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let traces = format!("{}/", traces.display());
    let lines = text.trim_end().lines().map(|line| line.trim_end().replace(&traces, "traces/"));
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn what_the_book_shows_is_what_is_printed() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace root").join("docs");
    for chapter in CHAPTERS {
        let path = docs.join(chapter);
        let text = std::fs::read_to_string(&path).expect("the chapter");
        // what stands before each block, its command, and what it shows
        let (mut rest, mut blocks) = (text.as_str(), Vec::new());
        while let Some((before, block)) = rest.split_once(OPENING) {
            let (block, after) = block.split_once("```\n").expect("a block ends");
            let (words, shown) = block.split_once('\n').expect("the command is a line");
            blocks.push((before, words, shown));
            rest = after;
        }
        let printed: Vec<String> = blocks.par_iter().map(|(_, words, _)| self::printed(words)).collect();
        let mut made = String::new();
        for ((before, words, shown), now) in blocks.iter().zip(&printed) {
            made += &format!("{before}{OPENING}{words}\n{now}```\n");
            if std::env::var_os("UPDATE_BOOK").is_none() {
                assert_eq!(shown, now, "{chapter}: svmlab {words}");
            }
        }
        made += rest;
        if std::env::var_os("UPDATE_BOOK").is_some() {
            std::fs::write(&path, made).expect("the chapter can be written");
        }
    }
}
