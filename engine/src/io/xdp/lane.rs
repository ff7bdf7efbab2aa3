//! One queue of an interface: the memory that the kernel and the drivers of this process share there, and the socket by
//! which each driver has its part.
//!
//! The kernel lets one memory be bound to a queue, but several sockets share it: so that the agents of a process, each
//! with a driver and a thread of its own, live on one interface without knowing one another. What they share besides
//! the memory is the fill and the completion ring, each behind a lock that is only ever tried: who does not get it
//! does that work at the next turn.
//!
//! | frames | whose |
//! |---|---|
//! | receive frames | the kernel's while in the fill ring, then of the driver in whose receive ring they appear, until it gives them back |
//! | send frames | each of one driver for good; the kernel's from the transmit ring until the completion ring |

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::Socket;

use super::ring::{Consumer, Producer, RingKind};
use super::sys;
use crate::mem::{Region, RegionSpec, Shortfall};

/// Drivers of one process on one interface.
pub(super) const MAX_SHARES: usize = 8;
/// What the kernel keeps free before every frame received (`XDP_PACKET_HEADROOM`).
const HEADROOM_BYTES: usize = 256;
/// How long a queue that is in use is waited for, and how often it is tried.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);
const BIND_RETRY: Duration = Duration::from_millis(2);

/// Sizes of a lane, all of them fixed when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaneSizes {
    /// Bytes of a frame: 2,048 or 4,096.
    pub(super) frame_bytes: usize,
    /// Receive frames that each driver brings, a power of two, and the length of its receive ring.
    pub(super) receive_frames: usize,
    /// Send frames that each driver has, a multiple of 64.
    pub(super) send_frames: usize,
    /// Drivers that send through this lane.
    pub(super) senders: usize,
}

impl LaneSizes {
    /// Longest frame that a receive frame takes.
    pub(super) fn max_receive_bytes(&self) -> usize {
        self.frame_bytes - HEADROOM_BYTES
    }

    fn first_send_frame(&self) -> usize {
        MAX_SHARES * self.receive_frames
    }

    fn frames(&self) -> usize {
        self.first_send_frame() + self.senders * self.send_frames
    }
}

/// A frame that is ours: received and not given back, or to send and not handed to the kernel. Neither `Copy` nor
/// `Clone`: who has it has the memory.
#[derive(Debug)]
#[must_use = "a frame that is not given back is lost"]
pub(super) struct Frame(u32);

/// The memory and its two rings at one queue.
pub(super) struct Lane {
    queue: u32,
    sizes: LaneSizes,
    memory: Region,
    /// Holds memory and rings; sends and receives nothing itself.
    owner: Socket,
    fill: Mutex<Producer<u64>>,
    completions: Mutex<Consumer<u64>>,
    /// Send frames that the kernel has finished with, a bit each. Whoever empties the completion ring sets it, whose
    /// frame it is clears it.
    finished: Box<[AtomicU64]>,
    /// The kernel and the interface use the memory without a copy.
    zero_copy: bool,
}

/// Binds, and waits a little for a queue that is just being given back: the kernel does that some time after the last
/// socket was closed.
fn bind_owner(owner: &Socket, interface: u32, queue: u32, flags: u16) -> io::Result<()> {
    let deadline = Instant::now() + GIVEN_BACK_WITHIN;
    loop {
        match sys::bind_xdp(owner, interface, queue, flags, None) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline => {
                thread::sleep(BIND_RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// Whether this process may have AF_XDP sockets.
pub(super) fn probe() -> io::Result<()> {
    sys::xdp_socket().map_err(explain).map(|_| ())
}

/// How to bind: flags of linux/if_xdp.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// The interface's own memory access, or an error.
    Zero,
    /// The kernel copies.
    Copy,
}

impl Lane {
    /// Takes the memory and binds it to `queue` of `interface`: without a copy where that is asked for and granted.
    pub(super) fn new(interface: u32, queue: u32, sizes: LaneSizes, try_zero_copy: bool) -> io::Result<Lane> {
        if try_zero_copy && let Ok(lane) = Lane::bound(interface, queue, sizes, Copying::Zero) {
            return Ok(lane);
        }
        Lane::bound(interface, queue, sizes, Copying::Copy)
    }

    fn bound(interface: u32, queue: u32, sizes: LaneSizes, copying: Copying) -> io::Result<Lane> {
        let len_bytes = sizes.frames() * sizes.frame_bytes;
        let spec = RegionSpec { len_bytes, huge_pages: true, lock: false };
        let memory = Region::anonymous(&spec).map_err(io::Error::other)?;
        let owner = sys::xdp_socket().map_err(explain)?;
        let registration = libc::xdp_umem_reg {
            addr: memory.atomics().as_ptr() as u64,
            len: len_bytes as u64,
            chunk_size: sizes.frame_bytes as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        // SAFETY: the option's type; the memory is the region's. The kernel holds its pages, not its mapping: that it
        // is unmapped some time takes nothing from the kernel.
        unsafe { sys::set_option(&owner, libc::XDP_UMEM_REG, &registration) }.map_err(explain)?;
        let receive_frames = sizes.first_send_frame() as u32;
        let send_frames = (sizes.senders * sizes.send_frames).next_power_of_two() as u32;
        // SAFETY: addresses are the entries of the first two rings, descriptors of the third.
        let (fill, completions, _unused) = unsafe {
            (
                Producer::<u64>::new(&owner, RingKind::Fill, receive_frames)?,
                Consumer::<u64>::new(&owner, RingKind::Completion, send_frames)?,
                // A socket must have a ring of its own to be bound.
                Producer::<libc::xdp_desc>::new(&owner, RingKind::Transmit, 2)?,
            )
        };
        let copying_flag = match copying {
            Copying::Zero => libc::XDP_ZEROCOPY,
            Copying::Copy => libc::XDP_COPY,
        };
        let flags = copying_flag | libc::XDP_USE_NEED_WAKEUP;
        bind_owner(&owner, interface, queue, flags).map_err(explain)?;
        Ok(Lane {
            queue,
            sizes,
            memory,
            owner,
            fill: Mutex::new(fill),
            completions: Mutex::new(completions),
            finished: (0..sizes.frames().div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            zero_copy: copying == Copying::Zero,
        })
    }

    pub(super) fn queue(&self) -> u32 {
        self.queue
    }

    pub(super) fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Huge pages that were not granted.
    pub(super) fn shortfalls(&self) -> &[Shortfall] {
        self.memory.shortfalls()
    }

    /// Start of a frame's memory.
    fn start(&self, frame: u32) -> *mut u8 {
        assert!((frame as usize) < self.sizes.frames(), "frame {frame} of {}", self.sizes.frames());
        let start = self.memory.atomics().as_ptr().cast::<u8>().cast_mut();
        // SAFETY: inside the region: checked. What `atomics` lends may be changed through shared references.
        unsafe { start.add(frame as usize * self.sizes.frame_bytes) }
    }

    fn address(&self, frame: u32) -> u64 {
        u64::from(frame) * self.sizes.frame_bytes as u64
    }

    fn frame_at(&self, address: u64) -> u32 {
        (address / self.sizes.frame_bytes as u64) as u32
    }

    /// The memory of a send frame, whole.
    #[inline]
    pub(super) fn bytes_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        // SAFETY: `frame_bytes` long (`start` checks the rest), and the token's borrow makes this the only reference:
        // the kernel has given the frame up or never had it.
        unsafe { std::slice::from_raw_parts_mut(self.start(frame.0), self.sizes.frame_bytes) }
    }

    /// The same for reading.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.received_bytes(frame, 0, self.sizes.frame_bytes)
    }

    /// The bytes of a frame received, `len` from `offset` on.
    fn received_bytes<'a>(&'a self, frame: &'a Frame, offset: usize, len: usize) -> &'a [u8] {
        assert!(offset + len <= self.sizes.frame_bytes, "{len} bytes at {offset} of a frame");
        // SAFETY: inside the frame: checked. While we have the token the kernel does not write to it.
        unsafe { std::slice::from_raw_parts(self.start(frame.0).add(offset), len) }
    }
}

impl Lane {
    /// Puts receive frames into the fill ring; those that find it taken by another driver stay where they are.
    pub(super) fn give_back(&self, frames: &mut Vec<Frame>) {
        if frames.is_empty() {
            return;
        }
        let Ok(mut fill) = self.fill.try_lock() else { return };
        self.fill_from(&mut fill, frames);
    }

    fn fill_from(&self, fill: &mut Producer<u64>, frames: &mut Vec<Frame>) {
        for frame in frames.drain(..) {
            let pushed = fill.push(self.address(frame.0));
            assert!(pushed, "the fill ring has room for every frame");
        }
        fill.publish();
    }

    /// Whether the kernel wants to be told that there are receive frames.
    pub(super) fn fill_wants_wakeup(&self) -> bool {
        self.fill.try_lock().is_ok_and(|fill| fill.wants_wakeup())
    }

    /// Takes from the kernel what was sent, whoever's it is.
    fn collect_finished(&self) {
        let Ok(mut completions) = self.completions.try_lock() else { return };
        let mut any = false;
        while let Some(address) = completions.pop() {
            let frame = self.frame_at(address) as usize;
            // Release: whoever clears the bit may write to the frame.
            self.finished[frame / 64].fetch_or(1 << (frame % 64), Ordering::Release);
            any = true;
        }
        if any {
            completions.release();
        }
    }
}

/// A driver's sockets and frames at one lane.
pub(super) struct LaneSocket {
    socket: Socket,
    receive: Consumer<libc::xdp_desc>,
    /// Frames received and not yet in the fill ring again.
    spent: Vec<Frame>,
    counted: Counted,
}

/// What the kernel counted at a socket when we asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Frames that found no receive frame or no room in the ring.
    pub(super) dropped: u64,
    /// Frames that the kernel would not send.
    pub(super) refused: u64,
}

impl LaneSocket {
    /// A socket for driver number `share` that shares the lane's memory; with `sends` it has a transmit ring. Brings
    /// that driver's receive frames into the fill ring.
    pub(super) fn new(
        lane: &Lane,
        interface: u32,
        share: usize,
        sends: bool,
    ) -> io::Result<(LaneSocket, Option<Producer<libc::xdp_desc>>)> {
        let socket = sys::xdp_socket().map_err(explain)?;
        let LaneSizes { receive_frames, send_frames, .. } = lane.sizes;
        let entries = (receive_frames as u32, send_frames.next_power_of_two() as u32);
        // SAFETY: descriptors are the entries of both rings.
        let (receive, transmit) = unsafe {
            (
                Consumer::new(&socket, RingKind::Receive, entries.0)?,
                if sends { Some(Producer::new(&socket, RingKind::Transmit, entries.1)?) } else { None },
            )
        };
        sys::bind_xdp(&socket, interface, lane.queue, libc::XDP_SHARED_UMEM, Some(&lane.owner))
            .map_err(explain)?;
        let first = share * receive_frames;
        let mut spent = Vec::with_capacity(MAX_SHARES * receive_frames);
        spent.extend((first..first + receive_frames).map(|frame| Frame(frame as u32)));
        lane.fill_from(&mut lane.fill.lock().expect("nobody panics with it"), &mut spent);
        Ok((LaneSocket { socket, receive, spent, counted: Counted::default() }, transmit))
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Hands up to `limit` frames to `on_frame` and gives their memory back. Gives their number.
    #[inline]
    pub(super) fn receive<F: FnMut(&[u8])>(&mut self, lane: &Lane, limit: usize, mut on_frame: F) -> usize {
        let mut received = 0;
        while received < limit {
            let Some(descriptor) = self.receive.pop() else { break };
            let frame = Frame(lane.frame_at(descriptor.addr));
            let offset = (descriptor.addr % lane.sizes.frame_bytes as u64) as usize;
            on_frame(lane.received_bytes(&frame, offset, descriptor.len as usize));
            self.spent.push(frame);
            received += 1;
        }
        if received > 0 {
            self.receive.release();
        }
        if !self.spent.is_empty() {
            lane.give_back(&mut self.spent);
        }
        if lane.zero_copy && lane.fill_wants_wakeup() {
            sys::wake_receive(&self.socket);
        }
        received
    }

    /// What the kernel counted since this was called last.
    pub(super) fn newly_counted(&mut self) -> Counted {
        let Ok(statistics) = sys::statistics(&self.socket) else { return Counted::default() };
        let counted = Counted {
            dropped: statistics.rx_dropped + statistics.rx_ring_full,
            refused: statistics.tx_invalid_descs,
        };
        let before = std::mem::replace(&mut self.counted, counted);
        Counted {
            dropped: counted.dropped.saturating_sub(before.dropped),
            refused: counted.refused.saturating_sub(before.refused),
        }
    }
}

/// A driver's send frames and the ring they leave by.
pub(super) struct Sender {
    ring: Producer<libc::xdp_desc>,
    free: Vec<Frame>,
    /// Words of [`Lane::finished`] that are of this driver's frames.
    words: std::ops::Range<usize>,
    frames: usize,
    /// Written to the ring since it was published last.
    unpublished: bool,
    /// The kernel may have more to send than it has sent.
    unsent: bool,
    /// The kernel does not send: the interface is down, or gone.
    stuck: bool,
}

impl Sender {
    /// For the `place`th driver that sends through `lane`.
    pub(super) fn new(lane: &Lane, place: usize, ring: Producer<libc::xdp_desc>) -> Sender {
        let frames = lane.sizes.send_frames;
        let first = lane.sizes.first_send_frame() + place * frames;
        Sender {
            ring,
            free: (first..first + frames).rev().map(|frame| Frame(frame as u32)).collect(),
            words: first / 64..(first + frames) / 64,
            frames,
            unpublished: false,
            unsent: false,
            stuck: false,
        }
    }

    /// Whether the kernel refused to send when it was asked last: the interface is down, or gone.
    #[inline]
    pub(super) fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// Frames that can be had now.
    #[inline]
    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<Frame> {
        self.free.pop()
    }

    /// Gives a frame back that was not sent.
    #[inline]
    pub(super) fn put_back(&mut self, frame: Frame) {
        self.free.push(frame);
    }

    /// Queues the first `len` bytes of a frame.
    #[inline]
    pub(super) fn send(&mut self, lane: &Lane, frame: Frame, len: usize) {
        let descriptor = libc::xdp_desc { addr: lane.address(frame.0), len: len as u32, options: 0 };
        let pushed = self.ring.push(descriptor);
        assert!(pushed, "the transmit ring has room for every frame");
        self.unpublished = true;
    }

    /// Hands what is queued to the kernel, and takes back what it has sent.
    #[inline]
    pub(super) fn flush(&mut self, lane: &Lane, socket: &Socket) {
        if self.unpublished {
            self.unpublished = false;
            self.unsent = true;
            self.ring.publish();
        }
        if self.unsent {
            self.wake(lane, socket);
        }
        // One by one would cost more than it gives; three quarters are room enough.
        if self.free.len() < self.frames - self.frames / 4 {
            self.reclaim(lane);
        }
    }

    fn wake(&mut self, lane: &Lane, socket: &Socket) {
        let mut before = u32::MAX;
        loop {
            let unread = self.ring.unread();
            self.unsent = unread > 0;
            // A call sends some 32 frames. When it has sent none the next flush tries again.
            if unread == 0 || unread == before || !self.ring.wants_wakeup() {
                return;
            }
            before = unread;
            let refused = sys::wake_transmit(socket).err().and_then(|error| error.raw_os_error());
            self.stuck = false;
            match refused {
                None | Some(libc::EINTR) => {}
                // There is more to send; or completions wait for room, or the kernel for memory.
                Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS) => self.reclaim(lane),
                Some(_) => {
                    self.stuck = true;
                    return;
                }
            }
        }
    }

    /// Takes back the frames that the kernel has sent.
    fn reclaim(&mut self, lane: &Lane) {
        lane.collect_finished();
        for word in self.words.clone() {
            if lane.finished[word].load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Acquire: the kernel has read the frames.
            let mut bits = lane.finished[word].swap(0, Ordering::Acquire);
            while bits != 0 {
                self.free.push(Frame((word * 64) as u32 + bits.trailing_zeros()));
                bits &= bits - 1;
            }
        }
    }

    /// Whether nothing is left for the kernel to send.
    pub(super) fn is_drained(&mut self) -> bool {
        self.ring.unread() == 0
    }
}

/// What the kernel's refusal means.
fn explain(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "AF_XDP takes root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF",
        Some(libc::EAFNOSUPPORT) => "this kernel has no AF_XDP",
        Some(libc::EBUSY) => "another process has an AF_XDP socket at this queue",
        Some(libc::ENOBUFS | libc::ENOMEM) => {
            "AF_XDP got no memory: raise the limit of locked memory (`ulimit -l`), or ask for fewer buffers"
        }
        _ => "AF_XDP failed",
    };
    io::Error::new(error.kind(), format!("{why}: {error}"))
}
