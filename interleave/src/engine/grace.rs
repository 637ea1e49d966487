//! Grace periods: which read-side critical sections have begun, and which of them somebody waits for.
//!
//! That a section begins is an event, that it ends is none. So a grace period waits for every section that began before
//! it, those included that have ended: whether one ended just before or just after must not make a difference.

use super::clock::Clock;
use super::exec::{Exec, Mode};
use super::op::ObjectId;

/// A read-side critical section.
#[derive(Clone, Copy, Debug)]
struct Section {
    domain: ObjectId,
    actor: u8,
    /// When it ended.
    ended: Option<Clock>,
}

/// Sections and grace periods of the running execution.
#[derive(Clone, Debug)]
pub(crate) struct Grace {
    sections: Vec<Section>,
    /// For each grace period, its domain and how many of the sections began before it.
    periods: Vec<(ObjectId, usize)>,
}

impl Grace {
    pub(super) const fn new() -> Self {
        Grace { sections: Vec::new(), periods: Vec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.sections.clear();
        self.periods.clear();
    }

    /// The sections that `period` waits for.
    fn of(&self, period: u64) -> impl Iterator<Item = &Section> {
        let (domain, before) = self.periods[period as usize];
        self.sections[..before].iter().filter(move |section| section.domain == domain)
    }

    pub(super) fn is_over(&self, period: u64) -> bool {
        self.of(period).all(|section| section.ended.is_some())
    }

    /// What happens before the end of `period`.
    pub(super) fn order_after_end(&self, period: u64, clock: &mut Clock) {
        self.of(period).filter_map(|section| section.ended).for_each(|ended| clock.join(&ended));
    }

    /// Who keeps `period` from ending.
    pub(super) fn readers(&self, period: u64) -> Vec<usize> {
        self.of(period).filter(|section| section.ended.is_none()).map(|section| section.actor.into()).collect()
    }
}

impl Exec {
    /// The running actor has begun a section; its number.
    pub(crate) fn begin_section(&mut self, domain: ObjectId) -> usize {
        let actor = self.current;
        self.grace.sections.push(Section { domain, actor, ended: None });
        self.grace.sections.len() - 1
    }

    pub(crate) fn end_section(&mut self, section: usize) {
        if self.mode == Mode::Ending {
            return;
        }
        let clock = self.hand_over();
        self.grace.sections[section].ended = Some(clock);
        self.changed(self.grace.sections[section].domain);
    }

    /// Whether the running actor is in a section of `domain`.
    pub(crate) fn reads(&self, domain: ObjectId) -> bool {
        let mine = |s: &Section| s.domain == domain && s.actor == self.current && s.ended.is_none();
        self.grace.sections.iter().any(mine)
    }

    /// The running actor begins to wait; the number of its grace period.
    pub(crate) fn begin_grace(&mut self, domain: ObjectId) -> u64 {
        self.grace.periods.push((domain, self.grace.sections.len()));
        self.grace.periods.len() as u64 - 1
    }
}
