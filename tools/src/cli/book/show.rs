use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use seqcast_engine::book::{Book, Level};
use seqcast_wire::{Price4, Timestamp};
use serde::{Serialize, Serializer};

use super::Place;
use crate::output::{Data, Output, grouped};

/// Levels as `[[price, shares], …]`, prices as decimal strings, since binary fractions cannot hold them.
struct Ladder<'a> {
    book: Book<'a>,
    bids: bool,
    depth: usize,
}

impl<'a> Ladder<'a> {
    fn levels(&self) -> impl Iterator<Item = Level<'a>> {
        if self.bids { self.book.bids() } else { self.book.asks() }.take(self.depth)
    }
}

impl Serialize for Ladder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.levels().map(|level| (Decimal(level.price()), level.shares())))
    }
}

struct Decimal(Price4);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[derive(Serialize)]
struct Change<'a> {
    seq: u64,
    bids: Ladder<'a>,
    asks: Ladder<'a>,
}

#[derive(Serialize)]
struct Whole<'a> {
    symbol: String,
    locate: u16,
    seq: u64,
    time: String,
    trading_state: Option<char>,
    bids: Ladder<'a>,
    asks: Ladder<'a>,
}

/// A line: the book after message `seq`.
pub(super) fn change(
    data: &mut Data,
    output: Output,
    seq: u64,
    book: Book<'_>,
    depth: usize,
) -> io::Result<()> {
    let bids = Ladder { book, bids: true, depth };
    let asks = Ladder { book, bids: false, depth };
    if output.json {
        return data.json_line(&Change { seq, bids, asks });
    }
    write!(data, "{seq}")?;
    for (name, side) in [("bids", bids), ("asks", asks)] {
        write!(data, "  {name}")?;
        for level in side.levels() {
            write!(data, " {}x{}", level.price(), level.shares())?;
        }
    }
    writeln!(data)
}

/// The book as it stands at `place`.
pub(super) fn book(
    data: &mut Data,
    output: Output,
    place: Place,
    book: Book<'_>,
    depth: usize,
) -> io::Result<()> {
    let whole = Whole {
        symbol: book.stock().map_or_else(String::new, |stock| stock.to_string()),
        locate: book.locate(),
        seq: place.seq,
        time: Timestamp::from_ns(place.ns).to_string(),
        trading_state: book.trading_state().map(char::from),
        bids: Ladder { book, bids: true, depth },
        asks: Ladder { book, bids: false, depth },
    };
    if output.json {
        return data.json_line(&whole);
    }
    let state = match whole.trading_state {
        Some('T') => "trading",
        Some('H') => "halted",
        Some('P') => "paused",
        Some('Q') => "quotation only",
        _ => "trading state unknown",
    };
    let seq = grouped(place.seq);
    writeln!(data, "{} after message {seq}, {}, {state}", whole.symbol, whole.time)?;
    writeln!(data, "{}", table(&whole))?;
    let count = |side: &Ladder<'_>| if side.bids { book.bids().len() } else { book.asks().len() };
    writeln!(data, "{} bid levels, {} ask levels", count(&whole.bids), count(&whole.asks))
}

fn table(whole: &Whole<'_>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["orders", "shares", "bid", "ask", "shares", "orders"]);
    let cells = |level: Option<Level<'_>>| match level {
        Some(level) => {
            [grouped(level.order_count().into()), grouped(level.shares()), level.price().to_string()]
        }
        None => Default::default(),
    };
    let (mut bids, mut asks) = (whole.bids.levels(), whole.asks.levels());
    loop {
        let (bid, ask) = (bids.next(), asks.next());
        if bid.is_none() && ask.is_none() {
            break;
        }
        let ([bid_orders, bid_shares, bid], [ask_orders, ask_shares, ask]) = (cells(bid), cells(ask));
        table.add_row([bid_orders, bid_shares, bid, ask, ask_shares, ask_orders]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
