//! What operations came to, kept instead of judged: for comparing this world with another.

use model::Errno;
use model::attr::UapiAttr;
use serde::{Deserialize, Serialize};
use sim_gpu::FaultKind;
use std::cell::RefCell;
use std::fmt;

/// One thing that an operation came to. A call that is two system calls has two of them, an access to several pages one
/// for each, up to the first that faults.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Part {
    /// A call returned: 0 or an errno, positive.
    Returned(i32),
    /// What GET_ATTR left in the array: type and value.
    Answered(Vec<(u32, u32)>),
    /// A load read, an atomic made, a GPU store left this.
    Word(u64),
    /// A CPU store was done.
    Stored,
    /// SIGSEGV or SIGBUS.
    CpuFault,
    /// The GPU refused an access for good.
    GpuFault(GpuRefusal),
    /// The process's queues stand still, and nothing will let them run: no access was begun.
    QueuesStopped,
    /// An access raises retry faults that are answered without effect.
    NoProgress,
}

/// Why a GPU refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum GpuRefusal {
    /// No valid entry.
    Invalid,
    /// The entry lets nobody read.
    Read,
    /// The entry lets nobody write.
    Write,
    /// The entry that ends retry faults.
    NoRetry,
    /// The process's queues are gone.
    QueueGone,
}

impl Part {
    /// Of a call.
    pub fn returned(result: Result<(), Errno>) -> Part {
        Part::Returned(result.map_or_else(|errno| errno as i32, |()| 0))
    }

    pub(crate) fn answered(answers: &[Vec<UapiAttr>]) -> Part {
        Part::Answered(answers.iter().flatten().map(|a| (a.ty, a.value)).collect())
    }

    pub(super) fn refused(kind: FaultKind) -> Part {
        Part::GpuFault(match kind {
            FaultKind::Invalid => GpuRefusal::Invalid,
            FaultKind::NotReadable => GpuRefusal::Read,
            FaultKind::NotWriteable => GpuRefusal::Write,
            FaultKind::NoRetry => GpuRefusal::NoRetry,
            FaultKind::Destroyed => GpuRefusal::QueueGone,
        })
    }

    /// Whether it is the end of whoever had it: of a wave, or of a kernel that a thread waits for.
    pub fn ends_a_wave(&self) -> bool {
        matches!(self, Part::GpuFault(_) | Part::QueuesStopped | Part::NoProgress)
    }
}

/// The name of an errno; its number when the drivers here never return it.
pub fn errno_name(errno: i32) -> String {
    use Errno::*;
    let known = [
        EPERM, ENOENT, ESRCH, EINTR, EIO, EAGAIN, ENOMEM, EACCES, EFAULT, EBUSY, EEXIST, ENODEV, EINVAL, ENOSPC,
        EDEADLK, ETIME, EOVERFLOW, EOPNOTSUPP, EADDRINUSE,
    ];
    known.iter().find(|e| **e as i32 == errno).map_or_else(|| format!("errno {errno}"), ToString::to_string)
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Returned(0) => write!(f, "returns 0"),
            Part::Returned(errno) => write!(f, "returns -{}", errno_name(*errno)),
            Part::Answered(array) => {
                let words: Vec<String> =
                    array.iter().map(|(ty, value)| format!("type {ty} value {value:#x}")).collect();
                write!(f, "answers {}", words.join(", "))
            }
            Part::Word(value) => write!(f, "word {value:#x}"),
            Part::Stored => write!(f, "stored"),
            Part::CpuFault => write!(f, "SIGSEGV"),
            Part::GpuFault(why) => write!(f, "GPU fault ({why:?})"),
            Part::QueuesStopped => write!(f, "the queues stand still"),
            Part::NoProgress => write!(f, "retry faults without end"),
        }
    }
}

/// Where the parts of one operation after the other are kept.
#[derive(Debug, Default)]
pub struct Record(RefCell<Vec<Part>>);

impl Record {
    pub(super) fn keep(&self, part: Part) {
        self.0.borrow_mut().push(part);
    }

    /// What was kept since this was last asked.
    pub fn take(&self) -> Vec<Part> {
        self.0.take()
    }
}
