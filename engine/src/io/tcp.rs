//! Non-blocking TCP for the agents that speak it (snapshots, rewinds, replication): no buffers of its own, so that
//! what is bounded is bounded by the agent.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::time::Nanos;

/// Connections that the kernel may hold for [`Listener::poll_accept`].
const PENDING_CONNECTIONS: i32 = 128;

/// Accepts connections.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
}

impl Listener {
    /// Listens at `address`; port 0 takes a free one. An address in use by sockets of an earlier process that are
    /// merely closing can be taken (`SO_REUSEADDR`).
    ///
    /// # Errors
    /// What the kernel refused, with the address.
    pub fn bind(address: SocketAddr) -> io::Result<Listener> {
        let bind = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&SockAddr::from(address))?;
            socket.listen(PENDING_CONNECTIONS)?;
            Ok(Listener { listener: socket.into() })
        };
        bind().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("cannot listen at TCP {address}: {error}"))
        })
    }

    /// The address listened at, its port filled in.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The next connection, when there is one. Never blocks.
    ///
    /// # Errors
    /// Only what stands in the way of accepting at all, such as the limit of open files: try again later. A
    /// connection that its peer gave up before it was accepted is no error.
    pub fn poll_accept(&self) -> io::Result<Option<(Stream, SocketAddr)>> {
        loop {
            let (stream, peer) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(None),
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => return Err(error),
                },
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            return Ok(Some((Stream { stream, connected: true }, peer)));
        }
    }
}

/// What [`Stream::try_read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TryRead {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing there yet.
    Empty,
    /// The peer has closed its side; nothing will follow.
    Closed,
}

/// A connection, `TCP_NODELAY` set. Nothing here blocks or buffers.
#[derive(Debug)]
pub struct Stream {
    stream: TcpStream,
    connected: bool,
}

impl Stream {
    /// Starts to connect to `peer` and does not wait. Call [`Stream::poll_connected`] until it is true, and give up
    /// by dropping the stream: the deadline is the caller's, who has the clock.
    ///
    /// # Errors
    /// What is known at once, with the address.
    pub fn connect(peer: SocketAddr) -> io::Result<Stream> {
        Stream::connect_from(None, peer)
    }

    /// As [`Stream::connect`], from the local address `from` if one is given, its port free: for peers that know whom
    /// they talk to by the address.
    ///
    /// # Errors
    /// What is known at once, with the address.
    pub fn connect_from(from: Option<IpAddr>, peer: SocketAddr) -> io::Result<Stream> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(peer), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_nonblocking(true)?;
            socket.set_tcp_nodelay(true)?;
            if let Some(from) = from {
                socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
            }
            match socket.connect(&SockAddr::from(peer)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
                Err(error) => return Err(error),
            }
            Ok(Stream { stream: socket.into(), connected: false })
        };
        connect().map_err(|error: io::Error| {
            io::Error::new(error.kind(), format!("cannot connect to TCP {peer}: {error}"))
        })
    }

    /// Whether the connection stands. Never blocks.
    ///
    /// # Errors
    /// Why it will not come about: refused, unreachable, timed out by the kernel.
    pub fn poll_connected(&mut self) -> io::Result<bool> {
        if !self.connected {
            if let Some(error) = self.stream.take_error()? {
                return Err(error);
            }
            match self.stream.peer_addr() {
                Ok(_) => self.connected = true,
                Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.connected)
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` before the connection stands and after it broke.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }

    /// Reads what is there into `bytes`.
    ///
    /// # Errors
    /// The connection broke; drop it.
    ///
    /// # Panics
    /// When `bytes` is empty, which could not be told from the end.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<TryRead> {
        assert!(!bytes.is_empty(), "nothing to read into");
        loop {
            match self.stream.read(bytes) {
                Ok(0) => return Ok(TryRead::Closed),
                Ok(len) => return Ok(TryRead::Bytes(len)),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(TryRead::Empty),
                    // Still connecting.
                    io::ErrorKind::NotConnected if !self.connected => return Ok(TryRead::Empty),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Writes as much of `bytes` as the kernel takes now and gives that number, 0 when it has no room.
    ///
    /// # Errors
    /// The connection broke; drop it.
    pub fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Ok(len) => return Ok(len),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => return Ok(0),
                    io::ErrorKind::NotConnected if !self.connected => return Ok(0),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Says that nothing more will be written; the peer reads [`TryRead::Closed`] after what was written.
    ///
    /// # Errors
    /// The connection broke before.
    pub fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }
}

/// What [`wait`] waits for on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or the end.
    Read,
    /// That, or room to write; also that a connection under way stands or has failed.
    ReadOrWrite,
}

/// Waits until `listener` has a connection or one of `streams` is as wanted, `at_most` this long. The only thing here
/// that blocks: for a cold thread that has nothing else to do, and to which a closing connection is urgent.
///
/// # Errors
/// The kernel refuses to wait.
pub fn wait<'a>(
    listener: &Listener,
    streams: impl Iterator<Item = (&'a Stream, Interest)>,
    at_most: Nanos,
) -> io::Result<()> {
    let mut wanted = vec![PollFd::new(&listener.listener, PollFlags::IN)];
    wanted.extend(streams.map(|(stream, interest)| {
        let flags = match interest {
            Interest::Read => PollFlags::IN,
            Interest::ReadOrWrite => PollFlags::IN | PollFlags::OUT,
        };
        PollFd::new(&stream.stream, flags)
    }));
    let (tv_sec, tv_nsec) = ((at_most.0 / 1_000_000_000) as i64, (at_most.0 % 1_000_000_000) as i64);
    match poll(&mut wanted, Some(&Timespec { tv_sec, tv_nsec })) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

    /// Asks until there is an answer; only a hang takes as long as the bound.
    fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(answer) = ask() {
                return answer;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "no answer");
            std::thread::yield_now();
        }
    }

    fn pair() -> (Stream, Stream) {
        let listener = Listener::bind(ANY_PORT.into()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = Stream::connect(address).unwrap();
        let (mut server, peer) = until(|| listener.poll_accept().unwrap());
        until(|| client.poll_connected().unwrap().then_some(()));
        assert!(server.poll_connected().unwrap());
        assert_eq!(client.peer_addr().unwrap(), address);
        assert_eq!(server.peer_addr().unwrap(), peer);
        (client, server)
    }

    fn read(stream: &mut Stream) -> TryRead {
        let mut bytes = [0; 8];
        until(|| match stream.try_read(&mut bytes).unwrap() {
            TryRead::Empty => None,
            found => Some(found),
        })
    }

    #[test]
    fn bytes_and_the_end_arrive() {
        let (mut client, mut server) = pair();
        let mut bytes = [0; 8];
        assert_eq!(server.try_read(&mut bytes).unwrap(), TryRead::Empty);
        assert_eq!(client.try_write(b"hello").unwrap(), 5);
        assert_eq!(read(&mut server), TryRead::Bytes(5));
        client.finish().unwrap();
        assert_eq!(read(&mut server), TryRead::Closed);
        assert_eq!(server.try_write(b"bye").unwrap(), 3, "the other direction goes on");
        assert_eq!(read(&mut client), TryRead::Bytes(3));
        drop(server);
        assert_eq!(read(&mut client), TryRead::Closed);
    }

    #[test]
    fn a_reader_that_does_not_read_bounds_the_writer() {
        let (mut client, mut server) = pair();
        let chunk = vec![7; 1 << 16];
        let mut written = 0;
        loop {
            match client.try_write(&chunk).unwrap() {
                0 => break,
                len => written += len,
            }
        }
        let mut received = 0;
        let mut bytes = vec![0; 1 << 16];
        until(|| {
            if let TryRead::Bytes(len) = server.try_read(&mut bytes).unwrap() {
                received += len;
            }
            (received == written).then_some(())
        });
        assert!(until(|| Some(client.try_write(&chunk).unwrap()).filter(|&len| len > 0)) > 0, "room again");
    }

    #[test]
    fn nobody_there_is_an_error_and_not_a_wait() {
        let free = Listener::bind(ANY_PORT.into()).unwrap().local_addr().unwrap();
        let error = match Stream::connect(free) {
            Err(error) => error,
            Ok(mut stream) => until(|| match stream.poll_connected() {
                Ok(connected) => {
                    assert!(!connected);
                    None
                }
                Err(error) => Some(error),
            }),
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_connection_under_way_neither_reads_nor_writes_nor_fails() {
        // A listener whose queue is never taken from: the handshake is the kernel's, so that either state may be met.
        let listener = Listener::bind(ANY_PORT.into()).unwrap();
        let mut client = Stream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(client.try_read(&mut [0; 8]).unwrap(), TryRead::Empty);
        client.try_write(b"x").unwrap();
        assert!(listener.poll_accept().unwrap().is_some() || !client.poll_connected().unwrap());
    }

    #[test]
    fn a_wait_ends_with_what_was_waited_for() {
        const LONG: Nanos = Nanos::from_secs(60);
        let listener = Listener::bind(ANY_PORT.into()).unwrap();
        let address = listener.local_addr().unwrap();
        let from = Some(address.ip());
        let mut client = Stream::connect_from(from, address).unwrap();
        wait(&listener, std::iter::empty(), LONG).unwrap();
        let (mut server, peer) = listener.poll_accept().unwrap().expect("that is what was waited for");
        assert_eq!(peer.ip(), address.ip());
        let one = |stream: &Stream, interest| {
            wait(&listener, std::iter::once((stream, interest)), LONG).unwrap();
        };
        one(&client, Interest::ReadOrWrite);
        assert!(client.poll_connected().unwrap());
        client.try_write(b"x").unwrap();
        one(&server, Interest::Read);
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), TryRead::Bytes(1));
        drop(client);
        one(&server, Interest::Read);
        assert_eq!(server.try_read(&mut [0; 8]).unwrap(), TryRead::Closed);
        wait(&listener, std::iter::empty(), Nanos::from_micros(1)).unwrap();
        assert!(listener.poll_accept().unwrap().is_none(), "nothing came, and it did not wait for ever");
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = Listener::bind(ANY_PORT.into()).unwrap();
        let address = first.local_addr().unwrap();
        let text = Listener::bind(address).unwrap_err().to_string();
        assert!(text.contains(&address.to_string()), "{text}");
        assert!(first.poll_accept().unwrap().is_none());
    }
}
