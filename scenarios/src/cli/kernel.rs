//! `svmlab replay --kernel`: the trace goes into the virtual machine of `driver-port/vm`.

use super::replay::Again;
use super::{BAD_INPUT, BadInput, FINE, INTERRUPTED, VIOLATION};
use crate::gates::stageable;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, id};

/// Where the scripts are: in the checkout that svmlab was built from.
fn script() -> Result<PathBuf, BadInput> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../driver-port/vm/test");
    path.canonicalize().map_err(|e| BadInput::new(format!("--kernel runs {}: {e}", path.display())))
}

/// Replays the trace file, or the token, that has been seen to replay here; the exit code: fine when the same falls in the
/// kernel, and `hardened` comes through.
pub(super) fn replay(trace: &str, is_file: bool, again: &Again) -> Result<u8, BadInput> {
    let refused = |why: String| BadInput::new(format!("{trace}: {why}"));
    if again.timeline.violation.is_none() {
        return Err(refused(format!("nothing falls in it that a kernel could show: {}", again.found)));
    }
    stageable(&again.scenario, again.design, &again.plants).map_err(refused)?;
    let script = script()?;
    let written = (!is_file).then(|| std::env::temp_dir().join(format!("svmlab-{}.token", id())));
    if let Some(file) = &written {
        fs::write(file, trace).map_err(|e| BadInput::new(format!("{}: {e}", file.display())))?;
    }
    let file = written.as_deref().unwrap_or(Path::new(trace));
    let status = Command::new(&script).args(["--suite", "races", "--trace"]).arg(file).status();
    if let Some(file) = &written {
        // Nothing is lost when it stays.
        let _ = fs::remove_file(file);
    }
    exit_code(status.map_err(|e| BadInput::new(format!("{}: {e}", script.display())))?)
}

/// What the script's end means in svmlab's exit codes. What was missing, it has said itself.
fn exit_code(status: ExitStatus) -> Result<u8, BadInput> {
    match status.code() {
        Some(0) => Ok(FINE),
        Some(1) => Ok(VIOLATION),
        Some(2 | 3) => Ok(BAD_INPUT),
        // By a signal, most likely that of the terminal.
        None | Some(130) => Ok(INTERRUPTED),
        Some(_) => Err(BadInput::new(format!("driver-port/vm/test ended with {status}"))),
    }
}
