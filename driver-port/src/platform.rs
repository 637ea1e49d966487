//! The [`Platform`] that a kernel is.

use crate::board::LinuxBoard;
use crate::gpu::SwGpu;
use crate::{LinuxKernel, LinuxMm};
use core::marker::PhantomData;
use model::platform::Platform;

/// The [`Platform`] that a kernel is, on the framework `F`.
pub struct Linux<F>(PhantomData<fn() -> F>);

/// The framework that is `model::gpusvm`: our port, on interval notifiers.
pub struct OwnPort;

/// The software GPU, with one VM on it.
pub type LinuxGpu = SwGpu<LinuxKernel, LinuxBoard>;

impl<F: 'static> Platform for Linux<F> {
    type Kernel = LinuxKernel;
    type Mm = LinuxMm;
    type Gpu = LinuxGpu;
}
