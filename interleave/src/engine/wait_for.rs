//! The wait-for graph of a deadlock, in words.

use super::exec::Exec;
use super::missed;
use super::object::NOBODY;
use super::op::Kind;

/// Says of each of `stuck` what it waits for and who has it; marks a cycle when there is one.
pub(super) fn describe(exec: &Exec, stuck: &[usize]) -> String {
    let mut text = String::from("deadlock");
    let mut edges: Vec<(usize, Vec<usize>)> = Vec::new();
    for (i, &actor) in stuck.iter().enumerate() {
        let op = &exec.pending[actor];
        let name = |a: usize| exec.names()[a].as_str();
        let object = &exec.objects[op.object as usize];
        let mut holders: Vec<usize> = Vec::new();
        if object.owner < NOBODY && (object.owner as usize) < exec.actors {
            holders.push(object.owner as usize);
        }
        holders.extend((0..exec.actors).filter(|a| object.reader_set & (1 << a) != 0));
        let what = match op.kind {
            Kind::Flush | Kind::CancelEnd => {
                let item = &exec.items[op.span.last as usize];
                holders = vec![item.actor as usize];
                format!("the end of {}", item.name())
            }
            Kind::GraceEnd => {
                holders = exec.grace.readers(op.arg());
                format!("the readers of {}", object.name)
            }
            Kind::Take => format!("one of {}", object.name),
            Kind::ReadLock if object.owner == NOBODY => {
                let writers = (0..exec.actors)
                    .filter(|&a| exec.pending[a].kind == Kind::WriteLock && exec.pending[a].object == op.object);
                holders.splice(0..0, writers);
                format!("{} for read, behind a queued writer", object.name)
            }
            Kind::ReadLock => format!("{} for read", object.name),
            Kind::WriteLock => format!("{} for write", object.name),
            Kind::WaitWhile | Kind::WaitUntil => {
                holders.extend(exec.map_holders(actor as u8, object.name).0);
                let how = if op.kind == Kind::WaitWhile { "change from" } else { "become" };
                format!("{} to {how} {}{}", object.name, op.arg(), missed::since(exec, actor))
            }
            _ => object.name.to_string(),
        };
        holders.dedup();
        let held: Vec<&str> = holders.iter().map(|&a| name(a)).collect();
        let by = if held.is_empty() { String::new() } else { format!(" (with {})", held.join(", ")) };
        text += if i == 0 { ": " } else { "; " };
        text += &format!("{} waits for {what}{by}", name(actor));
        edges.push((actor, holders));
    }
    text += &missed::work(exec);
    if let Some(cycle) = cycle(&edges) {
        let names: Vec<&str> = cycle.iter().map(|&a| exec.names()[a].as_str()).collect();
        text += &format!(" — cycle {} -> {}", names.join(" -> "), names[0]);
    }
    text
}

/// A cycle in the graph, from its lowest actor.
fn cycle(edges: &[(usize, Vec<usize>)]) -> Option<Vec<usize>> {
    fn walk(edges: &[(usize, Vec<usize>)], at: usize, path: &mut Vec<usize>) -> Option<Vec<usize>> {
        if let Some(begin) = path.iter().position(|&p| p == at) {
            return Some(path[begin..].to_vec());
        }
        path.push(at);
        let next = edges.iter().find(|(from, _)| *from == at).map(|(_, to)| to.as_slice()).unwrap_or(&[]);
        let found = next.iter().find_map(|&to| walk(edges, to, path));
        path.pop();
        found
    }
    edges.iter().find_map(|(from, _)| walk(edges, *from, &mut Vec::new()))
}
