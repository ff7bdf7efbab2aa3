//! Books of `nautilus-model`. They want to be told the side and the shares left of an order, which ITCH does not repeat:
//! hence the map beside them.

use std::collections::HashMap;

use nautilus_model::data::order::BookOrder;
use nautilus_model::enums::{BookType, OrderSide};
use nautilus_model::identifiers::InstrumentId;
use nautilus_model::orderbook::OrderBook;
use nautilus_model::types::{Price, Quantity};
use seqcast_wire::itch::Message;

/// Its units in one of ours.
const PRICE_UNITS: i64 = 100_000;
const SHARE_UNITS: u64 = 1_000_000_000;

#[derive(Default)]
pub(super) struct Books {
    books: Vec<Option<OrderBook>>,
    orders: HashMap<u64, (u16, BookOrder)>,
    messages: u64,
}

fn price(units: u32) -> Price {
    Price::from_raw(i64::from(units) * PRICE_UNITS, 4)
}

fn quantity(shares: u32) -> Quantity {
    Quantity::from_raw(u64::from(shares) * SHARE_UNITS, 0)
}

impl Books {
    pub(super) fn live_orders(&self) -> usize {
        self.books.iter().flatten().map(orders_of).sum()
    }

    pub(super) fn apply(&mut self, message: &[u8]) {
        self.messages += 1;
        match Message::parse(message) {
            Ok(Message::AddOrder(m)) => {
                let order = order(m.side, m.price.units(), m.shares.get(), m.reference.get());
                self.add(m.header.locate.get(), order);
            }
            Ok(Message::AddOrderMpid(m)) => {
                let order = order(m.side, m.price.units(), m.shares.get(), m.reference.get());
                self.add(m.header.locate.get(), order);
            }
            Ok(Message::OrderExecuted(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderExecutedWithPrice(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderCancel(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderDelete(m)) => _ = self.remove(m.reference.get()),
            Ok(Message::OrderReplace(m)) => {
                if let Some((locate, old)) = self.remove(m.original.get()) {
                    let (price, size) = (price(m.price.units()), quantity(m.shares.get()));
                    self.add(locate, BookOrder::new(old.side, price, size, m.reference.get()));
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, locate: u16, order: BookOrder) {
        self.orders.insert(order.order_id, (locate, order));
        let at = usize::from(locate);
        if at >= self.books.len() {
            self.books.resize_with(at + 1, || None);
        }
        let new = || OrderBook::new(InstrumentId::from(format!("S{at}.XNAS").as_str()), BookType::L3_MBO);
        self.books[at].get_or_insert_with(new).add(order, 0, self.messages, 0.into());
    }

    fn remove(&mut self, reference: u64) -> Option<(u16, BookOrder)> {
        let (locate, order) = self.orders.remove(&reference)?;
        let book = self.books[usize::from(locate)].as_mut()?;
        book.delete(order, 0, self.messages, 0.into());
        Some((locate, order))
    }

    fn reduce(&mut self, reference: u64, shares: u32) {
        let Some((locate, order)) = self.orders.get_mut(&reference) else { return };
        let taken = quantity(shares);
        if taken.raw >= order.size.raw {
            self.remove(reference);
            return;
        }
        order.size = Quantity::from_raw(order.size.raw - taken.raw, 0);
        if let Some(book) = &mut self.books[usize::from(*locate)] {
            book.update(*order, 0, self.messages, 0.into());
        }
    }
}

fn order(side: u8, units: u32, shares: u32, reference: u64) -> BookOrder {
    let side = if side == b'B' { OrderSide::Buy } else { OrderSide::Sell };
    BookOrder::new(side, price(units), quantity(shares), reference)
}

fn orders_of(book: &OrderBook) -> usize {
    book.bids(None).chain(book.asks(None)).map(|level| level.len()).sum()
}
