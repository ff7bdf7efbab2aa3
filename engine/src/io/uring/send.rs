//! Send memory: datagrams in slots, messages to the kernel that name them, and runs of datagrams made into one.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::RawFd;

use super::region::{CACHE_LINE_BYTES, Region};
use crate::io::{Destination, DriverConfig, DriverCounters, EndpointId, MAX_DESTINATIONS};
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_ENDPOINTS};

/// Datagrams of one segmented send. The kernel takes 64 everywhere, 128 since 6.6.
const MAX_SEGMENTS: usize = 64;
/// How many of the messages queued last are looked at for one to the same destination.
const LOOK_BACK: usize = 16;

/// A message as the kernel reads it.
#[repr(C)]
struct Message {
    header: libc::msghdr,
    name: libc::sockaddr_in,
    control: Control,
    parts: [libc::iovec; MAX_SEGMENTS],
}

/// `UDP_SEGMENT` as a control message: the header, then the segments' length.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    segment_bytes: u16,
    padding: [u16; 3],
}

/// What we know of a message; its index is the message's.
#[derive(Clone, Copy)]
struct Job {
    endpoint: EndpointId,
    to: SocketAddrV4,
    /// Datagrams in it.
    parts: usize,
    /// Their bytes.
    bytes: usize,
    /// Length of the first, and so of all but the last.
    segment_bytes: usize,
    /// The last is shorter: nothing can follow.
    closed: bool,
    /// The kernel would not segment it: the parts are sent one by one, and this one is next.
    single: Option<usize>,
}

/// Send slots and messages. Each datagram stands once in a slot, whatever the number of its destinations.
///
/// The kernel reads this memory: it may be dropped only when nothing is in flight.
pub(super) struct SendQueue {
    slots: Region,
    slot_bytes: usize,
    messages: Region,
    /// Messages that name each slot.
    uses: Vec<u16>,
    jobs: Vec<Job>,
    free_slots: Vec<u16>,
    free_jobs: Vec<u16>,
    /// Messages to submit, in order.
    ready: VecDeque<u16>,
    in_flight: usize,
    /// Longest datagram that each endpoint can segment: 0 where the kernel cannot.
    segmentable_bytes: Vec<usize>,
    /// Endpoints whose socket is connected, and takes no address.
    connected: Vec<bool>,
}

impl SendQueue {
    pub(super) fn new(config: &DriverConfig) -> io::Result<SendQueue> {
        let slots = config.send_slots;
        let jobs = SendQueue::messages(config);
        let free = |count: usize| (0..count as u16).rev().collect();
        let idle = Job {
            endpoint: EndpointId(0),
            to: SocketAddrV4::new(std::net::Ipv4Addr::UNSPECIFIED, 0),
            parts: 0,
            bytes: 0,
            segment_bytes: 0,
            closed: false,
            single: None,
        };
        Ok(SendQueue {
            slots: Region::new(slots, config.max_datagram_bytes.next_multiple_of(CACHE_LINE_BYTES))?,
            slot_bytes: config.max_datagram_bytes,
            messages: Region::new(jobs, size_of::<Message>().next_multiple_of(CACHE_LINE_BYTES))?,
            uses: vec![0; slots],
            jobs: vec![idle; jobs],
            free_slots: free(slots),
            free_jobs: free(jobs),
            ready: VecDeque::with_capacity(jobs),
            in_flight: 0,
            segmentable_bytes: vec![if config.gso { MAX_DATAGRAM_BYTES } else { 0 }; MAX_ENDPOINTS],
            connected: vec![false; MAX_ENDPOINTS],
        })
    }

    /// How many messages there are: two lines for each slot, and always enough for one datagram.
    pub(super) fn messages(config: &DriverConfig) -> usize {
        (2 * config.send_slots).max(MAX_DESTINATIONS)
    }

    /// The socket of `endpoint` sends to one receiver only.
    pub(super) fn set_connected(&mut self, endpoint: EndpointId) {
        self.connected[usize::from(endpoint.0)] = true;
    }

    /// Room for one more datagram to `destinations` receivers?
    pub(super) fn has_room(&self, destinations: usize) -> bool {
        !self.free_slots.is_empty() && self.free_jobs.len() >= destinations
    }

    /// The memory that the next datagram is written into. Call only when [`SendQueue::has_room`].
    pub(super) fn next_slot(&mut self) -> &mut [u8] {
        let slot = *self.free_slots.last().expect("asked for room first");
        // SAFETY: the slot has that many bytes, and it is free: no message names it, so the kernel does not read it,
        // and the borrow of `self` keeps everyone else away.
        unsafe { std::slice::from_raw_parts_mut(self.slots.slot(usize::from(slot)), self.slot_bytes) }
    }

    /// Queues the `len` bytes in the next slot for each of `to`.
    pub(super) fn queue(&mut self, to: &[Destination], len: usize) {
        if to.is_empty() {
            return;
        }
        let slot = self.free_slots.pop().expect("asked for room first");
        for &destination in to {
            let job = self.job_for(destination, len);
            self.append(job, slot, len);
        }
    }

    /// A queued message that the datagram can join, or a new one. Only the newest message to a destination counts:
    /// joining an older one would overtake.
    fn job_for(&mut self, destination: Destination, len: usize) -> u16 {
        let same = |job: &Job| job.endpoint == destination.endpoint && job.to == destination.to;
        let segmentable = self.segmentable_bytes[usize::from(destination.endpoint.0)];
        let newest =
            self.ready.iter().rev().take(LOOK_BACK).find(|&&index| same(&self.jobs[usize::from(index)]));
        if let Some(&index) = newest {
            let job = &self.jobs[usize::from(index)];
            let fits = job.parts < MAX_SEGMENTS && job.bytes + len <= MAX_DATAGRAM_BYTES;
            if fits && !job.closed && len <= job.segment_bytes && job.segment_bytes <= segmentable {
                return index;
            }
        }
        let index = self.free_jobs.pop().expect("asked for room first");
        self.jobs[usize::from(index)] = Job {
            endpoint: destination.endpoint,
            to: destination.to,
            parts: 0,
            bytes: 0,
            segment_bytes: len,
            closed: false,
            single: None,
        };
        self.ready.push_back(index);
        index
    }

    fn append(&mut self, index: u16, slot: u16, len: usize) {
        let message = self.message(index);
        let job = &mut self.jobs[usize::from(index)];
        let part = libc::iovec { iov_base: self.slots.slot(usize::from(slot)).cast(), iov_len: len };
        // SAFETY: the message is queued, not in flight, so that only we have it; `parts` is below MAX_SEGMENTS.
        unsafe { (*message).parts[job.parts] = part };
        job.parts += 1;
        job.bytes += len;
        job.closed = len < job.segment_bytes;
        self.uses[usize::from(slot)] += 1;
    }

    fn message(&self, index: u16) -> *mut Message {
        self.messages.slot(usize::from(index)).cast()
    }

    /// The next message for the kernel: its index, endpoint and header. It counts as in flight from here on.
    pub(super) fn next_ready(&mut self) -> Option<(u16, EndpointId, *const libc::msghdr)> {
        let index = self.ready.pop_front()?;
        self.in_flight += 1;
        Some((index, self.jobs[usize::from(index)].endpoint, self.prepare(index)))
    }

    /// Sends the next message by a plain call, the shortest there is for it; false when there is none, or when its
    /// socket, which `socket_of` gives, has no room: then it is the next again.
    pub(super) fn send_next(
        &mut self,
        socket_of: impl FnOnce(EndpointId) -> RawFd,
        counters: &mut DriverCounters,
    ) -> bool {
        const FLAGS: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let Some((index, endpoint, header)) = self.next_ready() else { return false };
        let socket = socket_of(endpoint);
        // SAFETY: the message is not in flight but here, so that nobody writes to it; the header and all that it
        // names lie in the send memory, and stay as they are until the call returns.
        let sent = unsafe {
            let header = &*header;
            if header.msg_iovlen == 1 {
                let part = *header.msg_iov;
                let (name, length) = (header.msg_name.cast::<libc::sockaddr>(), header.msg_namelen);
                libc::sendto(socket, part.iov_base, part.iov_len, FLAGS, name, length)
            } else {
                libc::sendmsg(socket, header, FLAGS)
            }
        };
        let errno = if sent < 0 { io::Error::last_os_error().raw_os_error() } else { None };
        if errno == Some(libc::EAGAIN) {
            self.put_back(index);
            return false;
        }
        self.complete(index, errno.map_or(sent as i32, |errno| -errno), counters);
        true
    }

    /// The kernel had no room: the message is the next again.
    pub(super) fn put_back(&mut self, index: u16) {
        self.in_flight -= 1;
        self.ready.push_front(index);
    }

    /// Messages to submit.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Messages that the kernel has.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Writes the message for the kernel.
    fn prepare(&mut self, index: u16) -> *const libc::msghdr {
        let job = &self.jobs[usize::from(index)];
        let message = self.message(index);
        // SAFETY: the message is not in flight (it comes from `ready`), the region gives it room and alignment, and
        // zeroed memory is a valid value of each of its fields. All pointers stay within the regions.
        unsafe {
            (*message).name.sin_family = libc::AF_INET as libc::sa_family_t;
            (*message).name.sin_port = job.to.port().to_be();
            (*message).name.sin_addr.s_addr = u32::from(*job.to.ip()).to_be();
            let header = &raw mut (*message).header;
            (*header).msg_name = (&raw mut (*message).name).cast();
            (*header).msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            if self.connected[usize::from(job.endpoint.0)] {
                (*header).msg_name = std::ptr::null_mut();
                (*header).msg_namelen = 0;
            }
            let parts = (&raw mut (*message).parts).cast::<libc::iovec>();
            (*header).msg_iov = parts.add(job.single.unwrap_or(0));
            (*header).msg_iovlen = if job.single.is_some() { 1 } else { job.parts } as _;
            (*header).msg_control = std::ptr::null_mut();
            (*header).msg_controllen = 0;
            if job.single.is_none() && job.parts > 1 {
                let control = &raw mut (*message).control;
                (*control).header.cmsg_level = libc::SOL_UDP;
                (*control).header.cmsg_type = libc::UDP_SEGMENT;
                (*control).header.cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
                (*control).segment_bytes = job.segment_bytes as u16;
                (*header).msg_control = control.cast();
                (*header).msg_controllen = size_of::<Control>() as _;
            }
            header
        }
    }

    /// Takes the kernel's answer for a message: `result` is a number of bytes, or an error below zero.
    pub(super) fn complete(&mut self, index: u16, result: i32, counters: &mut DriverCounters) {
        self.in_flight -= 1;
        let job = &mut self.jobs[usize::from(index)];
        let datagrams = if job.single.is_some() { 1 } else { job.parts };
        if result >= 0 {
            counters.sent_datagrams += datagrams as u64;
            counters.sent_bytes += result as u64;
            counters.segmented_sends += u64::from(datagrams > 1);
        } else if datagrams > 1 && cannot_segment(-result) {
            // Too long for the route's MTU, or an interface that does not compute check sums: the parts go one by
            // one, and no run of that length is tried again here.
            let limit = if -result == libc::EIO { 0 } else { job.segment_bytes - 1 };
            let segmentable = &mut self.segmentable_bytes[usize::from(job.endpoint.0)];
            *segmentable = limit.min(*segmentable);
            job.single = Some(0);
            job.closed = true;
            self.ready.push_front(index);
            return;
        } else {
            counters.send_errors += datagrams as u64;
        }
        if let Some(single) = job.single
            && single + 1 < job.parts
        {
            job.single = Some(single + 1);
            self.ready.push_front(index);
            return;
        }
        self.release(index);
    }

    /// Frees a message and every slot that no other message names.
    fn release(&mut self, index: u16) {
        let message = self.message(index);
        let start = self.slots.slot(0) as usize;
        let stride = self.slots.stride();
        for part in 0..self.jobs[usize::from(index)].parts {
            // SAFETY: the message is not in flight any more, and its first `parts` parts were written by `append`.
            let base = unsafe { (*message).parts[part].iov_base } as usize;
            let slot = (base - start) / stride;
            self.uses[slot] -= 1;
            if self.uses[slot] == 0 {
                self.free_slots.push(slot as u16);
            }
        }
        self.free_jobs.push(index);
    }
}

/// The kernel's ways to say that it will not segment.
fn cannot_segment(errno: i32) -> bool {
    matches!(errno, libc::EINVAL | libc::EMSGSIZE | libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SLOTS: usize = 100;

    fn sends() -> SendQueue {
        let config = DriverConfig { send_slots: SLOTS, max_datagram_bytes: 1_500, ..DriverConfig::default() };
        SendQueue::new(&config).unwrap()
    }

    fn to(port: u16) -> Destination {
        Destination { endpoint: EndpointId(0), to: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port) }
    }

    fn queue(sends: &mut SendQueue, ports: &[u16], len: usize) {
        assert!(sends.has_room(ports.len()));
        sends.next_slot().fill(len as u8);
        let to: Vec<Destination> = ports.iter().map(|&port| to(port)).collect();
        sends.queue(&to, len);
    }

    /// What the kernel would read: port, segment length (0 without segmentation), and the parts' lengths.
    type Read = (u16, u16, Vec<usize>);

    // msg_iovlen is a usize here and an int with other C libraries.
    #[allow(clippy::unnecessary_cast)]
    fn read(header: *const libc::msghdr) -> Read {
        // SAFETY: `header` is one that `prepare` wrote, and nothing changes it meanwhile.
        unsafe {
            let header = &*header;
            let name = &*header.msg_name.cast::<libc::sockaddr_in>();
            let parts = std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen as usize);
            for part in parts {
                let bytes = std::slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len);
                assert!(bytes.iter().all(|&byte| byte == part.iov_len as u8));
            }
            let control = header.msg_control.cast::<Control>();
            let segment_bytes = if control.is_null() { 0 } else { (*control).segment_bytes };
            (u16::from_be(name.sin_port), segment_bytes, parts.iter().map(|part| part.iov_len).collect())
        }
    }

    fn take(sends: &mut SendQueue) -> Option<(u16, Read)> {
        let (index, _, header) = sends.next_ready()?;
        Some((index, read(header)))
    }

    /// Completes everything as sent and gives what the kernel read.
    fn send_all(sends: &mut SendQueue) -> Vec<Read> {
        let mut counters = DriverCounters::default();
        let mut read = Vec::new();
        while let Some((index, message)) = take(sends) {
            sends.complete(index, message.2.iter().sum::<usize>() as i32, &mut counters);
            read.push(message);
        }
        assert_eq!((sends.in_flight(), sends.free_slots.len()), (0, SLOTS), "all is free again");
        assert_eq!(sends.free_jobs.len(), sends.jobs.len());
        read
    }

    #[test]
    fn runs_to_each_destination_become_one_message() {
        let mut sends = sends();
        for _ in 0..3 {
            queue(&mut sends, &[1, 2], 100);
        }
        queue(&mut sends, &[1], 40);
        queue(&mut sends, &[1, 2], 100);
        queue(&mut sends, &[2], 101);
        let expected =
            [(1, 100, vec![100, 100, 100, 40]), (2, 100, vec![100; 4]), (1, 0, vec![100]), (2, 0, vec![101])];
        assert_eq!(send_all(&mut sends), expected);
    }

    #[test]
    fn a_run_ends_at_64_datagrams_and_at_64_kib() {
        let mut sends = sends();
        for _ in 0..65 {
            queue(&mut sends, &[1], 10);
        }
        assert_eq!(send_all(&mut sends), [(1, 10, vec![10; 64]), (1, 0, vec![10])]);
        for _ in 0..45 {
            queue(&mut sends, &[1], 1_472);
        }
        assert_eq!(send_all(&mut sends), [(1, 1_472, vec![1_472; 44]), (1, 0, vec![1_472])]);
    }

    #[test]
    fn room_counts_slots_and_messages() {
        let mut sends = sends();
        for _ in 0..SLOTS {
            queue(&mut sends, &[1, 2, 3], 10);
        }
        assert!(!sends.has_room(1), "no slot");
        send_all(&mut sends);
        let jobs = sends.jobs.len() as u16;
        let ports: Vec<u16> = (0..jobs - 1).collect();
        for ports in ports.chunks(60) {
            queue(&mut sends, ports, 10);
        }
        assert!(sends.has_room(1) && !sends.has_room(2), "one message");
        assert_eq!(send_all(&mut sends).len(), ports.len());
    }

    #[test]
    fn what_the_kernel_will_not_segment_goes_one_by_one_and_is_not_tried_again() {
        let mut sends = sends();
        for len in [200, 200, 150] {
            queue(&mut sends, &[1], len);
        }
        let mut counters = DriverCounters::default();
        let (index, message) = take(&mut sends).unwrap();
        assert_eq!(message, (1, 200, vec![200, 200, 150]));
        sends.complete(index, -libc::EINVAL, &mut counters);
        // What is queued meanwhile does not join it, nor does it overtake.
        queue(&mut sends, &[1], 150);
        for (len, result) in [(200, 200), (200, -libc::EPERM), (150, 150)] {
            let (single, message) = take(&mut sends).unwrap();
            assert_eq!((single, message), (index, (1, 0, vec![len])));
            sends.complete(single, result, &mut counters);
        }
        assert_eq!((counters.sent_datagrams, counters.sent_bytes), (2, 350));
        assert_eq!((counters.send_errors, counters.segmented_sends), (1, 0));
        queue(&mut sends, &[1], 150);
        assert_eq!(send_all(&mut sends), [(1, 150, vec![150; 2])], "shorter ones still can be segmented");
        queue(&mut sends, &[1], 200);
        queue(&mut sends, &[1], 200);
        assert_eq!(send_all(&mut sends), [(1, 0, vec![200]), (1, 0, vec![200])]);

        // No check sums in hardware: nothing can be segmented.
        queue(&mut sends, &[1], 10);
        queue(&mut sends, &[1], 10);
        let (index, _) = take(&mut sends).unwrap();
        sends.complete(index, -libc::EIO, &mut counters);
        assert_eq!(send_all(&mut sends).len(), 2);
        queue(&mut sends, &[1], 10);
        queue(&mut sends, &[1], 10);
        assert_eq!(send_all(&mut sends).len(), 2);
    }

    #[test]
    fn refused_sends_are_counted_and_free_their_slots() {
        let mut sends = sends();
        queue(&mut sends, &[1], 10);
        queue(&mut sends, &[2], 10);
        let mut counters = DriverCounters::default();
        for errno in [libc::ECONNREFUSED, libc::ENOBUFS] {
            let (index, _) = take(&mut sends).unwrap();
            sends.complete(index, -errno, &mut counters);
        }
        assert_eq!((counters.send_errors, counters.sent_datagrams), (2, 0));
        assert_eq!(send_all(&mut sends), []);
    }

    #[test]
    fn a_message_put_back_is_the_next_again() {
        let mut sends = sends();
        queue(&mut sends, &[1], 10);
        queue(&mut sends, &[2], 10);
        let (index, _) = take(&mut sends).unwrap();
        sends.put_back(index);
        let ports: Vec<u16> = send_all(&mut sends).iter().map(|message| message.0).collect();
        assert_eq!(ports, [1, 2]);
    }
}
