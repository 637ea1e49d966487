//! What user space must not say, and which errno it gets for it.

use super::memory::PAGE;
use super::*;
use crate::device::uapi::{Accesses, GemSvm, Hardware, Log, Mapped, Nodes, Ranges, Settle};

/// Nothing is there in any process.
const WILD: u64 = 0x7fff_ffff_f000;

pub(super) fn run(checks: &mut Checks<'_>) {
    checks.check("what GEM_SVM refuses", gem_svm);
    checks.check("what CREATE refuses", create);
    checks.check("what needs a VM says so", without_vm);
    checks.check("what the lab's ioctls refuse", lab);
}

fn refused<T: Debug>(what: &str, result: io::Result<T>, want: i32) -> Result<(), String> {
    match result {
        Err(error) if errno(&error) == want => Ok(()),
        other => Err(format!("{what}: it is {other:?}, and not {}", io::Error::from_raw_os_error(want))),
    }
}

fn gem_svm() -> Result<(), String> {
    for design in [HARDENED, POC_V1] {
        let gpu = called("CREATE", Gpu::create(&vm(design, 0)))?;
        let memory = called("mmap", Memory::new(4, 2 << 20))?;
        let mut attrs = [SvmAttribute { attr_type: attr::ACCESS, value: 1 }; 65];
        let good = GemSvm {
            start_addr: memory.start,
            size: memory.size,
            operation: AMDGPU_SVM_OP_SET_ATTR,
            nattr: 1,
            attrs_ptr: attrs.as_mut_ptr() as u64,
        };
        let rows: &[(&str, GemSvm, i32)] = &[
            ("start in a page", GemSvm { start_addr: good.start_addr + 8, ..good }, libc::EINVAL),
            ("size in a page", GemSvm { size: 100, ..good }, libc::EINVAL),
            ("start 0", GemSvm { start_addr: 0, ..good }, libc::EINVAL),
            ("size 0", GemSvm { size: 0, ..good }, libc::EINVAL),
            ("no attributes", GemSvm { nattr: 0, ..good }, libc::EINVAL),
            ("65 attributes", GemSvm { nattr: 65, ..good }, libc::EINVAL),
            ("more than there can be", GemSvm { nattr: u32::MAX, ..good }, libc::EINVAL),
            ("attributes at 0", GemSvm { attrs_ptr: 0, ..good }, libc::EINVAL),
            ("attributes nowhere", GemSvm { attrs_ptr: WILD, ..good }, libc::EFAULT),
            ("attributes in the kernel", GemSvm { attrs_ptr: !0xfff, ..good }, libc::EFAULT),
            ("attributes at the end", GemSvm { attrs_ptr: u64::MAX - 3, nattr: 64, ..good }, libc::EFAULT),
            ("RESET_ATTR", GemSvm { operation: 2, ..good }, libc::EINVAL),
            ("an operation", GemSvm { operation: 77, ..good }, libc::EINVAL),
            ("where nothing is", GemSvm { start_addr: memory.page(8), ..good }, libc::EFAULT),
            ("the end of the address space", GemSvm { start_addr: !0xfff, ..good }, libc::EINVAL),
            ("around it", GemSvm { size: !0xfff, ..good }, libc::EINVAL),
        ];
        for (what, args, want) in rows {
            refused(what, gpu.gem_svm(args), *want)?;
        }
        let unknown = gpu.set_attr(memory.start, memory.size, &[(attr::ACCESS, 1), (99, 1)]);
        refused("an attribute type", unknown, libc::EINVAL)?;
        same("nothing was stored", called("NODES", gpu.nodes())?.len(), 0)?;
        called("SET_ATTR", gpu.set_attr(memory.start, memory.size, ACCESS))?;
    }
    Ok(())
}

fn create() -> Result<(), String> {
    let good = vm(HARDENED, 0);
    let rows: &[(&str, Create)] = &[
        ("design", Create { design: 3, ..good }),
        ("framework", Create { framework: 2, ..good }),
        ("xnack", Create { xnack: 2, ..good }),
        ("xnack", Create { xnack: -2, ..good }),
        ("gpu", Create { gpu: 8, ..good }),
        ("gc", Create { gc: 1 << 24, ..good }),
        ("flags", Create { flags: 1 << 6, ..good }),
        ("granularity", Create { granularity: 64, ..good }),
        ("granularity", Create { granularity: -2, ..good }),
        ("max_pfn", Create { max_pfn: (1 << 36) + 1, ..good }),
        ("notifier_size", Create { notifier_size: 4097, ..good }),
        ("notifier_size", Create { notifier_size: 2048, ..good }),
        ("chunk_sizes without a page", Create { chunk_sizes: 1 << 16, ..good }),
        ("chunk_sizes below a page", Create { chunk_sizes: 1 << 12 | 1, ..good }),
        ("nine chunk_sizes", Create { chunk_sizes: 0x1ff << 12, ..good }),
        ("a chunk above the notifier", Create { chunk_sizes: 3 << 12, notifier_size: 4096, ..good }),
        ("retry_clock", Create { retry_clock: 1 << 48, ..good }),
        ("reserved", Create { reserved: 1, ..good }),
    ];
    for (what, args) in rows {
        refused(what, Gpu::create(args).map(drop), libc::EINVAL)?;
    }
    refused(
        "poc-v8 without XNACK",
        Gpu::create(&vm(POC_V8, 0)).and_then(|gpu| gpu.reset_attr(PAGE, PAGE)),
        libc::EOPNOTSUPP,
    )?;
    refused("VRAM", Gpu::create(&Create { vram_size: 1 << 20, ..good }).map(drop), libc::EOPNOTSUPP)?;
    let gpu = called("CREATE", Gpu::create(&good))?;
    refused("CREATE again", gpu.make(&good), libc::EBUSY)?;
    refused("the same GPU", Gpu::create(&good).map(drop), libc::EBUSY)?;
    drop(gpu);
    called("CREATE when it is gone", Gpu::create(&good)).map(drop)
}

fn without_vm() -> Result<(), String> {
    let gpu = called("open", Gpu::open())?;
    refused("SET_ATTR", gpu.set_attr(PAGE, PAGE, ACCESS), libc::EOPNOTSUPP)?;
    refused("STATE", gpu.state(), libc::ENXIO)?;
    refused("SETTLE", gpu.settle(), libc::ENXIO)?;
    refused("ACCESS", gpu.load(PAGE), libc::ENXIO)?;
    refused("RANGES", gpu.ranges(), libc::ENXIO)?;
    refused("NODES", gpu.nodes(), libc::ENXIO)?;
    refused("MAPPED", gpu.mapped(PAGE, 1), libc::ENXIO)?;
    refused("CLOSE", gpu.hook(SVMLAB_CLOSE), libc::ENXIO)?;
    refused("HARDWARE", gpu.happen(SVMLAB_HW_FLUSH_TLB, 0), libc::ENXIO)?;
    let without = Create { flags: SVMLAB_WITHOUT_SVM, ..vm(HARDENED, 0) };
    let gpu = called("CREATE without SVM", Gpu::create(&without))?;
    refused("SET_ATTR without SVM", gpu.set_attr(PAGE, PAGE, ACCESS), libc::EOPNOTSUPP)
}

/// `arg` is the struct of `request`; what it points to is nowhere, or the caller's.
#[allow(unsafe_code)] // any ioctl
fn call<T>(gpu: &Gpu, request: u64, mut arg: T) -> io::Result<()> {
    // SAFETY: see above.
    unsafe { gpu.raw(request, &mut arg) }
}

fn lab() -> Result<(), String> {
    let (gpu, memory) = with_access(HARDENED, 4)?;
    let mut accesses = [Access { addr: memory.start, ..Access::default() }; 2];
    let good = Accesses { accesses_ptr: accesses.as_mut_ptr() as u64, count: 2, ..Accesses::default() };
    let rows: &[(&str, Accesses, i32)] = &[
        ("no access", Accesses { count: 0, ..good }, libc::EINVAL),
        ("1025 accesses", Accesses { count: 1025, ..good }, libc::E2BIG),
        ("more than there can be", Accesses { count: u32::MAX, ..good }, libc::E2BIG),
        ("accesses nowhere", Accesses { accesses_ptr: WILD, ..good }, libc::EFAULT),
        ("accesses at 0", Accesses { accesses_ptr: 0, ..good }, libc::EFAULT),
        ("accesses in the kernel", Accesses { accesses_ptr: !0xfff, ..good }, libc::EFAULT),
        ("a flag", Accesses { flags: 2, ..good }, libc::EINVAL),
        ("a timeout", Accesses { timeout_ms: 60_001, ..good }, libc::EINVAL),
    ];
    for (what, args, want) in rows {
        refused(what, call(&gpu, DRM_IOCTL_SVMLAB_ACCESS, *args), *want)?;
    }
    let odd = |access: Access| gpu.wave(&mut [access], 0, 0);
    refused("an address in a word", odd(Access { addr: memory.start + 4, ..Access::default() }), libc::EINVAL)?;
    refused("an op", odd(Access { addr: memory.start, op: 3, ..Access::default() }), libc::EINVAL)?;

    let nowhere = Ranges { ranges_ptr: WILD, count: 1, pad: 0 };
    refused("ranges nowhere", call(&gpu, DRM_IOCTL_SVMLAB_RANGES, nowhere), libc::EFAULT)?;
    refused("ranges' pad", call(&gpu, DRM_IOCTL_SVMLAB_RANGES, Ranges { pad: 1, ..nowhere }), libc::EINVAL)?;
    refused("ranges", call(&gpu, DRM_IOCTL_SVMLAB_RANGES, Ranges { count: 65537, ..nowhere }), libc::E2BIG)?;
    refused(
        "nodes nowhere",
        call(&gpu, DRM_IOCTL_SVMLAB_NODES, Nodes { nodes_ptr: WILD, count: 1, pad: 0 }),
        libc::EFAULT,
    )?;
    let pages = Mapped { start: memory.start, pages_ptr: WILD, count: 1, valid: 0 };
    refused("pages nowhere", call(&gpu, DRM_IOCTL_SVMLAB_MAPPED, pages), libc::EFAULT)?;
    refused("no pages", call(&gpu, DRM_IOCTL_SVMLAB_MAPPED, Mapped { count: 0, ..pages }), libc::EINVAL)?;
    refused("pages", call(&gpu, DRM_IOCTL_SVMLAB_MAPPED, Mapped { count: 16385, ..pages }), libc::E2BIG)?;
    let kernel = Mapped { start: !0xfff, ..pages };
    refused("pages of the kernel", call(&gpu, DRM_IOCTL_SVMLAB_MAPPED, kernel), libc::EINVAL)?;
    refused("half a page", call(&gpu, DRM_IOCTL_SVMLAB_MAPPED, Mapped { start: PAGE + 8, ..pages }), libc::EINVAL)?;
    refused("a hook", gpu.hook(2), libc::EINVAL)?;
    refused("a thing to happen", gpu.happen(10, 0), libc::EINVAL)?;
    refused("a reset", gpu.happen(SVMLAB_HW_RESET, 2), libc::EINVAL)?;
    refused("a point", gpu.hardware(Hardware { what: 0, point: 5, error: 5, value: 0 }), libc::EINVAL)?;
    refused("an errno", gpu.hardware(Hardware { what: 0, point: 0, error: 0, value: 0 }), libc::EINVAL)?;
    let settle = |timeout_ms| call(&gpu, DRM_IOCTL_SVMLAB_SETTLE, Settle { timeout_ms, rounds: 0 });
    refused("a timeout", settle(60_001), libc::EINVAL)?;
    let log = |flags, size, text_ptr| call(&gpu, DRM_IOCTL_SVMLAB_LOG, Log { text_ptr, size, flags, lost: 0 });
    refused("log on and off", log(SVMLAB_LOG_ON | SVMLAB_LOG_OFF, 0, 0), libc::EINVAL)?;
    refused("a log's flag", log(8, 0, 0), libc::EINVAL)?;
    refused("a log", log(SVMLAB_LOG_DRAIN, SVMLAB_MAX_LOG + 1, WILD), libc::E2BIG)?;
    called("LOG", gpu.log(SVMLAB_LOG_ON))?;
    same("load", called("ACCESS", gpu.load(memory.start))?, Came::Done(1000))?;
    called("munmap", memory.unmap(0, 4))?;
    called("SETTLE", gpu.settle())?;
    refused("a log nowhere", log(SVMLAB_LOG_DRAIN, 200, WILD), libc::EFAULT)?;
    let text = called("LOG", gpu.log(SVMLAB_LOG_OFF | SVMLAB_LOG_DRAIN))?;
    let told = text.lines().any(|line| line.contains("PTE clear"));
    if told { Ok(()) } else { Err(format!("the log does not say that entries were cleared:\n{text}")) }
}
