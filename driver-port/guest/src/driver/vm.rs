//! A VM on the software GPU in the words of scenarios: what they ask for, and how it stands.

use crate::device;
use crate::device::uapi::{self, Create, GemSvm, SvmAttribute};
use model::attr::UapiAttr;
use model::units::{Bytes, PAGE_SHIFT};
use scenarios::conform::{GpuRefusal, GpuState, NodeState, PageRun, PageState, Part, RangeBits, RangeState};
use scenarios::lang::{Design, GpuDecl};
use std::fmt;
use std::io;

/// Which drm_gpusvm is under the driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framework {
    /// Ours, on interval notifiers.
    Port,
    /// The kernel's own.
    Kernel,
}

impl Framework {
    pub(crate) const ALL: [Framework; 2] = [Framework::Port, Framework::Kernel];
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Framework::Port => "the port of drm_gpusvm",
            Framework::Kernel => "the kernel's drm_gpusvm",
        })
    }
}

/// An open file of the device: a VM on a GPU, once it was created.
pub(crate) struct Vm(device::Gpu);

/// What a wave does to a word.
#[derive(Clone, Copy)]
pub(crate) enum Access {
    Load,
    Store(u64),
    Add(u64),
}

fn at<T>(what: &str, result: io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

impl Vm {
    /// Opens the node.
    ///
    /// # Errors
    /// It does not open; in words.
    pub(crate) fn open() -> Result<Vm, String> {
        at("the render node", device::Gpu::open()).map(Vm)
    }

    /// The file, for whoever looks at more than scenarios speak of.
    pub(crate) fn file(&self) -> &device::Gpu {
        &self.0
    }

    /// Makes it the VM of the calling process on GPU `number`.
    ///
    /// # Errors
    /// As the ioctl says.
    pub(crate) fn create(&self, decl: &GpuDecl, number: usize, design: Design, framework: Framework) -> io::Result<()> {
        let mut flags = if decl.xnack { 0 } else { uapi::SVMLAB_GPU_NORETRY };
        if decl.apu {
            flags |= uapi::SVMLAB_GPU_APU;
        }
        if decl.retry_cam {
            flags |= uapi::SVMLAB_GPU_RETRY_CAM;
        }
        let args = Create {
            design: match design {
                Design::PocV1 => uapi::SVMLAB_DESIGN_POC_V1,
                Design::PocV8 => uapi::SVMLAB_DESIGN_POC_V8,
                Design::Hardened => uapi::SVMLAB_DESIGN_HARDENED,
                Design::Kfd => return Err(io::ErrorKind::Unsupported.into()),
            },
            framework: match framework {
                Framework::Port => uapi::SVMLAB_FRAMEWORK_PORT,
                Framework::Kernel => uapi::SVMLAB_FRAMEWORK_KERNEL,
            },
            xnack: decl.xnack.into(),
            gpu: number as u32,
            gc: uapi::gc(decl.gc.0, decl.gc.1, decl.gc.2),
            flags,
            granularity: decl.granularity.map_or(-1, i32::from),
            notifier_size: decl.notifier_size.unwrap_or(0),
            chunk_sizes: decl.chunk_sizes.iter().flatten().fold(0, |all, size| all | size),
            ..Create::default()
        };
        self.0.make(&args)
    }

    /// DRM_AMDGPU_GEM_SVM. An EAGAIN is answered as drmIoctl does it.
    ///
    /// # Errors
    /// As the ioctl says.
    pub(crate) fn svm(&self, operation: u32, bytes: Bytes, attrs: &mut [UapiAttr]) -> io::Result<()> {
        let mut array: Vec<_> = attrs.iter().map(|a| SvmAttribute { attr_type: a.ty, value: a.value }).collect();
        let args = GemSvm {
            start_addr: bytes.start,
            size: bytes.len(),
            operation,
            nattr: array.len() as u32,
            attrs_ptr: array.as_mut_ptr() as u64,
        };
        let result = loop {
            match self.0.gem_svm(&args) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => std::thread::yield_now(),
                result => break result,
            }
        };
        for (to, from) in attrs.iter_mut().zip(&array) {
            (to.ty, to.value) = (from.attr_type, from.value);
        }
        result
    }

    /// The first call of a design that makes its instance in it: one that is refused for its arguments.
    ///
    /// # Errors
    /// It is not refused so.
    pub(crate) fn first_call(&self) -> Result<(), String> {
        match self.0.gem_svm(&GemSvm::default()) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            other => Err(format!("an ioctl without arguments: {other:?}")),
        }
    }

    /// `amdgpu_svm_close`.
    pub(crate) fn close(&self) -> Result<(), String> {
        at("CLOSE", self.0.hook(uapi::SVMLAB_CLOSE))
    }

    /// `amdgpu_vm_fini`.
    pub(crate) fn fini(&self) -> Result<(), String> {
        at("CLOSE", self.0.hook(uapi::SVMLAB_FINI))
    }

    /// One access of a wave, which waits at most so long for it.
    pub(crate) fn access(&self, addr: u64, access: Access, timeout_ms: u32) -> Result<Part, String> {
        let (op, value) = match access {
            Access::Load => (uapi::SVMLAB_LOAD, 0),
            Access::Store(value) => (uapi::SVMLAB_STORE, value),
            Access::Add(value) => (uapi::SVMLAB_ADD, value),
        };
        let mut wave = [uapi::Access { addr, value, op, outcome: 0 }];
        at("ACCESS", self.0.wave(&mut wave, timeout_ms, 0))?;
        Ok(match wave[0].outcome {
            uapi::SVMLAB_DONE => Part::Word(wave[0].value),
            uapi::SVMLAB_FAULT_INVALID => Part::GpuFault(GpuRefusal::Invalid),
            uapi::SVMLAB_FAULT_READ => Part::GpuFault(GpuRefusal::Read),
            uapi::SVMLAB_FAULT_WRITE => Part::GpuFault(GpuRefusal::Write),
            uapi::SVMLAB_FAULT_NORETRY => Part::GpuFault(GpuRefusal::NoRetry),
            uapi::SVMLAB_QUEUE_GONE => Part::GpuFault(GpuRefusal::QueueGone),
            uapi::SVMLAB_TIMEOUT_STOPPED => Part::QueuesStopped,
            uapi::SVMLAB_TIMEOUT_RETRY => Part::NoProgress,
            other => return Err(format!("an access to {addr:#x} came to outcome {other}")),
        })
    }

    /// Lets the driver's workers come to their end. How often something was left to do.
    pub(crate) fn settle(&self) -> Result<u32, String> {
        at("SETTLE", self.0.settle())
    }

    /// Whether the process's queues run.
    pub(crate) fn is_running(&self) -> Result<bool, String> {
        Ok(at("STATE", self.0.state())?.flags & uapi::SVMLAB_STATE_RUNNING != 0)
    }

    /// How everything stands, at rest. `regions` are those whose pages are looked at.
    pub(crate) fn state(&self, framework: Framework, regions: &[Bytes]) -> Result<GpuState, String> {
        let raw = at("STATE", self.0.state())?;
        let has = |flag| raw.flags & flag != 0;
        let mut state = GpuState {
            running: has(uapi::SVMLAB_STATE_RUNNING),
            quiesced: raw.quiesced,
            // The kernel's framework asks the DMA API itself, where nobody counts.
            dma_mappings: (framework == Framework::Port).then_some(raw.dma_live),
            ..GpuState::default()
        };
        if has(uapi::SVMLAB_STATE_INSTANCE) {
            self.instance(&raw, &mut state)?;
        }
        state.pages = self.pages(regions, &state.ranges, raw.mapped)?;
        Ok(state)
    }

    fn instance(&self, raw: &uapi::State, state: &mut GpuState) -> Result<(), String> {
        let has = |flag| raw.flags & flag != 0;
        state.instance = true;
        state.exiting = has(uapi::SVMLAB_STATE_EXITING);
        state.stopped_by_us = has(uapi::SVMLAB_STATE_STOPPED_BY_US);
        state.pending = has(uapi::SVMLAB_STATE_PENDING);
        state.evicted_ranges = raw.evicted_ranges;
        state.ranges = self.ranges()?;
        state.nodes = self.nodes()?;
        Ok(())
    }

    fn ranges(&self) -> Result<Vec<RangeState>, String> {
        let range = |range: &uapi::Range| {
            let has = |flag| range.flags & flag != 0;
            RangeState {
                start: range.start,
                end: range.end,
                gpu_mapped: has(uapi::SVMLAB_RANGE_GPU_MAPPED),
                in_queue: has(uapi::SVMLAB_RANGE_IN_QUEUE),
                flags: RangeBits::new(
                    has(uapi::SVMLAB_RANGE_MIGRATE_DEVMEM),
                    has(uapi::SVMLAB_RANGE_UNMAPPED),
                    has(uapi::SVMLAB_RANGE_PARTIAL_UNMAP),
                    has(uapi::SVMLAB_RANGE_HAS_DEVMEM),
                    has(uapi::SVMLAB_RANGE_HAS_DMA),
                ),
                pte_flags: range.pte_flags,
                attr_flags: range.attr_flags,
                references: range.references,
            }
        };
        Ok(at("RANGES", self.0.ranges())?.iter().map(range).collect())
    }

    fn nodes(&self) -> Result<Vec<NodeState>, String> {
        let node = |node: &uapi::Node| NodeState {
            first: node.first,
            last: node.last,
            preferred_loc: node.preferred_loc as u32,
            prefetch_loc: node.prefetch_loc as u32,
            flags: node.flags,
            granularity: node.granularity,
            access: node.access,
        };
        Ok(at("NODES", self.0.nodes())?.iter().map(node).collect())
    }

    /// The pages of `regions` that have a valid entry. There are `mapped` in all: mostly those of the ranges, and then
    /// nothing else need be looked at.
    fn pages(&self, regions: &[Bytes], ranges: &[RangeState], mapped: u64) -> Result<Vec<PageRun>, String> {
        let mut within: Vec<Bytes> = Vec::new();
        for range in ranges {
            match within.last_mut() {
                Some(last) if last.end == range.start => last.end = range.end,
                _ => within.push(Bytes::new(range.start, range.end)),
            }
        }
        let (runs, found) = self.pages_of(&within)?;
        if found == mapped { Ok(runs) } else { self.pages_of(regions).map(|(runs, _)| runs) }
    }

    /// The same for one place after the other, which are in address order; and how many there are.
    fn pages_of(&self, places: &[Bytes]) -> Result<(Vec<PageRun>, u64), String> {
        let (mut runs, mut found) = (Vec::new(), 0);
        for place in places {
            let (mut page, last) = (place.pages().first, place.pages().last);
            while page <= last {
                let count = (last - page + 1).min(uapi::SVMLAB_MAX_PAGES.into());
                let seen = at("MAPPED", self.0.mapped(page << PAGE_SHIFT, count as usize))?;
                for (page, seen) in (page..).zip(&seen) {
                    if seen.flags & uapi::SVMLAB_PAGE_VALID != 0 {
                        let state = PageState {
                            pte_flags: seen.pte_flags,
                            huge: seen.flags & uapi::SVMLAB_PAGE_HUGE != 0,
                            same: seen.flags & uapi::SVMLAB_PAGE_SAME != 0,
                        };
                        PageRun::push(&mut runs, page, state);
                        found += 1;
                    }
                }
                page += count;
            }
        }
        Ok((runs, found))
    }

    /// Somebody else than the driver stops the process's queues.
    pub(crate) fn quiesce(&self) -> Result<(), String> {
        at("HARDWARE", self.0.happen(uapi::SVMLAB_HW_QUIESCE, 0))
    }

    /// Undoes one [`Vm::quiesce`].
    pub(crate) fn resume(&self) -> Result<(), String> {
        at("HARDWARE", self.0.happen(uapi::SVMLAB_HW_RESUME, 0))
    }

    /// Drops all cached translations.
    pub(crate) fn flush_tlb(&self) -> Result<(), String> {
        at("HARDWARE", self.0.happen(uapi::SVMLAB_HW_FLUSH_TLB, 0))
    }

    /// The next so many TLB flushes are left out: a planted bug.
    pub(crate) fn skip_flushes(&self, count: u32) -> Result<(), String> {
        at("HARDWARE", self.0.happen(uapi::SVMLAB_HW_SKIP_TLB_FLUSH, count))
    }

    /// The module's event log is on from now on, or off.
    pub(crate) fn log(&self, on: bool) -> Result<(), String> {
        at("LOG", self.0.log(if on { uapi::SVMLAB_LOG_ON } else { uapi::SVMLAB_LOG_OFF })).map(drop)
    }

    /// What was logged since this was last asked, as lines.
    pub(crate) fn drain_log(&self) -> Result<Vec<String>, String> {
        let text = at("LOG", self.0.log(uapi::SVMLAB_LOG_DRAIN))?;
        Ok(text.lines().map(str::to_owned).collect())
    }
}
