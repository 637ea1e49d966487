//! `poc-v8`: faults, notifiers, device memory, races.

mod devmem;
mod fault;
mod machine;
mod notifier;
mod races;
