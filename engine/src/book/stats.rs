//! Counters of the books.

use super::Anomaly;

/// What was counted since the books were made. Plain numbers; agents copy them into mapped counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookStats {
    /// Messages applied, refused ones included.
    pub messages: u64,
    /// Empty messages, wrong lengths, impossible field values. Refused.
    pub malformed: u64,
    /// Messages of an unknown type. Skipped.
    pub unknown_types: u64,
    /// Executions, cancels, deletes and replaces of orders that are not live. A symptom of lost messages.
    pub unknown_references: u64,
    /// Orders whose reference is live already. A symptom of lost or repeated messages.
    pub duplicate_references: u64,
    /// Executions of more shares than the order had. A symptom of lost messages.
    pub over_executions: u64,
    /// Cancels of more shares than the order had. A symptom of lost messages.
    pub over_cancels: u64,
    /// Messages whose stock locate is not that of their order.
    pub wrong_locates: u64,
    /// Orders whose symbol is not the one of their stock locate.
    pub wrong_symbols: u64,
    /// Orders and events refused because a bound was reached.
    pub over_limits: u64,
    /// Times a book became locked: best bid = best ask. Happens for moments on real days.
    pub locked: u64,
    /// Times a book became crossed: best bid > best ask. Happens for moments on real days.
    pub crossed: u64,
}

impl BookStats {
    /// Symptoms that messages were lost or repeated on the way: zero on a whole feed.
    pub const fn symptoms(&self) -> u64 {
        self.unknown_references
            + self.duplicate_references
            + self.over_executions
            + self.over_cancels
            + self.wrong_locates
    }

    /// Counts all but [`Anomaly::Excess`], which executions and cancels count apart.
    pub(super) fn count(&mut self, anomaly: Anomaly) {
        match anomaly {
            Anomaly::Malformed => self.malformed += 1,
            Anomaly::UnknownType => self.unknown_types += 1,
            Anomaly::UnknownReference => self.unknown_references += 1,
            Anomaly::DuplicateReference => self.duplicate_references += 1,
            Anomaly::Excess => {}
            Anomaly::WrongLocate => self.wrong_locates += 1,
            Anomaly::WrongSymbol => self.wrong_symbols += 1,
            Anomaly::OverLimit => self.over_limits += 1,
        }
    }
}
