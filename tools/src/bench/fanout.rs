//! `fanout`: one feed, many subscribers on this host, each with books of its own.

use std::num::NonZeroU64;

use super::flow::{Flow, in_words};
use super::report::{Report, Unit, Variant};
use super::session::Session;
use super::stage::{self, Scene};
use crate::output::grouped;

/// Most subscribers: each has its own sockets, rings and books.
pub(crate) const MAX_SUBSCRIBERS: usize = 64;
/// With more subscribers than these, each has a ring of this size at most.
const FEW: usize = 4;
const RING_BYTES: usize = 1 << 20;

/// What to measure.
pub(crate) struct Fanout {
    pub(crate) rate: NonZeroU64,
    pub(crate) subscribers: Vec<usize>,
    pub(crate) flow: Flow,
}

/// Measures each number of subscribers in turn.
///
/// # Errors
/// Something could not be set up, or failed.
pub(crate) fn run(session: &Session, fanout: &Fanout) -> anyhow::Result<Report> {
    let (count, _) = session.messages(fanout.rate.get());
    let messages = fanout.flow.prepare(count)?;
    let name = |count: usize| format!("{count} subscriber{}", if count == 1 { "" } else { "s" });
    let variants = fanout.subscribers.iter().map(|&count| Variant::new(name(count))).collect();
    let what = format!(
        "due → in each subscriber's book at {}/s, all subscribers on this host: the kernel copies every datagram for each \
         of them, on the sender's core",
        grouped(fanout.rate.get())
    );
    let subject = fanout
        .flow
        .subject("fanout", what, session, &messages)
        .with("rate", format!("{}/s", grouped(fanout.rate.get())))
        .with("subscribers", in_words(&fanout.subscribers))
        .without(&["subscribers on hosts of their own, for which a switch copies"]);
    session.measure(subject, variants, |at, variant| {
        let subscribers = fanout.subscribers[at];
        let mut config = session.config.clone();
        if subscribers > FEW && config.memory.ring_bytes > RING_BYTES {
            config.memory.ring_bytes = RING_BYTES;
            variant.notices.push(format!("with more than {FEW} subscribers each ring has 1 MiB"));
        }
        let scene =
            Scene { subscribers, config: &config, ..fanout.flow.scene(session, &messages, fanout.rate) };
        let seen = stage::run(&scene, &session.stop)?;
        let p50s: Vec<u64> =
            seen.subscribers.iter().filter_map(|seen| Some(seen.spans.last()?.percentiles().p50.0)).collect();
        let found = seen.record(&scene, variant);
        let (fastest, slowest) = (p50s.iter().min(), p50s.iter().max());
        if let Some((fastest, slowest)) = fastest.zip(slowest) {
            variant.record("p50 of the fastest subscriber", Unit::Ns, *fastest as f64);
            variant.record("p50 of the slowest subscriber", Unit::Ns, *slowest as f64);
        }
        Ok(found)
    })
}
