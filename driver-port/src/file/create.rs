//! `SVMLAB_CREATE`: what user space may ask for.

use super::{OpenFile, OpenVm};
use crate::board::LinuxBoard;
use crate::entry::Module;
use crate::framework::DrmGpusvm;
use crate::gpu::kfd::DEVICES;
use crate::gpu::{GpuConfig, RetryConfig};
use crate::kernel::Boxed;
use crate::{Linux, LinuxMm, uapi};
use core::ptr::NonNull;
use model::Errno;
use model::amdgpu::vm::{Built, ManagerConfig};
use model::amdgpu::xnack::xnack_detected;
use model::amdgpu::{Design, NOTIFIER_SIZE, SvmConfig};
use model::gpusvm::{ChunkSizes, Port};
use model::platform::{ClientId, FaultTime, GcVersion, GpuProperties};
use model::units::PAGE_SIZE;

/// The PASID of the file's VM, which has a table to itself; 0 names none.
pub(super) const PASID: u32 = 1;

/// log2 pages: what `svm_default_granularity` says when nobody says otherwise.
const GRANULARITY: u8 = 9;
/// Pages of GPU address space when nobody says otherwise, and at most: four levels of nine bits.
const MAX_PFN: u64 = 1 << 36;
/// Bytes of a notifier's window, at most.
const MAX_NOTIFIER_SIZE: u64 = 1 << 40;

const FLAGS: u32 = uapi::SVMLAB_GPU_APU
    | uapi::SVMLAB_GPU_MULTI_NODE
    | uapi::SVMLAB_GPU_NORETRY
    | uapi::SVMLAB_GPU_SRIOV_WITHOUT_XNACK
    | uapi::SVMLAB_GPU_RETRY_CAM
    | uapi::SVMLAB_WITHOUT_SVM;

/// What is to be made, in the model's terms.
pub(super) struct Wanted {
    pub(super) manager: ManagerConfig,
    svm: SvmConfig,
    gpu: GpuConfig,
}

impl Wanted {
    /// # Errors
    /// `EINVAL`: what cannot be. `EOPNOTSUPP`: a GPU with memory of its own.
    fn from_user(args: &uapi::Create) -> Result<Self, Errno> {
        let design = match args.design {
            uapi::SVMLAB_DESIGN_POC_V1 => Design::PocV1,
            uapi::SVMLAB_DESIGN_HARDENED => Design::Hardened,
            uapi::SVMLAB_DESIGN_POC_V8 => Design::PocV8,
            _ => return Err(Errno::EINVAL),
        };
        let xnack = match args.xnack {
            -1 => None,
            0 => Some(false),
            1 => Some(true),
            _ => return Err(Errno::EINVAL),
        };
        let granularity = match args.granularity {
            -1 => None,
            log2 @ 0..=63 => Some(log2 as u8),
            _ => return Err(Errno::EINVAL),
        };
        let max_pfn = if args.max_pfn == 0 { MAX_PFN } else { args.max_pfn };
        let odd = args.reserved != 0
            || args.flags & !FLAGS != 0
            || args.gpu as usize >= DEVICES
            || args.gc >> 24 != 0
            || args.mtype_local > u8::MAX.into()
            || max_pfn > MAX_PFN
            || args.retry_clock >> FaultTime::BITS != 0;
        if odd {
            return Err(Errno::EINVAL);
        }
        if args.vram_size != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let has = |flag| args.flags & flag != 0;
        let [_, major, minor, rev] = args.gc.to_be_bytes();
        let properties = GpuProperties {
            gc: GcVersion(major, minor, rev),
            apu: has(uapi::SVMLAB_GPU_APU),
            multi_node: has(uapi::SVMLAB_GPU_MULTI_NODE),
            mtype_local: args.mtype_local as u8,
            noretry: has(uapi::SVMLAB_GPU_NORETRY),
            sriov_without_xnack: has(uapi::SVMLAB_GPU_SRIOV_WITHOUT_XNACK),
            max_pfn,
            default_granularity: granularity.unwrap_or(GRANULARITY),
        };
        // Who owns the instance is filled in when there is a number for it.
        let client = ClientId(0);
        let mut svm = SvmConfig::new(design, client);
        svm.xnack = xnack;
        svm.default_granularity = granularity;
        (svm.notifier_size, svm.chunk_sizes) = sizes(args)?;
        let retries = xnack.unwrap_or(design == Design::PocV8 && xnack_detected(&properties));
        let retry = RetryConfig { cam: has(uapi::SVMLAB_GPU_RETRY_CAM), clock: FaultTime(args.retry_clock) };
        let built = if has(uapi::SVMLAB_WITHOUT_SVM) { Built::WithoutSvm } else { Built::WithSvm };
        Ok(Wanted {
            manager: ManagerConfig { design, built, pasids: PASID + 1, dummy_page: None },
            svm,
            gpu: GpuConfig { number: args.gpu as u8, properties, retry: retries.then_some(retry), client },
        })
    }

    /// What an instance with this number is made with.
    pub(super) fn svm(&self, client: ClientId) -> SvmConfig {
        SvmConfig { client, ..self.svm }
    }

    /// What a GPU whose fault handler has this number is made with.
    pub(super) fn gpu(&self, client: ClientId) -> GpuConfig {
        GpuConfig { client, ..self.gpu }
    }
}

/// Notifier size and chunk sizes. The framework trusts its driver with them: chunks must fit into notifiers.
fn sizes(args: &uapi::Create) -> Result<(u64, ChunkSizes), Errno> {
    let notifier = if args.notifier_size == 0 { NOTIFIER_SIZE } else { args.notifier_size };
    if !notifier.is_power_of_two() || !(PAGE_SIZE..=MAX_NOTIFIER_SIZE).contains(&notifier) {
        return Err(Errno::EINVAL);
    }
    if args.chunk_sizes == 0 {
        // The default as far as it fits.
        let fits = ChunkSizes::DEFAULT.as_slice().iter().position(|size| *size <= notifier).unwrap_or(0);
        return Ok((notifier, ChunkSizes::new(&ChunkSizes::DEFAULT.as_slice()[fits..])?));
    }
    let (mut list, mut len, mut left) = ([0; 8], 0, args.chunk_sizes);
    while left != 0 {
        let largest = 1 << left.ilog2();
        *list.get_mut(len).ok_or(Errno::EINVAL)? = largest;
        (len, left) = (len + 1, left & !largest);
    }
    if list[0] > notifier {
        return Err(Errno::EINVAL);
    }
    Ok((notifier, ChunkSizes::new(&list[..len])?))
}

/// A VM of the running task, whose address space is `mm`. Sleeps.
///
/// # Errors
/// `EINVAL`; `EOPNOTSUPP`: what this build has not, or the design refuses; `EBUSY`: the process has a GPU of that number;
/// `ESRCH`: it is going away; `ENOMEM`.
pub fn create(
    module: &'static Module,
    board: LinuxBoard,
    mm: &LinuxMm,
    args: &uapi::Create,
) -> Result<NonNull<dyn OpenFile>, Errno> {
    let wanted = Wanted::from_user(args)?;
    match args.framework {
        uapi::SVMLAB_FRAMEWORK_PORT => {
            let vm: Boxed<OpenVm<Linux<Port>>> = OpenVm::open(module, &module.port, board, mm, &wanted)?;
            Ok(vm.into_raw())
        }
        uapi::SVMLAB_FRAMEWORK_KERNEL => {
            let vm: Boxed<OpenVm<Linux<DrmGpusvm>>> = OpenVm::open(module, &module.drm, board, mm, &wanted)?;
            Ok(vm.into_raw())
        }
        _ => Err(Errno::EINVAL),
    }
}
