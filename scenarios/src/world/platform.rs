//! The lab as a [`Platform`]: a back end of `interleave`, the simulated mm, the simulated GPU.

use interleave::lab::Lab;
use model::gpusvm::Port;
use model::platform::Platform;
use sim_gpu::GpuVm;
use sim_mm::AddressSpace;
use std::marker::PhantomData;

/// Ties the driver to back end `L` and the two simulators.
pub struct Simulated<L>(PhantomData<L>);

impl<L: Lab> Platform for Simulated<L> {
    type Kernel = L;
    type Framework = Port;
    type Mm = AddressSpace<L>;
    type Gpu = GpuVm<L>;
}
