//! The render node of the driver: an open file is a VM on a software GPU. What each call means is said in
//! `kmod/svmlab_drm.h`.

#![allow(unsafe_code)] // ioctls

/// The structures and numbers of the ioctls, as the module has them.
#[allow(unreachable_pub, dead_code)]
#[path = "../../src/uapi.rs"]
pub(crate) mod uapi;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};
use uapi::{Access, Accesses, Create, Gate, GateStep, GemSvm, Hardware, Node, Page, Range, State, SvmAttribute};

/// `AMDGPU_SVM_ATTR_ACCESS` and its neighbours, as the first posting and `hardened` number them.
pub(crate) mod attr {
    pub(crate) const ACCESS: u32 = 2;
    pub(crate) const SET_FLAGS: u32 = 5;
    pub(crate) const GRANULARITY: u32 = 7;
    /// A flag.
    pub(crate) const GPU_RO: u32 = 0x08;
}

/// How errors look: the errno, or "not an errno".
pub(crate) fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// An open file of the render node.
#[derive(Debug)]
pub(crate) struct Gpu(File);

impl Gpu {
    /// Opens the first render node, which is the only one there is.
    pub(crate) fn open() -> io::Result<Gpu> {
        OpenOptions::new().read(true).write(true).open("/dev/dri/renderD128").map(Gpu)
    }

    /// Opens it and makes the VM a compute VM.
    pub(crate) fn create(args: &Create) -> io::Result<Gpu> {
        let gpu = Gpu::open()?;
        gpu.make(args)?;
        Ok(gpu)
    }

    /// Any ioctl of the node.
    ///
    /// # Safety
    /// `arg` is what the module takes for `request`, and its pointers are of memory that the module may write.
    pub(crate) unsafe fn raw<T>(&self, request: u64, arg: &mut T) -> io::Result<()> {
        // SAFETY: the caller's promise.
        match unsafe { libc::ioctl(self.0.as_raw_fd(), request as _, std::ptr::from_mut(arg)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// `SVMLAB_CREATE`.
    pub(crate) fn make(&self, args: &Create) -> io::Result<()> {
        let mut args = *args;
        // SAFETY: the struct of this request; it has no pointers.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_CREATE, &mut args) }
    }

    /// `DRM_AMDGPU_GEM_SVM` as it stands, whatever it points to.
    pub(crate) fn gem_svm(&self, args: &GemSvm) -> io::Result<()> {
        let mut args = *args;
        // SAFETY: the struct of this request. Where it points to memory of ours that is not the caller's buffer, the
        // callers of this pass addresses that nothing is at.
        unsafe { self.raw(uapi::DRM_IOCTL_AMDGPU_GEM_SVM, &mut args) }
    }

    fn svm(&self, operation: u32, start: u64, size: u64, attrs: &mut [(u32, u32)]) -> io::Result<()> {
        let mut raw: Vec<SvmAttribute> =
            attrs.iter().map(|&(attr_type, value)| SvmAttribute { attr_type, value }).collect();
        let (nattr, attrs_ptr) = (raw.len() as u32, raw.as_mut_ptr() as u64);
        self.gem_svm(&GemSvm { start_addr: start, size, operation, nattr, attrs_ptr })?;
        for (attr, raw) in attrs.iter_mut().zip(raw) {
            *attr = (raw.attr_type, raw.value);
        }
        Ok(())
    }

    /// SET_ATTR: attributes as type and value.
    pub(crate) fn set_attr(&self, start: u64, size: u64, attrs: &[(u32, u32)]) -> io::Result<()> {
        self.svm(uapi::AMDGPU_SVM_OP_SET_ATTR, start, size, &mut attrs.to_vec())
    }

    /// GET_ATTR: what is asked for, and what came back.
    pub(crate) fn get_attr(&self, start: u64, size: u64, attrs: &[(u32, u32)]) -> io::Result<Vec<(u32, u32)>> {
        let mut attrs = attrs.to_vec();
        self.svm(uapi::AMDGPU_SVM_OP_GET_ATTR, start, size, &mut attrs)?;
        Ok(attrs)
    }

    /// RESET_ATTR.
    pub(crate) fn reset_attr(&self, start: u64, size: u64) -> io::Result<()> {
        self.svm(uapi::AMDGPU_SVM_OP_RESET_ATTR, start, size, &mut [])
    }

    /// A wave: the accesses one after the other, each up to `timeout_ms` (0: the default). How many are done.
    pub(crate) fn wave(&self, accesses: &mut [Access], timeout_ms: u32, flags: u32) -> io::Result<u32> {
        let (accesses_ptr, count) = (accesses.as_mut_ptr() as u64, accesses.len() as u32);
        let mut args = Accesses { accesses_ptr, count, timeout_ms, flags, done: 0 };
        // SAFETY: the struct of this request; it points to as many accesses as it says, which are borrowed.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_ACCESS, &mut args)? };
        Ok(args.done)
    }

    fn one(&self, addr: u64, op: u32, value: u64, timeout_ms: u32) -> io::Result<Came> {
        let mut access = [Access { addr, value, op, outcome: 0 }];
        self.wave(&mut access, timeout_ms, 0)?;
        Ok(match access[0].outcome {
            uapi::SVMLAB_DONE => Came::Done(access[0].value),
            other => Came::Not(other),
        })
    }

    /// The GPU loads the word at `addr`.
    pub(crate) fn load(&self, addr: u64) -> io::Result<Came> {
        self.one(addr, uapi::SVMLAB_LOAD, 0, 0)
    }

    /// The same with less patience.
    pub(crate) fn load_within(&self, addr: u64, timeout_ms: u32) -> io::Result<Came> {
        self.one(addr, uapi::SVMLAB_LOAD, 0, timeout_ms)
    }

    /// The GPU stores a word.
    pub(crate) fn store(&self, addr: u64, value: u64) -> io::Result<Came> {
        self.one(addr, uapi::SVMLAB_STORE, value, 0)
    }

    /// The GPU adds to a word.
    pub(crate) fn add(&self, addr: u64, value: u64) -> io::Result<Came> {
        self.one(addr, uapi::SVMLAB_ADD, value, 0)
    }

    /// Runs what is queued until everything of this VM is at rest; how many rounds it took.
    pub(crate) fn settle(&self) -> io::Result<u32> {
        let mut args = uapi::Settle::default();
        // SAFETY: the struct of this request; it has no pointers.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_SETTLE, &mut args)? };
        Ok(args.rounds)
    }

    /// How it stands.
    pub(crate) fn state(&self) -> io::Result<State> {
        let mut state = State::default();
        // SAFETY: the struct of this request; it has no pointers.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_STATE, &mut state)? };
        Ok(state)
    }

    /// Whether the queues run. Takes none of the driver's locks.
    pub(crate) fn is_running(&self) -> io::Result<bool> {
        let mut state = State { flags: uapi::SVMLAB_STATE_GPU_ONLY, ..State::default() };
        // SAFETY: the struct of this request; it has no pointers.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_STATE, &mut state)? };
        Ok(state.flags & uapi::SVMLAB_STATE_RUNNING != 0)
    }

    /// The ranges in address order.
    pub(crate) fn ranges(&self) -> io::Result<Vec<Range>> {
        let mut count = 64;
        loop {
            let mut ranges = vec![Range::default(); count];
            let mut args = uapi::Ranges { ranges_ptr: ranges.as_mut_ptr() as u64, count: count as u32, pad: 0 };
            // SAFETY: the struct of this request; it points to as many ranges as it says, ours.
            unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_RANGES, &mut args)? };
            let there = args.count as usize;
            if there <= count {
                ranges.truncate(there);
                return Ok(ranges);
            }
            count = there;
        }
    }

    /// The stored attributes in address order.
    pub(crate) fn nodes(&self) -> io::Result<Vec<Node>> {
        let mut count = 64;
        loop {
            let mut nodes = vec![Node::default(); count];
            let mut args = uapi::Nodes { nodes_ptr: nodes.as_mut_ptr() as u64, count: count as u32, pad: 0 };
            // SAFETY: the struct of this request; it points to as many nodes as it says, ours.
            unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_NODES, &mut args)? };
            let there = args.count as usize;
            if there <= count {
                nodes.truncate(there);
                return Ok(nodes);
            }
            count = there;
        }
    }

    /// The page tables of `count` pages from byte `start`.
    pub(crate) fn mapped(&self, start: u64, count: usize) -> io::Result<Vec<Page>> {
        let mut pages = vec![Page::default(); count];
        let mut args = uapi::Mapped { start, pages_ptr: pages.as_mut_ptr() as u64, count: count as u32, valid: 0 };
        // SAFETY: the struct of this request; it points to as many pages as it says, ours.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_MAPPED, &mut args)? };
        Ok(pages)
    }

    /// Something happens to the GPU.
    pub(crate) fn hardware(&self, args: Hardware) -> io::Result<()> {
        let mut args = args;
        // SAFETY: the struct of this request; it has no pointers.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_HARDWARE, &mut args) }
    }

    /// The same for what needs nothing but a number.
    pub(crate) fn happen(&self, what: u32, value: u32) -> io::Result<()> {
        self.hardware(Hardware { what, value, ..Hardware::default() })
    }

    /// `amdgpu_svm_close` ([`uapi::SVMLAB_CLOSE`]) or all of `amdgpu_vm_fini` ([`uapi::SVMLAB_FINI`]).
    pub(crate) fn hook(&self, what: u32) -> io::Result<()> {
        let mut args = uapi::Close { what, pad: 0 };
        // SAFETY: the struct of this request; it has no pointers.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_CLOSE, &mut args) }
    }

    /// `SVMLAB_GATE`: what came of the script that was armed last.
    pub(crate) fn gate(&self, what: u32, actor: u32, place: u64) -> io::Result<Gate> {
        let mut gate = Gate { what, actor, place, ..Gate::default() };
        // SAFETY: the struct of this request; it has no steps.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_GATE, &mut gate)? };
        Ok(gate)
    }

    /// From now on these steps are the script; a wait lasts so long at most.
    pub(crate) fn arm(&self, steps: &[GateStep], timeout_ms: u32) -> io::Result<()> {
        let (steps_ptr, count) = (steps.as_ptr() as u64, steps.len() as u32);
        let mut gate = Gate { what: uapi::SVMLAB_GATE_ARM, steps_ptr, count, timeout_ms, ..Gate::default() };
        // SAFETY: the struct of this request; it points to as many steps as it says, which are read.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_GATE, &mut gate) }
    }

    /// The event log: switched by `flags`, and what was drained.
    pub(crate) fn log(&self, flags: u32) -> io::Result<String> {
        let mut text = vec![0u8; if flags & uapi::SVMLAB_LOG_DRAIN == 0 { 0 } else { 1 << 18 }];
        let mut args = uapi::Log { text_ptr: text.as_mut_ptr() as u64, size: text.len() as u32, flags, lost: 0 };
        // SAFETY: the struct of this request; it points to as many bytes as it says, ours.
        unsafe { self.raw(uapi::DRM_IOCTL_SVMLAB_LOG, &mut args)? };
        text.truncate(args.size as usize);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

/// What came of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Came {
    /// The word read, stored, or the sum.
    Done(u64),
    /// `SVMLAB_FAULT_*` and others.
    Not(u32),
}

/// What [`vm`] says as `framework`.
static FRAMEWORK: AtomicU32 = AtomicU32::new(uapi::SVMLAB_FRAMEWORK_PORT);

/// As long as there is one of these, [`vm`] says that framework.
pub(crate) struct OnFramework {
    before: u32,
}

impl OnFramework {
    pub(crate) fn set(framework: u32) -> Self {
        OnFramework { before: FRAMEWORK.swap(framework, Ordering::Relaxed) }
    }
}

/// The framework that [`vm`] says.
pub(crate) fn framework() -> u32 {
    FRAMEWORK.load(Ordering::Relaxed)
}

impl Drop for OnFramework {
    fn drop(&mut self) {
        FRAMEWORK.store(self.before, Ordering::Relaxed);
    }
}

/// The arguments that make a VM of this design, with what else nobody has to say; XNACK 0, 1 or -1.
pub(crate) fn vm(design: u32, xnack: i32) -> Create {
    // A GPU that can retry: GFX 9.4.3.
    Create { design, framework: framework(), xnack, gc: uapi::gc(9, 4, 3), granularity: -1, ..Create::default() }
}
