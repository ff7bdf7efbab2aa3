//! Wire formats of the market-data industry, zero-copy and without I/O.
//!
//! Every parser takes borrowed bytes, checks them once, and returns views into them; none of them panics on any
//! input or allocates. Every emitter writes into memory that the caller lends.
//!
//! | module | format | source |
//! |---|---|---|
//! | [`mold`] | MoldUDP64 1.00 datagrams and requests | MoldUDP64 protocol specification |
//! | [`itch`] | Nasdaq TotalView-ITCH 5.0 messages | specification of 2023-04-28 |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod error;
mod field;
pub mod itch;
pub mod mold;
mod seq;

pub use error::Error;
pub use field::{Alpha, Price4, Price8, Timestamp};
pub use seq::{SeqNo, Session};
