//! The books' counters as they are printed.

use seqcast_engine::book::BookStats;
use serde::Serialize;

/// A digest as it is printed: sixteen hexadecimal digits.
pub(crate) fn hex_digest(digest: u64) -> String {
    format!("{digest:016x}")
}

/// [`BookStats`] but for the messages, which are counted elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct BookCounts {
    malformed: u64,
    unknown_types: u64,
    unknown_references: u64,
    duplicate_references: u64,
    over_executions: u64,
    over_cancels: u64,
    wrong_locates: u64,
    wrong_symbols: u64,
    over_limits: u64,
    locked: u64,
    crossed: u64,
}

impl From<&BookStats> for BookCounts {
    fn from(stats: &BookStats) -> BookCounts {
        BookCounts {
            malformed: stats.malformed,
            unknown_types: stats.unknown_types,
            unknown_references: stats.unknown_references,
            duplicate_references: stats.duplicate_references,
            over_executions: stats.over_executions,
            over_cancels: stats.over_cancels,
            wrong_locates: stats.wrong_locates,
            wrong_symbols: stats.wrong_symbols,
            over_limits: stats.over_limits,
            locked: stats.locked,
            crossed: stats.crossed,
        }
    }
}
