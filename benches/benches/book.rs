//! Order books over a generated day, beside the books that anyone would write first.
//!
//! `cargo bench --bench book -- [messages] [passes]`, by default 20,000,000 and 5. Times are those that the thread ran
//! (Linux, `schedstat`), since a wall clock on a shared machine measures its neighbours; medians over the passes, which
//! take turns. Memory is what the process's anonymous memory grew by.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::error::Error;
use std::time::Instant;

use seqcast::day::{Day, DayConfig, write_binary_file};
use seqcast_engine::book::{Books, BooksConfig, Side};
use seqcast_wire::dump::Records;
use seqcast_wire::itch::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let messages = numbers.next().unwrap_or(20_000_000);
    let passes = numbers.next().unwrap_or(5) as usize;
    for sparse_references in [false, true] {
        let mut day = Day::new(DayConfig { messages, sparse_references, ..DayConfig::default() })?;
        let mut file = Vec::with_capacity(messages as usize * 32);
        write_binary_file(&mut day, &mut file)?;
        println!("{messages} messages, references {}", if sparse_references { "random" } else { "dense" });
        measure(&file, passes);
    }
    Ok(())
}

/// One way to go over the day.
struct Contender {
    name: &'static str,
    run: fn(&[u8], &mut Subjects) -> u64,
    ns_per_message: Vec<f64>,
}

/// What the contenders work on; made anew for each pass.
struct Subjects {
    books: Books,
    naive: Naive,
}

impl Subjects {
    fn new() -> Subjects {
        let books = Books::new(BooksConfig { seed: 1, ..BooksConfig::default() });
        Subjects { books: books.expect("memory for the books"), naive: Naive::default() }
    }
}

fn measure(file: &[u8], passes: usize) {
    let contender = |name, run| Contender { name, run, ns_per_message: Vec::new() };
    let mut contenders = [
        contender("records alone", |file, _| count(file, |_| ())),
        contender("parsed", |file, _| {
            count(file, |message| _ = std::hint::black_box(Message::parse(message)))
        }),
        contender("Books::apply", |file, subjects| {
            count(file, |message| _ = std::hint::black_box(subjects.books.apply(message).bbo_changed))
        }),
        contender("Books::apply_all", |file, subjects| {
            let mut changed = 0_u64;
            subjects
                .books
                .apply_all(records(file), |_, _, applied| changed += u64::from(applied.bbo_changed));
            std::hint::black_box(changed);
            subjects.books.stats().messages
        }),
        contender("HashMap + BTreeMap + VecDeque", |file, subjects| {
            count(file, |message| subjects.naive.apply(message))
        }),
    ];
    for pass in 0..passes {
        for contender in &mut contenders {
            let mut subjects = Subjects::new();
            let before = Clock::now();
            let messages = (contender.run)(file, &mut subjects);
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

fn records(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    Records::new(file).map_while(Result::ok)
}

fn count<'f>(file: &'f [u8], mut each: impl FnMut(&'f [u8])) -> u64 {
    let mut messages = 0;
    for message in records(file) {
        each(message);
        messages += 1;
    }
    messages
}

/// Says what the books hold in the end, and what memory they take.
fn describe(file: &[u8]) {
    let before = anonymous_kib();
    let mut subjects = Subjects::new();
    let prepared = anonymous_kib() - before;
    subjects.books.apply_all(records(file), |_, _, _| ());
    let after = anonymous_kib() - before;
    let books = &subjects.books;
    println!(
        "  {} orders live over {} levels, {} symptoms of loss, {} MiB prepared, {} MiB in the end",
        books.live_orders(),
        books.live_levels(),
        books.stats().symptoms(),
        prepared >> 10,
        after >> 10
    );
    let clock = Clock::now();
    let digest = books.digest();
    println!("  digest {digest:016x} in {:.1} ms", clock.elapsed_ns() / 1e6);
}

fn anonymous_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// The time that this thread has run; where that is not to be had, the wall clock.
struct Clock {
    ran_ns: Option<u64>,
    wall: Instant,
}

impl Clock {
    fn now() -> Clock {
        Clock { ran_ns: ran_ns(), wall: Instant::now() }
    }

    fn elapsed_ns(&self) -> f64 {
        match (self.ran_ns, ran_ns()) {
            (Some(before), Some(now)) => (now - before) as f64,
            _ => self.wall.elapsed().as_nanos() as f64,
        }
    }
}

fn ran_ns() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split_whitespace().next()?.parse().ok()
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
