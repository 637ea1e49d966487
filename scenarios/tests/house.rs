//! The house stands: dependencies point one way, and `model/` stays what it promises to be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace root").to_path_buf()
}

/// Normal (not dev, not build) dependencies of each workspace member, straight from cargo.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(out.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&out.stderr));
    let meta: serde_json::Value = serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON");
    let mut found = BTreeMap::new();
    for package in meta["packages"].as_array().expect("packages") {
        let names = package["dependencies"]
            .as_array()
            .expect("dependencies")
            .iter()
            .filter(|d| d["kind"].is_null())
            .map(|d| d["name"].as_str().expect("a name").to_string())
            .collect();
        found.insert(package["name"].as_str().expect("a name").to_string(), names);
    }
    found
}

const ROOMS: [&str; 7] = ["model", "interleave", "sim-mm", "sim-gpu", "scenarios", "driver-port", "guest"];

#[test]
fn dependencies_point_one_way() {
    let deps = dependencies();
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("model", &[] as &[&str]),
        ("interleave", &["model"]),
        ("sim-mm", &["model", "interleave"]),
        ("sim-gpu", &["model", "interleave", "sim-mm"]),
        ("scenarios", &["model", "interleave", "sim-mm", "sim-gpu"]),
        ("driver-port", &["model"]),
        ("guest", &["model", "interleave", "sim-mm", "sim-gpu", "scenarios"]),
    ]);
    assert_eq!(deps.keys().map(String::as_str).collect::<Vec<_>>(), {
        let mut rooms = ROOMS.to_vec();
        rooms.sort_unstable();
        rooms
    });
    for (room, found) in &deps {
        for dep in found.iter().filter(|d| ROOMS.contains(&d.as_str())) {
            assert!(allowed[room.as_str()].contains(&dep.as_str()), "{room} must not depend on {dep}");
        }
    }
    assert!(deps["model"].is_empty(), "model depends on core alone today, found {:?}", deps["model"]);
}

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).expect("a folder").map(|e| e.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Lines of code with comments and string literals' contents out of the way (good enough for words like `unsafe`).
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(i, l)| (i + 1, l.split("//").next().unwrap_or("")))
        .filter(|(_, l)| !l.trim().is_empty())
}

#[test]
fn the_model_has_no_unsafe_no_std_no_allocator_and_no_platform_cfg() {
    let lib = std::fs::read_to_string(root().join("model/src/lib.rs")).expect("model/src/lib.rs");
    assert!(lib.contains("#![no_std]"), "model is no_std");
    assert!(lib.contains("#![forbid(unsafe_code)]"), "model forbids unsafe");
    let mut files = Vec::new();
    sources(&root().join("model/src"), &mut files);
    assert!(files.len() > 20, "the model's sources were found");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a source file");
        for (line, code) in code_lines(&text) {
            let words = || code.split(|c: char| !c.is_alphanumeric() && c != '_');
            let bad = |what: &str| panic!("{}:{line}: {what}: {code}", file.display());
            if words().any(|w| w == "unsafe") {
                bad("unsafe in the model");
            }
            if code.contains("std::") || code.contains("extern crate") || code.contains("alloc::") {
                bad("only core in the model");
            }
            if code.contains("cfg(") || code.contains("cfg_attr(") || code.contains("cfg!(") {
                bad("the model is compiled once, without cfg");
            }
        }
    }
}

#[test]
fn the_simulators_know_no_scenario() {
    for room in ["sim-mm", "sim-gpu", "interleave"] {
        let mut files = Vec::new();
        sources(&root().join(room).join("src"), &mut files);
        assert!(!files.is_empty());
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source file");
            for (line, code) in code_lines(&text) {
                assert!(!code.to_lowercase().contains("scenario"), "{}:{line}: {code}", file.display());
            }
        }
    }
}

#[test]
fn unsafe_lives_in_two_modules() {
    let mut files = Vec::new();
    for room in ["interleave", "sim-mm", "sim-gpu", "scenarios"] {
        sources(&root().join(room).join("src"), &mut files);
    }
    let with_unsafe: Vec<String> = files
        .iter()
        .filter(|f| {
            let text = std::fs::read_to_string(f).expect("a source file");
            code_lines(&text)
                .any(|(_, code)| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == "unsafe"))
        })
        .map(|f| f.strip_prefix(root()).expect("inside the workspace").display().to_string())
        .collect();
    assert!(with_unsafe.len() <= 2, "an arena and a coroutine module may use unsafe, found {with_unsafe:?}");
}
