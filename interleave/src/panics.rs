//! A panic in code under test is a finding, not noise on the terminal.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::PanicHookInfo;
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static LAST_PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// While it lives, panics of this thread print nothing; where they happened is remembered.
pub(crate) struct Quiet(bool);

impl Quiet {
    pub(crate) fn new() -> Self {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
                if CATCHING.get() {
                    let place =
                        info.location().map(|l| format!("{}:{}", crate::engine::exec::short(l.file()), l.line()));
                    LAST_PLACE.with(|last| *last.borrow_mut() = place);
                } else {
                    usual(info);
                }
            }));
        });
        Quiet(CATCHING.replace(true))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        CATCHING.set(self.0);
        if std::thread::panicking() && !self.0 {
            // Not of the code under test, which is caught: ours.
            let place = LAST_PLACE.with(|last| last.borrow_mut().take());
            eprintln!("the engine panicked at {}", place.unwrap_or_default());
        }
    }
}

/// What a panic said, and where.
pub(crate) fn describe(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| String::from("a panic without words"));
    match LAST_PLACE.with(|last| last.borrow_mut().take()) {
        Some(place) => format!("panic: {text} (at {place})"),
        None => format!("panic: {text}"),
    }
}
