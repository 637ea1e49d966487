//! Embeds the corpus, so that the command works anywhere: writes a list of `(path in corpus/, text)`, sorted by path.
//!
//! And gives the build a name, `SVMLAB_BUILD`: a hash over the sources that decide what a search does, so that a
//! checkpoint or a shard's report of another build is told from one of this. No paths of this machine, no time: the same
//! sources have the same name everywhere.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The crates that decide what a search does, beside this one.
const CRATES: [&str; 5] = ["interleave", "model", "scenarios", "sim-gpu", "sim-mm"];

/// Files below `dir` whose names end with `.extension`.
fn files(dir: &Path, extension: &str, into: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, extension, into)?;
        } else if path.extension().is_some_and(|e| e == extension) {
            println!("cargo::rerun-if-changed={}", path.display());
            into.push(path);
        }
    }
    Ok(())
}

/// `path` below `root`, with forward slashes everywhere, so that the same files have the same names.
fn name_below(root: &Path, path: &Path) -> String {
    let parts: Vec<_> = path.strip_prefix(root).into_iter().flat_map(|p| p.iter()).collect();
    parts.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join("/")
}

/// FNV-1a, 64 bits, over names, lengths and contents.
fn hash(root: &Path, files: &[PathBuf]) -> io::Result<u64> {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |bytes: &[u8]| {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            sum = (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for file in files {
        add(name_below(root, file).as_bytes());
        add(&fs::read(file)?);
    }
    Ok(sum)
}

/// The name of the build: of the sources of all crates and of the versions of everything else.
fn name_of_build(root: &Path) -> io::Result<String> {
    let mut sources = Vec::new();
    for name in CRATES {
        files(&root.join(name).join("src"), "rs", &mut sources)?;
    }
    sources.sort_by_cached_key(|path| name_below(root, path));
    // What is locked decides too: the generators of random numbers, the parser of scenarios.
    let lock = root.join("Cargo.lock");
    println!("cargo::rerun-if-changed={}", lock.display());
    sources.push(lock);
    Ok(format!("{:016x}", hash(root, &sources)?))
}

fn main() -> io::Result<()> {
    let var = |name: &str| env::var(name).map_err(|e| io::Error::other(format!("{name}: {e}")));
    let home = PathBuf::from(var("CARGO_MANIFEST_DIR")?);
    let root = home.parent().ok_or_else(|| io::Error::other("the crate is not in a workspace"))?;
    println!("cargo::rustc-env=SVMLAB_BUILD={}", name_of_build(root)?);
    let corpus = home.join("corpus");
    let mut found = Vec::new();
    files(&corpus, "kdl", &mut found)?;
    found.sort();
    let mut out = String::from("&[\n");
    for path in &found {
        let name = name_below(&corpus, path);
        let _ = writeln!(out, "    ({name:?}, include_str!({:?})),", path.display().to_string());
    }
    out.push_str("]\n");
    fs::write(Path::new(&var("OUT_DIR")?).join("corpus.rs"), out)
}
