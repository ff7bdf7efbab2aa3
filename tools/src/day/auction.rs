//! Crosses and the imbalances published before them.

use seqcast_wire::Price4;
use seqcast_wire::itch::{CrossTrade, MwcbStatus, NetOrderImbalance};

use super::Day;
use super::pool::Side;
use super::schedule::{Flow, Stage};

/// Crosses in a million that execute displayed orders too.
const DISPLAYED: u32 = 200_000;

impl Day {
    pub(super) fn imbalance(&mut self, index: u16, cross: u8) {
        let market = &self.pool.markets[usize::from(index)];
        let (reference, step) = (market.middle(), market.tick * self.dice.below(1 + market.depth_ticks));
        let direction = self.dice.pick(b"BBBSSSN");
        let near = match direction {
            b'B' => reference.saturating_add(step),
            b'S' => reference.saturating_sub(step).max(market.tick),
            _ => reference,
        };
        let far =
            if near >= reference { near.saturating_add(step) } else { near.saturating_sub(step).max(1) };
        let paired = u64::from(self.dice.heavy(3_000).min(5_000_000));
        let imbalance = if direction == b'N' { 0 } else { u64::from(self.dice.heavy(800).min(2_000_000)) };
        let variation = match u64::from(near.abs_diff(reference)) * 100 / u64::from(reference) {
            0 => b'L',
            percent @ 1..10 => b'0' + percent as u8,
            10..20 => b'A',
            20..30 => b'B',
            _ => b'C',
        };
        let (header, stock) = self.header_of(NetOrderImbalance::KIND, index);
        self.outbox.push(&NetOrderImbalance {
            header,
            paired: paired.into(),
            imbalance: imbalance.into(),
            direction,
            stock,
            far: Price4::new(far),
            near: Price4::new(near),
            reference: Price4::new(reference),
            cross,
            variation,
        });
    }

    pub(super) fn opening_cross(&mut self, market: u16) -> Stage {
        self.cross(market, b'O');
        if self.is_last(market) { Stage::Flow(Flow::Continuous) } else { Stage::OpeningCross(market + 1) }
    }

    pub(super) fn closing_cross(&mut self, market: u16) -> Stage {
        self.cross(market, b'C');
        if self.is_last(market) { Stage::Flow(Flow::Evening) } else { Stage::ClosingCross(market + 1) }
    }

    /// A cross: displayed orders on both sides trade at its price, not printed, and one message for the whole of it.
    pub(super) fn cross(&mut self, index: u16, cross: u8) {
        let market = &self.pool.markets[usize::from(index)];
        let (price, halted) = (market.middle(), market.halted && cross != b'H');
        let deep = market.levels(Side::Buy) > 1 && market.levels(Side::Sell) > 1;
        if deep && !halted && self.dice.per_million(DISPLAYED) {
            self.execute_at(index, Side::Buy, price, b'N');
            self.execute_at(index, Side::Sell, price, b'N');
        }
        let traded = !halted && (deep || self.dice.per_million(200_000));
        let shares = if traded { u64::from(self.dice.heavy(500).min(20_000_000)) } else { 0 };
        let price = Price4::new(if traded { price } else { 0 });
        let (header, stock) = self.header_of(CrossTrade::KIND, index);
        let match_number = self.flow.next_match().into();
        self.outbox.push(&CrossTrade { header, shares: shares.into(), stock, price, match_number, cross });
    }

    /// The market-wide circuit breaker's first level: so late in the day it is published, and trading goes on.
    pub(super) fn breach(&mut self) -> Stage {
        let header = self.header(MwcbStatus::KIND, 0);
        self.outbox.push(&MwcbStatus { header, level: b'1' });
        Stage::Flow(Flow::ClosingImbalance)
    }
}
