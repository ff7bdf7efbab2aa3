//! What one message did to the books.

use std::hint::select_unpredictable;

use seqcast_wire::Price4;

/// Side of the book, and of every order in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Side {
    /// Buy orders.
    Bid = 0,
    /// Sell orders.
    Ask = 1,
}

impl Side {
    /// The side that ITCH writes as `B` or `S`.
    pub fn from_itch(indicator: u8) -> Option<Side> {
        // Which of the two it is can't be guessed: one branch for both.
        let side = select_unpredictable(indicator == b'S', Side::Ask, Side::Bid);
        if (indicator == b'B') | (indicator == b'S') { Some(side) } else { None }
    }

    /// `B` or `S`.
    pub const fn to_itch(self) -> u8 {
        match self {
            Side::Bid => b'B',
            Side::Ask => b'S',
        }
    }
}

/// What part of the state a message changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// None: the message is information for applications only, or was refused.
    None,
    /// Events, directory or trading status.
    Status,
    /// Orders of the book of [`Applied::locate`].
    Book,
}

/// What was wrong with a message. Each is counted in [`BookStats`](super::BookStats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Empty, of a wrong length for its type, or with a field value that the format does not allow. Refused.
    Malformed,
    /// A type that this revision does not know. Skipped.
    UnknownType,
    /// The order is not live: messages were lost. Refused.
    UnknownReference,
    /// An order of that reference is live already: messages were lost or repeated. The live one stays.
    DuplicateReference,
    /// More shares executed or cancelled than the order had: messages were lost. The order is gone.
    Excess,
    /// The message's stock locate is not that of its order. Applied to the order's book.
    WrongLocate,
    /// The order's symbol is not the one that its stock locate is known by. Applied by locate.
    WrongSymbol,
    /// No room within the configured bounds. Refused.
    OverLimit,
}

/// How a trade came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeKind {
    /// An order of the book was executed (`E`, `C`).
    Order,
    /// An order that is not displayed was executed (`P`).
    Hidden,
    /// A cross; the field is its type: `O`, `C`, `H` (`Q`).
    Cross(u8),
}

/// A trade that a message reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// How it came about.
    pub kind: TradeKind,
    /// Side of the order executed; `None` for a cross.
    pub side: Option<Side>,
    /// `false`: shares of a cross that is reported as a whole elsewhere; not to be counted as volume.
    pub printable: bool,
    /// Price of the execution, which need not be the order's.
    pub price: Price4,
    /// Shares executed.
    pub shares: u64,
    /// Match number: the key of a later broken-trade message.
    pub match_number: u64,
    /// Reference of the order executed; 0 when there is none.
    pub reference: u64,
}

/// A price level whose shares or orders changed. It may be gone, or new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Its side.
    pub side: Side,
    /// Its price.
    pub price: Price4,
}

/// What one message did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Stock locate of the book concerned; 0 when the message is about none.
    pub locate: u16,
    /// What changed.
    pub effect: Effect,
    /// Price or shares of the best bid or the best ask changed.
    pub bbo_changed: bool,
    /// Levels that changed. Only a replace at another price touches two: the one left, then the one entered.
    pub touched: [Option<Touched>; 2],
    /// The trade reported, if any. Messages without effect on the book may report one.
    pub trade: Option<Trade>,
    /// What was wrong with the message, if anything.
    pub anomaly: Option<Anomaly>,
}

impl Applied {
    pub(super) const fn none(locate: u16) -> Applied {
        Applied {
            locate,
            effect: Effect::None,
            bbo_changed: false,
            touched: [None; 2],
            trade: None,
            anomaly: None,
        }
    }

    /// Takes back what was said of the book: the message named no shares.
    pub(super) fn unchanged(&mut self) {
        *self = Applied { trade: self.trade, anomaly: self.anomaly, ..Applied::none(self.locate) };
    }

    pub(super) const fn status(locate: u16) -> Applied {
        Applied { effect: Effect::Status, ..Applied::none(locate) }
    }
}
