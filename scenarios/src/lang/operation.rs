//! What a scenario's threads and waves do, and what may come of it: operations as plain data.

use super::ast::{Area, Place, Prot};
use model::Errno;

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op {
    /// What.
    pub kind: OpKind,
    /// Where it is written.
    pub at: Place,
}

/// What an operation does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OpKind {
    /// DRM_AMDGPU_GEM_SVM with SET_ATTR.
    SetAttr {
        /// On which GPU's VM.
        gpu: String,
        /// Where. May be unaligned when `returns` is exactly EINVAL.
        area: Area,
        /// The attribute array, in order.
        attrs: Vec<Attr>,
        /// What the ioctl may return.
        returns: Returns,
    },
    /// DRM_AMDGPU_GEM_SVM with GET_ATTR.
    GetAttr {
        /// On which GPU's VM.
        gpu: String,
        /// Where. May be unaligned when `returns` is exactly EINVAL.
        area: Area,
        /// What must be found (see [`Attr`]); not empty.
        checks: Vec<Attr>,
        /// What the ioctl may return.
        returns: Returns,
    },
    /// DRM_AMDGPU_GEM_SVM with RESET_ATTR: the attributes of the interval go (spec amdgpu-svm 7.3).
    ResetAttr {
        /// On which GPU's VM.
        gpu: String,
        /// Where.
        area: Area,
        /// What the ioctl may return.
        returns: Returns,
    },
    /// Somebody else needs VRAM: TTM evicts the buffer object of the GPU that was used least recently.
    EvictVram {
        /// Which GPU.
        gpu: String,
    },
    /// `munmap`.
    Munmap {
        /// Where.
        area: Area,
    },
    /// `mmap` with MAP_FIXED, private anonymous, over whatever is there.
    Mmap {
        /// Where.
        area: Area,
        /// Rights.
        prot: Prot,
        /// MAP_POPULATE.
        populate: bool,
    },
    /// `mprotect`.
    Mprotect {
        /// Where.
        area: Area,
        /// Rights.
        prot: Prot,
        /// What the call may return.
        returns: Returns,
    },
    /// The CPU stores a value in each page.
    Store {
        /// Where; the value stands at the first byte of each page.
        area: Area,
        /// What.
        value: u64,
        /// What may come of it: [`Seen::Done`], [`Seen::Fault`] (SIGSEGV). Empty: either.
        expect: Vec<Seen>,
    },
    /// The CPU loads a value from each page.
    Load {
        /// Where.
        area: Area,
        /// What may be seen: [`Seen::Value`], [`Seen::Fault`]. Empty: anything.
        expect: Vec<Seen>,
    },
    /// `madvise(MADV_DONTNEED)`.
    Dontneed {
        /// Where.
        area: Area,
    },
    /// The kernel migrates the pages (compaction, NUMA): MMU_NOTIFY_CLEAR, same contents on other frames afterwards.
    Migrate {
        /// Where.
        area: Area,
    },
    /// `fork`: a second process with the same memory.
    Fork {
        /// What threads call it.
        child: String,
    },
    /// `mremap`.
    Mremap {
        /// What moves or changes its size.
        area: Area,
        /// Where to: as much as there will be there. None: it stays where it is.
        to: Option<Area>,
        /// How long it is afterwards, in bytes.
        len: u64,
        /// MREMAP_DONTUNMAP.
        keep: bool,
        /// What the call may return.
        returns: Returns,
    },
    /// Calls that name memory and say nothing else about it.
    Advise {
        /// Which.
        advice: Advice,
        /// Where.
        area: Area,
    },
    /// Waits until that thread or wave has finished.
    After {
        /// Its name.
        actor: String,
    },
    /// The DRM file of the GPU is closed (spec amdgpu-svm 4.9).
    Close {
        /// Which GPU.
        gpu: String,
    },
    /// The VM of the GPU is torn down (spec amdgpu-svm 4.9).
    Fini {
        /// Which GPU.
        gpu: String,
    },
    /// The process drops its address space: `exit_mmap`, MMU_NOTIFY_RELEASE or UNMAP of everything.
    Exit,
    /// The GPU loads a value from each page: in a wave that wave, in a thread a kernel that the thread waits for.
    Read {
        /// Which GPU.
        gpu: String,
        /// Where.
        area: Area,
        /// What may be seen: [`Seen::Value`], [`Seen::Fault`]. Empty: anything.
        expect: Vec<Seen>,
    },
    /// The GPU stores a value in each page.
    Write {
        /// Which GPU.
        gpu: String,
        /// Where.
        area: Area,
        /// What.
        value: u64,
        /// What may come of it: [`Seen::Done`], [`Seen::Fault`]. Empty: either.
        expect: Vec<Seen>,
    },
    /// The GPU adds to the value of each page, atomically.
    Add {
        /// Which GPU.
        gpu: String,
        /// Where.
        area: Area,
        /// How much.
        value: u64,
        /// What may come of it: [`Seen::Done`], [`Seen::Fault`]. Empty: either.
        expect: Vec<Seen>,
    },
    /// The GPU copies the value of each page to another: it loads, then stores.
    Copy {
        /// Which GPU.
        gpu: String,
        /// From where.
        area: Area,
        /// To where; as long.
        to: Area,
        /// What may come of it: [`Seen::Done`], [`Seen::Fault`]. Empty: either.
        expect: Vec<Seen>,
    },
}

/// See [`OpKind::Advise`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Advice {
    /// kswapd: the pages are swapped out, without mmap_lock.
    Reclaim,
    /// MADV_PAGEOUT.
    Pageout,
    /// MADV_FREE.
    Free,
    /// MADV_COLD.
    Cold,
    /// MADV_COLLAPSE.
    Collapse,
    /// mlock.
    Mlock,
    /// munlock.
    Munlock,
    /// The OOM reaper comes for the process: for all of it, whatever area is named.
    OomReap,
}

impl Advice {
    /// All of them.
    pub const ALL: &'static [Advice] = &[
        Advice::Reclaim,
        Advice::Pageout,
        Advice::Free,
        Advice::Cold,
        Advice::Collapse,
        Advice::Mlock,
        Advice::Munlock,
        Advice::OomReap,
    ];

    /// The node name in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Advice::Reclaim => "reclaim",
            Advice::Pageout => "pageout",
            Advice::Free => "madvise-free",
            Advice::Cold => "madvise-cold",
            Advice::Collapse => "collapse",
            Advice::Mlock => "mlock",
            Advice::Munlock => "munlock",
            Advice::OomReap => "oom-reap",
        }
    }

    /// The one called `name`.
    pub fn named(name: &str) -> Option<Advice> {
        Advice::ALL.iter().copied().find(|advice| advice.name() == name)
    }
}

/// The area of an operation, to look at or to change: as the reference to the operation is.
macro_rules! area_of {
    ($op:expr) => {
        match $op {
            OpKind::SetAttr { area, .. }
            | OpKind::GetAttr { area, .. }
            | OpKind::ResetAttr { area, .. }
            | OpKind::Munmap { area }
            | OpKind::Mmap { area, .. }
            | OpKind::Mprotect { area, .. }
            | OpKind::Store { area, .. }
            | OpKind::Load { area, .. }
            | OpKind::Dontneed { area }
            | OpKind::Migrate { area }
            | OpKind::Mremap { area, .. }
            | OpKind::Advise { area, .. }
            | OpKind::Read { area, .. }
            | OpKind::Write { area, .. }
            | OpKind::Add { area, .. }
            | OpKind::Copy { area, .. } => Some(area),
            OpKind::Fork { .. }
            | OpKind::After { .. }
            | OpKind::EvictVram { .. }
            | OpKind::Close { .. }
            | OpKind::Fini { .. }
            | OpKind::Exit => None,
        }
    };
}

impl OpKind {
    /// The node name in scenario files.
    pub const fn name(&self) -> &'static str {
        match self {
            OpKind::SetAttr { .. } => "set-attr",
            OpKind::GetAttr { .. } => "get-attr",
            OpKind::ResetAttr { .. } => "reset-attr",
            OpKind::EvictVram { .. } => "evict-vram",
            OpKind::Munmap { .. } => "munmap",
            OpKind::Mmap { .. } => "mmap",
            OpKind::Mprotect { .. } => "mprotect",
            OpKind::Store { .. } => "store",
            OpKind::Load { .. } => "load",
            OpKind::Dontneed { .. } => "dontneed",
            OpKind::Migrate { .. } => "migrate",
            OpKind::Fork { .. } => "fork",
            OpKind::Mremap { .. } => "mremap",
            OpKind::Advise { advice, .. } => advice.name(),
            OpKind::After { .. } => "after",
            OpKind::Close { .. } => "close",
            OpKind::Fini { .. } => "fini",
            OpKind::Exit => "exit",
            OpKind::Read { .. } => "read",
            OpKind::Write { .. } => "write",
            OpKind::Add { .. } => "add",
            OpKind::Copy { .. } => "copy",
        }
    }

    /// The part of the address space it names, if it names one; of [`OpKind::Copy`] and [`OpKind::Mremap`] the source.
    pub const fn area(&self) -> Option<&Area> {
        area_of!(self)
    }

    /// The same, to change it.
    pub const fn area_mut(&mut self) -> Option<&mut Area> {
        area_of!(self)
    }

    /// The other part of the address space that it names.
    pub const fn second_area(&self) -> Option<&Area> {
        match self {
            OpKind::Copy { to, .. } => Some(to),
            OpKind::Mremap { to, .. } => to.as_ref(),
            _ => None,
        }
    }

    /// The same, to change it.
    pub const fn second_area_mut(&mut self) -> Option<&mut Area> {
        match self {
            OpKind::Copy { to, .. } => Some(to),
            OpKind::Mremap { to, .. } => to.as_mut(),
            _ => None,
        }
    }

    /// Whether it is an access: it happens page by page, and names one page unless it says more.
    pub const fn is_access(&self) -> bool {
        matches!(
            self,
            OpKind::Store { .. }
                | OpKind::Load { .. }
                | OpKind::Read { .. }
                | OpKind::Write { .. }
                | OpKind::Add { .. }
                | OpKind::Copy { .. }
        )
    }

    /// What may come of an access, to change it.
    pub const fn expect_mut(&mut self) -> Option<&mut Vec<Seen>> {
        match self {
            OpKind::Store { expect, .. }
            | OpKind::Load { expect, .. }
            | OpKind::Read { expect, .. }
            | OpKind::Write { expect, .. }
            | OpKind::Add { expect, .. }
            | OpKind::Copy { expect, .. } => Some(expect),
            _ => None,
        }
    }

    /// The GPU it names, if it names one.
    pub fn gpu(&self) -> Option<&str> {
        match self {
            OpKind::SetAttr { gpu, .. }
            | OpKind::GetAttr { gpu, .. }
            | OpKind::ResetAttr { gpu, .. }
            | OpKind::EvictVram { gpu }
            | OpKind::Read { gpu, .. }
            | OpKind::Write { gpu, .. }
            | OpKind::Add { gpu, .. }
            | OpKind::Copy { gpu, .. }
            | OpKind::Close { gpu }
            | OpKind::Fini { gpu } => Some(gpu),
            _ => None,
        }
    }

    /// The same, to change it.
    pub fn gpu_mut(&mut self) -> Option<&mut String> {
        match self {
            OpKind::SetAttr { gpu, .. }
            | OpKind::GetAttr { gpu, .. }
            | OpKind::ResetAttr { gpu, .. }
            | OpKind::EvictVram { gpu }
            | OpKind::Read { gpu, .. }
            | OpKind::Write { gpu, .. }
            | OpKind::Add { gpu, .. }
            | OpKind::Copy { gpu, .. }
            | OpKind::Close { gpu }
            | OpKind::Fini { gpu } => Some(gpu),
            _ => None,
        }
    }

    /// What the call may return, to change it, if it is a call that says so.
    pub fn returns_mut(&mut self) -> Option<&mut Returns> {
        match self {
            OpKind::SetAttr { returns, .. }
            | OpKind::GetAttr { returns, .. }
            | OpKind::ResetAttr { returns, .. }
            | OpKind::Mremap { returns, .. }
            | OpKind::Mprotect { returns, .. } => Some(returns),
            _ => None,
        }
    }
}

/// One attribute: what SET_ATTR asks for, or what GET_ATTR must answer (spec amdgpu-svm 1.2, 1.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attr {
    /// PREFERRED_LOC: see [`Attr::SYSTEM`], [`Attr::UNDEFINED`].
    PreferredLoc(u32),
    /// PREFETCH_LOC.
    PrefetchLoc(u32),
    /// ACCESS, ACCESS_IN_PLACE or NO_ACCESS.
    Access(Access),
    /// Set: SET_FLAGS or CLR_FLAGS of `mask`. Get: every page has all (or, with `set` false, no page has any) of them.
    Flags {
        /// Bits of `AMDGPU_SVM_FLAG_*`.
        mask: u32,
        /// Whether they are set.
        set: bool,
    },
    /// GRANULARITY, log2 pages.
    Granularity(u32),
}

impl Attr {
    /// Location: system memory.
    pub const SYSTEM: u32 = 0;
    /// Location: undefined.
    pub const UNDEFINED: u32 = 0xffff_ffff;

    /// The location number of the GPU with this index in [`Scenario::gpus`](super::Scenario::gpus), and its id in
    /// attributes that name a GPU. A driver with one instance for each GPU takes every number but the two above for its
    /// own.
    pub const fn gpu_id(index: usize) -> u32 {
        index as u32 + 1
    }
}

/// Access of the GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// NO_ACCESS.
    None,
    /// ACCESS.
    Enable,
    /// ACCESS_IN_PLACE.
    InPlace,
}

impl Access {
    /// All of them.
    pub const ALL: &'static [Access] = &[Access::None, Access::Enable, Access::InPlace];

    /// As written in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Access::None => "none",
            Access::Enable => "enable",
            Access::InPlace => "in-place",
        }
    }
}

/// The flags by name, with their bits (spec amdgpu-svm 1.2).
pub const FLAGS: &[(&str, u32)] = &[
    ("host-access", 0x01),
    ("coherent", 0x02),
    ("hive-local", 0x04),
    ("gpu-ro", 0x08),
    ("gpu-exec", 0x10),
    ("gpu-read-mostly", 0x20),
    ("gpu-always-mapped", 0x40),
    ("ext-coherent", 0x80),
];

/// What a call may return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Returns {
    /// Anything. What racing threads expect unless they say more.
    Any,
    /// One of these. What `prepare` expects unless it says otherwise is `Ok` alone.
    OneOf(Vec<Result<(), Errno>>),
}

impl Returns {
    /// Success alone.
    pub fn ok() -> Returns {
        Returns::OneOf(vec![Ok(())])
    }
    /// Whether `result` is among them.
    pub fn allows(&self, result: Result<(), Errno>) -> bool {
        match self {
            Returns::Any => true,
            Returns::OneOf(list) => list.contains(&result),
        }
    }
}

/// What came of a load or store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A load gave this.
    Value(u64),
    /// A store was done.
    Done,
    /// CPU: SIGSEGV or SIGBUS. GPU: a fault that was not resolved.
    Fault,
}
