use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};
use seqcast_engine::book::{Book, Level, Side};
use seqcast_wire::Timestamp;
use serde::Serialize;

use super::Place;
use crate::output::{Data, Output, grouped};
use crate::view::{DepthLine, Ladder};

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
    let line = DepthLine::new(seq, None, book, depth);
    if output.json { data.json_line(&line) } else { line.write_text(data) }
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
        bids: Ladder { book, side: Side::Bid, depth },
        asks: Ladder { book, side: Side::Ask, depth },
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
    writeln!(data, "{} bid levels, {} ask levels", book.bids().len(), book.asks().len())
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
