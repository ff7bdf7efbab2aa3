//! One run of the whole path: publisher → sequencer → [standbys] → subscribers' books, by the production topology, in this
//! process.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use seqcast_engine::agents::status;
use seqcast_engine::agents::trace::Trace;
use seqcast_engine::book::BooksConfig;
use seqcast_engine::config::{Config, Runtime};
use seqcast_engine::io::Driver;
use seqcast_engine::io::fault::{FaultPlan, Faults};
use seqcast_engine::runtime::{Clock, Composite, StopFlag};
use seqcast_engine::stat::{Counters, CountersSpec, Latency};
use seqcast_engine::sync::Flag;
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node, Running, SequencerParts, SequencerTrace, SubscriberParts};

use super::busy::{Ledger, Party};
use super::observer::{Far, Left, Observed, Observer, SPANS, WHOLE};
use super::place::{Place, Role, Staged};
use super::report::Variant;
use super::schedule::{OpenLoop, Part, Prepared, Timing};
use super::site::{Ends, Site};
use super::wire::Wire;
use crate::control;
use crate::coordinator;
use crate::later::{Later, Seat};
use crate::wiring::Wired;

/// How often a run looks whether it is done.
const LOOK: Duration = Duration::from_millis(5);
/// A run that makes no progress for this long will make none.
const STUCK: Duration = Duration::from_secs(10);
/// A cluster that is not complete after this long will not be.
const FORMING: Duration = Duration::from_secs(30);
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages whose times are remembered: more than a publisher's window.
pub(super) const TRACED: usize = 1 << 16;
/// Fewest of one source.
const LEAST_TRACED: usize = 1 << 12;

/// What a run is made of.
pub(super) struct Scene<'a> {
    /// How everybody is configured but for places.
    pub(super) config: &'a Config,
    pub(super) place: &'a Place,
    /// Where journals go.
    pub(super) dir: &'a Path,
    pub(super) messages: &'a Arc<Prepared>,
    pub(super) count: u64,
    pub(super) timing: Timing,
    /// Messages at the start that are not measured.
    pub(super) warm_up: u64,
    /// Publishers; each has its part of the stocks.
    pub(super) sources: usize,
    pub(super) standbys: usize,
    /// What the standbys are behind; all are on the loopback interface without it.
    pub(super) wire: Option<&'a Wire>,
    pub(super) subscribers: usize,
    pub(super) lines: usize,
    /// Whether it is told how long everybody was busy, which costs two readings of the clock a duty cycle.
    pub(super) is_timed: bool,
    /// Part of the datagrams that each subscriber loses, on each line for itself.
    pub(super) loss: f64,
    /// Start of the chances of losing.
    pub(super) seed: u64,
    /// Messages whose times are remembered.
    pub(super) traced: usize,
}

/// What came out.
pub(super) struct Seen {
    pub(super) began: SystemTime,
    pub(super) subscribers: Vec<Observed>,
    /// Sums over everybody's counters.
    pub(super) counts: Vec<(&'static str, u64)>,
    /// How long each of [`Party::ALL`] was busy, if that was timed, of how long.
    pub(super) busy: Option<([Nanos; Party::ALL.len()], Nanos)>,
    /// Whether the set that commits waited for was the same all the time.
    pub(super) is_steady: bool,
    /// Whether everything had arrived when it ended.
    pub(super) is_whole: bool,
    pub(super) layout: Vec<String>,
    pub(super) driver: &'static str,
    pub(super) notices: Vec<String>,
}

impl Seen {
    /// From due to in the book, of all subscribers.
    pub(super) fn whole(&self) -> Latency {
        let mut all = Latency::new();
        self.subscribers.iter().filter_map(|seen| seen.spans.last()).for_each(|latency| all.merge(latency));
        all
    }

    /// Adds what a run of `scene` gave to `variant`, and says in a word what that was.
    pub(super) fn record(mut self, scene: &Scene<'_>, variant: &mut Variant) -> String {
        let whole = self.whole();
        let p50 = whole.percentiles().p50;
        let sum = |of: fn(&Observed) -> u64| self.subscribers.iter().map(of).sum::<u64>();
        variant.count("sent", scene.count * scene.subscribers as u64);
        variant.count("received", sum(|seen| seen.received));
        variant.count("lost for good", sum(|seen| seen.lost));
        variant.count("untimed", sum(|seen| seen.untimed));
        variant.count("unsteady runs", u64::from(!self.is_steady));
        variant.count("runs cut short", u64::from(!self.is_whole));
        self.counts.iter().for_each(|(name, more)| variant.count(name, *more));
        variant.threads = self.layout;
        variant.threads.push(format!("driver {}", self.driver));
        variant.notices.append(&mut self.notices);
        let parts = self.subscribers.first().map_or(&[][..], |first| &first.spans[..]);
        for ((.., name), latency) in SPANS.iter().zip(parts).filter(|((.., name), _)| *name != WHOLE) {
            variant.record_latency(name, self.began, latency.clone());
        }
        variant.record_latency(WHOLE, self.began, whole);
        format!("p50 {p50}")
    }
}

/// Counters that say how messages got to subscribers, and what was in the way.
const TOLD: [(&str, &str); 14] = [
    ("holes on lines", "subscriber_line_holes_total"),
    ("gaps", "subscriber_gaps_found_total"),
    ("filled by another line", "subscriber_line_filled_messages_total"),
    ("filled by rewind", "subscriber_rewind_filled_messages_total"),
    ("requests", "subscriber_requests_total"),
    ("dropped by the kernel", "subscriber_kernel_dropped_datagrams_total"),
    ("dropped by the kernel before the sequencer", "sequencer_kernel_dropped_datagrams_total"),
    ("refused by the publishers' histories", "publisher_backpressure_total"),
    ("refused by the sequencer's ring", "sequencer_backpressure_total"),
    ("datagrams held back by the pace", "egress_paced_total"),
    ("filled by rewind before the sequencer", "source_rewind_filled_messages_total"),
    ("datagrams sent by publishers", "publisher_sent_datagrams_total"),
    ("datagrams sent by the sequencer", "egress_sent_datagrams_total"),
    ("datagrams received by subscribers", "subscriber_received_datagrams_total"),
];

/// Everybody of a run, before it starts.
struct Cast {
    site: Site,
    /// The data path first.
    running: Vec<Running>,
    ledger: Option<Ledger>,
    go: Flag,
    /// The standbys' agents of the data path, until the first node leads.
    waiting: Vec<(Seat, Composite)>,
    subscribers: Vec<(Left, Far)>,
    counters: Vec<Counters>,
    layout: Vec<String>,
    driver: &'static str,
    notices: Vec<String>,
}

/// Runs `scene` until everything is in every subscriber's book, nothing moves any more, or `stop` is set.
///
/// # Errors
/// Something could not be set up, or failed.
pub(super) fn run(scene: &Scene<'_>, stop: &StopFlag) -> anyhow::Result<Seen> {
    // A failure of one run must not end those after it.
    let all = StopFlag::new();
    let mut cast = assemble(scene, &all)?;
    let formed = form(&mut cast, scene.standbys, stop);
    let began = SystemTime::now();
    let mut is_whole = false;
    let mut busy = None;
    if formed.is_ok() {
        let before = cast.ledger.as_ref().map(|ledger| (ledger.busy(), Instant::now()));
        cast.go.raise();
        is_whole = wait(scene, &cast, stop);
        let since = |(before, then): ([Nanos; Party::ALL.len()], Instant), ledger: &Ledger| {
            let (after, passed) = (ledger.busy(), then.elapsed());
            let busy = std::array::from_fn(|at| after[at].since(before[at]));
            (busy, Nanos(passed.as_nanos() as u64))
        };
        busy = before.zip(cast.ledger.as_ref()).map(|(before, ledger)| since(before, ledger));
    }
    let is_steady = formed.as_ref().is_ok_and(|epoch| still_leads(&cast.site, scene.standbys, *epoch));
    let Cast { site, running, subscribers, counters, layout, driver, notices, .. } = cast;
    let failures: Vec<String> = running
        .into_iter()
        .flat_map(Running::stop)
        .filter(|report| report.outcome.is_failure())
        .map(|report| report.to_string())
        .collect();
    drop(site);
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    formed?;
    let readings: Vec<_> = counters.iter().flat_map(Counters::readings).collect();
    let counts = TOLD.map(|(name, counter)| {
        let wanted = format!("seqcast_{counter}");
        let all = readings.iter().filter(|reading| reading.label.split('{').next() == Some(&wanted));
        (name, all.map(|reading| reading.value).sum::<u64>())
    });
    let taken = |left: &Left| std::mem::take(&mut *left.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Seen {
        began,
        subscribers: subscribers.iter().map(|(left, ..)| taken(left)).collect(),
        counts: counts.to_vec(),
        busy,
        is_steady,
        is_whole,
        layout,
        driver,
        notices,
    })
}

fn assemble(scene: &Scene<'_>, stop: &StopFlag) -> anyhow::Result<Cast> {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let ends = scene.wire.map_or(Ends::LOOPBACK, Wire::ends);
    let site = Site::new(scene.dir, number, scene.sources, scene.standbys + 1, scene.lines, ends)?;
    let clock = Clock::new();
    let feed = Trace::new(scene.traced, clock.clone());
    let traced = (scene.traced / scene.sources).max(LEAST_TRACED);
    let sources: Vec<Trace> = (0..scene.sources).map(|_| Trace::new(traced, clock.clone())).collect();
    let go = Flag::new();
    let mut kept = Vec::new();
    let mut counters = || {
        let counters = Counters::anonymous("bench", CountersSpec::default())?;
        kept.push(counters.clone());
        anyhow::Ok(counters)
    };
    let (mut roles, mut waiting) = (Vec::new(), Vec::new());

    let parts = Part::of(scene.messages, scene.count, scene.sources);
    for (at, (part, source)) in parts.into_iter().zip(&sources).enumerate() {
        let script = OpenLoop::new(scene.messages, part, scene.timing, &go);
        let config = site.config(scene.config, at)?;
        let publisher = topology::publisher(&config, script, &counters()?, "", Some(source.clone()))?;
        roles.push((Role::Publisher(at), publisher));
    }
    for at in 0..=scene.standbys {
        let role = at.checked_sub(1).map_or(Role::Primary, Role::Standby);
        let is_first = role == Role::Primary;
        let config = site.node_config(scene.config, at)?;
        let trace = is_first.then(|| SequencerTrace { feed: feed.clone(), sources: sources.clone() });
        let parts = SequencerParts {
            trace,
            coordinator: coordinator::open(&config)?,
            control_port: config.cluster.is_some(),
            ..SequencerParts::default()
        };
        let counters = counters()?;
        let mut node = at_end(scene, role, || Ok(topology::sequencer(&config, &counters, parts)?))?;
        if !is_first {
            let seat = Seat::new();
            waiting.push((seat.clone(), node.take_hot(&role.to_string())));
            node.add_hot("standby", Later::new(&seat));
        }
        roles.push((role, node));
    }
    let config = site.config(scene.config, 0)?;
    let mut subscribers = Vec::new();
    let mut driver = "";
    for at in 0..scene.subscribers {
        let (node, name, seen) = subscriber(scene, &config, at, &feed, counters()?)?;
        roles.push((Role::Subscriber(at), node));
        subscribers.push(seen);
        driver = name;
    }
    let mut runtime = config.runtime.clone();
    let ledger = scene.is_timed.then(Ledger::default);
    let Staged { hot, cold, mut told } = scene.place.stage(roles, &mut runtime, ledger.as_ref());
    let notices = cold.iter().flat_map(|(_, node)| node.notices()).cloned().collect();
    // Whoever may block is there before whoever waits for it.
    let of_cold = Runtime { threads: Vec::new(), ..config.runtime };
    let mut running = Vec::new();
    for (role, node) in cold {
        let counters = counters()?;
        running.push(at_end(scene, role, || Ok(node.launch(&of_cold, &counters, stop)?))?);
    }
    running.push(hot.launch(&runtime, &counters()?, stop)?);
    running.reverse();
    told.push(
        "beside them threads that mostly rest: journals, and with standbys coordinator and links".into(),
    );
    let counters = kept;
    Ok(Cast { site, running, ledger, go, waiting, subscribers, counters, layout: told, driver, notices })
}

/// Does `work` where `role` is: standbys are behind the wire, if there is one.
fn at_end<T: Send>(
    scene: &Scene<'_>,
    role: Role,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    match scene.wire {
        Some(wire) if matches!(role, Role::Standby(_)) => wire.at_far_end(work),
        _ => work(),
    }
}

fn subscriber(
    scene: &Scene<'_>,
    config: &Config,
    at: usize,
    feed: &Trace,
    counters: Counters,
) -> anyhow::Result<(Node, &'static str, (Left, Far))> {
    let burst = match scene.timing {
        Timing::Rate(_) => 1,
        Timing::Bursts { size, .. } => size.get(),
    };
    // The stages are marked by one subscriber: a mark has one writer.
    let is_traced = at == 0;
    let application = Observer::new(feed.clone(), is_traced, scene.warm_up, burst);
    let seen = (application.left(), application.far());
    let mut node = Node::default();
    let driver = topology::driver(config, &mut node)?;
    let name = driver.name();
    let plan = FaultPlan {
        seed: scene.seed.wrapping_mul(1_000).wrapping_add(at as u64),
        receive: Faults { loss: scene.loss, ..Faults::NONE },
        ..FaultPlan::default()
    };
    let driver = Wired::new(driver, (scene.loss > 0.0).then_some(&plan), None)?;
    let parts = SubscriberParts {
        books: BooksConfig { expected_orders: 100_000, ..BooksConfig::default() },
        application,
        instance: "",
        trace: is_traced.then(|| feed.clone()),
        any_session: false,
        trusting: false,
    };
    node.merge(topology::subscriber_on(driver, config, parts, &counters)?);
    Ok((node, name, seen))
}

/// Waits until the first node leads, lets the standbys come, waits until commits wait for all of them, and gives the
/// epoch. The first node is to lead because its thread is not the subscriber's: whoever comes first does.
fn form(cast: &mut Cast, standbys: usize, stop: &StopFlag) -> anyhow::Result<u64> {
    if standbys == 0 {
        return Ok(0);
    }
    let until = Instant::now() + FORMING;
    while Instant::now() < until {
        if stop.is_set() {
            bail!("interrupted");
        }
        if let Some(epoch) = leads(&cast.site, standbys) {
            return Ok(epoch);
        }
        let first = control::status(cast.site.control(0), PATIENCE);
        if first.is_ok_and(|report| report.role == status::Role::Primary) {
            cast.waiting.drain(..).for_each(|(seat, standby)| seat.take(standby));
        }
        std::thread::sleep(LOOK);
    }
    let last = control::status(cast.site.control(0), PATIENCE).context("the first node does not answer")?;
    bail!(
        "the cluster of {} nodes was not complete within {} s; the first node is {}, its set {:?}, {}",
        standbys + 1,
        FORMING.as_secs(),
        last.role,
        last.local,
        last.closed.unwrap_or_default()
    )
}

/// The first node's epoch, if it is primary, admits events, and commits wait for all standbys.
fn leads(site: &Site, standbys: usize) -> Option<u64> {
    let report = control::status(site.control(0), PATIENCE).ok()?;
    let leads =
        report.role == status::Role::Primary && report.admitting && report.local.len() == standbys + 1;
    leads.then_some(report.epoch)
}

/// Whether the first node leads as it did when the run began. A node that is busy may be asked again.
fn still_leads(site: &Site, standbys: usize, epoch: u64) -> bool {
    const TIMES: usize = 5;
    standbys == 0 || (0..TIMES).any(|_| leads(site, standbys) == Some(epoch))
}

/// Waits until every subscriber has everything; `false` when that will not be.
fn wait(scene: &Scene<'_>, cast: &Cast, stop: &StopFlag) -> bool {
    let far = |cast: &Cast| cast.subscribers.iter().map(|(_, far)| far.messages()).sum::<u64>();
    let wanted = scene.count * scene.subscribers as u64;
    // Between two messages there may be longer than nothing moves.
    let patience = STUCK + Duration::from_nanos((scene.timing.due(scene.count).0 / scene.count.max(1)) * 2);
    let (mut seen, mut seen_at) = (0, Instant::now());
    loop {
        let now = far(cast);
        if now >= wanted {
            return true;
        }
        if now > seen {
            (seen, seen_at) = (now, Instant::now());
        }
        if stop.is_set() || cast.running[0].is_finished() || seen_at.elapsed() > patience {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}
