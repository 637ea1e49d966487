//! Calls that no sane program makes: ioctls with arguments from a table of good, odd and hostile values, pointers to nowhere,
//! sizes around the end of everything, while other threads change the memory that they are about, hardware fails, and files
//! are closed under those who use them.
//!
//! What comes of a call is not foreseen; what may not come of it is: an errno that the interface does not have, a call that
//! does not return, a machine that cannot make a good VM any more. That the kernel has nothing to say about it, and has lost
//! no memory, is the verdict's business.
//!
//! Arguments: `calls` of each thread, `seed`.

#![allow(unsafe_code)] // any ioctl, and system calls that change mappings

use crate::device::uapi::{self, Accesses, Create, GemSvm, Hardware, Mapped, Nodes, Ranges, Settle, SvmAttribute};
use crate::device::{Came, Gpu, attr, errno, vm};
use crate::driver::{Framework, in_child, on_cpus, prepare};
use crate::fuzz::Dice;
use crate::suite::{Args, Checks, Suite};
use std::io;
use std::sync::{Arc, RwLock};
use std::thread;

/// The suite.
pub(crate) const SUITE: Suite = Suite { name: "wild", about: "calls that no sane program makes", run };

const PAGE: u64 = 0x1000;
/// What most calls are about; nothing of the process's own is there.
const AREA: u64 = 0x2000_0000;
const AREA_PAGES: u64 = 1024;
/// A buffer for each thread, which stays mapped; behind it nothing is.
const BUFFERS: u64 = 0x5000_0000;
const BUFFER: u64 = 16 * PAGE;
const THREADS: u64 = 3;
/// Nothing is there in any process.
const NOWHERE: u64 = 0x7fff_ffff_f000;

/// Errnos that some call may answer with.
const ANSWERS: &[i32] = &[
    libc::EPERM,
    libc::ENOENT,
    libc::EINTR,
    libc::EIO,
    libc::ENXIO,
    libc::E2BIG,
    libc::EAGAIN,
    libc::ENOMEM,
    libc::EFAULT,
    libc::EBUSY,
    libc::ENODEV,
    libc::EINVAL,
    libc::ENOSPC,
    libc::EOPNOTSUPP,
    libc::ETIME,
    libc::ETIMEDOUT,
    libc::ESRCH,
];

#[derive(Clone, Copy)]
struct Round {
    framework: Framework,
    xnack: bool,
    calls: u64,
    seed: u64,
}

fn run(checks: &mut Checks<'_>, args: &Args) {
    let (calls, seed) = (args.number("calls", 300), args.number("seed", 1));
    if !checks.check("the machine is prepared", prepare) {
        return;
    }
    for framework in Framework::ALL {
        for xnack in [true, false] {
            let mode = if xnack { "on" } else { "off" };
            let round = Round { framework, xnack, calls, seed };
            let name = format!("{THREADS} threads make {calls} wild calls each on {framework}, XNACK {mode}");
            checks.check(&name, || in_child(|| in_process(round)));
        }
    }
}

fn create(round: Round) -> Create {
    let framework = match round.framework {
        Framework::Port => uapi::SVMLAB_FRAMEWORK_PORT,
        Framework::Kernel => uapi::SVMLAB_FRAMEWORK_KERNEL,
    };
    let flags = if round.xnack { 0 } else { uapi::SVMLAB_GPU_NORETRY };
    Create { framework, flags, ..vm(uapi::SVMLAB_DESIGN_HARDENED, round.xnack.into()) }
}

fn in_process(round: Round) -> Result<String, String> {
    let words = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    on_cpus(&[0, 1]).map_err(words("CPU affinity"))?;
    map(AREA, AREA_PAGES * PAGE).map_err(words("mmap"))?;
    for number in 0..THREADS {
        map(BUFFERS + number * 2 * BUFFER, BUFFER).map_err(words("mmap"))?;
    }
    let file = RwLock::new(Arc::new(Gpu::create(&create(round)).map_err(words("CREATE"))?));
    let results: Vec<Result<u64, String>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|number| {
                let dice = Dice::new(round.seed * THREADS + number);
                let mut caller = Caller { file: &file, round, number, dice };
                scope.spawn(move || (0..round.calls).map(|_| caller.call()).sum())
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".into()))).collect()
    });
    let answered = results.into_iter().sum::<Result<u64, String>>()?;
    drop(file);
    // The machine is as good as new.
    map(AREA, PAGE).map_err(words("mmap"))?;
    let gpu = Gpu::create(&create(round)).map_err(words("CREATE afterwards"))?;
    gpu.set_attr(AREA, PAGE, &[(attr::ACCESS, 1)]).map_err(words("SET_ATTR afterwards"))?;
    match gpu.load(AREA).map_err(words("ACCESS afterwards"))? {
        Came::Done(_) => Ok(format!("{answered} of {} did something", round.calls * THREADS)),
        Came::Not(outcome) => Err(format!("a load afterwards comes to outcome {outcome}")),
    }
}

fn map(at: u64, len: u64) -> io::Result<()> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED);
    // SAFETY: nothing of the process's own is at the addresses of this file.
    let got = unsafe { libc::mmap(at as *mut _, len as usize, prot, flags, -1, 0) };
    if got == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One thread.
struct Caller<'a> {
    file: &'a RwLock<Arc<Gpu>>,
    round: Round,
    number: u64,
    dice: Dice,
}

impl Caller<'_> {
    /// One call; 1 when it was let in.
    fn call(&mut self) -> Result<u64, String> {
        let gpu = self.file.read().expect("nobody panics with it").clone();
        let (what, result) = match self.dice.below(24) {
            0..=8 => ("GEM_SVM", self.gem_svm(&gpu)),
            9..=11 => ("ACCESS", self.access(&gpu)),
            12..=16 => ("the mm", self.memory()),
            17 => ("a look", self.look(&gpu)),
            18 => ("SETTLE", self.raw(&gpu, uapi::DRM_IOCTL_SVMLAB_SETTLE, Settle { timeout_ms: 3, rounds: 0 })),
            19 | 20 => ("HARDWARE", self.hardware(&gpu)),
            21 => ("CREATE", self.create(&gpu)),
            22 => ("CLOSE", if self.dice.below(8) == 0 { gpu.hook(self.number as u32 % 3) } else { Ok(()) }),
            _ => ("a new file", self.another()),
        };
        match result {
            Ok(()) => Ok(1),
            Err(error) if ANSWERS.contains(&errno(&error)) => Ok(0),
            Err(error) => Err(format!("{what} answers {error}")),
        }
    }

    fn raw<T>(&self, gpu: &Gpu, request: u64, mut arg: T) -> io::Result<()> {
        // SAFETY: the struct of this request; what it points to is nowhere, in a buffer or in the area, where no Rust
        // object is.
        unsafe { gpu.raw(request, &mut arg) }
    }

    fn one_of(&mut self, of: &[u64]) -> u64 {
        of[self.dice.below(of.len() as u64) as usize]
    }

    /// Where a page of the area begins.
    fn page(&mut self) -> u64 {
        AREA + self.dice.below(AREA_PAGES) * PAGE
    }

    /// Mostly in the area.
    fn start(&mut self) -> u64 {
        let page = self.page();
        match self.dice.below(8) {
            0 => self.one_of(&[0, 1, page + 8, NOWHERE, 1 << 47, (1 << 47) - PAGE, !0xfff, u64::MAX, BUFFERS]),
            _ => page,
        }
    }

    fn size(&mut self) -> u64 {
        let pages = 1 + self.dice.below(64);
        match self.dice.below(8) {
            0 => self.one_of(&[0, 1, PAGE - 1, 1 << 30, 1 << 47, 1 << 52, !0xfff, u64::MAX, 1 << 63]),
            1 => 2 << 20,
            _ => pages * PAGE,
        }
    }

    fn pointer(&mut self) -> u64 {
        let (own, page) = (BUFFERS + self.number * 2 * BUFFER, self.page());
        match self.dice.below(6) {
            0 => self.one_of(&[
                0,
                1,
                NOWHERE,
                NOWHERE - 8,
                !0xfff,
                u64::MAX - 3,
                1 << 63,
                own + BUFFER - 4,
                page,
                page + 1,
            ]),
            _ => own,
        }
    }

    fn count(&mut self, good: u64) -> u32 {
        let good = self.dice.below(good) as u32;
        match self.dice.below(8) {
            0 => self.one_of(&[0, 64, 65, 1024, 1025, 16384, 16385, 65537, 1 << 31, u32::MAX.into()]) as u32,
            _ => good,
        }
    }

    fn gem_svm(&mut self, gpu: &Gpu) -> io::Result<()> {
        let attrs_ptr = self.pointer();
        let nattr = self.count(4);
        if attrs_ptr == BUFFERS + self.number * 2 * BUFFER {
            for index in 0..u64::from(nattr.min(64)) {
                let ty = self.one_of(&[0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8, 99, u32::MAX.into()]) as u32;
                let value = self.one_of(&[0, 1, 1, 1, 2, 8, 9, 63, 64, 0xff, u32::MAX.into()]) as u32;
                let at = (attrs_ptr as *mut SvmAttribute).wrapping_add(index as usize);
                // SAFETY: the buffer of this thread, which is mapped and nobody else's.
                unsafe { at.write(SvmAttribute { attr_type: ty, value }) };
            }
        }
        let operation = self.one_of(&[0, 0, 0, 1, 1, 2, 3, u32::MAX.into()]) as u32;
        let (start_addr, size) = (self.start(), self.size());
        gpu.gem_svm(&GemSvm { start_addr, size, operation, nattr, attrs_ptr })
    }

    fn access(&mut self, gpu: &Gpu) -> io::Result<()> {
        let (accesses_ptr, count) = (self.pointer(), self.count(3));
        if accesses_ptr == BUFFERS + self.number * 2 * BUFFER {
            for index in 0..u64::from(count.min(16)) {
                let (addr, op) = (self.start(), self.one_of(&[0, 0, 1, 1, 2, 3]) as u32);
                let at = (accesses_ptr as *mut uapi::Access).wrapping_add(index as usize);
                // SAFETY: as above.
                unsafe { at.write(uapi::Access { addr, value: 7, op, outcome: 0 }) };
            }
        }
        let timeout_ms = self.one_of(&[1, 1, 2, 5, 60_001]) as u32;
        let flags = self.one_of(&[0, 0, 0, 1, 2]) as u32;
        self.raw(gpu, uapi::DRM_IOCTL_SVMLAB_ACCESS, Accesses { accesses_ptr, count, timeout_ms, flags, done: 0 })
    }

    fn look(&mut self, gpu: &Gpu) -> io::Result<()> {
        let (at, count, start) = (self.pointer(), self.count(64), self.start());
        match self.dice.below(4) {
            0 => self.raw(gpu, uapi::DRM_IOCTL_SVMLAB_RANGES, Ranges { ranges_ptr: at, count: count.min(512), pad: 0 }),
            1 => self.raw(gpu, uapi::DRM_IOCTL_SVMLAB_NODES, Nodes { nodes_ptr: at, count: count.min(512), pad: 0 }),
            2 => {
                let args = Mapped { start, pages_ptr: at, count: count.min(512), valid: 0 };
                self.raw(gpu, uapi::DRM_IOCTL_SVMLAB_MAPPED, args)
            }
            _ => gpu.state().map(drop),
        }
    }

    /// Failures, evictions and stops; no planted bugs.
    fn hardware(&mut self, gpu: &Gpu) -> io::Result<()> {
        let what = match self.dice.below(40) {
            0 => uapi::SVMLAB_HW_UNPLUG,
            n => [
                uapi::SVMLAB_HW_FAIL,
                uapi::SVMLAB_HW_FAIL,
                uapi::SVMLAB_HW_EVICT_PAGE_TABLES,
                uapi::SVMLAB_HW_VALIDATE,
                uapi::SVMLAB_HW_VALIDATE,
                uapi::SVMLAB_HW_QUIESCE,
                uapi::SVMLAB_HW_RESUME,
                uapi::SVMLAB_HW_FLUSH_TLB,
                uapi::SVMLAB_HW_FAIL_ALLOCATION,
                9,
            ][n as usize % 10],
        };
        let (point, error) = (self.dice.below(6) as u32, self.one_of(&[4, 5, 12, 16, 11, 0, 4096]) as u32);
        let value = self.dice.below(3) as u32;
        gpu.hardware(Hardware { what, point, error, value })
    }

    fn create(&mut self, gpu: &Gpu) -> io::Result<()> {
        let good = create(self.round);
        let odd = [
            Create { gpu: 8, ..good },
            Create { design: 9, ..good },
            Create { granularity: 64, ..good },
            Create { chunk_sizes: u64::MAX, ..good },
            Create { max_pfn: u64::MAX, ..good },
            Create { notifier_size: u64::MAX, ..good },
            good,
        ];
        gpu.make(&odd[self.dice.below(odd.len() as u64) as usize])
    }

    /// The file is closed, by whoever uses it last, and there is another, of the same GPU as soon as that is free.
    fn another(&mut self) -> io::Result<()> {
        if self.dice.below(6) != 0 {
            return Ok(());
        }
        let file = Gpu::open()?;
        drop(std::mem::replace(&mut *self.file.write().expect("nobody panics with it"), Arc::new(file)));
        let gpu = self.file.read().expect("nobody panics with it").clone();
        gpu.make(&create(self.round))
    }

    fn memory(&mut self) -> io::Result<()> {
        let start = self.page();
        let pages = (1 + self.dice.below(64)).min((AREA + AREA_PAGES * PAGE - start) / PAGE);
        let (at, len) = (start as *mut libc::c_void, (pages * PAGE) as usize);
        let prot = self.one_of(&[0, 1, 3, 3]) as i32;
        let advice = [libc::MADV_DONTNEED, libc::MADV_PAGEOUT, libc::MADV_FREE, libc::MADV_POPULATE_WRITE];
        let advice = advice[self.dice.below(4) as usize];
        // SAFETY: nothing of the process's own is in the area, and nobody accesses it but the GPU and the kernel.
        let result = match self.dice.below(5) {
            0 => unsafe { libc::munmap(at, len) },
            1 => unsafe { libc::mprotect(at, len, prot) },
            2 => unsafe { libc::madvise(at, len, advice) },
            _ => return map(start, pages * PAGE),
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
