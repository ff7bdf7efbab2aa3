//! The receive path of one MoldUDP64 feed: any number of redundant lines in, one gap-free order out.
//!
//! [`Receiver`] arbitrates the lines (the first copy of a message wins, whatever the datagram boundaries), finds holes,
//! asks rewind servers for exactly what is missing, at once unless a line may still bring it and with several requests in
//! flight, and gives every number to a [`Sink`] once and in order: as a message, or as lost.
//!
//! | file | does |
//! |---|---|
//! | `receiver` | joins the parts; the fast path of a datagram that is next in order touches none of them |
//! | `receiver/deliver` | what leaves: messages in order, and what is told beside them |
//! | `receiver/restart` | another session, a halt, a snapshot |
//! | `gap` | the ordered, bounded set of missing ranges |
//! | `stash` | the bounded store of messages that came before their turn: copied once, never allocated |
//! | `recovery` | which range is asked for when, and when it is given up |
//! | `reordering` | how long a hole that every line has passed is left alone |
//! | `servers` | which rewind server is asked for it, and which rests |
//! | `witness` | what a single datagram may not do alone: jump far, end the session, change it |
//! | `conflict` | finds copies of one number with different bytes |
//! | `line` | loss statistics of one line |
//!
//! Nothing here reads a clock, allocates after [`Receiver::new`], or trusts a number of the network beyond a bound.

mod config;
mod conflict;
mod gap;
mod line;
mod receiver;
mod recovery;
mod reordering;
mod servers;
mod stash;
mod state;
mod witness;

pub use config::{FeedConfig, FeedConfigError, Rollover, SessionRule, Start, Unfillable};
pub use line::{LineId, LineStats};
pub use receiver::Receiver;
pub use state::{FeedState, FeedStats, Item, Sink};
