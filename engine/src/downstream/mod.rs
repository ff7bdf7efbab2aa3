//! The send path of one MoldUDP64 feed: messages of a [`MessageSource`] are packed straight into the memory that is
//! sent.
//!
//! [`Sender`] never delays a message: whatever is there when a datagram is asked for goes into it, up to its size.
//! When idle it sends heartbeats, the first of them soon after the last message so that a lost tail is found quickly,
//! and the end of the session again and again for a while. It keeps no message: what was lost is for a rewind server.

mod pacer;
mod sender;

pub use pacer::Pacing;
pub use sender::{MessageSource, Sender, SenderConfig, SenderConfigError, SenderStats, max_message_bytes};
