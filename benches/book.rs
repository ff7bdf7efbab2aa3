//! Order books over a generated day, beside the books that anyone would write first.
//!
//! `cargo bench --bench book -- [messages] [passes]`, by default 20,000,000 and 5. Times are those that the thread ran
//! (its processor time), since a wall clock on a shared machine measures its neighbours; medians over the passes, which
//! take turns. Memory is what the process's anonymous memory grew by.
#![allow(clippy::print_stdout)]

mod naive;

use std::error::Error;

use seqcast::bench::book::{Stopwatch, WAYS, books, count, day, records};
use seqcast::day::DayConfig;
use seqcast_engine::book::Books;

use naive::Naive;

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
        let mut live_orders = 0;
        for contender in &mut contenders {
            let (mut books, mut naive) = (books(), Naive::default());
            let before = Stopwatch::start();
            let messages = (contender.run)(file, &mut books, &mut naive);
            contender.ns_per_message.push(before.elapsed_ns() / messages.max(1) as f64);
            live_orders += naive.live_orders();
        }
        if pass == 0 {
            describe(file, live_orders);
        }
    }
    for Contender { name, ns_per_message, .. } in &mut contenders {
        ns_per_message.sort_by(f64::total_cmp);
        let median = ns_per_message[ns_per_message.len() / 2];
        println!("  {name:32} {median:7.1} ns/message (best {:.1})", ns_per_message[0]);
    }
}

/// Says what the books hold in the end, `live_orders` by the yardstick, and what memory they take.
fn describe(file: &[u8], live_orders: usize) {
    let before = anonymous_kib();
    let mut books = books();
    let prepared = anonymous_kib() - before;
    books.apply_all(records(file), |_, _, _| ());
    assert_eq!(books.live_orders() as usize, live_orders, "both have the same orders in the end");
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
