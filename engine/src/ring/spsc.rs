//! One sender, one receiver, values of one type: commands and results between agents.
//!
//! All memory is there from the start. Each side keeps a copy of the other's index and looks at the shared one only
//! when the copy says full or empty (as rtrb does).
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicU64, Ordering, UnsafeCell, fence};

/// Slots, and how many values were ever received and sent.
#[derive(Debug)]
struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    received: CachePadded<AtomicU64>,
    sent: CachePadded<AtomicU64>,
}

// SAFETY: a value is in a slot from the sender's release store of `sent` to the receiver's release store of
// `received`; each side touches only slots that the other's index gave it, so values move between threads, `T: Send`,
// and are never shared.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    fn slot(&self, index: u64) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index as usize & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Both ends are gone: every store to the indexes happened before.
        for index in self.received.load(Ordering::Relaxed)..self.sent.load(Ordering::Relaxed) {
            // SAFETY: sent and not received, so initialised, and nobody else is left to touch it.
            self.slot(index).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
        }
    }
}

/// The sending end.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    sent: u64,
    /// Not more than were received.
    received: u64,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    received: u64,
    /// Not more than were sent.
    sent: u64,
}

/// The ring is full; here is the value back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ring is full: its receiver has not made room yet")]
pub struct Full<T>(pub T);

fn is_alone<T>(shared: &Arc<Shared<T>>) -> bool {
    let alone = Arc::strong_count(shared) == 1;
    // Who sees the other end gone also sees the last thing it did.
    fence(Ordering::Acquire);
    alone
}

/// Makes a ring for `capacity` values, rounded up to a power of two (at least 1).
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let slots = (0..capacity.next_power_of_two()).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let shared = Arc::new(Shared {
        slots: slots.collect(),
        received: CachePadded::new(AtomicU64::new(0)),
        sent: CachePadded::new(AtomicU64::new(0)),
    });
    (Sender { shared: Arc::clone(&shared), sent: 0, received: 0 }, Receiver { shared, received: 0, sent: 0 })
}

impl<T: Send> Sender<T> {
    /// Sends `value`.
    ///
    /// # Errors
    /// [`Full`], with the value.
    #[inline]
    pub fn try_send(&mut self, value: T) -> Result<(), Full<T>> {
        let capacity = self.shared.slots.len() as u64;
        if self.sent - self.received == capacity {
            self.received = self.shared.received.load(Ordering::Acquire);
            if self.sent - self.received == capacity {
                return Err(Full(value));
            }
        }
        // SAFETY: less than a whole ring was sent beyond `received`, so the receiver is done with this slot, which
        // acquiring `received` made sure of, and will not touch it before `sent` says so.
        self.shared.slot(self.sent).with_mut(|slot| unsafe { (*slot).write(value) });
        self.sent += 1;
        self.shared.sent.store(self.sent, Ordering::Release);
        Ok(())
    }

    /// Whether the receiver is gone: what is sent now is dropped unseen.
    pub fn is_abandoned(&self) -> bool {
        is_alone(&self.shared)
    }
}

impl<T: Send> Receiver<T> {
    /// Receives the oldest value, if there is one.
    #[inline]
    pub fn try_receive(&mut self) -> Option<T> {
        if self.received == self.sent {
            self.sent = self.shared.sent.load(Ordering::Acquire);
            if self.received == self.sent {
                return None;
            }
        }
        // SAFETY: sent and not received: initialised, which acquiring `sent` made visible, and the sender will not
        // touch it before `received` says so; reading it out once moves it to the caller.
        let value = self.shared.slot(self.received).with(|slot| unsafe { (*slot).assume_init_read() });
        self.received += 1;
        self.shared.received.store(self.received, Ordering::Release);
        Some(value)
    }

    /// Whether the sender is gone; values it sent may still be there.
    pub fn is_abandoned(&self) -> bool {
        is_alone(&self.shared)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Arc as StdArc;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_bounded_queue(
            capacity in 0..9usize,
            sends in prop::collection::vec(any::<Option<u32>>(), 0..200),
        ) {
            let (mut sender, mut receiver) = channel(capacity);
            let (mut model, capacity) = (VecDeque::new(), capacity.next_power_of_two());
            for step in sends {
                match step {
                    Some(value) if model.len() == capacity => {
                        prop_assert_eq!(sender.try_send(value), Err(Full(value)));
                    }
                    Some(value) => {
                        prop_assert_eq!(sender.try_send(value), Ok(()));
                        model.push_back(value);
                    }
                    None => prop_assert_eq!(receiver.try_receive(), model.pop_front()),
                }
            }
        }
    }

    #[test]
    fn what_was_not_received_is_dropped_once() {
        let token = StdArc::new(());
        let (mut sender, mut receiver) = channel(4);
        for _ in 0..4 {
            sender.try_send(StdArc::clone(&token)).unwrap();
        }
        drop(receiver.try_receive());
        sender.try_send(StdArc::clone(&token)).unwrap();
        assert_eq!(StdArc::strong_count(&token), 5);
        assert!(!sender.is_abandoned());
        drop(receiver);
        assert!(sender.is_abandoned());
        drop(sender);
        assert_eq!(StdArc::strong_count(&token), 1);
    }

    #[test]
    fn two_threads_exchange_owned_values_in_order() {
        const COUNT: u64 = 100_000;
        let (mut sender, mut receiver) = channel::<Box<u64>>(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for number in 0..COUNT {
                    let mut value = Box::new(number);
                    while let Err(Full(back)) = sender.try_send(value) {
                        value = back;
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < COUNT {
                match receiver.try_receive() {
                    Some(value) => {
                        assert_eq!(*value, expected);
                        expected += 1;
                    }
                    None => std::thread::yield_now(),
                }
            }
            assert_eq!(receiver.try_receive(), None);
        });
    }
}
