//! Applying messages: the rules of ITCH 5.0 for books.
//!
//! Only `A F E C X D U` change orders. An order whose shares reach zero is dead; no delete follows. `E` executes at
//! the order's price, `C` at its own, both reduce the order at its level. `U` ends one order and adds another at the
//! end of its queue, with the side, the symbol and the participant of the first.

use seqcast_wire::Price4;
use seqcast_wire::itch::{
    AddOrder, AddOrderMpid, CrossTrade, Header, Message, OperationalHalt, OrderCancel, OrderDelete,
    OrderExecuted, OrderExecutedWithPrice, OrderReplace, RegSho, Stock, StockDirectory, SystemEvent,
    Trade as HiddenTrade, TradingAction,
};

use super::books::Touch;
use super::ladder::{self, Rung};
use super::node::{LevelNode, OrderNode};
use super::slab::{Linked, NONE};
use super::symbol::MARKETS;
use super::{Anomaly, Applied, Books, Effect, Side, Touched, Trade, TradeKind};
use crate::mem::prefetch;

/// An order to be added, whatever message it came in.
struct NewOrder {
    locate: u16,
    side: Side,
    price: u32,
    reference: u64,
    shares: u32,
    attribution: [u8; 4],
}

impl Books {
    /// Applies one message (without length prefix).
    #[inline]
    pub fn apply(&mut self, message: &[u8]) -> Applied {
        self.stats.messages += 1;
        let Ok(parsed) = Message::parse(message) else {
            return self.refuse(0, Anomaly::Malformed);
        };
        match parsed {
            Message::AddOrder(m) => self.on_add(m, [0; 4]),
            Message::AddOrderMpid(m) => self.on_add_mpid(m),
            Message::OrderDelete(m) => self.on_delete(m),
            Message::OrderReplace(m) => self.on_replace(m),
            Message::OrderExecuted(m) => self.on_executed(m),
            Message::OrderCancel(m) => self.on_cancel(m),
            Message::OrderExecutedWithPrice(m) => self.on_executed_with_price(m),
            other => self.apply_other(other),
        }
    }

    #[cold]
    #[inline(never)]
    fn apply_other(&mut self, message: Message<'_>) -> Applied {
        match message {
            Message::SystemEvent(m) => self.on_system_event(m),
            Message::StockDirectory(m) => self.on_directory(m),
            Message::TradingAction(m) => self.on_trading_action(m),
            Message::OperationalHalt(m) => self.on_operational_halt(m),
            Message::RegSho(m) => self.on_reg_sho(m),
            Message::Trade(m) => hidden_trade(m),
            Message::CrossTrade(m) => cross_trade(m),
            Message::Unknown(_) => self.refuse(0, Anomaly::UnknownType),
            other => Applied::none(other.header().map_or(0, |header| header.locate.get())),
        }
    }

    #[cold]
    fn refuse(&mut self, locate: u16, anomaly: Anomaly) -> Applied {
        self.stats.count(anomaly);
        Applied { anomaly: Some(anomaly), ..Applied::none(locate) }
    }
}

/// Messages about single orders.
impl Books {
    #[inline]
    fn on_add(&mut self, m: &AddOrder, attribution: [u8; 4]) -> Applied {
        let locate = m.header.locate.get();
        let (Some(side), shares @ 1..) = (Side::from_itch(m.side), m.shares.get()) else {
            return self.refuse(locate, Anomaly::Malformed);
        };
        let (price, reference) = (m.price.units(), m.reference.get());
        let mut applied = Applied::none(locate);
        self.check_stock(locate, m.stock, &mut applied);
        self.add(&NewOrder { locate, side, price, reference, shares, attribution }, &mut applied);
        applied
    }

    #[inline]
    fn on_add_mpid(&mut self, m: &AddOrderMpid) -> Applied {
        let &AddOrderMpid { header, reference, side, shares, stock, price, attribution } = m;
        self.on_add(&AddOrder { header, reference, side, shares, stock, price }, attribution.0)
    }

    #[inline]
    fn on_delete(&mut self, m: &OrderDelete) -> Applied {
        let mut applied = Applied::none(m.header.locate.get());
        let reference = m.reference.get();
        let hash = self.index.hash(reference);
        match self.index.remove(hash, reference, &self.orders) {
            Some(order) => self.unlink(order, &mut applied),
            None => self.note(Anomaly::UnknownReference, &mut applied),
        }
        applied
    }

    #[inline]
    fn on_replace(&mut self, m: &OrderReplace) -> Applied {
        let mut applied = Applied::none(m.header.locate.get());
        let (original, reference) = (m.original.get(), m.reference.get());
        let shares = m.shares.get();
        if shares == 0 {
            return self.refuse(applied.locate, Anomaly::Malformed);
        }
        let hash = self.index.hash(original);
        let Some(order) = self.index.remove(hash, original, &self.orders) else {
            return self.refuse(applied.locate, Anomaly::UnknownReference);
        };
        let before = self.orders[order];
        let level = self.levels[before.level];
        self.unlink(order, &mut applied);
        let (locate, side, price) = (applied.locate, level.side, m.price.units());
        let attribution = before.attribution;
        let bbo_left = applied.bbo_changed;
        let new = NewOrder { locate, side, price, reference, shares, attribution };
        if self.add(&new, &mut applied) && price == level.price {
            applied.bbo_changed = bbo_left && shares != before.shares;
        }
        applied
    }

    #[inline]
    fn on_executed(&mut self, m: &OrderExecuted) -> Applied {
        self.execute(&m.header, m.reference.get(), m.shares.get(), m.match_number.get(), None)
    }

    #[inline]
    fn on_executed_with_price(&mut self, m: &OrderExecutedWithPrice) -> Applied {
        let at = Some((m.price, m.printable != b'N'));
        self.execute(&m.header, m.reference.get(), m.shares.get(), m.match_number.get(), at)
    }

    fn execute(
        &mut self,
        header: &Header,
        reference: u64,
        shares: u32,
        match_number: u64,
        at: Option<(Price4, bool)>,
    ) -> Applied {
        let mut applied = Applied::none(header.locate.get());
        let Some(level) = self.reduce(reference, shares, &mut applied) else {
            return applied;
        };
        self.stats.over_executions += u64::from(applied.anomaly == Some(Anomaly::Excess));
        let (price, printable) = at.unwrap_or((Price4::new(level.price), true));
        let (kind, side, shares) = (TradeKind::Order, Some(level.side), u64::from(shares));
        applied.trade = Some(Trade { kind, side, printable, price, shares, match_number, reference });
        applied
    }

    #[inline]
    fn on_cancel(&mut self, m: &OrderCancel) -> Applied {
        let mut applied = Applied::none(m.header.locate.get());
        self.reduce(m.reference.get(), m.shares.get(), &mut applied);
        self.stats.over_cancels += u64::from(applied.anomaly == Some(Anomaly::Excess));
        applied
    }
}

/// What the messages are made of.
impl Books {
    fn note(&mut self, anomaly: Anomaly, applied: &mut Applied) {
        self.stats.count(anomaly);
        applied.anomaly = Some(anomaly);
    }

    /// Learns the symbol of a locate that has none, or compares.
    #[inline]
    fn check_stock(&mut self, locate: u16, stock: Stock, applied: &mut Applied) {
        let book = self.open(locate);
        match book.stock {
            Some(known) if known == stock => {}
            Some(_) => self.note(Anomaly::WrongSymbol, applied),
            None => book.stock = Some(stock),
        }
    }

    /// Adds an order at the end of its level's queue; `false` when it is refused.
    #[inline]
    fn add(&mut self, new: &NewOrder, applied: &mut Applied) -> bool {
        let hash = self.index.hash(new.reference);
        if self.index.find(hash, new.reference, &self.orders).is_some() {
            self.note(Anomaly::DuplicateReference, applied);
            return false;
        }
        if self.orders.is_full() {
            self.note(Anomaly::OverLimit, applied);
            return false;
        }
        let ladder = self.books[usize::from(new.locate)].ladders[new.side as usize];
        let at = match self.ladders.find(ladder, ladder::key(new.side, new.price)) {
            Ok(place) => self.ladders.rungs(ladder)[place].level(),
            Err(place) => match self.add_level(new, place) {
                Some(at) => at,
                None => {
                    self.note(Anomaly::OverLimit, applied);
                    return false;
                }
            },
        };
        let level = &mut self.levels[at];
        let tail = level.tail;
        let order = self.orders.insert(OrderNode {
            reference: new.reference,
            shares: new.shares,
            level: at,
            previous: tail,
            next: NONE,
            attribution: new.attribution,
        });
        self.orders[tail].next = order;
        level.head = if tail == NONE { order } else { level.head };
        level.tail = order;
        level.shares += u64::from(new.shares);
        level.orders += 1;
        self.index.insert(hash, order, &self.orders);
        let ladder = self.books[usize::from(new.locate)].ladders[new.side as usize];
        applied.bbo_changed |= self.ladders.best(ladder).is_some_and(|best| best.level() == at);
        touch(applied, new.side, new.price);
        true
    }

    /// A new level at its place in the ladder; `None` when there is no room.
    fn add_level(&mut self, new: &NewOrder, place: usize) -> Option<u32> {
        let NewOrder { locate, side, price, .. } = *new;
        let at = self.levels.insert(LevelNode { price, locate, side, ..LevelNode::BLANK });
        let ladder = &mut self.books[usize::from(locate)].ladders[side as usize];
        let rung = Rung::new(ladder::key(side, price), at);
        if self.ladders.insert(ladder, place, rung).is_err() {
            self.levels.remove(at);
            return None;
        }
        if place + 1 == ladder.len() {
            self.note_touch(locate);
        }
        Some(at)
    }

    /// Takes shares off an order, and the order out when none are left. Gives its level as it was before; `None` when
    /// there is no such order. More shares than there are is noted as [`Anomaly::Excess`].
    #[inline]
    fn reduce(&mut self, reference: u64, shares: u32, applied: &mut Applied) -> Option<LevelNode> {
        let hash = self.index.hash(reference);
        let Some(at) = self.index.find(hash, reference, &self.orders) else {
            self.note(Anomaly::UnknownReference, applied);
            return None;
        };
        let order = &mut self.orders[at];
        let level = &mut self.levels[order.level];
        let before = *level;
        if shares < order.shares {
            order.shares -= shares;
            level.shares -= u64::from(shares);
            let level_at = order.level;
            self.check_locate(before.locate, applied);
            if shares > 0 {
                let ladder = self.books[usize::from(before.locate)].ladders[before.side as usize];
                let best = self.ladders.best(ladder);
                applied.bbo_changed = best.is_some_and(|best| best.level() == level_at);
                touch(applied, before.side, before.price);
            }
            return Some(before);
        }
        let excess = shares > order.shares;
        self.index.remove(hash, reference, &self.orders);
        self.unlink(at, applied);
        if excess {
            applied.anomaly = Some(Anomaly::Excess);
        }
        Some(before)
    }

    /// Takes an order, no longer in the index, out of its queue, and its level out when it was the last.
    #[inline]
    fn unlink(&mut self, order: u32, applied: &mut Applied) {
        let OrderNode { shares, level: at, previous, next, .. } = self.orders[order];
        self.orders[previous].next = next;
        self.orders[next].previous = previous;
        self.orders.remove(order);
        let level = &mut self.levels[at];
        level.head = if previous == NONE { next } else { level.head };
        level.tail = if next == NONE { previous } else { level.tail };
        level.shares -= u64::from(shares);
        level.orders -= 1;
        let LevelNode { locate, side, price, orders, .. } = *level;
        self.check_locate(locate, applied);
        let ladder = &mut self.books[usize::from(locate)].ladders[side as usize];
        let best = self.ladders.best(*ladder).is_some_and(|best| best.level() == at);
        applied.bbo_changed |= best;
        touch(applied, side, price);
        if orders > 0 {
            return;
        }
        if best {
            self.ladders.remove(ladder, ladder.len() - 1);
            self.note_touch(locate);
        } else if let Ok(place) = self.ladders.find(*ladder, ladder::key(side, price)) {
            self.ladders.remove(ladder, place);
        }
        self.levels.remove(at);
    }

    /// The order decides which book a message is about.
    #[inline]
    fn check_locate(&mut self, locate: u16, applied: &mut Applied) {
        if applied.locate != locate {
            applied.locate = locate;
            self.note(Anomaly::WrongLocate, applied);
        }
    }

    /// The best price of a side changed: does the book lock or cross?
    #[inline]
    fn note_touch(&mut self, locate: u16) {
        let book = &mut self.books[usize::from(locate)];
        let [bid, ask] = [Side::Bid, Side::Ask].map(|side| {
            self.ladders.best(book.ladders[side as usize]).map(|rung| ladder::price(side, rung.key()))
        });
        let touch = match (bid, ask) {
            (Some(bid), Some(ask)) if bid == ask => Touch::Locked,
            (Some(bid), Some(ask)) if bid > ask => Touch::Crossed,
            _ => Touch::Open,
        };
        if book.touch != touch {
            book.touch = touch;
            self.stats.locked += u64::from(touch == Touch::Locked);
            self.stats.crossed += u64::from(touch == Touch::Crossed);
        }
    }
}

/// Messages about symbols and the session: kept as they came.
impl Books {
    fn on_system_event(&mut self, m: &SystemEvent) -> Applied {
        if self.events.push(*m) { Applied::status(0) } else { self.refuse(0, Anomaly::OverLimit) }
    }

    fn on_directory(&mut self, m: &StockDirectory) -> Applied {
        let locate = m.header.locate.get();
        self.open(locate).stock = Some(m.stock);
        self.symbols[usize::from(locate)].directory = Some(*m);
        Applied::status(locate)
    }

    fn on_trading_action(&mut self, m: &TradingAction) -> Applied {
        let locate = m.header.locate.get();
        self.open(locate);
        self.symbols[usize::from(locate)].trading_action = Some(*m);
        Applied::status(locate)
    }

    fn on_operational_halt(&mut self, m: &OperationalHalt) -> Applied {
        let locate = m.header.locate.get();
        let Some(market) = MARKETS.iter().position(|&market| market == m.market) else {
            return self.refuse(locate, Anomaly::Malformed);
        };
        self.open(locate);
        self.symbols[usize::from(locate)].halts[market] = Some(*m);
        Applied::status(locate)
    }

    fn on_reg_sho(&mut self, m: &RegSho) -> Applied {
        let locate = m.header.locate.get();
        self.open(locate);
        self.symbols[usize::from(locate)].reg_sho = Some(*m);
        Applied::status(locate)
    }
}

#[inline]
fn touch(applied: &mut Applied, side: Side, price: u32) {
    applied.effect = Effect::Book;
    let touched = Touched { side, price: Price4::new(price) };
    match applied.touched[0] {
        None => applied.touched[0] = Some(touched),
        Some(first) if first == touched => {}
        Some(_) => applied.touched[1] = Some(touched),
    }
}

fn hidden_trade(m: &HiddenTrade) -> Applied {
    let trade = Trade {
        kind: TradeKind::Hidden,
        side: Side::from_itch(m.side),
        printable: true,
        price: m.price,
        shares: u64::from(m.shares.get()),
        match_number: m.match_number.get(),
        reference: m.reference.get(),
    };
    Applied { trade: Some(trade), ..Applied::none(m.header.locate.get()) }
}

fn cross_trade(m: &CrossTrade) -> Applied {
    let trade = Trade {
        kind: TradeKind::Cross(m.cross),
        side: None,
        printable: true,
        price: m.price,
        shares: m.shares.get(),
        match_number: m.match_number.get(),
        reference: 0,
    };
    Applied { trade: Some(trade), ..Applied::none(m.header.locate.get()) }
}

/// Looking ahead.
impl Books {
    /// Asks for the lines that are known from the message alone. Changes nothing; call it some messages before
    /// [`Books::apply`], then [`Books::prefetch_order`] half-way.
    #[inline]
    pub fn prefetch(&self, message: &[u8]) {
        let Some((locate, reference)) = order_message(message) else { return };
        self.index.prefetch(self.index.hash(reference));
        prefetch(&self.books, usize::from(locate));
    }

    /// Asks for the lines that are known once those of [`Books::prefetch`] have arrived.
    #[inline]
    pub fn prefetch_order(&self, message: &[u8]) {
        let Some((locate, reference)) = order_message(message) else { return };
        if let b'A' | b'F' = message[0] {
            let side = usize::from(message[19] == b'S');
            if let Some(book) = self.books.get(usize::from(locate)) {
                self.ladders.prefetch_best(book.ladders[side]);
            }
        } else {
            self.orders.prefetch(self.index.guess(self.index.hash(reference)));
        }
    }
}

/// Locate and reference of a message about a single order.
#[inline]
fn order_message(message: &[u8]) -> Option<(u16, u64)> {
    let (&kind, &locate, &reference) =
        (message.first()?, message.get(1..3)?.first_chunk()?, message.get(11..)?.first_chunk()?);
    matches!(kind, b'A' | b'F' | b'E' | b'C' | b'X' | b'D' | b'U')
        .then(|| (u16::from_be_bytes(locate), u64::from_be_bytes(reference)))
}
