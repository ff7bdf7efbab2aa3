//! Order flow in a steady state: as many orders stay alive as there are.
//!
//! The mix is that of a day (replacements 8.1 %, executions 2.1 %, cancels 1.1 %, the rest orders coming and going by
//! halves), and every message is valid. What it is about is drawn as [`Leaning`] says.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seqcast_wire::itch::{AddOrder, Header, OrderCancel, OrderDelete, OrderExecuted, OrderReplace};
use seqcast_wire::{Alpha, Price4, Timestamp};
use zerocopy::{Immutable, IntoBytes};

/// Messages in a thousand.
const REPLACED: u32 = 81;
const CANCELLED: u32 = REPLACED + 11;
const EXECUTED: u32 = CANCELLED + 21;
/// Between the best bid and the best ask of every stock, in 1/10,000.
const MIDDLE: u32 = 1_000_000;
const TICK: u32 = 100;
/// Ticks from there to the farthest orders.
const DEPTH: u32 = 100;
const MOST_SHARES: u32 = 1_000;
/// Nanoseconds from one message to the next.
const STEP_NS: u64 = 1_000;

/// What messages are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaning {
    /// Any stock and any live order, each as likely: no flow is less kind to caches.
    None,
    /// Stocks by rank, and orders by age, a tenth as often when they are ten times as far behind: as in a market, most
    /// of it is about a few stocks and about orders that have just come.
    Market,
}

/// An order as whoever sent it knows it.
#[derive(Clone, Copy, Debug)]
struct Live {
    reference: u64,
    shares: u32,
    locate: u16,
    is_bid: bool,
}

/// The flow of orders.
pub(super) struct Steady {
    random: ChaCha8Rng,
    leaning: Leaning,
    symbols: u16,
    /// From the oldest to the youngest, but for what took the place of orders that went.
    live: Vec<Live>,
    /// How many are to be alive.
    wanted: usize,
    next_reference: u64,
    next_match: u64,
    made: u64,
}

impl Steady {
    /// A flow of `wanted` live orders of `symbols` stocks, none of them alive yet. At least one of each.
    pub(super) fn new(symbols: u16, wanted: usize, leaning: Leaning, seed: u64) -> Steady {
        Steady {
            random: ChaCha8Rng::seed_from_u64(seed),
            leaning,
            symbols: symbols.max(1),
            live: Vec::with_capacity(wanted + 1),
            wanted: wanted.max(1),
            next_reference: 1,
            next_match: 1,
            made: 0,
        }
    }

    /// Whether all orders are alive that are to be.
    pub(super) fn is_full(&self) -> bool {
        self.live.len() >= self.wanted
    }

    /// Appends the next message to `file` as a record of a BinaryFILE: an addition until there are enough orders.
    pub(super) fn next(&mut self, file: &mut Vec<u8>) {
        if !self.is_full() {
            return self.add(file);
        }
        match self.random.random_range(0..1_000) {
            0..REPLACED => self.replace(file),
            REPLACED..CANCELLED => self.cancel(file),
            CANCELLED..EXECUTED => self.execute(file),
            // In a full flow the next one comes by itself.
            _ if self.live.len() > self.wanted => self.delete(file),
            _ => self.add(file),
        }
    }

    /// A place among `count`: 0 is the likeliest if there is a leaning.
    fn rank(&mut self, count: usize) -> usize {
        match self.leaning {
            Leaning::None => self.random.random_range(0..count),
            Leaning::Market => {
                let power: f64 = self.random.random();
                ((count as f64 + 1.0).powf(power) as usize - 1).min(count - 1)
            }
        }
    }

    fn victim(&mut self) -> usize {
        let count = self.live.len();
        count - 1 - self.rank(count)
    }

    fn header(&mut self, kind: u8, locate: u16) -> Header {
        self.made += 1;
        // From 9:30 on; a day has room for more than anybody measures.
        let timestamp = Timestamp::from_ns(34_200_000_000_000 + self.made * STEP_NS);
        Header { kind, locate: locate.into(), tracking: 0.into(), timestamp }
    }

    fn price(&mut self, is_bid: bool) -> u32 {
        // Nearer orders are more, as in a market.
        let away = self.random.random_range(1..=DEPTH).min(self.random.random_range(1..=DEPTH)) * TICK;
        if is_bid { MIDDLE - away } else { MIDDLE + away }
    }

    fn add(&mut self, file: &mut Vec<u8>) {
        let locate = self.rank(self.symbols.into()) as u16 + 1;
        let (is_bid, shares) = (self.random.random(), self.random.random_range(1..=MOST_SHARES));
        let price = Price4::new(self.price(is_bid));
        let reference = self.enter(locate, is_bid, shares);
        let mut stock = Alpha(*b"S       ");
        for (at, place) in stock.0[1..6].iter_mut().enumerate() {
            *place = b'0' + (locate / 10_u16.pow(4 - at as u32) % 10) as u8;
        }
        let side = if is_bid { b'B' } else { b'S' };
        let header = self.header(AddOrder::KIND, locate);
        record(
            file,
            &AddOrder { header, reference: reference.into(), side, shares: shares.into(), stock, price },
        );
    }

    fn enter(&mut self, locate: u16, is_bid: bool, shares: u32) -> u64 {
        let reference = self.next_reference;
        self.next_reference += 1;
        self.live.push(Live { reference, shares, locate, is_bid });
        reference
    }

    fn delete(&mut self, file: &mut Vec<u8>) {
        let at = self.victim();
        let Live { reference, locate, .. } = self.live.swap_remove(at);
        let header = self.header(OrderDelete::KIND, locate);
        record(file, &OrderDelete { header, reference: reference.into() });
    }

    fn replace(&mut self, file: &mut Vec<u8>) {
        let at = self.victim();
        let Live { reference: original, shares, locate, is_bid } = self.live.swap_remove(at);
        let price = Price4::new(self.price(is_bid));
        let reference = self.enter(locate, is_bid, shares).into();
        let header = self.header(OrderReplace::KIND, locate);
        let (original, shares) = (original.into(), shares.into());
        record(file, &OrderReplace { header, original, reference, shares, price });
    }

    fn cancel(&mut self, file: &mut Vec<u8>) {
        let at = self.victim();
        let Live { reference, shares, locate, .. } = self.live[at];
        if shares < 2 {
            return self.delete(file);
        }
        let cancelled = self.random.random_range(1..shares);
        self.live[at].shares -= cancelled;
        let header = self.header(OrderCancel::KIND, locate);
        record(file, &OrderCancel { header, reference: reference.into(), shares: cancelled.into() });
    }

    fn execute(&mut self, file: &mut Vec<u8>) {
        let at = self.victim();
        let Live { reference, shares, locate, .. } = self.live[at];
        let executed = self.random.random_range(1..=shares);
        if executed == shares {
            self.live.swap_remove(at);
        } else {
            self.live[at].shares -= executed;
        }
        let match_number = self.next_match.into();
        self.next_match += 1;
        let header = self.header(OrderExecuted::KIND, locate);
        let (reference, shares) = (reference.into(), executed.into());
        record(file, &OrderExecuted { header, reference, shares, match_number });
    }
}

fn record(file: &mut Vec<u8>, message: &(impl IntoBytes + Immutable)) {
    let bytes = message.as_bytes();
    file.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    file.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seqcast_engine::book::{Books, BooksConfig};

    use super::super::super::book::records;
    use super::*;

    #[test]
    fn every_message_is_valid_and_as_many_orders_stay_alive() {
        for leaning in [Leaning::None, Leaning::Market] {
            for (symbols, wanted) in [(1, 1), (10, 50), (u16::MAX, 2_000)] {
                let mut flow = Steady::new(symbols, wanted, leaning, 7);
                let mut books = Books::new(BooksConfig::default()).unwrap();
                let mut file = Vec::new();
                while !flow.is_full() {
                    flow.next(&mut file);
                }
                for _ in 0..20_000 {
                    flow.next(&mut file);
                }
                let mut kinds = BTreeMap::<u8, u32>::new();
                for message in records(&file) {
                    *kinds.entry(message[0]).or_default() += 1;
                    let applied = books.apply(message);
                    assert_eq!(applied.anomaly, None, "{symbols} {wanted} {leaning:?}");
                }
                assert_eq!(books.stats().symptoms() + books.stats().crossed, 0);
                let live = books.live_orders() as usize;
                assert!((wanted.saturating_sub(1)..=wanted + 1).contains(&live), "{live} of {wanted}");
                assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), *b"ADEUX");
                let replaced = kinds[&b'U'];
                assert!((1_400..1_900).contains(&replaced), "8.1 % of 20,000: {kinds:?}");
            }
        }
    }

    #[test]
    fn a_market_is_about_few_stocks_and_young_orders() {
        let mut even = Steady::new(1_000, 1, Leaning::None, 3);
        let mut market = Steady::new(1_000, 1, Leaning::Market, 3);
        let near = |flow: &mut Steady| (0..10_000).filter(|_| flow.rank(10_000) < 100).count();
        let (even, market) = (near(&mut even), near(&mut market));
        assert!((50..200).contains(&even), "{even}: a hundredth");
        assert!((4_500..5_500).contains(&market), "{market}: half of it, as log 100 is of log 10,000");
    }
}
