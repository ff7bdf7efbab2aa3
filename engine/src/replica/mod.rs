//! The sequencer's state on several nodes: who is primary, what is committed, and how standbys get it.
//!
//! No I/O. The data plane is primary and backup: a commit waits for every member of the in-sync set ([`CommitGate`]), so
//! any member can take over without merging histories. The control plane is one small record that changes only by
//! compare-and-swap at a coordinator.
//!
//! The stream between nodes has two ends: an [`Outbound`] for each peer on the primary, an [`Inbound`] on a standby.
//! [`seqcast_wire::repl`] is what goes between them. A [`Detector`] says when a peer seems to be gone.

mod config;
mod coordinator;
mod detector;
mod flight;
mod gate;
mod inbound;
mod lag;
mod member;
mod outbound;
mod position;
mod refusals;
mod stash;
mod stats;

pub use config::{StreamConfig, StreamConfigError, max_message_bytes};
pub use coordinator::{Answer, Coordinator, Record, Request, Versioned};
pub use detector::{Detector, DetectorConfig, DetectorStats, Suspicion};
pub use gate::{Ack, ChangeError, Closed, CommitGate, Durability, Standing, Watermarks};
pub use inbound::{AppendOutcome, Divergence, Inbound, Standby};
pub use lag::Lag;
pub use member::{Member, Members, NodeId};
pub use outbound::{AckOutcome, History, Outbound};
pub use refusals::Refusals;
pub use seqcast_wire::repl::{Head, Position, Reach};
pub use stats::{InboundStats, OutboundStats};
