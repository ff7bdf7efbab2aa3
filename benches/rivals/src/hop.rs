//! One hop: who sends on one thread, who receives on another, and a run between them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;
use seqcast::bench::{Session, Variant};
use seqcast::ports::free_ports;
use seqcast_engine::runtime::{Agent, Runner, RunnerConfig, StopFlag};

use crate::flow::{Flow, Seen};

/// How often a run looks whether it is done.
const LOOK: Duration = Duration::from_millis(5);
/// A run that makes no progress for this long will make none.
const STUCK: Duration = Duration::from_secs(3);

/// Both ends of a hop, before they run.
pub(crate) struct Ends {
    pub(crate) sending: Box<dyn Agent>,
    pub(crate) receiving: Box<dyn Agent>,
    /// The threads, in words.
    pub(crate) layout: String,
    /// What a reader should know.
    pub(crate) notices: Vec<String>,
    /// Counts of the receiving end, once it has ended.
    pub(crate) told: Box<dyn Fn() -> Vec<(&'static str, u64)>>,
}

/// What a run gave.
pub(crate) struct Ran {
    pub(crate) began: SystemTime,
    pub(crate) seen: Seen,
    /// Whether everything arrived.
    pub(crate) is_whole: bool,
    pub(crate) counts: Vec<(&'static str, u64)>,
}

/// Runs `flow` over `ends`, each on a thread of its own, until everything has arrived, nothing moves any more, or it has
/// taken longer than `most`. Adds to `variant` what is no measurement.
pub(crate) fn run(
    session: &Session,
    ends: Ends,
    flow: &Flow,
    most: Duration,
    variant: &mut Variant,
) -> anyhow::Result<Ran> {
    let stop = StopFlag::new();
    let spawn = |agent: Box<dyn Agent>, at| {
        let idle = session.place.rest(2);
        let name = agent.name().to_owned();
        let config = RunnerConfig { name, core: session.place.core(at), idle, ..RunnerConfig::default() };
        Runner::spawn(agent, config, &stop)
    };
    let receiving = spawn(ends.receiving, 1)?;
    let sending = spawn(ends.sending, 0)?;
    let began = SystemTime::now();
    flow.go.raise();
    let started = Instant::now();
    let (mut last, mut moved) = (0, started);
    let is_whole = loop {
        let arrived = flow.arrived();
        if arrived == flow.count {
            break true;
        }
        if arrived > last {
            (last, moved) = (arrived, Instant::now());
        }
        let is_over = session.stop.is_set() || receiving.is_finished() || sending.is_finished();
        if is_over || moved.elapsed() > STUCK || started.elapsed() > most {
            break false;
        }
        thread::sleep(LOOK);
    };
    let reports = [sending, receiving].map(|runner| {
        runner.stop();
        runner.join()
    });
    let failures: Vec<String> =
        reports.iter().filter(|report| report.outcome.is_failure()).map(ToString::to_string).collect();
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    let pinned = |at: usize| reports[at].pinned.to_string();
    variant.threads = vec![ends.layout, format!("sends {}", pinned(0)), format!("receives {}", pinned(1))];
    variant.notices.extend(ends.notices);
    Ok(Ran { began, seen: flow.take_seen(), is_whole, counts: (ends.told)() })
}

/// Multicast groups that no other process of this host has, each with a port of its own. Aeron takes odd ones only.
pub(crate) fn groups(count: usize) -> io::Result<Vec<SocketAddrV4>> {
    let [.., high, low] = std::process::id().to_be_bytes();
    let group = |at: usize| Ipv4Addr::new(239, high | 128, low, 2 * at as u8 + 1);
    Ok(free_ports(count)?
        .into_iter()
        .enumerate()
        .map(|(at, port)| SocketAddrV4::new(group(at), port))
        .collect())
}
