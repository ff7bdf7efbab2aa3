use super::layout::{INTENT_SHARE, Record, Shared, index, record_bytes, slot};
use crate::ring::words::{By, WORD_BYTES, store_bytes, store_record};
use crate::sync::{AtomicU64, Ordering, fence};

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
    shared: Shared,
    cursor: Cursor,
    /// A capacity past what the slowest reader still needed when last looked at, so never past `next` and a capacity.
    limit: u64,
    /// What taps know may be overwritten.
    intent: u64,
    roster: u64,
    full_total: u64,
    max_message_bytes: usize,
}

/// What changes with every message. Whoever writes many has a copy, in registers: a store to the writer between two
/// messages costs as much as a message.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Where the next record goes.
    next: u64,
    /// A record that ends by here has room: before the end of the data, past no reader, and announced to taps.
    granted: u64,
}

impl Cursor {
    #[inline(always)]
    fn takes(&self, len: usize) -> bool {
        self.next + record_bytes(len) <= self.granted
    }
}

impl Writer {
    pub(super) fn new(shared: Shared) -> Writer {
        Writer {
            cursor: Cursor { next: 0, granted: 0 },
            limit: shared.capacity_bytes(),
            intent: 0,
            roster: 0,
            full_total: 0,
            max_message_bytes: shared.max_message_bytes(),
            shared,
        }
    }

    /// Claims room for a message of `len` bytes, to be written there and committed.
    ///
    /// # Errors
    /// [`Refused::Full`], counted; [`Refused::TooLong`].
    #[inline]
    pub fn try_claim(&mut self, len: usize) -> Result<Claim<'_>, Refused> {
        if !self.has_room(len) {
            return Err(self.refusal(len));
        }
        Ok(claim(&self.shared, len, &mut self.cursor.next, Commit::Publishes))
    }

    /// Publishes `message`: a claim, a write and a commit in one.
    ///
    /// # Errors
    /// As [`Writer::try_claim`].
    #[inline]
    pub fn try_publish(&mut self, message: &[u8]) -> Result<(), Refused> {
        if !self.has_room(message.len()) {
            return Err(self.refusal(message.len()));
        }
        // Published here and not by the commit: with the tail in the claim this measured slower.
        let mut claim = claim(&self.shared, message.len(), &mut self.cursor.next, Commit::Waits);
        claim.begin(message, By::Words);
        claim.commit();
        self.publish();
        Ok(())
    }

    /// Starts a batch: what it commits becomes visible all at once, when the batch is dropped or the ring is full.
    #[inline(always)]
    pub fn batch(&mut self) -> Batch<'_> {
        Batch { from: self.cursor.next, cursor: self.cursor, writer: self }
    }

    /// Longest message that fits.
    pub fn max_message_bytes(&self) -> usize {
        self.max_message_bytes
    }

    /// Bytes of records the ring holds.
    pub fn capacity_bytes(&self) -> u64 {
        self.shared.capacity_bytes()
    }

    /// How far the slowest reader or guest is behind, in bytes of records; 0 when there is none.
    pub fn slowest_lag_bytes(&self) -> u64 {
        self.cursor.next - self.slowest()
    }

    /// Evicts every guest that is at least `lag_bytes` behind and gives their number. Their room can be claimed at
    /// once.
    pub fn evict_lagging(&mut self, lag_bytes: u64) -> usize {
        let evicted = self.shared.slots().filter(|guest| {
            guest.state.load(Ordering::Relaxed) == slot::GUEST
                && self.cursor.next - guest.position.load(Ordering::Relaxed) >= lag_bytes
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

    // What follows is inlined always: in a call of its own, the writer stores registers beside its messages, and how
    // many stores wait for lines that readers have is what bounds it.

    /// Whether the record of a message of `len` bytes can be written at the cursor, having made room if need be.
    #[inline(always)]
    fn has_room(&mut self, len: usize) -> bool {
        if self.shared.roster().load(Ordering::Acquire) != self.roster {
            self.admit();
        }
        len <= self.max_message_bytes && (self.cursor.takes(len) || self.make_room(record_bytes(len)))
    }

    #[cold]
    fn refusal(&self, len: usize) -> Refused {
        let max = self.max_message_bytes;
        if len > max { Refused::TooLong { len, max } } else { Refused::Full }
    }

    /// The rare part: looks at the readers, announces what will be overwritten, goes round the end of the data.
    #[inline(never)]
    fn make_room(&mut self, needed: u64) -> bool {
        let capacity = self.shared.capacity_bytes();
        let lap_end = |position| (position | (capacity - 1)) + 1;
        let fits = self.cursor.next + needed <= lap_end(self.cursor.next);
        let start = if fits { self.cursor.next } else { lap_end(self.cursor.next) };
        let end = start + needed;
        if end > self.limit {
            self.limit = self.slowest() + capacity;
            if end > self.limit {
                self.full_total += 1;
                if self.shared.tail().load(Ordering::Relaxed) != self.cursor.next {
                    self.publish();
                }
                return false;
            }
        }
        if end > self.intent {
            self.intent = end + capacity / INTENT_SHARE;
            self.shared.intent().store(self.intent, Ordering::Relaxed);
            fence(Ordering::Release);
        }
        if !fits {
            let padding = Record::Padding { bytes: start - self.cursor.next };
            let data = self.shared.data();
            data[index(data, self.cursor.next)].store(padding.encode(), Ordering::Relaxed);
            self.cursor.next = start;
        }
        self.cursor.granted = lap_end(start).min(self.limit).min(self.intent);
        true
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
            waiting.position.store(self.cursor.next, Ordering::Relaxed);
            // Fails when it has left again. `limit` holds for newcomers too.
            let _ = waiting.state.compare_exchange(state, admitted, Ordering::Release, Ordering::Relaxed);
        }
    }

    /// The lowest position that a reader or guest still needs.
    fn slowest(&self) -> u64 {
        let admitted = self.shared.slots().filter(|taken| {
            // Acquire: who left has read what it read before.
            matches!(taken.state.load(Ordering::Acquire), slot::READER | slot::GUEST)
        });
        admitted.map(|taken| taken.position.load(Ordering::Acquire)).fold(self.cursor.next, u64::min)
    }

    /// Makes everything committed visible.
    #[inline]
    fn publish(&mut self) {
        self.shared.tail().store(self.cursor.next, Ordering::Release);
    }
}

/// The claim of a message of `len` bytes for which there is room at `next`.
#[inline(always)]
fn claim<'a>(shared: &'a Shared, len: usize, next: &'a mut u64, commit: Commit) -> Claim<'a> {
    let data = shared.data();
    let record = &data[index(data, *next)..][..1 + len.div_ceil(WORD_BYTES)];
    Claim { record, len, written: 0, next, tail: shared.tail(), commit }
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
    from: u64,
    cursor: Cursor,
}

impl Batch<'_> {
    /// As [`Writer::try_claim`]; a commit is visible when the batch ends.
    ///
    /// # Errors
    /// As [`Writer::try_claim`]. A full ring makes what was committed visible, since readers have to consume it.
    #[inline(always)]
    pub fn try_claim(&mut self, len: usize) -> Result<Claim<'_>, Refused> {
        if !self.has_room(len) {
            return Err(self.writer.refusal(len));
        }
        Ok(claim(&self.writer.shared, len, &mut self.cursor.next, Commit::Waits))
    }

    /// As [`Writer::try_publish`]; visible when the batch ends.
    ///
    /// # Errors
    /// As [`Batch::try_claim`].
    #[inline(always)]
    pub fn try_publish(&mut self, message: &[u8]) -> Result<(), Refused> {
        let mut claim = self.try_claim(message.len())?;
        claim.begin(message, By::Pairs);
        claim.commit();
        Ok(())
    }

    /// As [`Writer::has_room`], which is asked only when the cursor cannot tell.
    #[inline(always)]
    fn has_room(&mut self, len: usize) -> bool {
        let is_roster_known = self.writer.shared.roster().load(Ordering::Acquire) == self.writer.roster;
        if is_roster_known && len <= self.writer.max_message_bytes && self.cursor.takes(len) {
            return true;
        }
        self.writer.cursor = self.cursor;
        let has_room = self.writer.has_room(len);
        self.cursor = self.writer.cursor;
        has_room
    }
}

impl Drop for Batch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.writer.cursor = self.cursor;
        if self.cursor.next != self.from {
            self.writer.publish();
        }
    }
}

/// Room for one message, to be written from its beginning to its end. Dropping it takes the claim back.
#[derive(Debug)]
#[must_use = "a claim that is not committed is taken back"]
pub struct Claim<'a> {
    /// The header's word and the message's.
    record: &'a [AtomicU64],
    len: usize,
    written: usize,
    /// The writer's.
    next: &'a mut u64,
    tail: &'a AtomicU64,
    commit: Commit,
}

/// What the commit of a claim does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    /// Makes the message visible.
    Publishes,
    /// Leaves that to the end of the batch.
    Waits,
}

impl Claim<'_> {
    /// Writes the next bytes of the message.
    ///
    /// # Panics
    /// When there are more of them than were claimed.
    #[inline(always)]
    pub fn write(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.len - self.written, "more is written than was claimed");
        if self.written == 0 {
            return self.begin(bytes, self.by());
        }
        let words = &self.record[1 + self.written / WORD_BYTES..];
        match self.written % WORD_BYTES {
            0 => store_bytes(words, bytes, self.by()),
            begun => go_on(words, begun, bytes),
        }
        self.written += bytes.len();
    }

    /// Stores the header and the first bytes of the message, in this order: each time that stores go to another line of
    /// those that readers have costs as much as the line.
    #[inline(always)]
    fn begin(&mut self, bytes: &[u8], by: By) {
        store_record(self.record, Record::Message { len: self.len }.encode(), bytes, by);
        self.written = bytes.len();
    }

    /// The store of the tail, among pairs, would cost what single words among pairs cost.
    #[inline(always)]
    fn by(&self) -> By {
        match self.commit {
            Commit::Publishes => By::Words,
            Commit::Waits => By::Pairs,
        }
    }

    /// Appends the message to the ring. What was not written of it is zeros.
    #[inline(always)]
    pub fn commit(mut self) {
        if self.written == 0 {
            self.begin(&[], By::Words);
        }
        for word in &self.record[1 + self.written.div_ceil(WORD_BYTES)..] {
            word.store(0, Ordering::Relaxed);
        }
        *self.next += record_bytes(self.len);
        if self.commit == Commit::Publishes {
            self.tail.store(*self.next, Ordering::Release);
        }
    }
}

/// Copies `bytes` into `words`, the first of which holds `begun` bytes before them.
#[cold]
fn go_on(words: &[AtomicU64], begun: usize, bytes: &[u8]) {
    let (first, rest) = bytes.split_at(bytes.len().min(WORD_BYTES - begun));
    let mut word = words[0].load(Ordering::Relaxed).to_ne_bytes();
    word[begun..][..first.len()].copy_from_slice(first);
    words[0].store(u64::from_ne_bytes(word), Ordering::Relaxed);
    store_bytes(&words[1..], rest, By::Words);
}
