//! What one thread does.

#![allow(unsafe_code)] // system calls that change mappings, and accesses to what they map

use crate::driver::{Access as GpuAccess, Framework, Vm};
use crate::fuzz::Dice;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::attr::UapiAttr;
use model::units::Bytes;
use scenarios::conform::Part;
use scenarios::lang::{Access, Attr, Design};
use scenarios::world::Uapi;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const PAGE: u64 = 0x1000;
/// What all share: two chunks of the largest size, and a bit.
const BASE: u64 = 0x2000_0000;
/// Pages of a plot, which belongs to one thread; its neighbours belong to others.
const PLOT: u64 = 8;
/// How many plots each thread has.
const PLOTS: u64 = 40;
/// Where a thread moves its memory to, and from there back: a place for each.
const ASIDE: u64 = 0x4000_0000;
/// How long a GPU access may take while everything is in turmoil.
const PATIENCE_MS: u32 = 20_000;

/// What all threads use.
pub(super) struct Shared<'a> {
    pub(super) gpu: &'a Vm,
    pub(super) threads: u64,
    pub(super) xnack: bool,
    /// One fork at a time.
    pub(super) forks: Mutex<()>,
    /// Some thread has found something.
    pub(super) over: AtomicBool,
}

impl Shared<'_> {
    fn everything(&self) -> Bytes {
        Bytes::new(BASE, BASE + self.threads * PLOTS * PLOT * PAGE)
    }

    fn set(&self, bytes: Bytes, attr: Attr) -> Result<(), String> {
        let mut array = Uapi::of(Design::Hardened).request(attr, Attr::gpu_id(0));
        let set = self.gpu.svm(AMDGPU_SVM_OP_SET_ATTR, bytes, &mut array);
        set.map_err(|error| format!("SET_ATTR {attr:?} of {bytes}: {error}"))
    }

    fn share(&self, bytes: Bytes) -> Result<(), String> {
        self.set(bytes, Attr::Access(Access::Enable))
    }

    fn is_over(&self, until: Instant) -> bool {
        self.over.load(Ordering::Relaxed) || Instant::now() >= until
    }
}

fn check(what: &str, result: i64) -> Result<(), String> {
    if result < 0 { Err(format!("{what}: {}", io::Error::last_os_error())) } else { Ok(()) }
}

fn start(bytes: Bytes) -> *mut libc::c_void {
    bytes.start as *mut libc::c_void
}

fn len(bytes: Bytes) -> usize {
    bytes.len() as usize
}

fn map(bytes: Bytes) -> Result<(), String> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
    // SAFETY: nothing of the process's own is at these addresses.
    let at = unsafe { libc::mmap(start(bytes), len(bytes), prot, flags, -1, 0) };
    check("mmap", if at == libc::MAP_FAILED { -1 } else { 0 })
}

fn protect(bytes: Bytes, prot: i32) -> Result<(), String> {
    // SAFETY: as for `map`; only the thread whose pages these are uses them.
    check("mprotect", unsafe { libc::mprotect(start(bytes), len(bytes), prot) }.into())
}

fn advise(bytes: Bytes, advice: i32) -> Result<(), String> {
    // SAFETY: as for `protect`.
    check("madvise", unsafe { libc::madvise(start(bytes), len(bytes), advice) }.into())
}

fn move_to(from: Bytes, to: u64) -> Result<(), String> {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: as for `protect`; the target is the thread's, too.
    let at = unsafe { libc::mremap(start(from), len(from), len(from), flags, to as *mut libc::c_void) };
    check("mremap", if at == libc::MAP_FAILED { -1 } else { 0 })
}

fn load(addr: u64) -> u64 {
    // SAFETY: the page is the thread's, and mapped whenever this is called; the GPU writes it only when the thread says so.
    unsafe { (addr as *const u64).read_volatile() }
}

fn store(addr: u64, value: u64) {
    // SAFETY: as for `load`, and writable.
    unsafe { (addr as *mut u64).write_volatile(value) }
}

/// Maps what all share, and shares it with the GPU.
pub(super) fn map_everything(shared: &Shared<'_>) -> Result<(), String> {
    map(shared.everything())?;
    shared.share(shared.everything())
}

/// One thread.
pub(super) struct Worker<'a> {
    shared: &'a Shared<'a>,
    number: u64,
    dice: Dice,
    /// The next value, which nobody has written before.
    next: u64,
    /// What each page holds, plot by plot.
    holds: Vec<u64>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(shared: &'a Shared<'a>, number: u64, seed: u64) -> Self {
        let dice = Dice::new(seed << 8 | number);
        Worker { shared, number, dice, next: (number + 1) << 48, holds: vec![0; (PLOTS * PLOT) as usize] }
    }

    /// Until the time is over; how many changes it made.
    pub(super) fn work(mut self, until: Instant) -> Result<u64, String> {
        let mut steps = 0;
        while !self.shared.is_over(until) {
            let (plot, first) = (self.dice.below(PLOTS), self.dice.below(PLOT));
            let count = 1 + self.dice.below(PLOT - first);
            let (what, done) = self.change(plot, first, count);
            done.map_err(|error| format!("thread {} after {steps} changes, {what}: {error}", self.number))?;
            steps += 1;
        }
        Ok(steps)
    }

    fn addr(&self, plot: u64, page: u64) -> u64 {
        BASE + ((plot * self.shared.threads + self.number) * PLOT + page) * PAGE
    }

    fn held(&mut self, plot: u64, page: u64) -> &mut u64 {
        &mut self.holds[(plot * PLOT + page) as usize]
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn change(&mut self, plot: u64, first: u64, count: u64) -> (&'static str, Result<(), String>) {
        let bytes = Bytes::new(self.addr(plot, first), self.addr(plot, first) + count * PAGE);
        match self.dice.below(16) {
            0..=3 => ("the CPU stores", self.cpu_stores(plot, first)),
            4..=6 => ("the GPU stores", self.gpu_stores(plot, first)),
            7 | 8 => ("munmap and mmap", self.unmapped(plot, first, bytes)),
            9 => ("mmap over", map(bytes).and_then(|()| self.emptied(plot, first, bytes, true))),
            10 => (
                "MADV_DONTNEED",
                advise(bytes, libc::MADV_DONTNEED).and_then(|()| self.emptied(plot, first, bytes, false)),
            ),
            11 => ("mprotect", self.protected(plot, first, bytes)),
            12 => ("MADV_PAGEOUT", advise(bytes, libc::MADV_PAGEOUT).and_then(|()| self.gpu_sees(plot, first))),
            13 => ("mremap there and back", self.moved(plot, first, bytes)),
            14 => ("attributes", self.attributes(plot, first, bytes)),
            _ => ("fork", self.forked(plot, first)),
        }
    }

    fn gpu(&self, addr: u64, access: GpuAccess) -> Result<Part, String> {
        self.shared.gpu.access(addr, access, PATIENCE_MS)
    }

    /// The GPU reads what the page holds.
    fn gpu_sees(&mut self, plot: u64, page: u64) -> Result<(), String> {
        let (addr, held) = (self.addr(plot, page), *self.held(plot, page));
        match self.gpu(addr, GpuAccess::Load)? {
            Part::Word(word) if word == held => Ok(()),
            other => Err(format!("at {addr:#x} is {held:#x}, and a load of the GPU came to {other}")),
        }
    }

    fn cpu_stores(&mut self, plot: u64, page: u64) -> Result<(), String> {
        let value = self.fresh();
        store(self.addr(plot, page), value);
        *self.held(plot, page) = value;
        self.gpu_sees(plot, page)
    }

    fn gpu_stores(&mut self, plot: u64, page: u64) -> Result<(), String> {
        let (addr, value) = (self.addr(plot, page), self.fresh());
        match self.gpu(addr, GpuAccess::Store(value))? {
            Part::Word(_) => *self.held(plot, page) = value,
            other => return Err(format!("a store of the GPU to {addr:#x} came to {other}")),
        }
        match load(addr) {
            word if word == value => Ok(()),
            word => Err(format!("the GPU stored {value:#x} at {addr:#x}, and the CPU loads {word:#x}")),
        }
    }

    /// The pages are fresh ones.
    fn emptied(&mut self, plot: u64, first: u64, bytes: Bytes, share: bool) -> Result<(), String> {
        for page in first..first + bytes.len() / PAGE {
            *self.held(plot, page) = 0;
        }
        if share {
            self.shared.share(bytes)?;
        }
        self.gpu_sees(plot, first)
    }

    fn unmapped(&mut self, plot: u64, first: u64, bytes: Bytes) -> Result<(), String> {
        // SAFETY: as for `protect`.
        check("munmap", unsafe { libc::munmap(start(bytes), len(bytes)) }.into())?;
        self.refuses(bytes.start, GpuAccess::Load)?;
        map(bytes)?;
        self.emptied(plot, first, bytes, true)
    }

    /// The GPU does not get there. With XNACK on nobody tries: the entry that ends the retries of a refused access stays
    /// until the range is mapped again, and what follows would find it.
    fn refuses(&self, addr: u64, access: GpuAccess) -> Result<(), String> {
        if self.shared.xnack {
            return Ok(());
        }
        match self.gpu(addr, access)? {
            Part::GpuFault(_) => Ok(()),
            other => Err(format!("an access of the GPU to {addr:#x} came to {other}, though it may not")),
        }
    }

    fn protected(&mut self, plot: u64, first: u64, bytes: Bytes) -> Result<(), String> {
        protect(bytes, libc::PROT_READ)?;
        self.gpu_sees(plot, first)?;
        let value = self.fresh();
        self.refuses(bytes.start, GpuAccess::Store(value))?;
        protect(bytes, libc::PROT_READ | libc::PROT_WRITE)?;
        self.gpu_stores(plot, first)
    }

    fn moved(&mut self, plot: u64, first: u64, bytes: Bytes) -> Result<(), String> {
        let aside = ASIDE + self.number * PLOT * PAGE;
        move_to(bytes, aside)?;
        self.refuses(bytes.start, GpuAccess::Load)?;
        move_to(Bytes::new(aside, aside + bytes.len()), bytes.start)?;
        self.shared.share(bytes)?;
        self.gpu_sees(plot, first)
    }

    fn attributes(&mut self, plot: u64, first: u64, bytes: Bytes) -> Result<(), String> {
        let attr = match self.dice.below(4) {
            0 => Attr::Granularity(self.dice.below(10) as u32),
            1 => Attr::Flags { mask: 0x02, set: true },
            2 => Attr::Flags { mask: 0x02, set: false },
            _ => Attr::Access(Access::None),
        };
        self.shared.set(bytes, attr)?;
        if attr == Attr::Access(Access::None) {
            self.refuses(bytes.start, GpuAccess::Load)?;
            self.shared.share(bytes)?;
        }
        let mut question = [UapiAttr { ty: 2, value: 0 }];
        let asked = self.shared.gpu.svm(AMDGPU_SVM_OP_GET_ATTR, bytes, &mut question);
        asked.map_err(|error| format!("GET_ATTR of {bytes}: {error}"))?;
        // ACCESS
        if question[0].ty != 2 {
            return Err(format!("GET_ATTR of {bytes} answers type {}", question[0].ty));
        }
        self.gpu_sees(plot, first)
    }

    /// The child has every page, too, until it is gone: what is written then is a copy, and the GPU must see that one.
    fn forked(&mut self, plot: u64, page: u64) -> Result<(), String> {
        let pid = {
            let _one = self.shared.forks.lock().map_err(|error| error.to_string())?;
            // SAFETY: the child does nothing but end.
            match unsafe { libc::fork() } {
                // SAFETY: does not return.
                0 => unsafe { libc::_exit(0) },
                pid => pid,
            }
        };
        check("fork", pid.into())?;
        let seen = self.cpu_stores(plot, page).and_then(|()| self.gpu_stores(plot, page));
        // SAFETY: numbers only.
        check("waitpid", unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }.into())?;
        seen
    }
}

/// Somebody else stops the queues and lets them run, and drops translations, as long as the threads are at it.
pub(super) fn disturb(shared: &Shared<'_>, until: Instant) -> Result<(), String> {
    while !shared.is_over(until) {
        shared.gpu.quiesce()?;
        std::thread::sleep(Duration::from_millis(1));
        shared.gpu.resume()?;
        shared.gpu.flush_tlb()?;
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Nothing is left behind: no range of memory that is gone, and after the end no DMA mapping.
pub(super) fn after(shared: &Shared<'_>, framework: Framework) -> Result<(), String> {
    let all = shared.everything();
    // SAFETY: the threads have ended.
    check("munmap", unsafe { libc::munmap(start(all), len(all)) }.into())?;
    shared.gpu.settle()?;
    let state = shared.gpu.state(framework, &[all])?;
    if !state.ranges.is_empty() || !state.pages.is_empty() || !state.running || state.quiesced != 0 {
        return Err(format!("after munmap of everything: {state:?}"));
    }
    shared.gpu.fini()?;
    match shared.gpu.state(framework, &[])?.dma_mappings {
        None | Some(0) => Ok(()),
        Some(left) => Err(format!("{left} DMA mappings are left after fini")),
    }
}
