//! RCU and SRCU: read-side critical sections, and grace periods that wait for those that have begun.

use crate::engine::exec::{Mode, fail, visible, with};
use crate::engine::op::{Kind, ObjectId, Op};
use crate::lab::{Invariant, Span, Violation};
use std::panic::Location;

/// A domain: all of RCU, or one `struct srcu_struct`.
pub struct SimRcu {
    object: ObjectId,
    name: &'static str,
    /// Whether readers may sleep.
    sleepable: bool,
}

/// A read-side critical section, until dropped. Sections nest.
pub struct SimRcuGuard<'a> {
    section: Option<usize>,
    domain: &'a SimRcu,
}

impl SimRcu {
    /// RCU: who reads must not sleep.
    pub fn new(name: &'static str) -> Self {
        SimRcu { object: with(|exec| exec.add_object(name, 0)), name, sleepable: false }
    }

    /// `init_srcu_struct`: who reads may sleep.
    pub fn new_srcu(name: &'static str) -> Self {
        SimRcu { sleepable: true, ..SimRcu::new(name) }
    }

    /// `rcu_read_lock`, `srcu_read_lock`. Never waits.
    #[track_caller]
    pub fn read(&self) -> SimRcuGuard<'_> {
        visible(Op::new(Kind::RcuRead, self.object), Location::caller());
        let section = with(|exec| {
            let running = exec.mode == Mode::Running;
            if running && !self.sleepable {
                exec.atomic_depth[exec.current as usize] += 1;
            }
            running.then(|| exec.begin_section(self.object))
        });
        SimRcuGuard { section, domain: self }
    }

    /// `synchronize_rcu`, `synchronize_srcu`: returns when every section that had begun has ended. Sleeps.
    #[track_caller]
    pub fn synchronize(&self) {
        let place = Location::caller();
        if with(|exec| exec.mode != Mode::Running) {
            return;
        }
        if with(|exec| exec.reads(self.object)) {
            let what = format!("a reader of {} waits for the readers of {}, and so for itself", self.name, self.name);
            fail(Violation::new(Invariant::I8, what, None));
        }
        visible(Op::new(Kind::GraceBegin, self.object), place);
        let period = with(|exec| exec.begin_grace(self.object));
        visible(Op::with_span(Kind::GraceEnd, self.object, Span::one(period)), place);
    }
}

impl Drop for SimRcuGuard<'_> {
    fn drop(&mut self) {
        if let Some(section) = self.section {
            with(|exec| {
                if exec.mode == Mode::Running && !self.domain.sleepable {
                    let depth = &mut exec.atomic_depth[exec.current as usize];
                    *depth = depth.saturating_sub(1);
                }
                exec.end_section(section);
            });
        }
    }
}
