//! A GPU of which only the DMA API is real.

use super::{ScriptMm, Seq, holds, log};
use model::Errno;
use model::platform::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

#[derive(Default)]
struct State {
    next: u64,
    live: BTreeMap<u64, (u64, u8, DmaDirection)>,
    /// Mappings until one fails.
    fail_in: Option<usize>,
    total: usize,
}

/// The GPU.
#[derive(Clone, Default)]
pub(crate) struct ScriptGpu(Rc<RefCell<State>>);

impl ScriptGpu {
    pub(crate) fn new() -> Self {
        Self::default()
    }
    /// Mappings that are alive.
    pub(crate) fn live(&self) -> usize {
        self.0.borrow().live.len()
    }
    /// Mappings ever made.
    pub(crate) fn total(&self) -> usize {
        self.0.borrow().total
    }
    pub(crate) fn fail_in(&self, mappings: usize) {
        self.0.borrow_mut().fail_in = Some(mappings);
    }
    /// The frame a bus address leads to.
    pub(crate) fn pfn_at(&self, addr: DmaAddr) -> u64 {
        self.0.borrow().live.get(&addr.0).expect("I3: the bus address is not mapped").0
    }
    pub(crate) fn directions(&self) -> Vec<DmaDirection> {
        self.0.borrow().live.values().map(|mapping| mapping.2).collect()
    }
}

const ONLY_DMA: &str = "drm_gpusvm does no more than DMA mapping";

impl Gpu<Seq, ScriptMm> for ScriptGpu {
    type RootReserved<'a> = ();
    fn properties(&self) -> GpuProperties {
        unreachable!("{ONLY_DMA}")
    }
    fn reserve_root(&self) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn update_range(&self, _: &PteUpdate) -> Result<Option<Fence>, Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn update_pdes(&self, _: &()) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn wait_fence(&self, _: Fence) {
        unreachable!("{ONLY_DMA}")
    }
    fn flush_tlb(&self) {
        unreachable!("{ONLY_DMA}")
    }
    fn quiesce_mm(&self, _: &ScriptMm) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn resume_mm(&self, _: &ScriptMm) -> Result<(), Errno> {
        unreachable!("{ONLY_DMA}")
    }
    fn dma_map(&self, pfn: u64, order: u8, direction: DmaDirection) -> Result<DmaAddr, Errno> {
        assert!(holds("notifier_lock"), "pages are mapped under the notifier lock");
        let mut state = self.0.borrow_mut();
        match &mut state.fail_in {
            Some(0) => {
                log("dma_map: fails");
                return Err(Errno::EFAULT);
            }
            Some(n) => *n -= 1,
            None => (),
        }
        // No bus address is used twice, so that a stale one leads nowhere.
        state.next += 1;
        state.total += 1;
        let addr = state.next << 32;
        state.live.insert(addr, (pfn, order, direction));
        log(format!("dma_map {pfn:#x} order {order}"));
        Ok(DmaAddr(addr))
    }
    fn dma_unmap(&self, addr: DmaAddr, order: u8, direction: DmaDirection) {
        assert!(holds("notifier_lock"), "pages are unmapped under the notifier lock");
        let mapping = self.0.borrow_mut().live.remove(&addr.0);
        let (pfn, mapped_order, mapped_for) = mapping.expect("a bus address is unmapped that is not mapped");
        assert_eq!((order, direction), (mapped_order, mapped_for), "unmapped as it was mapped");
        log(format!("dma_unmap {pfn:#x} order {order}"));
    }
}

impl Vram<Seq> for ScriptGpu {}
impl RetryFaults<Seq> for ScriptGpu {}
