//! x
mod log;
mod model;
mod node;

use model::*;
use seqcast_engine::replica::{Broken, Rule};
use stateright::{Checker, HasDiscoveries, Model};
use std::time::Instant;

fn bounds() -> Bounds {
    Bounds {
        nodes: 2, min_in_sync: 1, messages: 2, epoch: 3, in_flight: 1,
        faults: Faults { suspicions: 1, losses: 1, crashes: 1, power_losses: 0, unknown_answers: 1, commands: 0 },
        broken: Broken::NONE,
    }
}

fn env(name: &str, or: u64) -> u64 { std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(or) }

#[test]
fn explore() {
    let mut b = bounds();
    b.nodes = env("N", 2) as u16; b.min_in_sync = env("MIN", 1) as usize; b.messages = env("M", 2); b.epoch = env("E", 3);
    b.in_flight = env("F", 1) as usize;
    b.faults = Faults { suspicions: env("S", 1) as u8, losses: env("L", 1) as u8, crashes: env("C", 1) as u8, power_losses: env("P", 0) as u8, unknown_answers: env("U", 1) as u8, commands: env("O", 0) as u8 };
    if let Ok(rule) = std::env::var("RULE") { b.broken = Broken::rule(Rule::ALL[rule.parse::<usize>().unwrap()]); println!("{:?}", Rule::ALL[rule.parse::<usize>().unwrap()]); }
    let t = Instant::now();
    let checker = b.checker().threads(env("T", 2) as usize).finish_when(HasDiscoveries::AnyFailures).target_state_count(env("MAX", 30_000_000) as usize).spawn_bfs().join();
    println!("{b:?}\nunique {} generated {} depth {} in {:?}", checker.unique_state_count(), checker.state_count(), checker.max_depth(), t.elapsed());
    for (name, path) in checker.discoveries() {
        println!("{name}: {} steps: {:?}", path.clone().into_actions().len(), path.into_actions());
    }
}
