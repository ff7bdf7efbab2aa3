//! How counters and errors stand in mapped memory: 64-bit words in the byte order of the host, read by tools on the
//! same host.
//!
//! | words | what |
//! |---|---|
//! | 16 | header: magic, version, number of counters, number of errors, process, start (wall clock, ns), name |
//! | 16 for each counter | label |
//! | 16 for each counter | value, on cache lines of its own: agents on different cores do not slow each other |
//! | 64 for each error | text, then count, first and last time (wall clock, ns) |
//!
//! A text is a length and the bytes. It is written once, the length last: a reader that sees a length sees the text.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::mem::ViewWord;

/// Longest name of a process.
pub const NAME_BYTES: usize = 64;
/// Longest label of a counter.
pub const LABEL_BYTES: usize = 120;
/// Longest text of an error; longer ones are cut.
pub(super) const TEXT_BYTES: usize = 480;

/// "seqcast" and a zero, as it stands in memory.
pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"seqcast\0");
pub(super) const VERSION: u64 = 1;

const WORD_BYTES: usize = 8;
const HEADER_WORDS: usize = 16;
const LABEL_WORDS: usize = 16;
const VALUE_WORDS: usize = 16;
const ERROR_WORDS: usize = 64;

pub(super) const MAGIC_AT: usize = 0;
pub(super) const VERSION_AT: usize = 1;
pub(super) const COUNTERS_AT: usize = 2;
pub(super) const ERRORS_AT: usize = 3;
pub(super) const PROCESS_AT: usize = 4;
pub(super) const STARTED_AT: usize = 5;
pub(super) const NAME_AT: usize = 6;

pub(super) const ERROR_COUNT: usize = 1 + TEXT_BYTES / WORD_BYTES;
pub(super) const ERROR_FIRST: usize = ERROR_COUNT + 1;
pub(super) const ERROR_LAST: usize = ERROR_COUNT + 2;

const _: () = assert!(NAME_AT + 1 + NAME_BYTES / WORD_BYTES <= HEADER_WORDS);
const _: () = assert!(1 + LABEL_BYTES / WORD_BYTES == LABEL_WORDS);
const _: () = assert!(ERROR_LAST < ERROR_WORDS);

/// How many counters and errors there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) counters: usize,
    pub(super) errors: usize,
}

impl Layout {
    /// The layout that a header promises, unless it promises more than `words` have room for.
    pub(super) fn of(counters: u64, errors: u64, words: usize) -> Option<Layout> {
        let layout =
            Layout { counters: usize::try_from(counters).ok()?, errors: usize::try_from(errors).ok()? };
        let needed = layout
            .counters
            .checked_mul(LABEL_WORDS + VALUE_WORDS)?
            .checked_add(layout.errors.checked_mul(ERROR_WORDS)?)?
            .checked_add(HEADER_WORDS)?;
        (needed <= words).then_some(layout)
    }

    pub(super) const fn len_bytes(&self) -> usize {
        self.error_at(self.errors) * WORD_BYTES
    }

    pub(super) const fn label_at(&self, index: usize) -> usize {
        HEADER_WORDS + index * LABEL_WORDS
    }

    pub(super) const fn value_at(&self, index: usize) -> usize {
        self.label_at(self.counters) + index * VALUE_WORDS
    }

    pub(super) const fn error_at(&self, index: usize) -> usize {
        self.value_at(self.counters) + index * ERROR_WORDS
    }
}

/// A word of this process's memory or of another's.
pub(super) trait Word {
    fn value(&self) -> u64;
}

impl Word for AtomicU64 {
    fn value(&self) -> u64 {
        self.load(Ordering::Relaxed)
    }
}

impl Word for ViewWord {
    fn value(&self) -> u64 {
        self.load()
    }
}

/// Writes `text` at the start of `words`, its length last. The caller has checked that it fits.
pub(super) fn write_text(words: &[AtomicU64], text: &str) {
    for (word, bytes) in words[1..].iter().zip(text.as_bytes().chunks(WORD_BYTES)) {
        let mut padded = [0; WORD_BYTES];
        padded[..bytes.len()].copy_from_slice(bytes);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
    words[0].store(text.len() as u64, Ordering::Release);
}

/// Reads a text of at most `max_bytes` at the start of `words`; none when nothing is written there (yet). Whatever
/// the bytes are, it gives some text: the file may be another process's.
pub(super) fn read_text(words: &[impl Word], max_bytes: usize) -> Option<String> {
    let len = usize::try_from(words[0].value()).unwrap_or(usize::MAX).min(max_bytes);
    fence(Ordering::Acquire);
    let words = words[1..].iter().take(len.div_ceil(WORD_BYTES));
    let mut bytes: Vec<u8> = words.flat_map(|word| word.value().to_ne_bytes()).collect();
    bytes.truncate(len);
    (len > 0).then(|| String::from_utf8_lossy(&bytes).into_owned())
}
