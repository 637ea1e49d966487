//! What is wrong with the GPU's page table as it stands.

use crate::device::Gpu;
use crate::device::uapi::{self, Node, Page, Range};
use model::units::{Bytes, PAGE_SHIFT};
use serde::{Deserialize, Serialize};

/// Something that must never be.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Wrong {
    /// "I1".
    pub(crate) invariant: String,
    /// In words.
    pub(crate) what: String,
}

/// AMDGPU_PTE_WRITEABLE.
const WRITEABLE: u64 = 1 << 6;
/// AMDGPU_SVM_FLAG_GPU_RO.
const GPU_RO: u32 = 0x08;

struct Look {
    running: bool,
    pages: Vec<(u64, Page)>,
}

fn look(gpu: &Gpu, regions: &[Bytes]) -> Result<Look, String> {
    // Somebody may be held with the driver's locks.
    let running = gpu.is_running().map_err(|error| format!("STATE: {error}"))?;
    let mut pages = Vec::new();
    for region in regions {
        let (first, last) = (region.pages().first, region.pages().last);
        let mut from = first;
        while from <= last {
            let count = (last - from + 1).min(uapi::SVMLAB_MAX_PAGES.into());
            let seen = gpu.mapped(from << PAGE_SHIFT, count as usize).map_err(|error| format!("MAPPED: {error}"))?;
            pages.extend((from..).zip(seen));
            from += count;
        }
    }
    Ok(Look { running, pages })
}

/// What may not be at any moment. With XNACK off queues run only while what they were promised is there (I7), and no
/// running GPU reaches what the CPU has not (I1).
pub(crate) fn at_any_moment(gpu: &Gpu, regions: &[Bytes], owed: &[u64]) -> Result<Vec<Wrong>, String> {
    let look = look(gpu, regions)?;
    if !look.running {
        return Ok(Vec::new());
    }
    let mut wrong = Vec::new();
    let mut say = |invariant: &str, what: String| {
        if !wrong.iter().any(|w: &Wrong| w.invariant == invariant) {
            wrong.push(Wrong { invariant: invariant.to_owned(), what });
        }
    };
    for (page, seen) in look.pages {
        let is = |flag| seen.flags & flag != 0;
        if is(uapi::SVMLAB_PAGE_CPU) && !is(uapi::SVMLAB_PAGE_VALID) && owed.binary_search(&page).is_ok() {
            say(
                "I7",
                format!("queues run, and page {page:#x}, promised by SET_ATTR and mapped by the CPU, has no entry"),
            );
        }
        let stale = [
            (uapi::SVMLAB_PAGE_VALID, uapi::SVMLAB_PAGE_SAME, "an entry"),
            (uapi::SVMLAB_PAGE_CACHED, uapi::SVMLAB_PAGE_CACHED_SAME, "a TLB entry"),
        ];
        for (there, same, through) in stale {
            if is(there) && !is(same) {
                let cpu = if is(uapi::SVMLAB_PAGE_CPU) { "another page" } else { "nothing" };
                say(
                    "I1",
                    format!("queues run, and {through} leads from page {page:#x} to a page, where the CPU has {cpu}"),
                );
            }
        }
    }
    Ok(wrong)
}

/// What may not be at rest: an entry that says something else than the attributes (I2), and queues that run over a promised
/// page behind whose entry no range holds a DMA mapping any more (I7): nobody will clear it when the page goes.
pub(crate) fn at_rest(gpu: &Gpu, regions: &[Bytes], owed: &[u64]) -> Result<Vec<Wrong>, String> {
    let nodes: Vec<Node> = gpu.nodes().map_err(|error| format!("NODES: {error}"))?;
    let attributes = |page: u64| nodes.iter().find(|node| (node.first..=node.last).contains(&page));
    let ranges = gpu.ranges().map_err(|error| format!("RANGES: {error}"))?;
    let is_held = |page: u64| {
        let holds = |range: &&Range| (range.start..range.end).contains(&(page << PAGE_SHIFT));
        ranges.iter().find(holds).is_some_and(|range| range.flags & uapi::SVMLAB_RANGE_HAS_DMA != 0)
    };
    let Look { running, pages } = look(gpu, regions)?;
    let valid = |seen: &Page| seen.flags & uapi::SVMLAB_PAGE_VALID != 0;
    let mut wrong = Vec::new();
    let orphan = |(page, seen): &&(u64, Page)| valid(seen) && owed.binary_search(page).is_ok() && !is_held(*page);
    if let Some((page, _)) = pages.iter().find(orphan).filter(|_| running) {
        let what = format!(
            "at rest queues run, and the entry of page {page:#x}, promised by SET_ATTR, leads through a DMA mapping that was revoked"
        );
        wrong.push(Wrong { invariant: "I7".into(), what });
    }
    for (page, seen) in pages {
        let valid = valid(&seen);
        let Some(node) = attributes(page).filter(|_| valid) else { continue };
        let (writeable, read_only) = (seen.pte_flags & WRITEABLE != 0, node.flags & GPU_RO != 0);
        let cpu = seen.flags & (uapi::SVMLAB_PAGE_CPU | uapi::SVMLAB_PAGE_CPU_WRITE);
        if writeable && cpu == uapi::SVMLAB_PAGE_CPU {
            let what = format!(
                "at rest the entry of page {page:#x} is for writing, and the CPU's page table has it for reading only"
            );
            wrong.push(Wrong { invariant: "I2".into(), what });
            break;
        }
        if writeable && read_only || !writeable && !read_only && cpu & uapi::SVMLAB_PAGE_CPU_WRITE != 0 {
            let (entry, attributes) = (rights(writeable), rights(!read_only));
            let what = format!("at rest the entry of page {page:#x} is {entry}, its attributes say {attributes}");
            wrong.push(Wrong { invariant: "I2".into(), what });
            break;
        }
    }
    Ok(wrong)
}

fn rights(writeable: bool) -> &'static str {
    if writeable { "for reading and writing" } else { "for reading only" }
}
