//! Random messages, valid and not, and their bytes.

use proptest::prelude::*;
use seqcast_wire::itch::*;
use seqcast_wire::{Alpha, Price4, Timestamp};
use zerocopy::{Immutable, IntoBytes};

/// How small numbers become order references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum References {
    Dense,
    Sparse,
    High,
    SameLowBits,
}

impl References {
    pub(crate) const ALL: [References; 4] =
        [References::Dense, References::Sparse, References::High, References::SameLowBits];

    pub(crate) fn of(self, number: u64) -> u64 {
        match self {
            References::Dense => number,
            References::Sparse => (number + 1).wrapping_mul(0xd134_2543_de82_ef95).rotate_left(29),
            References::High => number << 32,
            References::SameLowBits => number << 40 | 0xab_cdef_0123,
        }
    }
}

/// One message, with small numbers in place of references.
#[derive(Clone, Debug)]
pub(crate) enum Draft {
    Add { locate: u16, number: u64, side: u8, shares: u32, price: u32, stock: u8, mpid: Option<u8> },
    Execute { locate: u16, number: u64, shares: u32 },
    ExecuteAt { locate: u16, number: u64, shares: u32, price: u32, printable: bool },
    Cancel { locate: u16, number: u64, shares: u32 },
    Delete { locate: u16, number: u64 },
    Replace { locate: u16, original: u64, number: u64, shares: u32, price: u32 },
    Event { event: u8 },
    Directory { locate: u16, stock: u8 },
    Action { locate: u16, state: u8 },
    Halt { locate: u16, market: u8, action: u8 },
    RegSho { locate: u16, action: u8 },
    Raw(Vec<u8>),
}

pub(crate) const LOCATES: u16 = 3;
const NUMBERS: u64 = 40;

/// Orders are mostly where their number says, so that most messages are valid.
fn locate_of(number: u64) -> u16 {
    (number % u64::from(LOCATES)) as u16
}

fn located() -> impl Strategy<Value = (u16, u64)> {
    (0..NUMBERS, prop::option::weighted(0.03, 0..LOCATES))
        .prop_map(|(number, locate)| (locate.unwrap_or(locate_of(number)), number))
}

fn side() -> impl Strategy<Value = u8> {
    prop_oneof![20 => Just(b'B'), 20 => Just(b'S'), 1 => Just(b'?')]
}

fn shares() -> impl Strategy<Value = u32> {
    prop_oneof![20 => 1..6_u32, 1 => Just(0), 1 => Just(u32::MAX)]
}

fn price() -> impl Strategy<Value = u32> {
    prop_oneof![30 => 95..106_u32, 1 => Just(0), 1 => Just(u32::MAX)]
}

fn stock(locate: u16) -> impl Strategy<Value = u8> {
    prop_oneof![30 => Just(locate as u8), 1 => 0..4_u8]
}

fn add() -> impl Strategy<Value = Draft> {
    (located(), side(), shares(), price(), prop::option::weighted(0.2, 0..3_u8)).prop_flat_map(
        |((locate, number), side, shares, price, mpid)| {
            stock(locate).prop_map(move |stock| Draft::Add {
                locate,
                number,
                side,
                shares,
                price,
                stock,
                mpid,
            })
        },
    )
}

pub(crate) fn draft() -> impl Strategy<Value = Draft> {
    prop_oneof![
        40 => add(),
        12 => (located(), shares()).prop_map(|((locate, number), shares)| Draft::Execute { locate, number, shares }),
        5 => (located(), shares(), price(), any::<bool>()).prop_map(
            |((locate, number), shares, price, printable)| {
                Draft::ExecuteAt { locate, number, shares, price, printable }
            }),
        8 => (located(), shares()).prop_map(|((locate, number), shares)| Draft::Cancel { locate, number, shares }),
        12 => located().prop_map(|(locate, number)| Draft::Delete { locate, number }),
        15 => (located(), 0..NUMBERS, shares(), price()).prop_map(
            |((locate, original), number, shares, price)| {
                Draft::Replace { locate, original, number, shares, price }
            }),
        1 => prop::sample::select(b"OSQMEC".as_slice()).prop_map(|event| Draft::Event { event }),
        2 => (0..LOCATES).prop_flat_map(|locate| stock(locate).prop_map(move |stock| Draft::Directory { locate, stock })),
        1 => (0..LOCATES, prop::sample::select(b"HPQT".as_slice()))
            .prop_map(|(locate, state)| Draft::Action { locate, state }),
        1 => (0..LOCATES, prop::sample::select(b"QBXZ".as_slice()), prop::sample::select(b"HT".as_slice()))
            .prop_map(|(locate, market, action)| Draft::Halt { locate, market, action }),
        1 => (0..LOCATES, prop::sample::select(b"012".as_slice()))
            .prop_map(|(locate, action)| Draft::RegSho { locate, action }),
        2 => prop::collection::vec(any::<u8>(), 0..45).prop_map(Draft::Raw),
        1 => (prop::sample::select(KINDS), prop::collection::vec(any::<u8>(), 0..45)).prop_map(|(kind, mut bytes)| {
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            Draft::Raw(bytes)
        }),
    ]
}

pub(crate) fn symbol(stock: u8) -> Stock {
    Alpha([b'S', b'Y', b'M', b'A' + stock, b' ', b' ', b' ', b' '])
}

pub(crate) fn header(kind: u8, locate: u16) -> Header {
    Header {
        kind,
        locate: locate.into(),
        tracking: 7.into(),
        timestamp: Timestamp::from_ns(34_200_000_000_000),
    }
}

fn bytes<T: IntoBytes + Immutable>(message: T) -> Vec<u8> {
    message.as_bytes().to_vec()
}

impl Draft {
    pub(crate) fn to_bytes(&self, references: References) -> Vec<u8> {
        let of = |number: u64| references.of(number).into();
        match *self {
            Draft::Add { locate, number, side, shares, price, stock, mpid: None } => bytes(AddOrder {
                header: header(b'A', locate),
                reference: of(number),
                side,
                shares: shares.into(),
                stock: symbol(stock),
                price: Price4::new(price),
            }),
            Draft::Add { locate, number, side, shares, price, stock, mpid: Some(mpid) } => {
                bytes(AddOrderMpid {
                    header: header(b'F', locate),
                    reference: of(number),
                    side,
                    shares: shares.into(),
                    stock: symbol(stock),
                    price: Price4::new(price),
                    attribution: Alpha([b'M', b'P', b'A' + mpid, b' ']),
                })
            }
            Draft::Execute { locate, number, shares } => bytes(OrderExecuted {
                header: header(b'E', locate),
                reference: of(number),
                shares: shares.into(),
                match_number: 9.into(),
            }),
            Draft::ExecuteAt { locate, number, shares, price, printable } => bytes(OrderExecutedWithPrice {
                header: header(b'C', locate),
                reference: of(number),
                shares: shares.into(),
                match_number: 9.into(),
                printable: if printable { b'Y' } else { b'N' },
                price: Price4::new(price),
            }),
            Draft::Cancel { locate, number, shares } => bytes(OrderCancel {
                header: header(b'X', locate),
                reference: of(number),
                shares: shares.into(),
            }),
            Draft::Delete { locate, number } => {
                bytes(OrderDelete { header: header(b'D', locate), reference: of(number) })
            }
            Draft::Replace { locate, original, number, shares, price } => bytes(OrderReplace {
                header: header(b'U', locate),
                original: of(original),
                reference: of(number),
                shares: shares.into(),
                price: Price4::new(price),
            }),
            _ => self.status_bytes(),
        }
    }

    fn status_bytes(&self) -> Vec<u8> {
        match *self {
            Draft::Event { event } => bytes(SystemEvent { header: header(b'S', 0), event }),
            Draft::Directory { locate, stock } => bytes(StockDirectory {
                header: header(b'R', locate),
                stock: symbol(stock),
                market_category: b'Q',
                financial_status: b'N',
                round_lot_shares: 100.into(),
                round_lots_only: b'N',
                issue_class: b'C',
                issue_subtype: Alpha(*b"Z "),
                authenticity: b'P',
                short_sale_threshold: b'N',
                ipo: b'N',
                luld_tier: b'1',
                etp: b'N',
                etp_leverage: 0.into(),
                inverse: b'N',
            }),
            Draft::Action { locate, state } => bytes(TradingAction {
                header: header(b'H', locate),
                stock: symbol(locate as u8),
                state,
                reserved: b' ',
                reason: Alpha(*b"T1  "),
            }),
            Draft::Halt { locate, market, action } => bytes(OperationalHalt {
                header: header(b'h', locate),
                stock: symbol(locate as u8),
                market,
                action,
            }),
            Draft::RegSho { locate, action } => {
                bytes(RegSho { header: header(b'Y', locate), stock: symbol(locate as u8), action })
            }
            Draft::Raw(ref bytes) => bytes.clone(),
            _ => Vec::new(),
        }
    }
}
