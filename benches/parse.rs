//! Looking at ITCH messages, over a generated day with the mix of a full Nasdaq day.
#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seqcast::bench::book::needed;
use seqcast::day::{Day, DayConfig, write_binary_file};
use seqcast_wire::dump::Records;
use seqcast_wire::itch::Message;

const MESSAGES: u64 = 500_000;

fn records(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    Records::new(file).map_while(Result::ok)
}

fn parse(criterion: &mut Criterion) {
    let config = DayConfig { symbols: 2_000, messages: MESSAGES, ..DayConfig::default() };
    let mut day = Day::new(config).expect("a day");
    let mut file = Vec::new();
    write_binary_file(&mut day, &mut file).expect("memory takes all");

    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(MESSAGES));
    group.bench_function("records alone", |b| {
        b.iter(|| records(black_box(&file)).map(<[u8]>::len).sum::<usize>())
    });
    group.bench_function("parsed", |b| {
        b.iter(|| {
            records(black_box(&file)).map(|message| u64::from(Message::parse(message).is_ok())).sum::<u64>()
        });
    });
    group.bench_function("parsed and read", |b| {
        b.iter(|| {
            let messages = records(black_box(&file)).filter_map(|message| Message::parse(message).ok());
            messages.fold(0, |sum, message| sum ^ needed(&message))
        });
    });
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
