//! The attribute tree: which part of the address space has which SVM attributes (`amdgpu_svm_attr.c`).
//!
//! A pure data structure. It takes no lock; the driver puts an [`AttrTree`] inside its attribute mutex, and `&self`
//! against `&mut self` says what a method needs of it. What a change means for the GPU is the driver's trade: setting
//! attributes returns an [`AttrChange`] and touches nothing else.
//!
//! | file | answers to |
//! |---|---|
//! | `types` | the UAPI's numbers, `amdgpu_svm_attrs`, defaults, change triggers (spec amdgpu-svm 1.2, 2.2, 3) |
//! | `validate` | what SET_ATTR and GET_ATTR refuse (1.3) |
//! | `apply` | applying a request to attributes, and what has changed (4.2) |
//! | `nodes` | nodes, lookup, insertion, removal, walking (4.1) |
//! | `set` | `set_hole`, `set_existing` and one step of `set_range` (4.2) |
//! | `clear` | `attr_clear_pages` (4.2) |
//! | `get` | `attr_get`: merge and result (1.6, 4.1) |
//! | `uapi` | which numbering a tree speaks: that of V1, or that of V4 and later |
//! | [`v4`] | the numbering of V4 and later: one attribute for access, one for each flag (7.2) |
//!
//! # What looks odd and is meant
//! Neighbours with equal attributes are never merged; a hole that gets exactly the defaults stays a hole; asking for
//! access again, XNACK off, is a change although nothing changes; GET over a wrapping interval reports the defaults.
//!
//! With the numbering of V4 and later two of these go: a hole always gets a node (V5), and asking again is a change only
//! where the pages are to be prefetched.

mod apply;
mod clear;
mod get;
mod nodes;
mod set;
mod types;
mod uapi;
pub mod v4;
mod validate;

pub use apply::{applied, trigger};
pub use nodes::{AttrHandle, AttrRange, AttrTree, Lookup, Segment, Segments};
pub use set::{AttrChange, SegmentSet};
pub use types::*;
pub use uapi::Uapi;
pub use validate::{check_get_type, check_pages, check_set};
