//! What happens now and then: halts and how they end, broken trades, and the message types that few days have.

use seqcast_wire::Price4;
use seqcast_wire::itch::{
    BrokenTrade, DirectListing, IpoQuotingPeriod, LuldAuctionCollar, OperationalHalt, RegSho,
    RetailPriceImprovement,
};

use super::schedule::Flow;
use super::{Day, DayConfig};

/// Rare events of a day, at least.
const PER_DAY: u64 = 64;
/// Messages between them, at most.
const MOST_APART: u64 = 500_000;

/// What ends a halt, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sequel {
    Quotation,
    Trading,
    OperationalEnd(u8),
}

/// When the next rare event comes, which one, and what the earlier ones still entail.
#[derive(Debug)]
pub(super) struct Rare {
    apart: u64,
    due: u64,
    turn: u8,
    sequels: Vec<(u64, u16, Sequel)>,
}

impl Rare {
    pub(super) fn new(config: &DayConfig) -> Rare {
        let apart = (config.messages / PER_DAY).clamp(1, MOST_APART);
        Rare { apart, due: 0, turn: 0, sequels: Vec::new() }
    }
}

impl Day {
    /// Makes a rare event, or the sequel of one, when it is time for it. Gives whether it made a message.
    pub(super) fn rarity(&mut self, flow: Flow) -> bool {
        if self.made < self.rare.due {
            return false;
        }
        let due = self.rare.sequels.iter().position(|&(due, ..)| due <= self.made);
        if let Some(at) = due {
            let (_, market, sequel) = self.rare.sequels.swap_remove(at);
            self.sequel(market, sequel);
            return true;
        }
        // Looked at again for sequels four times between two events.
        self.rare.due = self.made + self.rare.apart / 4;
        self.rare.turn = (self.rare.turn + 1) % 32;
        let begins = flow == Flow::Continuous && self.rare.turn.is_multiple_of(4);
        begins && self.begin(self.rare.turn / 4)
    }

    fn begin(&mut self, what: u8) -> bool {
        let index = self.wheel.spin(&mut self.dice);
        if self.pool.markets[usize::from(index)].halted {
            return false;
        }
        match what {
            0 => self.pause(index),
            1 => self.news_halt(index),
            2 => self.initial_offering(index),
            3 => self.operational_halt(index),
            4 => {
                let (header, stock) = self.header_of(RetailPriceImprovement::KIND, index);
                let interest = self.dice.pick(b"BSAN");
                self.outbox.push(&RetailPriceImprovement { header, stock, interest });
            }
            5 => {
                let (header, _) = self.header_of(BrokenTrade::KIND, index);
                let match_number = self.flow.last_match().into();
                self.outbox.push(&BrokenTrade { header, match_number });
            }
            6 => self.direct_listing(index),
            _ => {
                let (header, stock) = self.header_of(RegSho::KIND, index);
                self.outbox.push(&RegSho { header, stock, action: b'1' });
            }
        }
        true
    }

    fn halt(&mut self, index: u16, state: u8, reason: [u8; 4]) {
        self.pool.markets[usize::from(index)].halted = true;
        self.trading_action(index, state, reason);
        self.follow(index, Sequel::Quotation);
    }

    fn follow(&mut self, index: u16, sequel: Sequel) {
        self.rare.sequels.push((self.made + self.rare.apart / 2, index, sequel));
    }

    /// Limit up, limit down: trading pauses, and the auction that ends the pause has its collars.
    fn pause(&mut self, index: u16) {
        self.halt(index, b'P', *b"LUDP");
        let market = &self.pool.markets[usize::from(index)];
        let (price, band) = (market.middle(), market.middle() / 20);
        let (header, stock) = self.header_of(LuldAuctionCollar::KIND, index);
        self.outbox.push(&LuldAuctionCollar {
            header,
            stock,
            reference: Price4::new(price),
            upper: Price4::new(price + band),
            lower: Price4::new(price - band),
            extension: 0.into(),
        });
    }

    fn news_halt(&mut self, index: u16) {
        self.halt(index, b'H', *b"T1  ");
    }

    fn initial_offering(&mut self, index: u16) {
        self.halt(index, b'H', *b"IPO1");
        let price = Price4::new(self.pool.markets[usize::from(index)].fair);
        let release_s = (self.clock.now_ns() / 1_000_000_000) as u32 + 600;
        let (header, stock) = self.header_of(IpoQuotingPeriod::KIND, index);
        let release_s = release_s.into();
        self.outbox.push(&IpoQuotingPeriod { header, stock, release_s, qualifier: b'A', price });
    }

    fn operational_halt(&mut self, index: u16) {
        let venue = self.dice.pick(b"QBX");
        self.operational(index, venue, b'H');
        self.pool.markets[usize::from(index)].halted |= venue == b'Q';
        self.follow(index, Sequel::OperationalEnd(venue));
    }

    fn operational(&mut self, index: u16, venue: u8, action: u8) {
        let (header, stock) = self.header_of(OperationalHalt::KIND, index);
        self.outbox.push(&OperationalHalt { header, stock, market: venue, action });
    }

    fn direct_listing(&mut self, index: u16) {
        let market = &self.pool.markets[usize::from(index)];
        let (price, fifth) = (market.fair, market.fair / 5);
        let near_time_ns = self.clock.now_ns() + 600_000_000_000;
        let (header, stock) = self.header_of(DirectListing::KIND, index);
        self.outbox.push(&DirectListing {
            header,
            stock,
            eligible: b'Y',
            min_price: Price4::new(price - fifth),
            max_price: Price4::new(price + 4 * fifth),
            near_price: Price4::new(price),
            near_time_ns: near_time_ns.into(),
            lower: Price4::new(price - fifth / 2),
            upper: Price4::new(price + fifth / 2),
        });
    }

    fn sequel(&mut self, index: u16, sequel: Sequel) {
        match sequel {
            Sequel::Quotation => {
                self.trading_action(index, b'Q', *b"    ");
                self.imbalance(index, b'H');
                self.follow(index, Sequel::Trading);
            }
            Sequel::Trading => {
                self.cross(index, b'H');
                self.trading_action(index, b'T', *b"    ");
                self.pool.markets[usize::from(index)].halted = false;
            }
            Sequel::OperationalEnd(venue) => {
                self.operational(index, venue, b'T');
                if venue == b'Q' {
                    self.pool.markets[usize::from(index)].halted = false;
                }
            }
        }
    }
}
