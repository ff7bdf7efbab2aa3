//! Order books over a generated day, beside the books that anyone would write first.
//!
//! `cargo bench --bench book -- [messages] [passes]`, by default 20,000,000 and 5. Times are those that the thread ran
//! (its processor time), since a wall clock on a shared machine measures its neighbours; medians over the passes, which
//! take turns. Memory is what the process's anonymous memory grew by.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;

use seqcast::bench::book::{Stopwatch, WAYS, books, count, day, records};
use seqcast::day::DayConfig;
use seqcast_engine::book::{Books, Side};
use seqcast_wire::itch::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let messages = numbers.next().unwrap_or(20_000_000);
    let passes = numbers.next().unwrap_or(5) as usize;
    for sparse_references in [false, true] {
        let file = day(DayConfig { messages, sparse_references, ..DayConfig::default() })?;
        println!("{messages} messages, references {}", if sparse_references { "random" } else { "dense" });
        measure(&file, passes);
    }
    Ok(())
}

/// Goes over a file with one of the two, and gives the number of messages.
type Run = dyn Fn(&[u8], &mut Books, &mut Naive) -> u64;

/// One way to go over the day, with books and yardstick made anew.
struct Contender {
    name: &'static str,
    run: Box<Run>,
    ns_per_message: Vec<f64>,
}

fn measure(file: &[u8], passes: usize) {
    let mut contenders: Vec<Contender> = WAYS
        .map(|(name, way)| Contender {
            name,
            run: Box::new(move |file, books, _| way(file, books)),
            ns_per_message: Vec::new(),
        })
        .into();
    contenders.push(Contender {
        name: "HashMap + BTreeMap + VecDeque",
        run: Box::new(|file, _, naive| count(file, |message| naive.apply(message))),
        ns_per_message: Vec::new(),
    });
    for pass in 0..passes {
        for contender in &mut contenders {
            let (mut books, mut naive) = (books(), Naive::default());
            let before = Stopwatch::start();
            let messages = (contender.run)(file, &mut books, &mut naive);
            contender.ns_per_message.push(before.elapsed_ns() / messages.max(1) as f64);
        }
        if pass == 0 {
            describe(file);
        }
    }
    for Contender { name, ns_per_message, .. } in &mut contenders {
        ns_per_message.sort_by(f64::total_cmp);
        let median = ns_per_message[ns_per_message.len() / 2];
        println!("  {name:32} {median:7.1} ns/message (best {:.1})", ns_per_message[0]);
    }
}

/// Says what the books hold in the end, and what memory they take.
fn describe(file: &[u8]) {
    let before = anonymous_kib();
    let mut books = books();
    let prepared = anonymous_kib() - before;
    books.apply_all(records(file), |_, _, _| ());
    let after = anonymous_kib() - before;
    println!(
        "  {} orders live over {} levels, {} symptoms of loss, {} MiB prepared, {} MiB in the end",
        books.live_orders(),
        books.live_levels(),
        books.stats().symptoms(),
        prepared >> 10,
        after >> 10
    );
    let stopwatch = Stopwatch::start();
    let digest = books.digest();
    println!("  digest {digest:016x} in {:.1} ms", stopwatch.elapsed_ns() / 1e6);
}

fn anonymous_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// The yardstick: standard collections, queues included.
#[derive(Default)]
struct Naive {
    orders: HashMap<u64, NaiveOrder>,
    levels: BTreeMap<(u16, Side, u32), (u64, VecDeque<u64>)>,
}

#[derive(Clone, Copy)]
struct NaiveOrder {
    locate: u16,
    side: Side,
    price: u32,
    shares: u32,
}

impl Naive {
    fn apply(&mut self, message: &[u8]) {
        match Message::parse(message) {
            Ok(Message::AddOrder(m)) => {
                let side = if m.side == b'B' { Side::Bid } else { Side::Ask };
                let (locate, price, shares) = (m.header.locate.get(), m.price.units(), m.shares.get());
                self.add(m.reference.get(), NaiveOrder { locate, side, price, shares });
            }
            Ok(Message::AddOrderMpid(m)) => {
                let side = if m.side == b'B' { Side::Bid } else { Side::Ask };
                let (locate, price, shares) = (m.header.locate.get(), m.price.units(), m.shares.get());
                self.add(m.reference.get(), NaiveOrder { locate, side, price, shares });
            }
            Ok(Message::OrderExecuted(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderExecutedWithPrice(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderCancel(m)) => self.reduce(m.reference.get(), m.shares.get()),
            Ok(Message::OrderDelete(m)) => _ = self.remove(m.reference.get()),
            Ok(Message::OrderReplace(m)) => {
                if let Some(old) = self.remove(m.original.get()) {
                    let new = NaiveOrder { price: m.price.units(), shares: m.shares.get(), ..old };
                    self.add(m.reference.get(), new);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, reference: u64, order: NaiveOrder) {
        self.orders.insert(reference, order);
        let level = self.levels.entry((order.locate, order.side, order.price)).or_default();
        level.0 += u64::from(order.shares);
        level.1.push_back(reference);
    }

    fn remove(&mut self, reference: u64) -> Option<NaiveOrder> {
        let order = self.orders.remove(&reference)?;
        let key = (order.locate, order.side, order.price);
        let (shares, queue) = self.levels.get_mut(&key)?;
        *shares -= u64::from(order.shares);
        // Queues are in the order of arrival and references grow, but not always.
        let at = queue.binary_search(&reference).ok().or_else(|| queue.iter().position(|&r| r == reference));
        at.and_then(|at| queue.remove(at));
        if queue.is_empty() {
            self.levels.remove(&key);
        }
        Some(order)
    }

    fn reduce(&mut self, reference: u64, shares: u32) {
        let Some(order) = self.orders.get_mut(&reference) else { return };
        if order.shares <= shares {
            self.remove(reference);
            return;
        }
        order.shares -= shares;
        if let Some((total, _)) = self.levels.get_mut(&(order.locate, order.side, order.price)) {
            *total -= u64::from(shares);
        }
    }
}
