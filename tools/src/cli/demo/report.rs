//! What the demo shows at the end.

use std::io::{self, Write};
use std::sync::PoisonError;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use seqcast_engine::stat::CounterReading;
use seqcast_engine::time::Nanos;
use serde::Serialize;

use super::replica::{Left, Outcome, SPANS};
use super::setup::{Source, Stage};
use crate::output::grouped;
use crate::view::hex_digest;

/// Everything that the demo found out.
#[derive(Serialize)]
pub(super) struct Report {
    verdict: &'static str,
    seconds: f64,
    messages_per_s: u64,
    source: Replica,
    replicas: Vec<Replica>,
    checkpoints_compared: usize,
    checkpoints_equal: bool,
    receivers: Vec<Receiver>,
    latency: Vec<Span>,
}

/// One set of books.
#[derive(Serialize)]
struct Replica {
    name: &'static str,
    joined_at: Option<u64>,
    messages: u64,
    next: Option<u64>,
    lost_messages: u64,
    symptoms: u64,
    live_orders: u32,
    digest: String,
}

/// One receiver of a feed.
#[derive(Serialize)]
struct Receiver {
    name: String,
    lines: Vec<LineReport>,
    gaps_found: u64,
    filled_by_other_line: u64,
    filled_by_rewind: u64,
    requests: u64,
    lost: u64,
    recovery_p50_ns: u64,
    recovery_p99_ns: u64,
}

#[derive(Serialize)]
struct LineReport {
    line: char,
    datagrams: u64,
    first: u64,
    holes: u64,
}

#[derive(Serialize)]
struct Span {
    what: &'static str,
    count: u64,
    p50_ns: u64,
    p90_ns: u64,
    p99_ns: u64,
    max_ns: u64,
}

impl Report {
    pub(super) fn new(source: &Source, stage: &Stage, took: Duration) -> Report {
        let early = taken(&stage.early);
        let late = stage.late.as_ref().map(taken).unwrap_or_default();
        let pairs = || {
            early.digests.iter().filter_map(|a| late.digests.iter().find(|b| a.0 == b.0).map(|b| (a.1, b.1)))
        };
        let latency = SPANS.iter().zip(&early.latencies).map(|(&(_, _, what), latency)| {
            let found = latency.percentiles();
            let (p50_ns, p90_ns, p99_ns, max_ns) = (found.p50.0, found.p90.0, found.p99.0, found.max.0);
            Span { what, count: found.count, p50_ns, p90_ns, p99_ns, max_ns }
        });
        let readings = stage.counters().readings();
        let (publishers, nodes) = (["demopuba", "demopubb"], ["early", "late"]);
        let receivers = publishers
            .iter()
            .map(|name| receiver(&readings, "source", name, format!("sequencer from {name}")))
            .chain(
                nodes
                    .iter()
                    .map(|name| receiver(&readings, "subscriber", name, format!("subscriber, {name}"))),
            );
        let mut report = Report {
            verdict: "",
            seconds: took.as_secs_f64(),
            messages_per_s: (source.messages as f64 / took.as_secs_f64()) as u64,
            source: Replica {
                name: "source",
                joined_at: None,
                messages: source.messages,
                next: Some(source.messages + 1),
                lost_messages: 0,
                symptoms: 0,
                live_orders: source.live_orders,
                digest: hex_digest(source.digest),
            },
            replicas: vec![replica("from the start", &early), replica("joined late", &late)],
            checkpoints_compared: pairs().count(),
            checkpoints_equal: pairs().all(|(a, b)| a == b),
            receivers: receivers.collect(),
            latency: latency.collect(),
        };
        report.verdict = if report.is_good() { "equal" } else { "DIFFERENT" };
        report
    }

    /// Whether every replica is the source's equal and nothing was lost.
    pub(super) fn is_good(&self) -> bool {
        let equal = |replica: &Replica| {
            replica.digest == self.source.digest
                && replica.next == self.source.next
                && replica.lost_messages == 0
                && replica.symptoms == 0
        };
        self.checkpoints_equal && self.replicas.iter().all(equal)
    }

    pub(super) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let (messages, rate) = (grouped(self.source.messages), grouped(self.messages_per_s));
        writeln!(out, "{messages} messages in {:.1} s ({rate} a second)\n", self.seconds)?;
        let mut table = table(&[
            "receiver",
            "line",
            "datagrams",
            "first here",
            "holes",
            "gaps",
            "filled by line",
            "by rewind",
            "requests",
            "lost",
            "recovery p50",
            "p99",
        ]);
        for receiver in &self.receivers {
            for (at, line) in receiver.lines.iter().enumerate() {
                let mut row = vec![String::new(), line.line.to_string()];
                row.extend([line.datagrams, line.first, line.holes].map(grouped));
                if at == 0 {
                    row[0].clone_from(&receiver.name);
                    let Receiver {
                        gaps_found, filled_by_other_line, filled_by_rewind, requests, lost, ..
                    } = receiver;
                    row.extend(
                        [gaps_found, filled_by_other_line, filled_by_rewind, requests, lost]
                            .map(|n| grouped(*n)),
                    );
                    row.extend(
                        [receiver.recovery_p50_ns, receiver.recovery_p99_ns].map(|ns| Nanos(ns).to_string()),
                    );
                }
                table.add_row(row);
            }
        }
        writeln!(out, "{table}\n")?;
        let mut table = self::table(&["latency", "p50", "p90", "p99", "max"]);
        for span in &self.latency {
            let times = [span.p50_ns, span.p90_ns, span.p99_ns, span.max_ns].map(|ns| Nanos(ns).to_string());
            table.add_row(std::iter::once(span.what.to_owned()).chain(times));
        }
        writeln!(out, "{table}\n")?;
        let mut table =
            self::table(&["books", "joined at", "messages", "next number", "lost", "live orders", "digest"]);
        for replica in std::iter::once(&self.source).chain(&self.replicas) {
            table.add_row([
                replica.name.to_owned(),
                replica.joined_at.map_or_else(|| "1".into(), grouped),
                grouped(replica.messages),
                replica.next.map_or_else(|| "-".into(), grouped),
                grouped(replica.lost_messages),
                grouped(replica.live_orders.into()),
                replica.digest.clone(),
            ]);
        }
        writeln!(out, "{table}\n")?;
        let on_the_way = format!("{} comparisons on the way", self.checkpoints_compared);
        writeln!(out, "verdict: the books are {} ({on_the_way})", self.verdict)
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    table
}

fn taken(left: &Left) -> Outcome {
    std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner))
}

fn replica(name: &'static str, outcome: &Outcome) -> Replica {
    Replica {
        name,
        joined_at: outcome.joined_at.map(|seq| seq.value()),
        messages: outcome.messages,
        next: outcome.end.map(|(next, _)| next.value()),
        lost_messages: outcome.lost_messages,
        symptoms: outcome.symptoms,
        live_orders: outcome.live_orders,
        digest: outcome.end.map_or_else(|| "-".into(), |(_, digest)| hex_digest(digest)),
    }
}

fn receiver(readings: &[CounterReading], agent: &str, node: &str, name: String) -> Receiver {
    let value = |noun: &str, line: Option<char>| {
        let line = line.map(|line| format!(",line=\"{line}\"")).unwrap_or_default();
        let label = format!("seqcast_{agent}_{noun}{{node=\"{node}\"{line}}}");
        readings.iter().find(|counter| counter.label == label).map_or(0, |counter| counter.value)
    };
    let lines = ['A', 'B'].map(|line| LineReport {
        line,
        datagrams: value("line_datagrams_total", Some(line)),
        first: value("line_won_datagrams_total", Some(line)),
        holes: value("line_holes_total", Some(line)),
    });
    Receiver {
        name,
        lines: lines.into(),
        gaps_found: value("gaps_found_total", None),
        filled_by_other_line: value("line_filled_messages_total", None),
        filled_by_rewind: value("rewind_filled_messages_total", None),
        requests: value("requests_total", None),
        lost: value("lost_messages_total", None),
        recovery_p50_ns: value("recovery_p50_ns", None),
        recovery_p99_ns: value("recovery_p99_ns", None),
    }
}
