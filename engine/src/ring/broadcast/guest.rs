use super::NoSlot;
use super::layout::{Shared, slot};
use super::seat::Seat;
use super::tap::{Copier, Overwritten};
use crate::sync::{Ordering, fence};

/// The writer did not wait any longer; this guest gets nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("evicted: the reader was too slow for the ring")]
pub struct Evicted;

/// Reads copies of messages; the writer waits for it until it evicts it
/// ([`Writer::evict_lagging`](super::Writer::evict_lagging)). Leaves the gate when dropped.
#[derive(Debug)]
pub struct Guest {
    seat: Seat,
    copier: Copier,
    admitted: bool,
}

impl Guest {
    pub(super) fn join(shared: &Shared) -> Result<Guest, NoSlot> {
        let seat = Seat::take(shared, slot::GUEST_WAITING)?;
        Ok(Guest { seat, copier: Copier::new(shared), admitted: false })
    }

    /// The next message, if there is one, copied. Its room goes back to the writer as with
    /// [`Reader::advance`](super::Reader::advance).
    ///
    /// # Errors
    /// [`Evicted`], from the eviction on, whatever was left to read.
    pub fn try_next(&mut self) -> Result<Option<&[u8]>, Evicted> {
        match self.seat.state() {
            slot::EVICTED => return Err(Evicted),
            slot::GUEST_WAITING => return Ok(None),
            _ if self.admitted => {}
            _ => {
                self.admitted = true;
                self.copier.position = self.seat.admitted_at();
            }
        }
        let copied = self.copier.copy_next(self.seat.shared(), |_| {
            // The writer evicts, then fences, then overwrites: whoever saw an overwritten word sees the eviction.
            fence(Ordering::Acquire);
            self.seat.state() == slot::GUEST
        });
        match copied {
            Err(Overwritten) => Err(Evicted),
            Ok(None) => {
                self.seat.release(self.copier.position);
                Ok(None)
            }
            Ok(Some(len)) => {
                self.seat.release_in_steps(self.copier.position);
                Ok(Some(self.copier.copied(len)))
            }
        }
    }

    /// Gives the room of all messages read back to the writer now.
    pub fn release(&mut self) {
        if self.admitted {
            self.seat.release(self.copier.position);
        }
    }
}
