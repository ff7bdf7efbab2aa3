//! One number for the whole state, equal for equal books whatever the history that led to them.
//!
//! Every step is a bijection of the running value, so two states that differ in a single word never have the same
//! digest; others have with a probability of 2⁻⁶⁴. It is no cryptographic hash: it finds replicas that went apart, not
//! someone who makes them seem equal. The definition is part of the format: replicas of different builds compare.

use seqcast_wire::itch::{RegSho, StockDirectory, SystemEvent, TradingAction};
use zerocopy::IntoBytes;

use super::symbol::Symbol;
use super::{Book, Books, Levels};

/// A running digest.
struct Digest(u64);

impl Digest {
    const START: Digest = Digest(0x5e9c_a57b_00c5_0001);

    fn word(&mut self, word: u64) {
        let mut value = self.0 ^ word;
        value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
        value ^= value >> 32;
        value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        value ^= value >> 29;
        self.0 = value.wrapping_add(1);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn message<T: IntoBytes + zerocopy::Immutable>(&mut self, message: Option<&T>) {
        self.bytes(message.map_or(&[][..], |message| message.as_bytes()));
    }
}

impl Books {
    /// The digest of everything an image holds: events, directory, trading states, and every level and order in the
    /// order of its queue. Walks over all of it: some 20 ms for a million orders.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::START;
        for event in self.events.iter() {
            digest.message::<SystemEvent>(Some(event));
        }
        for locate in 0..=u16::MAX {
            if u32::from(locate) >= self.locates() {
                break;
            }
            if self.holds_anything(locate) {
                digest.word(u64::from(locate));
                digest.word(self.digest_of(locate));
            }
        }
        digest.0
    }

    /// The digest of one symbol's part. Symbols of which nothing is held have all the same.
    pub fn digest_of(&self, locate: u16) -> u64 {
        let mut digest = Digest::START;
        let book = self.book(locate);
        digest.message::<StockDirectory>(book.directory());
        digest.message::<TradingAction>(book.trading_action());
        for halt in book.operational_halts() {
            digest.message(Some(halt));
        }
        digest.message::<RegSho>(book.reg_sho());
        if has_orders(book) {
            digest.message(book.stock().as_ref());
            digest.side(book.bids());
            digest.side(book.asks());
        }
        digest.0
    }

    fn holds_anything(&self, locate: u16) -> bool {
        let symbol = self.symbols.get(usize::from(locate));
        symbol.is_some_and(Symbol::is_known) || has_orders(self.book(locate))
    }
}

impl Digest {
    fn side(&mut self, levels: Levels<'_>) {
        self.word(levels.len() as u64);
        for level in levels {
            self.word(u64::from(level.price().units()) << 32 | u64::from(level.order_count()));
            for order in level.orders() {
                self.word(order.reference);
                let attribution = order.attribution.map_or(0, |mpid| u32::from_be_bytes(mpid.0));
                self.word(u64::from(order.shares) << 32 | u64::from(attribution));
            }
        }
    }
}

fn has_orders(book: Book<'_>) -> bool {
    book.best_bid().is_some() || book.best_ask().is_some()
}
