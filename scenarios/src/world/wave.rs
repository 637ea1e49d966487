//! What GPU waves do, and whose fault it is when they fault.

use super::World;
use crate::invariants;
use crate::lang::{Op, OpKind, Seen};
use interleave::lab::Lab;
use model::units::PAGE_SHIFT;
use sim_gpu::{Access, FaultKind};

impl<L: Lab> World<L> {
    /// One operation of a wave on `gpu`. False when the wave died of a fault.
    pub(super) fn perform_on_gpu(&self, gpu: &str, op: &Op) -> bool {
        let (addr, access, expect) = match &op.kind {
            OpKind::Read { area, expect } => (area.bytes.start, Access::Read, expect),
            OpKind::Write { area, value, expect } => (area.bytes.start, Access::Write(*value), expect),
            OpKind::After { .. } => {
                self.perform(op);
                return true;
            }
            other => unreachable!("the parser keeps {} out of waves", other.name()),
        };
        let device = self.device(gpu);
        let seen = match device.vm.access(addr, access) {
            Ok(value) => match access {
                Access::Read => Seen::Value(value),
                Access::Write(_) => Seen::Done,
            },
            // The process is gone, and its queues with it.
            Err(fault) if fault.kind == FaultKind::Destroyed => return false,
            Err(_) => {
                invariants::i7::judge_fault(self, device, addr >> PAGE_SHIFT, matches!(access, Access::Write(_)));
                Seen::Fault
            }
        };
        self.seen(op, expect, seen);
        seen != Seen::Fault
    }
}
