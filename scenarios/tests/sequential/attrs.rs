//! Attributes of one page, and what GET_ATTR makes of those of many (spec amdgpu-svm 1.2, 1.6).

use super::program::{Loc, Request};
use scenarios::lang::{Access, Attr};

/// AMDGPU_SVM_FLAG_GPU_RO.
pub(crate) const GPU_RO: u32 = 0x08;
/// AMDGPU_SVM_FLAG_GPU_ALWAYS_MAPPED, which no posting from the fifth on has.
pub(crate) const ALWAYS_MAPPED: u32 = 0x40;
/// HOST_ACCESS and COHERENT: what pages have that nobody has said anything about.
pub(crate) const DEFAULT_FLAGS: u32 = 0x03;

/// The attributes of a page for one GPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Attrs {
    pub access: Access,
    pub preferred: u32,
    pub prefetch: u32,
    pub flags: u32,
    pub granularity: u32,
}

impl Attrs {
    /// Those of a page that nobody has said anything about.
    pub(crate) fn default(xnack: bool, granularity: u32) -> Attrs {
        let access = if xnack { Access::Enable } else { Access::None };
        let nowhere = Attr::UNDEFINED;
        Attrs { access, preferred: nowhere, prefetch: nowhere, flags: DEFAULT_FLAGS, granularity }
    }

    /// Whether the GPU may access.
    pub(crate) fn has_access(&self) -> bool {
        self.access != Access::None
    }

    /// Whether the page is wanted in the memory of a GPU at once.
    pub(crate) fn prefetches_to_gpu(&self) -> bool {
        is_gpu(self.prefetch)
    }

    /// After `request`.
    pub(crate) fn after(self, request: &Request, gpus: usize) -> Attrs {
        Attrs {
            access: request.access.unwrap_or(self.access),
            preferred: request.preferred.map_or(self.preferred, |loc| location(loc, gpus)),
            prefetch: request.prefetch.map_or(self.prefetch, |loc| prefetch_location(loc, gpus)),
            flags: (self.flags | request.set) & !request.clear,
            granularity: request.granularity.unwrap_or(self.granularity),
        }
    }
}

/// Whether a location number is a GPU's.
pub(crate) fn is_gpu(location: u32) -> bool {
    location != Attr::SYSTEM && location != Attr::UNDEFINED
}

fn location(loc: Loc, gpus: usize) -> u32 {
    match loc {
        Loc::Undefined => Attr::UNDEFINED,
        Loc::System => Attr::SYSTEM,
        Loc::Gpu(gpu) => Attr::gpu_id(usize::from(gpu) % gpus),
    }
}

/// There is no prefetch to nowhere (rule 8 of spec amdgpu-svm 1.3).
fn prefetch_location(loc: Loc, gpus: usize) -> u32 {
    match loc {
        Loc::Undefined => Attr::SYSTEM,
        loc => location(loc, gpus),
    }
}

/// The attribute array of the call.
pub(crate) fn array(request: &Request, gpus: usize) -> Vec<Attr> {
    let flags = |mask, set| (mask != 0).then_some(Attr::Flags { mask, set });
    let all = [
        request.preferred.map(|loc| Attr::PreferredLoc(location(loc, gpus))),
        request.prefetch.map(|loc| Attr::PrefetchLoc(prefetch_location(loc, gpus))),
        request.access.map(Attr::Access),
        flags(request.set, true),
        flags(request.clear, false),
        request.granularity.map(Attr::Granularity),
    ];
    all.into_iter().flatten().collect()
}

/// What GET_ATTR answers for pages with these attributes; at least one. `v4`: from the fourth posting on, where a flag is
/// asked for by itself, and is 0 when one page is without it.
pub(crate) fn merged(pages: &[Attrs], v4: bool) -> Vec<Attr> {
    let common = |of: fn(&Attrs) -> u32| {
        let first = of(&pages[0]);
        if pages.iter().all(|page| of(page) == first) { first } else { Attr::UNDEFINED }
    };
    let access = pages[0].access;
    let access = if pages.iter().all(|page| page.access == access) { access } else { Access::None };
    let all = pages.iter().fold(u32::MAX, |and, page| and & page.flags);
    let any = pages.iter().fold(0, |or, page| or | page.flags);
    let (set, clear) = if v4 { (all & !ALWAYS_MAPPED, !all & 0xbf) } else { (all, !any & 0xff) };
    let mut answer = vec![
        Attr::PreferredLoc(common(|page| page.preferred)),
        Attr::PrefetchLoc(common(|page| page.prefetch)),
        Attr::Access(access),
        Attr::Granularity(pages.iter().map(|page| page.granularity).min().expect("a page")),
    ];
    answer.extend((set != 0).then_some(Attr::Flags { mask: set, set: true }));
    answer.extend((clear != 0).then_some(Attr::Flags { mask: clear, set: false }));
    answer
}
