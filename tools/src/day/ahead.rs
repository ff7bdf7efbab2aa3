//! Looking ahead. Most of the generator's time would be waiting for orders in memory, were they not asked for some
//! events before their turn: the stocks of the next events are drawn early, and from each an order that the event may
//! be about.

use super::Day;
use super::dice::Dice;
use super::pool::Pool;

/// Events in a million that stay with the stock of the event before.
const SAME_STOCK: u32 = 300_000;
/// Stages from drawing a stock to its event; a power of two.
const STAGES: usize = 4;

/// What is known of an event before its turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Intent {
    pub(super) market: u16,
    /// Place in the market's list of live orders.
    place: u32,
    /// The order that stood there a moment ago.
    pub(super) order: Option<u32>,
}

/// The events to come.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    intents: [Intent; STAGES],
    turn: usize,
}

impl Day {
    /// The next event's intent, and a step further with those behind it.
    pub(super) fn next_intent(&mut self) -> Intent {
        let Ahead { intents, turn } = &mut self.ahead;
        let last = intents[*turn % STAGES].market;
        *turn += 1;
        let market = if self.dice.per_million(SAME_STOCK) { last } else { self.wheel.spin(&mut self.dice) };
        self.pool.prefetch_market(market);
        intents[*turn % STAGES] = Intent { market, place: 0, order: None };

        let listed = &mut intents[(*turn + STAGES - 1) % STAGES];
        listed.place = young(&self.pool, listed.market, &mut self.dice);
        self.pool.prefetch_entry(listed.market, listed.place);

        let found = &mut intents[(*turn + STAGES - 2) % STAGES];
        found.order = self.pool.entry_at(found.market, found.place);
        self.pool.prefetch_orders(found.market, found.order);

        intents[(*turn + STAGES - 3) % STAGES]
    }
}

/// A place in the market's list of live orders: rather of a young order than of an old one.
pub(super) fn young(pool: &Pool, market: u16, dice: &mut Dice) -> u32 {
    let live = pool.markets[usize::from(market)].live() as u32;
    let back = dice.heavy(2 + live / 8);
    let back = if back < live { back } else { dice.below(live) };
    live.saturating_sub(back + 1)
}
