//! The books that anyone would write first: the yardstick.

use std::collections::{BTreeMap, HashMap, VecDeque};

use seqcast_engine::book::Side;
use seqcast_wire::itch::Message;

/// Standard collections, queues included.
#[derive(Default)]
pub(crate) struct Naive {
    orders: HashMap<u64, NaiveOrder>,
    levels: BTreeMap<(u16, Side, u32), (u64, VecDeque<u64>)>,
}

#[derive(Clone, Copy)]
struct NaiveOrder {
    locate: u16,
    side: Side,
    price: u32,
    shares: u32,
}

impl Naive {
    pub(crate) fn apply(&mut self, message: &[u8]) {
        match Message::parse(message) {
            Ok(Message::AddOrder(m)) => {
                let side = if m.side == b'B' { Side::Bid } else { Side::Ask };
                let (locate, price, shares) = (m.header.locate.get(), m.price.units(), m.shares.get());
                self.add(m.reference.get(), NaiveOrder { locate, side, price, shares });
            }
            Ok(Message::AddOrderMpid(m)) => {
                let side = if m.side == b'B' { Side::Bid } else { Side::Ask };
                let (locate, price, shares) = (m.header.locate.get(), m.price.units(), m.shares.get());
                self.add(m.reference.get(), NaiveOrder { locate, side, price, shares });
            }
            Ok(Message::OrderExecuted(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderExecutedWithPrice(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderCancel(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderDelete(m)) => _ = self.remove(m.reference.get()),
            Ok(Message::OrderReplace(m)) => {
                if let Some(old) = self.remove(m.original.get()) {
                    let new = NaiveOrder { price: m.price.units(), shares: m.shares.get(), ..old };
                    self.add(m.reference.get(), new);
                }
            }
            _ => {}
        }
    }

    /// Orders that are live now.
    pub(crate) fn live_orders(&self) -> usize {
        self.orders.len()
    }

    fn add(&mut self, reference: u64, order: NaiveOrder) {
        self.orders.insert(reference, order);
        let level = self.levels.entry((order.locate, order.side, order.price)).or_default();
        level.0 += u64::from(order.shares);
        level.1.push_back(reference);
    }

    fn remove(&mut self, reference: u64) -> Option<NaiveOrder> {
        let order = self.orders.remove(&reference)?;
        let key = (order.locate, order.side, order.price);
        let (shares, queue) = self.levels.get_mut(&key)?;
        *shares -= u64::from(order.shares);
        // Queues are in the order of arrival and references grow, but not always.
        let at = queue.binary_search(&reference).ok().or_else(|| queue.iter().position(|&r| r == reference));
        at.and_then(|at| queue.remove(at));
        if queue.is_empty() {
            self.levels.remove(&key);
        }
        Some(order)
    }

    fn reduce(&mut self, reference: u64, shares: u32) {
        let Some(order) = self.orders.get_mut(&reference) else { return };
        if order.shares <= shares {
            self.remove(reference);
            return;
        }
        order.shares -= shares;
        if let Some((total, _)) = self.levels.get_mut(&(order.locate, order.side, order.price)) {
            *total -= u64::from(shares);
        }
    }
}
