use seqcast_wire::{SeqNo, Session};

use crate::frame::{ChainError, FrameError};
use crate::mem::store::StoreError;

/// What is wrong with the bytes at a place where a frame should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They are no whole frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// They are a whole frame, but not the one that is due.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// They belong to a segment whose header is unreadable.
    #[error("segment header: {0}")]
    Header(&'static str),
}

/// Why a journal cannot be opened or kept up.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value of the configuration makes no sense.
    #[error("journal: {0}")]
    Config(String),
    /// The journal records another session.
    #[error(
        "{place}: holds session {found}, not {expected}; set the session to {found}, or give {expected} a directory of its own"
    )]
    ForeignSession {
        /// The segment.
        place: String,
        /// Session of the segment.
        found: Session,
        /// Session asked for.
        expected: Session,
    },
    /// The segment was written by another version of Seqcast.
    #[error(
        "{place}: format version {found}, this program reads version {known}; use the release that wrote it"
    )]
    Version {
        /// The segment.
        place: String,
        /// Version of the segment.
        found: u32,
        /// Version known here.
        known: u32,
    },
    /// A segment's header is damaged, and it is not the torn beginning of a segment that never held anything.
    #[error("{place}: the segment's header is damaged ({why}), but more follows it; {REMEDY}")]
    BadHeader {
        /// The segment.
        place: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A frame is damaged and valid ones follow it.
    #[error(
        "{place}, byte {offset}: frame {seq} is damaged ({fault}), but valid frames follow it{}; {REMEDY}",
        followed_at(.valid_at)
    )]
    BadFrame {
        /// The segment.
        place: String,
        /// Where in the segment the frame begins.
        offset: usize,
        /// The number that is due there.
        seq: SeqNo,
        /// What is wrong.
        fault: Fault,
        /// Where in the same segment the first valid frame behind it begins; `None` when it is in a later segment or not looked for.
        valid_at: Option<usize>,
    },
    /// A segment does not continue the one before.
    #[error(
        "{place}: begins with frame {found} where frame {expected} is due: frames are missing or foreign; {REMEDY}"
    )]
    Discontinuity {
        /// The segment that does not fit.
        place: String,
        /// The number due.
        expected: SeqNo,
        /// The number the segment begins with.
        found: SeqNo,
    },
    /// A segment begins at a number that is there, but behind another frame than the one before it.
    #[error(
        "{place}: begins with frame {seq}, but behind another history than the segments before it; {REMEDY}"
    )]
    Misfit {
        /// The segment that does not fit.
        place: String,
        /// The number it begins with.
        seq: SeqNo,
    },
    /// Frames are missing at the end that the mark knows of.
    #[error("{place}: frames up to {expected} were kept, but the segments end at {found}; {REMEDY}")]
    Short {
        /// The mark.
        place: String,
        /// The number that should come next, at least.
        expected: SeqNo,
        /// The number that comes next.
        found: SeqNo,
    },
    /// What was to be read next was removed.
    #[error("{place}: was removed by retention before frame {seq} was read; start from a later one")]
    Removed {
        /// The segment.
        place: String,
        /// The number due.
        seq: SeqNo,
    },
    /// What was read already is no longer part of the record.
    #[error(
        "{place}: cuts off what was read from frame {seq} on, before frame {before}: it was never committed, and others take its numbers"
    )]
    TakenBack {
        /// The segment in which the record goes on.
        place: String,
        /// The first number taken back.
        seq: SeqNo,
        /// The number that would have been read next.
        before: SeqNo,
    },
    /// A segment between others is missing.
    #[error("{place}: missing, while older and newer segments are there; {REMEDY}")]
    MissingSegment {
        /// Where it should be.
        place: String,
    },
}

/// What to do about a journal that is not whole.
const REMEDY: &str = "copy the segments, without `mark`, from a standby or a backup, or start a new session in an \
                      empty directory; `seqcast journal verify DIR` shows the damage";

fn followed_at(valid_at: &Option<usize>) -> String {
    match valid_at {
        Some(at) => format!(" (from byte {at})"),
        None => " further on".into(),
    }
}

/// Why a [`Cursor`](super::Cursor) cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Retention removed what comes next.
    #[error("frame {wanted} was removed by retention, the oldest is {oldest}")]
    Removed {
        /// The frame that comes next.
        wanted: SeqNo,
        /// The oldest frame there is.
        oldest: SeqNo,
    },
    /// The journal was cut before what comes next: the reader was ahead of what is committed.
    #[error("frame {wanted} was taken back: the journal was cut at frame {cut}")]
    TakenBack {
        /// The frame that comes next.
        wanted: SeqNo,
        /// Where the journal was cut.
        cut: SeqNo,
    },
    /// The bytes changed since they were checked: memory or disk is failing.
    #[error("segment {segment}, byte {offset}: frame {seq} went bad ({fault}); check memory and disk")]
    Damaged {
        /// Index of the segment.
        segment: u64,
        /// Where in the segment the frame begins.
        offset: usize,
        /// The number that is due there.
        seq: SeqNo,
        /// What is wrong.
        fault: FrameError,
    },
}
