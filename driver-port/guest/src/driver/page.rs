//! docs/kernel-conformance.md, as the suite's outcome says it.

use super::known::KNOWN;
use super::vm::Framework;
use super::{Came, DESIGNS, Said, Tally};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The page as it is in the book.
const PAGE: &str = include_str!("../../../../docs/kernel-conformance.md");

/// Compares the page with what came out.
///
/// # Errors
/// It says something else; the page as it should be.
pub(crate) fn check(tally: &Tally) -> Result<(), String> {
    let page = page(tally);
    if page == PAGE { Ok(()) } else { Err(format!("the page should be:\n{page}")) }
}

fn page(tally: &Tally) -> String {
    let at_once = tally.0.iter().filter(|said| matches!(said, Said::AtOnce)).count();
    let single = tally.0.len() - at_once;
    let without_vram = tally.tried().filter(|tried| tried.without_vram).count();
    let mut text = format!(
        "# The driver in simulator and kernel\n\
         \n\
         Of the {all} scenarios of the corpus, {at_once} are about things that happen at once; in the other {single} there\n\
         is one order. Each of those is run by the simulator and, with system calls and ioctls, in a Linux kernel with the\n\
         module `svmlab.ko`: the same model on the kernel's own locks, workqueues, mmu notifiers and `hmm_range_fault`.\n\
         After **each** operation both have come to rest and must stand alike: what the call returned or the access saw,\n\
         what GET_ATTR answered, the ranges (start, end, flags, references), the attribute tree, the GPU's page table page\n\
         by page and whether its entry names the CPU's page, DMA mappings, queues, and what waits for a worker.\n\
         \n\
         `driver-port/vm/test --suite driver --suite-args share=1` does it, and fails if this page says something else\n\
         than what came out. Without `share=1` one run in eight is made, evenly spread.\n\
         \n\
         | design | on | same | differ, explained | differ |\n\
         |---|---|---|---|---|\n",
        all = tally.0.len(),
    );
    for (f, framework) in Framework::ALL.iter().enumerate() {
        for (d, design) in DESIGNS.iter().enumerate() {
            let count = |which| tally.count(d, f, which);
            let (same, explained) = (count(|c| matches!(c, Came::Agrees)), count(|c| matches!(c, Came::Explained(_))));
            let differ = count(|c| matches!(c, Came::Differs(_)));
            writeln!(text, "| {design} | {framework} | {same} | {explained} | {differ} |").expect("a string takes it");
        }
    }
    write!(
        text,
        "\n\
         The module's GPU has no memory of its own: {without_vram} of the scenarios have GPUs with some, and are run\n\
         without it, in both worlds. kfd's design is not in the module.\n"
    )
    .expect("a string takes it");
    explained(tally, &mut text);
    skipped(tally, &mut text);
    text
}

fn explained(tally: &Tally, text: &mut String) {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for tried in tally.tried() {
        for (design, framework, came) in &tried.came {
            if let Came::Explained(known) = came {
                let run = format!("`{}` ({}, {})", tried.path, DESIGNS[*design], Framework::ALL[*framework]);
                reasons.entry(KNOWN[*known].why).or_default().push(run);
            }
        }
    }
    if !reasons.is_empty() {
        text.push_str("\n## What differs, and why\n");
    }
    for (why, runs) in reasons {
        write!(text, "\n{why}\n\n").expect("a string takes it");
        runs.iter().for_each(|run| writeln!(text, "- {run}").expect("a string takes it"));
    }
}

fn skipped(tally: &Tally, text: &mut String) {
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for said in &tally.0 {
        if let Said::Skipped(path, why) = said {
            reasons.entry(why).or_default().push(path);
        }
    }
    if !reasons.is_empty() {
        text.push_str("\n## What is not run, and why\n");
    }
    for (why, paths) in reasons {
        write!(text, "\nBecause {why}:\n\n").expect("a string takes it");
        paths.iter().for_each(|path| writeln!(text, "- `{path}`").expect("a string takes it"));
    }
}
