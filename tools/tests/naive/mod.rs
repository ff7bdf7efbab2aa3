//! The simplest books there can be, and a checker that trusts nothing.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use seqcast_wire::itch::{self, Message};

#[derive(Clone, Debug)]
pub(crate) struct Live {
    locate: u16,
    buy: bool,
    price: u32,
    shares: u32,
}

/// Queues of references by price.
pub(crate) type Side = BTreeMap<u32, VecDeque<u64>>;

#[derive(Default)]
pub(crate) struct Checker {
    pub(crate) orders: HashMap<u64, Live>,
    seen: HashSet<u64>,
    pub(crate) books: HashMap<u16, [Side; 2]>,
    pub(crate) stocks: HashMap<u16, itch::Stock>,
    pub(crate) halted: HashSet<u16>,
    pub(crate) locked: HashSet<u16>,
    pub(crate) locked_times: u64,
    last_ns: u64,
    last_match: u64,
    pub(crate) by_type: BTreeMap<u8, u64>,
    pub(crate) total: u64,
}

impl Checker {
    pub(crate) fn check(&mut self, bytes: &[u8]) {
        let message = Message::parse(bytes).expect("a known message of the right length");
        let header = message.header().expect("a known type");
        *self.by_type.entry(header.kind).or_default() += 1;
        self.total += 1;
        let ns = header.timestamp.ns();
        assert!(ns >= self.last_ns, "time ran back at message {}", self.total);
        assert!(ns < 24 * 3_600_000_000_000);
        self.last_ns = ns;
        let locate = header.locate.get();
        match message {
            Message::StockDirectory(m) => {
                assert!(self.stocks.insert(locate, m.stock).is_none());
            }
            Message::AddOrder(m) => {
                self.listed(locate, m.stock);
                self.add(m.reference.get(), locate, m.side, m.shares.get(), m.price.units());
            }
            Message::AddOrderMpid(m) => {
                self.listed(locate, m.stock);
                assert!(m.attribution.as_str().is_some_and(|mpid| mpid.len() == 4));
                self.add(m.reference.get(), locate, m.side, m.shares.get(), m.price.units());
            }
            Message::OrderExecuted(m) => {
                assert!(!self.halted.contains(&locate), "an execution in a halt");
                self.execute(m.reference.get(), locate, m.shares.get(), m.match_number.get());
            }
            Message::OrderExecutedWithPrice(m) => {
                self.execute(m.reference.get(), locate, m.shares.get(), m.match_number.get());
            }
            Message::OrderCancel(m) => {
                let left = self.reduce(m.reference.get(), locate, m.shares.get());
                assert!(left > 0, "a partial cancellation leaves shares");
            }
            Message::OrderDelete(m) => {
                let all = self.live(m.reference.get(), locate).shares;
                self.reduce(m.reference.get(), locate, all);
            }
            Message::OrderReplace(m) => {
                let old = self.live(m.original.get(), locate).clone();
                self.reduce(m.original.get(), locate, old.shares);
                let side = if old.buy { b'B' } else { b'S' };
                self.add(m.reference.get(), locate, side, m.shares.get(), m.price.units());
            }
            Message::Trade(m) => {
                self.listed(locate, m.stock);
                self.new_match(m.match_number.get());
                assert_eq!((m.reference.get(), m.side), (0, b'B'));
            }
            Message::CrossTrade(m) => {
                self.listed(locate, m.stock);
                self.new_match(m.match_number.get());
            }
            Message::TradingAction(m) => {
                self.listed(locate, m.stock);
                match m.state {
                    b'T' => self.halted.remove(&locate),
                    _ => self.halted.insert(locate),
                };
            }
            _ => {}
        }
        self.note_lock(locate);
    }

    fn listed(&self, locate: u16, stock: itch::Stock) {
        assert_eq!(self.stocks.get(&locate), Some(&stock), "locate and symbol belong together");
    }

    fn live(&self, reference: u64, locate: u16) -> &Live {
        let order = self.orders.get(&reference).expect("a live order");
        assert_eq!(order.locate, locate);
        order
    }

    fn add(&mut self, reference: u64, locate: u16, side: u8, shares: u32, price: u32) {
        assert!(self.seen.insert(reference), "reference {reference} was there before");
        assert!(reference > 0 && shares > 0 && price > 0 && price <= 2_000_000_000);
        assert!(
            price < 10_000 || price.is_multiple_of(100),
            "from a dollar on, prices come in cents: {price}"
        );
        let buy = side == b'B';
        assert!(buy || side == b'S');
        self.orders.insert(reference, Live { locate, buy, price, shares });
        let book = self.books.entry(locate).or_default();
        book[usize::from(buy)].entry(price).or_default().push_back(reference);
    }

    fn execute(&mut self, reference: u64, locate: u16, shares: u32, number: u64) {
        self.new_match(number);
        let order = self.live(reference, locate);
        let side = &self.books[&locate][usize::from(order.buy)];
        let best = if order.buy { side.last_key_value() } else { side.first_key_value() };
        assert_eq!(best.and_then(|(_, queue)| queue.front()), Some(&reference), "the head of the best queue");
        self.reduce(reference, locate, shares);
    }

    fn new_match(&mut self, number: u64) {
        assert!(number > self.last_match);
        self.last_match = number;
    }

    fn reduce(&mut self, reference: u64, locate: u16, shares: u32) -> u32 {
        let order = self.live(reference, locate).clone();
        let left = order.shares.checked_sub(shares).expect("shares enough");
        assert!(shares > 0);
        if left > 0 {
            self.orders.get_mut(&reference).unwrap().shares = left;
            return left;
        }
        self.orders.remove(&reference);
        let side = &mut self.books.get_mut(&locate).unwrap()[usize::from(order.buy)];
        let queue = side.get_mut(&order.price).unwrap();
        queue.retain(|&other| other != reference);
        if queue.is_empty() {
            side.remove(&order.price);
        }
        0
    }

    fn note_lock(&mut self, locate: u16) {
        let Some([asks, bids]) = self.books.get(&locate) else { return };
        let locked = matches!(
            (bids.last_key_value(), asks.first_key_value()),
            (Some((bid, _)), Some((ask, _))) if bid >= ask
        );
        if !locked {
            self.locked.remove(&locate);
        } else if self.locked.insert(locate) {
            self.locked_times += 1;
        }
    }

    pub(crate) fn percent(&self, kind: u8) -> f64 {
        100.0 * self.by_type.get(&kind).copied().unwrap_or(0) as f64 / self.total as f64
    }

    /// Levels of a side, best first: price as text, and shares.
    pub(crate) fn levels(&self, locate: u16, buy: bool, depth: usize) -> Vec<(String, u64)> {
        let Some(book) = self.books.get(&locate) else { return Vec::new() };
        let level = |(&price, queue): (&u32, &VecDeque<u64>)| {
            let shares = queue.iter().map(|reference| u64::from(self.orders[reference].shares)).sum();
            (format!("{}.{:04}", price / 10_000, price % 10_000), shares)
        };
        let side = book[usize::from(buy)].iter();
        if buy { side.rev().take(depth).map(level).collect() } else { side.take(depth).map(level).collect() }
    }
}
