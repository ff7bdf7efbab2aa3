//! `host`: how often and how long the host takes the core away from threads that do nothing but spin.

use std::time::{Duration, SystemTime};

use seqcast_engine::time::Nanos;

use super::jitter::Jitter;
use super::report::{Report, Unit, Variant};
use super::session::{Session, Subject};

/// Name of the series.
const GAPS: &str = "gap";

/// Measures one thread alone, and as many as there are cores.
///
/// # Errors
/// It was interrupted.
pub(crate) fn run(session: &Session) -> anyhow::Result<Report> {
    let mut threads = vec![1];
    if session.place.cores() > 1 {
        threads.push(session.place.cores());
    }
    let name = |threads: &usize| format!("{threads} thread{}", if *threads == 1 { "" } else { "s" });
    let variants = threads.iter().map(|count| Variant::new(name(count))).collect();
    let what = "gaps of more than 1 µs between two readings of the clock by a thread that does nothing else: the core was \
                gone";
    let subject = Subject::new("host", what, session.place.cores())
        .without(&["caches and frequency that others change without taking the core"]);
    let span = Duration::from_secs_f64(session.seconds);
    session.measure(subject, variants, |at, variant| {
        let began = SystemTime::now();
        let jitter = Jitter::measure(&session.place, threads[at], span);
        let found = jitter.report();
        variant.threads = found.threads.iter().map(|thread| thread.place.clone()).collect();
        let mean = |of: fn(&super::jitter::ThreadReport) -> f64| {
            found.threads.iter().map(of).sum::<f64>() / found.threads.len().max(1) as f64
        };
        variant.record("part of the time that was gone", Unit::Ratio, mean(|thread| thread.stolen_part));
        variant.record("reading of the clock", Unit::Ns, mean(|thread| thread.reading_ns));
        for (at, longer) in ["1 µs", "10 µs", "100 µs", "1 ms"].into_iter().enumerate() {
            let each: Vec<f64> = found.threads.iter().map(|thread| thread.gaps_per_s[at].1).collect();
            let mean = each.iter().sum::<f64>() / each.len().max(1) as f64;
            variant.record(&format!("gaps longer than {longer} on a core"), Unit::TimesPerS, mean);
        }
        for (name, ns) in &found.delay_ns {
            variant.record(&format!("a message at any time waits, {name}"), Unit::Ns, *ns as f64);
        }
        variant.record("longest gap", Unit::Ns, found.longest_ns as f64);
        variant.keep_latency(GAPS, began, jitter.gaps());
        let gone = mean(|thread| thread.stolen_part) * 100.0;
        Ok(format!("{gone:.2} % of the time gone, longest gap {}", Nanos(found.longest_ns)))
    })
}
