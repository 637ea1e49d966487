//! `svmlab replay --kernel`: the trace goes into the virtual machine of `driver-port/vm`.

use super::BadInput;
use crate::lang::Design;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};

/// Where the scripts are: in the checkout that svmlab was built from.
fn script() -> Result<PathBuf, BadInput> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../driver-port/vm/test");
    path.canonicalize().map_err(|e| BadInput::new(format!("--kernel runs {}: {e}", path.display())))
}

/// Replays the trace file, or the token, that has been seen to replay here; the exit code of the virtual machine's run.
pub(super) fn replay(trace: &str, is_file: bool, design: Design) -> Result<u8, BadInput> {
    if design == Design::Kfd {
        return Err(BadInput::new(format!(
            "{trace}: kfd is not in the kernel module; only the designs on drm_gpusvm are"
        )));
    }
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
    let status = status.map_err(|e| BadInput::new(format!("{}: {e}", script.display())))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
