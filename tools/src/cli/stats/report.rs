use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use comfy_table::{CellAlignment, Table, presets};
use seqcast_engine::io::pcap::Skipped;
use seqcast_wire::{Session, Timestamp};
use serde::Serialize;

use super::sessions::{Sessions, Span};
use super::tally::{Tally, name_of};
use crate::output::{Data, grouped};

/// Gaps and sessions that the text names one by one.
const MOST_LISTED: usize = 20;

/// What one file holds.
#[derive(Debug)]
pub(super) struct FileReport {
    path: PathBuf,
    format: &'static str,
    pub(super) tally: Tally,
    pub(super) sessions: Sessions,
    pub(super) captured: Captured,
    /// Why it was not read to its end.
    pub(super) damage: Option<String>,
}

/// What a capture holds beside messages.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Captured {
    /// Packets of any kind.
    packets: u64,
    /// Whole UDP datagrams.
    datagrams: u64,
    /// Datagrams that are no MoldUDP64.
    pub(super) not_mold: u64,
    /// Datagrams of MoldUDP64 with sequence number 0: their messages are counted, without a session.
    pub(super) unnumbered: u64,
    /// Requests for retransmission.
    pub(super) requests: u64,
    /// Packets that are no whole UDP datagrams, by reason.
    other_packets: u64,
    fragments: u64,
    cut_packets: u64,
    damaged_packets: u64,
    unknown_link_packets: u64,
    /// Nanoseconds since the Unix epoch.
    captured_first_ns: Option<u64>,
    captured_last_ns: Option<u64>,
}

/// What all files hold.
#[derive(Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    total: Counts,
    files: Vec<FileRow>,
}

#[derive(Serialize)]
struct FileRow {
    file: String,
    format: &'static str,
    damage: Option<String>,
    #[serde(flatten)]
    counts: Counts,
}

/// What files and their total have alike.
#[derive(Serialize)]
struct Counts {
    messages: u64,
    by_type: BTreeMap<char, u64>,
    unknown: u64,
    malformed: u64,
    first_time: Option<String>,
    last_time: Option<String>,
    sessions: Vec<SessionRow>,
    gaps: Vec<Gap>,
    #[serde(flatten)]
    captured: Captured,
}

#[derive(Serialize)]
struct Gap {
    session: String,
    first: u64,
    last: u64,
    messages: u64,
}

#[derive(Serialize)]
struct SessionRow {
    session: String,
    first: u64,
    next: u64,
    messages: u64,
    duplicates: u64,
    datagrams: u64,
    heartbeats: u64,
    ended: bool,
}

impl FileReport {
    pub(super) fn new(path: &Path, format: &'static str) -> FileReport {
        FileReport {
            path: path.into(),
            format,
            tally: Tally::new(),
            sessions: Sessions::default(),
            captured: Captured::default(),
            damage: None,
        }
    }
}

impl Captured {
    pub(super) fn on_datagram(&mut self, stamp_ns: u64) {
        self.datagrams += 1;
        self.captured_first_ns = self.captured_first_ns.into_iter().chain([stamp_ns]).min();
        self.captured_last_ns = self.captured_last_ns.max(Some(stamp_ns));
    }

    pub(super) fn skip(&mut self, packets: u64, skipped: Skipped) {
        self.packets = packets;
        self.other_packets = skipped.other;
        self.fragments = skipped.fragments;
        self.cut_packets = skipped.cut;
        self.damaged_packets = skipped.damaged;
        self.unknown_link_packets = skipped.unknown_link;
    }

    fn add(&mut self, more: &Captured) {
        self.packets += more.packets;
        self.datagrams += more.datagrams;
        self.not_mold += more.not_mold;
        self.unnumbered += more.unnumbered;
        self.requests += more.requests;
        self.other_packets += more.other_packets;
        self.fragments += more.fragments;
        self.cut_packets += more.cut_packets;
        self.damaged_packets += more.damaged_packets;
        self.unknown_link_packets += more.unknown_link_packets;
        let firsts = self.captured_first_ns.into_iter().chain(more.captured_first_ns);
        self.captured_first_ns = firsts.min();
        self.captured_last_ns = self.captured_last_ns.max(more.captured_last_ns);
    }
}

impl Counts {
    fn new(tally: &Tally, sessions: &Sessions, captured: Captured) -> Counts {
        let time = |ns: Option<u64>| ns.map(|ns| Timestamp::from_ns(ns).to_string());
        Counts {
            messages: tally.messages,
            by_type: tally.by_type(),
            unknown: tally.unknown,
            malformed: tally.malformed,
            first_time: time(tally.first_ns),
            last_time: time(tally.last_ns),
            sessions: sessions.iter().map(|(session, span)| SessionRow::new(session, span)).collect(),
            gaps: sessions.iter().flat_map(|(session, span)| gaps_of(session, span)).collect(),
            captured,
        }
    }
}

impl SessionRow {
    fn new(session: &Session, span: &Span) -> SessionRow {
        SessionRow {
            session: session.to_string(),
            first: span.first(),
            next: span.next(),
            messages: span.messages,
            duplicates: span.duplicates,
            datagrams: span.datagrams,
            heartbeats: span.heartbeats,
            ended: span.ended,
        }
    }
}

fn gaps_of(session: &Session, span: &Span) -> impl Iterator<Item = Gap> {
    let name = session.to_string();
    span.gaps().map(move |gap| Gap {
        session: name.clone(),
        first: gap.start,
        last: gap.end - 1,
        messages: gap.end - gap.start,
    })
}

impl Report {
    pub(super) fn new(files: &[FileReport]) -> Report {
        let (mut tally, mut sessions, mut captured) =
            (Tally::new(), Sessions::default(), Captured::default());
        for file in files {
            tally.add(&file.tally);
            sessions.add(&file.sessions);
            captured.add(&file.captured);
        }
        let row = |file: &FileReport| FileRow {
            file: file.path.display().to_string(),
            format: file.format,
            damage: file.damage.clone(),
            counts: Counts::new(&file.tally, &file.sessions, file.captured),
        };
        Report { total: Counts::new(&tally, &sessions, captured), files: files.iter().map(row).collect() }
    }

    pub(super) fn is_bad(&self) -> bool {
        self.total.malformed > 0 || !self.total.gaps.is_empty()
    }

    pub(super) fn write_text(&self, data: &mut Data) -> io::Result<()> {
        for file in &self.files {
            let whole = if file.damage.is_some() { ", not whole" } else { "" };
            let messages = grouped(file.counts.messages);
            writeln!(data, "{} ({}{whole}): {messages} messages", file.file, file.format)?;
        }
        self.total.write_text(data)
    }
}

impl Counts {
    fn write_text(&self, data: &mut Data) -> io::Result<()> {
        writeln!(data, "\n{}", self.types_table())?;
        if let (Some(first), Some(last)) = (&self.first_time, &self.last_time) {
            writeln!(data, "\nmessage times {first} to {last}")?;
        }
        if self.messages > 0 && self.by_type.is_empty() {
            writeln!(data, "\nnone of the messages is ITCH 5.0")?;
        }
        if self.captured.packets > 0 { self.write_capture(data) } else { Ok(()) }
    }

    fn write_capture(&self, data: &mut Data) -> io::Result<()> {
        let captured = &self.captured;
        writeln!(
            data,
            "\n{} UDP datagrams: {} no MoldUDP64, {} without numbers, {} requests; {} other packets",
            grouped(captured.datagrams),
            grouped(captured.not_mold),
            grouped(captured.unnumbered),
            grouped(captured.requests),
            grouped(captured.packets - captured.datagrams),
        )?;
        if !self.sessions.is_empty() {
            writeln!(data, "\n{}", self.sessions_table())?;
        }
        for Gap { session, first, last, messages } in self.gaps.iter().take(MOST_LISTED) {
            writeln!(
                data,
                "missing of session {session}: {first} to {last} ({} messages)",
                grouped(*messages)
            )?;
        }
        if self.gaps.len() > MOST_LISTED {
            let more = grouped((self.gaps.len() - MOST_LISTED) as u64);
            writeln!(data, "and {more} gaps more (--json has all)")?;
        }
        Ok(())
    }

    fn types_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(["type", "name", "messages", "%"]);
        let share = |count: u64| format!("{:.3}", 100.0 * count as f64 / self.messages.max(1) as f64);
        let mut rows: Vec<(char, u64)> = self.by_type.iter().map(|(&kind, &count)| (kind, count)).collect();
        rows.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        for (kind, count) in rows {
            table.add_row([kind.to_string(), name_of(kind).into(), grouped(count), share(count)]);
        }
        for (name, count) in [("unknown type", self.unknown), ("malformed", self.malformed)] {
            if count > 0 {
                table.add_row([String::new(), name.into(), grouped(count), share(count)]);
            }
        }
        table.add_row([String::new(), "all".into(), grouped(self.messages), share(self.messages)]);
        align_right(&mut table, &[2, 3]);
        table
    }

    fn sessions_table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "session",
            "first",
            "next",
            "messages",
            "duplicates",
            "datagrams",
            "heartbeats",
            "ended",
        ]);
        for row in self.sessions.iter().take(MOST_LISTED) {
            table.add_row([
                row.session.clone(),
                row.first.to_string(),
                row.next.to_string(),
                grouped(row.messages),
                grouped(row.duplicates),
                grouped(row.datagrams),
                grouped(row.heartbeats),
                if row.ended { "yes" } else { "no" }.into(),
            ]);
        }
        align_right(&mut table, &[1, 2, 3, 4, 5, 6]);
        table
    }
}

fn align_right(table: &mut Table, columns: &[usize]) {
    for &column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
