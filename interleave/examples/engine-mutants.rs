//! Breaks the engine's reduction on purpose, one line at a time, and says which breaks the differential test notices.
//!
//! `cargo run -p interleave --example engine-mutants [--list] [--programs N] [NAME...]`
//!
//! The breaks are listed in `interleave/mutants/engine.txt`. Each is applied to a copy of the crate, which is built and
//! put to `tests/differential.rs`; the working tree is not touched. One folder of build results serves all of them.
//!
//! Exit codes: 0 all are caught or explained; 1 one survives that should not; 2 the list does not fit the code.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// After which a test of few programs that does not end counts as failed: a broken search may go on for ever.
const PATIENCE: Duration = Duration::from_secs(240);
/// So much more for each program: what many times the usual takes here.
const PATIENCE_FOR_ONE: Duration = Duration::from_millis(300);

/// The tests that are to notice.
const TESTS: [&str; 3] = [
    "programs_that_once_made_a_difference_make_none",
    "random_schedules_show_nothing_that_the_exhaustive_search_does_not_have",
    "the_reduced_search_finds_what_the_unreduced_one_finds",
];

/// One break.
#[derive(Default)]
struct Mutant {
    name: String,
    /// Relative to `interleave/src`.
    file: String,
    breaks: String,
    /// Why no test can notice it, if none can.
    equivalent: Option<String>,
    /// The flavour of programs that shows it, if it is rare in the others.
    flavour: Option<String>,
    original: Vec<String>,
    replacement: Vec<String>,
    line: usize,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let (mut list, mut programs, mut names) = (false, 600_u64, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => list = true,
            "--programs" => {
                let n = args.next().ok_or("--programs needs a number")?;
                programs = n.parse().map_err(|_| format!("--programs needs a number, not {n}"))?;
            }
            "-h" | "--help" => {
                println!("engine-mutants [--list] [--programs N (default 600)] [NAME...]");
                return Ok(true);
            }
            name if name.starts_with('-') => return Err(format!("{name} is not known; see --help")),
            name => names.push(name.to_owned()),
        }
    }
    let krate = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut mutants = parse(&read(&krate.join("mutants/engine.txt"))?)?;
    if let Some(name) = names.iter().find(|name| mutants.iter().all(|mutant| mutant.name != **name)) {
        return Err(format!("no mutant is called {name}"));
    }
    mutants.retain(|mutant| names.is_empty() || names.contains(&mutant.name));
    let stale: Vec<String> = mutants.iter().filter_map(|mutant| mutant.apply(&krate).err()).collect();
    if !stale.is_empty() {
        return Err(format!("interleave/mutants/engine.txt does not fit the code any more:\n{}", stale.join("\n")));
    }
    if list {
        mutants.iter().for_each(|mutant| println!("{:<34} {:<18} {}", mutant.name, mutant.file, mutant.breaks));
        return Ok(true);
    }
    let bench = Bench::new(&krate, programs)?;
    let start = Instant::now();
    match bench.test(None)? {
        Fate::Survives => println!("unbroken: passes ({:.0} s with the build)", start.elapsed().as_secs_f64()),
        Fate::Caught(why) => return Err(format!("the test fails on the unbroken engine: {why}")),
    }
    let (mut caught, mut equivalent, mut wrong) = (0, 0, 0);
    for mutant in &mutants {
        let start = Instant::now();
        let fate = bench.with(mutant, &krate)?;
        let (result, why) = match (fate, &mutant.equivalent) {
            (Fate::Caught(why), None) => {
                caught += 1;
                ("caught", why)
            }
            (Fate::Survives, Some(why)) => {
                equivalent += 1;
                ("equivalent", why.clone())
            }
            (Fate::Survives, None) => {
                wrong += 1;
                ("SURVIVES", mutant.breaks.clone())
            }
            (Fate::Caught(why), Some(_)) => {
                wrong += 1;
                ("CAUGHT, though listed as equivalent", why)
            }
        };
        println!("{:<34} {result:<10} {:>4.0} s  {why}", mutant.name, start.elapsed().as_secs_f64());
    }
    println!("\n{} mutants: {caught} caught, {equivalent} equivalent, {wrong} wrong", mutants.len());
    Ok(wrong == 0)
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|why| format!("{}: {why}", path.display()))
}

/// The list: `mutant`, `file`, `breaks`, perhaps `equivalent`, then the lines that go (`-`) and those that come (`+`).
fn parse(text: &str) -> Result<Vec<Mutant>, String> {
    let mut all: Vec<Mutant> = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim().to_owned();
        if word == "mutant" {
            if all.iter().any(|mutant| mutant.name == rest) {
                return Err(format!("engine.txt:{}: {rest} is listed twice", i + 1));
            }
            all.push(Mutant { name: rest, line: i + 1, ..Mutant::default() });
            continue;
        }
        let mutant = all.last_mut().ok_or_else(|| format!("engine.txt:{}: no mutant has begun", i + 1))?;
        match word {
            "file" => mutant.file = rest,
            "breaks" => mutant.breaks = rest,
            "equivalent" => mutant.equivalent = Some(rest),
            "flavour" => mutant.flavour = Some(rest),
            "-" => mutant.original.push(rest),
            "+" => mutant.replacement.push(rest),
            _ => {
                return Err(format!(
                    "engine.txt:{}: {word} is none of mutant, file, breaks, equivalent, flavour, -, +",
                    i + 1
                ));
            }
        }
    }
    match all.iter().find(|m| m.file.is_empty() || m.breaks.is_empty() || m.original.is_empty()) {
        Some(m) => Err(format!("engine.txt:{}: {} needs a file, what it breaks, and an original", m.line, m.name)),
        None => Ok(all),
    }
}

/// Indentation means nothing to the compiler, and nothing here.
fn flat(text: &str) -> String {
    text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n")
}

impl Mutant {
    /// The broken text of its file.
    fn apply(&self, krate: &Path) -> Result<String, String> {
        let text = flat(&read(&krate.join("src").join(&self.file))?);
        let original = self.original.join("\n");
        match text.matches(&original).count() {
            1 => Ok(text.replacen(&original, &self.replacement.join("\n"), 1)),
            n => Err(format!(
                "engine.txt:{}: {} wants to find this once in src/{}, and finds it {n} times:\n  {}",
                self.line,
                self.name,
                self.file,
                self.original.join("\n  ")
            )),
        }
    }
}

enum Fate {
    Caught(String),
    Survives,
}

/// A copy of what the test needs, to break.
struct Bench {
    tree: PathBuf,
    target: PathBuf,
    programs: u64,
}

impl Bench {
    fn new(krate: &Path, programs: u64) -> Result<Self, String> {
        let root = krate.parent().ok_or("the crate is not in a workspace")?;
        let place = root.join("target/engine-mutants");
        let bench = Bench { tree: place.join("tree"), target: place.join("target"), programs };
        let copy = || -> std::io::Result<()> {
            if bench.tree.exists() {
                std::fs::remove_dir_all(&bench.tree)?;
            }
            std::fs::create_dir_all(&bench.tree)?;
            // Some crates test themselves with others: cargo wants to see all of them.
            for room in std::fs::read_dir(root)? {
                let room = room?;
                if room.path().join("Cargo.toml").is_file() {
                    copy(&room.path(), &bench.tree.join(room.file_name()))?;
                }
            }
            for file in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
                std::fs::copy(root.join(file), bench.tree.join(file))?;
            }
            Ok(())
        };
        copy().map_err(|why| format!("copying to {}: {why}", bench.tree.display()))?;
        Ok(bench)
    }

    /// What the test says about a broken engine. The copy is whole again afterwards.
    fn with(&self, mutant: &Mutant, krate: &Path) -> Result<Fate, String> {
        let file = self.tree.join("interleave/src").join(&mutant.file);
        let write = |text: &str| std::fs::write(&file, text).map_err(|why| format!("{}: {why}", file.display()));
        let whole = read(&file)?;
        write(&mutant.apply(krate)?)?;
        let fate = self.test(mutant.flavour.as_deref()).map_err(|why| format!("{}: {why}", mutant.name));
        write(&whole)?;
        fate
    }

    /// Builds the test; where it is.
    fn build(&self) -> Result<PathBuf, String> {
        let built = Command::new(env!("CARGO"))
            .args(["test", "--offline", "-p", "interleave", "--test", "differential", "--no-run"])
            .arg("--message-format=json-render-diagnostics")
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .output()
            .map_err(|why| format!("cargo: {why}"))?;
        if !built.status.success() {
            return Err(format!("does not build:\n{}", String::from_utf8_lossy(&built.stderr)));
        }
        let out = String::from_utf8_lossy(&built.stdout).into_owned();
        let mut messages = out.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let test = messages.rfind(|m| m["target"]["name"] == "differential");
        let path = test.and_then(|m| m["executable"].as_str().map(PathBuf::from));
        path.ok_or_else(|| "cargo does not say where the test is".into())
    }

    /// Builds and tests what stands there.
    fn test(&self, flavour: Option<&str>) -> Result<Fate, String> {
        let test = self.build()?;
        let out = self.tree.join("test-output");
        let log = std::fs::File::create(&out).map_err(|why| format!("{}: {why}", out.display()))?;
        let err = log.try_clone().map_err(|why| why.to_string())?;
        let mut child = Command::new(&test)
            .args(["--exact", "--test-threads=1"])
            .args(TESTS)
            .envs(flavour.map(|name| ("SVMLAB_FUZZ_FLAVOUR", name)))
            .env("RUST_BACKTRACE", "0")
            .env("SVMLAB_FUZZ_PROGRAMS", self.programs.to_string())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(err)
            .spawn()
            .map_err(|why| format!("{}: {why}", test.display()))?;
        let start = Instant::now();
        let patience = PATIENCE + PATIENCE_FOR_ONE * u32::try_from(self.programs).unwrap_or(u32::MAX);
        loop {
            match child.try_wait().map_err(|why| why.to_string())? {
                Some(status) if status.success() => return Ok(Fate::Survives),
                Some(_) => return Ok(Fate::Caught(first_complaint(&read(&out)?))),
                None if start.elapsed() > patience => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Ok(Fate::Caught("the test does not end".into()));
                }
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// The line after the one that says where it panicked.
fn first_complaint(output: &str) -> String {
    let mut lines = output.lines().skip_while(|line| !line.contains("panicked at"));
    lines.nth(1).or_else(|| output.lines().last()).unwrap_or("").to_owned()
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
