//! Worlds of production agents under faults, and flawed ones in which the referee must find something.

use std::sync::{Arc, Mutex};

use seqcast_engine::sim::{self, FaultClass, Flaw, Injected, Report};

/// Seeds that are run here; `seqcast sim --seeds N` runs any number.
const SEEDS: u64 = 2_000;
/// Seeds beyond those that found something: each names what.
const FOUND: [u64; 5] = [
    // A primary handed over to a member that was just back under a new incarnation, and each waited for the other.
    511_071, 527_190,
    // A primary that lost the renewal of its epoch stood again at once, and the two deposed each other in turn.
    758_112,
    // Primaries let go what the one that keeps everything had not yet, which lost what it alone had to an image.
    5_000_009, 5_017_837,
];
/// Within this many seeds every flaw must be found.
const FLAW_SEEDS: u64 = 1_000;

#[test]
fn every_seed_ends_well_and_every_fault_occurs() {
    let mut injected = Injected::default();
    let (mut messages, mut broken) = (0, Vec::new());
    for Report { seed, violation, injected: faults, messages: ordered, .. } in
        (0..SEEDS).chain(FOUND).map(sim::run)
    {
        injected.merge(&faults);
        messages += ordered;
        broken
            .extend(violation.map(|violation| format!("seqcast sim --seed {seed} --trace   # {violation}")));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(messages > SEEDS * 10, "{messages} messages only");
    let never: Vec<_> = FaultClass::ALL.iter().filter(|&&class| injected.of(class) == 0).collect();
    assert!(never.is_empty(), "faults that never occurred: {never:?}");
}

fn traced(seed: u64) -> (Report, String) {
    let lines = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&lines);
    let report = sim::run_traced(seed, move |line| {
        let mut lines = sink.lock().unwrap();
        lines.push_str(line);
        lines.push('\n');
    });
    let text = lines.lock().unwrap().clone();
    (report, text)
}

#[test]
fn a_seed_is_the_same_run_every_time() {
    for seed in [3, 77, 1_234] {
        let (report, lines) = traced(seed);
        assert_eq!(traced(seed), (report.clone(), lines.clone()));
        assert_eq!(sim::run(seed), report, "whether it is traced makes no difference");
        assert_eq!(lines.lines().count() as u64, report.events);
        assert_ne!(sim::run(seed + 1).trace_hash, report.trace_hash);
    }
}

#[test]
fn the_referee_finds_every_flaw() {
    let mut missed = Vec::new();
    for flaw in Flaw::all() {
        let found = (0..FLAW_SEEDS).find_map(|seed| Some((seed, sim::run_flawed(seed, flaw).violation?)));
        match found {
            Some((seed, violation)) => eprintln!("{}: seed {seed}: {violation}", flaw.name()),
            None => missed.push(flaw.name()),
        }
    }
    assert!(missed.is_empty(), "not found within {FLAW_SEEDS} seeds: {missed:?}");
}
