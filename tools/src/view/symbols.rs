//! Which symbols are shown, and what their stock locates are called.

use std::fmt;

use seqcast_engine::book::Books;
use seqcast_engine::limits::MAX_LOCATES;
use seqcast_wire::Alpha;
use seqcast_wire::itch::{Message, Stock};
use serde::{Serialize, Serializer};

/// Reads a symbol.
///
/// # Errors
/// Says what a symbol is.
pub fn parse_symbol(text: &str) -> Result<Stock, String> {
    if text.is_empty() || text.len() > 8 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a symbol is 1 to 8 ASCII letters, digits or signs".into());
    }
    Ok(Alpha::padded(text))
}

/// What a stock locate is called: its symbol, or `#13` while that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    locate: u16,
    stock: Option<Stock>,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stock {
            Some(stock) => stock.fmt(f),
            None => write!(f, "#{}", self.locate),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The symbols of a feed, learnt from its messages.
#[derive(Debug)]
pub(super) struct Symbols {
    /// The symbols to show; empty: all.
    wanted: Vec<Stock>,
    /// By locate.
    known: Box<[Known]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    stock: Option<Stock>,
    is_wanted: bool,
}

impl Symbols {
    pub(super) fn new(wanted: Vec<Stock>) -> Symbols {
        Symbols { wanted, known: vec![Known::default(); MAX_LOCATES].into() }
    }

    /// Forgets what locates mean: another session gives them anew.
    pub(super) fn clear(&mut self) {
        self.known.fill(Known::default());
    }

    /// Learns from `message`, which is any message.
    pub(super) fn learn(&mut self, message: &[u8]) {
        let Ok(message) = Message::parse(message) else { return };
        let Some(locate) = message.header().map(|header| header.locate.get()) else { return };
        // The directory is right whatever was known before.
        let stock = match message {
            Message::StockDirectory(m) => m.stock,
            _ if self.known[usize::from(locate)].stock.is_some() => return,
            Message::TradingAction(m) => m.stock,
            Message::RegSho(m) => m.stock,
            Message::AddOrder(m) => m.stock,
            Message::AddOrderMpid(m) => m.stock,
            Message::Trade(m) => m.stock,
            Message::CrossTrade(m) => m.stock,
            _ => return,
        };
        self.know(locate, stock);
    }

    /// Learns what `books` call `locate`.
    pub(super) fn learn_from(&mut self, locate: u16, books: &Books) {
        if let Some(stock) = books.book(locate).stock() {
            self.know(locate, stock);
        }
    }

    /// Whether the symbol of `locate` is known.
    pub(super) fn knows(&self, locate: u16) -> bool {
        self.known[usize::from(locate)].stock.is_some()
    }

    fn know(&mut self, locate: u16, stock: Stock) {
        let is_wanted = self.wanted.contains(&stock);
        self.known[usize::from(locate)] = Known { stock: Some(stock), is_wanted };
    }

    /// Whether to show what is about `locate`. Of what is about no stock (0) only if everything is shown.
    pub(super) fn wants(&self, locate: u16) -> bool {
        self.wanted.is_empty() || self.known[usize::from(locate)].is_wanted
    }

    pub(super) fn name(&self, locate: u16) -> Name {
        Name { locate, stock: self.known[usize::from(locate)].stock }
    }
}

/// The locates that `books` has heard of.
pub(super) fn locates(books: &Books) -> impl Iterator<Item = u16> + use<> {
    (0..=u16::MAX).take(books.locates() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_fit_their_field() {
        assert_eq!(parse_symbol("AAPL").unwrap().0, *b"AAPL    ");
        for text in ["", "TOOLONGXX", "A B", "É"] {
            assert!(parse_symbol(text).is_err(), "{text}");
        }
    }
}
