//! The attribute tree, the interval tree and the lists under it, and what attributes become in page-table entries.

mod examples;
mod page_map;
mod probe;
mod pte_table;
mod tree_intervals;
mod tree_lists;
mod v4;
