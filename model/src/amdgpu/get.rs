//! GET_ATTR: takes AL and nothing else, and waits for no worker (`poc-v8`: waits for the GC and looks at the VMAs). Spec
//! amdgpu-svm 1.5, 1.6, 4.1.

use super::{Design, Svm};
use crate::Errno;
use crate::attr::{UapiAttr, request_pages};
use crate::platform::{Plain, Platform};

impl<P: Platform> Svm<P> {
    /// GET_ATTR below the ioctl. `start` and `size` in bytes, page aligned, not 0; an interval that wraps is answered
    /// with the defaults. Answers are written into `attrs`; the answer to ACCESS is its *type*.
    ///
    /// # Errors
    /// `EINVAL`: a type that may not be asked for; elements before it are answered already. `poc-v8`: also `EINVAL` for an
    /// interval that wraps, `EFAULT`, `EOPNOTSUPP` for what is not ordinary memory. `hardened` also `EOPNOTSUPP`: closing,
    /// so that nobody takes a tree that was emptied for an answer.
    pub fn get_attr(&self, start: u64, size: u64, attrs: &mut [UapiAttr]) -> Result<(), Errno> {
        if self.design == Design::PocV8 {
            return self.v8_attr_get(start, size, attrs);
        }
        let tree = self.lock_attrs();
        if self.design == Design::Hardened && self.hardened.closed.get() {
            return Err(Errno::EOPNOTSUPP);
        }
        tree.get(request_pages(start, size), attrs)
    }
}
