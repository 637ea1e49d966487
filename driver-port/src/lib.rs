//! The model in a real kernel.
//!
//! Today this crate holds one promise: the model builds as a `no_std` library and links with nothing but `core` beneath
//! it. `portcheck/` instantiates the driver on a stub platform as a static library with a panic handler of its own, and
//! the test in `tests/links_without_std.rs` links it into an executable that has no C library either.

#![no_std]

pub mod uapi;

pub use model::platform::{Gpu, Kernel, Mm, Platform};
