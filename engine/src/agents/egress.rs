//! Sequencer egress: what is committed goes out on the lines.
//!
//! It reads the journal in place, so that after a restart it goes on from the last published number without a second
//! source, and a slow line never holds the sequencer's ring.

use seqcast_wire::SeqNo;

use super::meter::Meter;
use super::publisher::{OutLine, open_lines};
use super::trace::{Stage, Trace};
use crate::downstream::{MessageSource, Sender};
use crate::frame::Kind;
use crate::io::{Destination, Driver};
use crate::journal::{Cursor, ReadError};
use crate::runtime::{Agent, AgentError};
use crate::sync::Watermark;
use crate::time::Nanos;

/// Datagrams sent in one duty cycle at most.
const SEND_LIMIT: usize = 64;

/// The agent.
pub struct Egress<D> {
    driver: D,
    lines: Vec<Destination>,
    sender: Sender,
    committed: Committed,
    published: Watermark,
    finish_at_end: bool,
    trace: Option<Trace>,
    meter: Meter,
}

/// The committed part of the journal, from a number on.
struct Committed {
    cursor: Cursor,
    watermark: Watermark,
    /// The session's end was read.
    ended: bool,
    error: Option<ReadError>,
}

impl MessageSource for Committed {
    fn peek(&mut self) -> Option<(SeqNo, &[u8])> {
        let seq = self.cursor.seq();
        if seq >= self.watermark.load() && !self.is_at_end() {
            return None;
        }
        match self.cursor.peek_frame() {
            Ok(Some(frame)) if frame.kind() == Kind::Message => Some((seq, frame.payload())),
            Ok(_) => None,
            Err(error) => {
                self.error = Some(error);
                None
            }
        }
    }

    fn advance(&mut self) {
        self.cursor.advance();
    }
}
