//! Order flow: who adds, changes, cancels and trades, where in the book, and how often.

use seqcast_wire::Price4;
use seqcast_wire::itch::{
    AddOrder, AddOrderMpid, OrderCancel, OrderDelete, OrderExecuted, OrderExecutedWithPrice, OrderReplace,
    Trade,
};

use super::ahead::{self, Intent};
use super::pool::Side;
use super::schedule::{Flow, Stage};
use super::{Day, DayConfig};

/// Events in a million, but for imbalances. The rest, nine in ten, is orders coming and going. A sweep makes more
/// than one message, and what finds no fitting order comes or goes instead: hence these are not the mix itself.
const REPLACE: u32 = 81_500;
const CANCEL: u32 = 10_700;
const SWEEP: u32 = 10_200;
const HIDDEN_TRADE: u32 = 4_600;
const PRICED_EXECUTION: u32 = 300;
/// New orders in a million that carry their participant.
const ATTRIBUTED: u32 = 12_500;
/// New orders in a million that lock or cross the book for a moment.
const LOCKING: u32 = 60;
/// Imbalance indicators in a million events of the minutes before a cross.
const OPENING_IMBALANCES: u32 = 300_000;
const CLOSING_IMBALANCES: u32 = 110_000;
/// Orders in a million to be changed or cancelled that stand at the touch, and that do so when the price has left it.
const AT_TOUCH: u32 = 400_000;
const AT_STALE_TOUCH: u32 = 850_000;
/// New orders in a million that come or go, when a book has its size: more than half, since executions take some too.
const EVEN: i64 = 515_000;

/// Most messages that one event makes; with less room left, only single ones are made.
pub(super) const LONGEST_EVENT: u64 = 16;
const MOST_SWEPT: u32 = 12;

/// What the flow remembers from event to event.
#[derive(Debug)]
pub(super) struct FlowState {
    /// Live orders to have by the end of the day.
    target: u64,
    /// Live orders to have by now, found anew from this message on.
    wanted: u64,
    wanted_until: u64,
    match_number: u64,
    /// The order that locks or crosses its book, and the message before which it goes.
    locking: Option<(u32, u64, u64)>,
}

impl FlowState {
    pub(super) fn new(config: &DayConfig) -> FlowState {
        let usual = (config.messages / 10_000 * 392).min(1_600_000);
        let target = config.live_orders.map_or(usual, u64::from);
        FlowState { target, wanted: 0, wanted_until: 0, match_number: 1_000, locking: None }
    }

    /// A match number, greater than all before.
    pub(super) fn next_match(&mut self) -> u64 {
        self.match_number += 1;
        self.match_number
    }

    pub(super) fn is_locked(&self) -> bool {
        self.locking.is_some()
    }

    pub(super) fn last_match(&self) -> u64 {
        self.match_number
    }
}

impl Day {
    pub(super) fn flow(&mut self, flow: Flow) -> Stage {
        let room = self.schedule.end_of(flow).saturating_sub(self.made);
        if room == 0 {
            return match flow {
                Flow::PreOpen => Stage::Flow(Flow::OpeningImbalance),
                Flow::OpeningImbalance => Stage::StartOfMarketHours,
                Flow::Continuous => Stage::Breach,
                Flow::ClosingImbalance => Stage::EndOfMarketHours,
                Flow::Evening => Stage::EndOfSystemHours,
            };
        }
        if room < LONGEST_EVENT {
            let intent = self.next_intent();
            self.come_or_go(intent);
        } else if !self.unlock() && !self.rarity(flow) {
            self.common_event(flow);
        }
        Stage::Flow(flow)
    }

    fn common_event(&mut self, flow: Flow) {
        let intent = self.next_intent();
        let market = intent.market;
        let imbalances = match flow {
            Flow::OpeningImbalance => Some((OPENING_IMBALANCES, b'O')),
            Flow::ClosingImbalance => Some((CLOSING_IMBALANCES, b'C')),
            _ => None,
        };
        if let Some((often, cross)) = imbalances
            && self.dice.per_million(often)
        {
            return self.imbalance(market, cross);
        }
        const CANCELS: u32 = REPLACE + CANCEL;
        const SWEEPS: u32 = CANCELS + SWEEP;
        const HIDDEN: u32 = SWEEPS + HIDDEN_TRADE;
        const PRICED: u32 = HIDDEN + PRICED_EXECUTION;
        let done = match self.dice.below(1_000_000) {
            0..REPLACE => self.replace(intent),
            REPLACE..CANCELS => self.cancel(intent),
            CANCELS..SWEEPS => self.sweep(market),
            SWEEPS..HIDDEN => self.hidden_trade(market),
            HIDDEN..PRICED => self.priced_execution(market),
            _ => false,
        };
        if !done {
            self.come_or_go(intent);
        }
    }

    /// Adds or deletes an order, whichever leads the stock's book to the size it should have by now.
    fn come_or_go(&mut self, intent: Intent) {
        let market = &self.pool.markets[usize::from(intent.market)];
        let (live, activity) = (market.live() as i64, market.activity);
        let wanted = self.wanted(activity) as i64;
        let lean = ((wanted - live) * 400_000 / (8 + wanted / 8)).clamp(-400_000, 400_000);
        if live == 0 || self.dice.per_million((EVEN + lean) as u32) {
            self.add(intent.market);
        } else {
            self.delete(intent);
        }
    }

    /// Live orders that a stock of this activity should have by now.
    fn wanted(&mut self, activity: u32) -> u64 {
        if self.made >= self.flow.wanted_until {
            self.flow.wanted_until = self.made + (self.config.messages / 4_096).max(1);
            self.flow.wanted = self.wanted_of_all();
        }
        let stocks = self.pool.markets.len() as u64;
        let floor = (self.flow.wanted / stocks / 2).min(4);
        let shared = self.flow.wanted - floor * stocks;
        floor + ((shared * u64::from(activity) + (1 << 31)) >> 32)
    }

    /// Books fill fast in the morning, slowly later.
    fn wanted_of_all(&self) -> u64 {
        let (made, all) = (u128::from(self.made), u128::from(self.config.messages));
        (u128::from(self.flow.target) * made * (2 * all - made) / (all * all)) as u64
    }

    fn add(&mut self, market: u16) {
        let (bids, asks) = {
            let market = &self.pool.markets[usize::from(market)];
            (u64::from(market.orders(Side::Buy)), u64::from(market.orders(Side::Sell)))
        };
        // A third more on one side draws the next order to the other three times in four.
        let lean = (asks as i64 - bids as i64) * 750_000 / (asks + bids + 4) as i64;
        let buy = (500_000 + lean).clamp(100_000, 900_000) as u32;
        let side = if self.dice.per_million(buy) { Side::Buy } else { Side::Sell };
        let locking = self.dice.per_million(LOCKING).then(|| self.locking_price(market, side)).flatten();
        let (side, price) = match locking {
            Some(price) => (side, price),
            None => self.place(market, side),
        };
        let shares = self.lot();
        let reference = self.references.take(&mut self.dice);
        let id = self.pool.add(market, side, price, shares, reference);
        if locking.is_some() {
            self.flow.locking = Some((id, reference, self.made + 1 + u64::from(self.dice.below(6))));
        }
        let attribution = self.dice.per_million(ATTRIBUTED).then(|| self.mpid());
        let kind = if attribution.is_some() { AddOrderMpid::KIND } else { AddOrder::KIND };
        let (header, stock) = self.header_of(kind, market);
        let (reference, side, shares, price) =
            (reference.into(), side.code(), shares.into(), Price4::new(price));
        match attribution {
            Some(attribution) => {
                self.outbox.push(&AddOrderMpid {
                    header,
                    reference,
                    side,
                    shares,
                    stock,
                    price,
                    attribution,
                });
            }
            None => self.outbox.push(&AddOrder { header, reference, side, shares, stock, price }),
        }
    }

    fn delete(&mut self, intent: Intent) {
        let Some(id) = self.victim(intent) else { return self.add(intent.market) };
        self.delete_order(id);
    }

    pub(super) fn delete_order(&mut self, id: u32) {
        let order = *self.pool.order(id);
        self.pool.remove(id);
        let (header, _) = self.header_of(OrderDelete::KIND, order.market);
        self.outbox.push(&OrderDelete { header, reference: order.reference.into() });
    }

    /// A live order of the market to cancel or change: one that the price has left behind, or one at the touch, or
    /// rather a young one than an old one and rather a near one than a far one, so that a long tail of old, far
    /// orders builds up.
    fn victim(&mut self, intent: Intent) -> Option<u32> {
        let index = intent.market;
        let market = &self.pool.markets[usize::from(index)];
        let stale = market.stale();
        if self.dice.per_million(if stale.is_some() { AT_STALE_TOUCH } else { AT_TOUCH }) {
            let side = stale.unwrap_or_else(|| self.dice.pick(&[Side::Buy, Side::Sell]));
            if let Some(id) = self.pool.last_of_best(index, side) {
                return Some(id);
            }
        }
        let expected = intent.order.filter(|&id| self.pool.is_live_in(id, index));
        let first = expected.or_else(|| self.young(index))?;
        let market = &self.pool.markets[usize::from(index)];
        let far = market.away(self.pool.order(first).price) > market.tick * market.depth_ticks * 4;
        if far && self.dice.per_million(750_000) { self.young(index) } else { Some(first) }
    }

    fn young(&mut self, market: u16) -> Option<u32> {
        let place = ahead::young(&self.pool, market, &mut self.dice);
        self.pool.entry_at(market, place)
    }

    fn replace(&mut self, intent: Intent) -> bool {
        let Some(id) = self.victim(intent) else { return false };
        let market = intent.market;
        let order = *self.pool.order(id);
        if self.flow.locking.is_some_and(|(_, reference, _)| reference == order.reference) {
            return false;
        }
        let (price, shares) = if self.dice.per_million(650_000) {
            self.pool.remove(id);
            let (side, price) = self.place(market, order.side);
            if side == order.side { (price, order.shares) } else { (order.price, order.shares) }
        } else {
            self.pool.remove(id);
            (order.price, self.lot())
        };
        let reference = self.references.take(&mut self.dice);
        self.pool.add(market, order.side, price, shares, reference);
        let (header, _) = self.header_of(OrderReplace::KIND, market);
        self.outbox.push(&OrderReplace {
            header,
            original: order.reference.into(),
            reference: reference.into(),
            shares: shares.into(),
            price: Price4::new(price),
        });
        true
    }

    fn cancel(&mut self, intent: Intent) -> bool {
        let Some(id) = self.victim(intent) else { return false };
        let order = *self.pool.order(id);
        if order.shares < 2 {
            return false;
        }
        let shares = if order.shares > 100 {
            100 * self.dice.between(1, (order.shares - 1) / 100)
        } else {
            self.dice.between(1, order.shares - 1)
        };
        self.pool.reduce(id, shares);
        let (header, _) = self.header_of(OrderCancel::KIND, intent.market);
        let reference = order.reference.into();
        self.outbox.push(&OrderCancel { header, reference, shares: shares.into() });
        true
    }

    /// A taker comes and executes against the best queue, order by order, until it has its shares.
    fn sweep(&mut self, index: u16) -> bool {
        let market = &self.pool.markets[usize::from(index)];
        let side = self.dice.pick(&[Side::Buy, Side::Sell]);
        let resting = market.stale().unwrap_or(side);
        if market.halted || market.levels(resting) < 2 {
            return false;
        }
        let mut left = self.lot();
        for _ in 0..MOST_SWEPT {
            let Some(id) = self.pool.best(index, resting) else { break };
            let order = *self.pool.order(id);
            let shares = order.shares.min(left);
            self.pool.reduce(id, shares);
            let (header, _) = self.header_of(OrderExecuted::KIND, index);
            let match_number = self.flow.next_match().into();
            let reference = order.reference.into();
            self.outbox.push(&OrderExecuted { header, reference, shares: shares.into(), match_number });
            left -= shares;
            if left == 0 || self.pool.markets[usize::from(index)].levels(resting) < 2 {
                break;
            }
        }
        true
    }

    fn hidden_trade(&mut self, index: u16) -> bool {
        let market = &self.pool.markets[usize::from(index)];
        if market.halted || market.live() == 0 {
            return false;
        }
        let price = Price4::new(market.middle());
        let shares = self.lot().into();
        let (header, stock) = self.header_of(Trade::KIND, index);
        let match_number = self.flow.next_match().into();
        self.outbox.push(&Trade {
            header,
            reference: 0.into(),
            side: b'B',
            shares,
            stock,
            price,
            match_number,
        });
        true
    }

    fn priced_execution(&mut self, index: u16) -> bool {
        let side = self.dice.pick(&[Side::Buy, Side::Sell]);
        let market = &self.pool.markets[usize::from(index)];
        let price = market.middle();
        if market.halted || market.levels(side) < 2 || market.best_price(side) == Some(price) {
            return false;
        }
        self.execute_at(index, side, price, b'Y')
    }

    /// Executes all or part of the head of the best queue at `price` instead of its own. Gives whether there was one.
    pub(super) fn execute_at(&mut self, market: u16, side: Side, price: u32, printable: u8) -> bool {
        let Some(id) = self.pool.best(market, side) else { return false };
        let order = *self.pool.order(id);
        let shares = order.shares.min(self.lot());
        self.pool.reduce(id, shares);
        let (header, _) = self.header_of(OrderExecutedWithPrice::KIND, market);
        self.outbox.push(&OrderExecutedWithPrice {
            header,
            reference: order.reference.into(),
            shares: shares.into(),
            match_number: self.flow.next_match().into(),
            printable,
            price: Price4::new(price),
        });
        true
    }

    /// Ends a locked or crossed book when it is time to. Gives whether it made a message.
    fn unlock(&mut self) -> bool {
        let Some((id, reference, due)) = self.flow.locking else { return false };
        if self.made < due {
            return false;
        }
        self.flow.locking = None;
        let live = self.pool.is_live(id, reference);
        if live {
            self.delete_order(id);
        }
        live
    }

    pub(super) fn late_deletion(&mut self, left: u64) -> Stage {
        let Some(left) = left.checked_sub(1) else { return Stage::EndOfMessages };
        let intent = self.next_intent();
        self.delete(intent);
        Stage::LateDeletions(left)
    }
}
