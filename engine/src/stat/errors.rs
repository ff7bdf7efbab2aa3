//! Distinct errors: each text once, with its count and its first and last time.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::counters::Counters;
use super::layout::{ERROR_COUNT, ERROR_FIRST, ERROR_LAST, Layout, TEXT_BYTES, Word, read_text, write_text};

const FULL: &str = "further errors: no room for their texts";

/// Records errors that people must see. Clones record into the same place.
///
/// Not for what happens with every bad datagram: that is counted. Recording takes a lock and compares texts, so texts
/// should not hold numbers that differ each time.
#[derive(Clone, Debug)]
pub struct Errors {
    counters: Counters,
}

impl Errors {
    pub(super) fn new(counters: Counters) -> Errors {
        Errors { counters }
    }

    /// Counts the error `text` at the time `wall_ns` (wall clock, ns since the Unix epoch), and gives whether it is a
    /// new one. The last place is for all errors that find no room; a text that is too long is cut.
    pub fn record(&self, wall_ns: u64, text: &str) -> bool {
        let layout = self.counters.layout();
        if layout.errors == 0 {
            return false;
        }
        let words = self.counters.words();
        // A poisoned lock: at worst the thread that held it has lost its own record.
        let _recording = self.counters.recording().lock().unwrap_or_else(PoisonError::into_inner);
        let last = layout.errors - 1;
        let text = cut(text);
        let known = texts(words, layout).position(|known| known == text);
        let taken = texts(words, layout).count();
        let index = known.unwrap_or(taken.min(last));
        let error = &words[layout.error_at(index)..];
        let is_new = index == taken;
        if is_new {
            error[ERROR_FIRST].store(wall_ns, Ordering::Relaxed);
        }
        error[ERROR_LAST].store(wall_ns, Ordering::Relaxed);
        error[ERROR_COUNT].store(error[ERROR_COUNT].value() + 1, Ordering::Relaxed);
        if is_new {
            let text = if index == last { FULL } else { text };
            write_text(error, text);
        }
        is_new
    }

    /// All errors so far, in the order of their first time.
    pub fn readings(&self) -> Vec<ErrorReading> {
        read_errors(self.counters.words(), self.counters.layout())
    }
}

/// A distinct error as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReading {
    /// What went wrong.
    pub text: String,
    /// How often.
    pub count: u64,
    /// First time: wall clock, ns since the Unix epoch.
    pub first_ns: u64,
    /// Last time.
    pub last_ns: u64,
}

impl fmt::Display for ErrorReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ErrorReading { text, count, first_ns, last_ns } = self;
        let seconds = last_ns.saturating_sub(*first_ns) as f64 / 1e9;
        match count {
            1 => write!(f, "{text} (once)"),
            _ => write!(f, "{text} ({count} times within {seconds:.3} s)"),
        }
    }
}

fn texts<'a, W: Word>(words: &'a [W], layout: &'a Layout) -> impl Iterator<Item = String> + 'a {
    (0..layout.errors).map_while(|index| read_text(&words[layout.error_at(index)..], TEXT_BYTES))
}

pub(super) fn read_errors<W: Word>(words: &[W], layout: &Layout) -> Vec<ErrorReading> {
    texts(words, layout)
        .enumerate()
        .map(|(index, text)| {
            let error = &words[layout.error_at(index)..];
            let [count, first_ns, last_ns] =
                [ERROR_COUNT, ERROR_FIRST, ERROR_LAST].map(|at| error[at].value());
            ErrorReading { text, count, first_ns, last_ns }
        })
        .collect()
}

/// The start of `text` that fits, in whole characters; something visible in place of nothing.
fn cut(text: &str) -> &str {
    let end =
        text.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|&end| end <= TEXT_BYTES).last();
    match &text[..end.unwrap_or(0)] {
        "" => "unknown error",
        text => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stat::{CountersReader, CountersSpec};
    use std::thread;

    fn errors(room: usize) -> Errors {
        Counters::anonymous("test", CountersSpec { counters: 1, errors: room }).unwrap().errors()
    }

    #[test]
    fn equal_errors_are_one_with_a_count() {
        let errors = errors(4);
        assert!(errors.record(1_000_000_000, "no route to host"));
        assert!(errors.record(2_000_000_000, "disk full"));
        assert!(!errors.clone().record(3_500_000_000, "no route to host"));
        let printed: Vec<String> = errors.readings().iter().map(ErrorReading::to_string).collect();
        assert_eq!(printed, ["no route to host (2 times within 2.500 s)", "disk full (once)"]);
    }

    #[test]
    fn errors_without_room_are_counted_together() {
        let errors = errors(3);
        for (at, text) in ["a", "b", "c", "d", "a", "c"].into_iter().enumerate() {
            errors.record(at as u64, text);
        }
        let reading = |text: &str, count, first_ns, last_ns| ErrorReading {
            text: text.into(),
            count,
            first_ns,
            last_ns,
        };
        assert_eq!(errors.readings(), [reading("a", 2, 0, 4), reading("b", 1, 1, 1), reading(FULL, 3, 2, 5)]);
    }

    #[test]
    fn long_and_empty_texts_are_made_to_fit() {
        let errors = errors(4);
        let long = "ä".repeat(TEXT_BYTES);
        errors.record(1, &long);
        errors.record(2, &long);
        errors.record(3, "");
        let readings = errors.readings();
        assert_eq!(readings[0].text, "ä".repeat(TEXT_BYTES / 2));
        assert_eq!((readings[0].count, readings[1].text.as_str()), (2, "unknown error"));
        assert!(!self::errors(0).record(1, "nowhere to go"));
    }

    #[test]
    fn another_process_reads_them_while_threads_record() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counters");
        let counters = Counters::create(&path, "test", CountersSpec::default(), 0).unwrap();
        let reader = CountersReader::open(&path).unwrap();
        thread::scope(|scope| {
            for _ in 0..4 {
                let errors = counters.errors();
                scope.spawn(move || {
                    for at in 0..100 {
                        errors.record(at, &format!("error {}", at % 10));
                    }
                });
            }
            for _ in 0..100 {
                let known = |error: &ErrorReading| error.text.starts_with("error ") && error.text.len() == 7;
                assert!(reader.errors().iter().all(known), "texts are whole at any time");
            }
        });
        let readings = reader.errors();
        assert_eq!(readings.len(), 10);
        assert!(readings.iter().all(|error| error.count == 40), "{readings:?}");
    }
}
