//! What GPU waves do, and whose fault it is when they fault.

use super::record::Part;
use super::{Device, World};
use crate::invariants;
use crate::lang::{Area, Op, OpKind, Seen};
use interleave::lab::Lab;
use model::units::PAGE_SHIFT;
use sim_gpu::{Access, FaultKind};

/// What came of an access; None when the wave's queue is gone.
type Came = Option<Seen>;

impl<L: Lab> World<L> {
    /// One operation of a wave, or of a kernel that a thread waits for. False when the wave died of a fault.
    pub(crate) fn perform_on_gpu(&self, op: &Op) -> bool {
        let (gpu, area) = match &op.kind {
            OpKind::Read { gpu, area, .. }
            | OpKind::Write { gpu, area, .. }
            | OpKind::Add { gpu, area, .. }
            | OpKind::Copy { gpu, area, .. } => (gpu, area),
            _ => {
                self.perform(op);
                return true;
            }
        };
        for page in pages_of(area) {
            let came = match &op.kind {
                OpKind::Read { expect, .. } => self.access(gpu, page, Access::Read).map(|seen| (seen, expect)),
                OpKind::Write { value, expect, .. } => {
                    self.access(gpu, page, Access::Write(*value)).map(|seen| (seen, expect))
                }
                OpKind::Add { value, expect, .. } => {
                    self.access(gpu, page, Access::Add(*value)).map(|seen| (seen, expect))
                }
                OpKind::Copy { to, expect, .. } => {
                    let target = page - area.bytes.start + to.bytes.start;
                    let came = match self.access(gpu, page, Access::Read) {
                        Some(Seen::Value(value)) => self.access(gpu, target, Access::Write(value)),
                        other => other,
                    };
                    came.map(|seen| (seen, expect))
                }
                _ => unreachable!("matched above"),
            };
            // The process is gone, and its queues with it.
            let Some((seen, expect)) = came else { return false };
            if self.record.is_none() {
                self.seen(op, page, expect, seen);
            }
            if seen == Seen::Fault {
                return false;
            }
        }
        true
    }

    /// One access to the word at `addr`.
    fn access(&self, gpu: &str, addr: u64, access: Access) -> Came {
        let device = self.device(gpu);
        if self.record.is_some() {
            return self.access_for_the_record(device, addr, access);
        }
        match device.vm.access(addr, access) {
            Ok(value) if access == Access::Read => Some(Seen::Value(value)),
            Ok(_) => Some(Seen::Done),
            Err(fault) if fault.kind == FaultKind::Destroyed => None,
            Err(_) => {
                invariants::i7::judge_fault(self, device, addr >> PAGE_SHIFT, access.is_write());
                Some(Seen::Fault)
            }
        }
    }

    /// The same, kept and not judged. None ends the wave.
    fn access_for_the_record(&self, device: &Device<L>, addr: u64, access: Access) -> Came {
        let stopped = !device.vm.running() && !self.exited();
        let part = match stopped {
            true => Part::QueuesStopped,
            false => device.vm.access(addr, access).map_or_else(|fault| Part::refused(fault.kind), Part::Word),
        };
        let seen = if let Part::Word(value) = part { Some(value) } else { None };
        self.keeps(|| part);
        seen.map(|value| if access == Access::Read { Seen::Value(value) } else { Seen::Done })
    }
}

/// The first byte of each page of `area`.
pub(super) fn pages_of(area: &Area) -> impl Iterator<Item = u64> {
    let pages = area.bytes.pages();
    (pages.first..=pages.last).map(|page| page << PAGE_SHIFT)
}
