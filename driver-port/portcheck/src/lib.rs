//! The driver, instantiated on a platform that offers nothing: a no_std static library with its own panic handler.
//! If the model came to need std, an allocator or unwinding, this would not build or not link.

#![no_std]

mod stub;

use model::Errno;
use model::amdgpu::uapi::{AMDGPU_SVM_OP_GET_ATTR, AMDGPU_SVM_OP_RESET_ATTR, AMDGPU_SVM_OP_SET_ATTR};
use model::amdgpu::{Design, IoctlArgs, Svm, SvmConfig, UserAttrs};
use model::attr::UapiAttr;
use model::gpusvm::{self, ChunkSizes, Ctx, DriverLocked, GpuSvm};
use model::kfd::{Svms, SvmsConfig};
use model::pagemap::{MigrateDetails, Pagemap};
use model::platform::{ClientId, EventKind, FaultTime, Mm, MmuEvent, RetryFault, VramBlock};
use model::units::{Bytes, Pages};
use stub::{Stub, StubGpu, StubMm};

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

struct OneAttr(UapiAttr);
impl UserAttrs for OneAttr {
    fn copy_in(&self, out: &mut [UapiAttr]) -> Result<(), Errno> {
        out.fill(self.0);
        Ok(())
    }
    fn copy_out(&mut self, attrs: &[UapiAttr]) -> Result<(), Errno> {
        self.0 = attrs[0];
        Ok(())
    }
}

fn drive(design: Design, start: u64, size: u64) -> Result<(), Errno> {
    let mut config = SvmConfig::new(design, ClientId(0));
    if design.created_by_ioctl() {
        config.xnack = Some(true);
    }
    let svm = Svm::<Stub>::init(config, StubMm, StubGpu)?;
    let mut args = IoctlArgs {
        start_addr: start,
        size,
        operation: AMDGPU_SVM_OP_SET_ATTR,
        nattr: 1,
        attrs_ptr_null: false,
    };
    svm.ioctl(&args, &mut OneAttr(UapiAttr { ty: 2, value: 1 }))?;
    args.operation = AMDGPU_SVM_OP_GET_ATTR;
    svm.ioctl(&args, &mut OneAttr(UapiAttr { ty: 2, value: 0 }))?;
    args.operation = AMDGPU_SVM_OP_RESET_ATTR;
    let _ = svm.ioctl(&args, &mut OneAttr(UapiAttr { ty: 2, value: 0 }));
    let event =
        MmuEvent { kind: EventKind::Unmap, bytes: Bytes::new(start, start + size), blockable: true, owner: 0 };
    svm.mmu_invalidate(0, &event, 3);
    svm.gc_work();
    svm.restore_work();
    let fault = svm.handle_fault(RetryFault { addr: start, write: false, time: FaultTime(1) });
    let _ = svm.migrate_to_ram(&StubMm, &StubMm.mmap_read_lock(), start, 0);
    svm.folio_free(0);
    let _ = svm.evict_vram(VramBlock { pfn: 0, pages: 1 });
    svm.close();
    svm.fini();
    svm.put();
    fault
}

/// Device memory, which no design uses on every path yet.
fn drive_devmem(start: u64, size: u64) -> Result<(), Errno> {
    let config = gpusvm::Config {
        name: "portcheck",
        mm_start: 0,
        mm_range: 1 << 47,
        notifier_size: 512 << 20,
        chunk_sizes: ChunkSizes::DEFAULT,
        client: ClientId(0),
    };
    let svm = GpuSvm::<Stub, ()>::new(config, StubMm, StubGpu)?;
    let (locked, ctx, window) = (DriverLocked::at_rest(), Ctx::default(), Bytes::new(0, 1 << 47));
    let range = svm.find_or_insert(locked, start, window, &ctx, || ())?;
    svm.get_pages(locked, range, &ctx)?;
    svm.range_evict(locked, range)?;
    let _ = svm.scan_mm(locked, range, ctx.owner, None);
    svm.fini(locked);

    let pagemap = Pagemap::<Stub>::new(StubGpu, ClientId(0))?;
    pagemap.populate_mm(&StubMm, Bytes::new(start, start + size), &MigrateDetails::default())?;
    pagemap.migrate_to_ram(&StubMm, &StubMm.mmap_read_lock(), start, 0)?;
    pagemap.evict(VramBlock { pfn: 1 << 40, pages: 1 })?;
    pagemap.folio_split(0, 2);
    pagemap.folio_free(0);
    pagemap.fini();
    Ok(())
}

/// Every entry point of the older design.
fn drive_kfd(start: u64, size: u64) -> Result<(), Errno> {
    let svms = Svms::<Stub>::init(SvmsConfig::new(ClientId(0), 1, true), StubMm, &[StubGpu])?;
    let mut args = IoctlArgs { start_addr: start, size, operation: 0, nattr: 1, attrs_ptr_null: false };
    svms.ioctl(&args, &mut OneAttr(UapiAttr { ty: 2, value: 1 }))?;
    args.operation = 1;
    svms.ioctl(&args, &mut OneAttr(UapiAttr { ty: 2, value: 1 }))?;
    let pages = args_pages(start, size);
    svms.queue_buffer_get(0, pages)?;
    svms.queue_buffer_put(pages);
    let event = MmuEvent { kind: EventKind::Unmap, bytes: Bytes::new(start, start + size), blockable: true, owner: 0 };
    svms.mmu_invalidate(0, &event, 3);
    svms.deferred_work();
    svms.restore_work();
    let fault = svms.handle_fault(0, RetryFault { addr: start, write: false, time: FaultTime(1) });
    svms.migrate_to_ram(&StubMm, Some(&StubMm.mmap_read_lock()), start, 1)?;
    svms.folio_free(0);
    svms.evict_vram(0, VramBlock { pfn: 0, pages: 1 })?;
    svms.evict_bo_work();
    svms.release_bo_work();
    svms.process_release(|| ());
    svms.fini();
    fault
}

fn args_pages(start: u64, size: u64) -> Pages {
    Bytes::new(start, start + size).pages()
}

/// Every entry point of the driver, so that none is left out of the link. 0 or a positive errno.
#[allow(unsafe_code)] // the one symbol that C would call
#[unsafe(no_mangle)]
pub extern "C" fn svmlab_portcheck(design: u32, start: u64, size: u64) -> i32 {
    let driven = match design {
        0 => drive(Design::PocV1, start, size),
        1 => drive(Design::Hardened, start, size),
        2 => drive(Design::PocV8, start, size),
        _ => drive_kfd(start, size),
    };
    driven.and_then(|()| drive_devmem(start, size)).map_or_else(|errno| errno as i32, |()| 0)
}
