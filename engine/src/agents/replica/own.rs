//! A node's own journal, as the replication core sees it.

use seqcast_wire::SeqNo;

use crate::frame::Chain;
use crate::journal::{AppendError, Cursor, CutError, Journal, JournalReader};
use crate::replica::{History, Position, Reach, Standby};

/// What a journal could not do, and trying again would not help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OwnError {
    #[error("the journal refuses a frame of the stream: {0}")]
    Append(#[from] AppendError),
    #[error("the journal's end cannot be cut off: {0}")]
    Cut(#[from] CutError),
}

/// The position before the frame numbered `next`; `None` when the journal does not reach so far, either way.
pub(super) fn position_at(reader: &JournalReader, next: SeqNo) -> Option<Position> {
    let (epoch, crc) = reader.position_at(next)?;
    Some(Position { at: Reach::to(next), epoch, crc })
}

/// The journal read in place, for one stream out of it.
pub(super) struct Streamed<'a> {
    pub(super) reader: &'a JournalReader,
    pub(super) cursor: &'a mut Option<Cursor>,
    pub(super) tail: Position,
    /// Counts frames that could not be read: what a failing disk or memory changed is never passed on.
    pub(super) damaged: &'a mut u64,
}

impl History for Streamed<'_> {
    fn position_at(&mut self, next: SeqNo) -> Option<Position> {
        position_at(self.reader, next)
    }

    fn tail(&self) -> Position {
        self.tail
    }

    fn seek(&mut self, seq: SeqNo) -> bool {
        *self.cursor = self.reader.cursor_at(seq);
        self.cursor.is_some()
    }

    fn peek(&mut self) -> Option<&[u8]> {
        match self.cursor.as_mut()?.peek_frame() {
            Ok(frame) => frame.map(|frame| frame.bytes()),
            Err(_) => {
                *self.damaged += 1;
                None
            }
        }
    }

    fn advance(&mut self) {
        if let Some(cursor) = self.cursor {
            cursor.advance();
        }
    }
}

/// The journal of a standby, which a stream writes.
pub(super) struct Followed<'a> {
    pub(super) journal: &'a mut Journal,
    pub(super) reader: &'a JournalReader,
    pub(super) error: &'a mut Option<OwnError>,
    /// Counts cuts.
    pub(super) cuts: &'a mut u64,
}

impl Standby for Followed<'_> {
    fn chain(&self) -> &Chain {
        self.journal.chain()
    }

    fn position_at(&mut self, next: SeqNo) -> Option<Position> {
        self.journal.publish();
        position_at(self.reader, next)
    }

    fn append(&mut self, frame: &[u8]) -> bool {
        match self.journal.append(frame) {
            Ok(_) => true,
            Err(AppendError::NotReady) => false,
            Err(error) => {
                *self.error = Some(error.into());
                false
            }
        }
    }

    fn cut_back(&mut self, to: SeqNo) -> bool {
        match self.journal.cut_back(to) {
            Ok(()) => {
                *self.cuts += 1;
                true
            }
            Err(CutError::NotReady) => false,
            Err(error) => {
                *self.error = Some(error.into());
                false
            }
        }
    }
}
