//! The drm_gpusvm port: on a scripted platform step by step, at random, and in the simulator.

mod chunk;
mod find_or_insert;
mod get_pages;
mod lifecycle;
mod random;
mod script;
mod simulated;
