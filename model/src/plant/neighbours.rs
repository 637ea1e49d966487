//! Other users of interval notifiers: RDMA on-demand paging, NVIDIA's UVM.

super::mutants! { 5:
}
