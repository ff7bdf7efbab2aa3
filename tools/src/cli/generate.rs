//! `seqcast gen`: makes a trading day and writes it as a day file or as a capture.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::Context;
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use seqcast_engine::limits::ETHERNET_PAYLOAD_BYTES;
use seqcast_wire::mold::{self, Packer};
use seqcast_wire::net::UdpDatagram;
use seqcast_wire::{SeqNo, Session};
use serde::Serialize;

use super::Verdict;
use crate::day::{Day, DayConfig, Written, write_records};
use crate::input::itch_time_ns;
use crate::output::{Output, UsageError, grouped, say, sized};
use crate::pcapng::PcapngWriter;

/// Midnight in New York, 2024-01-02, ns since the Unix epoch: the captured day's date.
const MIDNIGHT_NS: u64 = 1_704_171_600_000_000_000;
/// A datagram leaves when it is full, or this long after its first message.
const PACKING_NS: u64 = 20_000;
/// Addresses for documentation (RFC 5737, RFC 6676).
const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 30_000);
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(233, 252, 0, 1), 30_001);
/// The end of the session is said more than once, since datagrams get lost.
const ENDS_OF_SESSION: u64 = 3;
const SECOND_NS: u64 = 1_000_000_000;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// File to write; an existing one is replaced
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Messages in the whole day
    #[arg(long, short = 'n', default_value_t = 1_000_000)]
    messages: u64,
    /// Stocks [default: 8000, fewer in a day of less than 512,000 messages]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    symbols: Option<u16>,
    /// The same seed gives the same bytes everywhere
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Live orders to build up to by the end [default: 3.92 % of the messages, at most 1.6 million]
    #[arg(long)]
    live_orders: Option<u32>,
    /// Order references scattered over 64 bits instead of growing ones
    #[arg(long)]
    sparse_references: bool,
    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Itch)]
    format: Format,
    /// MoldUDP64 session of a capture
    #[arg(long, default_value = "SEQCAST001")]
    session: Session,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// BinaryFILE: per message a 16-bit length and its bytes
    Itch,
    /// A capture of the MoldUDP64 datagrams of a multicast feed
    Pcapng,
}

#[derive(Serialize)]
struct Summary {
    file: String,
    format: Format,
    seed: u64,
    symbols: u16,
    sparse_references: bool,
    messages: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    datagrams: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    live_orders: usize,
    most_active: Vec<String>,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let usual_symbols = (args.messages / 64).clamp(1, 8_000) as u16;
    let config = DayConfig {
        seed: args.seed,
        symbols: args.symbols.unwrap_or(usual_symbols),
        messages: args.messages,
        live_orders: args.live_orders,
        sparse_references: args.sparse_references,
    };
    let mut day = Day::new(config).map_err(|error| UsageError(error.to_string()))?;
    let progress = progress(args.messages);
    let written = write(args, &mut day, &progress);
    progress.finish_and_clear();
    let (written, datagrams) = written
        .with_context(|| format!("cannot write {}; what is there is incomplete", args.out.display()))?;
    let summary = Summary {
        file: args.out.display().to_string(),
        format: args.format,
        seed: args.seed,
        symbols: day.config().symbols,
        sparse_references: args.sparse_references,
        messages: written.messages,
        bytes: written.bytes,
        datagrams,
        session: datagrams.map(|_| args.session.to_string()),
        live_orders: day.live_orders(),
        most_active: day.most_active().take(5).map(|stock| stock.to_string()).collect(),
    };
    if output.json {
        output.print(&summary, |_| Ok(()))?;
    } else {
        say(describe(&summary));
    }
    Ok(Verdict::Good)
}

fn describe(summary: &Summary) -> String {
    let datagrams = summary.datagrams.map_or_else(String::new, |n| format!(" in {} datagrams", grouped(n)));
    format!(
        "wrote {} messages{datagrams} of {} symbols ({}) to {}; {} orders live at the end; most active: {}",
        grouped(summary.messages),
        grouped(summary.symbols.into()),
        sized(summary.bytes),
        summary.file,
        grouped(summary.live_orders as u64),
        summary.most_active.join(", "),
    )
}

/// Hidden unless standard error is a terminal.
fn progress(messages: u64) -> ProgressBar {
    let style = "{bar:40} {human_pos}/{human_len} messages, {eta} left";
    let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(messages).with_style(style)
}

fn write(args: &Args, day: &mut Day, progress: &ProgressBar) -> io::Result<(Written, Option<u64>)> {
    const STEP: u64 = 1 << 16;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(&args.out)?);
    if args.format == Format::Pcapng {
        let (written, datagrams) = write_capture(day, out, args.session, progress)?;
        return Ok((written, Some(datagrams)));
    }
    let mut written = Written::default();
    while write_records(day, &mut out, STEP, &mut written)? {
        progress.set_position(written.messages);
    }
    out.flush()?;
    Ok((written, None))
}

/// Packs the day into datagrams as a publisher does who waits a moment for more, and stamps each with the time of its
/// last message.
fn write_capture(
    day: &mut Day,
    out: impl Write,
    session: Session,
    progress: &ProgressBar,
) -> io::Result<(Written, u64)> {
    let mut capture = PcapngWriter::new(out)?;
    let mut buffer = [0; ETHERNET_PAYLOAD_BYTES];
    let mut put = |stamp_ns, payload: &[u8]| {
        capture.write(MIDNIGHT_NS + stamp_ns, &UdpDatagram { source: SENDER, destination: GROUP, payload })
    };
    let (mut next, mut stamp_ns, mut datagrams) = (SeqNo::FIRST, 0, 0);
    let mut message = day.next_message();
    while let Some(first) = message {
        let mut packer = Packer::new(&mut buffer, session, next).map_err(io::Error::other)?;
        let opened_ns = itch_time_ns(first).unwrap_or(stamp_ns);
        let mut candidate = Some(first);
        while let Some(bytes) = candidate {
            let ns = itch_time_ns(bytes).unwrap_or(opened_ns);
            if ns > opened_ns + PACKING_NS || !packer.try_push(bytes) {
                break;
            }
            stamp_ns = ns;
            candidate = day.next_message();
        }
        message = candidate;
        next = packer.next();
        let bytes = packer.finish();
        put(stamp_ns, &buffer[..bytes])?;
        datagrams += 1;
        progress.set_position(next.value() - 1);
    }
    for _ in 0..ENDS_OF_SESSION {
        stamp_ns += SECOND_NS;
        let bytes = mold::emit_end_of_session(&mut buffer, session, next);
        put(stamp_ns, &buffer[..bytes])?;
    }
    let bytes = capture.finish()?;
    Ok((Written { messages: next.value() - 1, bytes }, datagrams + ENDS_OF_SESSION))
}
