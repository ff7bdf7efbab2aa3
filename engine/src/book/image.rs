//! The whole state as ITCH messages: applied to empty books they rebuild equal ones, queues included.
//!
//! The order is that of GLIMPSE: the system events so far; then all directories; then trading actions, operational halts
//! and short-sale restrictions; then every live order as `A` or `F` with the shares it has left, each side best price
//! first, each level in the order of its queue. Messages about symbols go out as they came in; orders get the time that
//! the encoder was given, since books do not keep when an order came.

use seqcast_wire::Timestamp;
use seqcast_wire::itch::{AddOrder, AddOrderMpid, Header, Stock};
use zerocopy::{Immutable, IntoBytes};

use super::node::LevelNode;
use super::slab::NONE;
use super::symbol::{MARKETS, Symbol};
use super::{Books, Side};

/// Room that every message of an image fits in.
pub const IMAGE_MESSAGE_BYTES: usize = AddOrderMpid::BYTES;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursor {
    /// The system event of this place.
    Event(usize),
    /// The directory of this locate.
    Directory(u32),
    /// The status message of this locate and place.
    Status(u32, usize),
    /// The rung of this locate, side and place from the best.
    Rung(u32, Side, usize),
    /// The order at this place of the slab, and the rung it belongs to.
    Order(u32, u32, Side, usize),
    /// Nothing.
    End,
}

/// Writes an image, one message at a time. The books must stand still from the first message to the last.
#[derive(Clone, Debug)]
pub struct ImageEncoder {
    cursor: Cursor,
    timestamp: Timestamp,
}

impl ImageEncoder {
    /// An encoder at the start of the image; `timestamp` is what orders are stamped with.
    pub fn new(timestamp: Timestamp) -> ImageEncoder {
        ImageEncoder { cursor: Cursor::Event(0), timestamp }
    }

    /// Writes the next message to the start of `out` and gives its length; `None` at the end. An encoder may stop and
    /// go on at any message.
    pub fn next(&mut self, books: &Books, out: &mut [u8; IMAGE_MESSAGE_BYTES]) -> Option<usize> {
        loop {
            let (len, cursor) = match self.cursor {
                Cursor::Event(at) => match books.events.nth(at) {
                    Some(event) => (write(event, out), Cursor::Event(at + 1)),
                    None => (0, Cursor::Directory(0)),
                },
                Cursor::Directory(locate) => match books.symbols.get(locate as usize) {
                    Some(symbol) => {
                        (write_some(symbol.directory.as_ref(), out), Cursor::Directory(locate + 1))
                    }
                    None => (0, Cursor::Status(0, 0)),
                },
                Cursor::Status(locate, at) => match books.symbols.get(locate as usize) {
                    Some(_) if at == STATUSES => (0, Cursor::Status(locate + 1, 0)),
                    Some(symbol) => (write_status(symbol, at, out), Cursor::Status(locate, at + 1)),
                    None => (0, Cursor::Rung(0, Side::Bid, 0)),
                },
                Cursor::Rung(locate, side, at) => (0, rung(books, locate, side, at)),
                Cursor::Order(order, locate, side, at) => {
                    let len = self.write_order(books, order, out);
                    let next = books.orders[order].next;
                    let more = next != NONE;
                    (
                        len,
                        if more {
                            Cursor::Order(next, locate, side, at)
                        } else {
                            Cursor::Rung(locate, side, at + 1)
                        },
                    )
                }
                Cursor::End => return None,
            };
            self.cursor = cursor;
            if len > 0 {
                return Some(len);
            }
        }
    }

    fn write_order(&self, books: &Books, at: u32, out: &mut [u8; IMAGE_MESSAGE_BYTES]) -> usize {
        let node = &books.orders[at];
        let LevelNode { locate, side, price, .. } = books.levels[node.level];
        let stock = books.books[usize::from(locate)].stock.unwrap_or(Stock::padded(""));
        let header = Header {
            kind: AddOrder::KIND,
            locate: locate.into(),
            tracking: 0.into(),
            timestamp: self.timestamp,
        };
        let order = AddOrder {
            header,
            reference: node.reference.into(),
            side: side.to_itch(),
            shares: node.shares.into(),
            stock,
            price: seqcast_wire::Price4::new(price),
        };
        if node.attribution == [0; 4] {
            return write(&order, out);
        }
        let AddOrder { header, reference, side, shares, stock, price } = order;
        let header = Header { kind: AddOrderMpid::KIND, ..header };
        let attribution = seqcast_wire::Alpha(node.attribution);
        write(&AddOrderMpid { header, reference, side, shares, stock, price, attribution }, out)
    }
}

/// Status messages a symbol may have.
const STATUSES: usize = 2 + MARKETS.len();

fn write_status(symbol: &Symbol, at: usize, out: &mut [u8; IMAGE_MESSAGE_BYTES]) -> usize {
    match at {
        0 => write_some(symbol.trading_action.as_ref(), out),
        1 => write_some(symbol.reg_sho.as_ref(), out),
        halt => write_some(symbol.halts[halt - 2].as_ref(), out),
    }
}

/// Where the rung leads: to its first order, or past the end of the side.
fn rung(books: &Books, locate: u32, side: Side, at: usize) -> Cursor {
    let Some(book) = books.books.get(locate as usize) else {
        return Cursor::End;
    };
    let ladder = &book.ladders[side as usize];
    let place = ladder.len().checked_sub(at + 1);
    match (place.map(|place| books.ladders.at(ladder, place)), side) {
        (Some(rung), _) => Cursor::Order(books.levels[rung.level()].head, locate, side, at),
        (None, Side::Bid) => Cursor::Rung(locate, Side::Ask, 0),
        (None, Side::Ask) => Cursor::Rung(locate + 1, Side::Bid, 0),
    }
}

fn write<T: IntoBytes + Immutable>(message: &T, out: &mut [u8; IMAGE_MESSAGE_BYTES]) -> usize {
    let bytes = message.as_bytes();
    out[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

fn write_some<T: IntoBytes + Immutable>(message: Option<&T>, out: &mut [u8; IMAGE_MESSAGE_BYTES]) -> usize {
    message.map_or(0, |message| write(message, out))
}
