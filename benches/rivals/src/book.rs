//! `book`: what a message costs in order books, over the same generated day.

use std::cell::Cell;
use std::hint::black_box;
use std::ops::ControlFlow;

use seqcast::bench::book::{self, Stopwatch, books};
use seqcast::bench::{Report, Session, Subject, Unit, Variant};
use seqcast::day::DayConfig;
use seqcast_wire::itch::{Glance, Message};

#[path = "../../naive.rs"]
mod naive;
#[cfg(feature = "nautilus")]
mod nautilus;

use naive::Naive;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Messages of the day; about 35 bytes of memory each
    #[arg(short = 'n', long, default_value_t = 6_000_000, value_parser = clap::value_parser!(u64).range(512_000..))]
    messages: u64,
    /// Random order references instead of growing ones
    #[arg(long)]
    sparse_references: bool,
    /// Measure only those whose name holds this
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
}

/// Times the going over a day, neither the making of books before nor the giving back of memory behind.
#[derive(Default)]
struct Clock {
    spent_ns: Cell<f64>,
}

impl Clock {
    fn time(&self, go: impl FnOnce() -> u64) -> u64 {
        let stopwatch = Stopwatch::start();
        let messages = go();
        self.spent_ns.set(stopwatch.elapsed_ns());
        messages
    }
}

/// Goes over the messages of a day, and gives their number and that of the live orders in the end, where it keeps any.
type Way = fn(&[u8], &Clock) -> (u64, u64);

/// By what each keeps, and among equals ours first: what takes little memory is measured before what takes much.
const WAYS: &[(&str, Way)] = &[
    ("Seqcast, glance at length and type", |day, clock| {
        (clock.time(|| book::count(day, |message| _ = black_box(Glance::parse(message)))), 0)
    }),
    ("Seqcast, parse", |day, clock| {
        (clock.time(|| book::count(day, |message| _ = black_box(Message::parse(message)))), 0)
    }),
    ("itch5, parse", |day, clock| {
        let mut counter = Counter::default();
        (clock.time(|| itch5(day, &mut counter, |counter| counter.messages)), 0)
    }),
    ("Seqcast, parse and read what a book needs", |day, clock| {
        let mut books = books();
        (clock.time(|| book::read(day, &mut books)), 0)
    }),
    ("itch5, parse and read what a book needs", |day, clock| {
        let mut reader = Reader::default();
        let messages = clock.time(|| itch5(day, &mut reader, |reader| reader.messages));
        black_box(reader.mixed);
        (messages, 0)
    }),
    ("itchy, parse (types h and O left out)", itchy),
    ("Seqcast, books with queues, one by one", |day, clock| {
        let mut books = books();
        (clock.time(|| book::applied(day, &mut books)), books.live_orders().into())
    }),
    ("Seqcast, books with queues, looking ahead", |day, clock| {
        let mut books = books();
        (clock.time(|| book::applied_all(day, &mut books)), books.live_orders().into())
    }),
    ("std HashMap, BTreeMap and VecDeque, books with queues", |day, clock| {
        let mut books = Naive::default();
        let messages = clock.time(|| book::count(day, |message| books.apply(message)));
        (messages, books.live_orders() as u64)
    }),
    #[cfg(feature = "nautilus")]
    ("nautilus-model and std HashMap, books with queues", |day, clock| {
        let mut books = nautilus::Books::default();
        let messages = clock.time(|| book::count(day, |message| books.apply(message)));
        (messages, books.live_orders() as u64)
    }),
];

/// Types that `itchy` panics at.
const UNKNOWN_TO_ITCHY: &[u8] = b"hO";

/// The day without messages of some types, and how many those were.
fn without(day: &[u8], kinds: &[u8]) -> (Vec<u8>, u64) {
    let (mut rest, mut left_out) = (Vec::with_capacity(day.len()), 0);
    for message in book::records(day) {
        if message.first().is_some_and(|kind| kinds.contains(kind)) {
            left_out += 1;
            continue;
        }
        rest.extend_from_slice(&(message.len() as u16).to_be_bytes());
        rest.extend_from_slice(message);
    }
    (rest, left_out)
}

/// Measures all in turn.
pub(crate) fn run(session: &Session, args: &Args) -> anyhow::Result<Report> {
    let Args { messages, sparse_references, .. } = *args;
    let word = args.only.as_deref().unwrap_or_default();
    let ways: Vec<&(&str, Way)> = WAYS.iter().filter(|(name, _)| name.contains(word)).collect();
    let variants = ways.iter().map(|(name, _)| Variant::new(*name)).collect();
    let day = book::day(DayConfig { messages, sparse_references, ..DayConfig::default() })?;
    let (plain_day, left_out) = without(&day, UNKNOWN_TO_ITCHY);
    let what = "cost of a message over a generated ITCH day, in time that the thread ran, and the most memory taken \
                besides the day, in the first repeat";
    let subject = Subject::new("rivals-book", what, 1)
        .with("messages", messages)
        .with("order references", if sparse_references { "random" } else { "growing" })
        .without(&["a recorded day, whose orders are nearer to each other in memory", "receiving"]);
    let measured = Cell::new(vec![false; ways.len()]);
    let mut report = session.measure(subject, variants, |at, variant| {
        let is_itchy = ways[at].0.starts_with("itchy");
        let (day, omitted) = if is_itchy { (&plain_day, left_out) } else { (&day, 0) };
        let before = memory_mib("VmRSS:");
        forget_peak();
        let clock = Clock::default();
        let (found, live) = ways[at].1(day, &clock);
        let cost = clock.spent_ns.get() / found.max(1) as f64;
        variant.count("sent", messages - omitted);
        variant.count("received", found);
        variant.record("cost of a message", Unit::Ns, cost);
        let mut done = measured.take();
        if !std::mem::replace(&mut done[at], true) {
            variant.count("MiB of memory", memory_mib("VmHWM:").saturating_sub(before));
            variant.count("live orders in the end", live);
        }
        measured.set(done);
        Ok(format!("{cost:.1} ns"))
    })?;
    if cfg!(not(feature = "nautilus")) {
        report.notice("nautilus-model was not measured: build with --features nautilus");
    }
    Ok(report)
}

/// A line of what the kernel tells of this process; 0 where it tells nothing.
fn memory_mib(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|found| found.strip_prefix(line));
    value.and_then(|value| value.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) >> 10
}

/// Begins the most memory taken anew, where the kernel lets us.
fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Counts what its parser finds.
#[derive(Default)]
struct Counter {
    messages: u64,
}

/// Counts, and reads what a book needs.
#[derive(Default)]
struct Reader {
    messages: u64,
    mixed: u64,
}

macro_rules! handlers {
    ($($method:ident $message:ident $(=> |$read:ident| $needed:expr)?,)*) => {
        impl itch5::MessageHandler for Counter {
            $(fn $method(&mut self, message: &itch5::messages::$message) -> ControlFlow<()> {
                black_box(message);
                self.messages += 1;
                ControlFlow::Continue(())
            })*
        }
        impl itch5::MessageHandler for Reader {
            $(fn $method(&mut self, _message: &itch5::messages::$message) -> ControlFlow<()> {
                $(let $read = _message;
                self.mixed ^= $needed;)?
                self.messages += 1;
                ControlFlow::Continue(())
            })*
        }
    };
}

handlers! {
    on_system_event SystemEvent,
    on_stock_directory StockDirectory,
    on_stock_trading_action StockTradingAction,
    on_reg_sho_restriction RegSHORestriction,
    on_market_participant_position MarketParticipantPosition,
    on_mwcb_decline_level MWCBDeclineLevel,
    on_mwcb_status MWCBStatus,
    on_quoting_period_update QuotingPeriodUpdate,
    on_luld_auction_collar LULDAuctionCollar,
    on_operational_halt OperationalHalt,
    on_add_order_no_mpid_attribution AddOrderNoMPIDAttribution
        => |m| m.order_reference_number() ^ u64::from(m.shares()) ^ u64::from(m.price().into_u32()),
    on_add_order_with_mpid_attribution AddOrderWithMPIDAttribution
        => |m| m.order_reference_number() ^ u64::from(m.shares()) ^ u64::from(m.price().into_u32()),
    on_order_executed OrderExecuted
        => |m| m.order_reference_number() ^ u64::from(m.executed_shares()),
    on_order_executed_with_price OrderExecutedWithPrice
        => |m| m.order_reference_number() ^ u64::from(m.executed_shares()),
    on_order_cancel OrderCancel
        => |m| m.order_reference_number() ^ u64::from(m.cancelled_shares()),
    on_order_delete OrderDelete => |m| m.order_reference_number(),
    on_order_replace OrderReplace
        => |m| m.original_order_reference_number() ^ m.new_order_reference_number() ^ u64::from(m.price().into_u32()),
    on_trade Trade,
    on_cross_trade CrossTrade,
    on_broken_trade BrokenTrade,
    on_net_order_imbalance_indicator NetOrderImbalanceIndicator,
    on_retail_price_improvement_indicator RetailPriceImprovementIndicator,
    on_direct_listing_with_capital_raise_price_discovery DirectListingwithCapitalRaisePriceDiscovery,
}

/// It ends at the record of length 0 with an error; what it found before counts.
fn itch5<H: itch5::MessageHandler>(day: &[u8], handler: &mut H, messages: impl Fn(&H) -> u64) -> u64 {
    let _ = itch5::Parser::new(day).parse_stream(handler);
    messages(handler)
}

fn itchy(day: &[u8], clock: &Clock) -> (u64, u64) {
    let messages = itchy::MessageStream::from_reader(day).map_while(Result::ok);
    let count = |count, message| {
        black_box(&message);
        count + 1
    };
    (clock.time(|| messages.fold(0, count)), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who keeps books has as many orders in the end as the others.
    #[test]
    fn all_see_every_message() {
        let day = book::day(DayConfig { symbols: 10, messages: 3_000, ..DayConfig::default() }).unwrap();
        let mut live: Vec<u64> = Vec::new();
        let (plain_day, left_out) = without(&day, UNKNOWN_TO_ITCHY);
        for (name, way) in WAYS {
            let (day, omitted) = if name.starts_with("itchy") { (&plain_day, left_out) } else { (&day, 0) };
            let (messages, orders) = way(day, &Clock::default());
            assert_eq!(messages, 3_000 - omitted, "{name}");
            live.extend(Some(orders).filter(|&orders| orders > 0));
        }
        assert!(live.len() >= 3 && live.iter().all(|&orders| orders == live[0]), "{live:?}");
    }
}
