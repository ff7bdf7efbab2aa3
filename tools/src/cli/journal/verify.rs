use std::io::{self, Write};
use std::path::PathBuf;

use seqcast_engine::io::store::FileReadStore;
use seqcast_engine::journal::segment::{HEADER_BYTES, HeaderRead, SegmentHeader};
use seqcast_engine::journal::{JournalError, VerifyReport, verify};
use seqcast_engine::mem::store::ReadStore;
use seqcast_wire::Session;
use serde::Serialize;

use super::Verdict;
use crate::output::{Data, Output, grouped, sized};

#[derive(clap::Args)]
pub(super) struct Args {
    /// The journal's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

#[derive(Serialize)]
struct Report {
    dir: String,
    /// Nothing is damaged and nothing is missing.
    whole: bool,
    segments: Vec<Segment>,
    #[serde(flatten)]
    contents: Option<Contents>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<Damage>,
}

#[derive(Serialize)]
struct Segment {
    file: String,
    bytes: u64,
    /// What stands in its header; none when it was prepared and never begun, or is damaged.
    #[serde(flatten)]
    begun: Option<Begun>,
}

#[derive(Serialize)]
struct Begun {
    first: u64,
    epoch: u64,
    incarnation: u64,
    /// What came next before the cut that the segment begins with: from its first number on, earlier segments are
    /// superseded.
    cut_from: Option<u64>,
}

#[derive(Serialize)]
struct Contents {
    session: Option<String>,
    /// Bytes of headers and frames.
    used_bytes: u64,
    first: u64,
    next: u64,
    ended: bool,
    epoch: u64,
    promised_epoch: Option<u64>,
    incarnation: u64,
    published: Option<u64>,
    /// Messages that stand in the segments and were cut off.
    superseded: u64,
    /// Where opening cuts once more what a loss of power brought back.
    lost_cut: Option<u64>,
    sources: Vec<Source>,
    torn: Option<Torn>,
    writer: Option<String>,
}

#[derive(Serialize)]
struct Source {
    index: usize,
    session: String,
    next: u64,
}

/// The end of the last append before a crash.
#[derive(Serialize)]
struct Torn {
    file: String,
    offset: usize,
    bytes: usize,
    seq: u64,
    fault: String,
}

#[derive(Serialize)]
struct Damage {
    what: String,
    file: Option<String>,
    offset: Option<usize>,
    seq: Option<u64>,
}

pub(super) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let store = super::open(&args.dir)?;
    let (contents, damage) = match verify(&store) {
        Ok(report) => (Some(contents(report, &store)), None),
        Err(JournalError::Store(error)) => return Err(error.into()),
        Err(error) => (None, Some(damage(&error))),
    };
    let report = Report {
        dir: args.dir.display().to_string(),
        whole: damage.is_none(),
        segments: segments(&store)?,
        contents,
        damage,
    };
    output.print(&report, |data| write_text(&report, data))?;
    Ok(if report.whole { Verdict::Good } else { Verdict::Bad })
}

fn segments(store: &FileReadStore) -> anyhow::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for info in store.list()? {
        let mut head = [0; HEADER_BYTES];
        let filled = store.read_at(info.index, 0, &mut head).unwrap_or_default();
        let begun = match SegmentHeader::decode(&head[..filled]) {
            HeaderRead::Header(header) => Some(Begun {
                first: header.chain.next().value(),
                epoch: header.chain.epoch(),
                incarnation: header.incarnation,
                cut_from: header.cut_from.map(|next| next.value()),
            }),
            _ => None,
        };
        segments.push(Segment { file: store.place(info.index), bytes: info.bytes, begun });
    }
    Ok(segments)
}

fn contents(report: VerifyReport, store: &FileReadStore) -> Contents {
    let VerifyReport {
        session,
        bytes,
        oldest,
        chain,
        incarnation,
        promised_epoch,
        published,
        superseded,
        lost_cut,
        cut,
        writer,
        segments: _,
    } = report;
    let sources = chain.sources().iter().enumerate().filter(|(_, source)| source.session != Session::BLANK);
    Contents {
        session: session.map(|session| session.to_string()),
        used_bytes: bytes,
        first: oldest.value(),
        next: chain.next().value(),
        ended: chain.ended(),
        epoch: chain.epoch(),
        promised_epoch,
        incarnation,
        published: published.map(|published| published.value()),
        superseded,
        lost_cut: lost_cut.map(|to| to.value()),
        sources: sources
            .map(|(index, source)| Source {
                index,
                session: source.session.to_string(),
                next: source.next.value(),
            })
            .collect(),
        torn: cut.map(|cut| Torn {
            file: store.place(cut.segment),
            offset: cut.offset,
            bytes: cut.bytes,
            seq: cut.seq.value(),
            fault: cut.fault.to_string(),
        }),
        writer,
    }
}

fn damage(error: &JournalError) -> Damage {
    let (file, offset, seq) = match error {
        JournalError::BadFrame { place, offset, seq, .. } => (Some(place), Some(*offset), Some(seq.value())),
        JournalError::BadHeader { place, .. }
        | JournalError::ForeignSession { place, .. }
        | JournalError::Version { place, .. }
        | JournalError::MissingSegment { place } => (Some(place), None, None),
        JournalError::Discontinuity { place, expected, .. } => (Some(place), None, Some(expected.value())),
        JournalError::Short { place, found, .. } => (Some(place), None, Some(found.value())),
        JournalError::Misfit { place, seq }
        | JournalError::Removed { place, seq }
        | JournalError::TakenBack { place, seq, .. } => (Some(place), None, Some(seq.value())),
        JournalError::Store(_) | JournalError::Config(_) => (None, None, None),
    };
    Damage { what: error.to_string(), file: file.cloned(), offset, seq }
}

fn write_text(report: &Report, data: &mut Data) -> io::Result<()> {
    for Segment { file, bytes, begun } in &report.segments {
        let bytes = sized(*bytes);
        match begun {
            Some(Begun { first, epoch, incarnation, cut_from }) => {
                let cut = cut_from.map_or("", |_| " (a cut)");
                writeln!(
                    data,
                    "{file}: {bytes}, from frame {first}{cut}, epoch {epoch}, incarnation {incarnation:016x}"
                )?;
            }
            None => writeln!(data, "{file}: {bytes}, not begun")?,
        }
    }
    if let Some(contents) = &report.contents {
        write_contents(contents, data)?;
    }
    match &report.damage {
        Some(damage) => writeln!(data, "damaged: {}", damage.what),
        None => writeln!(data, "{} is whole", report.dir),
    }
}

fn write_contents(contents: &Contents, data: &mut Data) -> io::Result<()> {
    let session = contents.session.as_deref().unwrap_or("none yet");
    let Contents { first, next, epoch, .. } = contents;
    let frames = grouped(next - first);
    let ended = if contents.ended { ", ended" } else { "" };
    writeln!(data, "session {session}{ended}: {frames} messages from {first}, {next} comes next")?;
    let promised = contents.promised_epoch.map_or_else(String::new, |epoch| format!(", promised {epoch}"));
    let published = contents.published.map_or_else(String::new, |next| format!("; published before {next}"));
    writeln!(data, "epoch {epoch}{promised}; {} used{published}", sized(contents.used_bytes))?;
    for Source { index, session, next } in &contents.sources {
        writeln!(data, "source {index}: session {session}, {next} comes next")?;
    }
    if contents.superseded > 0 {
        let count = grouped(contents.superseded);
        writeln!(
            data,
            "{count} messages were cut off before they were committed; others have their numbers"
        )?;
    }
    if let Some(to) = contents.lost_cut {
        writeln!(data, "cut at frame {to}, which a loss of power undid; opening cuts again")?;
    }
    if let Some(Torn { file, offset, bytes, seq, fault }) = &contents.torn {
        writeln!(
            data,
            "{file}, byte {offset}: torn end of {bytes} bytes where frame {seq} would be ({fault}); opening cuts it"
        )?;
    }
    if let Some(writer) = &contents.writer {
        writeln!(data, "open for writing by {writer}: what was appended meanwhile is not covered")?;
    }
    Ok(())
}
