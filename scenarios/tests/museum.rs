//! The museum, short: of each class of bugs one, planted, is found by scenarios that were not written for it.

use model::plant::{Class, Plant};
use scenarios::cli::load_corpus;
use scenarios::museum::{BUDGET, Ground, hunt};
use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

/// Of each class one that takes few executions.
const SHORT: &[Plant] = &[
    Plant::KfdUserptrResumeVsEvict,
    Plant::ClearAsUnmap,
    Plant::KfdFencePutThenWait,
    Plant::KfdProcessRefAsArgument,
    Plant::KfdIoctlMutexVsFlush,
    Plant::KfdMmputInNotifier,
    Plant::SkipNoReclaim,
    Plant::CloseCancelOrder,
    Plant::SkipTlbFlush,
    Plant::DoubleQuiesceSingleResume,
    Plant::BusyNoNewSeq,
    Plant::OdpNonblockMissedUnlock,
    Plant::RangeEndOffByOne,
    Plant::XeFlagsMaskGarbage,
];

#[test]
fn a_planted_bug_of_each_class_is_found() {
    let classes: BTreeSet<Class> = SHORT.iter().map(|plant| plant.mutant().class).collect();
    assert_eq!(classes.len(), SHORT.len(), "two are of the same class");
    let stop = AtomicBool::new(false);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut corpus = load_corpus().expect("the corpus parses");
    corpus.retain(|scenario| !scenario.source.path.contains("peer/"));
    let ground = Ground::survey(corpus, 0, workers, &stop);
    for &plant in SHORT {
        let hunt = hunt(&ground, plant, &BUDGET, &stop);
        let catch = hunt.catch.unwrap_or_else(|| panic!("{plant:?} is missed in {} executions", hunt.executions));
        let scenario = &ground.scenario(&ground.spots[catch.spot]).name;
        println!("{plant:?}: {} in {scenario} after {} executions: {}", catch.invariant, hunt.executions, catch.what);
    }
}
