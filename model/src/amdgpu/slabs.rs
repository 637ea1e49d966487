//! The slabs of the module, created by whoever makes the first instance: `amdgpu_svm_cache_init`. Spec amdgpu-svm 4.1,
//! 4.9.
//!
//! Two global pointers per module, shared by all VMs of all GPUs. `poc-v1` looks at the first without a lock and creates
//! both when it is NULL (race R37): two first users create each slab twice, one of the two is lost, and the kernel says
//! so since it refuses equal names. `hardened` has a mutex around it. Nobody calls `cache_fini`, so the slabs stay until
//! the module goes.
//!
//! What is here is the creation. The objects themselves come from the instance's own [`Cache`]s, because a handle of a
//! freed object is told from others by its cache.

use super::Design;
use crate::Errno;
use crate::platform::{Cache, KCache, KMutex, KShared, Kernel, Mutex, Platform, Shared};

const RANGE: &str = "amdgpu_svm_range_cache";
const ATTR_RANGE: &str = "amdgpu_svm_attr_range_cache";

/// `amdgpu_svm_range_cache`, `amdgpu_svm_attr_range_cache`: one of these per module.
pub struct Slabs<P: Platform> {
    /// Whether the range slab's pointer is set. No lock.
    range: KShared<P, bool>,
    /// Whether the attribute slab's pointer is set. No lock.
    attr_range: KShared<P, bool>,
    /// `slab_mutex`, around what exists.
    existing: KMutex<P, Existing<P>>,
    /// `hardened`: around looking and creating.
    creating: KMutex<P, ()>,
}

/// The slabs that exist. A pointer that was overwritten does not make its slab go away.
struct Existing<P: Platform> {
    range: Option<KCache<P, ()>>,
    attr_range: Option<KCache<P, ()>>,
}

impl<P: Platform> Existing<P> {
    fn slot(&mut self, name: &'static str) -> &mut Option<KCache<P, ()>> {
        if name == RANGE { &mut self.range } else { &mut self.attr_range }
    }
}

impl<P: Platform> Slabs<P> {
    /// The module is loaded: both pointers are NULL.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new() -> Result<Self, Errno> {
        Ok(Slabs {
            range: Shared::new(RANGE, false),
            attr_range: Shared::new(ATTR_RANGE, false),
            existing: Mutex::new("slab_mutex", Existing { range: None, attr_range: None })?,
            creating: Mutex::new("amdgpu_svm_cache_lock", ())?,
        })
    }

    /// `amdgpu_svm_cache_init`: both slabs exist afterwards. Under the root's reservation; sleeps.
    ///
    /// # Errors
    /// `ENOMEM`: neither exists, as far as this call is concerned.
    pub fn cache_init(&self, design: Design) -> Result<(), Errno> {
        let _creating = match design {
            // A mutex since the eighth posting.
            Design::PocV8 => Some(self.creating.lock()),
            Design::PocV1 => None,
            _ => Some(self.creating.lock()),
        };
        if self.range.read_once() {
            return Ok(());
        }
        self.create(RANGE)?;
        self.range.write_once(true);
        if let Err(error) = self.create(ATTR_RANGE) {
            self.range.write_once(false);
            self.destroy(RANGE);
            return Err(error);
        }
        self.attr_range.write_once(true);
        Ok(())
    }

    /// Whether both pointers are set.
    pub fn exist(&self) -> bool {
        self.range.read_once() && self.attr_range.read_once()
    }

    /// `kmem_cache_create`.
    fn create(&self, name: &'static str) -> Result<(), Errno> {
        let mut existing = self.existing.lock();
        if existing.slot(name).is_some() {
            P::Kernel::warn(format_args!("kmem_cache_create: a cache named {name} exists already"));
        }
        *existing.slot(name) = Some(KCache::<P, ()>::new(name)?);
        Ok(())
    }

    /// `kmem_cache_destroy`.
    fn destroy(&self, name: &'static str) {
        *self.existing.lock().slot(name) = None;
    }
}
