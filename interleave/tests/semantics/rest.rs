//! Running in turn, and resting.

use super::{CLIENT, Small, unbound};
use interleave::{Config, Launch, Sim, run_in_turn};
use model::platform::{DelayedWork as _, Kernel, Work as _, WorkFunc, WorkQueue as _};
use std::cell::Cell;
use std::rc::Rc;

/// What the actor saw of the count after each of its operations.
fn seen(rests: bool) -> Vec<u64> {
    let seen = Rc::new(Cell::new(Vec::new()));
    let told = seen.clone();
    let program = Small::new(move |launch: &mut Launch| {
        let queue = unbound();
        let delayed = Rc::new(queue.delayed_work(CLIENT, WorkFunc::Restore).unwrap());
        let work = Rc::new(queue.work(CLIENT, WorkFunc::Gc).unwrap());
        let (rounds, again) = (Rc::new(Cell::new(0)), delayed.clone());
        let count = rounds.clone();
        launch.on_work(move |_, func| {
            count.set(count.get() + 1);
            match func {
                // Comes again more often than timers are free, and waits for time in between.
                WorkFunc::Restore if count.get() % 4 != 0 => {
                    Sim::retry_point("there is more to do");
                    again.queue(1);
                }
                _ => {}
            }
        });
        let told = told.clone();
        launch.actor("app", move || {
            let mut seen = Vec::new();
            for _ in 0..20 {
                delayed.queue(1);
                if rests {
                    Sim::rest();
                }
                seen.push(rounds.get());
            }
            work.queue();
            Sim::rest();
            seen.push(rounds.get());
            told.set(seen);
        });
    });
    let timeline = run_in_turn(&program, &Config { free_retries: 0, ..Config::default() });
    assert_eq!(timeline.violation, None);
    assert_eq!(timeline.actors[0], "app");
    seen.take()
}

#[test]
fn who_rests_goes_on_when_all_others_have_come_to_their_end() {
    let each = (1..=20).map(|n| n * 4);
    assert_eq!(seen(true), each.chain([81]).collect::<Vec<_>>());
}

#[test]
fn who_does_not_rest_goes_on() {
    assert_eq!(seen(false), [[0; 20].as_slice(), &[4]].concat());
}
