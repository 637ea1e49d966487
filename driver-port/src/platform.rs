//! The [`Platform`] that a kernel is.

use crate::board::LinuxBoard;
use crate::framework::{Callbacks, DrmGpusvm};
use crate::gpu::SwGpu;
use crate::{LinuxKernel, LinuxMm};
use core::marker::PhantomData;
use model::gpusvm::Port;
use model::platform::Platform;

/// The [`Platform`] that a kernel is, on the framework `F`: [`Port`] or [`DrmGpusvm`].
pub struct Linux<F>(PhantomData<fn() -> F>);

/// The software GPU, with one VM on it.
pub type LinuxGpu = SwGpu<LinuxKernel, LinuxBoard>;

impl Platform for Linux<Port> {
    type Kernel = LinuxKernel;
    type Framework = Port;
    type Mm = LinuxMm;
    type Gpu = LinuxGpu;
}

impl Platform for Linux<DrmGpusvm> {
    type Kernel = LinuxKernel;
    type Framework = DrmGpusvm;
    type Mm = LinuxMm;
    type Gpu = LinuxGpu;
}

/// A [`Linux`], whichever its framework.
pub trait OnLinux: Platform<Kernel = LinuxKernel, Mm = LinuxMm, Gpu = LinuxGpu, Framework: Callbacks<Self>> {}
impl OnLinux for Linux<Port> {}
impl OnLinux for Linux<DrmGpusvm> {}
