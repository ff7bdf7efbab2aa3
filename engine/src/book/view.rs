//! Looking at books: sides, levels best first, orders in the order of their queue.

use seqcast_wire::Price4;
use seqcast_wire::itch::{Mpid, OperationalHalt, RegSho, Stock, StockDirectory, TradingAction};

use super::books::{BookNode, Touch};
use super::ladder::Ladder;
use super::node::{LevelNode, OrderNode};
use super::slab::NONE;
use super::symbol::Symbol;
use super::{Books, Side};

/// The book of one symbol.
#[derive(Clone, Copy)]
pub struct Book<'a> {
    books: &'a Books,
    locate: u16,
}

impl<'a> Book<'a> {
    pub(super) fn new(books: &'a Books, locate: u16) -> Book<'a> {
        Book { books, locate }
    }

    fn node(self) -> Option<&'a BookNode> {
        self.books.books.get(usize::from(self.locate))
    }

    fn symbol(self) -> Option<&'a Symbol> {
        self.books.symbols.get(usize::from(self.locate))
    }

    /// Stock locate.
    pub fn locate(self) -> u16 {
        self.locate
    }

    /// Symbol: the directory's or, without one, that of the latest order.
    pub fn stock(self) -> Option<Stock> {
        self.node()?.stock
    }

    /// The latest directory message.
    pub fn directory(self) -> Option<&'a StockDirectory> {
        self.symbol()?.directory.as_ref()
    }

    /// The latest trading action.
    pub fn trading_action(self) -> Option<&'a TradingAction> {
        self.symbol()?.trading_action.as_ref()
    }

    /// Trading state: `H` halted, `P` paused, `Q` quotation only, `T` trading.
    pub fn trading_state(self) -> Option<u8> {
        self.trading_action().map(|action| action.state)
    }

    /// The latest operational halt or its end, of each market that sent one.
    pub fn operational_halts(self) -> impl Iterator<Item = &'a OperationalHalt> {
        self.symbol().into_iter().flat_map(|symbol| symbol.halts.iter().flatten())
    }

    /// The latest short-sale restriction.
    pub fn reg_sho(self) -> Option<&'a RegSho> {
        self.symbol()?.reg_sho.as_ref()
    }

    /// Buy levels, highest price first.
    pub fn bids(self) -> Levels<'a> {
        self.levels(Side::Bid)
    }

    /// Sell levels, lowest price first.
    pub fn asks(self) -> Levels<'a> {
        self.levels(Side::Ask)
    }

    /// The levels of a side, best first.
    pub fn levels(self, side: Side) -> Levels<'a> {
        let ladder = self.node().map_or(&Ladder::EMPTY, |node| &node.ladders[side as usize]);
        Levels { books: self.books, ladder, left: ladder.len() }
    }

    /// The highest buy level.
    pub fn best_bid(self) -> Option<Level<'a>> {
        self.bids().next()
    }

    /// The lowest sell level.
    pub fn best_ask(self) -> Option<Level<'a>> {
        self.asks().next()
    }

    /// Best bid = best ask.
    pub fn is_locked(self) -> bool {
        self.node().is_some_and(|node| node.touch == Touch::Locked)
    }

    /// Best bid > best ask.
    pub fn is_crossed(self) -> bool {
        self.node().is_some_and(|node| node.touch == Touch::Crossed)
    }
}

/// The levels of one side, best first; `nth` is as cheap as `next`.
#[derive(Clone)]
pub struct Levels<'a> {
    books: &'a Books,
    ladder: &'a Ladder,
    /// Rungs not seen yet: the next is one less.
    left: usize,
}

impl<'a> Iterator for Levels<'a> {
    type Item = Level<'a>;

    #[inline]
    fn next(&mut self) -> Option<Level<'a>> {
        self.left = self.left.checked_sub(1)?;
        let rung = self.books.ladders.at(self.ladder, self.left);
        Some(Level { books: self.books, node: &self.books.levels[rung.level()] })
    }

    fn nth(&mut self, n: usize) -> Option<Level<'a>> {
        self.left = self.left.saturating_sub(n);
        self.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Levels<'_> {}

/// A price level.
#[derive(Clone, Copy)]
pub struct Level<'a> {
    books: &'a Books,
    node: &'a LevelNode,
}

impl<'a> Level<'a> {
    /// Its side.
    pub fn side(self) -> Side {
        self.node.side
    }

    /// Its price.
    pub fn price(self) -> Price4 {
        Price4::new(self.node.price)
    }

    /// Shares of all its orders.
    pub fn shares(self) -> u64 {
        self.node.shares
    }

    /// Number of its orders, at least 1.
    pub fn order_count(self) -> u32 {
        self.node.orders
    }

    /// Its orders in the order of their queue, first to be executed first.
    pub fn orders(self) -> Orders<'a> {
        Orders { books: self.books, next: self.node.head }
    }
}

/// The orders of a level, first to be executed first.
#[derive(Clone)]
pub struct Orders<'a> {
    books: &'a Books,
    next: u32,
}

impl Iterator for Orders<'_> {
    type Item = Order;

    fn next(&mut self) -> Option<Order> {
        if self.next == NONE {
            return None;
        }
        let node = &self.books.orders[self.next];
        self.next = node.next;
        Some(self.books.order_of(node))
    }
}

/// A live order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Reference number.
    pub reference: u64,
    /// Stock locate of its book.
    pub locate: u16,
    /// Side.
    pub side: Side,
    /// Limit price.
    pub price: Price4,
    /// Shares left.
    pub shares: u32,
    /// Participant, when it came with one.
    pub attribution: Option<Mpid>,
}

impl Books {
    pub(super) fn order_of(&self, node: &OrderNode) -> Order {
        let level = &self.levels[node.level];
        Order {
            reference: node.reference,
            locate: level.locate,
            side: level.side,
            price: Price4::new(level.price),
            shares: node.shares,
            attribution: (node.attribution != [0; 4]).then_some(seqcast_wire::Alpha(node.attribution)),
        }
    }
}
