#![allow(unsafe_code)]

use super::NoSlot;
use super::layout::{Record, Shared, index, record_bytes, slot};
use super::seat::Seat;
use crate::ring::words::{Scratch, lend};
use crate::sync::Ordering;

/// Reads every message in place; the writer waits for it. Leaves the gate when dropped.
#[derive(Debug)]
pub struct Reader {
    seat: Seat,
    admitted: bool,
    /// Where the next record starts.
    position: u64,
    /// The ring's tail when last looked at.
    tail: u64,
    scratch: Scratch,
}

impl Reader {
    pub(super) fn join(shared: &Shared) -> Result<Reader, NoSlot> {
        let seat = Seat::take(shared, slot::READER_WAITING)?;
        Ok(Reader { seat, admitted: false, position: 0, tail: 0, scratch: Default::default() })
    }

    /// The next message, if there is one; the same until [`Reader::advance`].
    #[inline]
    pub fn peek(&mut self) -> Option<&[u8]> {
        let len = self.next_len()?;
        let data = self.seat.shared().data();
        let message = &data[index(data, self.position) + 1..];
        // SAFETY: as for `poll`.
        Some(unsafe { lend(message, len, &mut self.scratch) })
    }

    /// Steps over the next message, if there is one.
    ///
    /// Its room goes back to the writer with the next [`Reader::release`], when the reader finds the ring empty, or
    /// when an eighth of the ring was consumed.
    #[inline]
    pub fn advance(&mut self) {
        if let Some(len) = self.next_len() {
            self.position += record_bytes(len);
            self.seat.release_in_steps(self.position);
        }
    }

    /// Gives the room of all messages advanced over back to the writer now.
    #[inline]
    pub fn release(&mut self) {
        if self.admitted {
            self.seat.release(self.position);
        }
    }

    /// Hands up to `limit` messages to `on_message`, which takes each one by returning true, or stops before it by
    /// returning false. Releases what was taken and gives its number.
    #[inline]
    pub fn poll(&mut self, limit: usize, mut on_message: impl FnMut(&[u8]) -> bool) -> usize {
        let (mut taken, mut has_looked) = (0, false);
        'all: while taken < limit {
            if self.position >= self.tail {
                // One look is enough: each takes the tail's line from the writer, which then has to fetch it back.
                if has_looked || !self.look_again() {
                    break;
                }
                has_looked = true;
            }
            let (data, mut position) = (self.seat.shared().data(), self.position);
            let until = self.tail.min(self.seat.release_due());
            while position < until && taken < limit {
                let at = index(data, position);
                match Record::decode(data[at].load(Ordering::Relaxed)) {
                    Record::Padding { bytes } => position += bytes,
                    Record::Message { len } => {
                        // SAFETY: the record lies between our released position and the tail. Its stores
                        // happen-before the tail's, which we loaded with acquire. The writer stores here again only
                        // after it has acquired a position of ours beyond the record or the news that we left; both
                        // take `&mut self`, and so the end of this loan.
                        let message = unsafe { lend(&data[at + 1..], len, &mut self.scratch) };
                        if !on_message(message) {
                            break 'all;
                        }
                        position += record_bytes(len);
                        taken += 1;
                    }
                }
                self.position = position;
            }
            self.seat.release_in_steps(self.position);
        }
        self.release();
        taken
    }

    /// Bytes of records published and not consumed yet.
    pub fn lag_bytes(&mut self) -> u64 {
        if !self.is_admitted() {
            return 0;
        }
        self.tail = self.seat.shared().tail().load(Ordering::Acquire);
        self.tail.saturating_sub(self.position)
    }

    /// Whether the writer is gone and everything was consumed.
    pub fn is_finished(&mut self) -> bool {
        let closed = self.seat.shared().closed().load(Ordering::Acquire) != 0;
        closed && self.next_len().is_none()
    }

    /// Length of the message at `position`, after stepping over padding.
    #[inline]
    fn next_len(&mut self) -> Option<usize> {
        loop {
            if self.position >= self.tail && !self.look_again() {
                return None;
            }
            let data = self.seat.shared().data();
            match Record::decode(data[index(data, self.position)].load(Ordering::Relaxed)) {
                Record::Message { len } => return Some(len),
                Record::Padding { bytes } => self.position += bytes,
            }
        }
    }

    /// Looks at the shared tail; gives whether there is more.
    #[inline]
    fn look_again(&mut self) -> bool {
        if !self.is_admitted() {
            return false;
        }
        self.tail = self.seat.shared().tail().load(Ordering::Acquire);
        let more = self.tail > self.position;
        if !more {
            self.seat.release(self.position);
        }
        more
    }

    #[inline]
    fn is_admitted(&mut self) -> bool {
        self.admitted || self.enter()
    }

    #[cold]
    fn enter(&mut self) -> bool {
        self.admitted = self.seat.state() == slot::READER;
        if self.admitted {
            self.position = self.seat.admitted_at();
        }
        self.admitted
    }
}
