//! A realistic trading day of TotalView-ITCH 5.0, made from a seed.
//!
//! The same [`DayConfig`] gives the same bytes on every platform. The day runs from the start of messages over the
//! directory spin, the pre-open hours, the opening crosses, continuous trading with halts now and then, and the
//! closing crosses to the end of messages. It is valid to the last message: every execution, cancellation, deletion
//! and replacement names a live order with shares enough, executions take the head of the best queue, and timestamps
//! never decrease. The message mix follows a published count of a full Nasdaq day (2019-12-30: A 43.6 %, D 42.6 %,
//! U 8.1 %, E 2.1 %, I 1.5 %, X 1.0 %, F 0.6 %, P 0.5 %) once the day is long against its directory; short days
//! show proportionally more of the directory and of the crosses, which every symbol has.
//!
//! ```
//! use seqcast::day::{Day, DayConfig};
//!
//! let mut day = Day::new(DayConfig { symbols: 20, messages: 5_000, ..DayConfig::default() })?;
//! let mut count = 0;
//! while let Some(message) = day.next_message() {
//!     assert!(seqcast_wire::itch::Message::parse(message).is_ok());
//!     count += 1;
//! }
//! assert_eq!(count, 5_000);
//! # Ok::<(), seqcast::day::DayError>(())
//! ```

mod ahead;
mod auction;
mod dice;
mod flow;
mod listing;
mod outbox;
mod pool;
mod price;
mod rare;
mod references;
mod schedule;
mod spin;

use std::io::{self, Write};

use ahead::Ahead;
use dice::Dice;
use flow::FlowState;
use listing::Wheel;
use outbox::Outbox;
use pool::Pool;
use rare::Rare;
use references::References;
use schedule::{Clock, Flow, Schedule, Stage, clock_ns};
use seqcast_wire::Timestamp;
use seqcast_wire::dump::RECORD_HEADER_BYTES;
use seqcast_wire::itch::{Header, Stock, SystemEvent};

/// What day to make. Start from [`DayConfig::default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayConfig {
    /// Seed of everything random.
    pub seed: u64,
    /// Stocks in the directory; their locates run from 1.
    pub symbols: u16,
    /// Messages in the whole day, exactly; at least [`DayConfig::min_messages`].
    pub messages: u64,
    /// Live orders to build up to by the end of the day; `None` takes 3.92 % of the messages, but not more than
    /// 1.6 million: 784,000 for 20 million messages.
    pub live_orders: Option<u32>,
    /// Order references that look random over all 64 bits, instead of growing ones. Still unique in the day.
    pub sparse_references: bool,
}

impl Default for DayConfig {
    fn default() -> DayConfig {
        DayConfig {
            seed: 1,
            symbols: 8_000,
            messages: 1_000_000,
            live_orders: None,
            sparse_references: false,
        }
    }
}

impl DayConfig {
    /// The shortest day that `symbols` stocks can have: directory, crosses and some flow between them.
    pub const fn min_messages(symbols: u16) -> u64 {
        64 + 16 * symbols as u64
    }
}

/// Why a day cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DayError {
    /// No symbols.
    #[error("a day needs at least one symbol")]
    NoSymbols,
    /// Fewer messages than the directory and the crosses alone take.
    #[error("{symbols} symbols need a day of at least {needed} messages, not {messages}")]
    TooShort {
        /// Symbols asked for.
        symbols: u16,
        /// Messages asked for.
        messages: u64,
        /// Messages needed.
        needed: u64,
    },
}

/// A day in the making: hands out one message after the other.
#[derive(Debug)]
pub struct Day {
    config: DayConfig,
    dice: Dice,
    outbox: Outbox,
    schedule: Schedule,
    clock: Clock,
    stage: Stage,
    /// Messages made so far, those waiting in the outbox included.
    made: u64,
    pool: Pool,
    wheel: Wheel,
    by_activity: Vec<u16>,
    references: References,
    ahead: Ahead,
    flow: FlowState,
    rare: Rare,
}

impl Day {
    /// Prepares the day.
    ///
    /// # Errors
    /// [`DayError`] when the configuration makes no day.
    pub fn new(config: DayConfig) -> Result<Day, DayError> {
        if config.symbols == 0 {
            return Err(DayError::NoSymbols);
        }
        let needed = DayConfig::min_messages(config.symbols);
        if config.messages < needed {
            return Err(DayError::TooShort { symbols: config.symbols, messages: config.messages, needed });
        }
        let mut dice = Dice::new(config.seed);
        let (markets, by_activity) = listing::markets(&mut dice, config.symbols);
        Ok(Day {
            dice,
            outbox: Outbox::default(),
            schedule: Schedule::new(&config),
            clock: Clock::new(),
            stage: Stage::StartOfMessages,
            made: 0,
            wheel: Wheel::new(&markets),
            pool: Pool::new(markets),
            by_activity,
            references: References::new(&config),
            ahead: Ahead::default(),
            flow: FlowState::new(&config),
            rare: Rare::new(&config),
            config,
        })
    }

    /// The next message (ITCH bytes without length prefix), borrowed until the next call; `None` after the last.
    pub fn next_message(&mut self) -> Option<&[u8]> {
        if self.outbox.is_empty() {
            self.outbox.recycle();
            while self.outbox.is_empty() && self.stage != Stage::Over {
                self.step();
            }
        }
        self.outbox.pop()
    }

    /// What the day is made of.
    pub fn config(&self) -> &DayConfig {
        &self.config
    }

    /// Orders live after the messages handed out so far (and the few of the same event still to come).
    pub fn live_orders(&self) -> usize {
        self.pool.live()
    }

    /// The stocks, by locate from 1.
    pub fn stocks(&self) -> impl ExactSizeIterator<Item = Stock> + '_ {
        self.pool.markets.iter().map(|market| market.stock)
    }

    /// The stocks by activity, the most active first.
    pub fn most_active(&self) -> impl ExactSizeIterator<Item = Stock> + '_ {
        self.by_activity.iter().map(|&market| self.pool.markets[usize::from(market)].stock)
    }

    /// The header of the next message: takes its place in the count and in time.
    fn header(&mut self, kind: u8, locate: u16) -> Header {
        let ns = self.clock.tick(self.made, &self.schedule, &mut self.dice);
        self.made += 1;
        Header {
            kind,
            locate: locate.into(),
            tracking: (2 * (locate % 4)).into(),
            timestamp: Timestamp::from_ns(ns),
        }
    }

    /// The header of the next message about `market`, and its symbol. Locates are the markets' indices from 1.
    fn header_of(&mut self, kind: u8, market: u16) -> (Header, Stock) {
        (self.header(kind, market + 1), self.pool.markets[usize::from(market)].stock)
    }

    /// Makes what comes next: no message or a few, and the stage after it.
    fn step(&mut self) {
        self.stage = match self.stage {
            Stage::StartOfMessages => self.event(b'O', Stage::Directory(0)),
            Stage::Directory(market) => self.directory(market),
            Stage::Status(market) => self.status(market),
            Stage::Positions(left) => self.positions(left),
            Stage::DeclineLevels => self.decline_levels(),
            Stage::StartOfSystemHours => {
                self.clock.enter(clock_ns(4, 0), clock_ns(9, 30));
                self.event(b'S', Stage::Flow(Flow::PreOpen))
            }
            Stage::Flow(flow) => self.flow(flow),
            Stage::StartOfMarketHours => {
                self.clock.enter(clock_ns(9, 30), clock_ns(16, 0));
                self.event(b'Q', Stage::OpeningCross(0))
            }
            Stage::OpeningCross(market) => self.opening_cross(market),
            Stage::Breach => self.breach(),
            Stage::EndOfMarketHours => {
                self.clock.enter(clock_ns(16, 0), clock_ns(20, 0));
                self.event(b'M', Stage::ClosingCross(0))
            }
            Stage::ClosingCross(market) => self.closing_cross(market),
            Stage::EndOfSystemHours => {
                self.clock.enter(clock_ns(20, 0), clock_ns(20, 5));
                self.event(b'E', Stage::LateDeletions(schedule::LATE_DELETIONS))
            }
            Stage::LateDeletions(left) => self.late_deletion(left),
            Stage::EndOfMessages => {
                self.clock.enter(clock_ns(20, 5), clock_ns(20, 6));
                self.event(b'C', Stage::Over)
            }
            Stage::Over => Stage::Over,
        };
    }

    fn event(&mut self, event: u8, then: Stage) -> Stage {
        let header = self.header(SystemEvent::KIND, 0);
        self.outbox.push(&SystemEvent { header, event });
        then
    }
}

/// What was written to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Messages.
    pub messages: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// Writes the rest of the day as a BinaryFILE: per message its u16 length, big-endian, and its bytes. Like the
/// published day files it ends without a zero-length record. `out` is best buffered.
///
/// # Errors
/// What `out` gives.
pub fn write_binary_file(day: &mut Day, mut out: impl Write) -> io::Result<Written> {
    let mut written = Written::default();
    while write_records(day, &mut out, u64::MAX, &mut written)? {}
    out.flush()?;
    Ok(written)
}

/// Writes up to `most` messages and adds them to `written`; `false` when the day is over.
pub(crate) fn write_records(
    day: &mut Day,
    out: &mut impl Write,
    most: u64,
    written: &mut Written,
) -> io::Result<bool> {
    for _ in 0..most {
        let Some(message) = day.next_message() else { return Ok(false) };
        out.write_all(&(message.len() as u16).to_be_bytes())?;
        out.write_all(message)?;
        written.messages += 1;
        written.bytes += (RECORD_HEADER_BYTES + message.len()) as u64;
    }
    Ok(true)
}
