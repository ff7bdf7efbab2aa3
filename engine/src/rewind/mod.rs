//! The server side of gap filling: who may be answered, how much, and from what.
//!
//! [`Server`] judges requests and queues what it will answer; [`History`] keeps the last messages of a feed by number.
//!
//! **Amplification.** A request has 20 bytes and no room for a cookie, so its source address may be forged. Each accepted
//! request is answered with exactly one datagram, whatever count it asks for: at most [`ServerConfig::max_datagram_bytes`]
//! for 20 bytes (74 times at 1,472). Only addresses of configured prefixes are answered, and what any one of them, or all of
//! them together, can be made to receive is bounded by the buckets, in datagrams and in bytes. Everything refused is met
//! with silence, as the protocol wants it, and counted by reason.

mod bucket;
mod history;
mod prefix;
mod server;

pub use bucket::Bucket;
pub use history::{Full, History, Policy};
pub use prefix::{Prefix, PrefixError};
pub use server::{Reason, Reply, Server, ServerConfig, ServerConfigError, ServerStats, Verdict};
