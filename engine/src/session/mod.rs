//! SoupBinTCP 3.00 links without a socket: bytes in, bytes out, messages between.
//!
//! | file | does |
//! |---|---|
//! | `soup_server` | one client's link at a server: login, sequenced messages, heartbeats, timeouts |
//! | `soup_client` | a link to a server, and where to resume after it broke |
//! | `accounts` | who may log in, compared in constant time |
//! | `pipe` | what both sides share: timers, and output with a bound |
//! | `stream` | packets out of a byte stream that is cut anywhere, and into a bounded one |
//!
//! A link owns no history. Its output is bounded: what does not fit is refused, and stays where the agent has it. A link
//! on which nothing moves is closed by its timers, so a slow client costs a bounded buffer for a bounded time and never
//! holds anybody else up.
//!
//! The agent's part, in each duty cycle: give what arrived to `on_bytes`, call `poll`, write `output` to the socket and tell
//! `on_written`, and close the socket once `closing` says why and the output is written, or `is_abandoned`.
//!
//! A password crosses the network in the clear. Use such links on a trusted segment, on the loopback interface or inside
//! an encrypted tunnel.

mod accounts;
mod pipe;
pub mod soup_client;
pub mod soup_server;
mod stream;

use std::fmt;

use seqcast_wire::soup::{self, RejectReason};

use crate::time::Nanos;

pub use accounts::{Account, AccountError, Accounts};

/// Times of a link, the same for both sides. Each must be above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A side that has sent nothing for this long sends a heartbeat.
    pub heartbeat: Nanos,
    /// A side that has received nothing, or could write nothing, for this long closes the link.
    pub timeout: Nanos,
    /// A server closes a link on which nobody has logged in for this long.
    pub login_timeout: Nanos,
}

impl Default for Timing {
    /// 1 s, 15 s, 30 s.
    fn default() -> Timing {
        Timing {
            heartbeat: Nanos(soup::HEARTBEAT_NS),
            timeout: Nanos(soup::TIMEOUT_NS),
            login_timeout: Nanos(soup::LOGIN_TIMEOUT_NS),
        }
    }
}

/// Why a link is to be closed, once its output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The server rejected the login.
    Rejected(RejectReason),
    /// Nobody logged in in time.
    NoLogin,
    /// Nothing was received for too long.
    Silent,
    /// Nothing could be written for too long: the peer does not read.
    Stalled,
    /// The client logged out.
    LoggedOut,
    /// The session is over.
    Ended,
    /// The peer does not speak the protocol.
    Fault(Fault),
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closing::Rejected(reason) => write!(f, "login rejected: {reason}"),
            Closing::NoLogin => f.write_str("no login in time"),
            Closing::Silent => f.write_str("nothing received for too long"),
            Closing::Stalled => f.write_str("the peer does not read"),
            Closing::LoggedOut => f.write_str("logged out"),
            Closing::Ended => f.write_str("end of session"),
            Closing::Fault(fault) => fault.fmt(f),
        }
    }
}

/// What a peer did against the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A packet cannot be read.
    #[error("malformed packet: {0}")]
    Malformed(seqcast_wire::Error),
    /// A packet is longer than this side takes.
    #[error("packet of {bytes} bytes, at most {max} are taken")]
    TooLong {
        /// Bytes of the packet.
        bytes: usize,
        /// Most that is taken.
        max: usize,
    },
    /// A packet that this side does not send, or not now.
    #[error("packet '{}' out of turn", .kind.escape_ascii())]
    OutOfTurn {
        /// Type byte.
        kind: u8,
    },
    /// The session has used up its sequence numbers.
    #[error("more messages than there are sequence numbers")]
    Numbers,
}
