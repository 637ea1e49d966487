//! amdgpu's SVM on drm_gpusvm, as it was posted, and what of xe is in the same place.

super::mutants! { 2:
}
