//! `book`: what a message costs in the order books, over a generated day.
//!
//! Public, so that rivals can be measured by the same hands.

use std::hint::black_box;

use rustix::time::{ClockId, Timespec, clock_gettime};
use seqcast_engine::book::{Books, BooksConfig};
use seqcast_wire::dump::Records;
use seqcast_wire::itch::{Glance, Message};

use super::report::{Report, Unit, Variant};
use super::session::{Session, Subject};
use crate::day::{Day, DayConfig, write_binary_file};
use crate::output::grouped;

/// What to measure.
pub(crate) struct Book {
    pub(crate) messages: u64,
    pub(crate) symbols: u16,
    pub(crate) seed: u64,
}

/// A whole day as a BinaryFILE in memory.
///
/// # Errors
/// So many stocks need a longer day.
pub fn day(config: DayConfig) -> anyhow::Result<Vec<u8>> {
    let mut file = Vec::with_capacity(config.messages as usize * 32);
    write_binary_file(&mut Day::new(config)?, &mut file)?;
    Ok(file)
}

/// The messages of a BinaryFILE in memory.
pub fn records(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    Records::new(file).map_while(Result::ok)
}

/// Gives each message of a BinaryFILE to `each`, and their number.
pub fn count<'f>(file: &'f [u8], mut each: impl FnMut(&'f [u8])) -> u64 {
    let mut messages = 0;
    for message in records(file) {
        each(message);
        messages += 1;
    }
    messages
}

/// New books.
///
/// # Panics
/// There is no memory.
pub fn books() -> Books {
    Books::new(BooksConfig { seed: 1, ..BooksConfig::default() }).expect("memory for the books")
}

/// Walks over the messages and does nothing else; gives their number, as all these.
pub fn walked(file: &[u8], _: &mut Books) -> u64 {
    count(file, |_| ())
}

/// Looks at each message's length and type.
pub fn glanced(file: &[u8], _: &mut Books) -> u64 {
    count(file, |message| _ = black_box(Glance::parse(message)))
}

/// What a book needs of a message, mixed into one number: references, shares and price.
pub fn needed(message: &Message<'_>) -> u64 {
    match message {
        Message::AddOrder(m) => m.reference.get() ^ u64::from(m.shares.get()) ^ u64::from(m.price.units()),
        Message::AddOrderMpid(m) => {
            m.reference.get() ^ u64::from(m.shares.get()) ^ u64::from(m.price.units())
        }
        Message::OrderExecuted(m) => m.reference.get() ^ u64::from(m.shares.get()),
        Message::OrderExecutedWithPrice(m) => m.reference.get() ^ u64::from(m.shares.get()),
        Message::OrderCancel(m) => m.reference.get() ^ u64::from(m.shares.get()),
        Message::OrderDelete(m) => m.reference.get(),
        Message::OrderReplace(m) => m.original.get() ^ m.reference.get() ^ u64::from(m.price.units()),
        _ => 0,
    }
}

/// Parses each message, asks of which type it is, and reads what a book needs of it.
pub fn read(file: &[u8], _: &mut Books) -> u64 {
    let mut mixed = 0;
    let messages = count(file, |message| mixed ^= Message::parse(message).map_or(0, |it| needed(&it)));
    black_box(mixed);
    messages
}

/// Parses each message.
pub fn parsed(file: &[u8], _: &mut Books) -> u64 {
    count(file, |message| _ = black_box(Message::parse(message)))
}

/// Applies each message.
pub fn applied(file: &[u8], books: &mut Books) -> u64 {
    count(file, |message| _ = black_box(books.apply(message).bbo_changed))
}

/// Applies all messages, looking ahead.
pub fn applied_all(file: &[u8], books: &mut Books) -> u64 {
    let mut changed = 0_u64;
    books.apply_all(records(file), |_, _, applied| changed += u64::from(applied.bbo_changed));
    black_box(changed);
    books.stats().messages
}

/// Goes over the messages of a BinaryFILE with books, and gives the messages' number.
pub type Way = fn(&[u8], &mut Books) -> u64;

/// What is done with the messages.
pub const WAYS: [(&str, Way); 6] = [
    ("records alone", walked),
    ("glanced at", glanced),
    ("parsed", parsed),
    ("parsed and read", read),
    ("Books::apply", applied),
    ("Books::apply_all", applied_all),
];

/// The time that this thread runs: what others do with the core in the meantime is not counted.
pub struct Stopwatch {
    started: Timespec,
}

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Stopwatch {
        Stopwatch { started: clock_gettime(ClockId::ThreadCPUTime) }
    }

    /// Since the start, on the thread that started it.
    pub fn elapsed_ns(&self) -> f64 {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        (now.tv_sec - self.started.tv_sec) as f64 * 1e9 + (now.tv_nsec - self.started.tv_nsec) as f64
    }
}

/// Measures each way over a day with growing references and over one with random ones, in turn.
///
/// # Errors
/// The day cannot be made.
pub(crate) fn run(session: &Session, book: &Book) -> anyhow::Result<Report> {
    let Book { messages, symbols, seed } = *book;
    let of = |sparse_references| {
        day(DayConfig { seed, symbols, messages, sparse_references, ..DayConfig::default() })
    };
    let days = [("growing references", of(false)?), ("random references", of(true)?)];
    let turns: Vec<(&str, Way, &str, &[u8])> = days
        .iter()
        .flat_map(|(kind, file)| WAYS.iter().map(move |(name, way)| (*name, *way, *kind, file.as_slice())))
        .collect();
    let variants = turns.iter().map(|(name, _, kind, _)| Variant::new(format!("{name}, {kind}"))).collect();
    let what = "cost of a message over a generated ITCH day, in time that the thread ran; all orders tracked in FIFO queues";
    let subject = Subject::new("book", what, 1)
        .with("messages", grouped(messages))
        .with("symbols", symbols)
        .without(&["a recorded day, whose orders are nearer to each other in memory", "receiving"]);
    session.measure(subject, variants, |at, variant| {
        let (_, way, _, file) = turns[at];
        let mut books = books();
        let stopwatch = Stopwatch::start();
        let found = way(file, &mut books);
        let cost = stopwatch.elapsed_ns() / found.max(1) as f64;
        variant.count("sent", messages);
        variant.count("received", found);
        variant.count("symptoms of loss", books.stats().symptoms());
        variant.record("cost of a message", Unit::Ns, cost);
        if books.live_orders() > 0 {
            variant.counts.insert("live orders in the end".into(), books.live_orders().into());
            variant.counts.insert("levels in the end".into(), books.live_levels().into());
        }
        Ok(format!("{cost:.1} ns"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_sees_every_message() {
        let file = day(DayConfig { symbols: 10, messages: 3_000, ..DayConfig::default() }).unwrap();
        for (name, way) in WAYS {
            assert_eq!(way(&file, &mut books()), 3_000, "{name}");
        }
        let (mut one, mut all) = (books(), books());
        applied(&file, &mut one);
        applied_all(&file, &mut all);
        assert_eq!(one.digest(), all.digest());
    }

    #[test]
    fn a_stopwatch_runs_as_long_as_its_thread() {
        let stopwatch = Stopwatch::start();
        let first = stopwatch.elapsed_ns();
        count(&vec![0; 1 << 20], |message| _ = black_box(message));
        assert!(first >= 0.0 && stopwatch.elapsed_ns() > first);
    }
}
