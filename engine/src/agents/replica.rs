//! The replica agent: one node's part in keeping the order on several machines. It owns the journal.
//!
//! As primary it appends what the ingress numbered, streams the journal, read in place, to every other node, takes their
//! acknowledgements, and moves the committed watermark. As standby it appends what the primary streams and acknowledges it.
//! Which of the two it is, [`Control`] says; this agent carries out what that decides. A node that is alone is a primary
//! without others.

mod peer;

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use seqcast_wire::{SeqNo, Session, repl};

use self::peer::{Own, Peer};
use super::ingress::Watermarks;
use super::journal::Retired;
use super::leadership::{Admission, Directive, Directives, Lead};
use super::links::{LinkEvent, OperatorCommand};
use super::meter::Meter;
use super::status::StatusBoard;
use super::steward::CoordinatorClient;
use crate::frame::{Frame, Kind};
use crate::io::{Destination, Driver, EndpointId};
use crate::journal::{AppendError, Journal, JournalReader, Published};
use crate::replica::{
    Action, AppendOutcome, CommitGate, Control, Head, History, Inbound, Member, NodeId, Notice, Role, Suspect,
};
use crate::ring::broadcast::Reader;
use crate::runtime::{Agent, AgentError};
use crate::sync::{Flag, Watermark};
use crate::time::Nanos;

/// Frames appended in one duty cycle at most; readers see them together.
const APPEND_LIMIT: usize = 1024;
/// Datagrams taken from the driver in one duty cycle at most.
const RECEIVE_LIMIT: usize = 256;
/// Datagrams sent to one peer in one duty cycle at most.
const SEND_LIMIT: usize = 64;
