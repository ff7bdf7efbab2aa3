//! Worlds of production agents under faults; see `seqcast_engine::sim`.

#![expect(clippy::print_stdout, reason = "a table of what was injected")]

use seqcast_engine::sim;

#[test]
fn every_seed_ends_well() {
    let count: u64 = std::env::var("SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(300);
    let from: u64 = std::env::var("FROM").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let began = std::time::Instant::now();
    let mut injected = sim::Injected::default();
    let (mut bad, mut turns, mut events, mut messages, mut virt) = (0, 0, 0, 0, 0);
    for seed in from..from + count {
        let report = sim::run(seed);
        injected.merge(&report.injected);
        turns += report.turns;
        events += report.events;
        messages += report.messages;
        virt += report.virtual_time.0;
        if let Some(violation) = report.violation {
            bad += 1;
            println!("seed {seed}: {violation}");
        }
    }
    for (class, count) in injected.iter() {
        println!("{class:20} {count}");
    }
    println!(
        "{bad} bad of {count}, {turns} turns, {events} events, {messages} messages, {} virtual ms, {:?}",
        virt / 1_000_000,
        began.elapsed()
    );
    assert_eq!(bad, 0);
}

#[test]
fn trace() {
    let Some(seed) = std::env::var("SEED").ok().and_then(|text| text.parse().ok()) else { return };
    let report = sim::run_traced(seed, |line| println!("{line}"));
    println!("{report:?}");
}
