//! What publishers say: messages made beforehand, each due at its time.

use std::sync::Arc;

use seqcast_wire::itch::{
    AddOrder, Header, OrderCancel, OrderDelete, OrderExecuted, OrderReplace, StockDirectory,
};
use seqcast_wire::{Alpha, Price4, Timestamp};
use zerocopy::{Immutable, IntoBytes};

use super::clock::NodeClock;
use super::dice::Dice;
use crate::agents::publisher::Script;
use crate::time::Nanos;

/// Stocks of one source.
const STOCKS: u64 = 3;
/// Orders that one source keeps open.
const ORDERS: u64 = 12;

/// The messages of one source.
pub(super) struct Load {
    /// When each is due, in the world's time.
    due: Vec<Nanos>,
    /// Where each ends in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

/// How a load is made.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoadPlan {
    /// Tells its orders and stocks apart from those of other sources.
    pub(super) source: u16,
    pub(super) messages: u64,
    /// No message is due before, in the world's time.
    pub(super) first: Nanos,
    /// When the last message is due.
    pub(super) last: Nanos,
    /// Length of the longest message that is not ITCH; 0 for ITCH only.
    pub(super) filler_bytes: u64,
    /// Length of the shortest.
    pub(super) filler_least: u64,
}

impl Load {
    pub(super) fn new(plan: LoadPlan, dice: &mut Dice) -> Load {
        let mut due: Vec<_> =
            (1..plan.messages).map(|_| plan.first + Nanos(dice.below(plan.last.0 - plan.first.0))).collect();
        due.push(plan.last);
        due.sort_unstable();
        // Real feeds come in bursts: a third of the messages comes together with the one before.
        for at in 1..due.len() - 1 {
            if dice.percent(33) {
                due[at] = due[at - 1];
            }
        }
        let mut load = Load { due, ends: Vec::new(), bytes: Vec::new() };
        let mut market = Market::new(plan.source);
        for _ in 0..plan.messages {
            if plan.filler_bytes > 0 && dice.percent(70) {
                load.push_filler(dice, plan.filler_least, plan.filler_bytes);
            } else {
                market.push(dice, &mut load.bytes);
            }
            load.ends.push(load.bytes.len());
        }
        load
    }

    /// A message that no book understands: what it holds does not matter, that it arrives does.
    fn push_filler(&mut self, dice: &mut Dice, least: u64, most: u64) {
        let len = dice.magnitude(least, most) as usize;
        let end = self.bytes.len() + len;
        self.bytes.push(b'~');
        while self.bytes.len() < end {
            let word = dice.u64().to_le_bytes();
            let take = (end - self.bytes.len()).min(8);
            self.bytes.extend_from_slice(&word[..take]);
        }
    }

    /// Message at `index`, from 0.
    pub(super) fn payload(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[from..end])
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// A source's stocks and orders.
struct Market {
    source: u16,
    listed: u64,
    next_reference: u64,
    /// Reference, locate and shares.
    orders: Vec<(u64, u16, u32)>,
}

impl Market {
    fn new(source: u16) -> Market {
        Market { source, listed: 0, next_reference: u64::from(source) << 32 | 1, orders: Vec::new() }
    }

    fn locate(&self, stock: u64) -> u16 {
        self.source * STOCKS as u16 + stock as u16 + 1
    }

    fn reference(&mut self) -> u64 {
        self.next_reference += 1;
        self.next_reference
    }

    /// Appends one more message to `out`.
    fn push(&mut self, dice: &mut Dice, out: &mut Vec<u8>) {
        if self.listed < STOCKS {
            let locate = self.locate(self.listed);
            self.listed += 1;
            return put(out, &listing(locate));
        }
        let at = dice.below(self.orders.len().max(1) as u64) as usize;
        let chance = if self.orders.is_empty() { 0 } else { dice.below(100) };
        let is_full = self.orders.len() as u64 >= ORDERS;
        match chance {
            0..50 if !is_full => self.add(dice, out),
            0..65 => self.execute(at, dice, out),
            65..75 => self.cancel(at, out),
            75..90 => self.replace(at, dice, out),
            _ => {
                let (reference, locate, _) = self.orders.swap_remove(at);
                put(out, &OrderDelete { header: header(b'D', locate), reference: reference.into() });
            }
        }
    }

    fn add(&mut self, dice: &mut Dice, out: &mut Vec<u8>) {
        let (stock, shares) = (dice.below(STOCKS), dice.between(1, 500) as u32);
        let (reference, locate) = (self.reference(), self.locate(stock));
        self.orders.push((reference, locate, shares));
        put(
            out,
            &AddOrder {
                header: header(b'A', locate),
                reference: reference.into(),
                side: dice.pick(b"BS"),
                shares: shares.into(),
                stock: symbol(locate),
                price: price(dice),
            },
        );
    }

    fn execute(&mut self, at: usize, dice: &mut Dice, out: &mut Vec<u8>) {
        let (reference, locate, left) = &mut self.orders[at];
        let shares = dice.between(1, u64::from(*left)) as u32;
        *left -= shares;
        let header = header(b'E', *locate);
        let reference = (*reference).into();
        put(out, &OrderExecuted { header, reference, shares: shares.into(), match_number: 1.into() });
        self.orders.retain(|&(_, _, left)| left > 0);
    }

    fn cancel(&mut self, at: usize, out: &mut Vec<u8>) {
        let (reference, locate, left) = &mut self.orders[at];
        let shares = left.div_ceil(2);
        *left -= shares;
        let header = header(b'X', *locate);
        put(out, &OrderCancel { header, reference: (*reference).into(), shares: shares.into() });
        self.orders.retain(|&(_, _, left)| left > 0);
    }

    fn replace(&mut self, at: usize, dice: &mut Dice, out: &mut Vec<u8>) {
        let reference = self.reference();
        let (original, locate, shares) = self.orders[at];
        self.orders[at].0 = reference;
        let header = header(b'U', locate);
        let (original, reference) = (original.into(), reference.into());
        put(out, &OrderReplace { header, original, reference, shares: shares.into(), price: price(dice) });
    }
}

fn put<T: IntoBytes + Immutable>(out: &mut Vec<u8>, message: &T) {
    out.extend_from_slice(message.as_bytes());
}

fn header(kind: u8, locate: u16) -> Header {
    Header::new(kind, locate, 0, Timestamp::from_ns(34_200_000_000_000))
}

fn symbol(locate: u16) -> Alpha<8> {
    Alpha::padded(&format!("SIM{locate}"))
}

fn price(dice: &mut Dice) -> Price4 {
    Price4::new(dice.between(990, 1_010) as u32 * 100)
}

fn listing(locate: u16) -> StockDirectory {
    StockDirectory {
        header: header(b'R', locate),
        stock: symbol(locate),
        market_category: b'Q',
        financial_status: b'N',
        round_lot_shares: 100.into(),
        round_lots_only: b'N',
        issue_class: b'C',
        issue_subtype: Alpha(*b"Z "),
        authenticity: b'P',
        short_sale_threshold: b'N',
        ipo: b'N',
        luld_tier: b'1',
        etp: b'N',
        etp_leverage: 0.into(),
        inverse: b'N',
    }
}

/// A load as a publisher's application plays it. A restarted process says all of it again, under the same numbers.
pub(super) struct Playback {
    load: Arc<Load>,
    clock: NodeClock,
    at: usize,
}

impl Playback {
    pub(super) fn new(load: Arc<Load>, clock: NodeClock) -> Playback {
        Playback { load, clock, at: 0 }
    }
}

impl Script for Playback {
    fn peek(&mut self, now: Nanos) -> Option<(Nanos, &[u8])> {
        let due = self.clock.monotonic(*self.load.due.get(self.at)?);
        if due > now { None } else { Some((due, self.load.payload(self.at)?)) }
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn is_finished(&self) -> bool {
        self.at == self.load.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{Books, BooksConfig};
    use crate::sim::dice::Purpose;

    #[test]
    fn is_a_market_that_books_understand() {
        let (first, last) = (Nanos::ZERO, Nanos(1_000));
        let plan = LoadPlan { source: 1, messages: 500, first, last, filler_bytes: 0, filler_least: 1 };
        let load = Load::new(plan, &mut Dice::new(3, Purpose::Load));
        let config = BooksConfig { expected_orders: 64, max_orders: 64, seed: 0 };
        let mut books = Books::new(config).unwrap();
        for index in 0..load.len() {
            let applied = books.apply(load.payload(index).unwrap());
            assert_eq!(applied.anomaly, None, "message {index}");
        }
        assert!(books.live_orders() > 0);
        assert_eq!(load.due.last(), Some(&Nanos(1_000)));
        assert!(load.due.is_sorted());
    }
}
