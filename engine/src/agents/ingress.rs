//! Sequencer ingress: the feeds of all sources in, one total order out, into the ring.
//!
//! Each source is received like any feed: arbitrated over its lines, its gaps filled from the publisher's rewind server.
//! What comes out in order is numbered and sealed straight into a slot of the ring: the one copy. A full ring or a
//! closed gate refuses the message; the source's feed keeps it and offers it again.

use std::net::SocketAddrV4;

use seqcast_wire::{SeqNo, Session, ack::Ack};

use super::intake::{FeedPlan, FeedsSink, Intake};
use super::trace::{Stage, Trace};
use crate::feed::{FeedState, FeedStats, Item};
use crate::frame;
use crate::io::{Driver, DriverCounters};
use crate::ring::broadcast;
use crate::runtime::{Agent, AgentError, Clock};
use crate::sequencer::{Admit, Refusal, Sequencer, SourceId};
use crate::sync::Watermark;
use crate::time::Nanos;

/// Sources whose acknowledgement is due are told at least this often, so that a publisher that missed one learns it.
const ACK_REPEAT: Nanos = Nanos::from_millis(20);
