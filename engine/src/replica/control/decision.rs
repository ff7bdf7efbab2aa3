//! What a node is, what it decides, and in which words people are told.

use seqcast_wire::Session;

use crate::replica::coordinator::{Record, Request};
use crate::replica::detector::Suspicion;
use crate::replica::member::{Member, NodeId};

/// What a node is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It does not know yet whom to follow.
    Joining,
    /// It follows a primary.
    Standby {
        /// Whom.
        primary: Member,
    },
    /// It is about to take over.
    Candidate,
    /// It leads.
    Primary,
}

/// Something to do. Take them in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Acknowledge nothing any more: this epoch is about to be promised.
    StopAcknowledging(u64),
    /// Make the promise durable, then tell `Control::on_promised`.
    Promise(u64),
    /// Tell the coordinator that a swap to this record is likely to be asked next.
    Prepare(Record),
    /// Ask the coordinator, and give its answer to `Control::on_answer`.
    Ask(Request),
    /// Follow `primary`.
    Follow {
        /// Its epoch.
        epoch: u64,
        /// Whom.
        primary: Member,
    },
    /// Lead: the gate is open in `Control::gate`.
    Lead {
        /// In this epoch.
        epoch: u64,
    },
    /// Lead no longer: admit nothing, publish nothing.
    StepDown,
    /// Tell people.
    Tell(Notice),
}

/// What people should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Notice {
    /// A primary is followed.
    #[error("follows node {} as primary of epoch {epoch}", .primary.node.0)]
    Following {
        /// Whom.
        primary: Member,
        /// Its epoch.
        epoch: u64,
    },
    /// The primary is suspected.
    #[error("node {} is suspected: {why}", .node.0)]
    Suspected {
        /// Whom.
        node: NodeId,
        /// Why.
        why: Suspect,
    },
    /// This node wants to take over.
    #[error("stands for epoch {epoch}")]
    Standing {
        /// In this epoch.
        epoch: u64,
    },
    /// This node took over.
    #[error("is primary of epoch {epoch}, with {members} in-sync members")]
    Leading {
        /// Epoch.
        epoch: u64,
        /// Members of the set.
        members: usize,
    },
    /// This node does not lead any more.
    #[error("steps down from epoch {epoch}: {why}")]
    SteppedDown {
        /// Epoch it led.
        epoch: u64,
        /// Why.
        why: Deposed,
    },
    /// A member joined the set.
    #[error("{0} is in sync")]
    Grown(Member),
    /// A member left the set.
    #[error("node {} is out of the in-sync set", .0.0)]
    Shrunk(NodeId),
    /// There is no record, but this node has a history.
    #[error(
        "the coordinator has no record of the session, but this node promised epoch {promised}: the coordinator lost its \
         data; restore it, or promote a node by hand"
    )]
    NoRecord {
        /// Epoch promised.
        promised: u64,
    },
    /// The record is older than this node's history.
    #[error(
        "the coordinator's record is of epoch {found}, this node has seen {seen}: the coordinator was restored from an old \
         backup; nothing is done until it is current"
    )]
    OldRecord {
        /// Epoch of the record.
        found: u64,
        /// Epoch seen.
        seen: u64,
    },
    /// The record is about another session.
    #[error("the coordinator's record is about session {0}: give each session its own place there")]
    ForeignRecord(Session),
    /// The record names this node with another incarnation, and nobody else can take over.
    #[error(
        "the in-sync set was this node alone, and its journal cannot be proven whole: no automatic election; check what \
         was published, then promote by hand"
    )]
    LastMemberLost,
}

/// Why a node is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Suspect {
    /// Its control connection closed.
    #[error("its connection closed")]
    Closed,
    /// It was silent for too long.
    #[error("silent for too long")]
    Silent,
    /// It does not keep up.
    #[error("it does not keep up")]
    Lagging,
    /// It says that it hears too few nodes, or not the coordinator, and others hear this node.
    #[error("it hears too few nodes, or not the coordinator")]
    Deaf,
    /// Its process is about to end.
    #[error("it leaves")]
    Leaving,
    /// An operator said so.
    #[error("an operator's command")]
    Operator,
}

impl From<Suspicion> for Suspect {
    fn from(suspicion: Suspicion) -> Suspect {
        match suspicion {
            Suspicion::LinkClosed => Suspect::Closed,
            Suspicion::Silent(_) => Suspect::Silent,
        }
    }
}

/// Why a primary stepped down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Deposed {
    /// The record names another.
    #[error("the record names node {} of epoch {epoch}", .primary.0)]
    Record {
        /// Epoch of the record.
        epoch: u64,
        /// Its primary.
        primary: NodeId,
    },
    /// There is no record any more.
    #[error("the coordinator has no record any more")]
    NoRecord,
}
