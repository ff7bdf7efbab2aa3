//! The sequencer's state on several nodes: who is primary, what is committed, and how standbys get it.
//!
//! No I/O. The data plane is primary and backup: a commit waits for every member of the in-sync set ([`CommitGate`]), so
//! any member can take over without merging histories. The control plane is one small record that changes only by
//! compare-and-swap at a coordinator.

mod coordinator;
mod gate;
mod member;
mod position;
mod record;

pub use coordinator::{Answer, Coordinator, LastSeen, Record, Request, Versioned, WentBack};
pub use gate::{Ack, ChangeError, Closed, CommitGate, Durability, Standing, Watermarks};
pub use member::{Member, Members, NodeId};
pub use position::Position;
pub use record::{MAX_RECORD_BYTES, RecordError};
