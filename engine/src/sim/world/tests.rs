//! Worlds in which nothing goes wrong but what an operator does.

use super::*;
use crate::sim::plan::What;

/// Worlds that are tried.
const SEEDS: u64 = 60;
/// When the operator speaks, and when the world may end.
const COMMAND: Nanos = Nanos::from_millis(60);
const HEALS: Nanos = Nanos::from_millis(100);
const PATIENCE: Nanos = Nanos::from_millis(50);

/// The world of `seed` with three sequencers and nothing that goes wrong, but that the last sequencer is promoted, if it is.
fn calm(seed: u64, is_promoted: bool) -> Option<Record> {
    let mut plan = Plan::draw(seed);
    if plan.settings.sequencers != 3 || plan.settings.retain_segments.is_some() {
        return None;
    }
    let node = plan.settings.publishers + 2;
    plan.episodes.clear();
    if is_promoted {
        let what = What::Operator { node, promotes: true };
        plan.episodes.push(Episode { begins: COMMAND, ends: COMMAND, what });
    }
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
    let mut world = World::of(plan, seed, None, Trace::default());
    world.run();
    let record = world.shared.lock().register.record();
    assert_eq!(world.report(seed).violation, None, "seed {seed}");
    record
}

#[test]
fn who_is_promoted_while_the_primary_lives_is_handed_the_lead_by_one_change() {
    let mut worlds = 0;
    for seed in 0..SEEDS {
        let Some(before) = calm(seed, false) else { continue };
        if before.epoch != 1 || before.in_sync.len() != 3 {
            continue;
        }
        let after = calm(seed, true).expect("the same world");
        assert_eq!(
            (after.epoch, after.primary.node, after.in_sync),
            (2, NodeId(2), before.in_sync),
            "seed {seed}"
        );
        worlds += 1;
    }
    assert!(worlds >= 5, "{worlds} worlds only");
}
