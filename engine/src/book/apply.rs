//! Applying messages: the rules of ITCH 5.0 for books.
//!
//! Only `A F E C X D U` change orders. An order whose shares reach zero is dead; no delete follows. `E` executes at
//! the order's price, `C` at its own, both reduce the order at its level. `U` ends one order and adds another at the
//! end of its queue, with the side, the symbol and the participant of the first.

use seqcast_wire::Price4;
use seqcast_wire::itch::{
    AddOrder, AddOrderMpid, CrossTrade, Message, OperationalHalt, OrderCancel, OrderDelete, OrderExecuted,
    OrderExecutedWithPrice, OrderReplace, RegSho, Stock, StockDirectory, SystemEvent, Trade as HiddenTrade,
    TradingAction,
};

use super::ahead::Hints;
use super::edit::{Change, Fit, NewOrder, Reduced};
use super::node::OrderNode;
use super::symbol::MARKETS;
use super::{Anomaly, Applied, Books, Effect, Side, Touched, Trade, TradeKind};

impl Books {
    /// Applies one message (without length prefix).
    pub fn apply(&mut self, message: &[u8]) -> Applied {
        let hints = self.hints(message);
        self.apply_near(message, hints)
    }

    /// Applies one message; `hints` say where to look first.
    #[inline]
    pub(super) fn apply_near(&mut self, message: &[u8], hints: Hints) -> Applied {
        self.stats.messages += 1;
        let Ok(parsed) = Message::parse(message) else {
            return self.refuse(0, Anomaly::Malformed);
        };
        match parsed {
            Message::AddOrder(m) => self.on_add(m, [0; 4], hints),
            Message::AddOrderMpid(m) => self.on_add_mpid(m, hints),
            Message::OrderDelete(m) => self.on_delete(m, hints),
            Message::OrderReplace(m) => self.on_replace(m, hints),
            Message::OrderExecuted(m) => self.on_executed(m, hints),
            Message::OrderCancel(m) => self.on_cancel(m, hints),
            Message::OrderExecutedWithPrice(m) => self.on_executed_with_price(m, hints),
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
    fn on_add(&mut self, m: &AddOrder, attribution: [u8; 4], hints: Hints) -> Applied {
        let locate = m.header.locate.get();
        let (Some(side), shares @ 1..) = (Side::from_itch(m.side), m.shares.get()) else {
            return self.refuse(locate, Anomaly::Malformed);
        };
        let (price, reference) = (m.price.units(), m.reference.get());
        let named = self.check_stock(locate, m.stock);
        match self.add(&NewOrder { locate, side, price, reference, shares, attribution }, hints) {
            Ok(change) => Applied { anomaly: named.err(), ..self.done(locate, change) },
            Err(anomaly) => self.refuse(locate, anomaly),
        }
    }

    #[inline]
    fn on_add_mpid(&mut self, m: &AddOrderMpid, hints: Hints) -> Applied {
        let &AddOrderMpid { header, reference, side, shares, stock, price, attribution } = m;
        self.on_add(&AddOrder { header, reference, side, shares, stock, price }, attribution.0, hints)
    }

    #[inline]
    fn on_delete(&mut self, m: &OrderDelete, hints: Hints) -> Applied {
        let (locate, reference) = (m.header.locate.get(), m.reference.get());
        match self.index.remove(hints.spot, hints.hash, reference, &self.orders) {
            Some(order) => {
                let change = self.unlink(order);
                self.done(locate, change)
            }
            None => self.refuse(locate, Anomaly::UnknownReference),
        }
    }

    #[inline]
    fn on_replace(&mut self, m: &OrderReplace, hints: Hints) -> Applied {
        let (original, shares) = (m.original.get(), m.shares.get());
        if shares == 0 {
            return self.refuse(m.header.locate.get(), Anomaly::Malformed);
        }
        let Some(order) = self.index.remove(hints.spot, hints.hash, original, &self.orders) else {
            return self.refuse(m.header.locate.get(), Anomaly::UnknownReference);
        };
        let OrderNode { attribution, shares: shares_before, .. } = self.orders[order];
        let left = self.unlink(order);
        let (Change { locate, side, .. }, price, reference) = (left, m.price.units(), m.reference.get());
        let hints = Hints { hash: self.index.hash(reference), ..hints };
        let added = self.add(&NewOrder { locate, side, price, reference, shares, attribution }, hints);
        let entered = added.unwrap_or(left);
        let mut applied = self.done(m.header.locate.get(), left);
        if price != left.price {
            applied.bbo_changed |= entered.at_best;
            applied.touched[1] = added.ok().map(Touched::from);
        } else if added.is_ok() {
            applied.bbo_changed &= shares != shares_before;
        }
        if let Err(anomaly) = added {
            self.stats.count(anomaly);
            applied.anomaly = Some(anomaly);
        }
        applied
    }

    #[inline]
    fn on_executed(&mut self, m: &OrderExecuted, hints: Hints) -> Applied {
        self.execute(m, None, hints)
    }

    #[inline]
    fn on_executed_with_price(&mut self, m: &OrderExecutedWithPrice, hints: Hints) -> Applied {
        let at = Some((m.price, m.printable != b'N'));
        let &OrderExecutedWithPrice { header, reference, shares, match_number, .. } = m;
        self.execute(&OrderExecuted { header, reference, shares, match_number }, at, hints)
    }

    fn execute(&mut self, m: &OrderExecuted, at: Option<(Price4, bool)>, hints: Hints) -> Applied {
        let (locate, reference, shares) = (m.header.locate.get(), m.reference.get(), m.shares.get());
        let Some(Reduced { change, fit }) = self.reduce(reference, shares, hints) else {
            return self.refuse(locate, Anomaly::UnknownReference);
        };
        let match_number = m.match_number.get();
        let mut applied = self.done(locate, change);
        let (price, printable) = at.unwrap_or((Price4::new(change.price), true));
        let (kind, side) = (TradeKind::Order, Some(change.side));
        let trade = Trade { kind, side, printable, price, shares: shares.into(), match_number, reference };
        applied.trade = Some(trade);
        match fit {
            Fit::Within => {}
            Fit::Nothing => applied.unchanged(),
            Fit::Excess => {
                self.stats.over_executions += 1;
                applied.anomaly = Some(Anomaly::Excess);
            }
        }
        applied
    }

    #[inline]
    fn on_cancel(&mut self, m: &OrderCancel, hints: Hints) -> Applied {
        let locate = m.header.locate.get();
        let Some(Reduced { change, fit }) = self.reduce(m.reference.get(), m.shares.get(), hints) else {
            return self.refuse(locate, Anomaly::UnknownReference);
        };
        let mut applied = self.done(locate, change);
        match fit {
            Fit::Within => {}
            Fit::Nothing => applied.unchanged(),
            Fit::Excess => {
                self.stats.over_cancels += 1;
                applied.anomaly = Some(Anomaly::Excess);
            }
        }
        applied
    }

    /// Makes sure that the locate has a book, and compares the symbol with the one it is known by.
    #[inline]
    fn check_stock(&mut self, locate: u16, stock: Stock) -> Result<(), Anomaly> {
        if self.open(locate).stock == Some(stock) { Ok(()) } else { self.learn_stock(locate, stock) }
    }

    /// The directory decides; without one the latest order does, since that is what images hand on.
    #[cold]
    fn learn_stock(&mut self, locate: u16, stock: Stock) -> Result<(), Anomaly> {
        let at = usize::from(locate);
        let known = self.books[at].stock;
        if self.symbols[at].directory.is_none() {
            self.books[at].stock = Some(stock);
        }
        if known.is_none() {
            return Ok(());
        }
        self.stats.count(Anomaly::WrongSymbol);
        Err(Anomaly::WrongSymbol)
    }

    /// Sums up a change that is done. The order decides which book it was, whatever the message says.
    #[inline]
    fn done(&mut self, locate: u16, change: Change) -> Applied {
        self.note_touch(change.locate);
        let anomaly = (change.locate != locate).then_some(Anomaly::WrongLocate);
        self.stats.wrong_locates += u64::from(anomaly.is_some());
        Applied {
            locate: change.locate,
            effect: Effect::Book,
            bbo_changed: change.at_best,
            touched: [Some(Touched::from(change)), None],
            trade: None,
            anomaly,
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
