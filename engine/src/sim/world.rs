//! The world: whose turn is next, what goes wrong, when all is well.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::clock::NodeClock;
use super::coordinator::Register;
use super::dice::{Dice, Purpose};
use super::disk::NodeDisk;
use super::environment::SimEnvironment;
use super::fault::FaultClass;
use super::flaw::Flaw;
use super::net::Net;
use super::plan::{Episode, Excused, Kind, Plan, What};
use super::process::{BOOKS, Process, Turn};
use super::referee::{Loads, Referee, Rule};
use super::shared::Shared;
use super::trace::{Event, Trace};
use super::weather;
use crate::agents::journal::Rebirth;
use crate::agents::links::{LinkChange, LinkEvent, OperatorCommand, Ticketed};
use crate::book::Books;
use crate::journal;
use crate::replica::{Broken, NodeId, Record};
use crate::time::Nanos;

/// Chances per million that a turn is followed by a stall, while a node suffers from them.
const STALL_CHANCES: u32 = 30_000;
/// How long such a stall may last.
const STALL: (Nanos, Nanos) = (Nanos::from_micros(300), Nanos::from_millis(20));
/// A slow disk keeps a cold agent for that long.
const SLOW: (Nanos, Nanos) = (Nanos::from_millis(1), Nanos::from_millis(30));
/// Who watches over processes starts a failed one again after this.
const REVIVAL: (Nanos, Nanos) = (Nanos::from_micros(500), Nanos::from_millis(10));

/// A fault that stays waits for the set to be whole; so often it looks.
const STRIKE_AGAIN: Nanos = Nanos::from_millis(1);
/// A node that is asked to stop takes leave for so long at most, and its process looks so often whether it may end.
const LEAVE_FOR: Nanos = Nanos::from_millis(10);
const LEAVE_LOOK: Nanos = Nanos::from_micros(500);

/// What becomes of a control connection.
const UP: u8 = 0;
const DOWN: u8 = 1;
const DEAD: u8 = 2;

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Begin(usize),
    End(usize),
    Heal,
    /// The fault that stays.
    Strike,
    /// A sequencer's control connection to another one opened or closed.
    Link {
        node: usize,
        of: usize,
        change: u8,
    },
    Start {
        node: usize,
    },
    /// A node that takes leave may go, or has to, if it still lives that life.
    Depart {
        node: usize,
        life: u32,
        until: Nanos,
    },
    /// A turn of a seat, if the node still lives that life.
    Turn {
        node: usize,
        life: u32,
        seat: usize,
    },
}

/// A node.
struct Host {
    clock: NodeClock,
    disk: NodeDisk,
    process: Option<Process>,
    /// Counts its processes.
    life: u32,
    /// The process ended because it had nothing left to do.
    is_done: bool,
    is_frozen: bool,
    /// Seats whose turn came while the process was frozen.
    waiting: Vec<usize>,
    /// Faults that keep the process from being started.
    kept_down: u32,
    stalls: u32,
    slow_disks: u32,
    /// Where the journal of its next process is to begin anew.
    rebirth: Rebirth,
}

/// See the module's documentation.
pub(super) struct World {
    plan: Plan,
    shared: Shared,
    hosts: Vec<Host>,
    queue: BinaryHeap<Reverse<(Nanos, u64, Due)>>,
    serial: u64,
    now: Nanos,
    /// Which faults of the schedule are in force.
    active: Vec<bool>,
    pace: Dice,
    power: Dice,
    turns: u64,
    healed: bool,
    excused: Excused,
    /// Somebody may still lead.
    has_heirs: bool,
    flaw: Option<Flaw>,
}

impl World {
    pub(super) fn new(seed: u64, flaw: Option<Flaw>, trace: Trace) -> World {
        World::of(Plan::draw(seed), seed, flaw, trace)
    }

    fn of(plan: Plan, seed: u64, flaw: Option<Flaw>, trace: Trace) -> World {
        let nodes = plan.nodes.len();
        let sessions = (0..).map(|publisher| plan.settings.publisher_session(publisher));
        let loads = Loads { sources: sessions.zip(plan.loads.iter().cloned()).collect() };
        let mut referee = Referee::new(loads, plan.settings.session, nodes, plan.settings.is_durable);
        let mut hosts = Vec::new();
        for (node, of_node) in plan.nodes.iter().enumerate() {
            let clock = NodeClock::new(of_node.clock_began, of_node.drift_ppm);
            let host = Host::new(clock);
            host.disk.lie(flaw == Some(Flaw::LyingDisk));
            match of_node.kind {
                Kind::Sequencer => referee.watch(node, host.disk.seen()),
                Kind::Subscriber { start: crate::config::Start::Live } => referee.join_anywhere(node),
                _ => {}
            }
            hosts.push(host);
        }
        let mut net = Net::new(nodes, Dice::new(seed, Purpose::Network), plan.max_receive_bytes);
        net.alter(flaw == Some(Flaw::AlteringNetwork));
        referee.begin(plan.settings.publishers, plan.settings.sequencers == 1);
        let register = Register::new(Dice::new(seed, Purpose::Coordinator));
        let shared = Shared::new(net, register, trace, referee);
        let mut world = World {
            shared,
            hosts,
            queue: BinaryHeap::new(),
            serial: 0,
            now: Nanos::ZERO,
            active: vec![false; plan.episodes.len()],
            pace: Dice::new(seed, Purpose::Pace),
            power: Dice::new(seed, Purpose::Disk),
            turns: 0,
            healed: false,
            excused: Excused::Always(0),
            has_heirs: true,
            flaw,
            plan,
        };
        world.schedule();
        world
    }

    fn schedule(&mut self) {
        for node in 0..self.hosts.len() {
            self.at(self.plan.nodes[node].starts, Due::Start { node });
            if self.plan.nodes[node].drift_ppm != 0 {
                self.shared.lock().fault(FaultClass::ClockDrift, node, node);
            }
        }
        for index in 0..self.plan.episodes.len() {
            let Episode { begins, ends, .. } = self.plan.episodes[index];
            self.at(begins, Due::Begin(index));
            self.at(ends, Due::End(index));
        }
        self.at(self.plan.heals, Due::Heal);
        if let Some(lasting) = &self.plan.lasting {
            self.at(lasting.begins, Due::Strike);
        }
        self.change_weather();
    }

    fn at(&mut self, when: Nanos, due: Due) {
        self.serial += 1;
        self.queue.push(Reverse((when, self.serial, due)));
    }

    /// Runs until everybody has caught up, or a rule is broken.
    pub(super) fn run(&mut self) {
        while let Some(Reverse((when, _, due))) = self.queue.pop() {
            if when > self.plan.bound {
                self.give_up();
                return;
            }
            self.now = when;
            self.shared.lock().now = when;
            self.pass();
            let worked = match due {
                Due::Turn { node, life, seat } => self.turn(node, life, seat),
                other => {
                    self.happen(other);
                    true
                }
            };
            if worked && self.is_over() {
                return;
            }
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Begin(index) => self.change(index, true),
            Due::End(index) => self.change(index, false),
            Due::Start { node } => self.start(node),
            Due::Link { node, of, change } => self.link(node, of, change),
            Due::Depart { node, life, until } => self.depart(node, life, until),
            Due::Heal => self.heal(),
            Due::Strike => self.strike(),
            Due::Turn { .. } => {}
        }
    }

    fn is_over(&mut self) -> bool {
        if self.shared.lock().referee.violation().is_some() {
            return true;
        }
        let is_over = self.healed && self.has_caught_up();
        if is_over {
            self.inspect();
        }
        is_over
    }

    /// Whether everybody has everything.
    fn has_caught_up(&self) -> bool {
        let shared = self.shared.lock();
        let referee = &shared.referee;
        if !referee.has_all() {
            return false;
        }
        let next = referee.settled() + 1;
        let ends = self.plan.settings.ends;
        // Once the session ended the nodes of a cluster go one after the other, and who is last may have nobody to learn
        // the end from.
        let is_sequencer = |node: usize| self.plan.nodes[node].kind == Kind::Sequencer;
        let one_is_done =
            self.hosts.iter().enumerate().any(|(node, host)| is_sequencer(node) && host.is_done);
        self.hosts.iter().enumerate().all(|(node, host)| match self.plan.nodes[node].kind {
            Kind::Publisher => host.is_done || !ends,
            Kind::Subscriber { .. } => (host.is_done || !ends) && referee.readers().is_at(node, next),
            Kind::Sequencer if ends => one_is_done,
            Kind::Sequencer => referee.holds_all(node) || self.is_excused(&shared.register, node),
        })
    }

    /// Whether `node` may fall behind, by the fault that stays.
    fn is_excused(&self, register: &Register, node: usize) -> bool {
        match self.excused {
            Excused::Always(nodes) => nodes >> node & 1 != 0,
            Excused::Untold(nodes) => nodes >> node & 1 != 0 && !register.has_told(node),
        }
    }

    /// A last look: at the books and at the disks.
    fn inspect(&mut self) {
        let mut shared = self.shared.lock();
        let (referee, notes) = shared.referee();
        if let Ok(mut books) = Books::new(BOOKS) {
            referee.apply_all(&mut books);
            let settled = referee.settled();
            if referee.readers().digest_at(settled).is_some_and(|digest| digest != books.digest()) {
                let what = "books differ from what the order makes of them".into();
                referee.break_rule(notes.now, Rule::Digest, what);
            }
        }
        for (node, host) in self.hosts.iter().enumerate() {
            if self.plan.nodes[node].kind == Kind::Sequencer
                && let Err(error) = journal::verify(host.disk.disk())
            {
                referee.break_rule(notes.now, Rule::Journal, format!("node {node}: {error}"));
            }
        }
    }

    /// Not everybody has caught up in time.
    fn give_up(&mut self) {
        let mut shared = self.shared.lock();
        let (referee, notes) = shared.referee();
        if referee.has_no_heir() {
            self.has_heirs = false;
            return;
        }
        let settled = referee.settled();
        let mut behind = Vec::new();
        for (node, host) in self.hosts.iter().enumerate() {
            let state = match (&host.process, host.is_done) {
                (_, true) => "done",
                (Some(_), _) => "up",
                (None, _) => "down",
            };
            let next = referee.next_of(node);
            behind.push(format!("node {node} {:?} {state} at {next}", self.plan.nodes[node].kind));
        }
        let what = format!("not everybody caught up: {settled} messages settled; {}", behind.join(", "));
        referee.break_rule(notes.now, Rule::Liveness, what);
    }

    fn start(&mut self, node: usize) {
        let host = &mut self.hosts[node];
        if host.process.is_some() || host.is_done || host.kept_down > 0 {
            return;
        }
        host.clock.show(self.now);
        host.disk.begin();
        let plan = &self.plan.nodes[node];
        let is_fickle = self.flaw == Some(Flaw::FickleSource) && host.life > 0;
        let loads = if is_fickle { &self.plan.other_loads } else { &self.plan.loads };
        let Host { disk, clock, .. } = &*host;
        let environment = SimEnvironment { node, shared: &self.shared, disk, clock };
        let broken = match self.flaw {
            Some(Flaw::Broken(rule)) => Broken::rule(rule),
            _ => Broken::NONE,
        };
        let started = Process::start(plan, loads.get(node), host.rebirth.clone(), broken, environment);
        match started {
            Ok(process) => {
                host.life += 1;
                let (life, seats) = (host.life, process.seats.len());
                host.process = Some(process);
                for seat in 0..seats {
                    let when = self.now + Nanos(self.pace.below(100_000));
                    self.at(when, Due::Turn { node, life, seat });
                }
                let incarnation = journal::recorded_incarnation(self.hosts[node].disk.disk()).unwrap_or(0);
                let mut shared = self.shared.lock();
                shared.event(Event::Started { node });
                let (referee, mut notes) = shared.referee();
                referee.on_started(node, incarnation, &mut notes);
                drop(shared);
                self.tell_others(node, UP);
            }
            Err(error) => self.on_failure(node, &error.to_string()),
        }
    }

    /// A process failed: that is a fault of its own unless its disk did.
    fn on_failure(&mut self, node: usize, what: &str) {
        let host = &mut self.hosts[node];
        let is_excused = host.disk.has_refused();
        let mut shared = self.shared.lock();
        shared.event(Event::Stopped { node, why: what });
        if !is_excused {
            let at = shared.now;
            shared.referee.break_rule(at, Rule::Failure, format!("node {node}: {what}"));
        }
        drop(shared);
        self.tell_others(node, DEAD);
        let when = self.now + self.pace.span(REVIVAL.0, REVIVAL.1);
        self.at(when, Due::Start { node });
    }

    /// Gives a seat its turn. Whether anything was done.
    fn turn(&mut self, node: usize, life: u32, seat: usize) -> bool {
        let host = &mut self.hosts[node];
        if host.life != life {
            return false;
        }
        let Some(process) = &mut host.process else { return false };
        if host.is_frozen {
            host.waiting.push(seat);
            return false;
        }
        self.turns += 1;
        host.clock.show(self.now);
        let now = host.clock.monotonic(self.now);
        let shared = &self.shared;
        let turn = process.turn(seat, now, |agent, work| {
            if work > 0 {
                let mut shared = shared.lock();
                shared.event(Event::Worked { node, agent, work });
                let (referee, mut notes) = shared.referee();
                referee.on_worked(node, &mut notes);
            }
        });
        let desk = process.desk.clone();
        while let Some(note) = desk.poll_note() {
            self.shared.lock().event(Event::Told { node, note: &note });
        }
        if let Some(status) = desk.poll_status() {
            let mut shared = self.shared.lock();
            let (referee, mut notes) = shared.referee();
            referee.on_status(node, &status, &mut notes);
        }
        match turn {
            Turn::Worked(work) => {
                let when = self.now + self.rest(node, seat, work > 0);
                self.at(when, Due::Turn { node, life, seat });
                work > 0
            }
            Turn::Finished => {
                if process.is_finished() {
                    self.close(node, "finished");
                    self.tell_others(node, DOWN);
                    self.hosts[node].is_done = true;
                }
                true
            }
            Turn::Failed(what) => {
                self.close(node, "failed");
                if self.hosts[node].rebirth.is_due() {
                    self.shared.lock().fault(FaultClass::Image, node, node);
                    self.tell_others(node, DOWN);
                    let when = self.now + self.pace.span(REVIVAL.0, REVIVAL.1);
                    self.at(when, Due::Start { node });
                } else {
                    self.on_failure(node, &what);
                }
                true
            }
            Turn::Panicked(what) => {
                let at = self.now;
                let what = format!("node {node} panicked: {what}");
                self.shared.lock().referee.break_rule(at, Rule::Failure, what);
                true
            }
        }
    }

    /// How long a seat rests after a turn.
    fn rest(&mut self, node: usize, seat: usize, worked: bool) -> Nanos {
        let host = &mut self.hosts[node];
        let Some(seat) = host.process.as_mut().and_then(|process| process.seats.get_mut(seat)) else {
            return Nanos::ZERO;
        };
        let (shortest, longest) = seat.limits;
        if worked {
            seat.rest = shortest;
        }
        let rest = Nanos(seat.rest.0 / 2 + self.pace.below(seat.rest.0 / 2 + 1) + 1);
        seat.rest = (seat.rest + seat.rest).min(longest);
        if host.slow_disks > 0 && seat.is_cold {
            self.shared.lock().fault(FaultClass::SlowDisk, node, node);
            return rest + self.pace.span(SLOW.0, SLOW.1);
        }
        if host.stalls > 0 && self.pace.per_million(STALL_CHANCES) {
            self.shared.lock().fault(FaultClass::Stall, node, node);
            return rest + self.pace.span(STALL.0, STALL.1);
        }
        rest
    }

    /// Ends a process in order.
    fn close(&mut self, node: usize, why: &str) {
        let host = &mut self.hosts[node];
        if let Some(process) = host.process.take() {
            process.close(host.clock.monotonic(self.now));
            host.thaw();
            let mut shared = self.shared.lock();
            shared.event(Event::Stopped { node, why });
            let (referee, mut notes) = shared.referee();
            referee.on_worked(node, &mut notes);
        }
    }

    /// Ends a process where it stands. Whether there was one.
    fn kill(&mut self, node: usize, class: FaultClass) -> bool {
        let host = &mut self.hosts[node];
        let was_up = host.process.take().is_some();
        host.rebirth = Rebirth::new();
        host.thaw();
        if was_up {
            self.shared.lock().fault(class, node, node);
        }
        was_up
    }

    /// A fault of the schedule begins or ends.
    fn change(&mut self, index: usize, begins: bool) {
        if self.active[index] == begins || (begins && self.healed) {
            return;
        }
        self.active[index] = begins;
        self.apply(index, begins);
    }

    fn apply(&mut self, index: usize, begins: bool) {
        let what = self.plan.episodes[index].what;
        self.shared.lock().event(Event::Episode { begins, what: &what });
        match what {
            What::Kill { node } | What::Restart { node } | What::PowerLoss { node, .. } => {
                self.change_process(node, what, begins);
            }
            What::Freeze { node } => self.freeze(node, begins),
            What::Operator { node, promotes } if begins => self.command(node, promotes),
            What::Operator { .. } => {}
            What::Stall { node } => count(&mut self.hosts[node].stalls, begins),
            What::SlowDisk { node } => count(&mut self.hosts[node].slow_disks, begins),
            What::DiskFull { node } => self.hosts[node].disk.fill_up(begins),
            What::SyncFailure { node } => self.hosts[node].disk.fail_syncs(begins),
            What::ClockJump { node, by_ns } => {
                if begins {
                    self.hosts[node].clock.jump(by_ns);
                    self.shared.lock().fault(FaultClass::ClockJump, node, node);
                }
            }
            _ => self.change_weather(),
        }
    }

    fn change_process(&mut self, node: usize, what: What, begins: bool) {
        count(&mut self.hosts[node].kept_down, begins);
        if !begins {
            return self.at(self.now, Due::Start { node });
        }
        match what {
            What::PowerLoss { keep, .. } => {
                if self.is_last_copy(node) {
                    return;
                }
                self.kill(node, FaultClass::PowerLoss);
                let lost = self.hosts[node].disk.lose_power(&mut self.power, keep);
                let mut shared = self.shared.lock();
                (0..lost).for_each(|_| shared.fault(FaultClass::LostSector, node, node));
            }
            What::Restart { .. } => {
                let host = &self.hosts[node];
                let Some(process) = host.process.as_ref().filter(|_| !host.is_frozen) else { return };
                self.shared.lock().fault(FaultClass::Restart, node, node);
                let is_sequencer = self.plan.nodes[node].kind == Kind::Sequencer;
                let until = if self.plan.departs && is_sequencer { self.now + LEAVE_FOR } else { self.now };
                if until > self.now {
                    process.departure.ask();
                }
                self.depart(node, host.life, until);
            }
            _ => {
                if self.kill(node, FaultClass::Kill) {
                    self.tell_others(node, DEAD);
                }
            }
        }
    }

    /// Ends the process of a node that was asked to stop, once it has taken leave or `until` has come.
    fn depart(&mut self, node: usize, life: u32, until: Nanos) {
        let host = &self.hosts[node];
        let Some(process) = host.process.as_ref().filter(|_| host.life == life) else { return };
        if host.is_frozen || (self.now < until && !process.departure.is_allowed()) {
            return self.at(self.now + LEAVE_LOOK, Due::Depart { node, life, until });
        }
        self.close(node, "asked to stop");
        self.tell_others(node, DOWN);
        self.at(self.now, Due::Start { node });
    }

    fn freeze(&mut self, node: usize, begins: bool) {
        let host = &mut self.hosts[node];
        if begins {
            if host.process.is_some() && !host.is_frozen {
                host.is_frozen = true;
                self.shared.lock().fault(FaultClass::Freeze, node, node);
            }
            return;
        }
        let life = host.life;
        for seat in host.thaw() {
            self.at(self.now, Due::Turn { node, life, seat });
        }
    }

    fn change_weather(&mut self) {
        let World { plan, active, shared, .. } = self;
        let episodes = plan.episodes.iter().zip(active.iter()).filter(|(_, is)| **is).map(|(e, _)| e);
        let mut shared = shared.lock();
        weather::apply_to_register(&mut shared.register, episodes.clone());
        weather::apply(shared.net().0, plan.nodes.len(), plan.link, episodes);
    }

    /// Lets the coordinator go on, and tells the referee of a new record.
    fn pass(&mut self) {
        let mut shared = self.shared.lock();
        let now = shared.now;
        let passed = shared.register.pass(now);
        for class in passed.faults {
            shared.fault(class, 0, 0);
        }
        for change in passed.changes {
            let Record { epoch, primary, in_sync, .. } = change.after;
            let primary = self.plan.settings.publishers + usize::from(primary.node.0);
            shared.event(Event::Swapped { epoch, primary, members: in_sync.len() });
            let (referee, notes) = shared.referee();
            referee.on_record(&change, &notes);
        }
    }

    /// The other sequencers learn what became of `node`'s connections, a little later.
    fn tell_others(&mut self, node: usize, change: u8) {
        let settings = &self.plan.settings;
        let sequencers = settings.publishers..settings.publishers + settings.sequencers;
        if !sequencers.contains(&node) {
            return;
        }
        for other in sequencers.filter(|other| *other != node) {
            let when = self.now + self.pace.span(Nanos::from_micros(50), Nanos::from_micros(400));
            self.at(when, Due::Link { node: other, of: node, change });
        }
    }

    /// `node` learns what became of its connection to `of`, unless nothing reaches it.
    fn link(&mut self, node: usize, of: usize, change: u8) {
        let is_cut = self.shared.lock().net().0.link_mut(of, node).cut.is_some();
        let Some(process) = &self.hosts[node].process else { return };
        if is_cut {
            return;
        }
        let change = match change {
            UP => LinkChange::Up,
            DOWN => LinkChange::Down,
            _ => LinkChange::Dead,
        };
        let peer = NodeId((of - self.plan.settings.publishers) as u16);
        process.desk.try_bring(LinkEvent { node: peer, change });
    }

    /// An operator's command.
    fn command(&mut self, node: usize, promotes: bool) {
        let Some(process) = &self.hosts[node].process else { return };
        let what = if promotes { OperatorCommand::Promote } else { OperatorCommand::Retire };
        if process.desk.try_command(Ticketed { ticket: self.serial, what }) {
            self.shared.lock().fault(FaultClass::Operator, node, node);
        }
    }

    /// Whether `node` is all of an in-sync set that keeps what is committed in memory only: nobody may replace it then, by
    /// any rule.
    fn is_last_copy(&self, node: usize) -> bool {
        let settings = &self.plan.settings;
        let alone = [NodeId(node.wrapping_sub(settings.publishers) as u16)];
        let is_alone = |record: &Record| record.in_sync.as_slice().iter().map(|member| member.node).eq(alone);
        !settings.is_durable && self.shared.lock().register.may_be(is_alone)
    }

    /// The faults are over.
    fn heal(&mut self) {
        for index in 0..self.plan.episodes.len() {
            self.change(index, false);
        }
        self.healed = true;
        for node in 0..self.hosts.len() {
            self.start(node);
        }
    }

    /// Something goes wrong for good, as soon as all sequencers are in sync.
    fn strike(&mut self) {
        let sequencers = self.plan.settings.sequencers;
        let is_whole = |record: &Record| record.in_sync.len() == sequencers;
        let are_up = self.plan.settings.sequencer_nodes().all(|node| self.hosts[node].process.is_some());
        if !self.healed || !are_up || !self.shared.lock().register.is(is_whole) {
            return self.at(self.now + STRIKE_AGAIN, Due::Strike);
        }
        let Some(lasting) = self.plan.lasting.take() else { return };
        self.excused = lasting.excused;
        self.shared.lock().fault(FaultClass::Lasting, lasting.node, lasting.node);
        for what in lasting.what {
            self.plan.episodes.push(Episode { begins: self.now, ends: self.plan.bound, what });
            self.active.push(true);
            self.apply(self.active.len() - 1, true);
        }
    }

    /// What became of it.
    pub(super) fn report(self, seed: u64) -> super::Report {
        // Processes go first: they hold on to what is shared.
        drop(self.hosts);
        let shared = self.shared.lock();
        super::Report {
            seed,
            violation: shared.referee.violation().cloned(),
            injected: shared.injected,
            messages: shared.referee.settled(),
            has_heirs: self.has_heirs,
            virtual_time: self.now,
            turns: self.turns,
            events: shared.trace.events(),
            trace_hash: shared.trace.hash(),
        }
    }
}

impl Host {
    fn new(clock: NodeClock) -> Host {
        Host {
            clock,
            disk: NodeDisk::default(),
            process: None,
            life: 0,
            is_done: false,
            is_frozen: false,
            waiting: Vec::new(),
            kept_down: 0,
            stalls: 0,
            slow_disks: 0,
            rebirth: Rebirth::new(),
        }
    }

    /// The process is not frozen any more; gives the seats whose turns are due.
    fn thaw(&mut self) -> Vec<usize> {
        self.is_frozen = false;
        std::mem::take(&mut self.waiting)
    }
}

fn count(of: &mut u32, begins: bool) {
    *of = if begins { *of + 1 } else { *of - 1 };
}

#[cfg(test)]
mod tests;
