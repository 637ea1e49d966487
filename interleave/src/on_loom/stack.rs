//! Room for what runs on a thread of loom. Loom's own stacks are 32 KiB, which nobody can change, and how much of one a
//! scenario needs is up to the optimiser.

use corosensei::on_stack;
use corosensei::stack::DefaultStack;
use std::cell::RefCell;

/// As much as an actor has under our engine. Pages that are not touched cost nothing.
const STACK_BYTES: usize = 256 << 10;

thread_local! {
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
}

/// Runs `body` on a stack with room. A panic goes on in the caller, so does the unwinding by which loom leaves a thread.
pub(super) fn roomy(body: impl FnOnce()) {
    let pooled = STACKS.with(|pool| pool.borrow_mut().pop());
    let mut stack = pooled.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("address space for a stack"));
    on_stack(&mut stack, body);
    STACKS.with(|pool| pool.borrow_mut().push(stack));
}
