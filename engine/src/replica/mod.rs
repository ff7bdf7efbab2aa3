//! The sequencer's state on several nodes: who is primary, what is committed, and how standbys get it.
//!
//! No I/O. The data plane is primary and backup: a commit waits for every member of the in-sync set ([`CommitGate`]), so
//! any member can take over without merging histories. The primary streams its journal ([`Outbound`]) to standbys that
//! verify, append and acknowledge it ([`Inbound`]). The control plane ([`Control`]) is one small record that changes
//! only by compare-and-swap at a [`Coordinator`].

mod broken;
mod config;
mod control;
mod coordinator;
mod detector;
mod flight;
mod gate;
mod hearing;
mod inbound;
mod lag;
mod member;
mod outbound;
mod position;
mod record;
mod refusals;
mod stash;
mod stats;

pub use broken::{Broken, Rule};
pub use config::{StreamConfig, StreamConfigError, max_message_bytes};
pub use control::{Action, Control, ControlConfig, Deposed, JournalState, Notice, Role, Suspect};
pub use coordinator::{Answer, Coordinator, LastSeen, Record, Request, Versioned, WentBack};
pub use detector::{Detector, DetectorConfig, DetectorStats, Suspicion};
pub use gate::{Ack, ChangeError, Closed, CommitGate, Durability, Standing, Watermarks};
pub use hearing::{Attendance, Hearing, Roll, Verdict};
pub use inbound::{AppendOutcome, Divergence, Inbound, Standby};
pub use lag::Lag;
pub use member::{Member, Members, NodeId};
pub use outbound::{AckOutcome, History, Outbound};
pub use record::{MAX_RECORD_BYTES, RecordError};
pub use refusals::Refusals;
pub use seqcast_wire::repl::{Head, Position, Reach};
pub use stats::{InboundStats, OutboundStats};
