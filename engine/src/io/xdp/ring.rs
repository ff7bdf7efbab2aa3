//! The rings of an AF_XDP socket: a producer and a consumer on either side of the kernel's border, each with an index of
//! its own that the other only reads.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use socket2::Socket;

use super::sys;

/// The four rings that a socket may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingKind {
    /// Frames that arrived: kernel to us.
    Receive,
    /// Frames to send: us to kernel.
    Transmit,
    /// Buffers to receive into: us to kernel.
    Fill,
    /// Buffers that were sent: kernel to us.
    Completion,
}

/// What both sides have: the mapping and where things are in it.
struct Shared<T> {
    producer: *const AtomicU32,
    consumer: *const AtomicU32,
    flags: *const AtomicU32,
    entries: *mut T,
    mask: u32,
    /// Keeps the memory. Reached by the pointers only.
    _map: MmapRaw,
}

// SAFETY: the pointers are into the mapping that is owned beside them and that nothing ties to a thread; `T` is plain
// numbers.
unsafe impl<T> Send for Shared<T> {}

/// A ring's entry.
///
/// # Safety
/// Plain numbers, laid out as the kernel's entry of that ring.
pub(super) unsafe trait Entry: Copy {}

// SAFETY: an address in the fill and completion rings.
unsafe impl Entry for u64 {}
// SAFETY: the kernel's own type, in the receive and transmit rings.
unsafe impl Entry for libc::xdp_desc {}

impl<T: Entry> Shared<T> {
    /// Has the kernel make a ring of `entries` (a power of two), and maps it.
    ///
    /// # Safety
    /// `T` is the entry of such a ring.
    unsafe fn new(socket: &Socket, kind: RingKind, entries: u32) -> io::Result<Shared<T>> {
        assert!(entries.is_power_of_two(), "{entries} entries");
        let option = match kind {
            RingKind::Receive => libc::XDP_RX_RING,
            RingKind::Transmit => libc::XDP_TX_RING,
            RingKind::Fill => libc::XDP_UMEM_FILL_RING,
            RingKind::Completion => libc::XDP_UMEM_COMPLETION_RING,
        };
        // SAFETY: these options take a 32-bit number.
        unsafe { sys::set_option(socket, option, &entries)? };
        let offsets = sys::ring_offsets(socket)?;
        let (offsets, page_offset) = match kind {
            RingKind::Receive => (offsets.rx, libc::XDP_PGOFF_RX_RING as u64),
            RingKind::Transmit => (offsets.tx, libc::XDP_PGOFF_TX_RING as u64),
            RingKind::Fill => (offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING),
            RingKind::Completion => (offsets.cr, libc::XDP_UMEM_PGOFF_COMPLETION_RING),
        };
        let bytes = offsets.desc as usize + entries as usize * size_of::<T>();
        let map = MmapOptions::new().offset(page_offset).len(bytes).populate().map_raw(socket.as_raw_fd())?;
        let start = map.as_mut_ptr();
        for at in [offsets.producer, offsets.consumer, offsets.flags] {
            assert!(at as usize + 4 <= offsets.desc as usize && at % 4 == 0, "a ring's index at {at}");
        }
        assert!(
            (offsets.desc as usize).is_multiple_of(align_of::<T>()),
            "a ring's entries at {}",
            offsets.desc
        );
        // SAFETY: the offsets are the kernel's, inside the mapping and aligned: checked above.
        unsafe {
            Ok(Shared {
                producer: start.add(offsets.producer as usize).cast(),
                consumer: start.add(offsets.consumer as usize).cast(),
                flags: start.add(offsets.flags as usize).cast(),
                entries: start.add(offsets.desc as usize).cast(),
                mask: entries - 1,
                _map: map,
            })
        }
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: aligned, inside the mapping, initialised by the kernel; both sides use it as an atomic.
        unsafe { &*self.producer }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { &*self.consumer }
    }

    fn wants_wakeup(&self) -> bool {
        // SAFETY: as above.
        unsafe { &*self.flags }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// Our end of a ring that the kernel reads: transmit, fill.
pub(super) struct Producer<T> {
    shared: Shared<T>,
    /// Entries ever written, modulo 2^32; the kernel sees those up to the last [`Producer::publish`].
    written: u32,
    /// Entries that the kernel had read when we looked last.
    read: u32,
}

impl<T: Entry> Producer<T> {
    /// # Safety
    /// As for the ring's kind: `T` is its entry.
    pub(super) unsafe fn new(socket: &Socket, kind: RingKind, entries: u32) -> io::Result<Producer<T>> {
        // SAFETY: the caller's promise.
        Ok(Producer { shared: unsafe { Shared::new(socket, kind, entries)? }, written: 0, read: 0 })
    }

    /// Writes an entry; false when the ring is full.
    #[inline]
    pub(super) fn push(&mut self, entry: T) -> bool {
        if self.written.wrapping_sub(self.read) > self.shared.mask {
            // Acquire: what the kernel read there it has read before we write over it.
            self.read = self.shared.consumer().load(Ordering::Acquire);
            if self.written.wrapping_sub(self.read) > self.shared.mask {
                return false;
            }
        }
        let slot = (self.written & self.shared.mask) as usize;
        // SAFETY: `slot` is inside the ring, and the kernel has read what stood there and reads what we write only
        // once it is published.
        unsafe { self.shared.entries.add(slot).write(entry) };
        self.written = self.written.wrapping_add(1);
        true
    }

    /// Shows the kernel what was written.
    #[inline]
    pub(super) fn publish(&mut self) {
        // Release: the entries, and what they point to, come first.
        self.shared.producer().store(self.written, Ordering::Release);
    }

    /// Entries that the kernel has not read yet, those not published among them.
    #[inline]
    pub(super) fn unread(&mut self) -> u32 {
        self.read = self.shared.consumer().load(Ordering::Acquire);
        self.written.wrapping_sub(self.read)
    }

    /// Whether the kernel waits to be told that there is something.
    #[inline]
    pub(super) fn wants_wakeup(&self) -> bool {
        self.shared.wants_wakeup()
    }
}

/// Our end of a ring that the kernel writes: receive, completion.
pub(super) struct Consumer<T> {
    shared: Shared<T>,
    /// Entries ever read, modulo 2^32; the kernel may write over those up to the last [`Consumer::release`].
    read: u32,
    /// Entries that the kernel had written when we looked last.
    written: u32,
}

impl<T: Entry> Consumer<T> {
    /// # Safety
    /// As for the ring's kind: `T` is its entry.
    pub(super) unsafe fn new(socket: &Socket, kind: RingKind, entries: u32) -> io::Result<Consumer<T>> {
        // SAFETY: the caller's promise.
        Ok(Consumer { shared: unsafe { Shared::new(socket, kind, entries)? }, read: 0, written: 0 })
    }

    /// The next entry, if there is one.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.read == self.written {
            // Acquire: the entries, and what they point to, come after.
            self.written = self.shared.producer().load(Ordering::Acquire);
            if self.read == self.written {
                return None;
            }
        }
        let slot = (self.read & self.shared.mask) as usize;
        // SAFETY: `slot` is inside the ring, and the kernel wrote it before it moved its index and writes it again
        // only once it is released.
        let entry = unsafe { self.shared.entries.add(slot).read() };
        self.read = self.read.wrapping_add(1);
        Some(entry)
    }

    /// Gives the kernel the room of what was read.
    #[inline]
    pub(super) fn release(&mut self) {
        // Release: we have read the entries.
        self.shared.consumer().store(self.read, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring without a kernel: index words, then entries, in one anonymous mapping.
    fn pair(entries: u32) -> (Producer<u64>, Consumer<u64>) {
        let shared = |start: *mut u8, map: MmapRaw| {
            // SAFETY: within the page that `map` has, or that the other side's map has, which the tests keep.
            unsafe {
                Shared::<u64> {
                    producer: start.cast(),
                    consumer: start.add(64).cast(),
                    flags: start.add(128).cast(),
                    entries: start.add(192).cast(),
                    mask: entries - 1,
                    _map: map,
                }
            }
        };
        let anonymous = || MmapRaw::from(MmapOptions::new().len(4_096).map_anon().unwrap());
        let map = anonymous();
        let start = map.as_mut_ptr();
        let producer = Producer { shared: shared(start, map), written: 0, read: 0 };
        let consumer = Consumer { shared: shared(start, anonymous()), read: 0, written: 0 };
        (producer, consumer)
    }

    #[test]
    fn entries_show_when_published_and_room_when_released() {
        let (mut producer, mut consumer) = pair(4);
        assert!((0..4).all(|entry| producer.push(entry)));
        assert!(!producer.push(4), "full");
        assert_eq!((consumer.pop(), producer.unread()), (None, 4));
        producer.publish();
        assert_eq!((consumer.pop(), consumer.pop()), (Some(0), Some(1)));
        assert!(!producer.push(4), "not released");
        consumer.release();
        assert_eq!(producer.unread(), 2);
        assert!(producer.push(4) && producer.push(5) && !producer.push(6));
        producer.publish();
        assert!((2..6).all(|entry| consumer.pop() == Some(entry)));
        assert_eq!(consumer.pop(), None);
        assert!(!producer.wants_wakeup());
    }

    #[test]
    fn indices_wrap_around() {
        let (mut producer, mut consumer) = pair(8);
        for index in [&mut producer.written, &mut producer.read, &mut consumer.read, &mut consumer.written] {
            *index = u32::MAX - 5;
        }
        producer.publish();
        consumer.release();
        for round in 0..40u64 {
            assert!((0..5).all(|entry| producer.push(round * 5 + entry)));
            producer.publish();
            assert!((0..5).all(|entry| consumer.pop() == Some(round * 5 + entry)));
            consumer.release();
        }
    }

    #[test]
    fn two_threads_pass_every_entry_in_order() {
        let (mut producer, mut consumer) = pair(16);
        std::thread::scope(|scope| {
            let consuming = scope.spawn(move || {
                for expected in 0..20_000 {
                    let entry = loop {
                        if let Some(entry) = consumer.pop() {
                            break entry;
                        }
                        std::thread::yield_now();
                    };
                    assert_eq!(entry, expected);
                    consumer.release();
                }
            });
            for entry in 0..20_000 {
                while !producer.push(entry) {
                    std::thread::yield_now();
                }
                producer.publish();
            }
            consuming.join().unwrap();
        });
    }
}
