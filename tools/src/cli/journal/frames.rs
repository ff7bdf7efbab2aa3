use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use seqcast_engine::frame::{Frame, Kind};
use seqcast_engine::io::store::FileReadStore;
use seqcast_engine::journal::Follower;
use seqcast_wire::SeqNo;
use serde::Serialize;

use super::{Frames, Span, Verdict};
use crate::output::{Data, Output};
use crate::view::{Described, Hex};

/// How often the end of a journal is looked at for more.
const POLL: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub(super) struct DumpArgs {
    /// The journal's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    span: Span,
    /// How to print what a frame holds
    #[arg(long, value_enum, default_value_t)]
    payload: Form,
}

#[derive(clap::Args)]
pub(super) struct TailArgs {
    /// The journal's directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Number of the first frame [default: what is appended next]
    #[arg(long, value_name = "SEQ", value_parser = super::parse_seq)]
    from: Option<SeqNo>,
    /// End after so many frames [default: with the session]
    #[arg(long, short = 'n', value_name = "N")]
    count: Option<u64>,
    /// How to print what a frame holds
    #[arg(long, value_enum, default_value_t)]
    payload: Form,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// ITCH with all fields; hexadecimal where it is none
    #[default]
    Itch,
    /// Hexadecimal
    Hex,
    /// Not at all
    None,
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    kind: &'static str,
    epoch: u64,
    stamp_ns: u64,
    #[serde(flatten)]
    origin: Option<Origin>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload<'a>>,
}

/// Who sent a message.
#[derive(Serialize)]
struct Origin {
    source: u16,
    source_session: String,
    source_seq: u64,
    bytes: usize,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Itch(Described<'a>),
    Hex(Hex<'a>),
}

impl fmt::Display for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Itch(described) => described.fmt(f),
            Payload::Hex(hex) => hex.fmt(f),
        }
    }
}

impl<'a> Line<'a> {
    fn new(frame: &Frame<'a>, form: Form) -> Line<'a> {
        let (header, payload) = (frame.header(), frame.payload());
        let is_message = frame.kind() == Kind::Message;
        let origin = Origin {
            source: header.source.get(),
            source_session: header.source_session.to_string(),
            source_seq: header.source_seq.get(),
            bytes: payload.len(),
        };
        let payload = match form {
            Form::Itch => Some(Payload::Itch(Described(payload))),
            Form::Hex => Some(Payload::Hex(Hex(payload))),
            Form::None => None,
        };
        Line {
            seq: frame.seq().value(),
            kind: if is_message { "message" } else { "end" },
            epoch: header.epoch.get(),
            stamp_ns: header.stamp_ns.get(),
            origin: is_message.then_some(origin),
            payload: payload.filter(|_| is_message),
        }
    }

    fn write_text(&self, data: &mut Data) -> io::Result<()> {
        let Line { seq, kind, epoch, stamp_ns, origin, payload } = self;
        let (s, ns) = (stamp_ns / 1_000_000_000, stamp_ns % 1_000_000_000);
        write!(data, "{seq} {kind} epoch {epoch} at {s}.{ns:09}")?;
        if let Some(Origin { source, source_session, source_seq, bytes }) = origin {
            write!(data, " source {source} {source_session} {source_seq} {bytes} bytes")?;
        }
        match payload {
            Some(payload) => writeln!(data, ": {payload}"),
            None => writeln!(data),
        }
    }
}

/// Prints the frames there are now.
fn print(frames: &mut Frames, form: Form, data: &mut Data, output: Output) -> anyhow::Result<()> {
    while let Some(frame) = frames.next()? {
        let line = Line::new(&frame, form);
        if output.json {
            data.json_line(&line)?;
        } else {
            line.write_text(data)?;
        }
    }
    data.flush()?;
    Ok(())
}

pub(super) fn dump(args: &DumpArgs, output: Output) -> anyhow::Result<Verdict> {
    let mut frames = Frames::open(&args.dir, &args.span)?;
    print(&mut frames, args.payload, &mut Data::new(), output)?;
    Ok(frames.finish())
}

pub(super) fn tail(args: &TailArgs, output: Output) -> anyhow::Result<Verdict> {
    let from = match args.from {
        Some(from) => from,
        None => next_of(FileReadStore::open(&args.dir)?)?,
    };
    let span = Span { from: Some(from), count: args.count };
    let mut frames = Frames { is_live: true, ..Frames::open(&args.dir, &span)? };
    let mut data = Data::new();
    loop {
        print(&mut frames, args.payload, &mut data, output)?;
        if frames.is_done() {
            return Ok(frames.finish());
        }
        thread::sleep(POLL);
    }
}

/// The number that comes next in a journal: its last segment tells.
fn next_of(store: FileReadStore) -> anyhow::Result<SeqNo> {
    let mut last = Follower::open(store, Some(SeqNo::MAX))?;
    while last.next_frame()?.is_some() {}
    Ok(last.chain().next())
}
