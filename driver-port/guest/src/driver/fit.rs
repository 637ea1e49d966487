//! What of a scenario the kernel's half can run, and why not the rest.

use super::calls::HOLE_LEN;
use scenarios::conform::Step;
use scenarios::lang::{Advice, Design, OpKind, RegionKind, Scenario};
use std::path::Path;

/// What the machine has.
#[derive(Clone, Copy)]
pub(crate) struct Machine {
    /// Two memory nodes, so that pages can be moved.
    pub(crate) nodes: bool,
}

impl Machine {
    pub(crate) fn look() -> Machine {
        Machine { nodes: Path::new("/sys/devices/system/node/node1").exists() }
    }
}

/// The scenario as both worlds run it.
pub(crate) struct Fit {
    pub(crate) scenario: Scenario,
    /// Whether GPU memory was left out.
    pub(crate) without_vram: bool,
}

/// The scenario with GPUs that have no memory of their own: the module's have none.
///
/// # Errors
/// Why it cannot be run, in words that fit behind its name.
pub(crate) fn fit(scenario: &Scenario, steps: &[Step], machine: Machine) -> Result<Fit, String> {
    if !scenario.plants.is_empty() {
        return Err("a bug is planted in the simulated hardware".into());
    }
    for region in &scenario.regions {
        match region.kind {
            RegionKind::MixedMap => return Err("no driver of the machine maps memory with VM_MIXEDMAP".into()),
            RegionKind::Io | RegionKind::PfnMap if region.bytes.len() > HOLE_LEN => {
                return Err("/dev/mem has no hole of that size".into());
            }
            _ => {}
        }
    }
    let ops: Vec<&OpKind> = steps.iter().filter_map(|step| Some(&step.op(scenario)?.kind)).collect();
    if ops.iter().any(|op| matches!(op, OpKind::EvictVram { .. })) {
        return Err("it evicts GPU memory, of which the software GPU has none".into());
    }
    let reaps = |op: &&OpKind| matches!(op, OpKind::Advise { advice: Advice::OomReap, .. });
    if ops.iter().any(reaps) {
        return Err("the OOM reaper comes for it, which it would not survive".into());
    }
    if !machine.nodes && ops.iter().any(|op| matches!(op, OpKind::Migrate { .. })) {
        return Err("it migrates pages, for which the machine would need two memory nodes".into());
    }
    let mut scenario = scenario.clone();
    let without_vram = scenario.gpus.iter().any(|gpu| gpu.vram != 0);
    scenario.gpus.iter_mut().for_each(|gpu| gpu.vram = 0);
    Ok(Fit { scenario, without_vram })
}

/// Whether the scenario asks something of `design`.
pub(crate) fn asks(scenario: &Scenario, design: Design) -> bool {
    scenario.verdict(design).is_some() && scenario.refusal(design).is_none()
}
