//! Rings: how agents hand messages on without locks, copies to spare or allocation.
//!
//! | ring | from | to | holds |
//! |---|---|---|---|
//! | [`broadcast`] | one writer | any number of readers, each sees every message | messages of any length, in mapped memory |
//! | [`spsc`] | one sender | one receiver | values of one type |
//!
//! Both are bounded and never block: a full ring refuses, and the caller counts and comes back.
//!
//! The protocols between threads are model-checked with loom: `engine/tests/loom_ring.rs` says how to run it.

pub mod broadcast;
pub mod spsc;

mod words;
