//! Memory that is shared: between the threads of a process, and with what outlives it.
//!
//! | module | what |
//! |---|---|
//! | [`append`] | append-only memory: one writer, many readers of the published prefix |
//! | [`cells`] | a small array of 64-bit cells that survives a killed process |
//! | [`store`] | where a journal's segments live, as a trait; in memory with faults for tests |
//! | [`mod@file`] | the few calls on files that the standard library lacks |
#![allow(unsafe_code)]

pub mod append;
pub mod cells;
pub mod file;
pub mod store;
