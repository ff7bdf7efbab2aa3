//! Failover drills: real processes, real faults, and a verdict.
//!
//! A [`Scenario`] is data: steps that are done to the nodes of a cluster while publishers publish at a fixed rate and
//! subscribers receive. Every process is this program; what each saw of every message is [traced](crate::trace). After
//! the end the journals and traces are compared ([`verify`]): nothing lost, nothing repeated, nothing reordered, equal
//! records, equal books. What is measured ([`timeline`]) decides nothing: a slow takeover is a slow one, not a failed one.
//!
//! | file | does |
//! |---|---|
//! | [`scenario`] | the drills |
//! | [`site`] | who is where, and the configurations |
//! | [`net`], [`mount`], [`etcd`], [`process`] | hosts, small disks, a coordinator, processes |
//! | [`stage`] | does the steps |
//! | [`watch`] | looks at the nodes meanwhile |
//! | [`record`] | reads what was left |
//! | [`verify`], [`timeline`] | judges it, measures it |
//! | [`report`], [`svg`] | shows it |

mod etcd;
mod mount;
mod net;
mod process;
mod record;
pub(crate) mod report;
pub(crate) mod scenario;
mod site;
mod stage;
mod svg;
mod timeline;
mod verify;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use seqcast_engine::runtime::StopFlag;

use self::etcd::Etcd;
use self::net::Net;
use self::record::{JournalCopy, PublisherWitness, Remains, Witness, inputs};
use self::report::{DrillReport, RunReport};
use self::scenario::{From, Need, Scenario, Step};
use self::site::{CoordinatorSite, Shape, Site};
use self::stage::{Setting, Stage, Traced};
use self::timeline::Timeline;
use crate::day::{Day, DayConfig, write_binary_file};
use crate::output::say;

/// Stocks of the day that is published.
const SYMBOLS: u16 = 64;
/// Seconds that publishers have messages for: more than any drill takes.
const DAY_SECONDS: u64 = 180;

/// What drills are to be like.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Nodes of a cluster.
    pub(crate) nodes: usize,
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Messages a second.
    pub(crate) rate: u64,
    /// A real etcd instead of files.
    pub(crate) etcd: bool,
    /// No namespaces, even if they could be had.
    pub(crate) loopback: bool,
    /// Where everything is kept while it runs, and after a failure.
    pub(crate) dir: PathBuf,
    /// Keep it after a success too.
    pub(crate) keep: bool,
    /// Where pictures go.
    pub(crate) svg: Option<PathBuf>,
    /// Overrides of the nodes' configuration.
    pub(crate) set: Vec<String>,
}

/// Hosts, messages and a coordinator, ready for any number of drills.
pub(crate) struct Drills {
    options: Options,
    net: Arc<Net>,
    etcd: Option<Etcd>,
    day: PathBuf,
    inputs: Vec<Vec<u64>>,
    exe: PathBuf,
    stop: StopFlag,
    runs: std::cell::Cell<u32>,
}

impl Drills {
    /// Prepares everything that drills share. Raising `stop` breaks off whatever is under way.
    pub(crate) fn prepare(options: Options, stop: StopFlag) -> anyhow::Result<Drills> {
        std::fs::create_dir_all(&options.dir).with_context(|| options.dir.display().to_string())?;
        let shape = shape(&options, true);
        let net = Arc::new(Net::new(site::hosts(&shape), options.loopback)?);
        say(format_args!("drilling on {net}"));
        let etcd = match options.etcd {
            true => Some(Etcd::start(&net, site::coordinator_host(&shape), &options.dir)?),
            false => None,
        };
        let day = options.dir.join("day.itch");
        make_day(&day, options.rate)?;
        let inputs = inputs(&day, options.publishers)?;
        let exe = std::env::current_exe().context("where is this program?")?;
        Ok(Drills { options, net, etcd, day, inputs, exe, stop, runs: std::cell::Cell::new(0) })
    }

    /// What the hosts are on.
    pub(crate) fn network(&self) -> String {
        self.net.to_string()
    }

    /// Runs a drill so many times, or says why it cannot be run here.
    pub(crate) fn run(&self, scenario: &'static Scenario, times: u32) -> DrillReport {
        let skipped = self.objection(scenario).map(|why| why.to_string());
        let mut report = DrillReport {
            name: scenario.name,
            about: scenario.about,
            skipped,
            faults: Vec::new(),
            runs: Vec::new(),
        };
        for time in 1..=times {
            if report.skipped.is_some() || self.stop.is_set() {
                break;
            }
            let run = self.run_once(scenario, time);
            let verdict = if run.passed { "passed" } else { "FAILED" };
            say(format_args!("{} {time} of {times}: {verdict} in {:.1} s", scenario.name, run.seconds));
            report.runs.push(run);
        }
        report.sum_up();
        report
    }

    fn objection(&self, scenario: &Scenario) -> Option<anyhow::Error> {
        let breaks_etcd = self.options.etcd
            && scenario.steps.iter().any(|step| matches!(step, Step::Cut(_, From::Coordinator)));
        if (scenario.needs.contains(&Need::Network) || breaks_etcd) && !self.net.is_breakable() {
            return Some(anyhow::anyhow!("it needs a network that can be broken; this is {}", self.net));
        }
        if scenario.needs.contains(&Need::Mount) {
            return mount::check(&self.options.dir).err().map(|why| why.context("it needs small disks"));
        }
        (scenario.cluster && self.options.nodes < 2).then(|| anyhow::anyhow!("it needs standbys: --nodes 3"))
    }

    fn run_once(&self, scenario: &Scenario, time: u32) -> RunReport {
        let began = Instant::now();
        self.runs.set(self.runs.get() + 1);
        let dir = self.options.dir.join(format!("{}-{}", scenario.name, self.runs.get()));
        let outcome = self.play(scenario, &dir);
        let mut run = match outcome {
            Ok((run, pictures)) => {
                self.draw(scenario, time, &run, &pictures);
                run
            }
            Err(error) => RunReport::failed(format!("{error:#}")),
        };
        run.seconds = began.elapsed().as_secs_f64();
        run.passed = run.problems.is_empty();
        if run.passed && !self.options.keep {
            // What cannot be removed is in the way of nobody.
            let _ = std::fs::remove_dir_all(&dir);
        } else {
            run.dir = Some(dir.display().to_string());
        }
        run
    }

    fn play(&self, scenario: &Scenario, dir: &Path) -> anyhow::Result<(RunReport, Timeline)> {
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let shape = shape(&self.options, scenario.cluster);
        let coordinator = match &self.etcd {
            Some(etcd) => CoordinatorSite::Etcd(etcd.clients.clone(), format!("/drill/{}/", self.runs.get())),
            None => CoordinatorSite::File,
        };
        let site = Site::new(&shape, &self.net, dir, coordinator)?;
        let setting = Setting {
            exe: self.exe.clone(),
            net: Arc::clone(&self.net),
            shape,
            day: self.day.clone(),
            etcd: self.etcd.as_ref(),
            stop: self.stop.clone(),
        };
        let mut stage = Stage::new(&setting, site, scenario)?;
        let mut problems = Vec::new();
        let played = stage.play(scenario);
        stage.abandon();
        let complete = played.is_ok();
        if let Err(error) = played {
            problems.push(format!("{error:#}"));
        }
        let (remains, unread) = remains(&stage, complete);
        problems.extend(unread);
        problems.extend(verify::problems(&remains, &self.inputs));
        let names: Vec<String> = stage.journals().into_iter().map(|(name, _)| name).collect();
        let timeline = Timeline::new(&remains, &stage.marks, &stage.notes, &names);
        let reference = remains.reference();
        let mut epochs: Vec<u64> =
            reference.map_or_else(Vec::new, |copy| copy.entries.iter().map(|entry| entry.epoch).collect());
        epochs.dedup();
        let run = RunReport {
            passed: false,
            problems,
            messages: reference.map_or(0, |copy| copy.entries.len() as u64),
            epochs: epochs.len() as u64,
            seconds: 0.0,
            calm: timeline.calm,
            calm_gap_ns: timeline.calm_gap_ns,
            acts: timeline.acts.clone(),
            dir: None,
        };
        Ok((run, timeline))
    }

    /// Pictures of the first repetition, and of those that failed.
    fn draw(&self, scenario: &Scenario, time: u32, run: &RunReport, timeline: &Timeline) {
        let Some(dir) = self.options.svg.as_ref().filter(|_| time == 1 || !run.problems.is_empty()) else {
            return;
        };
        for (at, fault) in timeline.acts.iter().filter(|act| act.fault).enumerate() {
            let title = format!("{}: {}", scenario.name, scenario.about);
            let path = dir.join(format!("{}-{time}-{}.svg", scenario.name, at + 1));
            let written = std::fs::create_dir_all(dir)
                .and_then(|()| std::fs::write(&path, svg::picture(&title, fault, &timeline.passages)));
            if let Err(error) = written {
                say(format_args!("{}: {error}", path.display()));
            }
        }
    }
}

impl Drop for Drills {
    fn drop(&mut self) {
        self.etcd = None;
        let _ = std::fs::remove_file(&self.day);
        if !self.options.keep {
            for member in 0..3 {
                let _ = std::fs::remove_dir_all(self.options.dir.join(format!("etcd{member}")));
            }
            // Only when no failure has left anything.
            let _ = std::fs::remove_dir(&self.options.dir);
        }
    }
}

fn shape(options: &Options, cluster: bool) -> Shape {
    let Options { publishers, subscribers, rate, .. } = *options;
    let nodes = if cluster { options.nodes } else { 1 };
    Shape { nodes, publishers, subscribers, rate, set: options.set.clone() }
}

fn make_day(path: &Path, rate: u64) -> anyhow::Result<()> {
    let messages = (rate * DAY_SECONDS).max(DayConfig::min_messages(SYMBOLS));
    let config = DayConfig { symbols: SYMBOLS, messages, ..DayConfig::default() };
    let file = std::fs::File::create(path).with_context(|| path.display().to_string())?;
    let mut out = std::io::BufWriter::new(file);
    write_binary_file(&mut Day::new(config)?, &mut out)?;
    Ok(())
}

/// Reads what a drill left; what cannot be read is a problem.
fn remains(stage: &Stage<'_>, complete: bool) -> (Remains, Vec<String>) {
    let mut problems = Vec::new();
    let mut journals = Vec::new();
    for (name, dir) in stage.journals() {
        match JournalCopy::read(&name, &dir) {
            Ok(copy) => journals.push(copy),
            Err(error) => problems.push(format!("{error:#}")),
        }
    }
    let witness = |one: &Traced| Witness { name: one.process.name.clone(), records: one.records.clone() };
    let publishers = stage.publishers.iter().zip(stage.sessions());
    let publishers = publishers.map(|(one, session)| PublisherWitness { witness: witness(one), session });
    let remains = Remains {
        journals,
        subscribers: stage.subscribers.iter().map(witness).collect(),
        publishers: publishers.collect(),
        in_sync: stage.in_sync.clone(),
        complete,
    };
    (remains, problems)
}

impl RunReport {
    fn failed(problem: String) -> RunReport {
        RunReport {
            passed: false,
            problems: vec![problem],
            messages: 0,
            epochs: 0,
            seconds: 0.0,
            calm: timeline::Latencies::default(),
            calm_gap_ns: 0,
            acts: Vec::new(),
            dir: None,
        }
    }
}
