//! The seam of C and Rust is written down three times: `kmod/shim.h` declares, `src/` declares or defines, and
//! docs/kernel-port.md explains. They name the same functions.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = here().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// All files below `folder` with this ending, as one text.
fn all(folder: &str, ending: &str) -> String {
    let (mut text, mut folders) = (String::new(), vec![here().join(folder)]);
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == ending) {
                text += &std::fs::read_to_string(&path).expect("a file");
            }
        }
    }
    text
}

/// The functions that `text` declares, defines or calls, whose names begin with `prefix`.
fn functions(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(prefix)
        .filter(|(at, _)| !text[..*at].ends_with(is_name))
        .map(|(at, _)| text[at..].split(|c| !is_name(c)).next().expect("the prefix"))
        .filter(|name| text.contains(&format!("{name}(")))
        .map(ToOwned::to_owned)
        .collect()
}

#[test]
fn what_rust_calls_is_what_c_declares() {
    let c = functions(&text("kmod/shim.h"), "svmlab_c_");
    let rust = functions(&(text("src/ffi.rs") + &all("src/ffi", "rs")), "svmlab_c_");
    assert!(c.len() > 80, "the declarations were found: {c:?}");
    assert_eq!(c, rust, "kmod/shim.h and src/ffi.rs");
}

#[test]
fn what_c_calls_is_what_rust_defines() {
    let c = functions(&text("kmod/shim.h"), "svmlab_rs_");
    let rust = functions(&all("src", "rs"), "svmlab_rs_");
    assert!(c.len() > 10, "the declarations were found: {c:?}");
    assert_eq!(c, rust, "kmod/shim.h and src/");
}

#[test]
fn the_book_names_every_file_of_the_shim() {
    let book = text("../docs/kernel-port.md");
    let files = std::fs::read_dir(here().join("kmod")).expect("a folder");
    let files = files.map(|file| file.expect("an entry").file_name().into_string().expect("a name"));
    for file in files.filter(|name| name.ends_with(".c") && name != "main.c") {
        assert!(book.contains(&format!("`{file}`")), "docs/kernel-port.md does not say what {file} is for");
    }
}
