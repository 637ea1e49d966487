//! What a design does otherwise than one would expect, one rule for each, and what the programs put to a design leave out
//! because it is known to go wrong there.
//!
//! Sections are those of the specifications of the drivers: amdgpu-svm (V1, and 7 for the later ones), kfd-svm.

use model::platform::Plant;
use scenarios::lang::Design;

/// An oddity that the reference knows. A design without any of these is what the ioctl's documentation says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Rule {
    /// There is one set of attributes for the process, only access is by GPU (kfd-svm 1, 11).
    AttrsOfTheProcess,
    /// munmap takes the attributes: they belong to a range, and that is gone (kfd-svm 5).
    AttrsGoWithTheMapping,
    /// GET_ATTR ignores what is not registered, unless nothing is (kfd-svm, peer-tests 0.4). The others count holes as
    /// defaults (amdgpu-svm 1.6).
    HolesDoNotCount,
    /// GET_ATTR of what is not mapped is EFAULT (kfd; amdgpu-svm 7.4).
    GetLooksAtVmas,
    /// A GPU fault where nothing is registered registers the VMA's free pages there (kfd-svm 3.3).
    FaultRegisters,
    /// A preferred location of system memory, this GPU, or one in its hive is as good as access (kfd-svm 7 step 9).
    PreferredIsAccess,
    /// Nobody asks whether the GPU has access (amdgpu-svm 7.4, fault and prefetch).
    AccessDoesNotMatter,
    /// Losing access does not unmap (amdgpu-svm 4.4; kfd-svm 11): an access afterwards may work or fault.
    LostAccessStaysMapped,
}

/// What is left out of programs. Each would make the design fall, as `avoided.rs` shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Avoid {
    /// The GPU touches what is not mapped: the fault is said to be handled and comes back for ever (amdgpu-svm 7.4, L6).
    GpuAccessToHole,
    /// The GPU writes where GPU_RO is set: mapped read-only again and again (kfd looks at the VMA only; poc-v8 does the same,
    /// amdgpu-svm R33, and is spared by [`Avoid::ReadOnlyZeroPages`]).
    GpuWriteToReadOnlyAttr,
    /// mprotect of a part of a chunk: the range is not cut, and serves only what all of its pages allow.
    PartOfAChunkProtected,
    /// mprotect or mmap to PROT_NONE: restoring it never succeeds (amdgpu-svm R3, R16), or the old entries stay (kfd).
    Unreadable,
    /// Events, or changes of flags, on pages that have lost access: nobody takes their entries back or changes them. Access
    /// is returned before.
    EventAfterLostAccess,
    /// munmap without mapping the pages and setting all attributes anew (amdgpu-svm R9, R16, R21).
    HoleWithoutNewAttrs,
    /// Attributes that differ within a chunk (amdgpu-svm R18, R19).
    AttrsWithinAChunk,
    /// An event on a part of a chunk that is mapped: only that part's entries go, and all of its DMA mappings
    /// (amdgpu-svm R27).
    EventOnPartOfAChunk,
    /// GPU_RO, which maps the zero page: once it is cleared the pages collected for reading are mapped writeable (poc-v1; R33
    /// is its sibling), and the first store is an event on that page alone (poc-v8, [`Avoid::EventOnPartOfAChunk`]).
    ReadOnlyZeroPages,
    /// The next change while workers are busy with the last: they trip over each other (amdgpu-svm R8, L1), and a range
    /// that is cut forgets that it was evicted (kfd). An access of the GPU, or a call that waits for them, comes before.
    ChangeDuringRepair,
    /// Memory of the GPU where queues are stopped instead of faults retried: a range that is cut while it is evicted is not
    /// mapped again where its pages are now (kfd-svm 6).
    VramWithStoppedQueues,
    /// SET_ATTR over the zero page: collecting the pages copies it, which is an event, which is EAGAIN for each of them
    /// (kfd-svm 9; libhsakmt calls again). A store comes before.
    SetOverZeroPages,
    /// A prefetch to a GPU without memory: it fails, and what else was asked for is stored and not applied (kfd-svm 3.1).
    FailingPrefetch,
    /// MADV_DONTNEED of pages in VRAM: they stay counted, so that the range never counts as in RAM again and another GPU never
    /// gets it (kfd-svm 10). The CPU loads them before.
    DropOfVramPages,
    /// A part of a range that has been in VRAM is cut off: until a work item has released the buffer object, whose last
    /// reference is gone, the range still names it, and its clone takes a reference (kfd-svm 3.2, 10).
    CutOfVramRange,
    /// A range with pages both in RAM and in one GPU's VRAM: another GPU, not in its hive, is mapped nothing of it, and faults
    /// for ever (kfd-svm 9, `svm_range_map_to_gpus`). Ranges move whole.
    MixedRange,
    /// Flags change while one GPU has access in place, or the pages in its memory: others that are mapped keep the old flags
    /// (kfd-svm 9 step 1).
    FlagsOfOtherGpus,
    /// RESET_ATTR of pages whose flags are not the defaults: mapped pages keep the flags they have (amdgpu-svm 7.3).
    ResetOfFlags,
}

/// The rules for one design in one XNACK mode.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whose.
    pub(crate) design: Design,
    /// In which mode.
    pub(crate) xnack: bool,
    /// What is put to the design although it is known to go wrong.
    pub(crate) dare: Option<Avoid>,
    /// The oddity that the reference is made to forget.
    pub(crate) forget: Option<Rule>,
    /// A bug that is switched on.
    pub(crate) plant: Option<Plant>,
}

impl Rule {
    /// All of them.
    pub(crate) const ALL: &[Rule] = {
        use Rule::*;
        &[
            AttrsOfTheProcess,
            AttrsGoWithTheMapping,
            HolesDoNotCount,
            GetLooksAtVmas,
            FaultRegisters,
            PreferredIsAccess,
            AccessDoesNotMatter,
            LostAccessStaysMapped,
        ]
    };
}

impl Avoid {
    /// All of them.
    pub(crate) const ALL: &[Avoid] = {
        use Avoid::*;
        &[
            GpuAccessToHole,
            GpuWriteToReadOnlyAttr,
            PartOfAChunkProtected,
            Unreadable,
            EventAfterLostAccess,
            HoleWithoutNewAttrs,
            AttrsWithinAChunk,
            EventOnPartOfAChunk,
            ReadOnlyZeroPages,
            ChangeDuringRepair,
            VramWithStoppedQueues,
            SetOverZeroPages,
            FailingPrefetch,
            DropOfVramPages,
            CutOfVramRange,
            MixedRange,
            FlagsOfOtherGpus,
            ResetOfFlags,
        ]
    };
}

impl Rules {
    /// The rules of `design`.
    pub(crate) fn of(design: Design, xnack: bool) -> Rules {
        Rules { design, xnack, dare: None, forget: None, plant: None }
    }

    /// Whether the oddity is the design's.
    pub(crate) fn has(self, rule: Rule) -> bool {
        use Rule::*;
        if self.forget == Some(rule) {
            return false;
        }
        match self.design {
            Design::Hardened => false,
            Design::PocV1 => matches!(rule, LostAccessStaysMapped),
            Design::PocV8 => matches!(rule, GetLooksAtVmas | AccessDoesNotMatter),
            Design::Kfd => match rule {
                AttrsOfTheProcess | AttrsGoWithTheMapping | HolesDoNotCount | GetLooksAtVmas => true,
                LostAccessStaysMapped => true,
                FaultRegisters | PreferredIsAccess => self.xnack,
                AccessDoesNotMatter => false,
            },
        }
    }

    /// Whether programs leave this out.
    pub(crate) fn avoids(self, avoid: Avoid) -> bool {
        use Avoid::*;
        if self.dare == Some(avoid) {
            return false;
        }
        match self.design {
            Design::Hardened => false,
            Design::PocV1 => matches!(
                avoid,
                PartOfAChunkProtected
                    | Unreadable
                    | EventAfterLostAccess
                    | HoleWithoutNewAttrs
                    | ReadOnlyZeroPages
                    | AttrsWithinAChunk
                    | ChangeDuringRepair
            ),
            Design::PocV8 => matches!(
                avoid,
                GpuAccessToHole | EventOnPartOfAChunk | ReadOnlyZeroPages | ChangeDuringRepair | ResetOfFlags
            ),
            Design::Kfd => match avoid {
                Unreadable | EventAfterLostAccess | ChangeDuringRepair | FailingPrefetch => true,
                VramWithStoppedQueues => !self.xnack,
                SetOverZeroPages => self.xnack,
                GpuWriteToReadOnlyAttr | FlagsOfOtherGpus => self.xnack,
                // There is no VRAM in the other mode.
                DropOfVramPages | CutOfVramRange | MixedRange => self.xnack,
                _ => false,
            },
        }
    }
}
