//! Smaller scenarios by making regions smaller. What operations and expectations name moves along.

use super::Candidate;
use crate::lang::{Area, FinalKind, OpKind, Scenario};
use model::units::{Bytes, PAGE_SIZE};

/// A region that has this many pieces taken out at a time, and no smaller ones, unless it is small.
const PIECES: u64 = 8;
/// A region of so many pages or less is small.
const SMALL: u64 = 16;

/// Everything divided by a power of two, the greatest first: with the driver's chunk sizes as they are, and with those
/// divided too, so that a range of one chunk stays one.
pub(super) fn scaled(s: &Scenario) -> Vec<Candidate> {
    let most = s.regions.iter().map(|r| r.bytes.len() / PAGE_SIZE).max().unwrap_or(0);
    let mut candidates = Vec::new();
    for shift in (1..=most.checked_ilog2().unwrap_or(0)).rev() {
        let scale = |page: u64, end: bool| if end { page.div_ceil(1 << shift) } else { page >> shift };
        let mut smaller = Some(Candidate::of(s));
        for region in &s.regions {
            smaller = smaller.and_then(|c| resized(c, &region.name, &scale));
        }
        let Some(smaller) = smaller else { continue };
        let mut with_chunks = smaller.clone();
        for gpu in &mut with_chunks.scenario.gpus {
            let mut chunks = gpu.chunk_sizes.clone().unwrap_or_else(|| vec![2 << 20, 64 << 10, PAGE_SIZE]);
            chunks.iter_mut().for_each(|size| *size = (*size >> shift).max(PAGE_SIZE));
            chunks.dedup();
            gpu.chunk_sizes = Some(chunks);
        }
        candidates.extend([smaller, with_chunks]);
    }
    candidates
}

/// One region each without a piece of it: halves first, then smaller pieces.
pub(super) fn cut(s: &Scenario) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for region in &s.regions {
        let pages = region.bytes.len() / PAGE_SIZE;
        let least = if pages <= SMALL { 1 } else { pages / PIECES };
        let mut piece = pages / 2;
        while piece >= least.max(1) {
            for first in (0..pages).step_by(piece as usize).filter(|first| first + piece <= pages) {
                let without = |page: u64, _: bool| match page {
                    before if before <= first => before,
                    inside if inside < first + piece => first,
                    after => after - piece,
                };
                candidates.extend(resized(Candidate::of(s), &region.name, &without));
            }
            piece /= 2;
        }
    }
    candidates
}

/// A region whose pages, counted from its start, go where `map` says; it is told whether a page is the end of an
/// interval, exclusive. None: something would be empty, or is not aligned.
fn resized(mut candidate: Candidate, region: &str, map: &dyn Fn(u64, bool) -> u64) -> Option<Candidate> {
    let s = &mut candidate.scenario;
    let decl = s.regions.iter_mut().find(|r| r.name == region)?;
    let start = decl.bytes.start;
    let mapped = |bytes: Bytes, one_page: bool| -> Option<Bytes> {
        let page = |at: u64| (at.is_multiple_of(PAGE_SIZE) && at >= start).then(|| (at - start) / PAGE_SIZE);
        let first = map(page(bytes.start)?, false);
        let end = if one_page { first + 1 } else { map(page(bytes.end)?, true) };
        (first < end).then(|| Bytes::new(start + first * PAGE_SIZE, start + end * PAGE_SIZE))
    };
    decl.bytes = mapped(decl.bytes, false)?;
    let end = decl.bytes.end;
    let change = |area: &mut Area, one_page: bool| -> Option<()> {
        if area.region == region {
            area.bytes = mapped(area.bytes, one_page)?;
            // the page an access named may have been cut off
            if area.bytes.end > end {
                return None;
            }
        }
        Some(())
    };
    for op in candidate.all_ops() {
        let old = op.kind.area().map_or(0, |area| area.bytes.len());
        let one_page = op.kind.is_access() && op.kind.area().is_some_and(|area| area.bytes.len() == PAGE_SIZE);
        if let Some(area) = op.kind.area_mut() {
            change(area, one_page)?;
        }
        if let Some(area) = op.kind.second_area_mut() {
            change(area, one_page)?;
        }
        // what moves as it is goes on doing so; what also changes its size must still fit
        if let OpKind::Mremap { area, to, len, .. } = &mut op.kind {
            if *len == old {
                *len = area.bytes.len();
            }
            let fits = match to {
                Some(to) => to.bytes.len() == *len,
                None => area.region != region || area.bytes.start + *len <= end,
            };
            if !fits {
                return None;
            }
        }
        // a copy is from as many pages as to
        if let OpKind::Copy { area, to, .. } = &op.kind
            && area.bytes.len() != to.bytes.len()
        {
            return None;
        }
    }
    for f in &mut candidate.scenario.finals {
        match &mut f.kind {
            FinalKind::Mapped { area, except, .. } => {
                change(area, false)?;
                for hole in except {
                    change(hole, false)?;
                }
            }
            FinalKind::Unmapped { area, .. } | FinalKind::Attr { area, .. } => change(area, false)?,
            FinalKind::Value { area, .. } => change(area, true)?,
            FinalKind::Queues { .. } => {}
        }
    }
    Some(candidate)
}
