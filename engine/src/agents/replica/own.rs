//! A node's own journal, as the replication core sees it.

use seqcast_wire::SeqNo;

use crate::frame::Chain;
use crate::journal::{AppendError, Cursor, CutError, Journal, JournalReader};
use crate::replica::{History, Position, Standby};

/// The journal read in place, for one stream out of it.
pub(super) struct Streamed {
    reader: JournalReader,
    cursor: Option<Cursor>,
    /// A frame could not be read: what a failing disk or memory changed is never passed on.
    pub(super) damaged: u64,
}

impl Streamed {
    pub(super) fn new(reader: JournalReader) -> Streamed {
        Streamed { reader, cursor: None, damaged: 0 }
    }
}

impl History for Streamed {
    fn oldest(&self) -> SeqNo {
        self.reader.oldest()
    }

    fn position_at(&self, next: SeqNo) -> Option<Position> {
        let (epoch, crc) = self.reader.position_at(next)?;
        Some(Position { next, epoch, crc })
    }

    fn seek(&mut self, seq: SeqNo) -> bool {
        if self.cursor.as_ref().is_some_and(|cursor| cursor.seq() == seq) {
            return true;
        }
        self.cursor = self.reader.cursor_at(seq);
        self.cursor.is_some()
    }

    fn peek(&mut self) -> Option<&[u8]> {
        match self.cursor.as_mut()?.peek_frame() {
            Ok(frame) => frame.map(|frame| frame.bytes()),
            Err(_) => {
                self.damaged += 1;
                None
            }
        }
    }

    fn advance(&mut self) {
        if let Some(cursor) = &mut self.cursor {
            cursor.advance();
        }
    }
}

/// The journal of a standby, which a stream writes.
pub(super) struct Followed<'a> {
    pub(super) journal: &'a mut Journal,
    pub(super) reader: &'a JournalReader,
    /// What cannot be helped by trying again.
    pub(super) error: &'a mut Option<AppendError>,
}

impl Standby for Followed<'_> {
    fn chain(&self) -> &Chain {
        self.journal.chain()
    }

    fn position_at(&self, next: SeqNo) -> Option<Position> {
        let (epoch, crc) = self.reader.position_at(next)?;
        Some(Position { next, epoch, crc })
    }

    fn append(&mut self, frame: &[u8]) -> bool {
        match self.journal.append(frame) {
            Ok(_) => true,
            Err(AppendError::NotReady) => false,
            Err(error) => {
                *self.error = Some(error);
                false
            }
        }
    }

    fn cut_back(&mut self, to: SeqNo) -> bool {
        match self.journal.cut_back(to) {
            Ok(()) => true,
            Err(CutError::NotReady) => false,
            Err(_) => false,
        }
    }
}
