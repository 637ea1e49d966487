//! `SVMLAB_ACCESS`: a wave, whose accesses come one after the other.

use super::OpenVm;
use crate::gpu::{Access, FaultKind, Limit, Outcome};
use crate::{LinuxKernel, OnLinux, uapi};
use model::Errno;
use model::platform::Kernel;

/// How long an access may take when nobody says so, in milliseconds.
const TIMEOUT_MS: u32 = 10_000;

/// What `timeout_ms` means, 0 being the default.
///
/// # Errors
/// `EINVAL`: too long.
pub(super) fn timeout(timeout_ms: u32) -> Result<u64, Errno> {
    match timeout_ms {
        0 => Ok(TIMEOUT_MS.into()),
        ms if ms <= uapi::SVMLAB_MAX_TIMEOUT_MS => Ok(ms.into()),
        _ => Err(Errno::EINVAL),
    }
}

/// What an access asks for.
fn asked(access: &uapi::Access) -> Result<Access, Errno> {
    if !access.addr.is_multiple_of(8) {
        return Err(Errno::EINVAL);
    }
    match access.op {
        uapi::SVMLAB_LOAD => Ok(Access::Load),
        uapi::SVMLAB_STORE => Ok(Access::Store(access.value)),
        uapi::SVMLAB_ADD => Ok(Access::Add(access.value)),
        _ => Err(Errno::EINVAL),
    }
}

const fn outcome(outcome: Outcome) -> u32 {
    match outcome {
        Outcome::Done(_) => uapi::SVMLAB_DONE,
        Outcome::Fault(FaultKind::Invalid) => uapi::SVMLAB_FAULT_INVALID,
        Outcome::Fault(FaultKind::NotReadable) => uapi::SVMLAB_FAULT_READ,
        Outcome::Fault(FaultKind::NotWriteable) => uapi::SVMLAB_FAULT_WRITE,
        Outcome::Fault(FaultKind::NoRetry) => uapi::SVMLAB_FAULT_NORETRY,
        Outcome::Destroyed => uapi::SVMLAB_QUEUE_GONE,
        Outcome::Stopped => uapi::SVMLAB_TIMEOUT_STOPPED,
        Outcome::Unanswered => uapi::SVMLAB_TIMEOUT_RETRY,
        Outcome::NoMemory => uapi::SVMLAB_BUS_ERROR,
    }
}

impl<P: OnLinux> OpenVm<P> {
    pub(super) fn wave(&self, args: &mut uapi::Accesses, accesses: &mut [uapi::Access]) -> Result<(), Errno> {
        let stop = args.flags & uapi::SVMLAB_ACCESS_STOP != 0;
        if args.flags & !uapi::SVMLAB_ACCESS_STOP != 0 {
            return Err(Errno::EINVAL);
        }
        let timeout_ms = timeout(args.timeout_ms)?;
        // All of them are looked at before the first is done.
        accesses.iter().try_for_each(|access| asked(access).map(drop))?;
        args.done = 0;
        accesses.iter_mut().for_each(|access| access.outcome = uapi::SVMLAB_NOT_TRIED);
        for access in accesses {
            let limit = Limit { until_ms: LinuxKernel::now_ms() + timeout_ms };
            let came = self.gpu.access(access.addr, asked(access)?, limit)?;
            access.outcome = outcome(came);
            match came {
                Outcome::Done(value) => {
                    access.value = value;
                    args.done += 1;
                }
                _ if stop => break,
                _ => {}
            }
        }
        Ok(())
    }
}
