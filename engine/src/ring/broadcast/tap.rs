use zerocopy::IntoBytes;

use super::layout::{Record, Shared, index, record_bytes};
use crate::ring::words::{WORD_BYTES, load_words};
use crate::sync::{Ordering, fence};

/// The writer was faster than a tap: messages were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too slow: {skipped_bytes} bytes of the ring were overwritten before they were read")]
pub struct Overrun {
    /// Bytes of records skipped; the tap goes on with the newest message to come.
    pub skipped_bytes: u64,
}

/// Reads copies of messages without ever holding the writer.
#[derive(Debug)]
pub struct Tap {
    shared: Shared,
    copier: Copier,
}

impl Tap {
    pub(super) fn new(shared: Shared) -> Tap {
        let mut copier = Copier::new(&shared);
        copier.position = shared.tail().load(Ordering::Relaxed);
        Tap { shared, copier }
    }

    /// The next message, if there is one, copied.
    ///
    /// # Errors
    /// [`Overrun`], once each time the writer laps the tap.
    pub fn try_next(&mut self) -> Result<Option<&[u8]>, Overrun> {
        let (shared, copier) = (&self.shared, &mut self.copier);
        match copier.copy_next(shared, |position| shared.is_intact(position)) {
            Ok(None) => Ok(None),
            Ok(Some(len)) => Ok(Some(copier.copied(len))),
            Err(Overwritten) => {
                let tail = shared.tail().load(Ordering::Relaxed);
                let skipped_bytes = tail.saturating_sub(copier.position);
                copier.position = tail;
                Err(Overrun { skipped_bytes })
            }
        }
    }

    /// Bytes of records published and not copied yet.
    pub fn lag_bytes(&self) -> u64 {
        self.shared.tail().load(Ordering::Relaxed).saturating_sub(self.copier.position)
    }

    /// Whether the writer is gone, in order, and everything was read. A writer that was killed never says so.
    pub fn is_finished(&self) -> bool {
        let closed = self.shared.closed().load(Ordering::Relaxed) != 0;
        fence(Ordering::Acquire);
        closed && self.lag_bytes() == 0
    }
}

/// What was copied may be torn.
pub(super) struct Overwritten;

/// Copies records out of memory that may be overwritten meanwhile. Loads relaxed and fences, because that is what
/// read-only pages allow.
#[derive(Debug)]
pub(super) struct Copier {
    pub(super) position: u64,
    tail: u64,
    copy: Box<[u64]>,
}

impl Copier {
    pub(super) fn new(shared: &Shared) -> Copier {
        let words = shared.max_message_bytes().div_ceil(WORD_BYTES);
        Copier { position: 0, tail: 0, copy: vec![0; words].into_boxed_slice() }
    }

    /// Copies the next message, if there is one, and gives its length. `is_intact` says, after the copy, whether the
    /// record at a position was not touched before; it starts with an acquire fence.
    #[inline]
    pub(super) fn copy_next(
        &mut self,
        shared: &Shared,
        is_intact: impl Fn(u64) -> bool,
    ) -> Result<Option<usize>, Overwritten> {
        loop {
            if self.position >= self.tail {
                self.tail = shared.tail().load(Ordering::Relaxed);
                fence(Ordering::Acquire);
                if self.position >= self.tail {
                    return Ok(None);
                }
            }
            let data = shared.data();
            let at = index(data, self.position);
            let record = Record::decode(data[at].load(Ordering::Relaxed));
            let (message, bytes) = match record {
                // A length that cannot be was not written as one.
                Record::Message { len } => {
                    let words = len.div_ceil(WORD_BYTES);
                    let copy = self.copy.get_mut(..words).ok_or(Overwritten)?;
                    load_words(data.get(at + 1..at + 1 + words).ok_or(Overwritten)?, copy);
                    (Some(len), record_bytes(len))
                }
                Record::Padding { bytes } if shared.padding_bytes(at) == Some(bytes) => (None, bytes),
                Record::Padding { .. } => return Err(Overwritten),
            };
            if !is_intact(self.position) {
                return Err(Overwritten);
            }
            // Another process's tail may be anything.
            self.position = self.position.wrapping_add(bytes);
            if message.is_some() {
                return Ok(message);
            }
        }
    }

    /// The copy that [`Copier::copy_next`] just made.
    #[inline]
    pub(super) fn copied(&self, len: usize) -> &[u8] {
        &self.copy.as_bytes()[..len]
    }
}
