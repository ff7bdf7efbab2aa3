//! Wire formats of the market-data industry, zero-copy and without I/O.
//!
//! Every parser takes borrowed bytes, checks them once, and returns views into them; none of them panics on any
//! input or allocates. Every emitter writes into memory that the caller lends.
//!
//! | module | format | source |
//! |---|---|---|
//! | [`mold`] | MoldUDP64 1.00 datagrams and requests | MoldUDP64 protocol specification |
//! | [`itch`] | Nasdaq TotalView-ITCH 5.0 messages | specification of 2023-04-28 |
//! | [`soup`] | SoupBinTCP 3.00 packets in a TCP stream | specification of 2017-02-22 |
//! | [`glimpse`] | GLIMPSE 5.0 end of snapshot | GLIMPSE 5.0 specification |
//! | [`dump`] | BinaryFILE records | Nasdaq's published day files |
//! | [`net`] | Ethernet, IPv4 and UDP headers in captures | RFC 768, 791, 1071, 1112; tcpdump's link types |
//! | [`ack`] | acknowledgements from sequencer to publisher | ours: its table is the specification |
//! | [`repl`] | replication stream from primary to standbys | ours: its tables are the specification |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod ack;
mod digits;
pub mod dump;
mod error;
mod field;
pub mod glimpse;
pub mod itch;
pub mod mold;
pub mod net;
pub mod repl;
mod seq;
pub mod soup;

pub use error::Error;
pub use field::{Alpha, Price4, Price8, Timestamp};
pub use seq::{SeqNo, Session};
