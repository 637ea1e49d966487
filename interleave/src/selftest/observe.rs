//! A random program as something to explore, with a look at each execution's end and at the path that led there.

use super::generate::RandomProgram;
use super::run::{Outlook, World};
use crate::engine::clock::mix;
use crate::engine::exec::with;
use crate::{Config, Execution, Launch, Program, Strategy};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What was seen of the executions of a search.
#[derive(Default, Debug)]
pub(super) struct Seen {
    /// How executions ended that came to rest.
    pub(super) outlooks: BTreeSet<Outlook>,
    /// By class: the number of the outlook it came with.
    outlook_of: BTreeMap<u64, u64>,
    /// Whether two executions of one class came with two outlooks: then their order is not all that matters, or not all
    /// of it is known.
    pub(super) ambiguous: bool,
    /// Operations that happened, by the engine's names for them.
    pub(super) kinds: BTreeSet<String>,
    /// Whether a writer was in the queue of its rwsem while somebody else went on.
    pub(super) writer_waited: bool,
    /// By class, and whether it is a violation: the fewest preemptions with which it was reached.
    pub(super) preemptions: BTreeMap<(u64, bool), u32>,
}

/// A random program that can be given to [`explore`](crate::explore).
pub struct Observed {
    program: RandomProgram,
    seen: Rc<RefCell<Seen>>,
    paths: bool,
}

impl Observed {
    /// For one search.
    pub fn new(program: &RandomProgram) -> Self {
        Observed { program: program.clone(), seen: Rc::default(), paths: false }
    }
    /// The same, with a look at the path of every execution.
    pub(super) fn with_paths(program: &RandomProgram) -> Self {
        Observed { paths: true, ..Observed::new(program) }
    }
    pub(super) fn take(&self) -> Seen {
        self.seen.take()
    }
    /// The different things that the actors can see: how the executions so far have ended, those that violate something
    /// left out.
    pub fn outcomes(&self) -> BTreeSet<Vec<Vec<u64>>> {
        self.seen.borrow().outlooks.clone()
    }

    /// How to search the program: every class counted, and on after a violation where that makes sense.
    pub fn config(&self, strategy: Strategy, executions: u64) -> Config {
        let mut config = Config {
            strategy,
            free_timers: self.program.free_timers,
            free_retries: self.program.free_retries,
            failures: self.program.failures,
            count_distinct: true,
            keep_going: self.program.runs_to_the_end,
            ..Config::default()
        };
        config.limits.executions = Some(executions);
        config
    }
}

struct Run {
    world: Rc<World>,
    seen: Rc<RefCell<Seen>>,
    paths: bool,
    rests: Cell<bool>,
}

impl Program for Observed {
    fn start(&self, launch: &mut Launch) -> Box<dyn Execution> {
        let world = Rc::new(World::new(self.program.clone()));
        for thread in 0..self.program.threads.len() {
            let its = world.clone();
            launch.actor("thread", move || its.run(thread, &its.program.threads[thread]));
        }
        let its = world.clone();
        launch.on_work(move |client, _| its.run_item(client.0 as usize));
        Box::new(Run { world, seen: self.seen.clone(), paths: self.paths, rests: Cell::new(false) })
    }
}

impl Execution for Run {
    fn at_rest(&self) {
        self.rests.set(true);
        let class = with(|exec| exec.depth.checked_sub(1).map_or(0, |last| exec.frames[last].class));
        let end = self.world.end();
        let number = end.iter().flat_map(|seen| seen.iter().chain([&u64::MAX])).fold(0, |hash, seen| mix(hash, *seen));
        let mut seen = self.seen.borrow_mut();
        seen.ambiguous |= *seen.outlook_of.entry(class).or_insert(number) != number;
        seen.outlooks.insert(end);
    }
}

/// The end of an execution, however it came: at rest, with a violation, or cut short.
impl Drop for Run {
    fn drop(&mut self) {
        if self.paths {
            let fails = !self.rests.get();
            with(|exec| path::note(&exec.frames[..exec.depth], fails, &mut self.seen.borrow_mut()));
        }
    }
}

mod path {
    //! What a path says, told from its events alone.
    use super::Seen;
    use crate::engine::frame::Frame;
    use crate::engine::op::Kind;

    pub(super) fn note(path: &[Frame], fails: bool, seen: &mut Seen) {
        let mut preemptions = 0;
        let mut queued: Vec<&Frame> = Vec::new();
        for (at, frame) in path.iter().enumerate() {
            seen.kinds.insert(format!("{:?}", frame.op.kind));
            match frame.op.kind {
                Kind::WriteLock => queued.retain(|writer| writer.actor != frame.actor),
                _ if queued.iter().any(|writer| writer.actor != frame.actor) => seen.writer_waited = true,
                _ => {}
            }
            if frame.op.kind == Kind::WriteQueue {
                queued.push(frame);
            }
            let before = at.checked_sub(1).map(|at| path[at].actor);
            let could_go_on = before.is_some_and(|before| frame.enabled & (1 << before) != 0);
            preemptions += u32::from(!frame.late && could_go_on && before != Some(frame.actor));
        }
        let class = path.last().map_or(0, |frame| frame.class);
        let fewest = seen.preemptions.entry((class, fails)).or_insert(preemptions);
        *fewest = (*fewest).min(preemptions);
    }
}
