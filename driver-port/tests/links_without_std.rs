//! The model links without std, without an allocator, without unwinding.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What `core` may ask of the machine; a kernel has all of them.
const MEMORY_FUNCTIONS: [&str; 5] = ["memcpy", "memmove", "memset", "memcmp", "bcmp"];

fn run(command: &mut Command) -> Output {
    let out = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

fn build() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("portcheck");
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--manifest-path"])
        .arg(here.join("portcheck/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .env_remove("RUSTFLAGS"));
    target.join("release/libportcheck.a")
}

fn link(library: &Path, forbid: bool) -> Output {
    let linked = library.with_file_name("portcheck.elf");
    let mut command = Command::new("cc");
    command.args(["-nostdlib", "-static", "-no-pie", "-Wl,-e,svmlab_portcheck", "-Wl,--undefined=svmlab_portcheck"]);
    command.args(["-Wl,--gc-sections", "-Wl,--no-undefined"]);
    if forbid {
        command.args(MEMORY_FUNCTIONS.map(|f| format!("-Wl,--defsym={f}=0")));
    }
    command.arg(library).arg("-o").arg(linked);
    command.output().expect("the C compiler driver links")
}

#[test]
fn the_model_links_with_core_alone() {
    let library = build();
    let out = link(&library, true);
    assert!(out.status.success(), "the model needs more than core:\n{}", String::from_utf8_lossy(&out.stderr));

    let symbols = run(Command::new("nm").arg("--defined-only").arg(library.with_file_name("portcheck.elf")));
    let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
    assert!(symbols.contains("svmlab_portcheck"), "the driver was linked in");
    for forbidden in ["__rust_alloc", "__rdl_alloc", "rust_eh_personality", "_Unwind_", "3std"] {
        assert!(!symbols.contains(forbidden), "{forbidden} was linked in:\n{symbols}");
    }
    assert!(symbols.lines().count() > 3, "something was linked");
}
