//! Where in the book an order goes, and how large it is.

use super::Day;
use super::pool::{Market, Side};

/// Highest price of the protocol, 200,000.0000.
const HIGHEST: u32 = 2_000_000_000;
/// New orders in a million that go inside the makers' prices, and that join them. The rest stays away.
const IMPROVE: u32 = 60_000;
const JOIN: u32 = IMPROVE + 260_000;
/// Chances in a million that the fair price takes a step when an order comes, and that it turns when it does.
const WANDER: u32 = 150_000;
const TURN: u32 = 60_000;

impl Day {
    /// A price for a new order on `side`, or on the other side when that one has no room: it never locks the book.
    pub(super) fn place(&mut self, index: u16, side: Side) -> (Side, u32) {
        self.wander(index);
        let market = &self.pool.markets[usize::from(index)];
        let Some((low, high)) = room(market, side) else { return self.place(index, side.other()) };
        let (tick, quote) = (market.tick, market.quote(side));
        let (inside_ticks, depth_ticks) = (market.half_spread_ticks - 1, market.depth_ticks);
        let (better, away) = match self.dice.below(1_000_000) {
            0..IMPROVE => (self.dice.below(1 + inside_ticks) * tick, 0),
            IMPROVE..JOIN => (0, 0),
            _ => (0, tick.saturating_mul(1 + self.dice.heavy(depth_ticks))),
        };
        let price = match side {
            Side::Buy => (quote + better).saturating_sub(away),
            Side::Sell => (quote - better).saturating_add(away),
        };
        (side, on_grid(price.clamp(low, high), side))
    }

    /// The fair price waits for the book to follow before it moves on.
    fn wander(&mut self, index: u16) {
        let market = &mut self.pool.markets[usize::from(index)];
        if self.dice.per_million(WANDER) && market.stale().is_none() {
            let ticks = self.dice.between(1, market.half_spread_ticks);
            market.rising ^= self.dice.per_million(TURN);
            market.step(ticks);
        }
    }

    /// The other side's best price or one tick beyond it: an order there locks or crosses the book.
    pub(super) fn locking_price(&mut self, index: u16, side: Side) -> Option<u32> {
        let market = &self.pool.markets[usize::from(index)];
        if self.flow.is_locked() || market.levels(Side::Buy) < 2 || market.levels(Side::Sell) < 2 {
            return None;
        }
        let best = market.best_price(side.other())?;
        let beyond = self.dice.below(2) * market.tick;
        let price =
            if side == Side::Buy { best + beyond } else { best.saturating_sub(beyond).max(market.tick) };
        Some(on_grid(price, side))
    }

    /// Shares of an order or a trade: mostly a round lot, often an odd one, seldom a block.
    pub(super) fn lot(&mut self) -> u32 {
        match self.dice.below(1_000) {
            0..480 => 100,
            480..730 => self.dice.between(1, 99),
            730..930 => 100 * self.dice.between(2, 9),
            930..995 => 100 * self.dice.between(10, 50),
            _ => 100 * self.dice.between(51, 1_000),
        }
    }
}

/// Lowest and highest price at which an order on `side` leaves the book unlocked.
fn room(market: &Market, side: Side) -> Option<(u32, u32)> {
    let (low, high) = match side {
        Side::Buy => {
            let ask = market.best_price(Side::Sell);
            (market.tick, ask.map_or(HIGHEST, |ask| ask.saturating_sub(market.tick)))
        }
        Side::Sell => {
            let bid = market.best_price(Side::Buy);
            (bid.map_or(market.tick, |bid| bid + market.tick), HIGHEST)
        }
    };
    (low <= high).then_some((low, high))
}

/// Prices of a dollar and more come in cents; a price below that stays as it is.
fn on_grid(price: u32, side: Side) -> u32 {
    const CENT: u32 = 100;
    if price < 10_000 || price.is_multiple_of(CENT) {
        price
    } else if side == Side::Buy {
        price - price % CENT
    } else {
        price - price % CENT + CENT
    }
}
