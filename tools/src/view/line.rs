//! The lines that are shown: trades, messages, and what happens to the feed.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use seqcast_engine::book::{Side, Trade, TradeKind};
use seqcast_engine::feed::FeedState;
use seqcast_wire::itch::{Header, Message};
use seqcast_wire::{Price4, SeqNo, Session, Timestamp};
use serde::Serialize;
use zerocopy::FromBytes;

use super::fields::{Described, Hex};
use super::ladder::Decimal;
use super::symbols::Name;

/// A line in any format; each ends with a line feed.
pub(super) trait Line: Serialize {
    /// Names of the columns.
    const CSV_HEADER: &'static str;

    fn text(&self, out: &mut Vec<u8>) -> io::Result<()>;

    fn csv(&self, out: &mut Vec<u8>) -> io::Result<()>;
}

/// `value` as a CSV field, in quotes where it needs them (RFC 4180).
pub(super) fn quoted(value: &impl fmt::Display) -> Cow<'static, str> {
    let text = value.to_string();
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

/// A trade, or that one is void.
#[derive(Serialize)]
pub(super) struct TradeLine {
    seq: u64,
    symbol: Name,
    price: Option<Decimal>,
    shares: Option<u64>,
    #[serde(rename = "match")]
    match_number: u64,
    printable: bool,
    /// `order`, `hidden`, `cross` or `broken`.
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    side: Option<char>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cross: Option<char>,
}

impl TradeLine {
    pub(super) fn new(seq: SeqNo, symbol: Name, trade: &Trade) -> TradeLine {
        let (kind, cross) = match trade.kind {
            TradeKind::Order => ("order", None),
            TradeKind::Hidden => ("hidden", None),
            TradeKind::Cross(cross) => ("cross", Some(char::from(cross))),
        };
        TradeLine {
            seq: seq.value(),
            symbol,
            price: Some(Decimal(trade.price)),
            shares: Some(trade.shares),
            match_number: trade.match_number,
            printable: trade.printable,
            kind,
            side: trade.side.map(Side::to_itch).map(char::from),
            cross,
        }
    }

    /// The trade of `match_number` is void.
    pub(super) fn broken(seq: SeqNo, symbol: Name, match_number: u64) -> TradeLine {
        TradeLine {
            seq: seq.value(),
            symbol,
            price: None,
            shares: None,
            match_number,
            printable: false,
            kind: "broken",
            side: None,
            cross: None,
        }
    }

    fn price(&self) -> Option<Price4> {
        self.price.as_ref().map(|price| price.0)
    }
}

impl Line for TradeLine {
    const CSV_HEADER: &'static str = "seq,symbol,price,shares,match,printable,kind,side,cross";

    fn text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        write!(out, "{} {}", self.seq, self.symbol)?;
        if let (Some(shares), Some(price)) = (self.shares, self.price()) {
            write!(out, " {shares} @ {price}")?;
        }
        write!(out, " {}", self.kind)?;
        for mark in [self.side, self.cross].into_iter().flatten() {
            write!(out, " {mark}")?;
        }
        let printable = if self.printable || self.price.is_none() { "" } else { ", not printable" };
        writeln!(out, " match {}{printable}", self.match_number)
    }

    fn csv(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let TradeLine { seq, shares, match_number, printable, kind, side, cross, .. } = self;
        let symbol = quoted(&self.symbol);
        let (price, shares) = (OrNothing(self.price()), OrNothing(*shares));
        let (side, cross) = (OrNothing(*side), OrNothing(*cross));
        writeln!(out, "{seq},{symbol},{price},{shares},{match_number},{printable},{kind},{side},{cross}")
    }
}

/// Nothing for `None`.
struct OrNothing<T>(Option<T>);

impl<T: fmt::Display> fmt::Display for OrNothing<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |value| value.fmt(f))
    }
}

/// A message, whatever it holds.
#[derive(Serialize)]
pub(super) struct MessageLine<'a> {
    pub(super) seq: SeqNumber,
    #[serde(flatten)]
    pub(super) message: Described<'a>,
}

/// A sequence number as a JSON number.
pub(super) struct SeqNumber(pub(super) SeqNo);

impl Serialize for SeqNumber {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.value().serialize(serializer)
    }
}

impl Line for MessageLine<'_> {
    const CSV_HEADER: &'static str = "seq,type,time,locate,payload";

    fn text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "{} {}", self.seq.0, self.message)
    }

    fn csv(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let bytes = self.message.0;
        let known = Message::parse(bytes).ok().and_then(|message| message.header().copied());
        let (kind, time, locate) = match &known {
            Some(Header { kind, timestamp, locate, .. }) => {
                (Some(char::from(*kind)), Some(*timestamp), Some(locate.get()))
            }
            None => (None::<char>, None::<Timestamp>, None),
        };
        let (kind, time, locate) = (OrNothing(kind), OrNothing(time), OrNothing(locate));
        writeln!(out, "{},{kind},{time},{locate},{}", self.seq.0, Hex(bytes))
    }
}

/// Something that happened to the feed.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum EventLine {
    State { state: String },
    Lost { first: u64, count: u64 },
    Conflict { seq: u64 },
    Skipped { bytes: u64 },
    Session { session: String },
    Snapshot { next: u64 },
    End { next: u64 },
}

impl EventLine {
    pub(super) fn state(state: FeedState) -> EventLine {
        EventLine::State { state: state.to_string() }
    }

    pub(super) fn session(session: Session) -> EventLine {
        EventLine::Session { session: session.to_string() }
    }
}

impl fmt::Display for EventLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EventLine::State { state } => write!(f, "the feed is {state}"),
            EventLine::Lost { first, count: 1 } => {
                write!(f, "message {first} is lost: no line and no rewind server has it")
            }
            EventLine::Lost { first, count } => write!(
                f,
                "messages {first} to {} are lost: no line and no rewind server has them",
                first.saturating_add(count - 1)
            ),
            EventLine::Conflict { seq } => {
                write!(f, "message {seq} came with two contents: a sender is broken or forged")
            }
            EventLine::Skipped { bytes } => {
                write!(f, "too slow for the feed: {bytes} bytes of messages were skipped")
            }
            EventLine::Session { session } => write!(f, "session {session}"),
            EventLine::Snapshot { next } => write!(f, "books from a snapshot; message {next} comes next"),
            EventLine::End { next } => write!(f, "the session is over before message {next}"),
        }
    }
}

impl Line for EventLine {
    const CSV_HEADER: &'static str = "event,state,session,seq,count,bytes";

    fn text(&self, out: &mut Vec<u8>) -> io::Result<()> {
        writeln!(out, "{self}")
    }

    fn csv(&self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            EventLine::State { state } => writeln!(out, "state,{state},,,,"),
            EventLine::Lost { first, count } => writeln!(out, "lost,,,{first},{count},"),
            EventLine::Conflict { seq } => writeln!(out, "conflict,,,{seq},,"),
            EventLine::Skipped { bytes } => writeln!(out, "skipped,,,,,{bytes}"),
            EventLine::Session { session } => writeln!(out, "session,,{},,,", quoted(session)),
            EventLine::Snapshot { next } => writeln!(out, "snapshot,,,{next},,"),
            EventLine::End { next } => writeln!(out, "end,,,{next},,"),
        }
    }
}

/// Whether `message` says that a trade is void; the trade's match number.
pub(super) fn broken_trade(message: &[u8]) -> Option<(u16, u64)> {
    let broken = seqcast_wire::itch::BrokenTrade::ref_from_bytes(message).ok()?;
    (broken.header.kind == seqcast_wire::itch::BrokenTrade::KIND)
        .then(|| (broken.header.locate.get(), broken.match_number.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted(&"BRK.A"), "BRK.A");
        assert_eq!(quoted(&"A,B"), "\"A,B\"");
        assert_eq!(quoted(&"A\"B"), "\"A\"\"B\"");
    }
}
