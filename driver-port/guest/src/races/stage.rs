//! The process in which a race is taken: its threads, held by the gates, and a judge who looks at the GPU when the script is
//! at its end and everybody stands still, and once more when all is at rest.

use super::judge::{self, Wrong};
use super::owed::Owed;
use super::script::{self, LOOK, Steps};
use crate::device::{Gpu, uapi};
use crate::driver::{Access, Caller, Framework, Vm, in_child, on_cpus, pages_of};
use model::units::Bytes;
use scenarios::conform::Part;
use scenarios::gates::{GateActor, GateScript, stageable};
use scenarios::lang::{Design, Op, OpKind, Scenario};
use serde::{Deserialize, Serialize};
use std::thread;
use std::time::Duration;

/// How often the judge looks at the end of the script, unless he sees something.
const LOOKS: u32 = 10;
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// How long one access of a GPU may take.
const ACCESS_MS: u32 = 2000;

/// A scenario, and how its actors are to come by each other.
pub(crate) struct Stage<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) design: Design,
    pub(crate) framework: Framework,
    pub(crate) script: &'a GateScript,
    /// How long an actor is held while no other makes progress, in ms.
    pub(crate) patience: u32,
    /// Whether the driver's event log is asked for.
    pub(crate) log: bool,
}

/// What was seen.
#[derive(Serialize, Deserialize)]
pub(crate) struct Seen {
    /// At the end of the script, while no worker went on.
    then: Vec<Wrong>,
    /// When all was at rest.
    at_rest: Vec<Wrong>,
    /// What the gates have to say.
    pub(crate) gates: String,
    /// The driver's event log.
    log: String,
}

impl Seen {
    pub(crate) fn wrong(&self) -> impl Iterator<Item = &Wrong> {
        self.then.iter().chain(&self.at_rest)
    }

    pub(crate) fn in_words(&self) -> String {
        let wrong: Vec<String> = self.wrong().map(|wrong| format!("{}: {}\n", wrong.invariant, wrong.what)).collect();
        format!("{}{}\n{}", wrong.concat(), self.gates, self.log)
    }
}

impl Stage<'_> {
    /// Takes the race, in a process of its own.
    ///
    /// # Errors
    /// It could not be taken; in words.
    pub(crate) fn perform(&self) -> Result<Seen, String> {
        stageable(self.scenario, self.design, &[])?;
        let steps = script::steps(self.script)?;
        in_child(|| self.in_process(&steps))
    }

    fn in_process(&self, steps: &Steps) -> Result<Seen, String> {
        on_cpus(&[0, 1]).map_err(|error| format!("CPU affinity: {error}"))?;
        let gpus = [Vm::open()?];
        let Stage { scenario, design, framework, .. } = *self;
        let cast = Cast {
            caller: Caller { scenario, design, framework, gpus: &gpus },
            gpu: &gpus[0],
            owed: Owed::new(scenario),
        };
        cast.caller.set_up()?;
        for op in &scenario.prepare {
            cast.perform(op)?;
        }
        while cast.gpu.settle()? > 0 {}
        let said = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let file = cast.gpu.file();
        if self.log {
            cast.gpu.log(true)?;
            cast.gpu.drain_log()?;
        }
        file.arm(&steps.steps, self.patience).map_err(said("GATE ARM"))?;
        let regions: Vec<Bytes> = scenario.regions.iter().map(|region| region.bytes).collect();
        let then = thread::scope(|scope| {
            let threads: Vec<_> = (0u32..)
                .zip(&self.script.actors)
                .filter_map(|(number, actor)| Some((number, self.ops(actor)?)))
                .map(|(number, ops)| {
                    let cast = &cast;
                    scope.spawn(move || cast.play(number, ops))
                })
                .collect();
            // The judge comes to its place when everybody is past theirs, and no worker goes on before it leaves. Another
            // thread looks: to come by the driver's locks would be to leave.
            let came = file
                .gate(uapi::SVMLAB_GATE_ENTER, steps.judge, 0)
                .and_then(|_| file.gate(uapi::SVMLAB_GATE_POINT, steps.judge, LOOK));
            let looked = came.map_err(said("GATE")).and_then(|_| {
                let looking = scope.spawn(|| look(file, &regions, &cast.owed));
                looking.join().map_err(|_| "the thread that looks panicked".to_owned())?
            });
            let left = file.gate(uapi::SVMLAB_GATE_LEAVE, steps.judge, 0).map_err(said("GATE LEAVE"));
            for thread in threads {
                thread.join().map_err(|_| "a thread panicked".to_owned())??;
            }
            left?;
            looked
        })?;
        let gate = file.gate(uapi::SVMLAB_GATE_STATE, 0, 0).map_err(said("GATE STATE"))?;
        file.gate(uapi::SVMLAB_GATE_DISARM, 0, 0).map_err(said("GATE DISARM"))?;
        // A closed instance keeps what it has queued until fini.
        let closes = |op: &Op| matches!(op.kind, OpKind::Close { .. } | OpKind::Fini { .. });
        if !scenario.threads.iter().flat_map(|thread| &thread.ops).any(closes) {
            while cast.gpu.settle()? > 0 {}
        }
        let mut at_rest = judge::at_any_moment(file, &regions, &cast.owed.pages())?;
        at_rest.extend(judge::at_rest(file, &regions, &cast.owed.pages())?);
        let mut gates = format!(
            "{} steps taken, {} of them after a wait for somebody else, {} passed over",
            gate.passed, gate.held, gate.skipped
        );
        if gate.late != 0 {
            let step = &steps.steps[gate.late_step as usize];
            let missing = steps.steps[..gate.late_step as usize].iter().rfind(|other| other.actor != step.actor);
            let name = |actor: u32| match self.script.actors.get(actor as usize) {
                Some(actor) => actor.to_string(),
                None => "the judge".to_owned(),
            };
            gates += &format!(
                ", and {} waited in vain at step {} of {} (before it comes {})",
                name(step.actor),
                gate.late_step,
                steps.steps.len(),
                missing.map_or("nobody".to_owned(), |other| name(other.actor))
            );
        }
        let log = if self.log { self.told(cast.gpu.drain_log()?) } else { String::new() };
        Ok(Seen { then, at_rest, gates, log })
    }

    /// The event log behind the script that its lines speak of.
    fn told(&self, lines: Vec<String>) -> String {
        let GateScript { actors, steps } = self.script;
        let actors = actors.iter().enumerate().map(|(number, actor)| format!("actor {number} is {actor}"));
        let steps = steps
            .iter()
            .enumerate()
            .map(|(number, step)| format!("step {number}: actor {} {}", step.actor, step.point));
        actors.chain(steps).chain(lines).collect::<Vec<_>>().join("\n")
    }

    /// What a thread or wave of the scenario does; None for a worker.
    fn ops(&self, actor: &GateActor) -> Option<&[Op]> {
        match actor {
            GateActor::Thread(number) => Some(&self.scenario.threads[*number].ops),
            GateActor::Wave(number) => Some(&self.scenario.waves[*number].ops),
            GateActor::Work(_) => None,
        }
    }
}

/// Looks until the same is wrong twice: one look takes time, and something may be on its way.
fn look(file: &Gpu, regions: &[Bytes], owed: &Owed) -> Result<Vec<Wrong>, String> {
    let mut before = Vec::new();
    for _ in 0..LOOKS {
        let wrong = judge::at_any_moment(file, regions, &owed.pages())?;
        if !wrong.is_empty() && wrong == before {
            return Ok(wrong);
        }
        before = wrong;
        thread::sleep(BETWEEN_LOOKS);
    }
    Ok(Vec::new())
}

/// What the threads share.
struct Cast<'a> {
    caller: Caller<'a>,
    gpu: &'a Vm,
    owed: Owed,
}

impl Cast<'_> {
    /// The whole part of one thread.
    fn play(&self, actor: u32, ops: &[Op]) -> Result<(), String> {
        let gate = |what, place| {
            let came = self.gpu.file().gate(what, actor, place);
            came.map(drop).map_err(|error| format!("GATE: {error}"))
        };
        gate(uapi::SVMLAB_GATE_ENTER, 0)?;
        for (number, op) in (0..).zip(ops) {
            gate(uapi::SVMLAB_GATE_POINT, script::begin(number))?;
            self.perform(op)?;
            gate(uapi::SVMLAB_GATE_POINT, script::end(number))?;
        }
        gate(uapi::SVMLAB_GATE_LEAVE, 0)
    }

    /// One operation; what comes of it is the judge's business, not how it returns.
    fn perform(&self, op: &Op) -> Result<(), String> {
        let call = self.owed.begin(&op.kind);
        let ok = match &op.kind {
            // The script says who comes after whom.
            OpKind::After { .. } => true,
            OpKind::Close { gpu } => self.caller.gpu(gpu)?.close().is_ok(),
            OpKind::Fini { gpu } => self.caller.gpu(gpu)?.fini().is_ok(),
            OpKind::Read { area, .. } => self.on_gpu(pages_of(area), Access::Load),
            OpKind::Write { area, value, .. } => self.on_gpu(pages_of(area), Access::Store(*value)),
            OpKind::Add { area, value, .. } => self.on_gpu(pages_of(area), Access::Add(*value)),
            kind => self.caller.perform(kind)?.first() == Some(&Part::Returned(0)),
        };
        self.owed.end(&op.kind, call, ok);
        Ok(())
    }

    fn on_gpu(&self, pages: impl Iterator<Item = u64>, access: Access) -> bool {
        for page in pages {
            // The bus refuses what would change the kernel's own memory: what else can come of a race.
            if !matches!(self.gpu.access(page, access, ACCESS_MS), Ok(Part::Word(_))) {
                return false;
            }
        }
        true
    }
}
