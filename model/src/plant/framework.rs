//! drm_gpusvm and drm_pagemap, and what xe did with them.

super::mutants! { 3:
}
