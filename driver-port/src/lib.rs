//! The model in a real Linux kernel.
//!
//! The driver logic is the crate `model`, unchanged. This crate is its platform: what [`model::platform`] asks for, on the
//! kernel's own locks, workqueues, caches, address spaces, interval notifiers and `hmm_range_fault`. None of those can be
//! called from Rust directly (they are macros, inline functions, or take structures whose layout is the configuration's),
//! so every one is behind a thin C function in `kmod/`; the list is [`ffi`], and `kmod/shim.h` says the same in C.
//!
//! | module | what of the kernel | C |
//! |---|---|---|
//! | [`kernel`] | locks, cells, caches, arrays, workqueues, completions | `lock.c`, `mem.c`, `work.c` |
//! | [`mm`] | `mm_struct`, mmap_lock, VMAs, interval notifiers, hmm, `migrate_vma` | `mm.c`, `migrate.c` |
//! | [`framework`] | the kernel's own drm_gpusvm as the driver's framework, and which one an instance is on | `gpusvm.c` |
//! | [`registry`] | which instance a callback or a work item belongs to | `registry.c` |
//! | [`log`] | the event log, warnings, panics | `log.c` |
//! | [`gpu`], [`board`] | the software GPU, and what it stands on | `swgpu.c` |
//! | [`mod@file`] | an open file: a VM on a GPU, and what its ioctls do | `device.c` |
//! | [`uapi`] | the ioctls of the device | `svmlab_drm.h` |
//! | [`gate`] | where an actor can be held (feature `lab`) | `gate.c` |
//! | `selftest` | all of this tried in the kernel it runs on (feature `lab`) | `selftest.c` |
//!
//! Rules of the house: everything that allocates can fail and says so; nothing unwinds into C (a panic is a `BUG`); each
//! `unsafe` block says why it is right.

#![no_std]
#![allow(unsafe_code)] // this is where the model's safe traits meet C
#![deny(clippy::undocumented_unsafe_blocks, unsafe_op_in_unsafe_fn)]

pub mod board;
mod callback;
mod entry;
pub mod errno;
pub mod ffi;
pub mod file;
pub mod framework;
pub mod gate;
pub mod gpu;
pub mod kernel;
pub mod log;
pub mod mm;
#[cfg(feature = "kernel")]
mod panic;
pub mod place;
mod platform;
pub mod registry;
#[cfg(feature = "lab")]
mod selftest;
pub mod uapi;

pub use kernel::LinuxKernel;
pub use mm::LinuxMm;
pub use platform::{Linux, LinuxGpu, OnLinux};
