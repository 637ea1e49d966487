//! One run in the kernel, told as the simulator tells its own.

use super::calls::pages_of;
use super::process::{Family, Job};
use super::vm::{Access, Framework, Vm};
use model::units::Bytes;
use scenarios::conform::{GpuState, Part, Run, Step, Turn, Who};
use scenarios::lang::{FinalKind, Op, OpKind};
use std::rc::Rc;

/// How long an access may take that the simulator made.
const PATIENCE_MS: u32 = 5000;
/// How long one is tried that does not end there, or that stopped queues keep from beginning.
const GLANCE_MS: u32 = 60;

/// Runs the steps of `job`, of which the simulator came to the end of `ended`.
///
/// # Errors
/// The laboratory failed, in words, or a driver does not come to rest.
pub(crate) fn run(job: &Job<'_>, ended: usize, log: bool) -> Result<Run, String> {
    let gpus = job.scenario.gpus.iter().map(|_| Vm::open()).collect::<Result<Rc<[Vm]>, String>>()?;
    let family = Family::start(job, &gpus)?;
    let mut regions: Vec<Bytes> = job.scenario.regions.iter().map(|region| region.bytes).collect();
    regions.sort_by_key(|bytes| bytes.start);
    let mut kernel = InKernel { job, gpus, family, regions, ended, exited: false, dead: Vec::new() };
    let result = kernel.all(log);
    // The files go before the process does: their last references are the suite's.
    drop(kernel.family);
    result
}

struct InKernel<'a> {
    job: &'a Job<'a>,
    gpus: Rc<[Vm]>,
    family: Family,
    /// In address order.
    regions: Vec<Bytes>,
    ended: usize,
    /// Whether the first process has.
    exited: bool,
    /// Waves that take no part any more.
    dead: Vec<usize>,
}

impl InKernel<'_> {
    fn all(&mut self, log: bool) -> Result<Run, String> {
        let mut run = Run { before: self.states()?, ..Run::default() };
        if log {
            self.gpus[0].log(true)?;
            self.gpus[0].drain_log()?;
        }
        for (index, step) in self.job.steps.iter().enumerate() {
            let came = self.perform(index, *step).map_err(|error| self.during(*step, &error))?;
            let after = self.states().map_err(|error| self.during(*step, &error))?;
            let events = if log { self.gpus[0].drain_log()? } else { Vec::new() };
            run.turns.push(Turn { step: *step, came, after, events });
        }
        if log {
            self.gpus[0].log(false)?;
        }
        Ok(run)
    }

    fn during(&self, step: Step, error: &str) -> String {
        format!("{}: {error}", step.in_words(self.job.scenario))
    }

    /// How the GPUs stand when nothing is left to do.
    fn states(&self) -> Result<Vec<GpuState>, String> {
        // The worker of one may give another something to do.
        while self.gpus.iter().try_fold(0, |rounds, gpu| gpu.settle().map(|more| rounds + more))? > 0 {}
        self.gpus.iter().map(|gpu| gpu.state(self.job.framework, &self.regions)).collect()
    }

    fn perform(&mut self, index: usize, step: Step) -> Result<Vec<Part>, String> {
        let scenario = self.job.scenario;
        let process = match step.who {
            Who::Thread(thread) => scenario.threads[thread].process.as_deref(),
            Who::Wave(wave) => {
                let mut parts = Vec::new();
                if !self.dead.contains(&wave) {
                    let op = step.op(scenario).expect("a wave has operations only");
                    if !self.on_gpu(index, op, &mut parts)? {
                        self.dead.push(wave);
                    }
                }
                return Ok(parts);
            }
            Who::Prepare | Who::Final => None,
        };
        match (step.op(scenario).map(|op| (op, &op.kind)), step.last_look(scenario)) {
            (Some((op, OpKind::Read { .. } | OpKind::Write { .. } | OpKind::Add { .. } | OpKind::Copy { .. })), _) => {
                let mut parts = Vec::new();
                self.on_gpu(index, op, &mut parts)?;
                Ok(parts)
            }
            (Some((_, OpKind::Close { gpu })), _) => self.gpu(gpu).close().map(|()| Vec::new()),
            (Some((_, OpKind::Fini { gpu })), _) => self.gpu(gpu).fini().map(|()| Vec::new()),
            // The GPUs' states say it.
            (None, Some(FinalKind::Mapped { .. } | FinalKind::Unmapped { .. } | FinalKind::Queues { .. })) => {
                Ok(Vec::new())
            }
            _ => {
                let came = self.family.peer(process).perform(index)?;
                self.exited |= came.is_none() && process.is_none();
                Ok(came.unwrap_or_default())
            }
        }
    }

    fn gpu(&self, name: &str) -> &Vm {
        &self.gpus
            [self.job.scenario.gpus.iter().position(|decl| decl.name == name).expect("the parser resolves GPU names")]
    }

    /// The accesses of one operation, up to the first that faults. False when one did.
    fn on_gpu(&self, index: usize, op: &Op, parts: &mut Vec<Part>) -> Result<bool, String> {
        let (OpKind::Read { gpu, area, .. }
        | OpKind::Write { gpu, area, .. }
        | OpKind::Add { gpu, area, .. }
        | OpKind::Copy { gpu, area, .. }) = &op.kind
        else {
            return Err(format!("{} is nothing that a wave does", op.kind.name()));
        };
        let mut access = |addr, access| -> Result<Option<u64>, String> {
            let short = index >= self.ended || (!self.exited && !self.gpu(gpu).is_running()?);
            let part = self.gpu(gpu).access(addr, access, if short { GLANCE_MS } else { PATIENCE_MS })?;
            let value = if let Part::Word(value) = part { Some(value) } else { None };
            parts.push(part);
            Ok(value)
        };
        for page in pages_of(area) {
            let made = match &op.kind {
                OpKind::Write { value, .. } => access(page, Access::Store(*value))?,
                OpKind::Add { value, .. } => access(page, Access::Add(*value))?,
                OpKind::Copy { to, .. } => match access(page, Access::Load)? {
                    Some(value) => access(page - area.bytes.start + to.bytes.start, Access::Store(value))?,
                    None => None,
                },
                _ => access(page, Access::Load)?,
            };
            if made.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether the module has it.
///
/// # Errors
/// It has not; in words.
pub(crate) fn can_create(framework: Framework) -> Result<(), String> {
    use scenarios::conform::program_order;
    use scenarios::lang::{Design, ScenarioBuilder};
    let scenario = ScenarioBuilder::new("any", "Can a VM be made?")
        .region("buf", 0x20_0000, 0x1000)
        .thread("app", |t| t.load("buf", 0, &[]))
        .build()
        .map_err(|error| error.to_string())?;
    let steps = program_order(&scenario).map_err(|error| error.to_string())?;
    run(&Job { scenario: &scenario, design: Design::Hardened, framework, steps: &steps }, steps.len(), false).map(drop)
}
