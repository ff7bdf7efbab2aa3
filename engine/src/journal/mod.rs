//! The journal: the durable ordered record of one session.
//!
//! A journal is a row of **segments** of one size; a segment is a header of 2 KiB ([`segment`]) and
//! [frames](crate::frame) back to back, up to zeroes. Every frame carries the CRC of the one before, and every segment's
//! header where the chain stood when it began, so that the record is proven whole from any segment on.
//!
//! [`Journal::open`] checks all of it and hands out the parts, each for the thread it belongs to:
//!
//! | part | thread | does |
//! |---|---|---|
//! | [`Journal`] | the journal's agent | appends: one copy into prepared memory, no system call |
//! | [`JournalReader`], [`Cursor`] | any | read in place, without locks, live |
//! | [`Preparer`] | cold | next segment ahead of need, retention, prefaulting |
//! | [`Syncer`] | cold | durability |
//! | [`Mark`] | cold | what a restart must know: published watermark, incarnation, promised epoch |
//!
//! A torn tail (nothing valid behind it) is cut at opening and reported. Anything else that is wrong refuses to
//! open, and says where and what to do: a journal never drops a frame that valid ones follow. One thing is no damage:
//! sectors reach a disk in any order, so a loss of power can leave holes in what was not synced, and valid frames behind
//! them. Then everything from the first hole on is given up, if nothing of it had been synced.
//!
//! Retention removes for good, so it leaves what a loss of power needs: the header that the rest begins with is synced
//! first, and so is what the mark knows of cuts.
//!
//! # Cutting back
//!
//! A standby whose tail differs from what the primary committed drops that tail: [`Journal::cut_back`]. It stays
//! append-only even so. The next segment begins at an earlier number, says so, and thereby **supersedes** what earlier
//! segments hold from that number on. What was committed is never cut, so who reads below the commit watermark sees nothing
//! of it. Whatever is superseded is not part of the record: it is never read again, and damage to it is none.
//!
//! | goes down | leaves |
//! |---|---|
//! | the process, during a cut | the old end or the new one |
//! | the power | what was synced. Where the cut itself was lost, and the tail that it superseded was not, the mark knows: opening cuts again, so that such a tail never passes for what was published in its place |
//!
//! A standby that is further behind than any journal reaches back begins anew from an image: [`Journal::begin_at`].
//!
//! Tools read with [`Follower`] and [`verify`], without locks and without disturbing a writer.

mod append;
mod error;
mod follow;
mod mark;
mod reader;
mod recover;
mod scan;
pub mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod upkeep;
mod verify;

use seqcast_wire::Session;

pub use append::{AppendError, CutError, Journal};
pub use error::{Fault, JournalError, ReadError};
pub use follow::Follower;
pub use mark::{Mark, Published, Unproven, recorded_incarnation};
pub use reader::{Cursor, JournalReader};
pub use recover::{Opened, Recovered};
pub use scan::Cut;
pub use upkeep::{Preparer, Syncer, close};
pub use verify::{VerifyReport, verify};

use crate::frame::framed_bytes;
use crate::limits::MAX_MESSAGE_BYTES;
use segment::HEADER_BYTES;

/// Smallest segment: it holds the longest frame, so that every frame fits an empty segment.
pub const MIN_SEGMENT_BYTES: usize = (HEADER_BYTES + framed_bytes(MAX_MESSAGE_BYTES)).next_multiple_of(4096);
/// Largest segment: what the index can address.
pub const MAX_SEGMENT_BYTES: u64 = 8 * u32::MAX as u64;

/// How a journal is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalConfig {
    /// The session that the journal records. A journal of another session is refused.
    pub session: Session,
    /// Bytes of a new segment, a multiple of 4,096 from [`MIN_SEGMENT_BYTES`] to [`MAX_SEGMENT_BYTES`].
    pub segment_bytes: usize,
    /// Most bytes to keep: beyond them the oldest whole segments are removed. `None` keeps everything. The segment
    /// being written and the one prepared are always kept.
    pub retain_bytes: Option<u64>,
    /// Most bytes to keep for nodes of the cluster that lack them, when that is more than `retain_bytes`.
    pub catch_up_bytes: u64,
    /// The incarnation to take if the journal cannot be proven whole: any number never used before by this node,
    /// such as a random one. Not 0.
    pub fresh_incarnation: u64,
    /// Whether nothing is acknowledged before it is synced (`durability = disk`): then a loss of power takes nothing that
    /// was acknowledged, and the journal keeps its incarnation.
    pub synced_acks: bool,
}

impl JournalConfig {
    /// A journal of `session` with segments of 64 MiB that keeps everything.
    pub fn new(session: Session, fresh_incarnation: u64) -> JournalConfig {
        let (retain_bytes, catch_up_bytes, synced_acks) = (None, 0, false);
        JournalConfig {
            session,
            segment_bytes: 64 << 20,
            retain_bytes,
            catch_up_bytes,
            fresh_incarnation,
            synced_acks,
        }
    }

    fn check(&self) -> Result<(), JournalError> {
        let bytes = self.segment_bytes;
        if bytes < MIN_SEGMENT_BYTES || bytes as u64 > MAX_SEGMENT_BYTES || !bytes.is_multiple_of(4096) {
            return Err(JournalError::Config(format!(
                "a segment of {bytes} bytes; give a multiple of 4096 from {MIN_SEGMENT_BYTES} to {MAX_SEGMENT_BYTES}"
            )));
        }
        if self.fresh_incarnation == 0 {
            return Err(JournalError::Config("incarnation 0; give a random number".into()));
        }
        Ok(())
    }
}
