//! Every field of every ITCH message against the offsets and lengths of the specification of 2023-04-28.

use core::mem::offset_of;

use seqcast_wire::Error;
use seqcast_wire::itch::*;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes that are all different, so that a field read from a wrong place has a wrong value.
fn pattern(kind: u8, len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len as u8).map(|at| at ^ 0xA5).collect();
    bytes[0] = kind;
    bytes
}

/// Checks one message: its type and length, and for each field, `offset: length name`.
macro_rules! layout {
    ($kind:literal $bytes:literal $name:ident { $($offset:literal: $len:literal $field:ident),+ $(,)? }) => {{
        assert_eq!(($name::KIND, $name::BYTES), ($kind, $bytes), stringify!($name));
        assert_eq!(length_of($kind), Some($bytes));
        let bytes = pattern($kind, $bytes);
        let message = $name::ref_from_bytes(&bytes).expect("the length of the specification");
        assert_eq!(message.header.as_bytes(), &bytes[..11]);
        let mut at = offset_of!($name, header) + size_of::<Header>();
        $(
            let field = concat!(stringify!($name), ".", stringify!($field));
            assert_eq!(offset_of!($name, $field), $offset, "offset of {field}");
            assert_eq!(message.$field.as_bytes(), &bytes[$offset..$offset + $len], "bytes of {field}");
            assert_eq!(at, $offset, "a hole before {field}");
            at += $len;
        )+
        assert_eq!(at, $bytes, "{} has bytes that no field covers", stringify!($name));
        assert!(matches!(Message::parse(&bytes), Ok(Message::$name(parsed)) if parsed == message));
        $kind
    }};
}

#[test]
fn the_header_stands_as_specified() {
    assert_eq!(size_of::<Header>(), 11);
    assert_eq!(offset_of!(Header, kind), 0);
    assert_eq!(offset_of!(Header, locate), 1);
    assert_eq!(offset_of!(Header, tracking), 3);
    assert_eq!(offset_of!(Header, timestamp), 5);
    let header = Header::ref_from_bytes(b"A\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A").expect("11 bytes");
    assert_eq!(header.locate.get(), 0x0102);
    assert_eq!(header.tracking.get(), 0x0304);
    assert_eq!(header.timestamp.ns(), 0x0506_0708_090A);
    assert_eq!(*header, Header::new(b'A', 0x0102, 0x0304, header.timestamp));
}

#[test]
fn every_message_stands_as_specified() {
    let checked = [administrative(), orders(), trades()].concat();
    let mut known = KINDS.to_vec();
    assert_eq!(known.len(), 23);
    known.sort_unstable();
    let mut checked_once = checked.clone();
    checked_once.sort_unstable();
    assert_eq!(checked_once, known, "each type is in this test once");
    let unknown = (0..=u8::MAX).filter(|kind| !checked.contains(kind));
    assert!({ unknown }.all(|kind| length_of(kind).is_none()));
}

fn administrative() -> Vec<u8> {
    vec![
        layout!(b'S' 12 SystemEvent { 11:1 event }),
        layout!(b'R' 39 StockDirectory {
            11:8 stock, 19:1 market_category, 20:1 financial_status, 21:4 round_lot_shares, 25:1 round_lots_only,
            26:1 issue_class, 27:2 issue_subtype, 29:1 authenticity, 30:1 short_sale_threshold, 31:1 ipo,
            32:1 luld_tier, 33:1 etp, 34:4 etp_leverage, 38:1 inverse,
        }),
        layout!(b'H' 25 TradingAction { 11:8 stock, 19:1 state, 20:1 reserved, 21:4 reason }),
        layout!(b'Y' 20 RegSho { 11:8 stock, 19:1 action }),
        layout!(b'L' 26 ParticipantPosition { 11:4 mpid, 15:8 stock, 23:1 primary, 24:1 mode, 25:1 state }),
        layout!(b'V' 35 MwcbDeclineLevel { 11:8 level_1, 19:8 level_2, 27:8 level_3 }),
        layout!(b'W' 12 MwcbStatus { 11:1 level }),
        layout!(b'K' 28 IpoQuotingPeriod { 11:8 stock, 19:4 release_s, 23:1 qualifier, 24:4 price }),
        layout!(b'J' 35 LuldAuctionCollar {
            11:8 stock, 19:4 reference, 23:4 upper, 27:4 lower, 31:4 extension,
        }),
        layout!(b'h' 21 OperationalHalt { 11:8 stock, 19:1 market, 20:1 action }),
    ]
}

fn orders() -> Vec<u8> {
    vec![
        layout!(b'A' 36 AddOrder { 11:8 reference, 19:1 side, 20:4 shares, 24:8 stock, 32:4 price }),
        layout!(b'F' 40 AddOrderMpid {
            11:8 reference, 19:1 side, 20:4 shares, 24:8 stock, 32:4 price, 36:4 attribution,
        }),
        layout!(b'E' 31 OrderExecuted { 11:8 reference, 19:4 shares, 23:8 match_number }),
        layout!(b'C' 36 OrderExecutedWithPrice {
            11:8 reference, 19:4 shares, 23:8 match_number, 31:1 printable, 32:4 price,
        }),
        layout!(b'X' 23 OrderCancel { 11:8 reference, 19:4 shares }),
        layout!(b'D' 19 OrderDelete { 11:8 reference }),
        layout!(b'U' 35 OrderReplace { 11:8 original, 19:8 reference, 27:4 shares, 31:4 price }),
    ]
}

fn trades() -> Vec<u8> {
    vec![
        layout!(b'P' 44 Trade {
            11:8 reference, 19:1 side, 20:4 shares, 24:8 stock, 32:4 price, 36:8 match_number,
        }),
        layout!(b'Q' 40 CrossTrade { 11:8 shares, 19:8 stock, 27:4 price, 31:8 match_number, 39:1 cross }),
        layout!(b'B' 19 BrokenTrade { 11:8 match_number }),
        layout!(b'I' 50 NetOrderImbalance {
            11:8 paired, 19:8 imbalance, 27:1 direction, 28:8 stock, 36:4 far, 40:4 near, 44:4 reference,
            48:1 cross, 49:1 variation,
        }),
        layout!(b'N' 20 RetailPriceImprovement { 11:8 stock, 19:1 interest }),
        layout!(b'O' 48 DirectListing {
            11:8 stock, 19:1 eligible, 20:4 min_price, 24:4 max_price, 28:4 near_price, 32:8 near_time_ns,
            40:4 lower, 44:4 upper,
        }),
    ]
}

#[test]
fn every_other_length_is_refused() {
    for kind in 0..=u8::MAX {
        for len in 1..100 {
            let bytes = pattern(kind, len);
            let parsed = Message::parse(&bytes);
            match length_of(kind) {
                None => assert_eq!(parsed, Ok(Message::Unknown(&bytes))),
                Some(expected) if expected == len => assert!(parsed.is_ok()),
                Some(expected) => assert_eq!(parsed, Err(Error::Length { kind, expected, actual: len })),
            }
        }
    }
}

#[test]
fn numbers_are_big_endian_and_prices_have_their_scale() {
    let bytes = pattern(b'A', 36);
    let Ok(Message::AddOrder(add)) = Message::parse(&bytes) else { panic!("an add order") };
    let number =
        |offset: usize, len: usize| bytes[offset..offset + len].iter().fold(0, |n, &b| n << 8 | u64::from(b));
    assert_eq!(add.reference.get(), number(11, 8));
    assert_eq!(u64::from(add.shares.get()), number(20, 4));
    assert_eq!(u64::from(add.price.units()), number(32, 4));
    assert_eq!(seqcast_wire::Price4::new(1_712_500).to_string(), "171.2500");
    assert_eq!(seqcast_wire::Price4::new(0x7735_9400).to_string(), "200000.0000");
    assert_eq!(seqcast_wire::Price8::new(345_678_900_000_001).to_string(), "3456789.00000001");
}
