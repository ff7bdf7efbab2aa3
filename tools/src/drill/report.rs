//! What drills found, for people and for programs.

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use seqcast_engine::stat::Latency;
use seqcast_engine::time::Nanos;
use serde::Serialize;

use super::timeline::{Act, Latencies, Outage, Phases, TimedEvent};
use crate::output::grouped;

/// All drills that were run.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) passed: bool,
    pub(crate) nodes: usize,
    pub(crate) coordinator: &'static str,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    pub(crate) messages_per_s: u64,
    pub(crate) network: String,
    pub(crate) drills: Vec<DrillReport>,
}

/// One drill, with all its repetitions.
#[derive(Serialize)]
pub(crate) struct DrillReport {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Why it was not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
    /// What each fault meant, over all repetitions.
    pub(crate) faults: Vec<Distributions>,
    pub(crate) runs: Vec<RunReport>,
}

/// One repetition.
#[derive(Serialize)]
pub(crate) struct RunReport {
    pub(crate) passed: bool,
    /// What was wrong.
    pub(crate) problems: Vec<String>,
    pub(crate) messages: u64,
    pub(crate) epochs: u64,
    pub(crate) seconds: f64,
    /// How long messages took before the first fault, and the longest time without any then.
    pub(crate) calm: Latencies,
    pub(crate) calm_gap_ns: u64,
    /// What was done, and what came of it.
    pub(crate) acts: Vec<Act>,
    /// Where everything is that it left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dir: Option<String>,
}

/// A fault over all repetitions.
#[derive(Serialize)]
pub(crate) struct Distributions {
    pub(crate) what: String,
    /// Of every subscriber in every repetition.
    pub(crate) subscriber_outage: Distribution,
    /// Of every publisher in every repetition.
    pub(crate) publisher_outage: Distribution,
    pub(crate) detection: Distribution,
    pub(crate) swap: Distribution,
    pub(crate) catch_up: Distribution,
    pub(crate) first_event: Distribution,
    pub(crate) total: Distribution,
}

/// Percentiles of a time, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p90_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) max_ns: u64,
}

impl Distribution {
    fn of(values: impl Iterator<Item = u64>) -> Distribution {
        let mut latency = Latency::new();
        values.for_each(|value| latency.record(Nanos(value)));
        let found = latency.percentiles();
        let (p50_ns, p90_ns, p99_ns, max_ns) = (found.p50.0, found.p90.0, found.p99.0, found.max.0);
        Distribution { count: found.count, p50_ns, p90_ns, p99_ns, max_ns }
    }

    fn cells(&self) -> [String; 3] {
        match self.count {
            0 => ["-", "-", "-"].map(str::to_owned),
            _ => [self.p50_ns, self.p99_ns, self.max_ns].map(|ns| Nanos(ns).to_string()),
        }
    }

    fn median(&self) -> String {
        if self.count == 0 { "-".into() } else { Nanos(self.p50_ns).to_string() }
    }
}

impl DrillReport {
    /// Whether it was run and nothing was wrong, or could not be run here.
    pub(crate) fn is_good(&self) -> bool {
        self.skipped.is_some() || (!self.runs.is_empty() && self.runs.iter().all(|run| run.passed))
    }

    /// Sums the repetitions up.
    pub(crate) fn sum_up(&mut self) {
        let most = self.runs.iter().map(|run| run.faults().count()).max().unwrap_or(0);
        self.faults = (0..most).map(|at| distributions(&self.runs, at)).collect();
    }

    fn verdict(&self) -> String {
        let failed = self.runs.iter().filter(|run| !run.passed).count();
        match (&self.skipped, failed) {
            (Some(_), _) => "left out".into(),
            (None, 0) => "passed".into(),
            (None, failed) => format!("FAILED {failed} of {}", self.runs.len()),
        }
    }
}

impl RunReport {
    fn faults(&self) -> impl Iterator<Item = &Act> {
        self.acts.iter().filter(|act| act.fault)
    }
}

/// The fault at place `at` of every run.
fn distributions(runs: &[RunReport], at: usize) -> Distributions {
    let faults = || runs.iter().filter_map(|run| run.faults().nth(at));
    let outages =
        |of: fn(&Act) -> &Vec<Outage>| Distribution::of(faults().flat_map(of).map(|outage| outage.outage_ns));
    let phase =
        |of: fn(&Phases) -> Option<u64>| Distribution::of(faults().filter_map(|fault| of(&fault.phases)));
    // Another node may be the primary in every repetition.
    let what = faults().next().map_or_else(String::new, |fault| fault.what.clone());
    Distributions {
        what,
        subscriber_outage: outages(|fault| &fault.subscribers),
        publisher_outage: outages(|fault| &fault.publishers),
        detection: phase(|phases| phases.detection_ns),
        swap: phase(|phases| phases.swap_ns),
        catch_up: phase(|phases| phases.catch_up_ns),
        first_event: phase(|phases| phases.first_event_ns),
        total: phase(|phases| phases.total_ns),
    }
}

impl Report {
    /// For people.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "{} nodes, coordinator {}, {} publishers, {} subscribers, {} messages a second, on {}",
            self.nodes,
            self.coordinator,
            self.publishers,
            self.subscribers,
            grouped(self.messages_per_s),
            self.network
        )?;
        for drill in &self.drills {
            if let [run] = &drill.runs[..]
                && run.messages > 0
            {
                write_run(drill.name, run, out)?;
            }
        }
        writeln!(out, "{}", self.table())?;
        for drill in &self.drills {
            for (at, run) in drill.runs.iter().enumerate().filter(|(_, run)| !run.passed) {
                for problem in &run.problems {
                    writeln!(out, "{} {}: {problem}", drill.name, at + 1)?;
                }
                if let Some(dir) = &run.dir {
                    writeln!(out, "{} {}: everything that it left is in {dir}", drill.name, at + 1)?;
                }
            }
            if let Some(why) = &drill.skipped {
                writeln!(out, "{} was left out: {why}", drill.name)?;
            }
        }
        writeln!(out, "verdict: {}", if self.passed { "passed" } else { "FAILED" })
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([
            "drill",
            "verdict",
            "runs",
            "messages",
            "fault",
            "silence at subscribers p50",
            "p99",
            "max",
            "at publishers p50",
            "p99",
            "max",
            "detection",
            "swap",
            "catch-up",
            "first event",
        ]);
        for drill in &self.drills {
            let messages: u64 = drill.runs.iter().map(|run| run.messages).sum();
            let mut row: Vec<String> =
                vec![drill.name.into(), drill.verdict(), drill.runs.len().to_string(), grouped(messages)];
            if drill.faults.is_empty() {
                table.add_row(row.clone());
            }
            for fault in &drill.faults {
                row.push(fault.what.clone());
                row.extend(fault.subscriber_outage.cells());
                row.extend(fault.publisher_outage.cells());
                let Distributions { detection, swap, catch_up, first_event, .. } = fault;
                row.extend([detection, swap, catch_up, first_event].map(Distribution::median));
                table.add_row(std::mem::replace(&mut row, vec![String::new(); 4]));
            }
        }
        table
    }
}

fn write_run(name: &str, run: &RunReport, out: &mut impl Write) -> io::Result<()> {
    let Latencies { p50_ns, p99_ns, .. } = run.calm;
    writeln!(
        out,
        "\n{name}: {} messages in {:.1} s, {} epochs; before the first fault: due to seen p50 {}, p99 {}, longest silence {}",
        grouped(run.messages),
        run.seconds,
        run.epochs,
        Nanos(p50_ns),
        Nanos(p99_ns),
        Nanos(run.calm_gap_ns)
    )?;
    for act in &run.acts {
        writeln!(out, "  {}", act.what)?;
        for TimedEvent { after_ns, node, what } in &act.events {
            let node = node.as_deref().unwrap_or("drill");
            writeln!(out, "    {:>12}  {node}: {what}", after(*after_ns))?;
        }
        for outage in act.subscribers.iter().chain(&act.publishers) {
            let Outage { who, outage_ns, last_before_ns, first_after_ns, new_epoch_ns } = outage;
            write!(
                out,
                "    {who}: nothing for {} (last {}, next {})",
                Nanos(*outage_ns),
                after(*last_before_ns),
                after(*first_after_ns)
            )?;
            match new_epoch_ns {
                Some(new_epoch_ns) => writeln!(out, ", first of the new epoch {}", after(*new_epoch_ns))?,
                None => writeln!(out)?,
            }
        }
    }
    Ok(())
}

fn after(ns: i64) -> String {
    let sign = if ns < 0 { '-' } else { '+' };
    format!("{sign}{}", Nanos(ns.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(passed: bool, outage_ns: u64) -> RunReport {
        let outage = |who: &str| Outage {
            who: who.into(),
            outage_ns,
            last_before_ns: -5,
            first_after_ns: outage_ns as i64 - 5,
            new_epoch_ns: Some(outage_ns as i64),
        };
        let phases = Phases { detection_ns: Some(outage_ns / 10), ..Phases::default() };
        let events = vec![TimedEvent { after_ns: 0, node: None, what: "kill -9 n1".into() }];
        let (subscribers, publishers) = (vec![outage("sub1"), outage("sub2")], vec![outage("pub1")]);
        let fault =
            Act { what: "kill -9 n1".into(), fault: true, at_ns: 1, events, phases, subscribers, publishers };
        RunReport {
            passed,
            problems: if passed { Vec::new() } else { vec!["sub1 lost 3 messages".into()] },
            messages: 12_345,
            epochs: 2,
            seconds: 1.5,
            calm: Latencies::default(),
            calm_gap_ns: 0,
            acts: vec![fault],
            dir: (!passed).then(|| "/somewhere".into()),
        }
    }

    fn report(runs: Vec<RunReport>) -> Report {
        let mut drill = DrillReport { name: "kill", about: "", skipped: None, faults: Vec::new(), runs };
        drill.sum_up();
        let skipped = DrillReport {
            name: "cut",
            about: "",
            skipped: Some("no network".into()),
            faults: Vec::new(),
            runs: Vec::new(),
        };
        Report {
            passed: drill.is_good() && skipped.is_good(),
            nodes: 3,
            coordinator: "file",
            publishers: 2,
            subscribers: 2,
            messages_per_s: 1_000,
            network: "wires".into(),
            drills: vec![drill, skipped],
        }
    }

    fn text(report: &Report) -> String {
        let mut out = Vec::new();
        report.write_text(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn repetitions_become_a_distribution() {
        let report = report((1..=100).map(|at| run(true, at * 1_000_000)).collect());
        let [fault] = &report.drills[0].faults[..] else { panic!("one fault") };
        let Distribution { count, p50_ns, p99_ns, max_ns, .. } = fault.subscriber_outage;
        assert_eq!(count, 200, "every subscriber of every repetition");
        for (found, expected) in [(p50_ns, 50), (p99_ns, 99), (max_ns, 100)] {
            assert!(
                found.abs_diff(expected * 1_000_000) <= expected * 1_000,
                "{found}: exact to three digits"
            );
        }
        assert_eq!(fault.detection.count, 100);
        assert_eq!(fault.swap, Distribution::default());
        let text = text(&report);
        assert!(text.contains("verdict: passed") && text.contains("cut was left out: no network"), "{text}");
        assert!(!text.contains("sub1: nothing"), "a hundred runs are not told one by one");
    }

    #[test]
    fn one_run_is_told_in_full_and_a_failure_with_its_reasons() {
        let report = report(vec![run(false, 3_000_000)]);
        assert!(!report.passed);
        let text = text(&report);
        for expected in
            ["sub1: nothing for 3.00 ms", "FAILED 1 of 1", "lost 3 messages", "/somewhere", "verdict: FAILED"]
        {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
    }
}
