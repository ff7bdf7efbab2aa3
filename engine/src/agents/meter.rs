//! Mirrors what the core counted into counters that other processes can read.
//!
//! The core counts in plain numbers; a few times a second each agent copies them into mapped memory. That is the only
//! way counts leave a hot thread: nothing is logged or formatted there.

use tracing::warn;

use crate::book::BookStats;
use crate::feed::{LineId, Receiver};
use crate::io::DriverCounters;
use crate::limits::MAX_LINES;
use crate::rewind::{Reason, ServerStats};
use crate::stat::{Counter, Counters, Latency};
use crate::time::Nanos;

/// How often an agent mirrors its numbers.
const PERIOD: Nanos = Nanos::from_millis(100);

/// One agent's counters.
pub struct Meter {
    counters: Counters,
    agent: &'static str,
    /// Tells agents of one kind apart: `{node="…"}`; empty when there is one.
    instance: String,
    taken: Vec<(&'static str, Option<usize>, Option<Counter>)>,
    due: Nanos,
}

impl Meter {
    /// Counters named `seqcast_<agent>_…`, told apart by `instance` when that is not empty.
    pub fn new(counters: &Counters, agent: &'static str, instance: &str) -> Meter {
        Meter {
            counters: counters.clone(),
            agent,
            instance: instance.to_owned(),
            taken: Vec::with_capacity(64),
            due: Nanos::ZERO,
        }
    }

    /// Whether it is time to mirror; the first time at once, so that all counters are taken at the start.
    #[inline]
    pub fn is_due(&mut self, now: Nanos) -> bool {
        if now < self.due {
            return false;
        }
        self.due = now + PERIOD;
        true
    }

    /// Sets the counter or gauge `name`.
    pub fn set(&mut self, name: &'static str, value: u64) {
        self.set_of(name, None, value);
    }

    /// Takes these now, which allocates, because the first time that they are set it must not.
    pub fn expect(&mut self, names: &[&'static str]) {
        for &name in names {
            if !self.taken.iter().any(|(known, of, _)| *known == name && of.is_none()) {
                self.take(name, None);
            }
        }
    }

    fn set_of(&mut self, name: &'static str, line: Option<usize>, value: u64) {
        let known = self.taken.iter().position(|(known, of, _)| *known == name && *of == line);
        let at = known.unwrap_or_else(|| self.take(name, line));
        if let Some(counter) = &mut self.taken[at].2 {
            counter.set(value);
        }
    }

    #[cold]
    fn take(&mut self, name: &'static str, line: Option<usize>) -> usize {
        let mut keys = Vec::new();
        if !self.instance.is_empty() {
            keys.push(format!("node=\"{}\"", self.instance));
        }
        if let Some(line) = line {
            keys.push(format!("line=\"{}\"", char::from(b'A' + line as u8)));
        }
        let keys = if keys.is_empty() { String::new() } else { format!("{{{}}}", keys.join(",")) };
        let label = format!("seqcast_{}_{name}{keys}", self.agent);
        let counter = self.counters.counter(&label).inspect_err(|error| warn!("{label}: {error}")).ok();
        self.taken.push((name, line, counter));
        self.taken.len() - 1
    }

    /// What a driver counted.
    pub fn driver(&mut self, counters: &DriverCounters) {
        self.set("received_datagrams_total", counters.received_datagrams);
        self.set("received_bytes_total", counters.received_bytes);
        self.set("truncated_datagrams_total", counters.truncated_datagrams);
        self.set("kernel_dropped_datagrams_total", counters.kernel_dropped_datagrams);
        self.set("rearms_total", counters.rearms);
        self.set("sent_datagrams_total", counters.sent_datagrams);
        self.set("sent_bytes_total", counters.sent_bytes);
        self.set("send_errors_total", counters.send_errors);
        self.set("busy_total", counters.busy);
        self.set("segmented_sends_total", counters.segmented_sends);
        self.set("bypass_received_datagrams_total", counters.bypass_received_datagrams);
        self.set("bypass_sent_datagrams_total", counters.bypass_sent_datagrams);
        self.set("malformed_frames_total", counters.malformed_frames);
    }

    /// What a feed counted, its lines by letter.
    pub fn feed(&mut self, receiver: &Receiver) {
        let stats = receiver.stats();
        self.set("expected", receiver.expected().value());
        self.set("state", receiver.state() as u64);
        self.set("missing_messages", receiver.missing_messages());
        self.set("messages_total", stats.delivered_messages);
        self.set("malformed_datagrams_total", stats.malformed_datagrams);
        self.set("wrong_session_datagrams_total", stats.wrong_session_datagrams);
        self.set("unconfirmed_jumps_total", stats.unconfirmed_jumps);
        self.set("duplicate_messages_total", stats.duplicate_messages);
        self.set("conflicts_total", stats.conflicts);
        self.set("gaps_found_total", stats.gaps_found);
        self.set("line_filled_messages_total", stats.line_filled_messages);
        self.set("rewind_filled_messages_total", stats.rewind_filled_messages);
        self.set("lost_messages_total", stats.lost_messages);
        self.set("requests_total", stats.requests);
        self.set("unanswered_requests_total", stats.unanswered_requests);
        self.set("useless_replies_total", stats.useless_replies);
        self.set("overtaken_datagrams_total", stats.overtaken_datagrams);
        self.set("needless_rewinds_total", stats.needless_rewinds);
        self.set("stash_refused_messages_total", stats.stash_refused_messages);
        for line in 0..MAX_LINES {
            let Some(stats) = receiver.line_stats(LineId(line as u8)) else { break };
            self.set_of("line_datagrams_total", Some(line), stats.datagrams);
            self.set_of("line_won_datagrams_total", Some(line), stats.won_datagrams);
            self.set_of("line_holes_total", Some(line), stats.holes);
            self.set_of("line_lost_messages_total", Some(line), stats.lost_messages);
        }
    }

    /// What a rewind server counted.
    pub fn rewind(&mut self, stats: &ServerStats) {
        self.set("requests_total", stats.requests);
        self.set("replies_total", stats.replies);
        self.set("reply_messages_total", stats.messages);
        self.set("not_allowed_requests_total", stats.silent[Reason::NotAllowed as usize]);
        let limited = [Reason::SourceRate, Reason::TotalRate, Reason::PendingFull, Reason::SourcesFull];
        self.set("limited_requests_total", limited.iter().map(|&reason| stats.silent[reason as usize]).sum());
        self.set("silent_requests_total", stats.silent.iter().sum());
    }

    /// What order books counted.
    pub fn books(&mut self, stats: &BookStats) {
        self.set("applied_messages_total", stats.messages);
        self.set("loss_symptoms_total", stats.symptoms());
        self.set("unknown_references_total", stats.unknown_references);
        self.set("crossed_total", stats.crossed);
    }

    /// A distribution, in nanoseconds. Walks the whole histogram: not while it matters.
    pub fn latency(&mut self, latency: &Latency) {
        let percentiles = latency.percentiles();
        self.set("recovery_samples_total", latency.count());
        self.set("recovery_p50_ns", percentiles.p50.0);
        self.set("recovery_p99_ns", percentiles.p99.0);
        self.set("recovery_max_ns", percentiles.max.0);
    }
}
