//! The older driver: races of amdkfd and amdgpu that were fixed.

super::mutants! { 1:
}
