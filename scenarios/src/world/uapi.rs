//! Attributes as each driver's ioctl numbers them: what a scenario asks for, in the array of the call, and what the
//! array that came back says.
//!
//! Source: spec amdgpu-svm.md 1.2 (V1), 7.2 (from V4 on); kfd's numbers are those of V1, with GPU ids as values.

use crate::lang::{Access, Attr, Design, FLAGS};
use model::attr::UapiAttr;

/// Whose numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Uapi {
    /// DRM_AMDGPU_GEM_SVM of the first posting: one attribute for each kind of access, flags as masks.
    V1,
    /// From the fourth posting on: one ACCESS attribute, one attribute for each flag.
    V4,
    /// AMDKFD_IOC_SVM: an access names the GPU.
    Kfd,
}

/// The flags in the order of their attribute types from the fourth posting on; the first is type 4.
const V4_FLAGS: &[&str] =
    &["host-access", "coherent", "ext-coherent", "hive-local", "gpu-ro", "gpu-exec", "gpu-read-mostly"];

impl Uapi {
    /// The numbers of `design`.
    pub const fn of(design: Design) -> Uapi {
        match design {
            Design::PocV1 | Design::Hardened => Uapi::V1,
            Design::PocV8 => Uapi::V4,
            Design::Kfd => Uapi::Kfd,
        }
    }

    /// The elements that ask for `attr` of the GPU with id `gpu`.
    pub fn request(self, attr: Attr, gpu: u32) -> Vec<UapiAttr> {
        match (self, attr) {
            (_, Attr::PreferredLoc(v)) => one(0, v),
            (_, Attr::PrefetchLoc(v)) => one(1, v),
            (Uapi::V4, Attr::Access(access)) => one(2, v4_access(access)),
            (Uapi::V4, Attr::Granularity(v)) => one(3, v),
            (Uapi::V4, Attr::Flags { mask, set }) => {
                v4_flags(mask).map(|ty| UapiAttr { ty, value: set.into() }).collect()
            }
            (Uapi::V1 | Uapi::Kfd, Attr::Access(access)) => {
                one(access_type(access), if self == Uapi::Kfd { gpu } else { 1 })
            }
            (Uapi::V1 | Uapi::Kfd, Attr::Flags { mask, set: true }) => one(5, mask),
            (Uapi::V1 | Uapi::Kfd, Attr::Flags { mask, set: false }) => one(6, mask),
            (Uapi::V1 | Uapi::Kfd, Attr::Granularity(v)) => one(7, v),
        }
    }

    /// The elements whose answers tell whether `attr` is so.
    pub fn question(self, attr: Attr, gpu: u32) -> Vec<UapiAttr> {
        let mut elements = match (self, attr) {
            (Uapi::V1 | Uapi::Kfd, Attr::Access(_)) => self.request(Attr::Access(Access::Enable), gpu),
            _ => self.request(attr, gpu),
        };
        if !(self == Uapi::Kfd && matches!(attr, Attr::Access(_))) {
            elements.iter_mut().for_each(|e| e.value = 0);
        }
        elements
    }

    /// Whether `answers`, what GET_ATTR made of [`Uapi::question`], say the same as `attr`.
    pub fn says(self, attr: Attr, answers: &[UapiAttr]) -> bool {
        match (self, attr) {
            // The answer is in the type.
            (Uapi::V1 | Uapi::Kfd, Attr::Access(access)) => answers.iter().all(|a| a.ty == access_type(access)),
            (Uapi::V1 | Uapi::Kfd, Attr::Flags { mask, .. }) => answers.iter().all(|a| a.value & mask == mask),
            _ => self.request(attr, 0).iter().eq(answers),
        }
    }
}

/// Whether two answers of GET_ATTR contradict each other, whatever the attributes are: a flag that all pages have (SET_FLAGS)
/// and none has (CLR_FLAGS).
pub(super) fn contradicts(uapi: Uapi, answers: &[Vec<UapiAttr>]) -> bool {
    let flags = |ty| answers.iter().flatten().filter(|a| a.ty == ty).fold(0, |all, a| all | a.value);
    uapi != Uapi::V4 && flags(5) & flags(6) != 0
}

fn one(ty: u32, value: u32) -> Vec<UapiAttr> {
    vec![UapiAttr { ty, value }]
}

/// ACCESS, ACCESS_IN_PLACE, NO_ACCESS.
const fn access_type(access: Access) -> u32 {
    match access {
        Access::Enable => 2,
        Access::InPlace => 3,
        Access::None => 4,
    }
}

/// INACCESSIBLE, IN_PLACE, ALLOW_MIGRATE.
const fn v4_access(access: Access) -> u32 {
    match access {
        Access::None => 0,
        Access::InPlace => 1,
        Access::Enable => 2,
    }
}

/// The attribute types of the flags in `mask`, which names no other flag ([`Scenario::refusal`](crate::lang::Scenario)).
fn v4_flags(mask: u32) -> impl Iterator<Item = u32> {
    (4..)
        .zip(V4_FLAGS)
        .filter(move |(_, name)| FLAGS.iter().any(|(n, bit)| n == *name && mask & bit != 0))
        .map(|(ty, _)| ty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_driver_numbers_attributes_its_own_way() {
        let ask = |uapi: Uapi, attr| uapi.request(attr, 3).into_iter().map(|a| (a.ty, a.value)).collect::<Vec<_>>();
        let flags = Attr::Flags { mask: 0x02 | 0x80, set: true };
        assert_eq!(ask(Uapi::V1, flags), [(5, 0x82)]);
        assert_eq!(ask(Uapi::V4, flags), [(5, 1), (6, 1)]);
        assert_eq!(ask(Uapi::V1, Attr::Access(Access::InPlace)), [(3, 1)]);
        assert_eq!(ask(Uapi::Kfd, Attr::Access(Access::None)), [(4, 3)]);
        assert_eq!(ask(Uapi::V4, Attr::Access(Access::Enable)), [(2, 2)]);
        assert_eq!(ask(Uapi::V4, Attr::Granularity(9)), [(3, 9)]);
    }

    #[test]
    fn a_flag_is_not_both_on_all_pages_and_on_none() {
        let answers = |set, clear| [vec![UapiAttr { ty: 5, value: set }], vec![UapiAttr { ty: 6, value: clear }]];
        assert!(!contradicts(Uapi::Kfd, &answers(0x3, !0x7)));
        assert!(contradicts(Uapi::V1, &answers(0x83, !0x3)));
        assert!(!contradicts(Uapi::V4, &answers(1, 1)), "these are other attributes there");
    }

    #[test]
    fn an_answer_is_compared_in_the_drivers_own_terms() {
        let access = Attr::Access(Access::None);
        assert_eq!(Uapi::Kfd.question(access, 2), [UapiAttr { ty: 2, value: 2 }]);
        assert!(Uapi::Kfd.says(access, &[UapiAttr { ty: 4, value: 2 }]), "kfd rewrites the type");
        assert!(!Uapi::V1.says(access, &[UapiAttr { ty: 2, value: 0 }]));
        assert!(Uapi::V4.says(access, &[UapiAttr { ty: 2, value: 0 }]));
        assert!(!Uapi::V4.says(access, &[UapiAttr { ty: 2, value: 1 }]));
        let clear = Attr::Flags { mask: 0x08, set: false };
        assert!(Uapi::V1.says(clear, &[UapiAttr { ty: 6, value: 0xffff_fffc }]));
        assert!(!Uapi::V1.says(clear, &[UapiAttr { ty: 6, value: 0xffff_fff4 }]));
        assert!(!Uapi::V4.says(clear, &[UapiAttr { ty: 8, value: 1 }]));
    }
}
