//! What became of a feed, in a few numbers.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

use seqcast_engine::agents::books::Application;
use seqcast_engine::book::{BookStats, Books};
use seqcast_engine::feed::FeedState;
use seqcast_engine::time::Nanos;
use seqcast_wire::{SeqNo, Session};
use serde::Serialize;

use super::stats::{BookCounts, hex_digest};
use crate::output::grouped;

/// What became of a feed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The last session.
    pub session: Option<String>,
    /// Messages seen, of all sessions.
    pub messages: u64,
    /// Number of the first message.
    pub first_seq: Option<u64>,
    /// Number of the last message.
    pub last_seq: Option<u64>,
    /// Whether the last session ended.
    pub ended: bool,
    /// Messages that no line and no rewind server had.
    pub lost_messages: u64,
    /// Ranges of them.
    pub lost_ranges: u64,
    /// Numbers that came with two contents.
    pub conflicts: u64,
    /// Bytes of messages that were skipped because the application was too slow.
    pub skipped_bytes: u64,
    /// Snapshots taken.
    pub snapshots: u64,
    /// How often the feed came into each state.
    pub states: BTreeMap<String, u64>,
    /// The books as they were at the end.
    pub books: BooksSummary,
}

/// Books at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BooksSummary {
    /// Whether everything was applied: nothing was lost, skipped or in conflict since the last snapshot or session.
    pub whole: bool,
    /// Equal for equal books, as sixteen hexadecimal digits.
    pub digest: String,
    /// Live orders.
    pub live_orders: u32,
    /// Price levels.
    pub live_levels: u32,
    /// Messages that contradict the books.
    pub symptoms: u64,
    #[serde(flatten)]
    counts: BookCounts,
}

impl BooksSummary {
    fn of(books: &Books, whole: bool) -> BooksSummary {
        let stats: &BookStats = books.stats();
        BooksSummary {
            whole,
            digest: hex_digest(books.digest()),
            live_orders: books.live_orders(),
            live_levels: books.live_levels(),
            symptoms: stats.symptoms(),
            counts: stats.into(),
        }
    }
}

impl Summary {
    /// Whether the session was seen to its end and nothing is missing or doubtful.
    pub fn is_good(&self) -> bool {
        self.ended
            && self.books.whole
            && self.lost_messages == 0
            && self.skipped_bytes == 0
            && self.conflicts == 0
    }

    /// The summary for people, a few lines.
    ///
    /// # Errors
    /// What `out` gives.
    pub fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let or_none = |number: Option<u64>| number.map_or_else(|| "-".into(), grouped);
        writeln!(
            out,
            "session {}: {} messages, numbers {} to {}{}",
            self.session.as_deref().unwrap_or("-"),
            grouped(self.messages),
            or_none(self.first_seq),
            or_none(self.last_seq),
            if self.ended { ", ended" } else { ", not ended" },
        )?;
        writeln!(
            out,
            "{} messages lost in {} ranges, {} conflicts, {} bytes skipped, {} snapshots",
            grouped(self.lost_messages),
            grouped(self.lost_ranges),
            grouped(self.conflicts),
            grouped(self.skipped_bytes),
            grouped(self.snapshots),
        )?;
        let states: Vec<String> =
            self.states.iter().map(|(state, count)| format!("{state} {count}")).collect();
        writeln!(out, "states: {}", if states.is_empty() { "none".into() } else { states.join(", ") })?;
        let BooksSummary { whole, digest, live_orders, live_levels, symptoms, .. } = &self.books;
        writeln!(
            out,
            "books {digest}: {} orders on {} levels, {} contradictions{}",
            grouped((*live_orders).into()),
            grouped((*live_levels).into()),
            grouped(*symptoms),
            if *whole { "" } else { "; not whole" },
        )
    }
}

/// Sums a feed up.
#[derive(Debug)]
pub struct Summarizer {
    summary: Summary,
    session: Option<Session>,
    whole: bool,
    ending: Ending,
}

/// Where a [`Summarizer`] leaves its summary. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Ending(Arc<OnceLock<Summary>>);

impl Ending {
    /// The summary; `None` before the agent was closed, and for good if it panicked.
    pub fn summary(&self) -> Option<&Summary> {
        self.0.get()
    }
}

impl Default for Summarizer {
    fn default() -> Summarizer {
        Summarizer::new()
    }
}

impl Summarizer {
    /// Of nothing yet.
    pub fn new() -> Summarizer {
        Summarizer { summary: Summary::default(), session: None, whole: true, ending: Ending::default() }
    }

    /// Where to find the summary, once the summarizer is given away.
    pub fn ending(&self) -> Ending {
        self.ending.clone()
    }
}

impl Application for Summarizer {
    fn on_message(&mut self, seq: SeqNo, _received: Nanos, _message: &[u8]) {
        self.summary.messages += 1;
        self.summary.first_seq.get_or_insert(seq.value());
        self.summary.last_seq = Some(seq.value());
    }

    fn on_state(&mut self, state: FeedState) {
        *self.summary.states.entry(state.to_string()).or_default() += 1;
    }

    fn on_lost(&mut self, _first: SeqNo, count: u64) {
        self.summary.lost_messages += count;
        self.summary.lost_ranges += 1;
        self.whole = false;
    }

    fn on_conflict(&mut self, _seq: SeqNo) {
        self.summary.conflicts += 1;
        self.whole = false;
    }

    fn on_skipped(&mut self, bytes: u64) {
        self.summary.skipped_bytes += bytes;
        self.whole = false;
    }

    fn on_session(&mut self, session: Session) {
        if self.session.is_some_and(|known| known != session) {
            self.whole = true;
            self.summary.ended = false;
        }
        self.session = Some(session);
    }

    fn on_snapshot(&mut self, _next: SeqNo, _books: &Books) {
        self.summary.snapshots += 1;
        self.whole = true;
    }

    fn on_end(&mut self, _next: SeqNo, _books: &Books) {
        self.summary.ended = true;
    }

    fn on_close(&mut self, books: &Books) {
        let mut summary = std::mem::take(&mut self.summary);
        summary.session = self.session.map(|session| session.to_string());
        summary.books = BooksSummary::of(books, self.whole);
        // An agent is closed once.
        let _ = self.ending.0.set(summary);
    }
}
