//! What the kernel calls: interval notifiers and work items, by way of C.

use crate::gate;
use crate::kernel::work::FUNCS;
use crate::log;
use crate::registry;
use core::panic::Location;
use model::platform::{ClientId, EventKind, MmuEvent};
use model::units::Bytes;

/// `enum mmu_notifier_event`, by its numbers; `mm.c` asserts that they are these.
const EVENTS: [EventKind; 8] = [
    EventKind::Unmap,
    EventKind::Clear,
    EventKind::ProtectionVma,
    EventKind::ProtectionPage,
    EventKind::SoftDirty,
    EventKind::Release,
    EventKind::Migrate,
    EventKind::Exclusive,
];

/// The event of this number.
fn event(number: u32, start: u64, end: u64, blockable: bool, owner: u64) -> MmuEvent {
    let kind = EVENTS.get(number as usize).copied().unwrap_or_else(|| {
        log::warn_at(format_args!("mmu notifier event {number} is unknown and taken for CLEAR"), Location::caller());
        EventKind::Clear
    });
    MmuEvent { kind, bytes: Bytes::new(start, end), blockable, owner }
}

/// The `invalidate` op of every interval notifier. `start` and `end` are those of the event, not clipped.
///
/// # Safety
/// Called from the op of a subscription made with `client`.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_invalidate(
    client: u32,
    cookie: u64,
    number: u32,
    start: u64,
    end: u64,
    blockable: bool,
    owner: u64,
    seq: u64,
) -> bool {
    let event = event(number, start, end, blockable, owner);
    // SAFETY: the subscription that calls exists until this returns.
    let answer = unsafe { registry::with(ClientId(client), |c| c.mmu_invalidate(cookie, &event, seq)) };
    answer.unwrap_or_else(|| {
        log::warn_at(format_args!("a notifier of instance {client}, which is not there"), Location::caller());
        true
    })
}

/// The `invalidate` op of every drm_gpusvm. `start` and `end` are those of the event, not clipped.
///
/// # Safety
/// Called from the op, notifier lock held for write, of an instance made with `client`, for one of its notifiers.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_gpusvm_invalidate(
    client: u32,
    notifier: u64,
    number: u32,
    start: u64,
    end: u64,
    blockable: bool,
    owner: u64,
) {
    let event = event(number, start, end, blockable, owner);
    // SAFETY: promised by the caller.
    let invalidate = |c: &dyn registry::Client| unsafe { c.invalidate(notifier, &event) };
    // SAFETY: the notifier that calls exists until this returns.
    if unsafe { registry::with(ClientId(client), invalidate) }.is_none() {
        log::warn_at(format_args!("a notifier of instance {client}, which is not there"), Location::caller());
    }
}

/// The function of every work item; `func` is its number in [`FUNCS`].
///
/// # Safety
/// Called from the function of a work item made with `client`.
#[unsafe(no_mangle)]
unsafe extern "C" fn svmlab_rs_work(client: u32, func: u32) {
    let Some(&func) = FUNCS.get(func as usize) else {
        return log::warn_at(format_args!("work function {func} is unknown"), Location::caller());
    };
    gate::work_item(func.name(), true);
    // SAFETY: the work item that runs exists until this returns.
    if unsafe { registry::with(ClientId(client), |c| c.work(func)) }.is_none() {
        log::warn_at(format_args!("{} of instance {client}, which is not there", func.name()), Location::caller());
    }
    gate::work_item(func.name(), false);
}
