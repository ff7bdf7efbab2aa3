//! Memory: mapped once at start, shared between threads and processes, asked for in time.
//!
//! | module | what |
//! |---|---|
//! | `region` | mappings: private, shared through a sealed memfd, files |
//! | [`append`] | append-only memory: one writer, many readers of the published prefix |
//! | [`cells`] | a small array of 64-bit cells that survives a killed process |
//! | [`store`] | where a journal's segments live, as a trait; in memory with faults for tests |
//! | [`mod@file`] | the few calls on files that the standard library lacks |
//! | [`heir`] | a killed process closes its files at once, not after its memory was given back |
//! | `prefetch`, `reserve` | cache lines and pages before they are needed |
#![allow(unsafe_code)]

pub mod append;
pub mod cells;
pub mod file;
#[cfg(target_os = "linux")]
pub mod heir;
mod prefetch;
mod region;
mod reserve;
pub mod store;

pub use prefetch::prefetch;
pub use region::{Region, RegionError, RegionSpec, RegionView, Shortfall, ViewWord};
pub use reserve::reserve;
