//! What the parts of a scenario mean together: names are unique and resolve, regions are apart, nobody waits in a
//! circle, and expectations do not contradict each other.

use super::ast::*;
use super::error::Problem;
use super::parse::actor_help;
use super::size::human;
use model::units::Bytes;

/// How many actors an execution can have, workers included.
const MAX_ACTORS: usize = 24;

/// Names that workers and the scheduler use for themselves.
const RESERVED: &[&str] = &["gc_work", "restore_work", "setup"];

/// Everything that is wrong with a scenario whose parts are each right.
pub(super) fn check(s: &Scenario) -> Vec<Problem> {
    let mut problems = Vec::new();
    unique("GPUs", s.gpus.iter().map(|g| (g.name.as_str(), g.at)), &mut problems);
    unique("regions", s.regions.iter().map(|r| (r.name.as_str(), r.at)), &mut problems);
    let actors =
        s.threads.iter().map(|t| (t.name.as_str(), t.at)).chain(s.waves.iter().map(|w| (w.name.as_str(), w.at)));
    for (name, at) in actors.clone() {
        if RESERVED.contains(&name) || name.is_empty() {
            problems.push(
                Problem::new(format!("`{name}` cannot name a thread or wave"), at, "choose another name")
                    .help(format!("these are taken: {}", RESERVED.join(", "))),
            );
        }
    }
    unique("threads or waves", actors, &mut problems);
    regions_are_apart(s, &mut problems);
    something_runs(s, &mut problems);
    processes_exist(s, &mut problems);
    files_are_few(s, &mut problems);
    waiting_ends(s, &mut problems);
    verdicts_agree(s, &mut problems);
    finals_agree(s, &mut problems);
    attributes_agree(s, &mut problems);
    problems
}

fn unique<'a>(what: &str, names: impl Iterator<Item = (&'a str, Place)>, problems: &mut Vec<Problem>) {
    let names: Vec<_> = names.collect();
    for (i, (name, at)) in names.iter().enumerate() {
        if let Some((_, first)) = names[..i].iter().find(|(n, _)| n == name) {
            problems.push(
                Problem::new(format!("there are two {what} called `{name}`"), *at, "the second")
                    .and(*first, "the first"),
            );
        }
    }
}

fn regions_are_apart(s: &Scenario, problems: &mut Vec<Problem>) {
    for (i, region) in s.regions.iter().enumerate() {
        for other in &s.regions[..i] {
            if region.bytes.overlaps(&other.bytes) {
                let common = region.bytes.clip(&other.bytes);
                problems.push(
                    Problem::new(
                        format!("regions `{}` and `{}` overlap", other.name, region.name),
                        region.at,
                        format!("this is {}", region.bytes),
                    )
                    .and(other.at, format!("this is {}", other.bytes))
                    .help(format!("{common}, {} long, is in both", human(common.len()))),
                );
            }
        }
    }
}

/// How many children and how many files the machine can tell apart.
const MAX_CHILDREN: usize = 7;
const MAX_FILES: usize = 8;

fn processes_exist(s: &Scenario, problems: &mut Vec<Problem>) {
    let ops = s.prepare.iter().chain(s.threads.iter().flat_map(|t| &t.ops));
    let forks: Vec<(&str, Place)> = ops
        .filter_map(|op| if let OpKind::Fork { child } = &op.kind { Some((child.as_str(), op.at)) } else { None })
        .collect();
    unique("children", forks.iter().copied(), problems);
    if let Some((_, at)) = forks.get(MAX_CHILDREN) {
        problems.push(Problem::new(format!("at most {MAX_CHILDREN} children"), *at, "one too many"));
    }
    for thread in &s.threads {
        if let Some(process) = &thread.process
            && !forks.iter().any(|(child, _)| child == process)
        {
            let names: Vec<&str> = forks.iter().map(|(child, _)| *child).collect();
            problems.push(
                Problem::new(format!("nobody forks `{process}`"), thread.at, "this thread would never start").help(
                    match names.is_empty() {
                        true => format!("a thread of the first process does that: fork \"{process}\""),
                        false => format!("children: {}", names.join(", ")),
                    },
                ),
            );
        }
    }
}

fn files_are_few(s: &Scenario, problems: &mut Vec<Problem>) {
    if let Some(region) = s.regions.iter().filter(|r| r.kind.has_file()).nth(MAX_FILES) {
        problems.push(
            Problem::new(format!("at most {MAX_FILES} regions with files or shared memory"), region.at, "one too many")
                .help("each has a file of its own"),
        );
    }
}

fn something_runs(s: &Scenario, problems: &mut Vec<Problem>) {
    let whole = Place { offset: 0, len: 0 };
    if s.threads.is_empty() && s.waves.is_empty() {
        problems.push(
            Problem::new("nothing runs in this scenario", whole, "no thread and no wave")
                .help("as in: thread \"app\" { munmap \"buf\" }"),
        );
    }
    // each GPU has a GC worker and a restore worker
    let actors = s.threads.len() + s.waves.len() + 2 * s.gpus.len();
    if actors > MAX_ACTORS {
        problems.push(Problem::new(
            format!("{actors} actors, workers included; at most {MAX_ACTORS} can be scheduled"),
            whole,
            "in this scenario",
        ));
    }
    for (name, ops, at) in actor_ops(s) {
        if ops.is_empty() {
            problems.push(Problem::new(format!("`{name}` does nothing"), at, "an empty block"));
        }
    }
}

/// Name, operations and place of each actor, threads first.
fn actor_ops(s: &Scenario) -> impl Iterator<Item = (&str, &[Op], Place)> {
    let threads = s.threads.iter().map(|t| (t.name.as_str(), t.ops.as_slice(), t.at));
    threads.chain(s.waves.iter().map(|w| (w.name.as_str(), w.ops.as_slice(), w.at)))
}

/// The `after` of `ops`: whom, and where it is written.
fn waits(ops: &[Op]) -> impl Iterator<Item = (&str, Place)> {
    ops.iter().filter_map(|op| match &op.kind {
        OpKind::After { actor } => Some((actor.as_str(), op.at)),
        _ => None,
    })
}

fn waiting_ends(s: &Scenario, problems: &mut Vec<Problem>) {
    for (_, at) in waits(&s.prepare) {
        problems.push(
            Problem::new("`after` in prepare", at, "nothing runs yet")
                .help("prepare happens before every thread and wave starts"),
        );
    }
    let mut unknown = false;
    for (_, ops, _) in actor_ops(s) {
        for (actor, at) in waits(ops) {
            if !s.actors().any(|a| a == actor) {
                unknown = true;
                problems.push(
                    Problem::new(format!("unknown thread or wave `{actor}`"), at, "waits for nobody")
                        .help(actor_help(actor, s)),
                );
            }
        }
    }
    if unknown {
        return;
    }
    // Follow the first waits that lead back to where they started; each circle is told once, by its first member.
    for (start, ops, _) in actor_ops(s) {
        let mut told: Vec<&str> = vec![start];
        if let Some((at, path)) = circle(s, start, ops, &mut told)
            && path.iter().all(|name| position(s, name) >= position(s, start))
        {
            problems.push(
                Problem::new("these wait for each other and never end", at, "waits here").help(path.join(" after ")),
            );
        }
    }
}

fn position(s: &Scenario, name: &str) -> usize {
    s.actors().position(|a| a == name).unwrap_or(usize::MAX)
}

/// A way from `ops` back to `start` over `after`; where it begins and whom it passes.
fn circle<'s>(
    s: &'s Scenario,
    start: &'s str,
    ops: &'s [Op],
    told: &mut Vec<&'s str>,
) -> Option<(Place, Vec<&'s str>)> {
    for (actor, at) in waits(ops) {
        if actor == start {
            return Some((at, vec![start, start]));
        }
        if told.contains(&actor) {
            continue;
        }
        told.push(actor);
        let next = actor_ops(s).find(|(name, ..)| *name == actor)?;
        if let Some((_, mut path)) = circle(s, start, next.1, told) {
            path.insert(1, actor);
            return Some((at, path));
        }
    }
    None
}

fn verdicts_agree(s: &Scenario, problems: &mut Vec<Problem>) {
    for (i, verdict) in s.verdicts.iter().enumerate() {
        if let Some(first) = s.verdicts[..i].iter().find(|v| v.design == verdict.design) {
            let message = match (&first.answer, &verdict.answer) {
                (Answer::Holds, Answer::Holds) => format!("the verdict of `{}` is given twice", verdict.design),
                (Answer::Violates(_), Answer::Violates(_)) => {
                    format!("`{}` has two verdicts; one may list several invariants", verdict.design)
                }
                _ => format!("`{}` cannot both hold and violate something", verdict.design),
            };
            problems.push(Problem::new(message, verdict.at, "against this").and(first.at, "this was said first"));
        }
        if let Some(why) = s.refusal(verdict.design) {
            let message = format!("`{}` cannot be asked this", verdict.design);
            problems.push(Problem::new(message, verdict.at, "a verdict that nobody can check").help(why));
        }
    }
}

/// What a final expectation says about entries: on which GPU, where they must be, where they must not be.
fn entries(f: &Final) -> Option<(&str, Vec<Bytes>, Vec<Bytes>)> {
    match &f.kind {
        FinalKind::Mapped { gpu, area, except } => {
            let mut mapped = vec![area.bytes];
            for hole in except {
                mapped = mapped
                    .iter()
                    .flat_map(|b| {
                        let left = Bytes::new(b.start, b.end.min(hole.bytes.start));
                        let right = Bytes::new(b.start.max(hole.bytes.end), b.end);
                        [left, right].into_iter().filter(|b| !b.is_empty())
                    })
                    .collect();
            }
            Some((gpu, mapped, except.iter().map(|a| a.bytes).collect()))
        }
        FinalKind::Unmapped { gpu, area } => Some((gpu, Vec::new(), vec![area.bytes])),
        _ => None,
    }
}

fn finals_agree(s: &Scenario, problems: &mut Vec<Problem>) {
    for (i, f) in s.finals.iter().enumerate() {
        for earlier in &s.finals[..i] {
            if let Some(why) = contradiction(earlier, f) {
                problems.push(Problem::new(why, f.at, "against this").and(earlier.at, "this was said first"));
            }
        }
    }
}

fn contradiction(a: &Final, b: &Final) -> Option<String> {
    if let (Some((gpu_a, yes_a, no_a)), Some((gpu_b, yes_b, no_b))) = (entries(a), entries(b)) {
        let both = |yes: &[Bytes], no: &[Bytes]| {
            yes.iter().flat_map(|y| no.iter().map(move |n| y.clip(n))).find(|common| !common.is_empty())
        };
        let common = both(&yes_a, &no_b).or_else(|| both(&yes_b, &no_a))?;
        return (gpu_a == gpu_b).then(|| format!("{common} cannot be both mapped and unmapped on `{gpu_a}`"));
    }
    match (&a.kind, &b.kind) {
        (FinalKind::Value { area: x, one_of: p }, FinalKind::Value { area: y, one_of: q })
            if x.bytes == y.bytes && !p.iter().any(|v| q.contains(v)) =>
        {
            Some(format!("the value at {:#x} cannot be both", x.bytes.start))
        }
        (FinalKind::Queues { gpu: x, running: p }, FinalKind::Queues { gpu: y, running: q }) if x == y && p != q => {
            Some(format!("the queues on `{x}` cannot be both running and stopped"))
        }
        (FinalKind::Attr { gpu: x, area: here, checks: p }, FinalKind::Attr { gpu: y, area: there, checks: q })
            if x == y =>
        {
            p.iter().flat_map(|a| q.iter().map(move |b| (a, b))).find_map(|(a, b)| {
                let why = attrs_contradict(a, b)?;
                // GET_ATTR merges: two different answers contradict on the same interval only; flags, which all or
                // none of the pages have, contradict wherever they meet
                let meets = match a {
                    Attr::Flags { .. } => here.bytes.overlaps(&there.bytes),
                    _ => here.bytes == there.bytes,
                };
                meets.then_some(why)
            })
        }
        _ => None,
    }
}

/// Why `a` and `b` cannot both be answers for the same pages.
fn attrs_contradict(a: &Attr, b: &Attr) -> Option<String> {
    let differ = |what: &str, yes: bool| yes.then(|| format!("{what}: it cannot be both"));
    match (a, b) {
        (Attr::Access(x), Attr::Access(y)) => differ("access", x != y),
        (Attr::PreferredLoc(x), Attr::PreferredLoc(y)) => differ("preferred-loc", x != y),
        (Attr::PrefetchLoc(x), Attr::PrefetchLoc(y)) => differ("prefetch-loc", x != y),
        (Attr::Granularity(x), Attr::Granularity(y)) => differ("granularity", x != y),
        (Attr::Flags { mask: x, set: true }, Attr::Flags { mask: y, set: false })
        | (Attr::Flags { mask: y, set: false }, Attr::Flags { mask: x, set: true }) => {
            (x & y != 0).then(|| "a flag cannot be both set and clear".to_owned())
        }
        _ => None,
    }
}

/// An array that checks an answer must not contradict itself. One that sets may: the driver applies it left to right.
fn attributes_agree(s: &Scenario, problems: &mut Vec<Problem>) {
    let asked = actor_ops(s).flat_map(|(_, ops, _)| ops).chain(&s.prepare).filter_map(|op| match &op.kind {
        OpKind::GetAttr { checks, .. } => Some((checks, op.at)),
        _ => None,
    });
    let finals = s.finals.iter().filter_map(|f| match &f.kind {
        FinalKind::Attr { checks, .. } => Some((checks, f.at)),
        _ => None,
    });
    for (checks, at) in asked.chain(finals) {
        let pairs = checks.iter().enumerate().flat_map(|(i, b)| checks[..i].iter().map(move |a| (a, b)));
        for (a, b) in pairs {
            if let Some(why) = attrs_contradict(a, b) {
                problems.push(Problem::new(why, at, "contradicts itself"));
            }
        }
    }
}
