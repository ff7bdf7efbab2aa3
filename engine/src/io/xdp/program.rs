//! The program that picks our datagrams out of an interface's traffic: bytecode, written here, loaded by bpf(2).
//!
//! It looks at every frame that arrives and hands to an AF_XDP socket what is, beyond doubt, a datagram to one of our
//! endpoints. Everything else goes on to the kernel as if there were no program: ARP, other protocols and ports, tagged
//! frames, packets with IP options, fragments (the kernel puts them together and gives them to the endpoint's own
//! socket), frames for another host, and what is longer than a receive buffer.
//!
//! | map | key | value |
//! |---|---|---|
//! | destinations (hash) | IPv4 address, port, as on the wire | Ethernet address that the frame must have, first socket of the driver |
//! | sockets (XSKMAP) | first socket of the driver + receive queue | the socket; where none is bound the frame goes to the kernel |

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, OwnedFd};

use seqcast_wire::net::FRAME_HEADER_BYTES;
use socket2::Socket;

use super::sys::{self, MapCreate};

/// Receive queues of one interface that are served; what arrives at others goes through the kernel.
pub(super) const MAX_QUEUES: u32 = 32;
/// Destinations of one interface.
const MAX_DESTINATIONS: u32 = 2_048;

const MAP_HASH: u32 = 1;
const MAP_SOCKETS: u32 = 17;

/// `XDP_FLAGS_SKB_MODE` and `XDP_FLAGS_DRV_MODE`.
const ATTACH_GENERIC: u32 = 1 << 1;
const ATTACH_NATIVE: u32 = 1 << 2;

/// Key of the destinations: bytes as on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct DestinationKey {
    address: [u8; 4],
    port: [u8; 2],
    zero: [u8; 2],
}

#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct DestinationValue {
    ethernet: [u8; 6],
    first_socket: u16,
}

/// What the program does besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProgramOptions {
    /// Longest frame that a receive buffer takes.
    pub(super) max_frame_bytes: u16,
    /// Leave frames whose UDP check sum was left to an offload to the kernel. Such a frame was sent by a socket of this
    /// host, and where the program runs generically it may be a whole run of datagrams that were to be split later.
    pub(super) pass_unfinished: bool,
}

/// The loaded program and its maps. Dropping it detaches it.
#[derive(Debug)]
pub(super) struct Program {
    destinations: OwnedFd,
    sockets: OwnedFd,
    program: OwnedFd,
    /// Holds it to the interface.
    link: Option<OwnedFd>,
}

impl Program {
    /// Loads the program; it does nothing before it is attached.
    pub(super) fn load(options: ProgramOptions, max_sockets: u32) -> io::Result<Program> {
        let destinations = sys::create_map(MapCreate {
            kind: MAP_HASH,
            key_bytes: size_of::<DestinationKey>() as u32,
            value_bytes: size_of::<DestinationValue>() as u32,
            max_entries: MAX_DESTINATIONS,
            name: sys::short_name(b"seqcast_dest"),
            ..MapCreate::default()
        })
        .map_err(explain)?;
        let sockets = sys::create_map(MapCreate {
            kind: MAP_SOCKETS,
            key_bytes: 4,
            value_bytes: 4,
            max_entries: max_sockets,
            name: sys::short_name(b"seqcast_xsk"),
            ..MapCreate::default()
        })
        .map_err(explain)?;
        let code = code(options, destinations.as_raw_fd(), sockets.as_raw_fd());
        let program = sys::load_program(b"seqcast", &code).map_err(explain)?;
        Ok(Program { destinations, sockets, program, link: None })
    }

    /// Attaches it, in the interface's driver or generically.
    pub(super) fn attach(&mut self, interface: u32, native: bool) -> io::Result<()> {
        let flags = if native { ATTACH_NATIVE } else { ATTACH_GENERIC };
        self.link = Some(sys::attach_program(&self.program, interface, flags).map_err(|error| {
            let why = match error.raw_os_error() {
                Some(libc::EBUSY | libc::EEXIST) => ": another XDP program is there, see `ip link show`",
                _ => "",
            };
            io::Error::new(error.kind(), format!("cannot attach an XDP program: {error}{why}"))
        })?);
        Ok(())
    }

    /// Sends what is for `destination`, in frames for `ethernet`, to the sockets from `first_socket` on.
    pub(super) fn take(
        &self,
        destination: SocketAddrV4,
        ethernet: [u8; 6],
        first_socket: u32,
    ) -> io::Result<()> {
        let value = DestinationValue { ethernet, first_socket: first_socket as u16 };
        // SAFETY: the map was made for these types.
        unsafe { sys::update_map(&self.destinations, &key(destination), &value) }
    }

    /// Leaves what is for `destination` to the kernel again.
    pub(super) fn leave(&self, destination: SocketAddrV4) -> io::Result<()> {
        // SAFETY: the map was made for this type.
        unsafe { sys::delete_from_map(&self.destinations, &key(destination)) }
    }

    /// Puts a socket into its place.
    pub(super) fn put_socket(&self, place: u32, socket: &Socket) -> io::Result<()> {
        // SAFETY: the map was made for these types.
        unsafe { sys::update_map(&self.sockets, &place, &(socket.as_raw_fd() as u32)) }
    }

    /// What the program says to a frame that arrives at queue 0.
    #[cfg(test)]
    fn verdict(&self, frame: &[u8]) -> u32 {
        sys::test_run::verdict(&self.program, frame).unwrap()
    }
}

fn key(destination: SocketAddrV4) -> DestinationKey {
    DestinationKey {
        address: destination.ip().octets(),
        port: destination.port().to_be_bytes(),
        zero: [0; 2],
    }
}

fn explain(error: io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "XDP takes root, or CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF (and CAP_IPC_LOCK, or `ulimit -l unlimited`)"
        }
        Some(libc::ENOSYS | libc::EINVAL) => "this kernel's BPF is too old or switched off: 5.9 is needed",
        _ => "BPF failed",
    };
    io::Error::new(error.kind(), format!("{why}: {error}"))
}

/// Registers, as the calling convention has them.
const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
/// Kept over calls.
const CONTEXT: u8 = 6;
const FRAME: u8 = 7;
const FRAME_END: u8 = 8;
const STACK: u8 = 10;

/// Sizes in the operation codes of loads and stores.
const WORD: u8 = 0x00;
const HALF: u8 = 0x08;
const BYTE: u8 = 0x10;

const XDP_PASS: i32 = 2;
const CALL_MAP_LOOKUP: i32 = 1;
const CALL_REDIRECT_MAP: i32 = 51;
/// A load of 64 bits whose number is the descriptor of a map.
const PSEUDO_MAP: u8 = 1;

/// Instructions under way. Jumps lead forward, to the one place where the frame is passed on; they are told how far
/// when that is reached.
#[derive(Default)]
struct Assembler {
    code: Vec<u64>,
    to_pass: Vec<usize>,
}

/// Offsets in `struct xdp_md`.
const CONTEXT_DATA: i16 = 0;
const CONTEXT_DATA_END: i16 = 4;
const CONTEXT_QUEUE: i16 = 16;

/// Offsets in the frame.
const ETHERTYPE: i16 = 12;
const IP_VERSION: i16 = 14;
const IP_FRAGMENT: i16 = 20;
const IP_PROTOCOL: i16 = 23;
const IP_ADDRESSES: i16 = 26;
const IP_DESTINATION: i16 = 30;
const UDP_DESTINATION: i16 = 36;
const UDP_LENGTH: i16 = 38;
const UDP_CHECKSUM: i16 = 40;

impl Assembler {
    fn emit(&mut self, operation: u8, to: u8, from: u8, offset: i16, number: i32) {
        self.code.push(
            u64::from(operation)
                | u64::from(to) << 8
                | u64::from(from) << 12
                | u64::from(offset as u16) << 16
                | u64::from(number as u32) << 32,
        );
    }

    fn load(&mut self, size: u8, to: u8, from: u8, offset: i16) {
        self.emit(0x61 | size, to, from, offset, 0);
    }

    fn store(&mut self, size: u8, to: u8, offset: i16, from: u8) {
        self.emit(0x63 | size, to, from, offset, 0);
    }

    fn move_from(&mut self, to: u8, from: u8) {
        self.emit(0xBF, to, from, 0, 0);
    }

    fn set(&mut self, to: u8, number: i32) {
        self.emit(0xB7, to, 0, 0, number);
    }

    fn add(&mut self, to: u8, from: u8) {
        self.emit(0x0F, to, from, 0, 0);
    }

    fn add_number(&mut self, to: u8, number: i32) {
        self.emit(0x07, to, 0, 0, number);
    }

    fn and_number(&mut self, to: u8, number: i32) {
        self.emit(0x57, to, 0, 0, number);
    }

    fn shift_right(&mut self, to: u8, bits: i32) {
        self.emit(0x77, to, 0, 0, bits);
    }

    fn load_map(&mut self, to: u8, map: i32) {
        self.emit(0x18, to, PSEUDO_MAP, 0, map);
        self.emit(0, 0, 0, 0, 0);
    }

    fn call(&mut self, function: i32) {
        self.emit(0x85, 0, 0, 0, function);
    }

    fn exit(&mut self) {
        self.emit(0x95, 0, 0, 0, 0);
    }

    fn jump_to_pass(&mut self, operation: u8, left: u8, right: u8, number: i32) {
        self.to_pass.push(self.code.len());
        self.emit(operation, left, right, 0, number);
    }

    fn pass_if_greater(&mut self, left: u8, right: u8) {
        self.jump_to_pass(0x2D, left, right, 0);
    }

    fn pass_if_not_greater(&mut self, left: u8, right: u8) {
        self.jump_to_pass(0xBD, left, right, 0);
    }

    fn pass_if_at_least_number(&mut self, left: u8, number: i32) {
        self.jump_to_pass(0x35, left, 0, number);
    }

    fn pass_if_number(&mut self, left: u8, number: i32) {
        self.jump_to_pass(0x15, left, 0, number);
    }

    fn pass_if_not_number(&mut self, left: u8, number: i32) {
        self.jump_to_pass(0x55, left, 0, number);
    }

    fn pass_if_equal(&mut self, left: u8, right: u8) {
        self.jump_to_pass(0x1D, left, right, 0);
    }

    fn pass_if_not_equal(&mut self, left: u8, right: u8) {
        self.jump_to_pass(0x5D, left, right, 0);
    }

    /// The end: what jumps to pass lands here.
    fn pass(mut self) -> Vec<u64> {
        let here = self.code.len();
        for jump in &self.to_pass {
            let distance = (here - jump - 1) as u16;
            self.code[*jump] |= u64::from(distance) << 16;
        }
        self.set(R0, XDP_PASS);
        self.exit();
        self.code
    }
}

/// A 16-bit number as it is loaded from the wire.
fn wire(number: u16) -> i32 {
    i32::from(number.to_be())
}

/// The program.
fn code(options: ProgramOptions, destinations: i32, sockets: i32) -> Vec<u64> {
    let mut asm = Assembler::default();
    asm.move_from(CONTEXT, R1);
    asm.load(WORD, FRAME, CONTEXT, CONTEXT_DATA);
    asm.load(WORD, FRAME_END, CONTEXT, CONTEXT_DATA_END);
    // Long enough for the headers, short enough for a buffer.
    asm.move_from(R2, FRAME);
    asm.add_number(R2, i32::from(options.max_frame_bytes) + 1);
    asm.pass_if_not_greater(R2, FRAME_END);
    asm.move_from(R2, FRAME);
    asm.add_number(R2, FRAME_HEADER_BYTES as i32);
    asm.pass_if_greater(R2, FRAME_END);
    // IPv4 without options, whole, UDP.
    asm.load(HALF, R2, FRAME, ETHERTYPE);
    asm.pass_if_not_number(R2, wire(0x0800));
    asm.load(BYTE, R2, FRAME, IP_VERSION);
    asm.pass_if_not_number(R2, 0x45);
    asm.load(HALF, R2, FRAME, IP_FRAGMENT);
    asm.and_number(R2, wire(0x3FFF));
    asm.pass_if_not_number(R2, 0);
    asm.load(BYTE, R2, FRAME, IP_PROTOCOL);
    asm.pass_if_not_number(R2, 17);
    if options.pass_unfinished {
        pass_unfinished(&mut asm);
    }
    // One of our destinations, in a frame for this host.
    asm.load(WORD, R2, FRAME, IP_DESTINATION);
    asm.store(WORD, STACK, -8, R2);
    asm.load(HALF, R2, FRAME, UDP_DESTINATION);
    asm.store(WORD, STACK, -4, R2);
    key_in_memory_order(&mut asm);
    asm.load_map(R1, destinations);
    asm.move_from(R2, STACK);
    asm.add_number(R2, -8);
    asm.call(CALL_MAP_LOOKUP);
    asm.pass_if_number(R0, 0);
    asm.load(WORD, R2, R0, 0);
    asm.load(WORD, R3, FRAME, 0);
    asm.pass_if_not_equal(R2, R3);
    asm.load(HALF, R2, R0, 4);
    asm.load(HALF, R3, FRAME, 4);
    asm.pass_if_not_equal(R2, R3);
    // To the driver's socket at this queue; where there is none, on to the kernel.
    asm.load(HALF, R2, R0, 6);
    asm.load(WORD, R3, CONTEXT, CONTEXT_QUEUE);
    asm.pass_if_at_least_number(R3, MAX_QUEUES as i32);
    asm.add(R2, R3);
    asm.load_map(R1, sockets);
    asm.set(R3, XDP_PASS);
    asm.call(CALL_REDIRECT_MAP);
    asm.exit();
    asm.pass()
}

/// The port was stored as a word: on a big-endian machine its bytes would stand behind the zeros.
fn key_in_memory_order(asm: &mut Assembler) {
    if cfg!(target_endian = "big") {
        asm.set(R3, 0);
        asm.store(WORD, STACK, -4, R3);
        asm.store(HALF, STACK, -4, R2);
    }
}

/// Passes a frame whose UDP check sum is that of the pseudo header alone: addresses, protocol, length. A one's
/// complement sum comes out the same in either byte order.
fn pass_unfinished(asm: &mut Assembler) {
    asm.load(HALF, R2, FRAME, UDP_LENGTH);
    asm.add_number(R2, wire(17));
    for half in 0..4 {
        asm.load(HALF, R3, FRAME, IP_ADDRESSES + 2 * half);
        asm.add(R2, R3);
    }
    for _ in 0..2 {
        asm.move_from(R3, R2);
        asm.shift_right(R3, 16);
        asm.and_number(R2, 0xFFFF);
        asm.add(R2, R3);
    }
    asm.load(HALF, R4, FRAME, UDP_CHECKSUM);
    asm.pass_if_equal(R2, R4);
}

#[cfg(test)]
#[allow(clippy::print_stdout)]
mod tests {
    use std::net::Ipv4Addr;

    use seqcast_wire::net::{Hop, Sum, UdpDatagram, multicast_address};

    use super::*;

    const PASS: u32 = XDP_PASS as u32;
    const REDIRECT: u32 = 4;
    const OUR_ETHERNET: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const MAX_FRAME_BYTES: u16 = 1_600;

    fn line() -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(239, 1, 2, 3), 5_000)
    }

    fn local() -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 9), 6_000)
    }

    /// A program that takes both destinations, and a socket at queue 0 for it.
    fn program(pass_unfinished: bool) -> Option<(Program, Socket)> {
        let options = ProgramOptions { max_frame_bytes: MAX_FRAME_BYTES, pass_unfinished };
        let made = Program::load(options, 2 * MAX_QUEUES)
            .and_then(|program| Ok((program, sys::xdp_socket()?)))
            .and_then(|(program, socket)| {
                program.put_socket(MAX_QUEUES, &socket).map(|()| (program, socket))
            });
        match made {
            Ok((program, socket)) => {
                program.take(line(), multicast_address(*line().ip()), MAX_QUEUES).unwrap();
                program.take(local(), OUR_ETHERNET, MAX_QUEUES).unwrap();
                Some((program, socket))
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) =>
            {
                println!("skipped: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn frame(to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
        let source = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 7), 7_000);
        let ethernet = if to.ip().is_multicast() { multicast_address(*to.ip()) } else { OUR_ETHERNET };
        let hop = Hop { source: [2, 0, 0, 0, 0, 7], destination: ethernet, ttl: 3 };
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        let datagram = UdpDatagram { source, destination: to, payload };
        assert_ne!(datagram.emit_headers_for(&hop, Some(Sum::of(payload)), &mut frame), 0);
        frame.extend(payload);
        frame
    }

    #[test]
    fn datagrams_to_our_destinations_are_taken_and_no_others() {
        let Some((program, _socket)) = program(true) else { return };
        for to in [line(), local()] {
            for len in [0, 1, 64, 1_472, usize::from(MAX_FRAME_BYTES) - FRAME_HEADER_BYTES] {
                assert_eq!(program.verdict(&frame(to, &vec![7; len])), REDIRECT, "{len} bytes to {to}");
            }
            let too_long = vec![7; usize::from(MAX_FRAME_BYTES) - FRAME_HEADER_BYTES + 1];
            assert_eq!(program.verdict(&frame(to, &too_long)), PASS, "longer than a buffer");
            let other_port = SocketAddrV4::new(*to.ip(), to.port() + 1);
            let other_address = SocketAddrV4::new(Ipv4Addr::from(u32::from(*to.ip()) + 1), to.port());
            for other in [other_port, other_address] {
                assert_eq!(program.verdict(&frame(other, b"to others")), PASS, "{other}");
            }
        }
        program.leave(line()).unwrap();
        program.leave(line()).unwrap();
        assert_eq!(program.verdict(&frame(line(), b"left")), PASS);
        assert_eq!(program.verdict(&frame(local(), b"kept")), REDIRECT);
    }

    #[test]
    fn whatever_is_in_doubt_goes_to_the_kernel() {
        let Some((program, _socket)) = program(false) else { return };
        let whole = frame(line(), b"payload");
        assert_eq!(program.verdict(&whole), REDIRECT);
        let mut doubtful: Vec<(&str, Vec<u8>)> = Vec::new();
        let mut with = |what, changes: &[(usize, u8)]| {
            let mut frame = whole.clone();
            for &(at, byte) in changes {
                frame[at] = byte;
            }
            doubtful.push((what, frame));
        };
        with("ARP", &[(12, 0x08), (13, 0x06)]);
        with("IPv6", &[(12, 0x86), (13, 0xDD)]);
        with("a tag", &[(12, 0x81), (13, 0x00)]);
        with("IP options", &[(14, 0x46)]);
        with("IP version 5", &[(14, 0x55)]);
        with("a first fragment", &[(20, 0x20)]);
        with("a later fragment", &[(20, 0x00), (21, 0x01)]);
        with("a fragment far behind", &[(20, 0x1F)]);
        with("TCP", &[(23, 6)]);
        with("ICMP", &[(23, 1)]);
        with("another host's", &[(0, 0x02)]);
        with("another group's Ethernet address", &[(5, 0x04)]);
        for (what, frame) in doubtful {
            assert_eq!(program.verdict(&frame), PASS, "{what}");
        }
        for len in 14..FRAME_HEADER_BYTES {
            assert_eq!(program.verdict(&whole[..len]), PASS, "cut to {len} bytes");
        }
        let do_not_fragment = [(20, 0x40), (21, 0x00)];
        assert!(do_not_fragment.iter().all(|&(at, byte)| whole[at] == byte), "which is no fragment");
    }

    #[test]
    fn a_check_sum_left_to_an_offload_goes_to_the_kernel_where_that_is_asked_for() {
        let Some((careful, _socket)) = program(true) else { return };
        let Some((plain, _other)) = program(false) else { return };
        let mut unfinished = 0;
        for number in 0..300u32 {
            let payload: Vec<u8> = (0..number % 97).map(|at| (at * number) as u8).collect();
            let to = if number % 2 == 0 { line() } else { local() };
            let mut frame = frame(to, &payload);
            assert_eq!(careful.verdict(&frame), REDIRECT, "a whole check sum, number {number}");
            let sum = Sum::of(&frame[26..34]) + Sum::of_word(17) + Sum::of(&frame[38..40]);
            frame[40..42].copy_from_slice(&sum.folded().to_be_bytes());
            assert_eq!((careful.verdict(&frame), plain.verdict(&frame)), (PASS, REDIRECT));
            unfinished += 1;
            frame[41] ^= 1;
            assert_eq!(careful.verdict(&frame), REDIRECT, "a wrong one is ours to refuse");
            frame[40..42].fill(0);
            assert_eq!(careful.verdict(&frame), REDIRECT, "none");
        }
        assert_eq!(unfinished, 300);
    }

    #[test]
    fn without_a_socket_at_the_queue_the_kernel_gets_it() {
        let Some((program, socket)) = program(true) else { return };
        program.take(line(), multicast_address(*line().ip()), 0).unwrap();
        assert_eq!(program.verdict(&frame(line(), b"to a place without a socket")), PASS);
        drop(socket);
        assert_eq!(program.verdict(&frame(local(), b"the socket is gone")), PASS);
    }
}
