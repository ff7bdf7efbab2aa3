//! What flows in the benchmarks of the whole path, and a scene for each.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::fingerprint::Fingerprint;
use super::schedule::{Prepared, Timing};
use super::session::{Session, Subject};
use super::stage::{Scene, TRACED};

/// What flows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) symbols: u16,
    /// Lines of every feed.
    pub(crate) lines: usize,
    /// Of the order flow and of everything random.
    pub(crate) seed: u64,
}

impl Flow {
    /// The first `count` messages.
    pub(super) fn prepare(&self, count: u64) -> anyhow::Result<Arc<Prepared>> {
        Ok(Arc::new(Prepared::new(count, self.symbols, self.seed)?))
    }

    /// One subscriber, no standbys, no loss, at `rate` a second.
    pub(super) fn scene<'a>(
        &self,
        session: &'a Session,
        messages: &'a Arc<Prepared>,
        rate: NonZeroU64,
    ) -> Scene<'a> {
        let (count, warm_up) = session.messages(rate.get());
        Scene {
            config: &session.config,
            place: &session.place,
            dir: &session.dir,
            messages,
            count,
            timing: Timing::Rate(rate),
            warm_up,
            sources: 1,
            standbys: 0,
            wire: None,
            subscribers: 1,
            lines: self.lines,
            is_timed: false,
            loss: 0.0,
            seed: self.seed,
            traced: TRACED,
        }
    }

    /// What a benchmark of the whole path says of itself.
    pub(super) fn subject(
        &self,
        bench: &'static str,
        what: impl Into<String>,
        session: &Session,
        messages: &Prepared,
    ) -> Subject {
        Subject::new(bench, what, session.place.cores().min(4))
            .with("lines", self.lines)
            .with("symbols", self.symbols)
            .with("mean message", format!("{:.1} bytes", messages.mean_bytes()))
            .with("journal on", Fingerprint::file_system(&session.dir))
            .with("pace of each line", session.config.send.pace)
            .without(&[
                "network cards, cables and switches",
                "several hosts: everybody shares this one's cores, caches and kernel",
                "the application behind the book",
            ])
    }
}

/// `values` in one line.
pub(super) fn in_words<T: ToString>(values: &[T]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// So many standbys.
pub(super) fn standbys_in_words(count: usize) -> String {
    match count {
        0 => "no standby".into(),
        1 => "1 standby".into(),
        more => format!("{more} standbys"),
    }
}
