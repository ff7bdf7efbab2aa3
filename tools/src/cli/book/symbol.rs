use std::collections::BTreeSet;
use std::path::Path;

use seqcast_wire::itch::{Message, Stock};

/// Names to suggest when a symbol is not there.
const MOST_SUGGESTED: usize = 5;
/// How much alike a suggestion must be, at least (Jaro-Winkler).
const ALIKE: f64 = 0.7;

/// Looks for the stock locate of a symbol while messages pass.
pub(super) struct Search {
    stock: Stock,
    locate: Option<u16>,
    others: BTreeSet<Stock>,
}

impl Search {
    pub(super) fn new(stock: Stock) -> Search {
        Search { stock, locate: None, others: BTreeSet::new() }
    }

    /// The symbol's locate, if `message` is about it.
    #[inline]
    pub(super) fn locate_in(&mut self, message: &[u8]) -> Option<u16> {
        let locate = match self.locate {
            Some(locate) => locate,
            None => self.look_into(message)?,
        };
        (message.get(1..3)? == locate.to_be_bytes()).then_some(locate)
    }

    pub(super) fn found(&self) -> Option<u16> {
        self.locate
    }

    /// The directory names symbols; where a file begins later, orders and trading actions do.
    fn look_into(&mut self, message: &[u8]) -> Option<u16> {
        let (header, stock) = match Message::parse(message).ok()? {
            Message::StockDirectory(m) => (&m.header, m.stock),
            Message::TradingAction(m) => (&m.header, m.stock),
            Message::AddOrder(m) => (&m.header, m.stock),
            Message::AddOrderMpid(m) => (&m.header, m.stock),
            _ => return None,
        };
        if stock == self.stock {
            self.locate = Some(header.locate.get());
        } else {
            self.others.insert(stock);
        }
        self.locate
    }

    /// What to say when there was no such symbol.
    pub(super) fn not_found(&self, file: &Path) -> String {
        let wanted = self.stock.to_string();
        let likeness = |stock: &Stock| {
            let (wanted, name) = (wanted.to_ascii_uppercase(), stock.to_string().to_ascii_uppercase());
            strsim::jaro_winkler(&wanted, &name)
        };
        let mut near: Vec<(f64, &Stock)> = self.others.iter().map(|stock| (likeness(stock), stock)).collect();
        near.retain(|&(likeness, _)| likeness >= ALIKE);
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near: Vec<String> =
            near.iter().take(MOST_SUGGESTED).map(|(_, stock)| stock.to_string()).collect();
        let file = file.display();
        match (self.others.len(), near.as_slice()) {
            (0, _) => format!("no message of {file} up to there names a symbol"),
            (count, []) => format!("{file} has no symbol {wanted} among its {count}"),
            (count, near) => {
                format!("{file} has no symbol {wanted} among its {count}; near: {}", near.join(", "))
            }
        }
    }
}
