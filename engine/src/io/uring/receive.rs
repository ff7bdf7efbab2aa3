//! Receive memory: a ring of provided buffers that the kernel fills and we give back.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, Fixed, RecvMsgOut};
use io_uring::{opcode, squeue};
use socket2::Socket;

use super::region::{CACHE_LINE_BYTES, Region};
use super::ring::Ring;

/// The one group of provided buffers.
const GROUP: u16 = 0;
/// `io_uring_recvmsg_out` before each datagram, then the sender's address.
const HEAD_BYTES: usize = 16;
const NAME_BYTES: usize = size_of::<libc::sockaddr_in>();
/// A control message with one 32-bit number, as the kernel lays it out.
const CONTROL_BYTES: usize = 24;
/// With GRO a run of datagrams fills up to this.
const RUN_BYTES: usize = 65_535;

/// A buffer that the kernel has filled and handed to us. It is neither `Copy` nor `Clone`: who has it has the memory,
/// and giving it back is giving it up.
#[must_use = "a buffer that is not given back is lost to the kernel"]
pub(super) struct Buffer(u16);

/// The provided buffers and the message header that tells the kernel how to lay datagrams out in them.
///
/// The kernel writes into this memory: it may be dropped only when nothing is in flight.
pub(super) struct ReceiveBuffers {
    /// Entries shared with the kernel.
    ring: Region,
    /// What they point to.
    buffers: Region,
    /// The header, where the kernel finds it.
    shared_header: Region,
    /// The same for us. Relevant are the lengths of name and control data only.
    header: libc::msghdr,
    /// Bytes of a buffer that the kernel may use, so that a longer datagram is cut and shows it.
    usable_bytes: usize,
    /// Runs of datagrams may come.
    gro: bool,
    /// The buffer that is never provided: for receives by plain calls.
    own: Option<Buffer>,
    /// Entries ever put into the ring, modulo 2^16.
    tail: u16,
    /// Buffers that are ours at the moment.
    held: usize,
}

// SAFETY: `header` holds no pointers (they are null), and the regions may move between threads.
unsafe impl Send for ReceiveBuffers {}

impl ReceiveBuffers {
    /// Maps `count` (a power of two) buffers for datagrams of up to `max_bytes`, with `gro` for runs of them, and
    /// provides them all to `ring`.
    pub(super) fn new(ring: &Ring, count: usize, max_bytes: usize, gro: bool) -> io::Result<ReceiveBuffers> {
        let control_bytes = if gro { 2 * CONTROL_BYTES } else { CONTROL_BYTES };
        let payload_bytes = if gro { RUN_BYTES } else { max_bytes };
        let usable_bytes = HEAD_BYTES + NAME_BYTES + control_bytes + payload_bytes;
        // SAFETY: a msghdr of zeros is one: null pointers with lengths of zero.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_namelen = NAME_BYTES as libc::socklen_t;
        header.msg_controllen = control_bytes as _;
        let mut buffers = ReceiveBuffers {
            ring: Region::new(count, size_of::<BufRingEntry>())?,
            buffers: Region::new(count + 1, usable_bytes.next_multiple_of(CACHE_LINE_BYTES))?,
            shared_header: Region::new(1, size_of::<libc::msghdr>())?,
            header,
            usable_bytes,
            gro,
            own: Some(Buffer(count as u16)),
            tail: 0,
            held: count,
        };
        // SAFETY: the slot has the size of a msghdr, starts a page, and nobody else knows of it yet.
        unsafe { buffers.shared_header.slot(0).cast::<libc::msghdr>().write(header) };
        // SAFETY: the region starts a page, has `count` entries, and outlives the ring (see the type).
        unsafe { ring.register_buffers(buffers.ring.slot(0), count as u16, GROUP)? };
        for id in 0..count {
            buffers.give_back(Buffer(id as u16));
        }
        Ok(buffers)
    }

    /// An entry that receives at registered file `file` until the kernel ends it.
    pub(super) fn entry(&self, file: u32) -> squeue::Entry {
        let header = self.shared_header.slot(0).cast::<libc::msghdr>();
        opcode::RecvMsgMulti::new(Fixed(file), header, GROUP).build()
    }

    /// Takes over the buffer that a completion names.
    ///
    /// # Safety
    /// `id` is of a completion popped just now, and is taken once.
    pub(super) unsafe fn take(&mut self, id: u16) -> Buffer {
        assert!(usize::from(id) < self.ring.count(), "the kernel names a buffer we never gave it");
        self.held += 1;
        Buffer(id)
    }

    /// Receives at `socket` by a plain call, laid out as the ring does it, and gives the buffer and how much of it was
    /// written; to be put back by [`ReceiveBuffers::put_back`].
    ///
    /// # Errors
    /// What the kernel says, `WouldBlock` when there is nothing.
    pub(super) fn receive_at(&mut self, socket: &Socket) -> io::Result<(Buffer, usize)> {
        let buffer = self.own.take().ok_or(io::ErrorKind::WouldBlock)?;
        match self.fill(&buffer, socket) {
            Ok(len) => Ok((buffer, len)),
            Err(error) => {
                self.own = Some(buffer);
                Err(error)
            }
        }
    }

    /// Puts the buffer of a plain call back.
    pub(super) fn put_back(&mut self, buffer: Buffer) {
        self.own = Some(buffer);
    }

    // The lengths in a msghdr have other types with other C libraries.
    #[allow(clippy::unnecessary_cast)]
    fn fill(&self, buffer: &Buffer, socket: &Socket) -> io::Result<usize> {
        let socket = socket.as_raw_fd();
        let start = self.buffers.slot(usize::from(buffer.0));
        let control_at = HEAD_BYTES + NAME_BYTES;
        let payload_at = control_at + self.header.msg_controllen as usize;
        let mut header = self.header;
        // SAFETY: the slot has `usable_bytes` bytes, of which these are parts that do not overlap, and we have its
        // token: nobody else reads or writes it.
        let (name, control, payload) =
            unsafe { (start.add(HEAD_BYTES), start.add(control_at), start.add(payload_at)) };
        let room = self.usable_bytes - payload_at;
        let received = if self.gro {
            let mut part = libc::iovec { iov_base: payload.cast(), iov_len: room };
            header.msg_name = name.cast();
            header.msg_control = control.cast();
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            // SAFETY: the header names memory that is there and ours until the call returns.
            unsafe { libc::recvmsg(socket, &raw mut header, libc::MSG_DONTWAIT) }
        } else {
            // The same without control data, which is only for runs needed at once, is a shorter call. It gives the
            // whole length of what it cuts off.
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            let name_length = &raw mut header.msg_namelen;
            // SAFETY: as above.
            let length =
                unsafe { libc::recvfrom(socket, payload.cast(), room, flags, name.cast(), name_length) };
            header.msg_controllen = 0;
            header.msg_flags = if length > room as isize { libc::MSG_TRUNC } else { 0 };
            length.min(room as isize)
        };
        if received < 0 {
            return Err(io::Error::last_os_error());
        }
        let head = [
            header.msg_namelen as u32,
            header.msg_controllen as u32,
            received as u32,
            header.msg_flags as u32,
        ];
        // SAFETY: the head lies before the name in the same slot, which is aligned to a cache line.
        unsafe { start.cast::<[u32; 4]>().write(head) };
        Ok(payload_at + received as usize)
    }

    /// The datagram, or the run of datagrams, in `buffer`, of whose bytes the kernel wrote `len`.
    pub(super) fn datagram<'a>(&'a self, buffer: &'a Buffer, len: usize) -> Option<Datagram<'a>> {
        let len = len.min(self.usable_bytes);
        let start = self.buffers.slot(usize::from(buffer.0));
        // SAFETY: the slot has at least `len` bytes, and while we have the token nobody writes to it: the kernel gave
        // it up, and `give_back` needs the token.
        let bytes = unsafe { std::slice::from_raw_parts(start, len) };
        Datagram::parse(bytes, &self.header)
    }

    /// Gives a buffer back to the kernel.
    pub(super) fn give_back(&mut self, buffer: Buffer) {
        let mask = self.ring.count() - 1;
        let first = self.ring.slot(0).cast::<BufRingEntry>();
        let entry = self.ring.slot(usize::from(self.tail) & mask).cast::<BufRingEntry>();
        // SAFETY: `entry` is inside the ring, and the kernel reads it only once the tail has moved past it. The
        // fields are written one by one because the tail lives in unused bytes of the first entry.
        unsafe {
            (*entry).set_addr(self.buffers.slot(usize::from(buffer.0)) as u64);
            (*entry).set_len(self.usable_bytes as u32);
            (*entry).set_bid(buffer.0);
        }
        self.tail = self.tail.wrapping_add(1);
        self.held -= 1;
        // SAFETY: the tail is aligned and inside the ring; the kernel reads it while we write: hence an atomic.
        unsafe { &*BufRingEntry::tail(first).cast::<AtomicU16>() }.store(self.tail, Ordering::Release);
    }

    /// Whether the kernel has a buffer to receive into.
    pub(super) fn any_provided(&self) -> bool {
        self.held < self.ring.count()
    }
}

/// A completed receive: one datagram, or with GRO a run of them.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) from: SocketAddrV4,
    pub(super) payload: &'a [u8],
    /// Cut off at the buffer's end.
    pub(super) truncated: bool,
    /// What the socket dropped so far, modulo 2^32; the kernel tells once it has dropped something.
    pub(super) dropped: Option<u32>,
    /// Length of each datagram of a run but the last, which may be shorter.
    pub(super) segment_bytes: Option<NonZeroUsize>,
}

impl<'a> Datagram<'a> {
    /// None when the kernel's layout is not what it was asked for.
    fn parse(bytes: &'a [u8], header: &libc::msghdr) -> Option<Datagram<'a>> {
        let out = RecvMsgOut::parse(bytes, header).ok()?;
        // The payload is found anew: `out` would only lend it for its own life.
        // msg_controllen is a usize here and a u32 with other C libraries.
        #[allow(clippy::unnecessary_cast)]
        let payload_at = HEAD_BYTES + NAME_BYTES + header.msg_controllen as usize;
        let payload = bytes.get(payload_at..)?;
        let payload = &payload[..payload.len().min(out.incoming_payload_len() as usize)];
        let mut datagram = Datagram {
            from: sender(out.name_data())?,
            payload,
            truncated: out.is_payload_truncated(),
            dropped: None,
            segment_bytes: None,
        };
        for (level, kind, number) in ControlNumbers(out.control_data()) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => datagram.dropped = Some(number),
                (libc::SOL_UDP, libc::UDP_GRO) => datagram.segment_bytes = NonZeroUsize::new(number as usize),
                _ => {}
            }
        }
        Some(datagram)
    }
}

/// A `sockaddr_in`: family in the machine's order, port and address in the network's.
fn sender(name: &[u8]) -> Option<SocketAddrV4> {
    let (family, rest) = name.split_first_chunk::<2>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let address = *rest.first_chunk::<4>()?;
    if i32::from(u16::from_ne_bytes(*family)) != libc::AF_INET {
        return None;
    }
    Some(SocketAddrV4::new(Ipv4Addr::from(address), u16::from_be_bytes(*port)))
}

/// Walks control messages and gives (level, type, number) of each. The layout is `cmsghdr`'s: length of the message
/// with this header, level, type, then data up to the next multiple of a word.
struct ControlNumbers<'a>(&'a [u8]);

impl Iterator for ControlNumbers<'_> {
    type Item = (libc::c_int, libc::c_int, u32);

    fn next(&mut self) -> Option<Self::Item> {
        const WORD: usize = size_of::<usize>();
        let (len, rest) = self.0.split_first_chunk::<WORD>()?;
        let (level, rest) = rest.split_first_chunk::<4>()?;
        let (kind, rest) = rest.split_first_chunk::<4>()?;
        let number = rest.first_chunk::<4>()?;
        let len = usize::from_ne_bytes(*len);
        let item = (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind), u32::from_ne_bytes(*number));
        // A length that does not even cover the header would have us read it for ever.
        let next = len.max(WORD + 8).checked_next_multiple_of(WORD)?;
        self.0 = self.0.get(next..).unwrap_or_default();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(control_bytes: usize) -> libc::msghdr {
        // SAFETY: a msghdr of zeros is one.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_namelen = NAME_BYTES as libc::socklen_t;
        header.msg_controllen = control_bytes as _;
        header
    }

    fn control(level: i32, kind: i32, number: u32) -> Vec<u8> {
        let mut bytes = (size_of::<usize>() + 12).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(number.to_ne_bytes());
        bytes.resize(bytes.len().next_multiple_of(size_of::<usize>()), 0);
        bytes
    }

    fn buffer(control: &[u8], control_room: usize, payload: &[u8], flags: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [NAME_BYTES as u32, control.len() as u32, payload.len() as u32, flags as u32] {
            bytes.extend(field.to_ne_bytes());
        }
        bytes.extend((libc::AF_INET as u16).to_ne_bytes());
        bytes.extend([0x13, 0x88, 10, 1, 2, 3]);
        bytes.resize(HEAD_BYTES + NAME_BYTES, 0);
        bytes.extend(control);
        bytes.resize(HEAD_BYTES + NAME_BYTES + control_room, 0);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn sender_payload_and_control_messages_are_found() {
        let mut messages = control(libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 77);
        messages.extend(control(libc::SOL_UDP, libc::UDP_GRO, 512));
        let room = 2 * CONTROL_BYTES;
        let bytes = buffer(&messages, room, b"payload", libc::MSG_TRUNC);
        let datagram = Datagram::parse(&bytes, &header(room)).unwrap();
        assert_eq!(datagram.from.to_string(), "10.1.2.3:5000");
        assert_eq!(datagram.payload, b"payload");
        assert!(datagram.truncated);
        assert_eq!(datagram.dropped, Some(77));
        assert_eq!(datagram.segment_bytes.unwrap().get(), 512);

        let bytes = buffer(&[], CONTROL_BYTES, b"", 0);
        let datagram = Datagram::parse(&bytes, &header(CONTROL_BYTES)).unwrap();
        assert_eq!((datagram.payload, datagram.truncated), (&b""[..], false));
        assert_eq!((datagram.dropped, datagram.segment_bytes), (None, None));
    }

    #[test]
    fn what_the_kernel_would_never_write_is_refused_or_bounded() {
        let whole = buffer(&control(1, 2, 3), CONTROL_BYTES, b"payload", 0);
        for len in 0..whole.len() {
            let _ = Datagram::parse(&whole[..len], &header(CONTROL_BYTES));
        }
        let mut zero_length = control(1, 2, 3);
        zero_length[..size_of::<usize>()].fill(0);
        assert_eq!(ControlNumbers(&zero_length).count(), 1);
        let mut endless = control(1, 2, 3);
        endless[..size_of::<usize>()].fill(0xff);
        assert_eq!(ControlNumbers(&endless).count(), 0);
        let mut other_family = whole;
        other_family[HEAD_BYTES] = 0xee;
        assert!(Datagram::parse(&other_family, &header(CONTROL_BYTES)).is_none());
    }
}
