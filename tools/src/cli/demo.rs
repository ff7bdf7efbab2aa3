//! `seqcast demo`: the whole path in one process, on loopback, with faults injected, and a verdict.
//!
//! Two publishers divide an order flow by stock; a sequencer puts their feeds into one order, journals it and publishes
//! it on lines A and B; one subscriber follows from the start, another joins late by snapshot. Every receiver loses,
//! repeats and reorders datagrams on every line. At the end all books must equal the source's.

mod replica;
mod report;
mod setup;

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use seqcast_engine::runtime::RunnerReport;
use seqcast_engine::stat::Counters;
use seqcast_engine::topology::Running;

use self::setup::Stage;
use super::Verdict;
use super::process;
use crate::output::{Output, grouped, say};

/// How often the demo looks how far it is.
const LOOK: Duration = Duration::from_millis(100);
/// A feed that makes no progress for this long will make none.
const STUCK: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Day file (BinaryFILE) or capture to replay [default: the built-in generator]
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Messages to generate
    #[arg(long, short = 'n', default_value_t = 400_000, conflicts_with = "file")]
    messages: u64,
    /// Stocks to generate
    #[arg(long, default_value_t = 1_000, conflicts_with = "file", value_parser = clap::value_parser!(u16).range(1..))]
    symbols: u16,
    /// Seed of the generator and of the faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Messages a second, of both publishers together, each at its time
    #[arg(long, default_value = "40000")]
    rate: NonZeroU64,
    /// Part of the datagrams that every receiver loses, on each line for itself
    #[arg(long, default_value_t = 0.01)]
    loss: f64,
    /// Part of the datagrams that every receiver gets twice
    #[arg(long, default_value_t = 0.001)]
    duplicate: f64,
    /// Part of the datagrams that later ones pass
    #[arg(long, default_value_t = 0.001)]
    reorder: f64,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    process::talk();
    let stop = process::stop_on_signals()?;
    say("building the books of the source, to compare with");
    let source = setup::source(args)?;
    let mut stage = Stage::new(args, &source)?;
    stage.notices().iter().for_each(say);
    let bar = progress_bar(source.messages);
    let began = Instant::now();
    let mut running = vec![stage.launch(&stop)?];
    let (mut seen, mut seen_at) = (0, Instant::now());
    while !running[0].is_finished() && !stop.is_set() {
        std::thread::sleep(LOOK);
        let far = Progress::of(stage.counters());
        bar.set_position(far.published);
        bar.set_message(far.to_string());
        if far.published * 5 >= source.messages * 2 && running.len() == 1 {
            running.push(stage.launch_late(&stop)?);
        }
        if far.moving() > seen {
            (seen, seen_at) = (far.moving(), Instant::now());
        }
        if seen_at.elapsed() > STUCK {
            stop.set();
        }
    }
    let took = began.elapsed();
    bar.finish_and_clear();
    // The late joiner's cold threads last: its data path ran beside the first subscriber's.
    let reports: Vec<RunnerReport> = running.into_iter().flat_map(Running::stop).collect();
    let failures: Vec<_> =
        reports.iter().filter(|report| report.outcome.is_failure()).map(ToString::to_string).collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    let report = report::Report::new(&source, &stage, took);
    output.print(&report, |data| report.write_text(data))?;
    Ok(if report.is_good() { Verdict::Good } else { Verdict::Bad })
}

fn progress_bar(messages: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
    let bar = ProgressBar::new(messages);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}

/// How far everything is.
struct Progress {
    published: u64,
    early: u64,
    late: u64,
    gaps: u64,
}

impl Progress {
    fn of(counters: &Counters) -> Progress {
        let readings = counters.readings();
        let value =
            |label: &str| readings.iter().find(|counter| counter.label == label).map_or(0, |c| c.value);
        Progress {
            published: value("seqcast_sequencer_published").saturating_sub(1),
            early: value("seqcast_books_applied_messages_total{node=\"early\"}"),
            late: value("seqcast_books_next{node=\"late\"}").saturating_sub(1),
            gaps: readings.iter().filter(|c| c.label.contains("gaps_found_total")).map(|c| c.value).sum(),
        }
    }

    fn moving(&self) -> u64 {
        self.published + self.early + self.late
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "published {}, in the first subscriber's books {}",
            grouped(self.published),
            grouped(self.early)
        )?;
        if self.late > 0 {
            write!(f, ", in the late joiner's {}", grouped(self.late))?;
        }
        write!(f, "; gaps found {}", grouped(self.gaps))
    }
}
