//! What the scenario itself expects when everything is at rest.

use super::fail;
use crate::lang::{Area, FinalKind};
use crate::world::World;
use interleave::lab::{Invariant, Lab};
use model::units::Bytes;

pub(super) fn check<L: Lab>(world: &World<L>) {
    for last in &world.scenario.finals {
        match &last.kind {
            FinalKind::Mapped { gpu, area, except } => mapped(world, gpu, area, except, true),
            FinalKind::Unmapped { gpu, area } => mapped(world, gpu, area, &[], false),
            FinalKind::Value { area, one_of } => {
                let Some(found) = world.mm.peek_word(area.bytes.start) else {
                    let what = format!("{:#x} is not mapped at rest", area.bytes.start);
                    fail::<L>(Invariant::I10, what, None);
                };
                if !one_of.contains(&found) {
                    let what = format!("{:#x} holds {found} at rest, expected one of {one_of:?}", area.bytes.start);
                    fail::<L>(Invariant::I10, what, None);
                }
            }
            FinalKind::Attr { gpu, area, checks } => {
                let (result, answers) = world.ask(gpu, area, checks);
                if let Err(errno) = result {
                    fail::<L>(Invariant::I11, format!("GET_ATTR {} at rest returned -{errno}", area.bytes), None);
                }
                world.check_answers(area, checks, &answers);
            }
            FinalKind::Queues { gpu, running } => {
                if world.device(gpu).vm.running() != *running {
                    let what = format!("at rest the queues of {gpu} {}", if *running { "stand still" } else { "run" });
                    fail::<L>(Invariant::I11, what, None);
                }
            }
        }
    }
}

fn mapped<L: Lab>(world: &World<L>, gpu: &str, area: &Area, except: &[Area], inside: bool) {
    let device = world.device(gpu);
    for page in area.bytes.pages().first..=area.bytes.pages().last {
        let at: Bytes = model::units::Pages::new(page, page).bytes();
        let want = inside && !except.iter().any(|e| e.bytes.overlaps(&at));
        if device.vm.reaches(page).is_some_and(|reach| reach.live) != want {
            let what = format!("at rest page {page:#x} is {}mapped on {gpu}", if want { "not " } else { "" });
            fail::<L>(Invariant::I11, what, None);
        }
    }
}
