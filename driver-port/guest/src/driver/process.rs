//! The processes of a scenario: a forked one that does operations on command and says what they came to, and those that it
//! forks in turn.

#![allow(unsafe_code)] // fork, _exit, waitpid

use super::calls;
use super::vm::{Framework, Vm};
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_RESET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::attr::UapiAttr;
use scenarios::conform::{Part, Step};
use scenarios::lang::{Area, Attr, Design, FinalKind, OpKind, Scenario};
use scenarios::world::Uapi;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::rc::Rc;

/// What a process is about to do.
pub(crate) struct Job<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) design: Design,
    pub(crate) framework: Framework,
    pub(crate) steps: &'a [Step],
}

/// What a process says to a command.
type Answer = Result<Vec<Part>, String>;

/// Another process, as the suite sees it.
pub(crate) struct Peer {
    /// Of which child; None for the first process.
    name: Option<String>,
    commands: PipeWriter,
    answers: BufReader<PipeReader>,
}

/// The other ends of a [`Peer`].
struct Line {
    name: Option<String>,
    commands: PipeReader,
    answers: PipeWriter,
}

fn line(name: Option<&str>) -> io::Result<(Peer, Line)> {
    let ((theirs, commands), (answers, ours)) = (pipe()?, pipe()?);
    let name = name.map(str::to_owned);
    let peer = Peer { name: name.clone(), commands, answers: BufReader::new(answers) };
    Ok((peer, Line { name, commands: theirs, answers: ours }))
}

impl Peer {
    fn answer(&mut self) -> Result<Option<Vec<Part>>, String> {
        let mut text = String::new();
        self.answers.read_line(&mut text).map_err(|error| format!("the process: {error}"))?;
        if text.is_empty() {
            return Ok(None);
        }
        let answer: Answer =
            serde_json::from_str(&text).map_err(|error| format!("the process said {text:?}: {error}"))?;
        answer.map(Some)
    }

    /// Has the step with this index done. None: the process has ended instead.
    pub(crate) fn perform(&mut self, index: usize) -> Result<Option<Vec<Part>>, String> {
        let index = u32::try_from(index).expect("a scenario is shorter than that");
        self.commands.write_all(&index.to_ne_bytes()).map_err(|error| format!("the process is gone: {error}"))?;
        self.answer()
    }
}

/// All processes of a scenario; they end when this goes.
pub(crate) struct Family {
    first: Option<Child>,
    peers: Vec<Peer>,
}

impl Family {
    /// Forks the first, which maps the regions and makes `gpus` its own.
    ///
    /// # Errors
    /// In words; also what the first process could not do.
    pub(crate) fn start(job: &Job<'_>, gpus: &Rc<[Vm]>) -> Result<Family, String> {
        let words = |error: io::Error| error.to_string();
        let (mut peers, mut lines) = (Vec::new(), Vec::new());
        let children = job.steps.iter().filter_map(|step| match &step.op(job.scenario)?.kind {
            OpKind::Fork { child } => Some(child.as_str()),
            _ => None,
        });
        for name in std::iter::once(None).chain(children.map(Some)) {
            let (peer, line) = line(name).map_err(words)?;
            peers.push(peer);
            lines.push(line);
        }
        let Some(first) = fork().map_err(words)? else {
            drop(peers);
            let own = lines.remove(0);
            Process { job, gpus: Some(gpus.clone()), own, lines }.live()
        };
        drop(lines);
        let mut family = Family { first: Some(first), peers };
        family.peers[0].answer()?.ok_or("the process ended before it began")?;
        Ok(family)
    }

    /// The first process, or the child with this name.
    pub(crate) fn peer(&mut self, name: Option<&str>) -> &mut Peer {
        self.peers.iter_mut().find(|peer| peer.name.as_deref() == name).expect("there is a line for every process")
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.peers.clear();
        // It ends, having nobody to listen to.
        let _ = self.first.take().map(Child::wait);
    }
}

/// Waits for processes that were left to this one and have ended, if there are any.
pub(crate) fn reap() {
    // SAFETY: numbers only.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// The process itself.
struct Process<'a> {
    job: &'a Job<'a>,
    /// A child has none: what it does concerns its own memory only.
    gpus: Option<Rc<[Vm]>>,
    own: Line,
    /// Those of the children that are not forked yet.
    lines: Vec<Line>,
}

/// A forked process.
pub(crate) struct Child(i32);

impl Child {
    /// Waits for its end; its status, as waitpid gives it.
    ///
    /// # Errors
    /// As waitpid says.
    pub(crate) fn wait(self) -> io::Result<i32> {
        let mut status = 0;
        // SAFETY: `status` outlives the call.
        match unsafe { libc::waitpid(self.0, &mut status, 0) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(status),
        }
    }
}

/// Forks the calling process, which must have one thread. None: this is the new one.
///
/// # Errors
/// As fork says.
pub(crate) fn fork() -> io::Result<Option<Child>> {
    // SAFETY: with one thread no lock is held by another, and the new process may do everything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(Child(pid))),
    }
}

/// Does `work` in a process of its own, whose end takes everything along; what came of it.
///
/// # Errors
/// Those of `work`, or that the process has died; in words.
pub(crate) fn in_child<T: Serialize + DeserializeOwned>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let words = |error: io::Error| error.to_string();
    let (mut reads, mut writes) = pipe().map_err(words)?;
    let Some(child) = fork().map_err(words)? else {
        drop(reads);
        let text = serde_json::to_string(&work()).expect("what is told is plain data");
        let _ = writes.write_all(text.as_bytes());
        end();
    };
    drop(writes);
    let mut text = String::new();
    let read = reads.read_to_string(&mut text);
    let status = child.wait().map_err(words)?;
    read.map_err(words)?;
    serde_json::from_str(&text).unwrap_or_else(|_| Err(format!("the process ended with status {status:#x}")))
}

/// Ends the process at once: nothing that it has of the suite's may be flushed or dropped.
pub(crate) fn end() -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(0) }
}

/// What any thread of the first process can do, and what of it a child can.
pub(crate) struct Caller<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) design: Design,
    pub(crate) framework: Framework,
    /// None of them in a child.
    pub(crate) gpus: &'a [Vm],
}

impl Process<'_> {
    fn caller(&self) -> Caller<'_> {
        let Job { scenario, design, framework, .. } = *self.job;
        Caller { scenario, design, framework, gpus: self.gpus.as_deref().unwrap_or_default() }
    }

    fn live(mut self) -> ! {
        let ready = self.caller().set_up();
        self.say(&ready.map(|()| Vec::new()));
        self.serve()
    }

    /// Does what its line says, until that ends.
    fn serve(&mut self) -> ! {
        loop {
            let mut index = [0; 4];
            if self.own.commands.read_exact(&mut index).is_err() {
                end();
            }
            let answer = self.perform(self.job.steps[u32::from_ne_bytes(index) as usize]);
            self.say(&answer);
        }
    }

    fn say(&mut self, answer: &Answer) {
        let text = serde_json::to_string(answer).expect("an answer is plain data");
        if self.own.answers.write_all(format!("{text}\n").as_bytes()).is_err() {
            end();
        }
    }

    fn perform(&mut self, step: Step) -> Answer {
        let scenario = self.job.scenario;
        let Some(op) = step.op(scenario) else {
            return match step.last_look(scenario).expect("a step is an operation or a last look") {
                FinalKind::Value { area, .. } => Ok(vec![calls::peek(area.bytes.start)]),
                FinalKind::Attr { gpu, area, checks } => self.caller().ask(gpu, area, checks),
                other => Err(format!("{other:?} is nothing that a process sees")),
            };
        };
        match &op.kind {
            OpKind::Fork { child } => self.fork(child),
            OpKind::Exit => end(),
            kind => self.caller().perform(kind),
        }
    }

    /// Returns here; the new process listens to its own line from now on.
    fn fork(&mut self, child: &str) -> Answer {
        let at = self.lines.iter().position(|line| line.name.as_deref() == Some(child));
        let line = self.lines.remove(at.ok_or("it is forked already")?);
        match fork().map_err(|error| error.to_string())? {
            Some(_) => Ok(Vec::new()),
            None => {
                self.own = line;
                self.lines.clear();
                self.gpus = None;
                self.serve()
            }
        }
    }
}

impl Caller<'_> {
    /// Maps the regions and makes the GPUs the calling process's own.
    ///
    /// # Errors
    /// What could not be done; in words.
    pub(crate) fn set_up(&self) -> Result<(), String> {
        let words = |what: &str, error: io::Error| format!("{what}: {error}");
        calls::allow_huge_pages(self.scenario.regions.iter().any(|region| region.thp)).map_err(|e| words("THP", e))?;
        for region in self.scenario.regions.iter().filter(|region| region.mapped) {
            calls::map_region(region).map_err(|e| words(&format!("region {:?}", region.name), e))?;
        }
        for (number, (gpu, decl)) in self.gpus.iter().zip(&self.scenario.gpus).enumerate() {
            gpu.create(decl, number, self.design, self.framework).map_err(|e| words("CREATE", e))?;
            if self.design == Design::PocV8 {
                gpu.first_call()?;
            }
        }
        Ok(())
    }

    /// An operation that is not about processes.
    ///
    /// # Errors
    /// It is one that no thread does; in words.
    pub(crate) fn perform(&self, op: &OpKind) -> Answer {
        match op {
            OpKind::SetAttr { gpu, area, attrs, .. } => {
                let (uapi, id) = (Uapi::of(self.design), self.gpu_id(gpu));
                let mut array: Vec<_> = attrs.iter().flat_map(|attr| uapi.request(*attr, id)).collect();
                self.svm(gpu, AMDGPU_SVM_OP_SET_ATTR, area, &mut array).map(|part| vec![part])
            }
            OpKind::GetAttr { gpu, area, checks, .. } => self.ask(gpu, area, checks),
            OpKind::ResetAttr { gpu, area, .. } => {
                self.svm(gpu, AMDGPU_SVM_OP_RESET_ATTR, area, &mut []).map(|part| vec![part])
            }
            kind => calls::perform(kind).ok_or_else(|| format!("{} is nothing that a process does", kind.name())),
        }
    }

    /// The VM that the scenario calls `gpu`.
    pub(crate) fn gpu(&self, gpu: &str) -> Result<&Vm, String> {
        Ok(self.gpus.get(self.gpu_index(gpu)).ok_or("a child has no GPU")?)
    }

    fn gpu_index(&self, gpu: &str) -> usize {
        self.scenario.gpus.iter().position(|decl| decl.name == gpu).expect("the parser resolves GPU names")
    }

    fn gpu_id(&self, gpu: &str) -> u32 {
        Attr::gpu_id(self.gpu_index(gpu))
    }

    fn svm(&self, gpu: &str, operation: u32, area: &Area, attrs: &mut [UapiAttr]) -> Result<Part, String> {
        let result = self.gpu(gpu)?.svm(operation, area.bytes, attrs);
        Ok(Part::Returned(result.map_or_else(|error| error.raw_os_error().unwrap_or(-1), |()| 0)))
    }

    fn ask(&self, gpu: &str, area: &Area, checks: &[Attr]) -> Answer {
        let (uapi, id) = (Uapi::of(self.design), self.gpu_id(gpu));
        let mut array: Vec<_> = checks.iter().flat_map(|check| uapi.question(*check, id)).collect();
        let returned = self.svm(gpu, AMDGPU_SVM_OP_GET_ATTR, area, &mut array)?;
        let answered = Part::Answered(array.iter().map(|a| (a.ty, a.value)).collect());
        Ok(if returned == Part::Returned(0) { vec![returned, answered] } else { vec![returned] })
    }
}
