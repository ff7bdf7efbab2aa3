//! What a seed means: the world, what is said in it, and what goes wrong when.
//!
//! Each seed picks some classes of faults and gives each a weight (swarm testing): a run with few classes goes deeper
//! into each than a run with all of them.

use std::fmt;
use std::net::SocketAddrV4;
use std::sync::Arc;

use super::dice::{Dice, Purpose};
use super::fault::FaultClass;
use super::load::{Load, LoadPlan};
use super::net::Link;
use super::settings::{Retention, Settings};
use crate::config::{Config, Start};
use crate::time::Nanos;

/// Chances in a hundred that a seed uses a class of faults.
const CLASS_CHANCES: u32 = 35;
/// Faults of the schedule, at most.
const MOST_EPISODES: u64 = 12;
/// Chances in a hundred that journals do not reach back to the beginning, where that is possible.
const RETAIN_CHANCES: u32 = 20;
/// How much longer such a run takes, and how long it is calm, so that who keeps everything has it from the beginning.
const RETAINING: (Nanos, Nanos) = (Nanos::from_millis(80), Nanos::from_millis(40));
/// After the faults, everybody must have caught up within this.
const BOUND: Nanos = Nanos::from_secs(2);
/// Chances in a hundred that a fault stays, where the other sequencers must be able to go on.
const LASTING_CHANCES: u32 = 60;
/// So long publishers go on after the faults when one is still to come, which comes in the first half of it.
const LASTING_LOAD: Nanos = Nanos::from_millis(60);

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Publisher,
    Sequencer,
    Subscriber { start: Start },
}

/// A node.
pub(super) struct NodePlan {
    pub(super) kind: Kind,
    pub(super) config: Config,
    /// When its process begins.
    pub(super) starts: Nanos,
    pub(super) clock_began: Nanos,
    pub(super) drift_ppm: i64,
    /// Agents that share a thread take their turns together, as one.
    pub(super) shares_threads: bool,
    /// Shortest and longest rest of its agents between turns.
    pub(super) rest: (Nanos, Nanos),
    /// The same of its cold agents.
    pub(super) cold_rest: (Nanos, Nanos),
}

/// A fault of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Episode {
    pub(super) begins: Nanos,
    pub(super) ends: Nanos,
    pub(super) what: What,
}

/// What goes wrong. Chances are per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Loss {
        a: usize,
        b: usize,
        chances: u32,
    },
    AsymmetricLoss {
        from: usize,
        to: usize,
        chances: u32,
    },
    LineLoss {
        line: SocketAddrV4,
        chances: u32,
    },
    Duplicate {
        chances: u32,
    },
    Reorder {
        chances: u32,
        by: Nanos,
    },
    Latency {
        node: usize,
        extra: Nanos,
    },
    /// Nodes whose bit is set do not reach the others.
    Partition {
        side: u32,
    },
    OneWay {
        from: usize,
        to: usize,
    },
    /// Nodes whose bit is set in one do not reach those of the other.
    Cut {
        from: u32,
        to: u32,
    },
    Busy {
        node: usize,
        chances: u32,
    },
    Corruption {
        chances: u32,
    },
    Kill {
        node: usize,
    },
    Restart {
        node: usize,
    },
    PowerLoss {
        node: usize,
        keep: u32,
    },
    Freeze {
        node: usize,
    },
    Stall {
        node: usize,
    },
    SlowDisk {
        node: usize,
    },
    DiskFull {
        node: usize,
    },
    SyncFailure {
        node: usize,
    },
    ClockJump {
        node: usize,
        by_ns: i64,
    },
    CoordinatorAway,
    CoordinatorCut {
        node: usize,
    },
    CoordinatorLoss {
        chances: u32,
    },
    CoordinatorSlow {
        extra: Nanos,
    },
    /// An operator tells a sequencer to hand over, or to take over.
    Operator {
        node: usize,
        promotes: bool,
    },
}

/// A fault that stays once all others are over and every sequencer is in sync. The others go on all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lasting {
    /// Not before this.
    pub(super) begins: Nanos,
    pub(super) what: Vec<What>,
    pub(super) node: usize,
    pub(super) excused: Excused,
}

/// Who may fall behind for good, as one bit a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excused {
    Always(u32),
    /// In epochs that the coordinator has not told it of: whom it follows a node believes nobody else.
    Untold(u32),
}

/// A run.
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) nodes: Vec<NodePlan>,
    pub(super) loads: Vec<Arc<Load>>,
    /// What publishers that change their minds say instead.
    pub(super) other_loads: Vec<Arc<Load>>,
    /// Every link as it is without faults.
    pub(super) link: Link,
    pub(super) episodes: Vec<Episode>,
    pub(super) lasting: Option<Lasting>,
    /// A node whose process is asked to stop leaves its cluster first.
    pub(super) departs: bool,
    /// From here on nothing goes wrong any more.
    pub(super) heals: Nanos,
    /// Until here everybody must have caught up.
    pub(super) bound: Nanos,
    pub(super) max_receive_bytes: usize,
}

impl Plan {
    pub(super) fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed, Purpose::Plan);
        let publishers = dice.between(1, 3) as usize;
        let subscribers = dice.between(1, 2) as usize;
        let sequencers = dice.pick(&[1, 1, 2, 2, 3, 3, 3, 5]);
        let mut settings = Settings::draw(&mut dice, publishers, sequencers);
        let mut retention = Dice::new(seed, Purpose::Retention);
        if settings.may_retain() && retention.percent(RETAIN_CHANCES) {
            settings.retention = Some(draw_retention(&mut retention));
        }
        let heals = dice.span(Nanos::from_millis(15), Nanos::from_millis(160));
        // What is said is spread over a longer time: a subscriber that is told of a loss finds it in some journal still.
        let heals = if settings.retention.is_some() { heals + RETAINING.0 } else { heals };
        let link = Link {
            latency: dice.span(Nanos::from_micros(5), Nanos::from_micros(300)),
            jitter: dice.span(Nanos::from_micros(1), Nanos::from_micros(100)),
            ..Link::default()
        };
        let classes = draw_classes(&mut dice);
        let has = |class| classes.iter().any(|&(known, _)| known == class);
        let drifts = has(FaultClass::ClockDrift);
        let mut nodes = Vec::new();
        for node in 0..publishers + sequencers + subscribers {
            nodes.push(draw_node(&mut dice, &settings, node, heals, drifts));
        }
        let mut schedule = Schedule { dice: &mut dice, settings: &settings, nodes: nodes.len(), heals };
        let mut episodes = schedule.draw(&classes);
        if let Some(retention) = settings.retention {
            let archive = publishers + sequencers - 1;
            episodes.retain(|episode| episode.begins >= RETAINING.1);
            episodes.retain(|episode| episode.what.leaves_whole(archive, retention));
            nodes[archive].starts = Nanos::ZERO;
        }
        let mut max_receive_bytes = dice.pick(&[8 << 10, 64 << 10, 1 << 20]);
        if settings.retention.is_some() {
            max_receive_bytes = 1 << 20;
        }
        // What stays may take away the one who keeps everything, or the only one whose journal no loss of power put in doubt.
        let others_can =
            settings.retention.is_none() && !episodes.iter().any(|episode| episode.what.is_power_loss());
        let lasting = draw_lasting(seed, &settings, heals).filter(|_| others_can);
        let ends = if lasting.is_some() { heals + LASTING_LOAD } else { heals };
        let loads = draw_loads(seed, &settings, &mut dice, ends);
        let other_loads = draw_loads(!seed, &settings, &mut dice, ends);
        let bound = ends + BOUND;
        let departs = Dice::new(seed, Purpose::Departure).percent(50);
        Plan {
            settings,
            nodes,
            loads,
            other_loads,
            link,
            episodes,
            lasting,
            departs,
            heals,
            bound,
            max_receive_bytes,
        }
    }
}

/// How little sequencers keep. Only in half of these worlds do they keep what others lack: the other half needs images.
fn draw_retention(dice: &mut Dice) -> Retention {
    let segments = dice.between(2, 3);
    let catch_up_segments = dice.percent(50).then(|| dice.between(segments, 2 * segments));
    Retention { segments, catch_up_segments }
}

/// The classes that a seed uses, each with its weight.
fn draw_classes(dice: &mut Dice) -> Vec<(FaultClass, u64)> {
    let mut classes = Vec::new();
    // An image follows from other faults.
    for &class in FaultClass::ALL.iter().filter(|class| **class != FaultClass::Image) {
        if dice.percent(CLASS_CHANCES) {
            classes.push((class, dice.between(1, 10)));
        }
    }
    classes
}

fn draw_node(dice: &mut Dice, settings: &Settings, node: usize, heals: Nanos, drifts: bool) -> NodePlan {
    let (kind, config) = if node < settings.publishers {
        (Kind::Publisher, settings.publisher(node))
    } else if node < settings.publishers + settings.sequencers {
        (Kind::Sequencer, settings.sequencer(node))
    } else {
        let start = if dice.percent(20) { Start::Live } else { Start::First };
        (Kind::Subscriber { start }, settings.subscriber(node, start))
    };
    let is_late = dice.percent(20);
    let starts = if is_late { Nanos(dice.below(heals.0)) } else { Nanos(dice.below(1_000_000)) };
    let drift = dice.between(0, 2_000) as i64 - 1_000;
    let shortest = dice.span(Nanos::from_micros(2), Nanos::from_micros(40));
    let longest = dice.span(Nanos::from_micros(100), Nanos::from_millis(1));
    let cold = dice.span(Nanos::from_micros(100), Nanos::from_millis(1));
    NodePlan {
        kind,
        config,
        starts,
        clock_began: Nanos(dice.below(1 << 40)),
        drift_ppm: if drifts { drift * 10 } else { 0 },
        shares_threads: dice.percent(50),
        rest: (shortest, longest),
        cold_rest: (cold, cold + cold + cold),
    }
}

/// What happens to one sequencer for good, if anything does.
fn draw_lasting(seed: u64, settings: &Settings, heals: Nanos) -> Option<Lasting> {
    let mut dice = Dice::new(seed, Purpose::Lasting);
    if settings.sequencers <= settings.min_in_sync
        || settings.min_in_sync < 2
        || !dice.percent(LASTING_CHANCES)
    {
        return None;
    }
    let mut others: Vec<usize> = settings.sequencer_nodes().collect();
    let node = others.swap_remove(dice.below(others.len() as u64) as usize);
    let other = dice.pick(&others);
    let victim = 1 << node;
    let rest = others.iter().fold(0, |rest, other| rest | 1 << other);
    let (deaf, dumb) = (What::Cut { from: rest, to: victim }, What::Cut { from: victim, to: rest });
    let (what, excused) = match dice.below(8) {
        0 | 1 => (vec![deaf], Excused::Always(victim)),
        2 => (vec![dumb], Excused::Always(victim)),
        3 => (vec![deaf, dumb], Excused::Always(victim)),
        4 => (vec![What::Cut { from: victim, to: 1 << other }], Excused::Always(victim | 1 << other)),
        5 => (vec![What::Kill { node }], Excused::Always(victim)),
        6 => (vec![What::Freeze { node }], Excused::Always(victim)),
        _ => (vec![What::CoordinatorCut { node }], Excused::Untold(victim)),
    };
    let begins = heals + Nanos(dice.below(LASTING_LOAD.0 / 2));
    Some(Lasting { begins, what, node, excused })
}

fn draw_loads(seed: u64, settings: &Settings, dice: &mut Dice, heals: Nanos) -> Vec<Arc<Load>> {
    let mut load_dice = Dice::new(seed, Purpose::Load);
    let most = if dice.percent(10) { 600 } else { 120 };
    let filler_bytes = match dice.below(4) {
        0 => 0,
        1 => settings.max_message_bytes().min(1_000) as u64,
        _ => settings.max_message_bytes().min(50) as u64,
    };
    let load = |source| {
        // The last message comes when the faults are over: no session ends before.
        let last = heals + Nanos::from_millis(3) + Nanos(load_dice.below(5_000_000));
        let messages = load_dice.magnitude(3, most);
        let (source, first) = (source as u16, Nanos::ZERO);
        let mut plan = LoadPlan { source, messages, first, last, filler_bytes, filler_least: 1 };
        if settings.retention.is_some() {
            plan.first = RETAINING.1;
            plan.messages += 300;
            (plan.filler_least, plan.filler_bytes) = (500, settings.max_message_bytes() as u64);
        }
        Arc::new(Load::new(plan, &mut load_dice))
    };
    (0..settings.publishers).map(load).collect()
}

/// Draws the schedule of faults.
struct Schedule<'a> {
    dice: &'a mut Dice,
    settings: &'a Settings,
    nodes: usize,
    heals: Nanos,
}

impl Schedule<'_> {
    fn draw(&mut self, classes: &[(FaultClass, u64)]) -> Vec<Episode> {
        let weights: u64 = classes.iter().map(|(_, weight)| weight).sum();
        let count = self.dice.below(MOST_EPISODES + 1);
        let mut episodes = Vec::new();
        for _ in 0..count {
            let mut at = self.dice.below(weights);
            let chosen = classes.iter().find(|(_, weight)| {
                let is_here = at < *weight;
                at = at.saturating_sub(*weight);
                is_here
            });
            let Some(what) = chosen.and_then(|&(class, _)| self.what(class)) else { continue };
            let begins = Nanos(self.dice.below(self.heals.0));
            let lasts = self.dice.span(Nanos::from_micros(200), Nanos::from_millis(60));
            episodes.push(Episode { begins, ends: (begins + lasts).min(self.heals), what });
        }
        episodes
    }

    fn node(&mut self) -> usize {
        self.dice.below(self.nodes as u64) as usize
    }

    /// A node, mostly one of the sequencers.
    fn victim(&mut self) -> usize {
        if self.dice.percent(60) { self.sequencer() } else { self.node() }
    }

    fn sequencer(&mut self) -> usize {
        self.settings.publishers + self.dice.below(self.settings.sequencers as u64) as usize
    }

    fn pair(&mut self) -> (usize, usize) {
        let (a, b) = (self.sequencer(), self.node());
        if self.dice.percent(50) { (a, b) } else { (b, a) }
    }

    fn chances(&mut self) -> u32 {
        self.dice.magnitude(10_000, 1_000_000) as u32
    }

    /// A fault of that class; `None` for those that do not come and go, or that would be too much to ask.
    fn what(&mut self, class: FaultClass) -> Option<What> {
        let chances = self.chances();
        Some(match class {
            FaultClass::Loss => {
                let (a, b) = self.pair();
                What::Loss { a, b, chances }
            }
            FaultClass::AsymmetricLoss => {
                let (from, to) = self.pair();
                What::AsymmetricLoss { from, to, chances }
            }
            FaultClass::LineLoss => {
                let line = self.dice.pick(&self.settings.all_lines());
                What::LineLoss { line, chances }
            }
            FaultClass::Duplicate => What::Duplicate { chances },
            FaultClass::Reorder => {
                let by = self.dice.span(Nanos::from_micros(10), Nanos::from_millis(40));
                What::Reorder { chances, by }
            }
            FaultClass::Latency => {
                let extra = self.dice.span(Nanos::from_millis(1), Nanos::from_millis(30));
                What::Latency { node: self.victim(), extra }
            }
            FaultClass::Partition => {
                What::Partition { side: self.dice.between(1, (1 << self.nodes) - 2) as u32 }
            }
            FaultClass::OneWay => {
                let (from, to) = self.pair();
                What::OneWay { from, to }
            }
            FaultClass::Busy => What::Busy { node: self.victim(), chances },
            FaultClass::Corruption => What::Corruption { chances },
            _ => return self.what_to_a_node(class),
        })
    }

    fn what_to_a_node(&mut self, class: FaultClass) -> Option<What> {
        let node = self.victim();
        Some(match class {
            FaultClass::Kill => What::Kill { node },
            FaultClass::Restart => What::Restart { node },
            // Without durability on disk, a lone node that loses power loses what it has told: documented, not tested.
            FaultClass::PowerLoss | FaultClass::LostSector
                if self.settings.is_durable || self.settings.sequencers > 1 =>
            {
                What::PowerLoss { node, keep: self.dice.pick(&[0, 300_000, 700_000, 1_000_000]) }
            }
            // Freezing fills queues, which is what overflows them.
            FaultClass::Freeze | FaultClass::Overflow => What::Freeze { node },
            FaultClass::Stall => What::Stall { node },
            FaultClass::SlowDisk => What::SlowDisk { node: self.sequencer() },
            FaultClass::DiskFull => What::DiskFull { node: self.sequencer() },
            FaultClass::SyncFailure => What::SyncFailure { node: self.sequencer() },
            FaultClass::ClockJump => {
                let by_ns = self.dice.magnitude(1_000_000, 3_600_000_000_000) as i64;
                What::ClockJump { node, by_ns: if self.dice.percent(50) { by_ns } else { -by_ns } }
            }
            _ if self.settings.sequencers == 1 => return None,
            FaultClass::CoordinatorAway => What::CoordinatorAway,
            FaultClass::CoordinatorCut => What::CoordinatorCut { node: self.sequencer() },
            FaultClass::CoordinatorLoss => What::CoordinatorLoss { chances: self.chances().min(500_000) },
            FaultClass::CoordinatorSlow => {
                What::CoordinatorSlow { extra: self.dice.span(Nanos::from_millis(1), Nanos::from_millis(12)) }
            }
            FaultClass::Operator => {
                What::Operator { node: self.sequencer(), promotes: self.dice.percent(50) }
            }
            _ => return None,
        })
    }
}

impl What {
    fn is_power_loss(&self) -> bool {
        matches!(self, What::PowerLoss { .. })
    }

    /// Whether `archive` has all that there was in spite of it, and subscribers, the nodes behind it, can ask for that. If the
    /// others keep for it what it lacks, nothing but its own disk's trouble does any harm; else it has to be there.
    fn leaves_whole(&self, archive: usize, retention: Retention) -> bool {
        match *self {
            What::PowerLoss { node, .. } | What::DiskFull { node } | What::SyncFailure { node } => {
                node < archive
            }
            _ if retention.catch_up_segments.is_none() => self.leaves_alone(|node| node > archive),
            What::CoordinatorAway | What::CoordinatorLoss { .. } | What::CoordinatorSlow { .. } => false,
            _ => self.leaves_alone(|node| node >= archive),
        }
    }

    /// Whether it keeps nothing from these nodes.
    fn leaves_alone(&self, mut is: impl FnMut(usize) -> bool) -> bool {
        match *self {
            What::Loss { a, b, .. } | What::AsymmetricLoss { from: a, to: b, .. } => !is(a) && !is(b),
            What::OneWay { from, to } => !is(from) && !is(to),
            What::LineLoss { .. } | What::Partition { .. } => false,
            What::Latency { node, .. }
            | What::Busy { node, .. }
            | What::Kill { node }
            | What::Restart { node }
            | What::PowerLoss { node, .. }
            | What::Freeze { node }
            | What::Stall { node }
            | What::SlowDisk { node }
            | What::DiskFull { node }
            | What::SyncFailure { node }
            | What::CoordinatorCut { node } => !is(node),
            _ => true,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |chances: u32| f64::from(chances) / 1e4;
        match *self {
            What::Loss { a, b, chances } => write!(f, "loss {:.1} % between {a} and {b}", percent(chances)),
            What::AsymmetricLoss { from, to, chances } => {
                write!(f, "loss {:.1} % from {from} to {to}", percent(chances))
            }
            What::LineLoss { line, chances } => write!(f, "loss {:.1} % on line {line}", percent(chances)),
            What::Duplicate { chances } => write!(f, "duplicates {:.1} %", percent(chances)),
            What::Reorder { chances, by } => write!(f, "reordering {:.1} % by {by}", percent(chances)),
            What::Latency { node, extra } => write!(f, "latency of node {node} up by {extra}"),
            What::Partition { side } => write!(f, "partition of nodes {side:b}"),
            What::OneWay { from, to } => write!(f, "nothing from {from} to {to}"),
            What::Cut { from, to } => write!(f, "nothing from nodes {from:b} to {to:b}"),
            What::Busy { node, chances } => write!(f, "sends refused at {node} {:.1} %", percent(chances)),
            What::Kill { node } => write!(f, "kill {node}"),
            What::Restart { node } => write!(f, "restart {node}"),
            What::PowerLoss { node, keep } => {
                write!(f, "power loss of {node}, sectors kept {:.0} %", percent(keep))
            }
            What::Freeze { node } => write!(f, "freeze {node}"),
            What::Stall { node } => write!(f, "stalls of {node}"),
            What::SlowDisk { node } => write!(f, "slow disk of {node}"),
            What::DiskFull { node } => write!(f, "full disk of {node}"),
            What::SyncFailure { node } => write!(f, "failing syncs of {node}"),
            What::CoordinatorAway => write!(f, "coordinator away"),
            What::CoordinatorCut { node } => write!(f, "coordinator out of reach of {node}"),
            What::CoordinatorLoss { chances } => {
                write!(f, "coordinator loses {:.1} % of requests and answers", percent(chances))
            }
            What::CoordinatorSlow { extra } => write!(f, "coordinator slower by up to {extra}"),
            What::Operator { node, promotes: true } => write!(f, "operator promotes {node}"),
            What::Operator { node, promotes: false } => write!(f, "operator retires {node}"),
            What::Corruption { chances } => write!(f, "corruption {:.1} %", percent(chances)),
            What::ClockJump { node, by_ns } => {
                write!(f, "wall clock of {node} set by {} ms", by_ns / 1_000_000)
            }
        }
    }
}
