//! Memory: where it comes from, and how it is asked for in time.
#![allow(unsafe_code)]

mod prefetch;
mod reserve;

pub use prefetch::prefetch;
pub use reserve::reserve;
