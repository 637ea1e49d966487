//! Init, close, fini, and the instance's reference count. Spec amdgpu-svm 4.9.
//!
//! Who creates an instance, publishes it in `vm.svm` and frees it is [`super::vm`].

use super::range::SvmRange;
use super::{AttrMutex, Design, Svm, SvmConfig, hardened, poc, v8, xnack};
use crate::Errno;
use crate::attr::{AttrTree, MAX_GRANULARITY, MAX_GRANULARITY_V4};
use crate::framework::{Config, DriverLocked, Instance, InstanceOf};
use crate::note;
use crate::platform::{Atomic, Cache, Gpu, KCache, Kernel, Mutex, Platform, QueueKind, RwSem, WorkFunc, WorkQueue};
use crate::units::PAGE_SHIFT;

impl<P: Platform> Svm<P> {
    /// `amdgpu_svm_init_with_ops` after `cache_init`: mirrors `mm` (the address space of whoever calls) for `gpu`. Registers nothing yet:
    /// interval notifiers come with the first ranges. The caller publishes the result, and only then may call it.
    ///
    /// What was made is undone in reverse when a later step fails, by dropping it.
    ///
    /// # Errors
    /// `ENOMEM`; `EINVAL` (no chunk sizes); `EOPNOTSUPP` (`poc-v8`: XNACK is off).
    pub fn init(config: SvmConfig, mm: P::Mm, gpu: P::Gpu) -> Result<Self, Errno> {
        let properties = gpu.properties();
        let xnack_detected = xnack::xnack_detected(&properties);
        let is_v8 = config.design == Design::PocV8;
        let xnack_enabled = config.xnack.unwrap_or(is_v8 && xnack_detected);
        if is_v8 && !xnack_enabled {
            note!(P::Kernel, "svm init: XNACK off is not supported");
            return Err(Errno::EOPNOTSUPP);
        }
        let most = if is_v8 { MAX_GRANULARITY_V4 } else { MAX_GRANULARITY };
        let granularity = config.default_granularity.unwrap_or(properties.default_granularity).min(most as u8);

        let refcount = Atomic::new("svm.refcount", 1);
        // work_init
        let gc_wq = P::Kernel::alloc_workqueue("amdgpu_svm_range", QueueKind::Unbound)?;
        let restore_wq = P::Kernel::alloc_workqueue("amdgpu_svm_restore", QueueKind::Ordered)?;
        let svm_lock = RwSem::new("svm_lock", ())?;
        let poc = poc::State::new()?;
        let hardened = hardened::State::new();
        let v8 = match is_v8 {
            true => Some(v8::State::new(&gpu, config.client)?),
            false => None,
        };
        let gc_work = gc_wq.work(config.client, WorkFunc::Gc)?;
        let restore_work = restore_wq.delayed_work(config.client, WorkFunc::Restore)?;
        // attr_tree_create
        let attr_trees = KCache::<P, AttrMutex<P>>::new("amdgpu_svm_attr_tree")?;
        let attr_tree = AttrTree::with_uapi(config.design.uapi(), xnack_enabled, granularity)?;
        let attr_tree = attr_trees.alloc(Mutex::new("attr_tree.lock", attr_tree)?)?;
        // drm_gpusvm_init; it comes last because the mmgrab it takes is not undone by dropping it.
        let gpusvm: InstanceOf<P, SvmRange<P>> = Instance::new(
            Config {
                name: "AMDGPU SVM",
                mm_start: 0,
                mm_range: properties.max_pfn << PAGE_SHIFT,
                notifier_size: config.notifier_size,
                chunk_sizes: config.chunk_sizes,
                client: config.client,
            },
            mm,
            gpu.clone(),
        )
        .inspect_err(|_| attr_trees.free(attr_tree))?;
        gpusvm.driver_set_lock(&svm_lock);
        note!(P::Kernel, "svm init: {}, XNACK {}", config.design.name(), if xnack_enabled { "on" } else { "off" });
        Ok(Svm {
            gpusvm,
            refcount,
            gpu,
            design: config.design,
            xnack_enabled,
            xnack_detected,
            attr_trees,
            attr_tree,
            svm_lock,
            gc_work,
            restore_work,
            gc_wq,
            restore_wq,
            poc,
            hardened,
            v8,
        })
    }

    /// For an instance that finds no memory and is dropped: the attribute tree, which dropping it does not free.
    pub(super) fn undo_init(&self) {
        self.attr_trees.free(self.attr_tree);
    }

    /// `kref_get_unless_zero`: false when the last reference is gone already.
    pub fn get(&self) -> bool {
        self.refcount.inc_unless_zero()
    }

    /// `kref_get`, which trusts that there is a reference.
    pub(super) fn kref_get(&self) {
        self.refcount.inc_return();
    }

    /// `kref_put`: true when that was the last reference and the caller is to free the instance.
    #[must_use]
    pub fn put(&self) -> bool {
        self.refcount.dec_return() == 0
    }

    /// What [`Svm::fini`] has left in case somebody still looked: the attribute tree, which `poc-v1` alone frees there. For
    /// who has put the last reference, and frees the instance next.
    pub(super) fn release(&self) {
        if self.design != Design::PocV1 {
            self.attr_trees.free(self.attr_tree);
        }
    }

    /// `amdgpu_svm_close`: no new work from here on; waits for the workers. Idempotent. Nothing held.
    pub fn close(&self) {
        match self.design {
            Design::PocV1 => self.poc_close(),
            Design::Hardened => self.hardened_close(),
            Design::PocV8 => self.v8_close(),
        }
    }

    /// `amdgpu_svm_fini`, once: closes, unregisters every notifier, ends the workers, frees the attributes. The caller
    /// then clears its pointer and puts its reference. `poc-v1` and `poc-v8` leave the PTEs as they are (the VM is
    /// going away); `hardened` clears them. Nothing held.
    pub fn fini(&self) {
        self.close();
        match self.design {
            Design::PocV1 => {
                {
                    let sl = self.lock_svm();
                    self.gpusvm.fini(DriverLocked::by::<P>(&sl));
                }
                self.work_fini();
                // attr_tree_destroy. The pointer stays (race R35).
                self.lock_attrs().destroy();
                self.attr_trees.free(self.attr_tree);
            }
            Design::Hardened => self.hardened_fini(),
            Design::PocV8 => self.v8_fini(),
        }
    }
}
