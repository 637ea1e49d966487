//! Which framework an instance is on, and the kernel's own as one.
//!
//! [`model::gpusvm::Port`] is our port and needs nothing more than [`LinuxMm`]'s interval notifiers.
//! [`DrmGpusvm`] is `drm_gpusvm` itself, which registers its notifiers alone, takes its own notifier lock and calls the
//! driver inside it. With both in one module the port is held against the original, the same driver on top.
//!
//! | file | what |
//! |---|---|
//! | `range` | a range: the kernel's object with the driver's part behind it |
//! | `locks` | the notifier lock |
//! | `instance` | `struct drm_gpusvm`: each call is the function of that name |
//! | `callbacks` | from the kernel's callback to the driver's `invalidate` op |

mod callbacks;
mod instance;
mod locks;
mod range;

pub use callbacks::Callbacks;
pub use instance::DrmInstance;
pub use locks::{InCallback, NotifierReadGuard};
pub use range::{DrmRange, Ranges};

use crate::ffi::gpusvm::RawNotifier;
use crate::{LinuxKernel, LinuxMm};
use model::framework::Framework;
use model::platform::Platform;

/// The kernel's own `drm_gpusvm` (`drm_gpusvm_helper.ko`).
pub struct DrmGpusvm;

/// A platform whose framework this is.
pub trait OnDrm: Platform<Framework = DrmGpusvm, Kernel = LinuxKernel, Mm = LinuxMm> {}
impl<P: Platform<Framework = DrmGpusvm, Kernel = LinuxKernel, Mm = LinuxMm>> OnDrm for P {}

impl<P: OnDrm> Framework<P> for DrmGpusvm {
    type Instance<R: 'static> = DrmInstance<P, R>;
    type RangeBase<R: 'static> = DrmRange;
    type Notifier<R: 'static> = RawNotifier;
    type ReadGuard<'a> = NotifierReadGuard<'a>;
    type WriteGuard<'a> = InCallback<'a>;
}
