//! The calls into the kernel that no library of ours has: bpf(2), and options and addresses of AF_XDP and netlink
//! sockets. Everything above is safe code, but for the memory shared with the kernel.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use socket2::{Domain, Socket, Type};

/// Commands of bpf(2) (`enum bpf_cmd` of linux/bpf.h).
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub(super) enum BpfCommand {
    MapCreate = 0,
    MapUpdate = 2,
    MapDelete = 3,
    ProgramLoad = 5,
    #[cfg(test)]
    ProgramTestRun = 10,
    LinkCreate = 28,
}

/// Arguments of a bpf(2) command: the start of `union bpf_attr`, as far as it is used. The kernel takes what is not
/// passed as zeros.
///
/// # Safety
/// A type that implements this has `repr(C)`, no padding, and the layout of the kernel's; its pointers, which are
/// numbers here, point to memory as long as the length beside them says.
pub(super) unsafe trait BpfArguments {}

#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct MapCreate {
    pub(super) kind: u32,
    pub(super) key_bytes: u32,
    pub(super) value_bytes: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
    pub(super) inner_map: u32,
    pub(super) numa_node: u32,
    pub(super) name: [u8; 16],
}

#[derive(Debug, Default)]
#[repr(C)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(Debug, Default)]
#[repr(C)]
struct ProgramLoad {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach: u32,
}

#[derive(Debug, Default)]
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach: u32,
    flags: u32,
}

// SAFETY: `repr(C)`, 32-bit fields first and in pairs; no pointers.
unsafe impl BpfArguments for MapCreate {}
// SAFETY: as above; made by `map_element` only, whose pointers live across the call.
unsafe impl BpfArguments for MapElement {}
// SAFETY: as above; made by `load_program` only, whose pointers live across the call.
unsafe impl BpfArguments for ProgramLoad {}
// SAFETY: as above; no pointers.
unsafe impl BpfArguments for LinkCreate {}

fn bpf(command: BpfCommand, arguments: &mut impl BpfArguments) -> io::Result<i32> {
    // SAFETY: the arguments are laid out as the kernel's (see the trait), writable, and their size is passed.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_int, &raw mut *arguments, size_of_val(arguments))
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn bpf_descriptor(command: BpfCommand, arguments: &mut impl BpfArguments) -> io::Result<OwnedFd> {
    let descriptor = bpf(command, arguments)?;
    // SAFETY: the kernel just opened this descriptor for us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

pub(super) fn create_map(mut map: MapCreate) -> io::Result<OwnedFd> {
    bpf_descriptor(BpfCommand::MapCreate, &mut map)
}

/// Sets the element at `key`. Key and value must be as long as the map says.
///
/// # Safety
/// `map` is a map whose keys are `K` and whose values are `V`.
pub(super) unsafe fn update_map<K: Copy, V: Copy>(map: &OwnedFd, key: &K, value: &V) -> io::Result<()> {
    map_element(BpfCommand::MapUpdate, map, (&raw const *key) as u64, (&raw const *value) as u64)
}

/// Removes the element at `key`; it is no error when there is none.
///
/// # Safety
/// `map` is a map whose keys are `K`.
pub(super) unsafe fn delete_from_map<K: Copy>(map: &OwnedFd, key: &K) -> io::Result<()> {
    match map_element(BpfCommand::MapDelete, map, (&raw const *key) as u64, 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        outcome => outcome,
    }
}

fn map_element(command: BpfCommand, map: &OwnedFd, key: u64, value: u64) -> io::Result<()> {
    let mut element = MapElement { map: map.as_raw_fd() as u32, key, value, ..MapElement::default() };
    bpf(command, &mut element).map(|_| ())
}

const PROGRAM_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// Loads an XDP program. A refusal by the verifier carries what it said last.
pub(super) fn load_program(name: &[u8], code: &[u64]) -> io::Result<OwnedFd> {
    let license = c"MIT OR Apache-2.0";
    let mut arguments = ProgramLoad {
        kind: PROGRAM_XDP,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: license.as_ptr() as u64,
        name: short_name(name),
        expected_attach: ATTACH_XDP,
        ..ProgramLoad::default()
    };
    let refused = match bpf_descriptor(BpfCommand::ProgramLoad, &mut arguments) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EINVAL)) => error,
        outcome => return outcome,
    };
    let mut log = vec![0u8; 64 << 10];
    arguments.log_level = 1;
    arguments.log_bytes = log.len() as u32;
    arguments.log = log.as_mut_ptr() as u64;
    bpf_descriptor(BpfCommand::ProgramLoad, &mut arguments).map_err(|_| {
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = text.trim_end_matches('\0').lines().rev().take(3).collect();
        io::Error::new(refused.kind(), format!("the verifier refuses the program: {refused}: {lines:?}"))
    })
}

/// Attaches an XDP program to an interface. It is detached when the descriptor is closed, by whatever end the process
/// has.
pub(super) fn attach_program(program: &OwnedFd, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let program = program.as_raw_fd() as u32;
    bpf_descriptor(BpfCommand::LinkCreate, &mut LinkCreate { program, interface, attach: ATTACH_XDP, flags })
}

/// Names in the kernel have up to 15 bytes.
pub(super) fn short_name(name: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    let len = name.len().min(15);
    short[..len].copy_from_slice(&name[..len]);
    short
}

/// A new AF_XDP socket.
pub(super) fn xdp_socket() -> io::Result<Socket> {
    Socket::new(Domain::from(libc::AF_XDP), Type::RAW, None)
}

/// Binds an AF_XDP socket to a queue of an interface; with [`libc::XDP_SHARED_UMEM`] it shares the memory of `owner`.
pub(super) fn bind_xdp(
    socket: &Socket,
    interface: u32,
    queue: u32,
    flags: u16,
    owner: Option<&Socket>,
) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: interface,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: owner.map_or(0, |owner| owner.as_raw_fd() as u32),
    };
    // SAFETY: `sockaddr_xdp` is the address of an AF_XDP socket.
    unsafe { bind(socket.as_raw_fd(), &address) }
}

/// Binds a netlink socket to multicast groups (`RTMGRP_*`).
pub(super) fn bind_netlink(socket: &Socket, groups: u32) -> io::Result<()> {
    // SAFETY: a sockaddr_nl of zeros is one.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = groups;
    // SAFETY: `sockaddr_nl` is the address of a netlink socket.
    unsafe { bind(socket.as_raw_fd(), &address) }
}

/// # Safety
/// `address` is a socket address of the socket's family.
unsafe fn bind<A>(socket: RawFd, address: &A) -> io::Result<()> {
    // SAFETY: the address lives across the call and its size is given.
    let result =
        unsafe { libc::bind(socket, (&raw const *address).cast(), size_of::<A>() as libc::socklen_t) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets an option of an AF_XDP socket.
///
/// # Safety
/// `V` is the option's type; what it points to lives as long as the option says.
pub(super) unsafe fn set_option<V>(socket: &Socket, name: libc::c_int, value: &V) -> io::Result<()> {
    // SAFETY: the value lives across the call and its size is given; the rest is the caller's promise.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            name,
            (&raw const *value).cast(),
            size_of::<V>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Where producer, consumer, flags and entries of each ring are in its mapping.
pub(super) fn ring_offsets(socket: &Socket) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: four times four numbers; zeros are such.
    let mut offsets = unsafe { std::mem::zeroed::<libc::xdp_mmap_offsets>() };
    // SAFETY: the option's type.
    unsafe { read_option(socket, libc::XDP_MMAP_OFFSETS, &mut offsets)? };
    Ok(offsets)
}

/// What the kernel counted at a socket.
pub(super) fn statistics(socket: &Socket) -> io::Result<libc::xdp_statistics> {
    // SAFETY: six numbers; zeros are such.
    let mut statistics = unsafe { std::mem::zeroed::<libc::xdp_statistics>() };
    // SAFETY: the option's type.
    unsafe { read_option(socket, libc::XDP_STATISTICS, &mut statistics)? };
    Ok(statistics)
}

/// # Safety
/// `V` is the option's type and holds nothing but numbers.
unsafe fn read_option<V>(socket: &Socket, name: libc::c_int, value: &mut V) -> io::Result<()> {
    let mut bytes = size_of::<V>() as libc::socklen_t;
    // SAFETY: the value is writable for `bytes` bytes across the call, and `bytes` is a valid in/out pointer.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, name, (&raw mut *value).cast(), &raw mut bytes)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if bytes as usize != size_of::<V>() {
        return Err(io::Error::other("this kernel's AF_XDP is too old: 5.9 is needed"));
    }
    Ok(())
}

/// Has the kernel send what is in the transmit ring of a socket. `WouldBlock` when it has not sent all of it.
pub(super) fn wake_transmit(socket: &Socket) -> io::Result<()> {
    // SAFETY: a call on an open descriptor that touches no memory of ours but the rings.
    let result = unsafe {
        libc::sendto(socket.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Has the kernel take buffers from the fill ring of a socket's queue.
pub(super) fn wake_receive(socket: &Socket) {
    // SAFETY: a call on an open descriptor that touches no memory of ours but the rings. It receives nothing: an
    // error says that there is nothing to do now.
    let _ = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
}

const ETHTOOL_DRIVER_INFO: u32 = 0x0003;
const ETHTOOL_CHANNELS: u32 = 0x003C;

/// `struct ethtool_channels`.
#[derive(Debug, Default)]
#[repr(C)]
struct Channels {
    command: u32,
    max: [u32; 4],
    receive: u32,
    transmit: u32,
    other: u32,
    combined: u32,
}

/// Receive queues of an interface; 1 where it does not say.
pub(super) fn receive_queues(socket: &Socket, interface: &str) -> u32 {
    let mut channels = Channels { command: ETHTOOL_CHANNELS, ..Channels::default() };
    // SAFETY: the command's type, to its full length.
    match unsafe { ethtool(socket, interface, (&raw mut channels).cast()) } {
        Ok(()) => (channels.receive + channels.combined).max(1),
        Err(_) => 1,
    }
}

/// Name of an interface's driver, empty where it does not say.
pub(super) fn driver_name(socket: &Socket, interface: &str) -> String {
    // `struct ethtool_drvinfo`: command, then names of 32 bytes each, the driver's first; 196 bytes in all.
    let mut info = [0u32; 49];
    info[0] = ETHTOOL_DRIVER_INFO;
    // SAFETY: as long as the command's type, and made of numbers.
    if unsafe { ethtool(socket, interface, info.as_mut_ptr().cast()) }.is_err() {
        return String::new();
    }
    let name: Vec<u8> = info[1..9].iter().flat_map(|word| word.to_ne_bytes()).collect();
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..len]).into_owned()
}

/// # Safety
/// `data` points to what the command in its first word reads and writes.
unsafe fn ethtool(socket: &Socket, interface: &str, data: *mut libc::c_char) -> io::Result<()> {
    // SAFETY: an ifreq of zeros is one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = data;
    // SAFETY: the request lives across the call, and `data` is the caller's promise.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
pub(super) mod test_run {
    //! `BPF_PROG_TEST_RUN`: what a program says to a frame.
    use super::*;

    #[derive(Debug, Default)]
    #[repr(C)]
    struct TestRun {
        program: u32,
        verdict: u32,
        in_bytes: u32,
        out_bytes: u32,
        frame: u64,
        out: u64,
        repeat: u32,
        duration: u32,
        context_in_bytes: u32,
        context_out_bytes: u32,
        context_in: u64,
        context_out: u64,
    }

    // SAFETY: `repr(C)` without padding; made by `verdict` only, whose pointers live across the call.
    unsafe impl BpfArguments for TestRun {}

    /// Runs a program on a frame, once.
    pub(in super::super) fn verdict(program: &OwnedFd, frame: &[u8]) -> io::Result<u32> {
        let mut run = TestRun {
            program: program.as_raw_fd() as u32,
            in_bytes: frame.len() as u32,
            frame: frame.as_ptr() as u64,
            repeat: 1,
            ..TestRun::default()
        };
        bpf(BpfCommand::ProgramTestRun, &mut run)?;
        Ok(run.verdict)
    }
}
