//! The message structs. Offsets and lengths are those of the specification's tables.

use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::{Alpha, Price4, Price8, Timestamp};

/// Stock symbol.
pub type Stock = Alpha<8>;
/// Market participant identifier.
pub type Mpid = Alpha<4>;

/// The first 11 bytes of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Message type.
    pub kind: u8,
    /// Stock locate: the day's index of the stock; 0 when the message is about none.
    pub locate: U16,
    /// Nasdaq's internal tracking number.
    pub tracking: U16,
    /// Time of the event.
    pub timestamp: Timestamp,
}

impl Header {
    /// The header of a message of type `kind`.
    pub const fn new(kind: u8, locate: u16, tracking: u16, timestamp: Timestamp) -> Header {
        Header { kind, locate: U16::new(locate), tracking: U16::new(tracking), timestamp }
    }
}

macro_rules! message {
    ($(#[$doc:meta])* $kind:literal $bytes:literal $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
        #[repr(C)]
        pub struct $name {
            /// Type, locate, tracking number, timestamp.
            pub header: Header,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl $name {
            /// Message type byte.
            pub const KIND: u8 = $kind;
            /// Length in bytes.
            pub const BYTES: usize = $bytes;
        }

        const _: () = assert!(size_of::<$name>() == $bytes);
    };
}

message! {
    /// System event: start and end of messages, system hours and market hours.
    b'S' 12 SystemEvent {
        /// `O` start of messages, `S` start of system hours, `Q` start of market hours, `M` end of market hours,
        /// `E` end of system hours, `C` end of messages.
        event: u8,
    }
}
message! {
    /// Stock directory: one for each stock at the start of the day.
    b'R' 39 StockDirectory {
        /// Symbol.
        stock: Stock,
        /// Listing market or tier.
        market_category: u8,
        /// Financial status indicator.
        financial_status: u8,
        /// Shares in a round lot.
        round_lot_shares: U32,
        /// `Y` when only round lots are accepted.
        round_lots_only: u8,
        /// Issue classification.
        issue_class: u8,
        /// Issue sub-type.
        issue_subtype: Alpha<2>,
        /// `P` live, `T` test.
        authenticity: u8,
        /// Short-sale threshold indicator.
        short_sale_threshold: u8,
        /// IPO flag.
        ipo: u8,
        /// LULD reference price tier.
        luld_tier: u8,
        /// ETP flag.
        etp: u8,
        /// ETP leverage factor.
        etp_leverage: U32,
        /// Inverse indicator.
        inverse: u8,
    }
}
message! {
    /// Stock trading action.
    b'H' 25 TradingAction {
        /// Symbol.
        stock: Stock,
        /// `H` halted, `P` paused, `Q` quotation only, `T` trading.
        state: u8,
        /// Reserved.
        reserved: u8,
        /// Reason code.
        reason: Alpha<4>,
    }
}
message! {
    /// Reg SHO short-sale price test restriction.
    b'Y' 20 RegSho {
        /// Symbol.
        stock: Stock,
        /// `0` no test, `1` test because of an intraday drop, `2` test remains.
        action: u8,
    }
}
message! {
    /// Market participant position.
    b'L' 26 ParticipantPosition {
        /// Participant.
        mpid: Mpid,
        /// Symbol.
        stock: Stock,
        /// `Y` when a primary market maker.
        primary: u8,
        /// Market maker mode.
        mode: u8,
        /// Participant state.
        state: u8,
    }
}
message! {
    /// Market-wide circuit breaker decline levels.
    b'V' 35 MwcbDeclineLevel {
        /// Level 1.
        level_1: Price8,
        /// Level 2.
        level_2: Price8,
        /// Level 3.
        level_3: Price8,
    }
}
message! {
    /// Market-wide circuit breaker status.
    b'W' 12 MwcbStatus {
        /// Level breached: `1`, `2` or `3`.
        level: u8,
    }
}
message! {
    /// Quoting period update for an IPO.
    b'K' 28 IpoQuotingPeriod {
        /// Symbol.
        stock: Stock,
        /// Release time in seconds since midnight.
        release_s: U32,
        /// `A` anticipated, `C` cancelled or postponed.
        qualifier: u8,
        /// IPO price.
        price: Price4,
    }
}
message! {
    /// Limit up, limit down auction collar.
    b'J' 35 LuldAuctionCollar {
        /// Symbol.
        stock: Stock,
        /// Reference price.
        reference: Price4,
        /// Upper collar.
        upper: Price4,
        /// Lower collar.
        lower: Price4,
        /// Number of extensions.
        extension: U32,
    }
}
message! {
    /// Operational halt.
    b'h' 21 OperationalHalt {
        /// Symbol.
        stock: Stock,
        /// `Q` Nasdaq, `B` BX, `X` PSX.
        market: u8,
        /// `H` halted, `T` lifted.
        action: u8,
    }
}
message! {
    /// Add order without attribution.
    b'A' 36 AddOrder {
        /// Order reference number, unique in the day.
        reference: U64,
        /// `B` or `S`.
        side: u8,
        /// Shares.
        shares: U32,
        /// Symbol.
        stock: Stock,
        /// Limit price.
        price: Price4,
    }
}
message! {
    /// Add order with attribution.
    b'F' 40 AddOrderMpid {
        /// Order reference number, unique in the day.
        reference: U64,
        /// `B` or `S`.
        side: u8,
        /// Shares.
        shares: U32,
        /// Symbol.
        stock: Stock,
        /// Limit price.
        price: Price4,
        /// Participant.
        attribution: Mpid,
    }
}
message! {
    /// Order executed at its own price.
    b'E' 31 OrderExecuted {
        /// Order reference number.
        reference: U64,
        /// Shares executed.
        shares: U32,
        /// Match number.
        match_number: U64,
    }
}
message! {
    /// Order executed at another price than its own.
    b'C' 36 OrderExecutedWithPrice {
        /// Order reference number.
        reference: U64,
        /// Shares executed.
        shares: U32,
        /// Match number.
        match_number: U64,
        /// `Y` printable, `N` not: it is counted in a later cross.
        printable: u8,
        /// Execution price.
        price: Price4,
    }
}
message! {
    /// Part of an order cancelled.
    b'X' 23 OrderCancel {
        /// Order reference number.
        reference: U64,
        /// Shares cancelled.
        shares: U32,
    }
}
message! {
    /// Order deleted.
    b'D' 19 OrderDelete {
        /// Order reference number.
        reference: U64,
    }
}
message! {
    /// Order replaced; side, stock and attribution stay, time priority is lost.
    b'U' 35 OrderReplace {
        /// Reference number of the order that ends.
        original: U64,
        /// Reference number of the order that takes its place.
        reference: U64,
        /// Shares.
        shares: U32,
        /// Limit price.
        price: Price4,
    }
}
message! {
    /// Trade against an order that is not displayed.
    b'P' 44 Trade {
        /// Order reference number: 0 since 2010.
        reference: U64,
        /// `B` always since 2014.
        side: u8,
        /// Shares.
        shares: U32,
        /// Symbol.
        stock: Stock,
        /// Price.
        price: Price4,
        /// Match number.
        match_number: U64,
    }
}
message! {
    /// Cross trade.
    b'Q' 40 CrossTrade {
        /// Shares.
        shares: U64,
        /// Symbol.
        stock: Stock,
        /// Cross price.
        price: Price4,
        /// Match number.
        match_number: U64,
        /// `O` opening, `C` closing, `H` halt or IPO.
        cross: u8,
    }
}
message! {
    /// Broken trade.
    b'B' 19 BrokenTrade {
        /// Match number of the trade that is broken.
        match_number: U64,
    }
}
message! {
    /// Net order imbalance indicator.
    b'I' 50 NetOrderImbalance {
        /// Paired shares.
        paired: U64,
        /// Imbalance shares.
        imbalance: U64,
        /// `B`, `S`, `N` none, `O` insufficient orders, `P` paused.
        direction: u8,
        /// Symbol.
        stock: Stock,
        /// Far price.
        far: Price4,
        /// Near price.
        near: Price4,
        /// Current reference price.
        reference: Price4,
        /// `O` opening, `C` closing, `H` halt or IPO, `A` extended.
        cross: u8,
        /// Price variation indicator.
        variation: u8,
    }
}
message! {
    /// Retail price improvement indicator.
    b'N' 20 RetailPriceImprovement {
        /// Symbol.
        stock: Stock,
        /// `B` buy, `S` sell, `A` both, `N` none.
        interest: u8,
    }
}
message! {
    /// Direct listing with capital raise.
    b'O' 48 DirectListing {
        /// Symbol.
        stock: Stock,
        /// `Y` when eligible for release.
        eligible: u8,
        /// Minimum allowable price.
        min_price: Price4,
        /// Maximum allowable price.
        max_price: Price4,
        /// Near execution price.
        near_price: Price4,
        /// Near execution time, nanoseconds since midnight.
        near_time_ns: U64,
        /// Lower price range collar.
        lower: Price4,
        /// Upper price range collar.
        upper: Price4,
    }
}
