//! Books as lines: levels and best prices.

use std::fmt;
use std::io::{self, Write};

use seqcast_engine::book::{Book, Level, Side};
use seqcast_wire::Price4;
use serde::{Serialize, Serializer};

use super::line::{Line, quoted};
use super::symbols::Name;

/// The best levels of one side; in JSON `[[price, shares], …]`.
#[derive(Clone, Copy)]
pub(crate) struct Ladder<'a> {
    pub(crate) book: Book<'a>,
    pub(crate) side: Side,
    pub(crate) depth: usize,
}

impl<'a> Ladder<'a> {
    pub(crate) fn levels(&self) -> impl Iterator<Item = Level<'a>> + use<'a> {
        self.book.levels(self.side).take(self.depth)
    }
}

impl Serialize for Ladder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.levels().map(Shown))
    }
}

/// `171.2500x100 171.2400x50`.
impl fmt::Display for Ladder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, level) in self.levels().enumerate() {
            let space = if index > 0 { " " } else { "" };
            write!(f, "{space}{}", Shown(level))?;
        }
        Ok(())
    }
}

/// A level as `171.2500x100`, in JSON `["171.2500", 100]`.
struct Shown<'a>(Level<'a>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.0.price(), self.0.shares())
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Decimal(self.0.price()), self.0.shares()).serialize(serializer)
    }
}

/// A price as a decimal string, since binary fractions cannot hold it.
pub(super) struct Decimal(pub(super) Price4);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A book after message `seq`.
#[derive(Serialize)]
pub(crate) struct DepthLine<'a> {
    seq: u64,
    /// Left out where only one book is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<Name>,
    bids: Ladder<'a>,
    asks: Ladder<'a>,
}

impl<'a> DepthLine<'a> {
    pub(crate) fn new(seq: u64, symbol: Option<Name>, book: Book<'a>, depth: usize) -> DepthLine<'a> {
        let ladder = |side| Ladder { book, side, depth };
        DepthLine { seq, symbol, bids: ladder(Side::Bid), asks: ladder(Side::Ask) }
    }

    /// The line as text.
    pub(crate) fn write_text(&self, out: &mut impl Write) -> io::Result<()> {
        write!(out, "{}", self.seq)?;
        if let Some(symbol) = &self.symbol {
            write!(out, " {symbol}")?;
        }
        for (name, ladder) in [("bids", &self.bids), ("asks", &self.asks)] {
            write!(out, "  {name}")?;
            for level in ladder.levels() {
                write!(out, " {}", Shown(level))?;
            }
        }
        writeln!(out)
    }
}

impl Line for DepthLine<'_> {
    const CSV_HEADER: &'static str = "seq,symbol,bids,asks";

    fn text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        self.write_text(out)
    }

    fn csv(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let symbol = self.symbol.as_ref().map(quoted).unwrap_or_default();
        writeln!(out, "{},{symbol},{},{}", self.seq, self.bids, self.asks)
    }
}

/// The best bid and the best ask after message `seq`.
#[derive(Serialize)]
pub(super) struct BboLine<'a> {
    seq: u64,
    symbol: Name,
    #[serde(serialize_with = "level")]
    bid: Option<Level<'a>>,
    #[serde(serialize_with = "level")]
    ask: Option<Level<'a>>,
}

fn level<S: Serializer>(level: &Option<Level<'_>>, serializer: S) -> Result<S::Ok, S::Error> {
    level.map(Shown).serialize(serializer)
}

impl<'a> BboLine<'a> {
    pub(super) fn new(seq: u64, symbol: Name, book: Book<'a>) -> BboLine<'a> {
        BboLine { seq, symbol, bid: book.best_bid(), ask: book.best_ask() }
    }
}

impl Line for BboLine<'_> {
    const CSV_HEADER: &'static str = "seq,symbol,bid,bid_shares,ask,ask_shares";

    fn text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        write!(out, "{} {}", self.seq, self.symbol)?;
        for (name, level) in [("bid", self.bid), ("ask", self.ask)] {
            match level {
                Some(level) => write!(out, "  {name} {}", Shown(level))?,
                None => write!(out, "  {name} -")?,
            }
        }
        writeln!(out)
    }

    fn csv(&self, out: &mut Vec<u8>) -> io::Result<()> {
        write!(out, "{},{}", self.seq, quoted(&self.symbol))?;
        for level in [self.bid, self.ask] {
            match level {
                Some(level) => write!(out, ",{},{}", level.price(), level.shares())?,
                None => write!(out, ",,")?,
            }
        }
        writeln!(out)
    }
}
