//! The books: their parts, their bounds, how they are made.

use std::collections::TryReserveError;

use seqcast_wire::itch::Stock;

use super::index::Index;
use super::ladder::{self, Ladder, Ladders};
use super::node::{LevelNode, OrderNode};
use super::slab::Slab;
use super::symbol::{Events, Symbol};
use super::{Book, BookStats, Order, Side};
use crate::limits::{MAX_LEVELS_PER_SIDE, MAX_LOCATES};
use crate::mem::reserve;

/// Orders a level, at least, on average: what the memory touched at the start counts on.
const ORDERS_PER_LEVEL: u32 = 2;

/// How large the books may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BooksConfig {
    /// Live orders that memory is prepared for: up to here no message costs a page fault or a split of the index.
    /// About 65 bytes each. A busy day of all Nasdaq stocks reaches 1.65 million.
    pub expected_orders: u32,
    /// Live orders above which further ones are refused and counted. Address space is taken for them at the start,
    /// about 130 bytes each, memory only as it is used (or at once, when the process locks all its memory).
    pub max_orders: u32,
    /// Makes the places of orders in the index unpredictable to whoever chooses order references. Any value will do,
    /// a random one best; neither digests nor images depend on it.
    pub seed: u64,
}

impl Default for BooksConfig {
    fn default() -> BooksConfig {
        BooksConfig { expected_orders: 1 << 20, max_orders: 1 << 22, seed: 0 }
    }
}

/// Why books cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BooksError {
    /// `max_orders` is zero, or more than 32-bit places can name.
    #[error("max_orders is {0}; it must be 1 to {most}", most = BooksConfig::MOST_ORDERS)]
    MaxOrders(u32),
    /// The operating system does not give the address space.
    #[error("no memory for books of at most {max_orders} orders: {source}; lower max_orders")]
    Memory {
        /// As configured.
        max_orders: u32,
        /// What was refused.
        source: TryReserveError,
    },
}

impl BooksConfig {
    /// The largest `max_orders`.
    pub const MOST_ORDERS: u32 = 1 << 28;
}

/// What every message about a symbol touches.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct BookNode {
    /// By [`Side`](super::Side).
    pub(super) ladders: [Ladder; 2],
    /// The directory's symbol, or, as long as there is none, that of the latest order.
    pub(super) stock: Option<Stock>,
    pub(super) touch: Touch,
}

/// How the best bid and the best ask lie to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Touch {
    /// Bid below ask, or one of them missing.
    Open,
    Locked,
    Crossed,
}

impl BookNode {
    const EMPTY: BookNode = BookNode { ladders: [Ladder::EMPTY; 2], stock: None, touch: Touch::Open };

    /// By side; of one without orders, the worst price there is.
    #[inline]
    pub(super) fn best_prices(&self) -> [u32; 2] {
        let [bid, ask] = &self.ladders;
        [ladder::price(Side::Bid, bid.best().key()), ladder::price(Side::Ask, ask.best().key())]
    }
}

/// The order books of all symbols of a feed. See the [module](super).
pub struct Books {
    pub(super) orders: Slab<OrderNode>,
    pub(super) index: Index,
    pub(super) levels: Slab<LevelNode>,
    pub(super) ladders: Ladders,
    /// By locate, up to the highest seen.
    pub(super) books: Vec<BookNode>,
    /// As long as `books`.
    pub(super) symbols: Vec<Symbol>,
    pub(super) events: Events,
    pub(super) stats: BookStats,
}

impl Books {
    /// Empty books. Allocates everything they will ever use.
    ///
    /// # Errors
    /// See [`BooksError`].
    pub fn new(config: BooksConfig) -> Result<Books, BooksError> {
        let BooksConfig { expected_orders, max_orders, seed } = config;
        if max_orders == 0 || max_orders > BooksConfig::MOST_ORDERS {
            return Err(BooksError::MaxOrders(max_orders));
        }
        let expected_orders = expected_orders.min(max_orders);
        Books::allocate(expected_orders, max_orders, seed)
            .map_err(|source| BooksError::Memory { max_orders, source })
    }

    fn allocate(expected: u32, max: u32, seed: u64) -> Result<Books, TryReserveError> {
        let levels = expected / ORDERS_PER_LEVEL;
        // A block is at least a quarter full, but for the first of each side; what was freed in one size may lie idle
        // while another grows.
        let rungs = 2 * MAX_LOCATES * Ladders::LEAST_ENTRIES + 6 * max as usize + 2 * MAX_LEVELS_PER_SIDE;
        Ok(Books {
            orders: Slab::new(max, expected)?,
            index: Index::new(max, expected, seed)?,
            levels: Slab::new(max, levels)?,
            ladders: Ladders::new(rungs, 2 * levels as usize)?,
            books: reserve(MAX_LOCATES, 0, BookNode::EMPTY)?,
            symbols: reserve(MAX_LOCATES, 0, Symbol::default())?,
            events: Events::default(),
            stats: BookStats::default(),
        })
    }

    /// Empties the books, for another day or to apply an image; counters stay. Keeps the memory.
    pub fn clear(&mut self) {
        self.orders.clear();
        self.index.clear();
        self.levels.clear();
        self.ladders.clear();
        self.books.clear();
        self.symbols.clear();
        self.events = Events::default();
    }

    /// Counters.
    pub fn stats(&self) -> &BookStats {
        &self.stats
    }

    /// Orders that are live now.
    pub fn live_orders(&self) -> u32 {
        self.orders.live()
    }

    /// Price levels that have orders now.
    pub fn live_levels(&self) -> u32 {
        self.levels.live()
    }

    /// The stock locate of `stock` (eight bytes, padded with spaces): by the directory or, without one, by its
    /// latest order that named it. Walks over all symbols: keep the answer.
    pub fn locate_of(&self, stock: &[u8; 8]) -> Option<u16> {
        let found = self.books.iter().position(|book| book.stock == Some(seqcast_wire::Alpha(*stock)))?;
        u16::try_from(found).ok()
    }

    /// One more than the highest stock locate that a message was about.
    pub fn locates(&self) -> u32 {
        self.books.len() as u32
    }

    /// The book of a stock locate; empty when nothing was heard of it.
    pub fn book(&self, locate: u16) -> Book<'_> {
        Book::new(self, locate)
    }

    /// The live order of `reference`.
    pub fn order(&self, reference: u64) -> Option<Order> {
        let at = self.index.find(self.index.hash(reference), reference, &self.orders)?;
        Some(self.order_of(&self.orders[at]))
    }

    /// Makes sure that there is a book for `locate`.
    #[inline]
    pub(super) fn open(&mut self, locate: u16) -> &mut BookNode {
        let at = usize::from(locate);
        if at >= self.books.len() {
            self.open_up_to(at);
        }
        &mut self.books[at]
    }

    #[cold]
    fn open_up_to(&mut self, at: usize) {
        self.books.resize(at + 1, BookNode::EMPTY);
        self.symbols.resize(at + 1, Symbol::default());
    }
}
