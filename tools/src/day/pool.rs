//! The generator's own books: enough of them to know which orders live and who is next in the best queue.
//!
//! They are kept apart from the engine's books on purpose, so that each can be checked against the other.

use seqcast_engine::mem::prefetch;
use seqcast_wire::itch::Stock;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Buy,
    Sell,
}

impl Side {
    pub(super) fn other(self) -> Side {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }

    pub(super) fn code(self) -> u8 {
        match self {
            Side::Buy => b'B',
            Side::Sell => b'S',
        }
    }

    /// Sorts prices so that the best one of this side is the greatest; its own inverse.
    fn rank(self, price: u32) -> u32 {
        match self {
            Side::Buy => price,
            Side::Sell => !price,
        }
    }
}

/// A live order. Half a cache line, and never across two: finding orders is most of the generator's time.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Order {
    pub(super) reference: u64,
    pub(super) price: u32,
    pub(super) shares: u32,
    previous: u32,
    next: u32,
    /// Where the market's `live` list has it; [`NONE`] when the slot is free.
    place: u32,
    pub(super) market: u16,
    pub(super) side: Side,
}

const _: () = assert!(size_of::<Order>() == 32);

#[derive(Clone, Copy, Debug)]
struct Level {
    rank: u32,
    head: u32,
    tail: u32,
}

/// One side of a book: levels in ascending rank, the best last, so that what happens near the touch moves little.
#[derive(Clone, Debug, Default)]
struct Ladder {
    levels: Vec<Level>,
    orders: u32,
}

impl Ladder {
    /// Index of the level of `rank`, or where it would stand.
    fn find(&self, rank: u32) -> Result<usize, usize> {
        let mut from = self.levels.len();
        let mut step = 4;
        while from > 0 && self.levels[from - 1].rank > rank {
            from = from.saturating_sub(step);
            step *= 2;
        }
        let to = (from + step).min(self.levels.len());
        self.levels[from.saturating_sub(1)..to]
            .binary_search_by_key(&rank, |level| level.rank)
            .map(|at| at + from.saturating_sub(1))
            .map_err(|at| at + from.saturating_sub(1))
    }
}

/// What is fixed about a stock and what its flow needs to remember: two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Market {
    sides: [Ladder; 2],
    /// Live orders, roughly from the oldest to the youngest.
    live: Vec<u32>,
    pub(super) stock: Stock,
    /// Share of the day's activity, in 2^-32.
    pub(super) activity: u32,
    /// Smallest price step, in 1/10,000.
    pub(super) tick: u32,
    /// Half of the orders away from the touch are placed within so many ticks of it.
    pub(super) depth_ticks: u32,
    /// Ticks between the prices that makers quote, halved and rounded up.
    pub(super) half_spread_ticks: u32,
    /// What makers think a buyer should pay at most; wanders between `low` and `high`.
    pub(super) fair: u32,
    low: u32,
    high: u32,
    pub(super) rising: bool,
    pub(super) halted: bool,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Market>() == 128);

impl Market {
    pub(super) fn new(stock: Stock, activity: u32, price: u32) -> Market {
        let tick = if price < 10_000 { 1 } else { 100 };
        let price_ticks = price / tick;
        Market {
            stock,
            activity,
            tick,
            depth_ticks: 5 + price_ticks / 1_200,
            half_spread_ticks: 1 + price_ticks / 8_000,
            fair: price,
            rising: price_ticks.is_multiple_of(2),
            low: price - price / 5 * 2,
            high: price + price / 5 * 2,
            halted: false,
            sides: [Ladder::default(), Ladder::default()],
            live: Vec::new(),
        }
    }

    pub(super) fn best_price(&self, side: Side) -> Option<u32> {
        self.sides[side as usize].levels.last().map(|level| side.rank(level.rank))
    }

    pub(super) fn levels(&self, side: Side) -> usize {
        self.sides[side as usize].levels.len()
    }

    pub(super) fn orders(&self, side: Side) -> u32 {
        self.sides[side as usize].orders
    }

    pub(super) fn live(&self) -> usize {
        self.live.len()
    }

    /// The price that makers quote on `side`.
    pub(super) fn quote(&self, side: Side) -> u32 {
        match side {
            Side::Buy => self.fair.saturating_sub((self.half_spread_ticks - 1) * self.tick).max(self.tick),
            Side::Sell => self.fair + self.half_spread_ticks * self.tick,
        }
    }

    /// The side whose best orders offer too much since the price moved on.
    pub(super) fn stale(&self) -> Option<Side> {
        if self.best_price(Side::Buy).is_some_and(|bid| bid > self.fair) {
            Some(Side::Buy)
        } else if self.best_price(Side::Sell).is_some_and(|ask| ask <= self.fair) {
            Some(Side::Sell)
        } else {
            None
        }
    }

    /// Moves the fair price by a tick or two, up or down as `rising` says; it turns where it has gone far enough.
    pub(super) fn step(&mut self, ticks: u32) {
        let step = ticks * self.tick;
        let to = if self.rising { self.fair + step } else { self.fair.saturating_sub(step) };
        if (self.low..=self.high).contains(&to) {
            self.fair = to;
        } else {
            self.rising = !self.rising;
        }
    }

    /// How far `price` is from the best price of the side that it must be on.
    pub(super) fn away(&self, price: u32) -> u32 {
        match (self.best_price(Side::Buy), self.best_price(Side::Sell)) {
            (Some(bid), _) if price <= bid => bid - price,
            (_, Some(ask)) => price.saturating_sub(ask),
            _ => 0,
        }
    }

    /// Half way between the best prices, or the nearest there is to that, on the grid of ticks.
    pub(super) fn middle(&self) -> u32 {
        let middle = match (self.best_price(Side::Buy), self.best_price(Side::Sell)) {
            (Some(bid), Some(ask)) => bid / 2 + ask / 2,
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => self.fair,
        };
        (middle - middle % self.tick).max(self.tick)
    }
}

/// All live orders of the day.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) markets: Vec<Market>,
    orders: Vec<Order>,
    free: Vec<u32>,
}

impl Pool {
    pub(super) fn new(markets: Vec<Market>) -> Pool {
        Pool { markets, orders: Vec::new(), free: Vec::new() }
    }

    pub(super) fn live(&self) -> usize {
        self.orders.len() - self.free.len()
    }

    pub(super) fn order(&self, id: u32) -> &Order {
        &self.orders[id as usize]
    }

    /// The live order at `place` of its market's list, from the oldest on.
    pub(super) fn entry_at(&self, market: u16, place: u32) -> Option<u32> {
        self.markets[usize::from(market)].live.get(place as usize).copied()
    }

    /// Whether slot `id` holds a live order of `market`.
    pub(super) fn is_live_in(&self, id: u32, market: u16) -> bool {
        let order = self.order(id);
        order.place != NONE && order.market == market
    }

    /// Asks for the lines of a market itself.
    pub(super) fn prefetch_market(&self, market: u16) {
        prefetch(&self.markets[usize::from(market)].sides, 0);
        prefetch(std::slice::from_ref(&self.markets[usize::from(market)].live), 0);
    }

    /// Asks for the lines of a live order's entry and of the touch.
    pub(super) fn prefetch_entry(&self, market: u16, place: u32) {
        let market = &self.markets[usize::from(market)];
        prefetch(&market.live, place as usize);
        for side in &market.sides {
            prefetch(&side.levels, side.levels.len().wrapping_sub(1));
        }
    }

    /// Asks for the lines of an order, of the youngest and of the last ones of the best queues.
    pub(super) fn prefetch_orders(&self, market: u16, order: Option<u32>) {
        let market = &self.markets[usize::from(market)];
        let tails = market.sides.iter().filter_map(|side| side.levels.last()).map(|level| level.tail);
        for id in tails.chain(order).chain(market.live.last().copied()) {
            prefetch(&self.orders, id as usize);
        }
    }

    /// Whether slot `id` still holds the order that was added with `reference`.
    pub(super) fn is_live(&self, id: u32, reference: u64) -> bool {
        let order = self.order(id);
        order.place != NONE && order.reference == reference
    }

    /// The head of the best queue.
    pub(super) fn best(&self, market: u16, side: Side) -> Option<u32> {
        self.markets[usize::from(market)].sides[side as usize].levels.last().map(|level| level.head)
    }

    /// The youngest order of the best queue.
    pub(super) fn last_of_best(&self, market: u16, side: Side) -> Option<u32> {
        self.markets[usize::from(market)].sides[side as usize].levels.last().map(|level| level.tail)
    }

    pub(super) fn add(&mut self, market: u16, side: Side, price: u32, shares: u32, reference: u64) -> u32 {
        let stock = &mut self.markets[usize::from(market)];
        let place = stock.live.len() as u32;
        let mut order = Order { reference, price, shares, previous: NONE, next: NONE, place, market, side };
        let id = self.free.pop().unwrap_or(self.orders.len() as u32);
        stock.live.push(id);
        let ladder = &mut stock.sides[side as usize];
        ladder.orders += 1;
        match ladder.find(side.rank(price)) {
            Ok(at) => {
                let level = &mut ladder.levels[at];
                order.previous = level.tail;
                self.orders[level.tail as usize].next = id;
                level.tail = id;
            }
            Err(at) => ladder.levels.insert(at, Level { rank: side.rank(price), head: id, tail: id }),
        }
        match self.orders.get_mut(id as usize) {
            Some(slot) => *slot = order,
            None => self.orders.push(order),
        }
        id
    }

    /// Takes `shares` off an order, and the order out of the book when none are left.
    pub(super) fn reduce(&mut self, id: u32, shares: u32) {
        let order = &mut self.orders[id as usize];
        order.shares -= shares;
        if order.shares == 0 {
            self.remove(id);
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        let order = self.orders[id as usize];
        let market = &mut self.markets[usize::from(order.market)];
        market.live.swap_remove(order.place as usize);
        if let Some(&moved) = market.live.get(order.place as usize) {
            self.orders[moved as usize].place = order.place;
        }
        let ladder = &mut market.sides[order.side as usize];
        ladder.orders -= 1;
        match (order.previous, order.next) {
            (NONE, NONE) => {
                if let Ok(at) = ladder.find(order.side.rank(order.price)) {
                    ladder.levels.remove(at);
                }
            }
            (NONE, next) => {
                self.orders[next as usize].previous = NONE;
                if let Ok(at) = ladder.find(order.side.rank(order.price)) {
                    ladder.levels[at].head = next;
                }
            }
            (previous, NONE) => {
                self.orders[previous as usize].next = NONE;
                if let Ok(at) = ladder.find(order.side.rank(order.price)) {
                    ladder.levels[at].tail = previous;
                }
            }
            (previous, next) => {
                self.orders[previous as usize].next = next;
                self.orders[next as usize].previous = previous;
            }
        }
        self.orders[id as usize].place = NONE;
        self.free.push(id);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use seqcast_wire::Alpha;

    use super::*;
    use crate::day::dice::Dice;

    /// Against maps of queues that cannot be wrong in the same way.
    #[test]
    fn the_best_queue_is_what_plain_maps_say() {
        let mut pool = Pool::new(vec![Market::new(Alpha::padded("TEST"), 0, 500_000)]);
        let mut plain: [BTreeMap<u32, Vec<u32>>; 2] = [BTreeMap::new(), BTreeMap::new()];
        let mut dice = Dice::new(5);
        let mut live: Vec<u32> = Vec::new();
        for turn in 0..60_000 {
            let grow = if turn / 10_000 % 2 == 0 { 620_000 } else { 400_000 };
            if live.is_empty() || dice.per_million(grow) {
                let side = dice.pick(&[Side::Buy, Side::Sell]);
                let price = 1 + dice.heavy(40).min(5_000);
                let id = pool.add(0, side, price, 100, turn);
                plain[side as usize].entry(side.rank(price)).or_default().push(id);
                live.push(id);
            } else {
                let id = live.swap_remove(dice.below(live.len() as u32) as usize);
                let order = *pool.order(id);
                pool.reduce(id, 40);
                assert!(pool.is_live(id, order.reference));
                pool.reduce(id, 60);
                assert!(!pool.is_live(id, order.reference));
                let side = &mut plain[order.side as usize];
                let queue = side.get_mut(&order.side.rank(order.price)).unwrap();
                queue.retain(|&other| other != id);
                if queue.is_empty() {
                    side.remove(&order.side.rank(order.price));
                }
            }
            for side in [Side::Buy, Side::Sell] {
                let best = plain[side as usize].last_key_value().map(|(_, queue)| queue[0]);
                assert_eq!(pool.best(0, side), best);
                assert_eq!(pool.markets[0].levels(side), plain[side as usize].len());
            }
            assert_eq!(pool.live(), live.len());
            assert_eq!(pool.markets[0].live(), live.len());
        }
    }
}
