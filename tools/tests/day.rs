//! The generated day against a checker that keeps the simplest books there can be.

#[allow(dead_code, reason = "each test binary uses its part")]
mod naive;

use naive::Checker;
use seqcast::day::{Day, DayConfig, DayError, write_binary_file};
use seqcast_wire::itch;

fn check(config: DayConfig) -> (Checker, Day) {
    let mut day = Day::new(config).unwrap();
    let mut checker = Checker::default();
    while let Some(message) = day.next_message() {
        checker.check(message);
    }
    assert_eq!(checker.total, day.config().messages);
    assert_eq!(checker.orders.len(), day.live_orders());
    (checker, day)
}

#[test]
fn a_day_is_valid_and_has_the_mix_of_a_real_one() {
    let (checker, day) =
        check(DayConfig { symbols: 200, messages: 300_000, seed: 7, ..DayConfig::default() });
    let mix = [
        (b'A', 43.6, 3.0),
        (b'D', 42.6, 3.5),
        (b'U', 8.05, 0.6),
        (b'E', 2.13, 0.4),
        (b'I', 1.50, 0.3),
        (b'X', 1.04, 0.2),
        (b'F', 0.55, 0.1),
        (b'P', 0.45, 0.1),
        (b'L', 0.08, 0.02),
        (b'C', 0.04, 0.05),
    ];
    for (kind, percent, tolerance) in mix {
        let actual = checker.percent(kind);
        let kind = char::from(kind);
        assert!((actual - percent).abs() <= tolerance, "{kind}: {actual:.2} % instead of {percent} %");
    }
    for kind in itch::KINDS {
        assert!(checker.by_type.contains_key(kind), "no message of type {}", char::from(*kind));
    }
    assert_eq!(checker.by_type[&b'S'], 6);
    assert_eq!(checker.by_type[&b'R'], 200);
    assert!(checker.by_type[&b'Q'] >= 400);
    assert!(checker.locked_times > 0, "some books are locked or crossed for a moment");
    assert!(checker.locked.is_empty(), "and none stays so");
    assert!(checker.halted.is_empty(), "every halt ends");
    let (live, target) = (day.live_orders() as f64, 0.0392 * 300_000.0);
    assert!((live / target - 1.0).abs() < 0.1, "{live} live orders instead of about {target}");
}

#[test]
fn short_and_odd_days_are_valid_too() {
    for (symbols, messages, seed) in [(1, 80, 0), (1, 5_000, 1), (3, 112, 2), (500, 8_064, 3), (7, 20_011, 4)]
    {
        check(DayConfig { symbols, messages, seed, ..DayConfig::default() });
    }
    check(DayConfig { symbols: 50, messages: 30_000, sparse_references: true, ..DayConfig::default() });
    check(DayConfig { symbols: 50, messages: 30_000, live_orders: Some(10_000), ..DayConfig::default() });
    check(DayConfig { symbols: 50, messages: 30_000, live_orders: Some(0), ..DayConfig::default() });
}

#[test]
fn impossible_days_are_refused() {
    let none = DayConfig { symbols: 0, ..DayConfig::default() };
    assert_eq!(Day::new(none).err(), Some(DayError::NoSymbols));
    let short = DayConfig { symbols: 10, messages: 223, ..DayConfig::default() };
    assert_eq!(Day::new(short).err(), Some(DayError::TooShort { symbols: 10, messages: 223, needed: 224 }));
}

/// FNV-1a, so that the pinned value needs no library to be found again.
fn digest(config: DayConfig) -> u64 {
    let mut day = Day::new(config).unwrap();
    let mut file = Vec::new();
    let written = write_binary_file(&mut day, &mut file).unwrap();
    assert_eq!(written.bytes, file.len() as u64);
    assert_eq!(written.messages, day.config().messages);
    file.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[test]
fn the_seed_alone_makes_the_bytes() {
    let config = DayConfig { seed: 42, symbols: 100, messages: 100_000, ..DayConfig::default() };
    let other = DayConfig { seed: 43, ..config.clone() };
    let pinned = digest(config.clone());
    assert_eq!(pinned, digest(config));
    assert_ne!(pinned, digest(other));
    assert_eq!(
        pinned, 15_152_093_501_458_561_353,
        "the day of this seed changed: recorded figures no longer compare"
    );
}

#[test]
fn deep_books_have_long_tails() {
    let (checker, _) = check(DayConfig { symbols: 20, messages: 400_000, seed: 3, ..DayConfig::default() });
    let deepest = checker.books.values().map(|[asks, bids]| asks.len() + bids.len()).max().unwrap();
    assert!(deepest > 500, "the deepest book has {deepest} levels");
}
