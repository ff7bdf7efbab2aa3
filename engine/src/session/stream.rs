//! Packets out of a byte stream that is cut anywhere, and packets into a bounded one.

use seqcast_wire::soup::{self, Packet};

use super::Fault;

/// Bytes of the length field, which tells how long a packet is.
const LENGTH_BYTES: usize = 2;

/// What a consumer of packets says to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Yes,
    /// It has no room now: the same packet is offered again.
    NotNow,
}

/// Cuts a stream into packets. A packet that arrived whole is read where it is; only one that is cut is copied.
#[derive(Debug)]
pub(super) struct Input {
    /// The start of a packet whose rest has not arrived.
    partial: Box<[u8]>,
    len: usize,
    /// The last packet was not taken.
    is_waiting: bool,
}

impl Input {
    /// An input that takes packets of up to `max_packet_bytes`.
    pub(super) fn new(max_packet_bytes: usize) -> Input {
        Input {
            partial: vec![0; max_packet_bytes.max(soup::HEADER_BYTES)].into_boxed_slice(),
            len: 0,
            is_waiting: false,
        }
    }

    /// Whether the last packet was not taken.
    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Gives the packets in `bytes`, which follow what was given before, to `on_packet`, and gives how many bytes were
    /// used: all of them, unless a packet was not taken.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        mut on_packet: impl FnMut(Packet<'_>) -> Result<Taken, Fault>,
    ) -> Result<usize, Fault> {
        let mut used = 0;
        self.is_waiting = false;
        loop {
            let (stream, is_partial) =
                if self.len > 0 { (&self.partial[..self.len], true) } else { (&bytes[used..], false) };
            let packet_bytes = packet_bytes(stream, self.partial.len())?;
            if let Some((packet, len)) = soup::decode(stream).map_err(Fault::Malformed)? {
                if on_packet(packet)? == Taken::NotNow {
                    self.is_waiting = true;
                    return Ok(used);
                }
                if is_partial {
                    self.len = 0;
                } else {
                    used += len;
                }
                continue;
            }
            let rest = &bytes[used..];
            if rest.is_empty() {
                return Ok(used);
            }
            let take = rest.len().min(packet_bytes - self.len);
            self.partial[self.len..self.len + take].copy_from_slice(&rest[..take]);
            self.len += take;
            used += take;
        }
    }
}

/// Bytes of the packet that `stream` starts with, or of its length field while that is all that is known to come.
fn packet_bytes(stream: &[u8], max: usize) -> Result<usize, Fault> {
    let Some(&[high, low]) = stream.first_chunk::<LENGTH_BYTES>() else { return Ok(LENGTH_BYTES) };
    let bytes = LENGTH_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if bytes > max { Err(Fault::TooLong { bytes, max }) } else { Ok(bytes.max(soup::HEADER_BYTES)) }
}

/// Bytes that wait to be written.
#[derive(Debug)]
pub(super) struct Output {
    buffer: Box<[u8]>,
    /// What waits is `head..tail`.
    head: usize,
    tail: usize,
}

impl Output {
    pub(super) fn new(bytes: usize) -> Output {
        Output { buffer: vec![0; bytes].into_boxed_slice(), head: 0, tail: 0 }
    }

    /// Appends a packet; `false`, and nothing changed, when it does not fit.
    pub(super) fn try_push(&mut self, packet: &Packet<'_>) -> bool {
        let mut len = packet.emit(&mut self.buffer[self.tail..]);
        if len == 0 && self.head > 0 {
            self.buffer.copy_within(self.head..self.tail, 0);
            (self.head, self.tail) = (0, self.tail - self.head);
            len = packet.emit(&mut self.buffer[self.tail..]);
        }
        self.tail += len;
        len > 0
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.head..self.tail]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// Drops the first `count` bytes: they have been written.
    pub(super) fn consume(&mut self, count: usize) {
        self.head += count.min(self.tail - self.head);
        if self.is_empty() {
            (self.head, self.tail) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream_of(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut stream = Vec::new();
        for message in messages {
            let mut buffer = vec![0; message.len() + soup::HEADER_BYTES];
            assert_eq!(Packet::Sequenced(message).emit(&mut buffer), buffer.len());
            stream.extend(buffer);
        }
        stream
    }

    proptest! {
        /// Cut anywhere, refused at any time: the same packets come out, each once.
        #[test]
        fn packets_come_out_however_the_stream_is_cut(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..30),
            cuts in prop::collection::vec(1usize..50, 1..40),
            moods in prop::collection::vec(any::<bool>(), 1..10),
        ) {
            let stream = stream_of(&messages);
            let mut input = Input::new(43);
            let (mut out, mut at) = (Vec::new(), 0);
            let (mut cuts, mut moods) = (cuts.into_iter().cycle(), moods.into_iter().chain([true]).cycle());
            for _ in 0..100_000 {
                let end = (at + cuts.next().unwrap()).min(stream.len());
                at += input
                    .read(&stream[at..end], |packet| {
                        let Packet::Sequenced(message) = packet else { panic!("{packet:?}") };
                        if !moods.next().unwrap() {
                            return Ok(Taken::NotNow);
                        }
                        out.push(message.to_vec());
                        Ok(Taken::Yes)
                    })
                    .unwrap();
                if at == stream.len() && out.len() == messages.len() {
                    break;
                }
            }
            prop_assert_eq!(out, messages);
        }

        /// Any bytes, cut anywhere: no panic, and no more memory than was given.
        #[test]
        fn any_stream_is_packets_or_a_fault(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..20),
        ) {
            let mut input = Input::new(64);
            for piece in pieces {
                match input.read(&piece, |_| Ok(Taken::Yes)) {
                    Ok(used) => prop_assert_eq!(used, piece.len()),
                    Err(_) => break,
                }
            }
        }

        /// What is pushed comes out in order, within the bound, however it is written.
        #[test]
        fn output_is_a_bounded_queue(
            steps in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..30), 0usize..60), 0..100),
        ) {
            let mut output = Output::new(100);
            let (mut pushed, mut written) = (Vec::new(), Vec::new());
            for (message, count) in steps {
                let waiting = output.bytes().len();
                let fits = waiting + message.len() + soup::HEADER_BYTES <= 100;
                prop_assert_eq!(output.try_push(&Packet::Sequenced(&message)), fits);
                if fits {
                    pushed.push(message);
                }
                let count = count.min(output.bytes().len());
                written.extend_from_slice(&output.bytes()[..count]);
                output.consume(count);
            }
            written.extend_from_slice(output.bytes());
            prop_assert_eq!(written, stream_of(&pushed));
        }
    }

    #[test]
    fn a_packet_longer_than_is_taken_is_a_fault_as_soon_as_its_length_is_there() {
        let mut input = Input::new(64);
        let none = |_: Packet<'_>| panic!("no packet");
        assert_eq!(input.read(b"\x01", none), Ok(1));
        let fault = Fault::TooLong { bytes: 0x102, max: 64 };
        assert_eq!(input.read(b"\x00", none), Err(fault));
    }
}
