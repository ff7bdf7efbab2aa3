//! Worlds in which nothing goes wrong but what an operator does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::sim::plan::What;

/// Worlds that are tried.
const SEEDS: u64 = 60;
/// When the operator speaks, and when the world may end.
const COMMAND: Nanos = Nanos::from_millis(60);
const HEALS: Nanos = Nanos::from_millis(180);
const PATIENCE: Nanos = Nanos::from_millis(50);

/// How a world ended: what the record says, and how often somebody was taken for dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    epoch: u64,
    primary: u16,
    members: usize,
    suspicions: usize,
}

/// The world of `seed` with three sequencers and nothing that goes wrong but what is done to sequencer `which`: what
/// came of it.
fn calm(seed: u64, done: Option<fn(usize) -> What>, which: usize) -> Option<Ending> {
    let mut plan = Plan::draw(seed);
    if plan.settings.sequencers != 3 || plan.settings.retention.is_some() {
        return None;
    }
    plan.episodes.clear();
    if let Some(what) = done {
        let what = what(plan.settings.publishers + which);
        // Whoever is stopped stays away to the end.
        plan.episodes.push(Episode { begins: COMMAND, ends: HEALS, what });
    }
    plan.departs = true;
    plan.lasting = None;
    plan.heals = HEALS;
    plan.bound = HEALS + Nanos::from_secs(2);
    for node in &mut plan.nodes {
        node.starts = Nanos::ZERO;
        // Nobody is suspected for what its disk or the coordinator takes.
        if let Some(cluster) = &mut node.config.cluster {
            (cluster.suspect_after, cluster.max_suspect_after) = (PATIENCE, PATIENCE);
        }
    }
    let lines = Arc::new(AtomicUsize::new(0));
    let suspicions = Arc::clone(&lines);
    let count = move |line: &str| {
        suspicions.fetch_add(line.contains("takes for dead").into(), Ordering::Relaxed);
    };
    let mut world = World::of(plan, seed, None, Trace::new(Some(Box::new(count))));
    world.run();
    let record = world.shared.lock().register.record()?;
    assert_eq!(world.report(seed).violation, None, "seed {seed}");
    let (epoch, primary, members) = (record.epoch, record.primary.node.0, record.in_sync.len());
    Some(Ending { epoch, primary, members, suspicions: lines.load(Ordering::Relaxed) })
}

/// What comes of what is `done` to a sequencer in worlds that are calm, and in which the first leads and all are in sync.
fn endings(done: fn(usize) -> What, which: usize) -> Vec<(u64, Ending)> {
    let calm_one = Ending { epoch: 1, primary: 0, members: 3, suspicions: 0 };
    let worlds = (0..SEEDS).filter(|&seed| calm(seed, None, which) == Some(calm_one));
    let ended: Vec<_> =
        worlds.map(|seed| (seed, calm(seed, Some(done), which).expect("the same world"))).collect();
    assert!(ended.len() >= 5, "{} worlds only", ended.len());
    ended
}

#[test]
fn who_is_promoted_while_the_primary_lives_is_handed_the_lead_by_one_change() {
    for (seed, ending) in endings(|node| What::Operator { node, promotes: true }, 2) {
        assert_eq!(ending, Ending { epoch: 2, primary: 2, members: 3, suspicions: 0 }, "seed {seed}");
    }
}

#[test]
fn a_standby_that_is_asked_to_stop_leaves_the_set_first_and_nobody_waits_for_it() {
    for (seed, ending) in endings(|node| What::Restart { node }, 1) {
        assert_eq!((ending.epoch, ending.primary, ending.suspicions), (1, 0, 0), "seed {seed}");
    }
}

#[test]
fn a_primary_that_is_asked_to_stop_hands_over_leaves_the_set_and_goes() {
    for (seed, ending) in endings(|node| What::Restart { node }, 0) {
        assert_eq!((ending.epoch, ending.suspicions), (2, 0), "seed {seed}");
    }
}
