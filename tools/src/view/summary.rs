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

#[cfg(test)]
mod tests {
    use seqcast_engine::feed::Item;
    use serde_json::json;

    use super::super::testing::{Rig, SMALL, add, delete, directory, seq};
    use super::super::{Recorder, Tee};
    use super::*;
    use crate::view::Outlet;
    use crate::view::outlet::testing::Page;

    fn summed_up(feed: impl FnOnce(&mut Rig<Summarizer>)) -> Summary {
        let summarizer = Summarizer::new();
        let ending = summarizer.ending();
        let mut rig = Rig::new(summarizer);
        feed(&mut rig);
        assert!(ending.summary().is_none(), "not before the end");
        rig.close();
        ending.summary().unwrap().clone()
    }

    fn begin(rig: &mut Rig<Summarizer>) {
        rig.session("S1");
        rig.state(FeedState::Live);
        rig.message(&directory(13, "AAPL"));
        rig.message(&add(13, 1, b'B', 100, "AAPL", 10));
    }

    #[test]
    fn a_whole_session_is_good() {
        let summary = summed_up(|rig| {
            begin(rig);
            rig.end();
            rig.state(FeedState::Ended);
        });
        assert!(summary.is_good());
        let mut books = Books::new(SMALL).unwrap();
        books.apply(&directory(13, "AAPL"));
        books.apply(&add(13, 1, b'B', 100, "AAPL", 10));
        let expected = json!({
            "session": "S1", "messages": 2, "first_seq": 1, "last_seq": 2, "ended": true, "lost_messages": 0,
            "lost_ranges": 0, "conflicts": 0, "skipped_bytes": 0, "snapshots": 0,
            "states": {"live": 1, "ended": 1},
            "books": {
                "whole": true, "digest": hex_digest(books.digest()), "live_orders": 1, "live_levels": 1,
                "symptoms": 0, "malformed": 0, "unknown_types": 0, "unknown_references": 0,
                "duplicate_references": 0, "over_executions": 0, "over_cancels": 0, "wrong_locates": 0,
                "wrong_symbols": 0, "over_limits": 0, "locked": 0, "crossed": 0,
            },
        });
        assert_eq!(serde_json::to_value(&summary).unwrap(), expected);
        let mut text = Vec::new();
        summary.write_text(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("session S1: 2 messages, numbers 1 to 2, ended\n"), "{text}");
        assert!(text.contains("states: ended 1, live 1\n"), "{text}");
        assert!(text.ends_with("1 orders on 1 levels, 0 contradictions\n"), "{text}");
    }

    #[test]
    fn what_is_missing_or_doubtful_is_not() {
        let lost = summed_up(|rig| {
            begin(rig);
            rig.lost(3);
            rig.message(&delete(13, 1));
            rig.end();
        });
        assert_eq!((lost.messages, lost.lost_messages, lost.lost_ranges, lost.last_seq), (3, 3, 1, Some(6)));
        assert!(!lost.is_good() && !lost.books.whole && lost.ended);
        let conflict = summed_up(|rig| {
            begin(rig);
            rig.item(Item::Conflict { seq: seq(2) });
            rig.end();
        });
        assert!(!conflict.is_good() && conflict.conflicts == 1 && !conflict.books.whole);
        let cut_short = summed_up(begin);
        assert!(!cut_short.is_good() && cut_short.books.whole && !cut_short.ended);
        let nothing = summed_up(|_| {});
        let mut text = Vec::new();
        nothing.write_text(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("session -: 0 messages, numbers - to -, not ended\n"), "{text}");
    }

    #[test]
    fn another_session_begins_whole() {
        let summary = summed_up(|rig| {
            begin(rig);
            rig.lost(1);
            rig.end();
            rig.session("S2");
            rig.go_on_from(SeqNo::FIRST);
            rig.message(&directory(13, "AAPL"));
        });
        assert_eq!(
            (summary.session.as_deref(), summary.ended, summary.books.whole),
            (Some("S2"), false, true)
        );
        assert_eq!((summary.messages, summary.lost_messages), (3, 1));
    }

    #[test]
    fn a_tee_shows_everything_to_all() {
        let (page, summarizer, other) = (Page::default(), Summarizer::new(), Summarizer::new());
        let endings = [summarizer.ending(), other.ending()];
        let recorder = Recorder::new(Outlet::new(page.clone()));
        let mut rig = Rig::new(Tee::new().with(summarizer).with(recorder).with(other));
        rig.session("S1");
        rig.state(FeedState::Live);
        rig.message(&directory(13, "AAPL"));
        rig.lost(2);
        rig.item(Item::Conflict { seq: seq(1) });
        rig.idle();
        assert_eq!(page.bytes().len(), 2 + 39, "idle duty cycles are passed on");
        rig.end();
        rig.close();
        let [one, other] = endings.map(|ending| ending.summary().unwrap().clone());
        assert_eq!(one, other);
        assert_eq!((one.messages, one.lost_messages, one.conflicts, one.ended), (1, 2, 1, true));
        assert_eq!(one.session.as_deref(), Some("S1"));
    }
}
