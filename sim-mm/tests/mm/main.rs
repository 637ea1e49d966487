//! The simulated mm: operations, events, and every interleaving of small programs.

mod common;
mod device_interleavings;
mod device_memory;
mod interleavings;
mod interval;
mod operations;
mod programs;
mod reduction;
mod sharing;
