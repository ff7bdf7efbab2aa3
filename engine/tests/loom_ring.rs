//! Models of the rings, run by loom under every interleaving of their threads and every value that a load may see:
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p seqcast-engine --release --test loom_ring
//! ```
//!
//! It is the rings' own code that runs, over loom's atomics. A reader's look at the memory in place is an
//! unsynchronised load to loom, which fails the model if any store could race with it.
#![cfg(loom)]

use loom::thread;
use seqcast_engine::mem::{Region, RegionSpec};
use seqcast_engine::ring::broadcast::{self, Guest, Reader, Refused, RingSpec, Subscriptions, Writer};
use seqcast_engine::ring::spsc;
use seqcast_engine::sync::Watermark;
use seqcast_wire::SeqNo;

/// A ring of four words: a message of up to eight bytes takes two, an empty one takes one.
fn ring(max_readers: usize) -> (Writer, Subscriptions) {
    let spec = RingSpec { capacity_bytes: 32, max_readers };
    let region = Region::anonymous(&RegionSpec::plain(spec.region_bytes())).unwrap();
    broadcast::create(spec, region).unwrap()
}

fn model(max_preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(max_preemptions);
    builder.check(f);
}

/// Eight equal bytes: a torn message shows.
fn message(number: u8) -> [u8; 8] {
    [number; 8]
}

/// Which message `bytes` is.
fn number(bytes: &[u8]) -> u8 {
    assert!(bytes.len() == 8 && bytes.iter().all(|byte| *byte == bytes[0]), "torn: {bytes:?}");
    bytes[0]
}

fn publish(writer: &mut Writer, bytes: &[u8]) {
    while writer.try_publish(bytes) == Err(Refused::Full) {
        thread::yield_now();
    }
}

/// Waits for the next message and takes it.
fn take<T>(reader: &mut Reader, read: impl Fn(&[u8]) -> T) -> T {
    loop {
        if let Some(bytes) = reader.peek() {
            let value = read(bytes);
            reader.advance();
            reader.release();
            return value;
        }
        thread::yield_now();
    }
}

#[test]
fn two_readers_see_every_message_once_whole_and_in_order_past_the_end() {
    model(2, || {
        let (mut writer, subscriptions) = ring(2);
        let readers = [subscriptions.reader().unwrap(), subscriptions.reader().unwrap()];
        publish(&mut writer, &message(1));
        publish(&mut writer, &message(2));
        // Only the writer waits here, and only in the next model a reader: loom gives up on threads that wait for
        // one another in turn.
        let threads = readers.map(|mut reader| {
            thread::spawn(move || {
                assert_eq!([take(&mut reader, number), take(&mut reader, number)], [1, 2]);
                (reader.peek().map(number), reader)
            })
        });
        publish(&mut writer, &message(3));
        for thread in threads {
            let (early, mut reader) = thread.join().unwrap();
            assert!(early.is_none_or(|early| early == 3));
            assert_eq!(take(&mut reader, number), 3);
            assert!(reader.peek().is_none());
        }
    });
}

#[test]
fn one_reader_is_waited_for_across_padding_claims_and_batches() {
    model(3, || {
        let (mut writer, subscriptions) = ring(1);
        let mut reader = subscriptions.reader().unwrap();
        let thread = thread::spawn(move || {
            for expected in [0, 8, 5] {
                let len = take(&mut reader, |bytes| {
                    assert!(bytes.iter().all(|byte| *byte == 7), "torn: {bytes:?}");
                    bytes.len()
                });
                assert_eq!(len, expected);
            }
            while !reader.is_finished() {
                thread::yield_now();
            }
        });
        let mut batch = writer.batch();
        batch.try_publish(&[7; 0]).unwrap();
        let mut claim = batch.try_claim(8).unwrap();
        claim.write(&[7; 3]);
        claim.write(&[7; 5]);
        claim.commit();
        drop(batch);
        // One word is left before the end: padding. The record itself has to wait for the reader.
        publish(&mut writer, &[7; 5]);
        drop(writer);
        thread.join().unwrap();
    });
}

#[test]
fn a_tap_sees_whole_messages_or_an_overrun() {
    model(3, || {
        let (mut writer, subscriptions) = ring(0);
        let mut tap = subscriptions.tap();
        writer.try_publish(&message(1)).unwrap();
        let thread = thread::spawn(move || {
            let mut last = 0;
            for _ in 0..3 {
                match tap.try_next() {
                    Ok(Some(bytes)) => {
                        let number = number(bytes);
                        assert!(number > last, "{number} after {last}");
                        last = number;
                    }
                    Ok(None) => {}
                    Err(overrun) => assert!(overrun.skipped_bytes > 0),
                }
            }
        });
        for number in 2..=4 {
            writer.try_publish(&message(number)).unwrap();
        }
        thread.join().unwrap();
    });
}

#[test]
fn an_evicted_guest_never_sees_what_overwrote_its_messages() {
    model(3, || {
        let (mut writer, subscriptions) = ring(1);
        let mut guest: Guest = subscriptions.guest().unwrap();
        writer.try_publish(&message(1)).unwrap();
        writer.try_publish(&message(2)).unwrap();
        let thread = thread::spawn(move || {
            for number in 1..=2 {
                match guest.try_next() {
                    Ok(next) => assert_eq!(next, Some(&message(number)[..])),
                    Err(_evicted) => return,
                }
            }
        });
        if writer.try_publish(&message(3)) == Err(Refused::Full) {
            writer.evict_lagging(1);
            // Either it was evicted or it has caught up: there is room now, both ways.
            writer.try_publish(&message(3)).unwrap();
        }
        writer.try_publish(&message(4)).unwrap_or_else(|_| {
            writer.evict_lagging(1);
        });
        thread.join().unwrap();
    });
}

#[test]
fn what_a_reader_looked_at_before_it_left_was_not_overwritten_then() {
    model(3, || {
        let (mut writer, subscriptions) = ring(1);
        let mut reader = subscriptions.reader().unwrap();
        writer.try_publish(&message(1)).unwrap();
        writer.try_publish(&message(2)).unwrap();
        let thread = thread::spawn(move || assert_eq!(reader.peek().map(number), Some(1)));
        publish(&mut writer, &message(3));
        thread.join().unwrap();
    });
}

#[test]
fn who_joined_sees_every_message_claimed_from_then_on() {
    model(3, || {
        let (mut writer, subscriptions) = ring(1);
        let thread = thread::spawn(move || subscriptions.reader().unwrap());
        thread::yield_now();
        writer.try_publish(&message(1)).unwrap();
        let mut reader = thread.join().unwrap();
        writer.try_publish(&message(2)).unwrap();
        let first = reader.peek().map(number).unwrap();
        for expected in first..=2 {
            assert_eq!(take(&mut reader, number), expected);
        }
    });
}

#[test]
fn a_reader_that_joins_late_sees_a_whole_tail_and_one_that_leaves_is_not_waited_for() {
    model(3, || {
        let (mut writer, subscriptions) = ring(1);
        let thread = thread::spawn(move || {
            let mut reader = subscriptions.reader().unwrap();
            let first = reader.peek().map(number);
            drop(reader);
            let mut again = subscriptions.reader().unwrap();
            let mut seen = Vec::new();
            while !again.is_finished() {
                if again.poll(1, |bytes| {
                    seen.push(number(bytes));
                    true
                }) == 0
                {
                    thread::yield_now();
                }
            }
            (first, seen)
        });
        for number in 1..=3 {
            publish(&mut writer, &message(number));
        }
        drop(writer);
        let (first, seen) = thread.join().unwrap();
        let from = seen.first().map_or(4, |from| *from);
        assert_eq!(seen, (from..=3).collect::<Vec<_>>());
        assert!(first.is_none_or(|first| first <= from));
    });
}

#[test]
fn values_arrive_once_and_in_order_and_the_rest_is_dropped() {
    model(3, || {
        let token = loom::sync::Arc::new(());
        let (mut sender, mut receiver) = spsc::channel(2);
        let sent = loom::sync::Arc::clone(&token);
        let thread = thread::spawn(move || {
            for number in 1..=4 {
                let mut value = (number, loom::sync::Arc::clone(&sent));
                while let Err(spsc::Full(back)) = sender.try_send(value) {
                    value = back;
                    thread::yield_now();
                }
            }
        });
        for number in 1..=2 {
            let value = loop {
                match receiver.try_receive() {
                    Some((value, _)) => break value,
                    None => thread::yield_now(),
                }
            };
            assert_eq!(value, number);
        }
        thread.join().unwrap();
        assert!(receiver.is_abandoned());
        drop(receiver);
        assert_eq!(loom::sync::Arc::strong_count(&token), 1);
    });
}

#[test]
fn who_sees_the_sender_gone_sees_the_last_value() {
    model(3, || {
        let (mut sender, mut receiver) = spsc::channel(1);
        let thread = thread::spawn(move || sender.try_send(1).unwrap());
        thread::yield_now();
        if receiver.is_abandoned() {
            assert_eq!(receiver.try_receive(), Some(1));
        }
        thread.join().unwrap();
    });
}

#[test]
fn who_sees_a_watermark_sees_what_it_stands_for() {
    model(3, || {
        let (mut sender, mut receiver) = spsc::channel(1);
        let watermark = Watermark::new();
        let reader = watermark.clone();
        let thread = thread::spawn(move || {
            sender.try_send(()).unwrap();
            watermark.advance(SeqNo::FIRST.next());
        });
        thread::yield_now();
        if reader.load() > SeqNo::FIRST {
            assert!(receiver.try_receive().is_some());
        }
        thread.join().unwrap();
    });
}
