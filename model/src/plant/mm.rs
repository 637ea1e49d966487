//! The core mm, HMM, nouveau, KVM: what lies below a driver.

super::mutants! { 4:
}
