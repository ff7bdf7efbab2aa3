//! A drill under way: its processes, what is done to them, and what is waited for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Signal;
use seqcast_engine::agents::links::OperatorCommand;
use seqcast_engine::agents::status::NoteReport;
use seqcast_engine::runtime::{StopFlag, wall_ns};

use super::etcd::Etcd;
use super::mount::Disk;
use super::net::{Damage, HostId, Net};
use super::process::{LOOK, Plan, Process, Throttle};
use super::scenario::{From, Need, Scenario, Step, Who};
use super::site::{self, Shape, Site};
use super::watch::{Lead, Watch};
use crate::control;
use crate::trace::{Event, Record, TraceReader};

/// Longest wait for anything: only what hangs takes as long.
const PATIENCE: Duration = Duration::from_secs(60);
/// So long without events is no hiccup.
const STALL: Duration = Duration::from_millis(500);
/// Messages that an event path may hold: so many later, what comes was published after the wait began.
const IN_FLIGHT: u64 = 200;

/// What all runs of a drill share.
pub(crate) struct Setting<'a> {
    /// This program.
    pub(crate) exe: PathBuf,
    pub(crate) net: Arc<Net>,
    pub(crate) shape: Shape,
    /// The messages that are published.
    pub(crate) day: PathBuf,
    pub(crate) etcd: Option<&'a Etcd>,
    /// Raised by an interrupt.
    pub(crate) stop: StopFlag,
}

/// A process that leaves a trace, and the trace as far as it was read.
pub(crate) struct Traced {
    pub(crate) process: Process,
    reader: TraceReader,
    pub(crate) records: Vec<Record>,
}

/// Something that the drill did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) at_ns: u64,
    pub(crate) what: String,
    /// Whether it is one whose consequences are measured.
    pub(crate) fault: bool,
}

/// The drill.
pub(crate) struct Stage<'a> {
    setting: &'a Setting<'a>,
    site: Site,
    /// Before the processes, which they must not outlive.
    throttles: Vec<Throttle>,
    nodes: Vec<Option<Process>>,
    pub(crate) publishers: Vec<Traced>,
    pub(crate) subscribers: Vec<Traced>,
    watch: Option<Watch>,
    disks: Vec<Disk>,
    victim: Option<usize>,
    /// Who led before the last fault.
    before: Option<Lead>,
    pub(crate) marks: Vec<Mark>,
    /// What happened to the nodes, once they have ended.
    pub(crate) notes: Vec<Vec<NoteReport>>,
    /// The in-sync set at the end, by name.
    pub(crate) in_sync: Vec<String>,
}

impl<'a> Stage<'a> {
    /// Everything that does not run yet.
    pub(crate) fn new(
        setting: &'a Setting<'a>,
        site: Site,
        scenario: &Scenario,
    ) -> anyhow::Result<Stage<'a>> {
        let mut disks = Vec::new();
        for node in &site.nodes {
            let dir = node.journal.parent().context("a journal has a place")?;
            std::fs::create_dir_all(dir)?;
            if scenario.needs.contains(&Need::Mount) {
                disks.push(Disk::mount(&node.journal)?);
            }
            std::os::unix::fs::symlink(site.coordinator_dir(), &node.coordinator)?;
        }
        std::fs::create_dir_all(site.coordinator_dir())?;
        Ok(Stage {
            setting,
            nodes: site.nodes.iter().map(|_| None).collect(),
            site,
            publishers: Vec::new(),
            subscribers: Vec::new(),
            watch: None,
            disks,
            throttles: Vec::new(),
            victim: None,
            before: None,
            marks: Vec::new(),
            notes: Vec::new(),
            in_sync: Vec::new(),
        })
    }

    /// The journals' directories, with the nodes' names.
    pub(crate) fn journals(&self) -> Vec<(String, PathBuf)> {
        self.site.nodes.iter().map(|node| (node.name.clone(), node.journal.clone())).collect()
    }

    /// Session of each publisher.
    pub(crate) fn sessions(&self) -> Vec<String> {
        self.site.publishers.iter().map(|publisher| publisher.session.clone()).collect()
    }

    /// Starts everybody, does all steps, and lets everything come to its end.
    pub(crate) fn play(&mut self, scenario: &Scenario) -> anyhow::Result<()> {
        self.begin()?;
        for step in scenario.steps {
            self.step(*step).with_context(|| format!("at step \"{step}\""))?;
        }
        self.end().context("at the end")
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        for node in 0..self.nodes.len() {
            self.start_node(node)?;
        }
        if self.nodes.len() > 1 {
            let addresses: Vec<_> = self.site.nodes.iter().map(|node| node.replication).collect();
            self.watch = Some(Watch::new(&self.setting.net, &addresses));
            self.await_members(self.nodes.len()).context("at the start")?;
        }
        for at in 0..self.setting.shape.subscribers {
            self.start_subscriber(at)?;
        }
        for at in 0..self.setting.shape.publishers {
            self.start_publisher(at)?;
        }
        self.await_flow().context("at the start")
    }

    fn command(&self, name: &str, config: &str) -> anyhow::Result<(PathBuf, Command)> {
        let path = self.site.dir.join(format!("{name}.toml"));
        std::fs::write(&path, config)?;
        let mut command = Command::new(&self.setting.exe);
        command.current_dir(&self.site.dir);
        Ok((path, command))
    }

    fn start(&self, name: &str, host: HostId, command: Command) -> anyhow::Result<Process> {
        Plan { name: name.into(), host, dir: &self.site.dir, command }.start(&self.setting.net)
    }

    fn start_node(&mut self, at: usize) -> anyhow::Result<()> {
        let (name, host) = (self.site.nodes[at].name.clone(), self.site.nodes[at].host);
        let (path, mut command) = self.command(&name, &self.site.node_config(at))?;
        command
            .args(["sequence", "--json", "--end-with-sources", "--expected-orders=20000", "--config"])
            .arg(path);
        command.args(self.site.overrides().iter().flat_map(|set| ["--set", set]));
        self.nodes[at] = Some(self.start(&name, host, command)?);
        Ok(())
    }

    fn start_subscriber(&mut self, at: usize) -> anyhow::Result<()> {
        let name = format!("sub{}", at + 1);
        let host = site::subscribers_host(&self.setting.shape);
        let (path, mut command) = self.command(&name, &self.site.subscriber_config(host))?;
        let trace = self.site.dir.join(format!("{name}.trace"));
        command.args(["subscribe", "--json", "--expected-orders=20000", "--config"]).arg(path);
        command.arg("--trace").arg(&trace);
        self.subscribers.push(Traced::new(self.start(&name, host, command)?, &trace));
        Ok(())
    }

    fn start_publisher(&mut self, at: usize) -> anyhow::Result<()> {
        let name = format!("pub{}", at + 1);
        let Shape { publishers, rate, .. } = self.setting.shape;
        let host = site::publishers_host(&self.setting.shape);
        let (path, mut command) = self.command(&name, &self.site.publisher_config(at, host))?;
        let trace = self.site.dir.join(format!("{name}.trace"));
        command.args(["publish", "--json", "--until-eof", "--config"]).arg(path);
        command.arg("--file").arg(&self.setting.day).arg("--trace").arg(&trace);
        command.args(["--share", &format!("{at}/{publishers}")]);
        command.args(["--rate", &(rate / publishers as u64).max(1).to_string()]);
        self.publishers.push(Traced::new(self.start(&name, host, command)?, &trace));
        Ok(())
    }

    fn step(&mut self, step: Step) -> anyhow::Result<()> {
        let targets = step.who().map(|who| self.targets(who)).transpose()?.unwrap_or_default();
        if step.is_fault() {
            self.before = self.lead();
        }
        if targets.len() == 1 {
            self.victim = targets.first().copied();
        }
        let at_ns = wall_ns();
        self.act(step, &targets)?;
        if !step.is_wait() {
            let names: Vec<_> = targets.iter().map(|&at| self.site.nodes[at].name.as_str()).collect();
            let what = format!("{step} {}", names.join(" ")).trim_end().to_owned();
            self.marks.push(Mark { at_ns, what, fault: step.is_fault() });
        }
        Ok(())
    }

    fn act(&mut self, step: Step, targets: &[usize]) -> anyhow::Result<()> {
        match step {
            Step::Run(ms) => self.run(Duration::from_millis(ms)),
            Step::Kill(_) => self.kill(targets),
            Step::Terminate(_) => targets.iter().try_for_each(|&at| self.terminate(at)),
            Step::Start(_) => targets.iter().try_for_each(|&at| self.start_node(at)),
            Step::Freeze(_) => targets.iter().try_for_each(|&at| self.signal(at, Signal::STOP)),
            Step::Thaw(_) => targets.iter().try_for_each(|&at| self.signal(at, Signal::CONT)),
            Step::Cut(_, from) => targets.iter().try_for_each(|&at| self.cut(at, from)),
            Step::Lossy(loss, late) => self.make_lossy(loss, late),
            Step::Throttle(_, part) => targets.iter().try_for_each(|&at| self.throttle(at, part)),
            Step::Congest(_, kbit) => {
                targets.iter().try_for_each(|&at| self.setting.net.congest(self.site.nodes[at].host, kbit))
            }
            Step::Heal => self.heal(),
            Step::CoordinatorAway => self.coordinator_away(),
            Step::CoordinatorBack => self.coordinator_back(),
            Step::Retire(_) => self.order(targets, OperatorCommand::Retire),
            Step::Promote(_) => self.order(targets, OperatorCommand::Promote),
            Step::FillDisk(_) => targets.iter().try_for_each(|&at| self.disk(at)?.fill()),
            Step::FreeDisk(_) => targets.iter().try_for_each(|&at| self.disk(at)?.free()),
            Step::AwaitTakeover => self.await_takeover(),
            Step::AwaitSet => self.await_set(),
            Step::AwaitMembers(count) => self.await_members(count),
            Step::AwaitFlow => self.await_flow(),
            Step::AwaitStall => self.await_stall(),
        }
    }

    fn targets(&self, who: Who) -> anyhow::Result<Vec<usize>> {
        let primary = || match (&self.watch, self.lead()) {
            (None, _) => Ok(0),
            (Some(_), Some(lead)) => Ok(lead.node),
            (Some(_), None) => bail!("nobody leads"),
        };
        Ok(match who {
            Who::All => (0..self.nodes.len()).collect(),
            Who::Primary => vec![primary()?],
            Who::Standby(which) => {
                let primary = primary()?;
                let mut standbys = (0..self.nodes.len()).filter(|&at| at != primary);
                vec![standbys.nth(which).context("there are not so many standbys")?]
            }
            Who::Victim => vec![self.victim.context("nothing was done to anybody")?],
        })
    }

    fn lead(&self) -> Option<Lead> {
        self.watch.as_ref()?.lead()
    }

    fn signal(&mut self, at: usize, signal: Signal) -> anyhow::Result<()> {
        let name = &self.site.nodes[at].name;
        let process = self.nodes[at].as_mut().with_context(|| format!("{name} does not run"))?;
        match process.ended()? {
            None => process.signal(signal),
            // One that has retired may be gone by itself.
            Some(status) if status.success() && signal == Signal::TERM => Ok(()),
            Some(status) => bail!("{name} has ended by itself ({status}):\n{}", process.last_words()),
        }
    }

    /// Kills all before waiting for any.
    fn kill(&mut self, targets: &[usize]) -> anyhow::Result<()> {
        targets.iter().try_for_each(|&at| self.signal(at, Signal::KILL))?;
        targets.iter().filter_map(|&at| self.nodes[at].take()).try_for_each(Process::kill)
    }

    fn terminate(&mut self, at: usize) -> anyhow::Result<()> {
        self.signal(at, Signal::TERM)?;
        let Some(mut process) = self.nodes[at].take() else { return Ok(()) };
        self.until("the end of a process", |_| Ok(process.ended()?.is_some()))?;
        must_be_good(&mut process)
    }

    fn cut(&self, at: usize, from: From) -> anyhow::Result<()> {
        let net = &self.setting.net;
        let me = self.site.nodes[at].host;
        let others = || self.site.nodes.iter().map(|node| node.host).filter(|&host| host != me);
        match from {
            From::Coordinator if self.setting.etcd.is_some() => {
                let coordinator = site::coordinator_host(&self.setting.shape);
                net.damage(coordinator, me, Damage::Cut)?;
                return net.damage(me, coordinator, Damage::Cut);
            }
            From::Coordinator => return Ok(std::fs::remove_file(&self.site.nodes[at].coordinator)?),
            From::Nodes | From::NodesHearing => {
                others().try_for_each(|other| net.damage(me, other, Damage::Cut))?;
            }
            From::HearingNodes => {}
        }
        if from != From::NodesHearing {
            others().try_for_each(|other| net.damage(other, me, Damage::Cut))?;
        }
        Ok(())
    }

    fn throttle(&mut self, at: usize, part: u32) -> anyhow::Result<()> {
        let process = self.nodes[at].as_ref().context("it does not run")?;
        self.throttles.push(Throttle::new(process.pid()?, part));
        Ok(())
    }

    fn make_lossy(&self, loss: u32, late: u32) -> anyhow::Result<()> {
        let net = &self.setting.net;
        let hosts: Vec<HostId> = (0..site::hosts(&self.setting.shape)).map(HostId).collect();
        for node in &self.site.nodes {
            for &from in hosts.iter().filter(|&&host| host != node.host) {
                net.damage(from, node.host, Damage::Loss(loss))?;
            }
            net.reorder(node.host, late)?;
        }
        Ok(())
    }

    fn heal(&mut self) -> anyhow::Result<()> {
        self.throttles.clear();
        for node in &self.site.nodes {
            if node.coordinator.symlink_metadata().is_err() {
                std::os::unix::fs::symlink(self.site.coordinator_dir(), &node.coordinator)?;
            }
        }
        self.setting.net.heal()
    }

    fn coordinator_away(&self) -> anyhow::Result<()> {
        match self.setting.etcd {
            Some(etcd) => etcd.go_away(),
            None => Ok(std::fs::rename(self.site.coordinator_dir(), self.away())?),
        }
    }

    fn coordinator_back(&self) -> anyhow::Result<()> {
        match self.setting.etcd {
            Some(etcd) => etcd.come_back(),
            None => Ok(std::fs::rename(self.away(), self.site.coordinator_dir())?),
        }
    }

    fn away(&self) -> PathBuf {
        self.site.coordinator_dir().with_extension("away")
    }

    fn disk(&self, at: usize) -> anyhow::Result<&Disk> {
        self.disks.get(at).context("no small disks were mounted")
    }

    fn order(&self, targets: &[usize], command: OperatorCommand) -> anyhow::Result<()> {
        for node in targets.iter().map(|&at| &self.site.nodes[at]) {
            let ask = || control::command(node.replication, command, PATIENCE);
            let outcome = self.setting.net.as_operator(ask)??;
            if outcome.outcome != "done" {
                bail!("{}: {}: {}: {}", node.name, command.word(), outcome.outcome, outcome.what);
            }
        }
        Ok(())
    }

    fn run(&mut self, time: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        self.until("time to pass", |_| Ok(Instant::now() >= until))
    }

    fn await_takeover(&mut self) -> anyhow::Result<()> {
        let before = self.before.clone().context("nobody led before")?;
        self.until("another node to lead", |stage| {
            let is_new =
                |lead: &Lead| lead.admitting && lead.epoch > before.epoch && lead.node != before.node;
            Ok(stage.lead().as_ref().is_some_and(is_new))
        })
    }

    /// Waits until all are in sync, by what they say from now on: what they said before may be about a process that is gone.
    fn await_set(&mut self) -> anyhow::Result<()> {
        let now = wall_ns();
        self.until("all nodes to lead or follow", |stage| {
            Ok(stage.watch.as_ref().is_some_and(|watch| watch.are_all_there_since(now)))
        })?;
        self.await_members(self.nodes.len())
    }

    fn await_members(&mut self, count: usize) -> anyhow::Result<()> {
        self.until(&format!("an in-sync set of {count} that admits events"), |stage| {
            Ok(stage.lead().is_some_and(|lead| lead.admitting && lead.in_sync.len() == count))
        })
    }

    /// Waits until every subscriber got more than what may have been on its way before.
    fn await_flow(&mut self) -> anyhow::Result<()> {
        self.read_traces()?;
        let wanted: Vec<u64> = self.subscribers.iter().map(|sub| sub.arrived() + IN_FLIGHT).collect();
        self.until("events at every subscriber", |stage| {
            stage.read_traces()?;
            Ok(stage
                .subscribers
                .iter()
                .zip(&wanted)
                .all(|(subscriber, &wanted)| subscriber.arrived() >= wanted))
        })
    }

    fn await_stall(&mut self) -> anyhow::Result<()> {
        let before = self.before.clone();
        let (mut arrived, mut since) = (Vec::new(), Instant::now());
        self.until("events to stop, or another node to lead", |stage| {
            stage.read_traces()?;
            let now: Vec<u64> = stage.subscribers.iter().map(Traced::arrived).collect();
            if now != arrived {
                (arrived, since) = (now, Instant::now());
            }
            let lead = stage.lead();
            let another =
                lead.is_some() && lead.map(|lead| lead.node) != before.as_ref().map(|lead| lead.node);
            Ok(another || since.elapsed() >= STALL)
        })
    }

    fn read_traces(&mut self) -> anyhow::Result<()> {
        self.subscribers.iter_mut().chain(&mut self.publishers).try_for_each(Traced::read)
    }

    /// Looks at `done` until it is true, and at whether everybody still runs.
    fn until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Stage<'a>) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !done(self)? {
            if self.setting.stop.is_set() {
                bail!("interrupted");
            }
            let nodes = self.nodes.iter_mut().flatten();
            let others = self.publishers.iter_mut().chain(&mut self.subscribers).map(|one| &mut one.process);
            for process in nodes.chain(others) {
                if let Some(status) = process.ended()? {
                    let (name, words) = (&process.name, process.last_words());
                    // The end of the session ends subscribers, and that is waited for elsewhere.
                    if !status.success() {
                        bail!("{name} ended by itself ({status}):\n{words}");
                    }
                }
            }
            if began.elapsed() > PATIENCE {
                bail!("waited {PATIENCE:?} in vain for {what}{}", self.how_it_stands());
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    fn how_it_stands(&self) -> String {
        let lead = match (&self.watch, self.lead()) {
            (None, _) => String::new(),
            (Some(_), None) => "; nobody leads".into(),
            (Some(_), Some(lead)) => format!("; last seen: {lead:?}"),
        };
        let said = self.nodes.iter().flatten().map(|node| format!("\n{}: {}", node.name, node.last_words()));
        lead + &said.collect::<String>()
    }

    /// Ends the publishers' sessions, and with them the feed's, and waits for everybody to have seen it.
    fn end(&mut self) -> anyhow::Result<()> {
        self.publishers.iter_mut().for_each(|publisher| publisher.process.close_stdin());
        self.until("all subscribers to see the end", |stage| {
            let mut all = true;
            for subscriber in &mut stage.subscribers {
                all &= subscriber.process.ended()?.is_some();
            }
            Ok(all)
        })?;
        self.in_sync = match self.lead() {
            Some(lead) => lead.in_sync,
            None => self.site.nodes.iter().map(|node| node.name.clone()).collect(),
        };
        self.leave_watch();
        let publishers = self.publishers.iter_mut().map(|publisher| &mut publisher.process);
        for process in publishers.chain(self.nodes.iter_mut().flatten()) {
            process.signal(Signal::TERM)?;
        }
        let subscribers = self.subscribers.iter_mut().map(|one| &mut one.process);
        let publishers = self.publishers.iter_mut().map(|one| &mut one.process);
        for process in subscribers.chain(publishers).chain(self.nodes.iter_mut().flatten()) {
            must_be_good(process)?;
        }
        self.read_traces()
    }

    fn leave_watch(&mut self) {
        if let Some(watch) = self.watch.take() {
            self.notes = watch.notes();
        }
    }

    /// Kills everybody that still runs, and keeps what they left.
    pub(crate) fn abandon(&mut self) {
        self.leave_watch();
        let _ = self.heal();
        self.nodes.iter_mut().for_each(|node| *node = None);
        if let (Some(etcd), true) = (self.setting.etcd, self.is_away()) {
            let _ = etcd.come_back();
        }
        // What cannot be read is missed by whoever looks at it.
        let _ = self.read_traces();
    }

    fn is_away(&self) -> bool {
        let last = |what: &Step| self.marks.iter().rposition(|mark| mark.what == what.to_string());
        last(&Step::CoordinatorAway) > last(&Step::CoordinatorBack)
    }
}

impl Traced {
    fn new(process: Process, trace: &Path) -> Traced {
        Traced { process, reader: TraceReader::new(trace), records: Vec::new() }
    }

    fn read(&mut self) -> anyhow::Result<()> {
        self.records.extend(self.reader.read()?);
        Ok(())
    }

    /// Number of the last message that arrived.
    fn arrived(&self) -> u64 {
        let arrived = |record: &Record| match record.event {
            Event::Arrived { seq, .. } => Some(seq),
            _ => None,
        };
        self.records.iter().rev().find_map(arrived).unwrap_or(0)
    }
}

/// Waits for a process that is ending, which must not fail.
fn must_be_good(process: &mut Process) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match process.ended()? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => bail!("{} ended badly ({status}):\n{}", process.name, process.last_words()),
            None if began.elapsed() > PATIENCE => {
                bail!("{} does not end:\n{}", process.name, process.last_words())
            }
            None => std::thread::sleep(LOOK),
        }
    }
}
