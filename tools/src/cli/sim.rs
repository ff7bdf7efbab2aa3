//! `seqcast sim`: worlds of publishers, sequencers and subscribers under faults, one a seed, each judged to the end.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use seqcast_engine::sim::{self, FaultClass, Injected, Report};
use serde::Serialize;

use super::Verdict;
use crate::output::{Data, Output, grouped};

/// Violations that are listed; more are only counted.
const LISTED: usize = 100;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run the world of this seed alone
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from", "time", "jobs"])]
    seed: Option<u64>,
    /// Print every event of it, one a line
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run that many seeds
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    seeds: u64,
    /// The first of them
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Run seeds for that long, however many these are: 90s, 10m, 2h
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "seeds")]
    time: Option<Duration>,
    /// Worlds at a time, one a thread [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    match args.seed {
        Some(seed) => run_one(seed, args.trace, output),
        None => run_many(args, output),
    }
}

/// What became of one seed.
#[derive(Serialize)]
struct One {
    seed: u64,
    violation: Option<String>,
    messages: u64,
    virtual_ns: u64,
    turns: u64,
    events: u64,
    trace_hash: String,
    faults: Vec<Class>,
}

/// A class of faults.
#[derive(Serialize)]
struct Class {
    name: &'static str,
    faults: u64,
    seeds: u64,
}

fn run_one(seed: u64, trace: bool, output: Output) -> anyhow::Result<Verdict> {
    let report = match trace {
        true => sim::run_traced(seed, printer(output.json)),
        false => sim::run(seed),
    };
    let mut tally = Tally::default();
    tally.add(&report);
    let one = One {
        seed,
        violation: report.violation.as_ref().map(ToString::to_string),
        messages: report.messages,
        virtual_ns: report.virtual_time.0,
        turns: report.turns,
        events: report.events,
        trace_hash: format!("{:016x}", report.trace_hash),
        faults: tally.classes().into_iter().filter(|class| class.faults > 0).collect(),
    };
    output.print(&one, |out| {
        writeln!(
            out,
            "seed {seed}: {} messages in {} of the world's time, {} events, trace {}",
            grouped(one.messages),
            report.virtual_time,
            grouped(one.events),
            one.trace_hash
        )?;
        for class in &one.faults {
            writeln!(out, "  {:20} {:>9}", class.name, grouped(class.faults))?;
        }
        match &one.violation {
            Some(what) => writeln!(out, "VIOLATION  {what}"),
            None => writeln!(out, "no violation"),
        }
    })?;
    Ok(if report.violation.is_some() { Verdict::Bad } else { Verdict::Good })
}

/// Prints the lines of a trace. Whoever closes standard output has seen enough: the world still runs to its end.
fn printer(json: bool) -> impl FnMut(&str) + Send + 'static {
    let mut out = Data::new();
    move |line| {
        let _ = if json { out.json_line(&line) } else { writeln!(out, "{line}") };
    }
}

/// What became of many seeds.
#[derive(Serialize)]
struct Summary {
    from: u64,
    seeds: u64,
    violations: u64,
    listed: Vec<Listed>,
    messages: u64,
    turns: u64,
    virtual_s: f64,
    seconds: f64,
    classes: Vec<Class>,
    never_injected: Vec<&'static str>,
}

/// A seed that ended badly.
#[derive(Serialize)]
struct Listed {
    seed: u64,
    violation: String,
    replay: String,
}

#[derive(Default)]
struct Tally {
    seeds: u64,
    injected: Injected,
    /// Seeds in which each class occurred, in the order of the classes.
    occurred: Vec<u64>,
    messages: u64,
    turns: u64,
    virtual_ns: u64,
    violations: u64,
    listed: Vec<Listed>,
}

impl Tally {
    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.injected.merge(&report.injected);
        self.occurred.resize(FaultClass::ALL.len(), 0);
        for (seeds, (_, count)) in self.occurred.iter_mut().zip(report.injected.iter()) {
            *seeds += u64::from(count > 0);
        }
        self.messages += report.messages;
        self.turns += report.turns;
        self.virtual_ns += report.virtual_time.0;
        if let Some(violation) = &report.violation {
            self.violations += 1;
            if self.listed.len() < LISTED {
                let seed = report.seed;
                let replay = format!("seqcast sim --seed {seed} --trace");
                self.listed.push(Listed { seed, violation: violation.to_string(), replay });
            }
        }
    }

    fn classes(&self) -> Vec<Class> {
        let counts = self.injected.iter().zip(&self.occurred);
        counts.map(|((class, faults), &seeds)| Class { name: class.name(), faults, seeds }).collect()
    }
}

fn run_many(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let began = Instant::now();
    let tally = race(args, began);
    let classes = tally.classes();
    let never_injected: Vec<_> =
        classes.iter().filter(|class| class.faults == 0).map(|class| class.name).collect();
    let mut listed = tally.listed;
    listed.sort_by_key(|listed| listed.seed);
    let summary = Summary {
        from: args.from,
        seeds: tally.seeds,
        violations: tally.violations,
        listed,
        messages: tally.messages,
        turns: tally.turns,
        virtual_s: tally.virtual_ns as f64 / 1e9,
        seconds: began.elapsed().as_secs_f64(),
        classes,
        never_injected,
    };
    output.print(&summary, |out| summary.write_text(out))?;
    let is_good = summary.violations == 0 && summary.never_injected.is_empty();
    Ok(if is_good { Verdict::Good } else { Verdict::Bad })
}

/// Runs the seeds on all threads.
fn race(args: &Args, began: Instant) -> Tally {
    let next = AtomicU64::new(args.from);
    let over = AtomicBool::new(false);
    let end = args.time.map_or(args.from.saturating_add(args.seeds), |_| u64::MAX);
    let jobs =
        args.jobs.map_or_else(|| thread::available_parallelism().map_or(1, NonZero::get), NonZero::get);
    let bar = progress(args);
    let mut tally = Tally::default();
    let (sender, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, next, over) = (sender.clone(), &next, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || sender.send(sim::run(seed)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for report in reports {
            if let Some(violation) = &report.violation {
                let seed = report.seed;
                bar.suspend(|| eprintln!("seed {seed}: {violation}; seqcast sim --seed {seed} --trace"));
            }
            tally.add(&report);
            let done = if args.time.is_some() { began.elapsed().as_secs() } else { tally.seeds };
            bar.set_position(done);
            bar.set_message(format!("{} seeds, {} violations", grouped(tally.seeds), tally.violations));
            if args.time.is_some_and(|time| began.elapsed() >= time) {
                over.store(true, Ordering::Relaxed);
            }
        }
    });
    bar.finish_and_clear();
    tally
}

fn progress(args: &Args) -> ProgressBar {
    let bar = ProgressBar::new(args.time.map_or(args.seeds, |time| time.as_secs()));
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed_precise}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

impl Summary {
    fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["fault", "injected", "in seeds"]);
        for class in &self.classes {
            table.add_row([class.name.to_owned(), grouped(class.faults), grouped(class.seeds)]);
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        writeln!(out, "{table}\n")?;
        for listed in &self.listed {
            writeln!(out, "seed {}: {}\n  {}", listed.seed, listed.violation, listed.replay)?;
        }
        writeln!(
            out,
            "{} seeds from {}: {} messages, {} turns, {:.0} s of the world's time in {:.1} s ({:.0} seeds/s)",
            grouped(self.seeds),
            self.from,
            grouped(self.messages),
            grouped(self.turns),
            self.virtual_s,
            self.seconds,
            self.seeds as f64 / self.seconds
        )?;
        if !self.never_injected.is_empty() {
            writeln!(out, "never injected: {}: run more seeds", self.never_injected.join(", "))?;
        }
        writeln!(out, "verdict: {} violations", grouped(self.violations))
    }
}

/// `90s`, `10m`, `2h`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let scale = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3_600,
        _ => 0,
    };
    let number = text.get(..text.len().saturating_sub(1)).and_then(|number| number.parse::<u64>().ok());
    match number.and_then(|number| number.checked_mul(scale)).filter(|&seconds| seconds > 0) {
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err("write a number with a unit, such as 90s, 10m or 2h".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7_200)] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)));
        }
        for text in
            ["", "m", "0s", "10", "1.5h", "-1s", "10µ", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_class_that_never_occurred_is_known() {
        let mut tally = Tally::default();
        tally.add(&sim::run(1));
        let (seen, classes) = (tally.injected, tally.classes());
        assert_eq!(classes.len(), FaultClass::ALL.len());
        for class in FaultClass::ALL {
            assert_eq!(classes[*class as usize].seeds, u64::from(seen.of(*class) > 0));
        }
    }
}
