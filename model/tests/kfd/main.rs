//! The KFD design in the simulator.

mod device;
mod events;
mod fault;
mod interleaved;
mod set_attr;
mod split;
mod support;
