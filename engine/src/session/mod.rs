//! SoupBinTCP 3.00 links as state machines: bytes in, bytes out, `now` as an argument.
//!
//! A link belongs to one TCP connection and ends with it. [`ServerLink`] checks the login and sends sequenced messages;
//! [`ClientLink`] logs in and numbers what arrives. Both send a heartbeat after a second of silence and take a peer for
//! dead that was silent for 15. Buffers are bounded: a peer that sends more than a packet at a time is read in pieces, a
//! peer that does not read is refused more and disconnected by its agent.

mod client;
mod input;
mod output;
mod server;

pub use client::{ClientEvent, ClientLink, Login};
pub use server::{Credentials, ServerEvent, ServerLink};

use seqcast_wire::{Error, soup};

use crate::time::Nanos;

/// A side that sent nothing for this long sends a heartbeat.
pub const HEARTBEAT: Nanos = Nanos(soup::HEARTBEAT_NS);
/// A side that heard nothing for this long takes the other for dead.
pub const TIMEOUT: Nanos = Nanos(soup::TIMEOUT_NS);
/// A server waits this long for the login.
pub const LOGIN_TIMEOUT: Nanos = Nanos(soup::LOGIN_TIMEOUT_NS);

/// Why a link is over. The agent writes what is left of the output, then closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// The peer logged out, or the session ended.
    #[error("closed in order")]
    InOrder,
    /// Nothing was heard for too long.
    #[error("the peer was silent for too long")]
    Silent,
    /// The peer did not log in in time.
    #[error("no login in time")]
    NoLogin,
    /// User name or password are wrong.
    #[error("login rejected: user name or password are wrong")]
    NotAuthorized,
    /// There is no such session.
    #[error("login rejected: the session is not available")]
    SessionNotAvailable,
    /// The server gave a reason that the protocol does not know.
    #[error("login rejected")]
    Rejected,
    /// The peer sent what is not SoupBinTCP.
    #[error("not SoupBinTCP: {0}")]
    Malformed(#[from] Error),
    /// The peer sent a packet that has no place here.
    #[error("unexpected packet of type '{}'", .0.escape_ascii())]
    Unexpected(u8),
}

#[cfg(test)]
mod tests;
