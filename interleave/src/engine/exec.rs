//! The running execution: who wants to do what, who goes next, and what has happened so far.

use super::clock::{Actors, Clock, MAX_ACTORS, mix};
use super::coroutine;
use super::enabled::Enabled;
use super::frame::Frame;
use super::grace::Grace;
use super::object::{NOBODY, Object, Past};
use super::op::{Kind, NO_OBJECT, ObjectId, Op, dependent};
use super::part::Part;
use super::record::Recorder;
use super::strategy::{Bounded, Chooser};
use super::work::{Item, Queue};
use crate::lab::{Invariant, Stamp, Violation};
use crate::lockdep::Lockdep;
use model::platform::Plant;
use std::cell::RefCell;
use std::panic::Location;

/// What primitives mean at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Outside of executions, in setup and in final checks: sequential, everything at once.
    Sequential,
    /// Actors run and every visible operation is a choice.
    Running,
    /// The execution is over and stacks are being unwound: nothing has an effect.
    Ending,
}

/// What the main loop does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Resume this actor; its pending operation has just happened.
    Run(u8),
    /// Nothing can run and nothing has to.
    Rest,
    /// The search has no use for the rest of this execution.
    Cut,
    /// A violation was found.
    Failed,
}

/// Which bugs are planted: a bit for each number that one can have.
pub(crate) type Planted = [u64; Plant::NUMBERS.div_ceil(64)];

/// Everything about the running execution.
pub(crate) struct Exec {
    pub(crate) mode: Mode,
    pub(crate) current: u8,
    pub(crate) next: Next,
    /// How many actors there are.
    pub(crate) actors: usize,
    /// Their names; what is beyond is left from earlier executions, to be used again.
    pub(crate) all_names: Vec<String>,
    /// Actors that may be idle at the end: workers.
    pub(crate) daemons: Actors,
    pub(crate) pending: [Op; MAX_ACTORS],
    pub(crate) places: [&'static Location<'static>; MAX_ACTORS],
    /// See [`super::enabled`].
    pub(super) enabled: Enabled,
    pub(crate) clocks: [Clock; MAX_ACTORS],
    pub(crate) atomic_depth: [u8; MAX_ACTORS],
    pub(crate) objects: Vec<Object>,
    created: [u32; MAX_ACTORS + 1],
    pub(crate) items: Vec<Item>,
    pub(crate) grace: Grace,
    /// Whether the last attempt in sequential context was successful.
    tried_at_once: bool,
    /// Operations that this execution may still do in sequential context. Without an execution nobody counts.
    pub(crate) at_once_left: Option<u32>,
    pub(crate) queues: Vec<Queue>,
    /// Virtual time in milliseconds.
    pub(crate) now_ms: u64,
    pub(super) retries: [u32; MAX_ACTORS],
    pub(super) late_steps: u32,
    /// Who had the last late step. Late steps are barriers, so this is the same in all equivalent executions, unlike
    /// who had the last step.
    pub(super) last_late: u8,
    pub(super) late_in_a_row: [u32; MAX_ACTORS],
    pub(super) why_retry: [&'static str; MAX_ACTORS],
    /// A note is being made: what it looks at is no step.
    pub(crate) aside: bool,

    pub(crate) frames: Vec<Frame>,
    pub(crate) depth: usize,
    /// Events that are only done again, from the previous execution.
    pub(crate) replayed: usize,
    pub(crate) chooser: Chooser,
    /// Who goes next, last first, as far as that is possible: see [`Frame::plan`].
    pub(crate) plan: Vec<u8>,
    pub(crate) bounded: Bounded,
    pub(crate) races: u64,
    /// Which part of the search this is.
    pub(crate) part: Part,
    pub(crate) violation: Option<Violation>,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) lockdep: Lockdep,

    pub(crate) planted: Planted,
    /// Those whose place somebody has come by.
    pub(crate) asked: Planted,
    pub(crate) free_timers: u32,
    pub(crate) free_retries: u32,
    /// How many failures each actor may meet, and how many it has.
    pub(crate) failures: u32,
    failed: [u32; MAX_ACTORS],
    pub(crate) max_events: u32,
    pub(crate) count_classes: bool,
}

thread_local! {
    static EXEC: RefCell<Exec> = RefCell::new(Exec::new());
}

/// Looks into or changes the running execution. Must not be nested, and must not suspend inside.
#[inline(always)]
pub(crate) fn with<R>(f: impl FnOnce(&mut Exec) -> R) -> R {
    EXEC.with(|exec| f(&mut exec.borrow_mut()))
}

/// Whether stacks are being unwound, after an execution or because of a panic: what is done now has no effect, and
/// nothing is a finding.
pub(crate) fn unwinding() -> bool {
    std::thread::panicking() || with(|exec| exec.mode == Mode::Ending)
}

/// One visible operation of the running actor: returns when it has happened. In sequential context it happens at once.
#[inline]
pub(crate) fn visible(op: Op, place: &'static Location<'static>) {
    let then = with(|exec| match exec.mode {
        Mode::Sequential => {
            exec.at_once(&op);
            match exec.at_once_left.as_mut() {
                // Unwinding goes on without a bound.
                Some(0) if !std::thread::panicking() => Then::Endless,
                Some(left) => {
                    *left = left.saturating_sub(1);
                    Then::GoOn
                }
                None => Then::GoOn,
            }
        }
        Mode::Ending => Then::GoOn,
        // A guard or a destructor on the way of a panic: leaving the stack now would never end well.
        Mode::Running if std::thread::panicking() => Then::GoOn,
        Mode::Running if exec.aside => Then::GoOn,
        Mode::Running => {
            let actor = exec.current;
            exec.arrive(actor, op, place);
            exec.next = exec.pick();
            if exec.next == Next::Run(actor) { Then::GoOn } else { Then::Suspend }
        }
    });
    match then {
        Then::GoOn => {}
        Then::Suspend => coroutine::suspend(),
        Then::Endless => fail(Violation::new(
            Invariant::I6,
            format!(
                "{MOST_AT_ONCE} operations and no end, with nobody else running: {}:{}",
                short(place.file()),
                place.line()
            ),
            None,
        )),
    }
}

/// What comes after a visible operation.
enum Then {
    GoOn,
    Suspend,
    Endless,
}

/// A visible operation that may come to nothing; whether it did not.
pub(crate) fn tries(op: Op, place: &'static Location<'static>) -> bool {
    visible(op, place);
    with(|exec| match exec.mode {
        Mode::Running if !std::thread::panicking() => exec.chosen() == 1,
        Mode::Sequential => exec.tried_at_once,
        // Nothing can be had any more, and what is told to have been had would have to be given back.
        Mode::Running | Mode::Ending => false,
    })
}

/// A choice of the running actor between `alternatives`; 0 is the ordinary one, and the only one outside of executions.
pub(crate) fn choose(alternatives: u8, place: &'static Location<'static>) -> u8 {
    if alternatives < 2 || with(|exec| exec.mode) != Mode::Running || std::thread::panicking() {
        return 0;
    }
    visible(Op::with_arg(Kind::Choose, NO_OBJECT, u64::from(alternatives)), place);
    with(|exec| exec.chosen())
}

/// Whether something that can fail does so here: a choice as long as the running actor may meet failures.
pub(crate) fn fails(place: &'static Location<'static>) -> bool {
    let may = with(|exec| exec.mode == Mode::Running && exec.failed[exec.current as usize] < exec.failures);
    let fails = may && choose(2, place) == 1;
    if fails {
        with(|exec| exec.failed[exec.current as usize] += 1);
    }
    fails
}

/// Ends the execution with a violation; does not return. Outside of actors it panics with the violation.
pub(crate) fn fail(violation: Violation) -> ! {
    let in_actor = with(|exec| {
        if exec.mode == Mode::Running {
            exec.set_violation(violation.clone());
            exec.next = Next::Failed;
            true
        } else {
            false
        }
    });
    if in_actor {
        loop {
            coroutine::suspend();
        }
    }
    std::panic::panic_any(Fallen(violation));
}

/// Operations in sequential context, where nothing is an event and no search bounds them, after which there is no progress.
/// A setup needs some thousand.
const MOST_AT_ONCE: u32 = 4_000_000;

/// The panic payload of a violation found outside of an actor.
pub(crate) struct Fallen(pub(crate) Violation);

impl Exec {
    fn new() -> Self {
        Exec {
            mode: Mode::Sequential,
            current: NOBODY,
            next: Next::Rest,
            actors: 0,
            all_names: Vec::new(),
            daemons: 0,
            pending: [Op::DONE; MAX_ACTORS],
            places: [Location::caller(); MAX_ACTORS],
            enabled: Enabled::NONE,
            clocks: [Clock::ZERO; MAX_ACTORS],
            atomic_depth: [0; MAX_ACTORS],
            objects: Vec::new(),
            created: [0; MAX_ACTORS + 1],
            items: Vec::new(),
            grace: Grace::new(),
            tried_at_once: false,
            at_once_left: None,
            queues: Vec::new(),
            now_ms: 0,
            retries: [0; MAX_ACTORS],
            late_steps: 0,
            last_late: NOBODY,
            late_in_a_row: [0; MAX_ACTORS],
            why_retry: [""; MAX_ACTORS],
            aside: false,
            frames: Vec::new(),
            depth: 0,
            replayed: 0,
            chooser: Chooser::First,
            plan: Vec::new(),
            bounded: Bounded::default(),
            races: 0,
            part: Part::default(),
            violation: None,
            recorder: None,
            lockdep: Lockdep::default(),
            planted: Planted::default(),
            asked: Planted::default(),
            free_timers: 2,
            free_retries: 3,
            failures: 0,
            failed: [0; MAX_ACTORS],
            max_events: u32::MAX,
            count_classes: false,
        }
    }

    /// Forgets the previous execution, not the search.
    pub(crate) fn reset(&mut self) {
        self.mode = Mode::Sequential;
        self.current = NOBODY;
        self.next = Next::Rest;
        self.actors = 0;
        self.daemons = 0;
        self.pending = [Op::DONE; MAX_ACTORS];
        self.enabled = Enabled::NONE;
        self.clocks = [Clock::ZERO; MAX_ACTORS];
        self.atomic_depth = [0; MAX_ACTORS];
        self.objects.clear();
        self.created = [0; MAX_ACTORS + 1];
        self.items.clear();
        self.grace.clear();
        self.queues.clear();
        self.now_ms = 0;
        self.bounded.times = 0;
        self.at_once_left = Some(MOST_AT_ONCE);
        self.retries = [0; MAX_ACTORS];
        self.failed = [0; MAX_ACTORS];
        self.late_steps = 0;
        self.last_late = NOBODY;
        self.late_in_a_row = [0; MAX_ACTORS];
        self.depth = 0;
        self.violation = None;
        self.lockdep.begin_execution();
        self.aside = false;
    }

    /// Registers an actor; its first pending operation is [`Kind::Begin`].
    pub(crate) fn add_actor(&mut self, name: &str, daemon: bool) -> u8 {
        let actor = self.actors;
        assert!(actor < MAX_ACTORS, "an execution has at most {MAX_ACTORS} actors, workers included");
        self.actors += 1;
        if self.all_names.len() <= actor {
            self.all_names.push(String::new());
        }
        self.all_names[actor].clear();
        self.all_names[actor].push_str(name);
        self.comes(actor as u8, Op::BEGIN);
        if daemon {
            self.daemons |= 1 << actor;
        }
        actor as u8
    }

    /// Names, by number.
    pub(crate) fn names(&self) -> &[String] {
        &self.all_names[..self.actors]
    }

    pub(crate) fn add_object(&mut self, name: &'static str, word: u64) -> ObjectId {
        let creator = if self.mode == Mode::Running { self.current as usize } else { MAX_ACTORS };
        let nth = self.created[creator];
        self.created[creator] += 1;
        self.objects.push(Object::new(name, (creator as u64) << 32 | u64::from(nth), word));
        (self.objects.len() - 1) as ObjectId
    }

    pub(crate) fn set_violation(&mut self, violation: Violation) {
        if self.violation.is_none() {
            self.violation = Some(violation);
        }
    }

    /// What the last event, a [`Kind::Choose`], came to.
    pub(crate) fn chosen(&self) -> u8 {
        self.frames[self.depth - 1].value
    }

    /// The event that happens now, counted from 1; 0 in setup.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp(self.depth as u32)
    }

    fn at_once(&mut self, op: &Op) {
        if op.object == NO_OBJECT || op.kind.is_work() {
            return;
        }
        let object = &mut self.objects[op.object as usize];
        assert!(object.allows(op), "{} cannot be had at once, and nobody else runs to give it", object.name);
        let value = object.tried(op.kind).unwrap_or(0);
        object.apply(op, NOBODY, value);
        if matches!(op.kind, Kind::Lock | Kind::SpinLock | Kind::WriteLock) || op.kind == Kind::TryLock && value == 1 {
            object.owner = SEQUENTIAL_OWNER;
        }
        self.tried_at_once = value == 1;
    }

    fn arrive(&mut self, actor: u8, op: Op, place: &'static Location<'static>) {
        self.comes(actor, op);
        self.places[actor as usize] = place;
        if self.atomic_depth[actor as usize] > 0 && op.kind.may_sleep() {
            let name = self.objects.get(op.object as usize).map_or("", |o| o.name);
            let violation = self.sleeps_in_atomic(actor, name, place);
            self.set_violation(violation);
        }
    }

    fn sleeps_in_atomic(&self, actor: u8, at: &str, place: &Location<'_>) -> Violation {
        let what = format!(
            "{} may sleep at {at} ({}:{}) {}",
            self.names()[actor as usize],
            short(place.file()),
            place.line(),
            self.why_atomic(actor)
        );
        Violation::new(Invariant::I8, what, None)
    }

    /// `might_sleep()` of an operation that does not always: what is wrong with doing it here.
    pub(crate) fn might_sleep(&self, at: &str, place: &Location<'_>) -> Option<Violation> {
        self.in_atomic().then(|| self.sleeps_in_atomic(self.current, at, place))
    }

    /// Whether the running actor holds a spinlock.
    pub(crate) fn in_atomic(&self) -> bool {
        self.mode == Mode::Running && self.atomic_depth[self.current as usize] > 0
    }

    /// Lets somebody do its pending operation, and says who goes on; that is who runs from now on.
    #[inline]
    pub(crate) fn pick(&mut self) -> Next {
        if self.depth + 1 < self.replayed {
            return self.again();
        }
        let next = self.pick_new();
        if let Next::Run(actor) = next {
            self.current = actor;
        }
        next
    }

    /// The same at a place that the search has not been at.
    fn pick_new(&mut self) -> Next {
        if self.violation.is_some() {
            return Next::Failed;
        }
        let depth = self.depth;
        self.know_who_can_run();
        let (runnable, late) = self.runnable();
        if runnable == 0 {
            self.see_blocked(0);
            return self.nothing_runs();
        }
        if depth as u32 >= self.max_events {
            let (name, starved) = (&self.names()[self.current as usize], super::missed::starved(self, self.current));
            let what = format!("{depth} events and no end: {name} goes on and on{starved}");
            self.set_violation(Violation::new(Invariant::I6, what, None));
            return Next::Failed;
        }
        // A last resort is nobody's choice: round robin.
        let choice = if late {
            // Nothing else can happen here, as at the end of a path. Whoever is late now may have been early before.
            self.see_blocked(0);
            let actor = self.round_robin(runnable);
            self.chooser.allows_late(actor, depth).then_some(actor)
        } else {
            self.choose(runnable)
        };
        match choice {
            Some(actor) => {
                self.happen(actor, runnable, late);
                if self.violation.is_some() { Next::Failed } else { Next::Run(actor) }
            }
            None if self.violation.is_some() => Next::Failed,
            None => {
                // Those that can run are asleep: a sibling looks after them.
                self.see_blocked(runnable);
                Next::Cut
            }
        }
    }

    /// The pending operation of `actor` happens, for the first time at this place of the search.
    fn happen(&mut self, actor: u8, runnable: Actors, late: bool) {
        let (a, depth) = (actor as usize, self.depth);
        let op = self.pending[a];
        if self.frames.len() <= depth {
            self.frames.push(Frame::default());
        }
        if late {
            self.frames[depth].begin(runnable, 0, actor);
        } else if self.chooser.reduces() {
            self.find_races(actor, &op, depth);
        }
        let mut clock = self.clocks[a];
        if late {
            // Nobody else could run: everything so far happens before.
            for other in &self.clocks[..self.actors] {
                clock.join(other);
            }
        }
        let (mut previous, mut word) = (0, 0);
        if op.object != NO_OBJECT {
            let object = &self.objects[op.object as usize];
            (previous, word) = (object.last, object.word);
            if op.kind.has_span() || object.may_be_tried {
                let mut at = previous;
                while at != 0 {
                    let frame = &self.frames[at as usize - 1];
                    if clock.lane(frame.actor) < frame.index && dependent(&frame.op, &op) {
                        clock.join(&frame.clock);
                    }
                    at = frame.previous;
                }
            }
            object.order_before(&op, &mut clock);
            match op.kind {
                Kind::Flush | Kind::CancelEnd => {
                    self.items[op.span.last as usize].order_after_end(op.arg(), &mut clock);
                }
                Kind::GraceEnd => self.grace.order_after_end(op.arg(), &mut clock),
                _ => {}
            }
        }
        clock.tick(actor);
        let preempting = depth > 0 && !late && {
            let before = self.frames[depth - 1].actor;
            before != actor && runnable & (1 << before) != 0
        };
        let preemptions = if depth == 0 { 0 } else { self.frames[depth - 1].preemptions } + u16::from(preempting);
        let frame = &mut self.frames[depth];
        frame.actor = actor;
        frame.enabled = runnable;
        frame.op = op;
        frame.clock = clock;
        frame.index = clock.lane(actor);
        frame.previous = previous;
        frame.late = late;
        frame.unqueued = false;
        frame.word = word;
        frame.preemptions = preemptions;
        if op.kind != Kind::Choose {
            // Left from an earlier execution, where a random search had a choice here.
            frame.value = 0;
        } else if let Some(value) = self.chooser.value(op.arg() as u8) {
            frame.value = value;
        }
        if op.object != NO_OBJECT
            && let Some(value) = self.objects[op.object as usize].tried(op.kind)
        {
            frame.value = value;
        }
        let value = frame.value;
        self.effect(actor, &op, &clock, late);
        if self.count_classes {
            let canonical = self.canonical(op.object);
            let who = mix(canonical, u64::from(actor) | u64::from(value) << 8);
            let class = mix(mix(clock.fold(0), op.kind as u64), who);
            let before = if depth == 0 { 0 } else { self.frames[depth - 1].class };
            self.frames[depth].class = before.wrapping_add(class);
        }
    }

    /// What happened at this place of the path happens again. Nobody has a choice, nothing is looked for.
    #[inline]
    fn again(&mut self) -> Next {
        let frame = &self.frames[self.depth];
        let (actor, op) = (frame.actor, &frame.op);
        if !self.pending[actor as usize % MAX_ACTORS].is(op) {
            self.differs(actor);
        }
        self.clocks[actor as usize % MAX_ACTORS] = frame.clock;
        if op.object != NO_OBJECT {
            let object = &mut self.objects[op.object as usize];
            object.apply(op, actor, frame.value);
            object.publish(op, &frame.clock);
            object.last = self.depth as u32 + 1;
        }
        self.current = actor;
        let (op, late) = (*op, frame.late);
        self.depth += 1;
        self.beyond_the_object(actor, &op, late);
        Next::Run(actor)
    }

    #[cold]
    fn differs(&self, actor: u8) -> ! {
        panic!(
            "the program is not deterministic: event {} was {:?} of {}, now {:?}",
            self.depth,
            self.frames[self.depth].op,
            self.names()[actor as usize],
            self.pending[actor as usize]
        );
    }

    /// What `op` does to the execution, for the first time.
    fn effect(&mut self, actor: u8, op: &Op, clock: &Clock, late: bool) {
        self.clocks[actor as usize] = *clock;
        self.leaves(actor, op.object);
        if op.object != NO_OBJECT {
            let object = &mut self.objects[op.object as usize];
            object.apply(op, actor, self.frames[self.depth].value);
            object.publish(op, clock);
            object.last = self.depth as u32 + 1;
        }
        self.depth += 1;
        self.beyond_the_object(actor, op, late);
        if let Some(recorder) = &mut self.recorder {
            let frame = &self.frames[self.depth - 1];
            recorder.event(frame, self.places[actor as usize], &self.objects, &self.items, self.depth);
        }
    }

    /// What `op` does to anything but its object.
    #[inline]
    fn beyond_the_object(&mut self, actor: u8, op: &Op, late: bool) {
        match op.kind {
            Kind::SpinLock => self.atomic_depth[actor as usize] += 1,
            Kind::WorkStart => self.start_item(op.arg() as usize),
            _ => {}
        }
        if late || self.late_steps != 0 {
            self.watch_progress(actor, late);
        }
    }

    /// Hash over every event so far: who, what, where. Names objects by who created them, so that it is the same on
    /// every machine.
    pub(crate) fn event_hash(&self) -> u64 {
        self.frames[..self.depth].iter().fold(0, |hash, frame| {
            let (op, actor) = (&frame.op, u64::from(frame.actor));
            let what = mix(self.canonical(op.object), mix(op.span.first, op.span.last));
            mix(mix(hash, actor << 8 | op.kind as u64 | u64::from(frame.value) << 16), what)
        })
    }

    fn canonical(&self, object: ObjectId) -> u64 {
        self.objects.get(object as usize).map_or(u64::MAX, |o| o.canonical)
    }

    /// Whether the planted bug is on.
    pub(crate) fn is_planted(&mut self, which: Plant) -> bool {
        self.asked[which.number() / 64] |= 1 << (which.number() % 64);
        self.planted[which.number() / 64] & (1 << (which.number() % 64)) != 0
    }

    /// The clock that a release gives away: everything the actor has done so far, and nothing it does from here on.
    pub(super) fn hand_over(&mut self) -> Clock {
        if self.mode != Mode::Running {
            return Clock::ZERO;
        }
        let clock = &mut self.clocks[self.current as usize];
        clock.tick(self.current);
        *clock
    }

    /// The number under which what the running actor does now, between two events, is known to others: its next event
    /// or release covers it, its last one does not.
    pub(crate) fn moment(&self, actor: u8) -> u16 {
        self.clocks[actor as usize].lane(actor) + 1
    }

    /// The lock is free again. `exclusive`: it was held for write.
    pub(crate) fn release(&mut self, object: ObjectId, exclusive: bool) {
        if self.mode == Mode::Ending {
            return;
        }
        let actor = if self.mode == Mode::Running { self.current } else { NOBODY };
        let clock = self.hand_over();
        self.changed(object);
        let object = &mut self.objects[object as usize];
        if exclusive {
            object.owner = NOBODY;
            object.past[Past::Written as usize].join(&clock);
        } else {
            object.readers -= 1;
            object.past[Past::Read as usize].join(&clock);
            if actor != NOBODY {
                object.reader_set &= !(1 << actor);
            }
        }
    }

    /// `downgrade_write`: held for read from now on.
    pub(crate) fn downgrade(&mut self, object: ObjectId) {
        self.release(object, true);
        if self.mode == Mode::Ending {
            return;
        }
        let actor = if self.mode == Mode::Running { self.current } else { NOBODY };
        let object = &mut self.objects[object as usize];
        object.readers += 1;
        if actor != NOBODY {
            object.reader_set |= 1 << actor;
        }
    }
}

/// Owner of a lock taken in sequential context: taking it again would wait for ever.
const SEQUENTIAL_OWNER: u8 = NOBODY - 1;

/// A path as a reader wants it: from the crate's folder on, whatever machine built it.
pub(crate) fn short(path: &str) -> &str {
    let Some(src) = path.rfind("/src/") else { return path };
    path[..src].rfind('/').map_or(path, |at| &path[at + 1..])
}
