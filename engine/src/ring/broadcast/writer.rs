use std::ops::{Deref, DerefMut};

use zerocopy::IntoBytes;

use super::layout::{Record, Shared, intent_step, record_bytes, slot};
use crate::ring::words::{WORD_BYTES, store_bytes, store_words};
use crate::sync::{Arc, Ordering, fence};

/// Why nothing was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The slowest reader has not made room yet: try again later.
    #[error("the ring is full: its slowest reader has not made room yet")]
    Full,
    /// The message will never fit.
    #[error("a message of {len} bytes is too long for the ring, which takes {max}: make the ring larger")]
    TooLong {
        /// Bytes of the message.
        len: usize,
        /// [`Writer::max_message_bytes`].
        max: usize,
    },
}

/// The one writer of a ring. Dropping it tells the readers that nothing more comes.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// Where the next record goes.
    next: u64,
    /// What the readers know to be there.
    published: u64,
    /// No reader needs anything before this, less the capacity. Can be too low, never too high.
    limit: u64,
    /// What taps know may be overwritten: ahead of `next`, so that it is told rarely.
    intent: u64,
    roster: u64,
    full_total: u64,
    staging: Box<[u64]>,
}

/// Room found for a record: padding from `next` to `start`, the record from there to `end`.
#[derive(Clone, Copy, Debug)]
struct Room {
    start: u64,
    end: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Writer {
        let staging = vec![0; shared.max_message_bytes().div_ceil(WORD_BYTES)].into_boxed_slice();
        let limit = shared.capacity_bytes() as u64;
        Writer { shared, next: 0, published: 0, limit, intent: 0, roster: 0, full_total: 0, staging }
    }

    /// Claims room for a message of `len` bytes, to be written in place and committed.
    ///
    /// # Errors
    /// [`Refused::Full`], counted; [`Refused::TooLong`].
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Claim<'_>, Refused> {
        let room = self.find_room(len)?;
        Ok(Claim { writer: self, room, len, publish: true })
    }

    /// Publishes `message`: a claim, a copy and a commit in one, and cheaper.
    ///
    /// # Errors
    /// As [`Writer::try_claim`].
    #[inline]
    pub fn try_publish(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.append(message)?;
        self.publish();
        Ok(())
    }

    /// Starts a batch: what it commits becomes visible all at once, when the batch is dropped or the ring is full.
    pub fn batch(&mut self) -> Batch<'_> {
        Batch { writer: self }
    }

    /// Longest message that fits.
    pub fn max_message_bytes(&self) -> usize {
        self.shared.max_message_bytes()
    }

    /// Bytes of records the ring holds.
    pub fn capacity_bytes(&self) -> u64 {
        self.shared.capacity_bytes() as u64
    }

    /// How far the slowest reader or guest is behind, in bytes of records; 0 when there is none.
    pub fn slowest_lag_bytes(&self) -> u64 {
        self.next - self.slowest()
    }

    /// Evicts every guest that is at least `lag_bytes` behind and gives their number. Their room can be claimed at
    /// once.
    pub fn evict_lagging(&mut self, lag_bytes: u64) -> usize {
        let evicted = self.shared.slots().filter(|guest| {
            guest.state.load(Ordering::Relaxed) == slot::GUEST
                && self.next - guest.position.load(Ordering::Relaxed) >= lag_bytes
                && guest
                    .state
                    .compare_exchange(slot::GUEST, slot::EVICTED, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok()
        });
        let evicted = evicted.count();
        // Whoever sees what is overwritten from now on sees the eviction too.
        fence(Ordering::Release);
        evicted
    }

    /// How often a claim was refused because the ring was full.
    pub fn full_total(&self) -> u64 {
        self.full_total
    }

    #[inline]
    fn find_room(&mut self, len: usize) -> Result<Room, Refused> {
        if self.shared.roster().load(Ordering::Acquire) != self.roster {
            self.admit();
        }
        let max = self.staging.len() * WORD_BYTES;
        if len > max {
            return Err(Refused::TooLong { len, max });
        }
        let capacity = self.shared.capacity_bytes() as u64;
        let needed = record_bytes(len) as u64;
        let to_end = capacity - (self.next & (capacity - 1));
        let start = if needed > to_end { self.next + to_end } else { self.next };
        let room = Room { start, end: start + needed };
        if room.end > self.limit {
            self.limit = self.slowest() + capacity;
            if room.end > self.limit {
                self.full_total += 1;
                self.publish();
                return Err(Refused::Full);
            }
        }
        Ok(room)
    }

    /// Lets those in who asked, at the next record.
    #[cold]
    fn admit(&mut self) {
        self.roster = self.shared.roster().load(Ordering::Acquire);
        for waiting in self.shared.slots() {
            let state = waiting.state.load(Ordering::Acquire);
            let admitted = match state {
                slot::READER_WAITING => slot::READER,
                slot::GUEST_WAITING => slot::GUEST,
                _ => continue,
            };
            waiting.position.store(self.next, Ordering::Relaxed);
            // Fails when it has left again. `limit` holds for newcomers too: it is never beyond `next` and a capacity.
            let _ = waiting.state.compare_exchange(state, admitted, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// The lowest position that a reader or guest still needs.
    fn slowest(&self) -> u64 {
        let admitted = self.shared.slots().filter(|taken| {
            // Acquire: who left has read what it read before.
            matches!(taken.state.load(Ordering::Acquire), slot::READER | slot::GUEST)
        });
        admitted.map(|taken| taken.position.load(Ordering::Acquire)).fold(self.next, u64::min)
    }

    #[inline]
    fn append(&mut self, message: &[u8]) -> Result<(), Refused> {
        let room = self.find_room(message.len())?;
        let at = self.open_record(room, message.len());
        store_bytes(&self.shared.data()[at..], message);
        Ok(())
    }

    /// Writes the headers of the record, and of the padding before it, and gives the word where its message goes.
    #[inline]
    fn open_record(&mut self, room: Room, len: usize) -> usize {
        if room.end > self.intent {
            self.intent = room.end + intent_step(self.shared.capacity_bytes());
            self.shared.intent().store(self.intent, Ordering::Relaxed);
            fence(Ordering::Release);
        }
        let data = self.shared.data();
        if room.start != self.next {
            let padding = Record::Padding { bytes: (room.start - self.next) as usize };
            data[self.shared.index(self.next)].store(padding.encode(), Ordering::Relaxed);
        }
        let at = self.shared.index(room.start);
        data[at].store(Record::Message { len }.encode(), Ordering::Relaxed);
        self.next = room.end;
        at + 1
    }

    /// Makes everything committed visible.
    #[inline]
    fn publish(&mut self) {
        if self.published != self.next {
            self.published = self.next;
            self.shared.tail().store(self.next, Ordering::Release);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.closed().store(1, Ordering::Release);
    }
}

/// Messages that become visible together.
#[derive(Debug)]
pub struct Batch<'a> {
    writer: &'a mut Writer,
}

impl Batch<'_> {
    /// As [`Writer::try_claim`]; a commit is visible when the batch ends.
    ///
    /// # Errors
    /// As [`Writer::try_claim`]. A full ring makes what was committed visible, since readers have to consume it.
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Claim<'_>, Refused> {
        let room = self.writer.find_room(len)?;
        Ok(Claim { writer: self.writer, room, len, publish: false })
    }

    /// As [`Writer::try_publish`]; visible when the batch ends.
    ///
    /// # Errors
    /// As [`Batch::try_claim`].
    #[inline]
    pub fn try_publish(&mut self, message: &[u8]) -> Result<(), Refused> {
        self.writer.append(message)
    }
}

impl Drop for Batch<'_> {
    #[inline]
    fn drop(&mut self) {
        self.writer.publish();
    }
}

/// Room for one message, as bytes to write: at first whatever an earlier claim left there. Dropping it takes the
/// claim back.
#[derive(Debug)]
#[must_use = "a claim that is not committed is taken back"]
pub struct Claim<'a> {
    writer: &'a mut Writer,
    room: Room,
    len: usize,
    publish: bool,
}

impl Claim<'_> {
    /// Appends the message to the ring.
    #[inline]
    pub fn commit(self) {
        let at = self.writer.open_record(self.room, self.len);
        let words = self.len.div_ceil(WORD_BYTES);
        store_words(&self.writer.shared.data()[at..], &self.writer.staging[..words]);
        if self.publish {
            self.writer.publish();
        }
    }
}

impl Deref for Claim<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.writer.staging.as_bytes()[..self.len]
    }
}

impl DerefMut for Claim<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.writer.staging.as_mut_bytes()[..self.len]
    }
}
