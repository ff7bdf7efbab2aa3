//! Where things stand in a ring's memory, and what each word means.
//!
//! Words of 8 bytes, in groups of [`LINE_WORDS`] so that words with different writers never share a cache line (nor a
//! pair of lines, which processors fetch together):
//!
//! | group | words | written by |
//! |---|---|---|
//! | 0 | magic, version, capacity, most readers | the creator, once; the magic last |
//! | 1 | `TAIL`: everything before this position may be read | the writer |
//! | 2 | `INTENT`: the writer may be overwriting up to here | the writer |
//! | 3 | `ROSTER`: how often someone asked to join; `CLOSED` | subscribers; the writer |
//! | 4 + i | slot i: state, position | its reader; the writer admits and evicts |
//! | then | the data | the writer |
//!
//! A **position** counts bytes from the ring's start and never wraps; modulo the capacity it is a place in the data.
//! A **record** is a header word, the message, and zeros to the next multiple of 8. A record never wraps: where one
//! does not fit before the end, a padding record fills the rest.
#![allow(unsafe_code)]

use super::{AttachError, CreateError, RingSpec};
use crate::limits::{MAX_RING_MESSAGE_BYTES, MAX_RING_READERS};
use crate::mem::{Region, RegionView};
use crate::ring::words::{WORD_BYTES, Words};
use crate::sync::{AtomicU64, Ordering, fence};

const MAGIC: u64 = u64::from_le_bytes(*b"SeqcRing");
const VERSION: u64 = 1;

/// Models have room for few words.
pub(super) const LINE_WORDS: usize = if cfg!(loom) { 4 } else { 16 };
pub(super) const MIN_CAPACITY_BYTES: usize = if cfg!(loom) { 32 } else { 4096 };
const MAX_CAPACITY_BYTES: usize = 1 << 40;
/// A message takes at most this share of the ring, so that padding wastes little of it.
const MESSAGE_SHARE: usize = if cfg!(loom) { 2 } else { 8 };

const VERSION_AT: usize = 1;
const CAPACITY_AT: usize = 2;
const READERS_AT: usize = 3;
const TAIL_AT: usize = LINE_WORDS;
const INTENT_AT: usize = 2 * LINE_WORDS;
const ROSTER_AT: usize = 3 * LINE_WORDS;
const CLOSED_AT: usize = 3 * LINE_WORDS + 1;
const SLOTS_AT: usize = 4 * LINE_WORDS;

/// State of a slot. Only the writer goes from waiting to admitted and from `GUEST` to `EVICTED`.
pub(super) mod slot {
    pub(in super::super) const FREE: u64 = 0;
    pub(in super::super) const READER_WAITING: u64 = 1;
    pub(in super::super) const READER: u64 = 2;
    pub(in super::super) const GUEST_WAITING: u64 = 3;
    pub(in super::super) const GUEST: u64 = 4;
    pub(in super::super) const EVICTED: u64 = 5;
}

pub(super) struct Slot<'a> {
    pub(super) state: &'a AtomicU64,
    pub(super) position: &'a AtomicU64,
}

/// What a record's header word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Message { len: usize },
    Padding { bytes: u64 },
}

const PADDING_BIT: u64 = 1 << 63;

impl Record {
    #[inline]
    pub(super) fn decode(word: u64) -> Record {
        if word & PADDING_BIT == 0 {
            Record::Message { len: word as usize }
        } else {
            Record::Padding { bytes: word & !PADDING_BIT }
        }
    }

    #[inline]
    pub(super) fn encode(self) -> u64 {
        match self {
            Record::Message { len } => len as u64,
            Record::Padding { bytes } => bytes | PADDING_BIT,
        }
    }
}

/// Which of a ring's words stands at `position`.
#[inline]
pub(super) fn index(data: &[AtomicU64], position: u64) -> usize {
    (position as usize / WORD_BYTES) & (data.len() - 1)
}

/// Bytes that the record of a message of `len` bytes takes.
#[inline]
pub(super) const fn record_bytes(len: usize) -> u64 {
    const WORD: u64 = WORD_BYTES as u64;
    WORD + ((len as u64 + WORD - 1) & !(WORD - 1))
}

pub(super) const fn region_bytes(spec: &RingSpec) -> usize {
    control_words(spec.max_readers) * WORD_BYTES + spec.capacity_bytes
}

const fn control_words(max_readers: usize) -> usize {
    SLOTS_AT + max_readers * LINE_WORDS
}

/// `INTENT` is raised this share of the ring ahead of need: enough to do it rarely, little enough to leave taps most of the ring. Two
/// longest messages, padding and this still fit the ring, or the newest message would look overwritten to a tap.
pub(super) const INTENT_SHARE: u64 = if cfg!(loom) { 2 } else { 16 };

pub(super) const fn max_message_bytes(capacity_bytes: usize) -> usize {
    let share = capacity_bytes / MESSAGE_SHARE - WORD_BYTES;
    if share < MAX_RING_MESSAGE_BYTES { share } else { MAX_RING_MESSAGE_BYTES }
}

/// A ring's memory, laid out; clones are the same ring. Everyone has one of their own, so that a message costs no way
/// over another pointer.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    /// [`SLOTS_AT`] words at least.
    control: Words,
    data: Words,
    max_readers: usize,
}

impl Shared {
    pub(super) fn create(spec: &RingSpec, region: Region) -> Result<Shared, CreateError> {
        check(spec)?;
        if !region.is_exclusive() {
            return Err(CreateError::Writable);
        }
        let (needed_bytes, actual_bytes) = (region_bytes(spec), region.len_bytes());
        if actual_bytes < needed_bytes {
            return Err(CreateError::TooSmall { needed_bytes, actual_bytes });
        }
        let shared = Shared::over(&Words::of_region(region), spec);
        let control = shared.control.as_slice();
        control[VERSION_AT].store(VERSION, Ordering::Relaxed);
        control[CAPACITY_AT].store(spec.capacity_bytes as u64, Ordering::Relaxed);
        control[READERS_AT].store(spec.max_readers as u64, Ordering::Relaxed);
        control[0].store(MAGIC, Ordering::Release);
        Ok(shared)
    }

    /// Takes another process's word for nothing: what it says is checked here, and bounds are checked ever after.
    pub(super) fn attach(view: RegionView) -> Result<Shared, AttachError> {
        let words = view.words();
        if words.len() < SLOTS_AT || words[0].load() != MAGIC {
            return Err(AttachError::NoRing);
        }
        fence(Ordering::Acquire);
        let version = words[VERSION_AT].load();
        if version != VERSION {
            return Err(AttachError::Version { found: version, known: VERSION });
        }
        let spec = RingSpec {
            capacity_bytes: usize::try_from(words[CAPACITY_AT].load()).unwrap_or(usize::MAX),
            max_readers: usize::try_from(words[READERS_AT].load()).unwrap_or(usize::MAX),
        };
        check(&spec).map_err(|_| AttachError::NoRing)?;
        if view.len_bytes() < region_bytes(&spec) {
            return Err(AttachError::NoRing);
        }
        Ok(Shared::over(&Words::of_view(view), &spec))
    }

    fn over(words: &Words, spec: &RingSpec) -> Shared {
        let control_words = control_words(spec.max_readers);
        Shared {
            control: words.part(0, control_words),
            data: words.part(control_words, spec.capacity_bytes / WORD_BYTES),
            max_readers: spec.max_readers,
        }
    }

    #[inline]
    pub(super) fn capacity_bytes(&self) -> u64 {
        (self.data().len() * WORD_BYTES) as u64
    }

    pub(super) fn max_readers(&self) -> usize {
        self.max_readers
    }

    pub(super) fn max_message_bytes(&self) -> usize {
        max_message_bytes(self.data().len() * WORD_BYTES)
    }

    #[inline]
    pub(super) fn tail(&self) -> &AtomicU64 {
        self.one(TAIL_AT)
    }

    #[inline]
    pub(super) fn intent(&self) -> &AtomicU64 {
        self.one(INTENT_AT)
    }

    #[inline]
    pub(super) fn roster(&self) -> &AtomicU64 {
        self.one(ROSTER_AT)
    }

    pub(super) fn closed(&self) -> &AtomicU64 {
        self.one(CLOSED_AT)
    }

    /// A word that every ring has.
    #[inline(always)]
    fn one(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at < SLOTS_AT);
        // SAFETY: `over` makes no `control` with less than SLOTS_AT words, and only the four above call this.
        unsafe { self.control.as_slice().get_unchecked(at) }
    }

    pub(super) fn slot(&self, index: usize) -> Slot<'_> {
        let at = SLOTS_AT + index * LINE_WORDS;
        let words = self.control.as_slice();
        Slot { state: &words[at], position: &words[at + 1] }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = Slot<'_>> {
        (0..self.max_readers).map(|index| self.slot(index))
    }

    /// The words of the records. Keep what this gives in a local variable: stores to the ring make the compiler load
    /// everything again that it finds behind a pointer.
    #[inline]
    pub(super) fn data(&self) -> &[AtomicU64] {
        self.data.as_slice()
    }

    /// What a padding record at word `at` says, if there can be one: only where a record would not fit.
    pub(super) fn padding_bytes(&self, at: usize) -> Option<u64> {
        let to_end = self.capacity_bytes() - (at * WORD_BYTES) as u64;
        (to_end < record_bytes(self.max_message_bytes())).then_some(to_end)
    }

    /// Whether the record at `position` was still whole when everything loaded so far was loaded.
    ///
    /// The writer raises `INTENT` before it overwrites, with a release fence between; so if any load so far saw an
    /// overwritten word, the load after this acquire fence sees the raised intent.
    #[inline]
    pub(super) fn is_intact(&self, position: u64) -> bool {
        fence(Ordering::Acquire);
        self.intent().load(Ordering::Relaxed) <= position.wrapping_add(self.capacity_bytes())
    }
}

fn check(spec: &RingSpec) -> Result<(), CreateError> {
    let capacity = spec.capacity_bytes;
    if !capacity.is_power_of_two() || !(MIN_CAPACITY_BYTES..=MAX_CAPACITY_BYTES).contains(&capacity) {
        return Err(CreateError::Capacity { capacity_bytes: capacity });
    }
    if spec.max_readers > MAX_RING_READERS {
        return Err(CreateError::Readers { max_readers: spec.max_readers });
    }
    Ok(())
}
