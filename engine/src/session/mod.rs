//! SoupBinTCP 3.00 links as state machines: bytes in, bytes out, `now` as an argument.
//!
//! A link belongs to one TCP connection and ends with it. [`ServerLink`] checks the login and sends sequenced messages;
//! [`ClientLink`] logs in and numbers what arrives. Both send a heartbeat after a second of silence and take a peer for
//! dead that was silent for 15. Memory is bounded: a peer that does not read is refused more, so that a slow client never
//! holds anybody else up, and one that reads nothing for 15 seconds is disconnected.
//!
//! | file | does |
//! |---|---|
//! | `server` | one client's connection, as the server sees it |
//! | `client` | the client's end |
//! | `pipe` | what both share: output and timers |
//! | `input`, `output` | packets out of a byte stream that is cut anywhere, and into a bounded one |
//!
//! A password crosses the network in the clear: use such links on the loopback interface, on a trusted segment, or inside
//! an encrypted tunnel.

mod client;
mod input;
mod output;
mod pipe;
mod server;

pub use client::{ClientEvent, ClientLink, Login};
pub use server::{Credentials, ServerEvent, ServerLink};

use seqcast_wire::{Error, soup};

use crate::time::Nanos;

/// A side that sent nothing for this long sends a heartbeat.
pub const HEARTBEAT: Nanos = Nanos(soup::HEARTBEAT_NS);
/// A side that heard nothing, or could write nothing, for this long takes the other for dead.
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
    /// Something waits to be written, and nothing of it could be for too long.
    #[error("the peer does not read what it is sent")]
    Stalled,
    /// The peer did not log in in time.
    #[error("no login in time")]
    NoLogin,
    /// User name or password are wrong.
    #[error("login rejected: user name or password are wrong")]
    NotAuthorized,
    /// There is no such session, or what was asked of it is not there.
    #[error("login rejected: the session is not available")]
    SessionNotAvailable,
    /// The server gave a reason that the protocol does not know.
    #[error("login rejected")]
    Rejected,
    /// The peer sent what is not SoupBinTCP.
    #[error("not SoupBinTCP: {0}")]
    Malformed(#[from] Error),
    /// The peer announced a packet that is longer than this side takes.
    #[error("a packet of {bytes} bytes, {max} are the most")]
    TooLong {
        /// Bytes of the packet.
        bytes: usize,
        /// Most that are taken.
        max: usize,
    },
    /// The peer sent a packet that has no place here.
    #[error("unexpected packet of type '{}'", .0.escape_ascii())]
    Unexpected(u8),
}

#[cfg(test)]
mod tests;
