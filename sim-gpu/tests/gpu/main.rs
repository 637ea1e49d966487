//! The simulated GPU, part by part.

mod access;
mod common;
mod copy_engine;
mod dma;
mod quiesce;
mod races;
mod reduction;
mod retry;
mod table_model;
mod update;
mod vram;
