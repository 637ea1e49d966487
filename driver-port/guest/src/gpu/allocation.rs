//! Each allocation that the module makes for a call fails in turn: the call says so, nothing is left behind, and the same
//! call is good afterwards. That nothing is lost, the unloading of the module and kmemleak say.

use super::*;
use scenarios::lang::{Access, Attr, Design};
use scenarios::world::Uapi;

/// More allocations than any call makes.
const MANY: u32 = 400;

pub(super) fn run(checks: &mut Checks<'_>) {
    for (name, design) in [("hardened", HARDENED), ("poc-v1", POC_V1), ("poc-v8", POC_V8)] {
        checks.check(&format!("{name}: every allocation of CREATE can fail"), || create(design));
        checks.check(&format!("{name}: every allocation of the first SET_ATTR can fail"), || set_attr(design));
    }
    checks.check("hardened: every allocation of a SET_ATTR that cuts others can fail", cut);
}

/// An open VM of another GPU, through which allocations are made to fail.
struct Failing(Gpu);

impl Failing {
    fn new() -> Result<Failing, String> {
        called("CREATE of another GPU", Gpu::create(&Create { gpu: 1, ..vm(HARDENED, 0) })).map(Failing)
    }

    /// Makes the `nth` allocation of `call` fail. What came of it; None: it made fewer.
    fn nth<T>(&self, nth: u32, call: impl FnOnce() -> io::Result<T>) -> Result<Option<io::Result<T>>, String> {
        called("FAIL_ALLOCATION", self.0.happen(SVMLAB_HW_FAIL_ALLOCATION, nth))?;
        let came = call();
        match self.0.happen(SVMLAB_HW_FAIL_ALLOCATION, 0) {
            Ok(()) => Ok(Some(came)),
            Err(error) if errno(&error) == libc::EBUSY => Ok(None),
            Err(error) => Err(format!("FAIL_ALLOCATION: {error}")),
        }
    }
}

/// Whether it is an answer for want of memory: refused so, or done all the same.
fn answers<T: Debug>(what: &str, came: io::Result<T>) -> Result<(), String> {
    match came {
        Ok(_) => Ok(()),
        Err(error) if errno(&error) == libc::ENOMEM => Ok(()),
        Err(error) => Err(format!("{what}: {error}")),
    }
}

/// A poc-v8 makes its instance with XNACK on only.
fn args(design: u32) -> Create {
    vm(design, (design == POC_V8).into())
}

/// Access for the GPU, in the numbers of the design.
fn access(design: u32) -> Vec<(u32, u32)> {
    let named = match design {
        POC_V1 => Design::PocV1,
        POC_V8 => Design::PocV8,
        _ => Design::Hardened,
    };
    let attrs = Uapi::of(named).request(Attr::Access(Access::Enable), Attr::gpu_id(0));
    attrs.into_iter().map(|attr| (attr.ty, attr.value)).collect()
}

/// As many as are made, or an error.
fn count(what: &str, mut nth: impl FnMut(u32) -> Result<bool, String>) -> Result<String, String> {
    for n in 1..MANY {
        if !nth(n).map_err(|error| format!("allocation {n} of {what} fails: {error}"))? {
            return if n > 1 { Ok(format!("{} of them", n - 1)) } else { Err(format!("{what} allocates nothing")) };
        }
    }
    Err(format!("{what} makes more than {MANY} allocations"))
}

fn create(design: u32) -> Result<String, String> {
    let failing = Failing::new()?;
    count("CREATE", |n| {
        let Some(came) = failing.nth(n, || Gpu::create(&args(design)))? else { return Ok(false) };
        answers("CREATE", came.map(drop))?;
        let gpu = called("CREATE afterwards", Gpu::create(&args(design)))?;
        let memory = called("mmap", Memory::new(2, 2 << 20))?;
        memory.set(0, 5);
        called("SET_ATTR afterwards", gpu.set_attr(memory.start, memory.size, &access(design)))?;
        same("load", called("ACCESS", gpu.load(memory.page(0)))?, Came::Done(5))?;
        Ok(true)
    })
}

fn set_attr(design: u32) -> Result<String, String> {
    let failing = Failing::new()?;
    count("SET_ATTR", |n| {
        let gpu = called("CREATE", Gpu::create(&args(design)))?;
        let memory = called("mmap", Memory::new(4, 2 << 20))?;
        (0..4).for_each(|page| memory.set(page, page));
        let set = || gpu.set_attr(memory.start, memory.size, &access(design));
        let Some(came) = failing.nth(n, set)? else { return Ok(false) };
        answers("SET_ATTR", came)?;
        called("SETTLE", gpu.settle())?;
        called("SET_ATTR afterwards", set())?;
        same("load", called("ACCESS", gpu.load(memory.page(3)))?, Came::Done(3))?;
        Ok(true)
    })
}

fn cut() -> Result<String, String> {
    const READ_ONLY: &[(u32, u32)] = &[(attr::SET_FLAGS, attr::GPU_RO)];
    let failing = Failing::new()?;
    count("SET_ATTR", |n| {
        let (gpu, memory) = with_access(HARDENED, 16)?;
        let set = || gpu.set_attr(memory.page(5), 4 * memory::PAGE, READ_ONLY);
        let Some(came) = failing.nth(n, set)? else { return Ok(false) };
        answers("SET_ATTR", came)?;
        called("SETTLE", gpu.settle())?;
        called("SET_ATTR afterwards", set())?;
        same("load", called("ACCESS", gpu.load(memory.page(6)))?, Came::Done(1006))?;
        same("load", called("ACCESS", gpu.load(memory.page(12)))?, Came::Done(1012))?;
        Ok(true)
    })
}
