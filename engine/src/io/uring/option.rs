//! Socket options that socket2 has no name for.

use std::io;
use std::os::fd::AsRawFd;

use socket2::Socket;

/// Sets the receive buffer past `net.core.rmem_max` (`SO_RCVBUFFORCE`); false when the kernel does not let us.
pub(in crate::io) fn force_receive_buffer(socket: &Socket, bytes: usize) -> bool {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).is_ok()
}

/// Has every datagram carry the socket's count of dropped ones (`SO_RXQ_OVFL`).
pub(super) fn report_drops(socket: &Socket) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)
}

/// Lets the kernel hand over runs of datagrams as one (`UDP_GRO`).
pub(super) fn receive_offload(socket: &Socket) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Datagrams that the kernel dropped at this socket since it was opened, because its receive buffer was full.
pub(in crate::io) fn dropped_datagrams(socket: &impl AsRawFd) -> io::Result<u32> {
    // `SO_MEMINFO` gives an array of u32; the drops stand at index 8 (SK_MEMINFO_DROPS of linux/sock_diag.h).
    const SK_MEMINFO_DROPS: usize = 8;
    let mut info = [0u32; 9];
    let mut bytes = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is writable for `bytes` bytes for the length of the call, and `bytes` is a valid in/out pointer.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            info.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info[SK_MEMINFO_DROPS])
}

fn set(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the option's value is a c_int that lives across the call, and its size is given as such.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
