//! A scenario file, from text to [`Scenario`].

use super::ast::*;
use super::check::check;
use super::error::{BadScenario, Problem};
use super::names::did_you_mean;
use super::node::{Reader, Sink, place, unknown_node};
use super::ops::{Scope, Where};
use super::size::human;
use kdl::{KdlDocument, KdlNode};
use model::platform::{GcVersion, Plant};
use model::units::{Bytes, PAGE_SHIFT, PAGE_SIZE};
use std::sync::Arc;

/// What a scenario can say.
const NODES: &[&str] = &["about", "gpu", "region", "prepare", "thread", "expect", "explore", "plant", "peer"];
/// One past the highest address a process can map.
const TASK_SIZE: u64 = 1 << 47;
/// A page of hugetlbfs.
const HUGE_PAGE: u64 = 2 << 20;

/// Reads a scenario. `path` is what errors call the text.
///
/// # Errors
/// Everything that is wrong with it. Text that is not KDL is reported as such; nothing else is looked at then.
pub fn parse(path: &str, text: &str) -> Result<Scenario, BadScenario> {
    let source = Source { path: path.to_owned(), text: Arc::from(text) };
    let sink = Sink::default();
    let document = match KdlDocument::parse_v2(text) {
        Ok(document) => document,
        Err(error) => return Err(BadScenario::new(source, not_kdl(text, &error))),
    };

    let mut found: Vec<&KdlNode> = Vec::new();
    for node in document.nodes() {
        match node.name().value() {
            "scenario" => found.push(node),
            _ => unknown_node(node, &sink, "a scenario file", &["scenario"]),
        }
    }
    let Some((first, more)) = found.split_first() else {
        if sink.count() == 0 {
            sink.push(
                Problem::new("no scenario in this file", Place::default(), "expected scenario \"name\" { ... }")
                    .help("a file holds one `scenario` node, and everything else is inside it"),
            );
        }
        return Err(BadScenario::new(source, sink.into_inner()));
    };
    for node in more {
        sink.push(
            Problem::new(
                "more than one scenario in this file",
                Reader::new(node, &sink).head_place(),
                "the second one",
            )
            .and(Reader::new(first, &sink).head_place(), "the first one")
            .help("one file asks one question: give each scenario a file of its own"),
        );
    }

    let scenario = read(first, &source, &sink);
    let mut problems = sink.into_inner();
    // What the parts mean together is only looked at when each part was understood.
    if problems.is_empty() {
        problems = check(&scenario);
    }
    if problems.is_empty() { Ok(scenario) } else { Err(BadScenario::new(source, problems)) }
}

/// The KDL parser's complaints as ours.
fn not_kdl(text: &str, error: &kdl::KdlError) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for d in &error.diagnostics {
        let at = place(d.span);
        let around = &text[at.offset.min(text.len())..(at.offset + at.len).min(text.len())];
        let bare = ["true", "false", "null"]
            .into_iter()
            .find(|w| around.split(|c: char| !c.is_alphanumeric()).any(|x| x == *w));
        let mut problem = Problem::new(
            d.message.clone().unwrap_or_else(|| "this is not KDL".to_owned()),
            at,
            d.label.clone().unwrap_or_else(|| "here".to_owned()),
        );
        problem.help = match bare {
            Some(word) => Some(format!("in KDL 2 it is written #{word}")),
            None => d.help.clone(),
        };
        problems.push(problem);
    }
    problems
}

/// Reads a `scenario` node; what is wrong goes to `sink`.
fn read(node: &KdlNode, source: &Source, sink: &Sink) -> Scenario {
    let mut r = Reader::new(node, sink);
    let name = r.string_arg("a name", "scenario \"munmap-vs-set-attr\" { ... }");
    if let Some((name, at)) = name
        && (name.is_empty() || !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'))
    {
        sink.push(
            Problem::new("a scenario's name is lower case letters, digits and dashes", at, "this name")
                .help("it names the trace file too"),
        );
    }
    let nodes = r.block("scenario \"name\" { about \"...\" }");
    let head = r.head_place();
    r.finish();

    let mut s = Scenario {
        name: name.map_or_else(String::new, |(n, _)| n.to_owned()),
        about: String::new(),
        source: source.clone(),
        gpus: Vec::new(),
        regions: Vec::new(),
        prepare: Vec::new(),
        threads: Vec::new(),
        waves: Vec::new(),
        verdicts: Vec::new(),
        finals: Vec::new(),
        explore: Explore::default(),
        plants: Vec::new(),
        peers: Vec::new(),
    };

    // Declarations first, so that operations may stand before what they name.
    let mut broken = Vec::new();
    let mut about = None;
    for node in nodes {
        let mut r = Reader::new(node, sink);
        match r.name() {
            "about" => {
                once(&mut about, &r);
                if let Some((text, at)) = r.string_arg("the question it asks", "about \"Does ... ?\"") {
                    if text.trim().is_empty() {
                        sink.push(Problem::new("an empty question", at, "say what the scenario is about"));
                    }
                    s.about = text.trim().to_owned();
                }
                r.finish_without_block();
            }
            "gpu" if node.children().is_none() => match gpu(r, sink) {
                Ok(gpu) => s.gpus.push(gpu),
                Err(name) => broken.push(name),
            },
            "region" => match region(r, sink) {
                Ok(region) => s.regions.push(region),
                Err(name) => broken.extend(name),
            },
            "explore" => s.explore = explore(r, sink),
            "peer" => {
                const WHAT: &str = "the id of a test in docs/peer-tests.md";
                let first = r.string_arg(WHAT, "peer \"KFD-S14\"");
                s.peers.extend(first.into_iter().chain(r.string_args(WHAT)).map(|(id, _)| id.to_owned()));
                r.finish_without_block();
            }
            "plant" => {
                let first = r.string_arg("the name of a plant", "plant \"skip-tlb-flush\"");
                for name in first.into_iter().chain(r.string_args("the name of a plant")) {
                    let names = plants_like(name.0);
                    let found = Plant::named(name.0);
                    match r.known(name, "plant", &names, found) {
                        Some(plant) if s.plants.contains(&plant) => {
                            sink.push(Problem::new(format!("`{}` is planted twice", name.0), name.1, "here again"));
                        }
                        found => s.plants.extend(found),
                    }
                }
                r.finish_without_block();
            }
            _ => {}
        }
    }
    if about.is_none() {
        sink.push(
            Problem::new("a scenario begins with the question it asks", head, "no `about` in here")
                .help("as in: about \"Does a partial munmap leave stale entries?\""),
        );
    }
    if s.gpus.is_empty() && broken.is_empty() {
        s.gpus.push(GpuDecl::new(GpuDecl::DEFAULT_NAME));
    }

    let scope = Scope { sink, regions: &s.regions, gpus: &s.gpus, broken: &broken };
    for node in nodes {
        let mut r = Reader::new(node, sink);
        let at = r.head_place();
        match r.name() {
            "about" | "region" | "explore" | "plant" | "peer" => {}
            "gpu" if node.children().is_none() => {}
            "prepare" => {
                s.prepare.extend(scope.ops(r.block("prepare { set-attr \"buf\" access=\"enable\" }"), Where::Prepare));
                r.finish();
            }
            "thread" => {
                let name = r.string_arg("a name", "thread \"app\" { munmap \"buf\" }");
                let process = r.string_prop("process").map(|(process, _)| process.to_owned());
                let here = if process.is_some() { Where::Child } else { Where::Thread };
                let ops = scope.ops(r.block("thread \"app\" { munmap \"buf\" }"), here);
                r.finish();
                s.threads.extend(name.map(|(name, _)| Thread { name: name.to_owned(), process, ops, at }));
            }
            "gpu" => {
                let name = r.string_arg("a name", "gpu \"wave\" { read \"buf\" offset=0 }");
                let gpu = match r.string_prop("on") {
                    Some(on) => scope.gpu_named(&r, on),
                    None if s.gpus.is_empty() || r.node.entry("on").is_some() => None,
                    None => scope.only_gpu(&r, "on"),
                };
                let block = r.block("gpu \"wave\" { read \"buf\" offset=0 }");
                // an access in it is to the wave's own GPU
                let own: Vec<GpuDecl> = s.gpus.iter().filter(|g| gpu.as_ref() == Some(&g.name)).cloned().collect();
                let ops = Scope { gpus: &own, ..scope }.ops(block, Where::Wave);
                wave_is_not_a_gpu(&mut r, sink);
                r.finish();
                s.waves.extend(name.zip(gpu).map(|((name, _), gpu)| Wave { name: name.to_owned(), gpu, ops, at }));
            }
            "expect" => {
                scope.expect(r.block("expect { holds \"hardened\" }"), &mut s.verdicts, &mut s.finals);
                r.finish();
            }
            _ => unknown_node(node, sink, "a scenario", NODES),
        }
    }
    s
}

/// Complains when `what` was there before.
fn once(what: &mut Option<Place>, r: &Reader<'_>) {
    match *what {
        Some(first) => r.sink.push(
            Problem::new(format!("`{}` is given twice", r.name()), r.head_place(), "here again")
                .and(first, "first here"),
        ),
        None => *what = Some(r.head_place()),
    }
}

/// Keys of a GPU on a wave mean that somebody took the wave for the declaration.
fn wave_is_not_a_gpu(r: &mut Reader<'_>, sink: &Sink) {
    for key in [
        "xnack",
        "gc",
        "apu",
        "chunk-sizes",
        "notifier-size",
        "granularity",
        "vram",
        "hive",
        "retry-cam",
        "sdma-updates",
    ] {
        if let Some(entry) = r.prop(key) {
            sink.push(
                Problem::new(format!("`{key}` is of the GPU, not of a wave"), place(entry.span()), "not here").help(
                    format!(
                        "a `gpu` node with a block is a wave; declare the GPU by itself: gpu {}",
                        entry.to_string().trim()
                    ),
                ),
            );
        }
    }
}

/// A GPU declaration, or the name under which it would have been known.
fn gpu(mut r: Reader<'_>, sink: &Sink) -> Result<GpuDecl, String> {
    let before = sink.count();
    let named = r.optional_string_arg("the name of the GPU");
    let mut gpu = GpuDecl::new(named.map_or(GpuDecl::DEFAULT_NAME, |(n, _)| n));
    gpu.at = r.head_place();
    gpu.apu = r.bool_prop("apu", false);
    if let Some((text, at)) = r.string_prop("gc") {
        let parts: Vec<Option<u8>> = text.split('.').map(|p| p.parse().ok()).collect();
        match parts[..] {
            [Some(major), Some(minor), Some(rev)] => gpu.gc = GcVersion(major, minor, rev),
            _ => sink.push(
                Problem::new(format!("`{text}` is not a GC version"), at, "this is not").help("as in gc=\"9.4.3\""),
            ),
        }
    }
    let xnack_at = r.node.entry("xnack").map(|e| place(e.span()));
    gpu.xnack = r.bool_prop("xnack", false);
    // spec amdgpu-svm 3.2: before 9.0.1 and from 10.1.1 on there is no retry
    if let Some(at) = xnack_at
        && gpu.xnack
        && !(GcVersion(9, 0, 1)..GcVersion(10, 1, 1)).contains(&gpu.gc)
    {
        let GcVersion(a, b, c) = gpu.gc;
        sink.push(
            Problem::new(format!("GC {a}.{b}.{c} cannot retry page faults"), at, "no XNACK there")
                .help("XNACK exists from GC 9.0.1 up to, not including, 10.1.1"),
        );
    }
    if let Some((text, at)) = r.string_prop("chunk-sizes") {
        gpu.chunk_sizes = chunk_sizes(text, at, sink);
    }
    if let Some(Some((size, at))) = r.size_prop("notifier-size") {
        if !size.is_power_of_two() || size < PAGE_SIZE {
            sink.push(
                Problem::new(format!("a notifier of {}", human(size)), at, "not a power of two of at least 4K")
                    .help("as in notifier-size=\"512M\""),
            );
        }
        gpu.notifier_size = Some(size);
    }
    gpu.granularity = r.number_prop("granularity", 63).map(|(n, _)| n as u8);
    if let Some(Some((size, at))) = r.size_prop("vram") {
        if size % PAGE_SIZE != 0 {
            sink.push(Problem::new(format!("{} of VRAM", human(size)), at, "not whole pages of 4K"));
        }
        gpu.vram = size;
    }
    gpu.hive = r.string_prop("hive").map(|(name, _)| name.to_owned());
    gpu.retry_cam = r.bool_prop("retry-cam", false);
    gpu.sdma_updates = r.bool_prop("sdma-updates", false);
    let name = gpu.name.clone();
    r.finish_without_block();
    if sink.count() == before { Ok(gpu) } else { Err(name) }
}

fn chunk_sizes(text: &str, at: Place, sink: &Sink) -> Option<Vec<u64>> {
    let sizes: Result<Vec<u64>, String> = text.split_whitespace().map(super::size::parse_size).collect();
    let complaint = match sizes {
        Err(why) => why,
        Ok(sizes) if sizes.is_empty() => "no chunk size".to_owned(),
        Ok(sizes) if sizes.last() != Some(&PAGE_SIZE) => "the last chunk size must be 4K".to_owned(),
        Ok(sizes) if sizes.iter().any(|s| !s.is_power_of_two()) => "chunk sizes are powers of two".to_owned(),
        Ok(sizes) if sizes.windows(2).any(|w| w[0] <= w[1]) => "chunk sizes are in descending order".to_owned(),
        Ok(sizes) => return Some(sizes),
    };
    sink.push(Problem::new(complaint, at, "in this list").help("as in chunk-sizes=\"2M 64K 4K\""));
    None
}

/// A region, or the name under which it would have been known.
fn region(mut r: Reader<'_>, sink: &Sink) -> Result<Region, Option<String>> {
    const EXAMPLE: &str = "region \"buf\" at=0x200000 size=\"2M\"";
    let before = sink.count();
    let at = r.head_place();
    let name = r.string_arg("a name", EXAMPLE).map(|(n, _)| n.to_owned());
    let start = r.size_prop("at");
    let start = r.require("at", start, EXAMPLE).flatten();
    let size = r.size_prop("size");
    let size = r.require("size", size, EXAMPLE).flatten();
    for (what, value) in [("at", start), ("size", size)] {
        if let Some((n, place)) = value
            && n % (1 << PAGE_SHIFT) != 0
        {
            sink.push(Problem::new(format!("`{what}` is not page aligned"), place, "not a multiple of 4K"));
        }
    }
    if let Some((0, place)) = start {
        sink.push(Problem::new("a region at address 0", place, "nothing can be mapped there"));
    }
    if let Some((0, place)) = size {
        sink.push(Problem::new("an empty region", place, "must be at least 4K"));
    }
    if let (Some((start, _)), Some((size, place))) = (start, size)
        && start.checked_add(size).is_none_or(|end| end > TASK_SIZE)
    {
        sink.push(
            Problem::new("the region ends above the address space", place, "too far")
                .help(format!("a process ends at {TASK_SIZE:#x}")),
        );
    }
    let scope = Scope { sink, regions: &[], gpus: &[], broken: &[] };
    let prot = scope.prot(&mut r).unwrap_or(Prot::RW);
    let populate_at = r.node.entry("populate").map(|e| place(e.span()));
    let populate = r.bool_prop("populate", false);
    if let Some(at) = populate_at
        && populate
        && prot == Prot::NONE
    {
        sink.push(Problem::new("nothing can be populated that cannot be touched", at, "prot is \"none\""));
    }
    let kind = match r.string_prop("kind") {
        None => RegionKind::Anon,
        Some(name) => {
            let names: Vec<&str> = RegionKind::ALL.iter().map(|k| k.name()).collect();
            let found = RegionKind::ALL.iter().copied().find(|k| k.name() == name.0);
            r.known(name, "kind of region", &names, found).unwrap_or(RegionKind::Anon)
        }
    };
    let thp = r.bool_prop("thp", false);
    let mapped = r.bool_prop("mapped", true);
    if !mapped {
        for key in ["prot", "populate", "kind", "thp"] {
            if let Some(entry) = r.node.entry(key) {
                sink.push(
                    Problem::new(format!("`{key}` of a region that is not mapped"), place(entry.span()), "of what?")
                        .help("mapped=#false declares a place; what comes there says what it is like"),
                );
            }
        }
    }
    if let (RegionKind::Hugetlb, Some((start, place)), Some((size, _))) = (kind, start, size)
        && (start | size) % HUGE_PAGE != 0
    {
        sink.push(Problem::new("huge pages are 2M each", place, "`at` and `size` must be multiples of 2M"));
    }
    r.finish_without_block();
    match (name, start, size) {
        (Some(name), Some((start, _)), Some((size, _))) if sink.count() == before => {
            Ok(Region { name, bytes: Bytes::new(start, start + size), prot, populate, kind, thp, mapped, at })
        }
        (name, ..) => Err(name),
    }
}

/// Names of the strategies.
const STRATEGIES: [&str; 6] = ["exhaustive", "cached", "fewest-preemptions", "random", "pct", "pos"];

fn explore(mut r: Reader<'_>, sink: &Sink) -> Explore {
    let small = |v: Option<(u64, Place)>| v.map(|(n, _)| n as u32);
    let strategy = r.string_prop("strategy");
    let seed = r.number_prop("seed", u64::MAX);
    let depth = r.number_prop("depth", 1000);
    let name = strategy.map_or("exhaustive", |(n, _)| n);
    for (key, given, where_it_belongs) in [("seed", seed, &["random", "pct", "pos"][..]), ("depth", depth, &["pct"])] {
        if let Some((_, at)) = given
            && !where_it_belongs.contains(&name)
        {
            sink.push(
                Problem::new(format!("`{key}` means nothing to strategy \"{name}\""), at, "not used")
                    .help(format!("it belongs to strategy=\"{}\"", where_it_belongs.join("\" or \""))),
            );
        }
    }
    let seed = seed.map_or(1, |(n, _)| n);
    let depth = small(depth).unwrap_or(3);
    let known = match name {
        "exhaustive" => Some(StrategyHint::Exhaustive),
        "random" => Some(StrategyHint::Random { seed }),
        "cached" => Some(StrategyHint::Cached),
        "fewest-preemptions" => Some(StrategyHint::FewestPreemptions),
        "pos" => Some(StrategyHint::Pos { seed }),
        "pct" => Some(StrategyHint::Pct { seed, depth }),
        _ => None,
    };
    let strategy = match strategy {
        Some(name) => r.known(name, "strategy", &STRATEGIES, known).unwrap_or_default(),
        None => StrategyHint::Exhaustive,
    };
    let explore = Explore {
        strategy,
        preemptions: small(r.number_prop("preemptions", 1000)),
        executions: r.number_prop("executions", u64::MAX).map(|(n, _)| n),
        events: small(r.number_prop("events", u32::MAX.into())),
        timers: small(r.number_prop("timers", 1000)),
        retries: small(r.number_prop("retries", 1000)),
        failures: small(r.number_prop("failures", 1000)),
    };
    if !strategy.ends() && explore.executions.is_none() {
        sink.push(
            Problem::new(format!("strategy \"{name}\" never ends by itself"), r.head_place(), "no `executions` here")
                .help("say how many, as in executions=10000"),
        );
    }
    r.finish_without_block();
    explore
}

/// For the checks: what a misspelt actor name may have meant.
pub(super) fn actor_help(name: &str, s: &Scenario) -> String {
    did_you_mean(name, "threads and waves", &s.actors().collect::<Vec<_>>())
}

/// The plants that begin with the same word; all of them if there is none.
fn plants_like(name: &str) -> Vec<&'static str> {
    let word = |name: &str| name.split('-').next().unwrap_or("").to_owned();
    let all = || Plant::ALL.iter().map(|plant| plant.name());
    let alike: Vec<&str> = all().filter(|other| word(other) == word(name)).collect();
    if alike.is_empty() { all().collect() } else { alike }
}
