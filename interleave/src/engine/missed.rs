//! What those that wait have missed: a lost wakeup, starvation, work that nobody takes up.
//!
//! Read from the path when a violation is told, so it costs nothing before. A gate wakes whoever waits whenever it is
//! stored to; a waiter that could have gone on once, and cannot now, was woken and found the condition gone again.

use super::exec::Exec;
use super::op::{Kind, NO_OBJECT};

/// Of an actor that waits for a gate: what happened to the gate meanwhile, in words; empty when nothing did.
pub(super) fn since(exec: &Exec, actor: usize) -> String {
    let op = &exec.pending[actor];
    let path = &exec.frames[..exec.depth];
    // What it does now it has wanted since its last event.
    let begin = path.iter().rposition(|frame| frame.actor as usize == actor).map_or(0, |last| last + 1);
    let stores: Vec<usize> =
        (begin..path.len()).filter(|&at| path[at].op.object == op.object && path[at].op.kind == Kind::Store).collect();
    // The stores that let it go on, and those that took that back before it did.
    let open = |at: usize| path.get(at).is_some_and(|frame| frame.enabled & (1 << actor) != 0);
    let opened: Vec<usize> = stores.iter().copied().filter(|&at| !open(at) && open(at + 1)).collect();
    let (_, begun) = exec.map_holders(actor as u8, exec.objects[op.object as usize].name);
    if let Some(&last) = opened.last() {
        let name = |at: usize| exec.names()[path[at].actor as usize].as_str();
        let shut = stores.iter().copied().find(|&at| at > last && !open(at + 1));
        let by = shut.map_or(String::new(), |at| format!(" and taken back by {} at event {}", name(at), at + 1));
        let times = match opened.len() {
            1 => String::from("a wakeup is lost"),
            n => format!("{n} wakeups are lost"),
        };
        return format!(", {times}: that was so by {} at event {}{by} before it ran", name(last), last + 1);
    }
    if begun > 0 {
        return format!(", starved: since it waits, {begun} more began before all had ended");
    }
    String::new()
}

/// Who else waits for a gate while `actor` makes no progress, and what they missed.
pub(super) fn starved(exec: &Exec, actor: u8) -> String {
    let mut text = String::new();
    for other in (0..exec.actors).filter(|&other| other != actor as usize) {
        let op = &exec.pending[other];
        if op.object != NO_OBJECT && matches!(op.kind, Kind::WaitWhile | Kind::WaitUntil) {
            let (object, missed) = (exec.objects[op.object as usize].name, since(exec, other));
            text += &format!("; meanwhile {} waits for {object}{missed}", exec.names()[other]);
        }
    }
    text
}

/// Work items that are queued, and that no worker takes up.
pub(super) fn work(exec: &Exec) -> String {
    let mut text = String::new();
    for item in exec.items.iter().filter(|item| item.pending.is_some()) {
        let queue = &exec.queues[item.queue];
        let ahead = exec.items.iter().find(|other| {
            let same = other.actor == item.actor || (queue.busy && other.queue == item.queue);
            same && other.running.is_some()
        });
        let behind = ahead.map_or(String::new(), |other| match other.actor == item.actor {
            true => String::from(" behind its own run"),
            false => format!(" behind {}", exec.names()[other.actor as usize]),
        });
        text += &format!("; {} stays queued on {}{behind}", exec.names()[item.actor as usize], queue.name);
    }
    text
}
