//! `seqcast stats`: counts what files hold.

mod report;
mod sessions;
mod tally;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use seqcast_engine::io::pcap::CaptureReader;
use seqcast_wire::mold::{self, Downstream};
use seqcast_wire::{Error, SeqNo};

use self::report::{FileReport, Report};
use super::Verdict;
use crate::input::{self, BinaryFile, Kind};
use crate::output::{Output, say};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Day files (BinaryFILE), pcap and pcapng captures, or directories of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Fail (exit code 1) on gaps and malformed messages
    #[arg(long)]
    strict: bool,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let files = input::files(&args.files)?;
    let mut reports = Vec::with_capacity(files.len());
    let mut incomplete = false;
    for path in &files {
        match survey(path) {
            Ok(report) => {
                if let Some(damage) = &report.damage {
                    say(damage);
                    incomplete = true;
                }
                reports.push(report);
            }
            // With several files, one that cannot be read does not hide what the others hold.
            Err(error) if files.len() > 1 => {
                say(format_args!("{error:#}"));
                incomplete = true;
            }
            Err(error) => return Err(error),
        }
    }
    let report = Report::new(&reports);
    output.print(&report, |data| report.write_text(data))?;
    Ok(match (incomplete, args.strict && report.is_bad()) {
        (true, _) => Verdict::Incomplete,
        (false, true) => Verdict::Bad,
        (false, false) => Verdict::Good,
    })
}

fn survey(path: &Path) -> anyhow::Result<FileReport> {
    match Kind::of(path)? {
        Kind::BinaryFile => survey_binary_file(path),
        Kind::Capture => survey_capture(path),
    }
}

fn survey_binary_file(path: &Path) -> anyhow::Result<FileReport> {
    let context = || format!("cannot read {}", path.display());
    let mut report = FileReport::new(path, "BinaryFILE");
    let mut file = BinaryFile::open(path).with_context(context)?;
    while let Some(records) = file.next_records().with_context(context)? {
        for message in records.flatten() {
            report.tally.on_message(message);
        }
    }
    report.damage = file.damage().map(str::to_owned);
    Ok(report)
}

fn survey_capture(path: &Path) -> anyhow::Result<FileReport> {
    let mut report = FileReport::new(path, "capture");
    let mut capture = CaptureReader::open(path)?;
    loop {
        match capture.next_datagram() {
            Ok(Some(datagram)) => {
                report.captured.on_datagram(datagram.stamp_ns);
                on_payload(&mut report, datagram.payload);
            }
            Ok(None) => break,
            Err(damage) => {
                report.damage = Some(damage.to_string());
                break;
            }
        }
    }
    report.captured.skip(capture.packets(), capture.skipped());
    Ok(report)
}

/// A datagram counts as MoldUDP64 when it is one to its last byte; a request, by its length, is told apart.
fn on_payload(report: &mut FileReport, payload: &[u8]) {
    match Downstream::parse(payload) {
        Ok(datagram) => report.sessions.on_datagram(&datagram, |message| report.tally.on_message(message)),
        Err(_) if mold::Request::parse(payload).is_ok() => report.captured.requests += 1,
        Err(error) => {
            let unnumbered = error == Error::SeqNo && on_unnumbered(report, payload);
            *if unnumbered { &mut report.captured.unnumbered } else { &mut report.captured.not_mold } += 1;
        }
    }
}

/// Published captures are often scrubbed: number 0, blank session, and the messages as they were.
fn on_unnumbered(report: &mut FileReport, payload: &[u8]) -> bool {
    const NUMBER: Range<usize> = 10..18;
    if payload[NUMBER] != [0; NUMBER.end - NUMBER.start] {
        return false;
    }
    let mut numbered = payload.to_vec();
    numbered[NUMBER].copy_from_slice(&SeqNo::FIRST.value().to_be_bytes());
    let Ok(datagram) = Downstream::parse(&numbered) else { return false };
    datagram.messages().for_each(|message| report.tally.on_message(message));
    matches!(datagram.kind(), mold::Kind::Data(_))
}
