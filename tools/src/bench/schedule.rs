//! What is sent and when: messages made beforehand, each due at its own time whatever became of those before.

use std::num::NonZeroU64;
use std::sync::Arc;

use anyhow::ensure;
use seqcast_engine::agents::publisher::Script;
use seqcast_engine::book::{Books, BooksConfig, Effect};
use seqcast_engine::sync::Flag;
use seqcast_engine::time::Nanos;

use crate::day::{Day, DayConfig};

/// Most messages of a run: they are kept in memory, about 40 bytes each.
pub(crate) const MAX_MESSAGES: u64 = 50_000_000;

/// Order events of a generated day, one after the other in memory. Each changes a book or trades, so that each is seen
/// in the book.
#[derive(Debug)]
pub(crate) struct Prepared {
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: Vec<usize>,
}

impl Prepared {
    /// The first `count` of a day of `symbols` stocks.
    pub(crate) fn new(count: u64, symbols: u16, seed: u64) -> anyhow::Result<Prepared> {
        ensure!(
            count <= MAX_MESSAGES,
            "{count} messages are more than {MAX_MESSAGES}, which are kept in memory"
        );
        // Most messages are order events; the directory and the crosses are not.
        let mut messages = count + count / 4 + DayConfig::min_messages(symbols);
        loop {
            let day = Day::new(DayConfig { seed, symbols, messages, ..DayConfig::default() })?;
            let prepared = Prepared::of(day, count as usize)?;
            if prepared.ends.len() as u64 == count {
                return Ok(prepared);
            }
            messages *= 2;
        }
    }

    fn of(mut day: Day, count: usize) -> anyhow::Result<Prepared> {
        let mut books = Books::new(BooksConfig { expected_orders: 100_000, ..BooksConfig::default() })?;
        let mut prepared =
            Prepared { bytes: Vec::with_capacity(count * 40), ends: Vec::with_capacity(count) };
        while prepared.ends.len() < count
            && let Some(message) = day.next_message()
        {
            let applied = books.apply(message);
            if applied.effect != Effect::None || applied.trade.is_some() {
                prepared.bytes.extend_from_slice(message);
                prepared.ends.push(prepared.bytes.len());
            }
        }
        Ok(prepared)
    }

    /// Message number `at`, from 0.
    pub(crate) fn message(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }

    /// The stock that message number `at` is about.
    fn locate(&self, at: usize) -> u16 {
        match self.message(at) {
            [_, high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Mean length.
    pub(crate) fn mean_bytes(&self) -> f64 {
        self.bytes.len() as f64 / self.ends.len().max(1) as f64
    }
}

/// When messages are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// So many a second, evenly.
    Rate(NonZeroU64),
    /// So many at once, again after each `every`.
    Bursts {
        /// Messages of a burst.
        size: NonZeroU64,
        /// From one burst to the next.
        every: Nanos,
    },
}

impl Timing {
    /// When message number `at`, from 0, is due after the start.
    pub fn due(self, at: u64) -> Nanos {
        match self {
            Timing::Rate(per_s) => Nanos((u128::from(at) * 1_000_000_000 / u128::from(per_s.get())) as u64),
            Timing::Bursts { size, every } => Nanos(at / size * every.0),
        }
    }
}

/// Which of the messages a script plays.
#[derive(Debug)]
pub(crate) enum Part {
    /// The first so many.
    First(u64),
    /// Those at these places, in this order.
    Places(Vec<u32>),
}

impl Part {
    /// The first `count` messages dealt out to `sources`, stock by stock, so that whatever is said of an order comes from
    /// one of them.
    pub(crate) fn of(messages: &Prepared, count: u64, sources: usize) -> Vec<Part> {
        assert!(count <= messages.len() as u64, "as many messages are prepared as are played");
        if sources == 1 {
            return vec![Part::First(count)];
        }
        let mut places = vec![Vec::new(); sources];
        for at in 0..count as usize {
            // At most [`MAX_MESSAGES`]: they fit.
            places[usize::from(messages.locate(at)) % sources].push(at as u32);
        }
        places.into_iter().map(Part::Places).collect()
    }

    fn len(&self) -> u64 {
        match self {
            Part::First(count) => *count,
            Part::Places(places) => places.len() as u64,
        }
    }

    fn place(&self, nth: u64) -> u64 {
        match self {
            Part::First(_) => nth,
            Part::Places(places) => places[nth as usize].into(),
        }
    }
}

/// Plays messages by their timing once it is let go: an open loop, which waits for nobody.
pub(crate) struct OpenLoop {
    messages: Arc<Prepared>,
    part: Part,
    timing: Timing,
    /// Raised when everybody is ready.
    go: Flag,
    at: u64,
    start: Option<Nanos>,
}

impl OpenLoop {
    pub(crate) fn new(messages: &Arc<Prepared>, part: Part, timing: Timing, go: &Flag) -> OpenLoop {
        OpenLoop { messages: Arc::clone(messages), part, timing, go: go.clone(), at: 0, start: None }
    }
}

impl Script for OpenLoop {
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])> {
        if self.start.is_none() && self.go.is_raised() {
            self.start = Some(now);
        }
        let start = self.start?;
        if self.is_finished() {
            return None;
        }
        let place = self.part.place(self.at);
        let due = start + self.timing.due(place);
        (due <= now).then(|| (due, self.messages.message(place as usize)))
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn is_finished(&self) -> bool {
        self.at == self.part.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(per_s: u64) -> Timing {
        Timing::Rate(NonZeroU64::new(per_s).unwrap())
    }

    #[test]
    fn every_prepared_message_shows_in_a_book() {
        let prepared = Prepared::new(5_000, 20, 1).unwrap();
        assert_eq!(prepared.len(), 5_000);
        let mut books = Books::new(BooksConfig::default()).unwrap();
        for at in 0..prepared.len() {
            let applied = books.apply(prepared.message(at));
            assert!(applied.effect != Effect::None || applied.trade.is_some(), "message {at}");
        }
        assert_eq!(books.stats().symptoms(), 0, "what was left out is not missed");
        assert!((19.0..60.0).contains(&prepared.mean_bytes()), "{}", prepared.mean_bytes());
    }

    #[test]
    fn due_times_do_not_drift() {
        let timing = rate(3);
        assert_eq!(timing.due(1), Nanos(333_333_333));
        assert_eq!(timing.due(3), Nanos::from_secs(1));
        assert_eq!(timing.due(3_000_000_000), Nanos::from_secs(1_000_000_000));
        let bursts = Timing::Bursts { size: NonZeroU64::new(4).unwrap(), every: Nanos(10) };
        let dues: Vec<u64> = (0..9).map(|at| bursts.due(at).0).collect();
        assert_eq!(dues, [0, 0, 0, 0, 10, 10, 10, 10, 20]);
    }

    #[test]
    fn sources_play_everything_between_them_and_each_stock_is_one_source_s() {
        let messages = Arc::new(Prepared::new(2_000, 50, 1).unwrap());
        let go = Flag::new();
        go.raise();
        let parts = Part::of(&messages, 2_000, 7);
        let mut played = vec![None; 2_000];
        for (source, part) in parts.into_iter().enumerate() {
            let mut script = OpenLoop::new(&messages, part, rate(1_000), &go);
            script.peek(Nanos::ZERO);
            while let Some((due, message)) = script.peek(Nanos(u64::MAX / 2)) {
                let at = (due.0 / 1_000_000) as usize;
                assert_eq!(message, messages.message(at));
                assert_eq!(usize::from(messages.locate(at)) % 7, source);
                assert_eq!(played[at].replace(source), None, "once");
                script.advance();
            }
            assert!(script.is_finished());
        }
        assert!(played.iter().all(Option::is_some));
    }

    #[test]
    fn nothing_is_due_before_it_is_let_go_and_nobody_is_waited_for() {
        let messages = Arc::new(Prepared::new(3, 5, 1).unwrap());
        let go = Flag::new();
        let mut script = OpenLoop::new(&messages, Part::First(3), rate(1_000_000_000), &go);
        assert_eq!(script.peek(Nanos(5)), None);
        go.raise();
        assert_eq!(script.peek(Nanos(7)).unwrap(), (Nanos(7), messages.message(0)));
        script.advance();
        assert_eq!(script.peek(Nanos(7)), None, "not yet due");
        // Whoever comes late finds all that was due meanwhile, with the time it was due at.
        for due in [8, 9] {
            assert_eq!(script.peek(Nanos(1_000)).unwrap().0, Nanos(due));
            script.advance();
        }
        assert!(script.is_finished());
        assert_eq!(script.peek(Nanos(2_000)), None);
    }
}
