//! The SVM driver logic, written once.
//!
//! Everything here runs unchanged in a deterministic simulator, under loom and in a real kernel. The crate is
//! `no_std`, has no `unsafe`, no global allocator and no platform `cfg`: what differs between the three places is
//! behind [`platform`], and every allocation goes through it and can fail.
//!
//! | module | answers to |
//! |---|---|
//! | [`attr`] | `amdgpu_svm_attr.c`: the attribute tree, a pure data structure |
//! | [`framework`] | `include/drm/drm_gpusvm.h`: what the driver asks of the framework |
//! | [`gpusvm`] | `drivers/gpu/drm/drm_gpusvm.c`: notifiers, ranges, pages |
//! | [`pagemap`] | `drivers/gpu/drm/drm_pagemap.c`: a GPU's memory as memory of processes, migration to it and back |
//! | [`amdgpu`] | `amdgpu_svm.c`, `amdgpu_svm_range.c`: the driver in its designs |
//! | [`kfd`] | `kfd_svm.c`, `kfd_migrate.c`: the older driver, on the platform alone |
//! | [`plant`] | nothing in a kernel: bugs that the lab can switch on |
//! | [`platform`] | what the kernel offers: locks, memory caches, workqueues, the mm, the GPU |
#![no_std]
#![forbid(unsafe_code)]

pub mod amdgpu;
pub mod attr;
pub mod errno;
pub mod framework;
pub mod gpusvm;
pub mod kfd;
pub mod list;
pub mod pagemap;
pub mod plant;
pub mod platform;
pub mod tree;
pub mod units;

pub use errno::Errno;
