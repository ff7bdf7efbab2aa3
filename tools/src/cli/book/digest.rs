use std::io::{self, Write};

use seqcast_engine::book::{Book, BookStats, Books, BooksConfig};
use seqcast_wire::dump::Records;
use serde::Serialize;

use super::{Args, Feed, Place, Verdict};
use crate::output::{Data, Output, grouped};
use crate::view::{BookCounts, hex_digest};

#[derive(Serialize)]
struct Summary {
    /// Of everything, as sixteen hexadecimal digits.
    digest: String,
    messages: u64,
    /// Number of the last message.
    seq: u64,
    live_orders: u32,
    live_levels: u32,
    #[serde(flatten)]
    counts: BookCounts,
    symbols: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    symbol: String,
    locate: u16,
    digest: String,
    orders: u64,
    bid_levels: usize,
    ask_levels: usize,
}

/// Messages are applied so many bytes at a time: their cache misses overlap then.
const BATCH_BYTES: usize = 1 << 16;

pub(super) fn run(args: &Args, feed: &mut Feed, output: Output) -> anyhow::Result<Verdict> {
    let mut books = Books::new(BooksConfig::default())?;
    let mut batch = Vec::with_capacity(2 * BATCH_BYTES);
    let place = args.walk(feed, |_, message| {
        if message.is_empty() {
            // As a record it would end the batch. The books count it, and nothing else.
            books.apply(message);
            return Ok(());
        }
        batch.extend((message.len() as u16).to_be_bytes());
        batch.extend(message);
        if batch.len() >= BATCH_BYTES {
            apply(&mut books, &mut batch);
        }
        Ok(())
    })?;
    apply(&mut books, &mut batch);
    let summary = summary(&books, place);
    output.print(&summary, |data| write_text(&summary, books.stats(), data))?;
    Ok(Verdict::Good)
}

fn apply(books: &mut Books, batch: &mut Vec<u8>) {
    books.apply_all(Records::new(batch).flatten(), |_, _, _| {});
    batch.clear();
}

fn summary(books: &Books, place: Place) -> Summary {
    let locates = (0..=u16::MAX).take(books.locates() as usize);
    let row = |locate| row(books.book(locate), books.digest_of(locate));
    Summary {
        digest: hex_digest(books.digest()),
        messages: place.messages,
        seq: place.seq,
        live_orders: books.live_orders(),
        live_levels: books.live_levels(),
        counts: books.stats().into(),
        symbols: locates.filter_map(row).collect(),
    }
}

fn row(book: Book<'_>, digest: u64) -> Option<Row> {
    let symbol = book.stock()?.to_string();
    let orders = book.bids().chain(book.asks()).map(|level| u64::from(level.order_count())).sum();
    let (bid_levels, ask_levels) = (book.bids().len(), book.asks().len());
    Some(Row { symbol, locate: book.locate(), digest: hex_digest(digest), orders, bid_levels, ask_levels })
}

fn write_text(summary: &Summary, stats: &BookStats, data: &mut Data) -> io::Result<()> {
    writeln!(
        data,
        "{}  after {} messages: {} orders on {} levels of {} symbols",
        summary.digest,
        grouped(summary.messages),
        grouped(summary.live_orders.into()),
        grouped(summary.live_levels.into()),
        grouped(summary.symbols.len() as u64),
    )?;
    let refused = stats.symptoms() + stats.malformed + stats.unknown_types + stats.over_limits;
    if refused > 0 {
        writeln!(
            data,
            "{} messages contradict the books, {} are malformed, {} of unknown types, {} beyond limits",
            grouped(stats.symptoms()),
            grouped(stats.malformed),
            grouped(stats.unknown_types),
            grouped(stats.over_limits),
        )?;
    }
    Ok(())
}
