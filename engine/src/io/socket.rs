//! From a [`Bind`] to a socket: options, joins and buffer sizes, the same for every driver.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tracing::warn;

use super::{Bind, EndpointSpec};

/// How long a port that is in use is waited for, and how often it is tried.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(2);
const BIND_RETRY: Duration = Duration::from_millis(10);

/// Opens a UDP socket as `spec` asks. It blocks until the caller says otherwise.
pub(super) fn open(spec: &EndpointSpec) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
        .map_err(|error| explain("cannot make a UDP socket".into(), &error))?;
    match &spec.bind {
        Bind::Line { group, interface, source } => open_line(&socket, *group, *interface, *source)?,
        Bind::Local { local, multicast_ttl } => open_local(&socket, *local, *multicast_ttl)?,
        Bind::Sender { local, to, multicast_ttl } => {
            open_local(&socket, *local, *multicast_ttl)?;
            connect(&socket, *to)?;
        }
    }
    size_buffers(&socket, spec)?;
    Ok(socket)
}

/// The address a socket is bound to.
pub(super) fn local_addr(socket: &Socket) -> io::Result<SocketAddrV4> {
    socket.local_addr()?.as_socket_ipv4().ok_or_else(|| io::Error::other("not an IPv4 socket"))
}

/// Errors that concern one datagram or one moment, not the socket: news by ICMP, a kernel short of memory, an
/// interface that is down for now.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENETDOWN
                | libc::ENOBUFS
                | libc::ENOMEM
                | libc::EINTR
                | libc::EAGAIN
        )
    )
}

fn open_line(
    socket: &Socket,
    group: SocketAddrV4,
    interface: Ipv4Addr,
    source: Option<Ipv4Addr>,
) -> io::Result<()> {
    if !group.ip().is_multicast() {
        if source.is_some() {
            let text = format!("line {group}: a source can only be given for a multicast group");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        return bind(socket, group);
    }
    // Several subscribers of one host may join the same line; the kernel gives each its copy. (On BSD kernels that
    // takes SO_REUSEPORT, which on Linux would add nothing.)
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(target_os = "linux")))]
    socket.set_reuse_port(true)?;
    // Bound to the group, not to any address: two lines on one port do not mix.
    bind(socket, group)?;
    // Without this a socket also gets what other processes joined on other interfaces.
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false)?;
    match source {
        Some(source) => socket.join_ssm_v4(&source, group.ip(), &interface).map_err(|error| {
            explain(format!("cannot join {group} of source {source} on interface {interface}"), &error)
        }),
        None => socket
            .join_multicast_v4(group.ip(), &interface)
            .map_err(|error| explain(format!("cannot join {group} on interface {interface}"), &error)),
    }
}

fn open_local(socket: &Socket, local: SocketAddrV4, multicast_ttl: u8) -> io::Result<()> {
    if local.ip().is_multicast() {
        let text = format!("cannot send from {local}: it is a multicast group, give a local address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    bind(socket, local)?;
    if !local.ip().is_unspecified() {
        socket
            .set_multicast_if_v4(local.ip())
            .map_err(|error| explain(format!("cannot send multicast from {local}"), &error))?;
    }
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(u32::from(multicast_ttl))
}

/// Ties the socket to a group. Not to a single receiver: the news that this one is down for a moment would come back as an
/// error and cost the next datagram.
fn connect(socket: &Socket, to: SocketAddrV4) -> io::Result<()> {
    if !to.ip().is_multicast() {
        return Ok(());
    }
    socket
        .connect(&SockAddr::from(to))
        .map_err(|error| explain(format!("cannot send to {to}, there is no way there"), &error))
}

/// Whether the socket sends to one receiver only, and needs no address for it.
pub(super) fn is_connected(socket: &Socket) -> bool {
    socket.peer_addr().is_ok()
}

/// Binds, and waits a little for a port that is just being given back: the kernel takes down a killed process's io_uring,
/// and with it its sockets, some time after the process itself, and who restarts it should not have to know that.
fn bind(socket: &Socket, address: SocketAddrV4) -> io::Result<()> {
    let deadline = Instant::now() + GIVEN_BACK_WITHIN;
    loop {
        match socket.bind(&SockAddr::from(address)) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(BIND_RETRY);
            }
            Err(error) => return Err(explain(format!("cannot bind UDP {address}"), &error)),
        }
    }
}

fn size_buffers(socket: &Socket, spec: &EndpointSpec) -> io::Result<()> {
    if spec.receive_buffer_bytes > 0 {
        if !force_receive_buffer(socket, spec.receive_buffer_bytes) {
            socket.set_recv_buffer_size(spec.receive_buffer_bytes)?;
        }
        let granted = usable(socket.recv_buffer_size()?);
        if granted < spec.receive_buffer_bytes {
            let asked = spec.receive_buffer_bytes;
            warn!(bind = ?spec.bind, asked, granted, "receive buffer cut by the kernel: raise net.core.rmem_max");
        }
    }
    if spec.send_buffer_bytes > 0 {
        socket.set_send_buffer_size(spec.send_buffer_bytes)?;
        let granted = usable(socket.send_buffer_size()?);
        if granted < spec.send_buffer_bytes {
            let asked = spec.send_buffer_bytes;
            warn!(bind = ?spec.bind, asked, granted, "send buffer cut by the kernel: raise net.core.wmem_max");
        }
    }
    Ok(())
}

/// Linux grants double of what is asked, for its own bookkeeping, and reports the double.
fn usable(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

/// Past `net.core.rmem_max`, which the privileged may.
#[cfg(target_os = "linux")]
fn force_receive_buffer(socket: &Socket, bytes: usize) -> bool {
    super::uring::option::force_receive_buffer(socket, bytes)
}

#[cfg(not(target_os = "linux"))]
fn force_receive_buffer(_: &Socket, _: usize) -> bool {
    false
}

/// Adds what was tried to what the kernel said, and what to do about it where that is known.
fn explain(what: String, error: &io::Error) -> io::Error {
    let hint = match error.raw_os_error() {
        Some(libc::ENODEV | libc::EADDRNOTAVAIL) => ": no interface here has that address, see `ip address`",
        Some(libc::EADDRINUSE) => ": another process has this port, see `ss -ulnp`",
        Some(libc::ENOBUFS) => ": raise net.ipv4.igmp_max_memberships",
        Some(libc::EACCES | libc::EPERM) => ": ports below 1024 need CAP_NET_BIND_SERVICE",
        Some(libc::EMFILE | libc::ENFILE) => ": raise the limit of open files (`ulimit -n`)",
        _ => "",
    };
    io::Error::new(error.kind(), format!("{what}: {error}{hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(bind: Bind) -> EndpointSpec {
        EndpointSpec { bind, receive_buffer_bytes: 65_536, send_buffer_bytes: 65_536 }
    }

    fn refusal(bind: Bind) -> String {
        open(&spec(bind)).unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_the_address_and_the_remedy() {
        let elsewhere = Ipv4Addr::new(203, 0, 113, 77);
        let text = refusal(Bind::Local { local: SocketAddrV4::new(elsewhere, 0), multicast_ttl: 1 });
        assert!(text.contains("203.0.113.77") && text.contains("ip address"), "{text}");

        let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 7, 1), 0);
        let text = refusal(Bind::Line { group, interface: elsewhere, source: None });
        assert!(text.contains("239.255.7.1") && text.contains("203.0.113.77"), "{text}");

        let text = refusal(Bind::Local { local: group, multicast_ttl: 1 });
        assert!(text.contains("multicast group"), "{text}");

        let unicast = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let source = Some(Ipv4Addr::LOCALHOST);
        let text = refusal(Bind::Line { group: unicast, interface: Ipv4Addr::UNSPECIFIED, source });
        assert!(text.contains("only be given for a multicast group"), "{text}");

        let first =
            open(&spec(Bind::Local { local: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), multicast_ttl: 1 }))
                .unwrap();
        let taken = local_addr(&first).unwrap();
        let text = refusal(Bind::Local { local: taken, multicast_ttl: 1 });
        assert!(text.contains(&taken.to_string()) && text.contains("ss -ulnp"), "{text}");
    }

    #[test]
    fn two_sockets_may_join_one_line() {
        let group = SocketAddrV4::new(Ipv4Addr::new(239, 255, 7, 2), 0);
        let first = open(&spec(Bind::Line { group, interface: Ipv4Addr::LOCALHOST, source: None })).unwrap();
        let group = local_addr(&first).unwrap();
        assert_eq!(*group.ip(), Ipv4Addr::new(239, 255, 7, 2));
        assert_ne!(group.port(), 0);
        open(&spec(Bind::Line { group, interface: Ipv4Addr::LOCALHOST, source: None })).unwrap();
    }
}
