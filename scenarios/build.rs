//! Embeds the corpus, so that the command works anywhere: writes a list of `(path in corpus/, text)`, sorted by path.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn files(dir: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", dir.display());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, into)?;
        } else if path.extension().is_some_and(|e| e == "kdl") {
            println!("cargo::rerun-if-changed={}", path.display());
            into.push(path);
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let var = |name: &str| env::var(name).map_err(|e| io::Error::other(format!("{name}: {e}")));
    let corpus = Path::new(&var("CARGO_MANIFEST_DIR")?).join("corpus");
    let mut found = Vec::new();
    files(&corpus, &mut found)?;
    found.sort();
    let mut out = String::from("&[\n");
    for path in &found {
        // with forward slashes everywhere, so that the same corpus has the same names
        let name: Vec<_> = path.strip_prefix(&corpus).into_iter().flat_map(|p| p.iter()).collect();
        let name = name.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join("/");
        let _ = writeln!(out, "    ({name:?}, include_str!({:?})),", path.display().to_string());
    }
    out.push_str("]\n");
    fs::write(Path::new(&var("OUT_DIR")?).join("corpus.rs"), out)
}
