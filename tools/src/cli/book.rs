//! `seqcast book`: builds order books from a file and shows one, or sums up all.

mod digest;
mod feed;
mod show;
mod symbol;

use std::path::PathBuf;

use anyhow::bail;
use seqcast_engine::book::{Books, BooksConfig, Effect};
use seqcast_wire::Session;
use seqcast_wire::itch::Stock;

use self::feed::{Feed, Flow};
use self::symbol::Search;
use super::Verdict;
use crate::input::itch_time_ns;
use crate::output::{Data, Output, say};
use crate::view::parse_symbol;

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["symbol", "digest"]))]
pub(crate) struct Args {
    /// Day file (BinaryFILE), pcap or pcapng capture
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Show the book of this symbol
    #[arg(long, short, value_parser = parse_symbol)]
    symbol: Option<Stock>,
    /// Levels to show of each side; 0 = all
    #[arg(long, default_value_t = 10, value_name = "N", conflicts_with = "digest")]
    depth: usize,
    /// As it was after the last message not later than this (HH:MM:SS[.fraction], New York)
    #[arg(long, value_name = "TIME", value_parser = parse_time_ns, group = "until")]
    at: Option<u64>,
    /// As it was after this message (counted from 1; in captures, the sequence number)
    #[arg(long, value_name = "SEQ", group = "until")]
    at_seq: Option<u64>,
    /// Print the book after every message that changes it
    #[arg(long, group = "until", conflicts_with = "digest")]
    follow: bool,
    /// Sum up all books in a number that is equal for equal books, to compare replicas
    #[arg(long)]
    digest: bool,
    /// Which MoldUDP64 session of a capture, when it holds several
    #[arg(long)]
    session: Option<Session>,
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let mut feed = Feed::open(&args.file, args.session)?;
    let verdict = match args.symbol {
        Some(stock) => book_of(args, stock, &mut feed, output)?,
        None => digest::run(args, &mut feed, output)?,
    };
    if feed.lost() > 0 {
        say(format_args!("{} messages are missing from the capture: books may be wrong", feed.lost()));
    }
    if let Some(damage) = feed.damage() {
        say(damage);
        return Ok(Verdict::Incomplete);
    }
    Ok(verdict)
}

/// Where in the feed a walk has come.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Number of the last message applied.
    seq: u64,
    /// Its time, ns since midnight.
    ns: u64,
    /// Messages so far.
    messages: u64,
}

impl Args {
    /// Hands on the messages up to `--at` or `--at-seq`, and gives where that is.
    fn walk(
        &self,
        feed: &mut Feed,
        mut on_message: impl FnMut(u64, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<Place> {
        let mut place = Place::default();
        let (at_seq, at_ns) = (self.at_seq.unwrap_or(u64::MAX), self.at.unwrap_or(u64::MAX));
        feed.for_each(|seq, message| {
            let ns = itch_time_ns(message).unwrap_or(place.ns);
            if seq > at_seq || ns > at_ns {
                return Ok(Flow::Stop);
            }
            on_message(seq, message)?;
            place = Place { seq, ns, messages: place.messages + 1 };
            Ok(if seq == at_seq { Flow::Stop } else { Flow::Go })
        })?;
        if let Some(at_seq) = self.at_seq.filter(|&at_seq| place.seq < at_seq) {
            say(format_args!("there is no message {at_seq}: the last one is {}", place.seq));
        }
        Ok(place)
    }

    /// As [`Iterator::take`] wants it.
    fn levels(&self) -> usize {
        if self.depth == 0 { usize::MAX } else { self.depth }
    }
}

/// Only the messages of one symbol are applied: the others cannot change its book.
fn book_of(args: &Args, stock: Stock, feed: &mut Feed, output: Output) -> anyhow::Result<Verdict> {
    let mut books = Books::new(BooksConfig { expected_orders: 1 << 12, ..BooksConfig::default() })?;
    let mut search = Search::new(stock);
    let mut data = Data::new();
    let place = args.walk(feed, |seq, message| {
        let Some(locate) = search.locate_in(message) else { return Ok(()) };
        let applied = books.apply(message);
        if args.follow && applied.effect == Effect::Book {
            show::change(&mut data, output, seq, books.book(locate), args.levels())?;
        }
        Ok(())
    })?;
    let Some(locate) = search.found() else { bail!(search.not_found(&args.file)) };
    let symptoms = books.stats().symptoms();
    if symptoms > 0 {
        say(format_args!("{symptoms} messages contradict the book: messages before them are missing"));
    }
    if !args.follow {
        show::book(&mut data, output, place, books.book(locate), args.levels())?;
    }
    std::io::Write::flush(&mut data)?;
    Ok(Verdict::Good)
}

/// `HH:MM:SS[.fraction]` in nanoseconds since midnight.
fn parse_time_ns(text: &str) -> Result<u64, String> {
    let wrong = || "a time is HH:MM:SS or HH:MM:SS.fraction with up to nine digits".to_owned();
    let (clock, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let parts: Vec<&str> = clock.split(':').collect();
    let [hours, minutes, seconds] = parts[..] else { return Err(wrong()) };
    if ![hours, minutes, seconds].iter().all(|part| is_number(part, 2)) || !is_number(fraction, 9) {
        return Err(wrong());
    }
    let number = |part: &str| part.parse::<u64>().map_err(|_| wrong());
    let (hours, minutes, seconds) = (number(hours)?, number(minutes)?, number(seconds)?);
    if hours > 23 || minutes > 59 || seconds > 59 {
        return Err(wrong());
    }
    let fraction_ns = number(fraction)? * 10u64.pow(9 - fraction.len() as u32);
    Ok((hours * 3_600 + minutes * 60 + seconds) * 1_000_000_000 + fraction_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(parse_time_ns("09:30:00"), Ok(34_200_000_000_000));
        assert_eq!(parse_time_ns("9:30:00.5"), Ok(34_200_500_000_000));
        assert_eq!(parse_time_ns("00:00:00.000000001"), Ok(1));
        assert_eq!(parse_time_ns("23:59:59.999999999"), Ok(86_399_999_999_999));
        for text in [
            "",
            "9:30",
            "24:00:00",
            "09:60:00",
            "09:30:60",
            "09:30:00.",
            "09:30:00.1234567890",
            "+9:30:00",
            "a:b:c",
            "1:2:3:4",
        ] {
            assert!(parse_time_ns(text).is_err(), "{text}");
        }
    }
}
