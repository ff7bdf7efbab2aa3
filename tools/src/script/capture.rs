//! The MoldUDP64 messages of a capture as a source.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Range;
use std::path::{Path, PathBuf};

use seqcast_engine::io::pcap::{CaptureReader, Skipped};
use seqcast_wire::mold::{Downstream, Kind};
use seqcast_wire::{SeqNo, Session};

use super::number::{Numberer, is_unnumbered};
use super::{Message, Messages, SourceError};
use crate::input::Ordered;

/// The messages of one session of a pcap or pcapng file, in order and each once, whatever the number of lines captured.
/// Datagrams without sequence numbers (blanked out by whoever published the capture) are taken as they come. Stamps
/// are the times of capture.
pub struct Captured {
    path: PathBuf,
    capture: CaptureReader,
    session: Session,
    ordered: Ordered,
    numberer: Numberer,
    /// Messages that are in order, and the time of the datagram that brought them.
    ready: Vec<u8>,
    /// Where in `ready` each ends, the latest first.
    ends: Vec<usize>,
    current: Range<usize>,
    stamp_ns: u64,
    ended: bool,
    failure: Option<SourceError>,
    unnumbered: u64,
    foreign: u64,
    malformed: u64,
}

impl Captured {
    /// Opens a capture. Without a `session` it is read through first, to see that there is only one.
    ///
    /// # Errors
    /// What the file system says, that it is no capture, or that it holds no messages, or several sessions and none
    /// was chosen.
    pub fn open(path: &Path, session: Option<Session>) -> Result<Captured, SourceError> {
        let session = match session {
            Some(session) => session,
            None => only_session(path)?,
        };
        Ok(Captured {
            path: path.into(),
            capture: CaptureReader::open(path)?,
            session,
            ordered: Ordered::new(),
            numberer: Numberer::new(),
            ready: Vec::new(),
            ends: Vec::new(),
            current: 0..0,
            stamp_ns: 0,
            ended: false,
            failure: None,
            unnumbered: 0,
            foreign: 0,
            malformed: 0,
        })
    }

    /// The session that is read.
    pub fn session(&self) -> Session {
        self.session
    }

    /// Reads on until something is ready; at the end everything that is left.
    fn read(&mut self) {
        self.ready.clear();
        while self.ends.is_empty() && !self.ended {
            match self.capture.next_datagram() {
                Ok(Some(captured)) => {
                    self.stamp_ns = captured.stamp_ns;
                    let bytes = captured.payload;
                    match Downstream::parse(bytes) {
                        Ok(datagram) if datagram.session() == self.session => {
                            let ready = (&mut self.ready, &mut self.ends);
                            let Ok(()) = self.ordered.on_datagram(&datagram, bytes, keep_in(ready));
                        }
                        Ok(_) => self.foreign += 1,
                        Err(_) => match unnumbered(&mut self.numberer, bytes) {
                            Some(datagram) if datagram.session() == self.session => {
                                self.unnumbered += 1;
                                let mut keep = keep_in((&mut self.ready, &mut self.ends));
                                for message in datagram.messages() {
                                    let Ok(()) = keep(SeqNo::FIRST, message);
                                }
                            }
                            Some(_) => self.foreign += 1,
                            None => self.malformed += 1,
                        },
                    }
                }
                outcome => {
                    self.failure = outcome.err().map(SourceError::from);
                    self.ended = true;
                    let Ok(()) = self.ordered.finish(keep_in((&mut self.ready, &mut self.ends)));
                }
            }
        }
        self.ends.reverse();
        self.current = 0..0;
    }
}

/// Appends messages to what is ready.
fn keep_in<'a>(
    (ready, ends): (&'a mut Vec<u8>, &'a mut Vec<usize>),
) -> impl FnMut(SeqNo, &[u8]) -> Result<(), Infallible> + 'a {
    |_, message| {
        ready.extend_from_slice(message);
        ends.push(ready.len());
        Ok(())
    }
}

/// A datagram that would be whole if it had a number.
fn unnumbered<'a>(numberer: &'a mut Numberer, bytes: &[u8]) -> Option<Downstream<'a>> {
    let session = *bytes.first_chunk().filter(|_| is_unnumbered(bytes))?;
    numberer.number(bytes, Session::from_wire(session), SeqNo::FIRST).map(|(_, datagram)| datagram)
}

impl Messages for Captured {
    fn advance(&mut self) -> Result<bool, SourceError> {
        if self.ends.is_empty() {
            self.read();
        }
        match self.ends.pop() {
            Some(end) => {
                self.current = self.current.end..end;
                Ok(true)
            }
            None => {
                self.current = 0..0;
                self.failure.take().map_or(Ok(false), Err)
            }
        }
    }

    fn current(&self) -> Message<'_> {
        let bytes = self.ready.get(self.current.clone()).unwrap_or_default();
        Message { stamp_ns: Some(self.stamp_ns), bytes }
    }

    fn notices(&self) -> Vec<String> {
        let path = self.path.display();
        let Skipped { other, fragments, cut, damaged, unknown_link } = self.capture.skipped();
        let unread = fragments + cut + damaged + unknown_link;
        [
            (self.ordered.lost(), "messages are missing from the capture"),
            (self.unnumbered, "datagrams have no sequence number: taken in the order of capture"),
            (self.foreign, "datagrams are of other sessions: left out"),
            (self.malformed, "datagrams are not MoldUDP64: left out"),
            (unread, "packets are fragments, cut short or damaged: left out"),
            (other, "packets are no UDP over IPv4: left out"),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{path}: {count} {what}"))
        .collect()
    }
}

/// The session of all messages in a capture.
fn only_session(path: &Path) -> Result<Session, SourceError> {
    let mut capture = CaptureReader::open(path)?;
    let mut numberer = Numberer::new();
    let mut sessions = BTreeMap::<Session, u64>::new();
    // Damage is found again when the messages are read.
    while let Ok(Some(captured)) = capture.next_datagram() {
        let datagram =
            Downstream::parse(captured.payload).ok().or_else(|| unnumbered(&mut numberer, captured.payload));
        if let Some(datagram) = datagram.filter(|datagram| matches!(datagram.kind(), Kind::Data(_))) {
            *sessions.entry(datagram.session()).or_default() += datagram.messages().len() as u64;
        }
    }
    let path = path.display();
    let what = match sessions.len() {
        0 => format!("{path} holds no MoldUDP64 messages"),
        1 => return Ok(*sessions.keys().next().unwrap_or(&Session::BLANK)),
        _ => {
            let names: Vec<String> =
                sessions.iter().map(|(session, count)| format!("{session} ({count} messages)")).collect();
            format!("{path} holds several sessions, choose one: {}", names.join(", "))
        }
    };
    Err(SourceError::Nothing { what })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{A, B, capture, datagram};
    use super::*;

    struct Read {
        messages: Vec<(u64, String)>,
        failure: Option<String>,
        notices: Vec<String>,
    }

    fn read(path: &Path, session: Option<&str>) -> Read {
        let session = session.map(|session| session.parse().unwrap());
        let mut source = Captured::open(path, session).unwrap();
        let mut messages = Vec::new();
        let failure = loop {
            match source.advance() {
                Ok(true) => {
                    let Message { stamp_ns, bytes } = source.current();
                    messages.push((stamp_ns.unwrap(), String::from_utf8(bytes.to_vec()).unwrap()));
                }
                Ok(false) => break None,
                Err(error) => break Some(error.to_string()),
            }
        };
        assert!(matches!(source.advance(), Ok(false)), "nothing follows the end");
        Read { messages, failure, notices: source.notices() }
    }

    fn texts(read: &Read) -> Vec<&str> {
        read.messages.iter().map(|(_, text)| text.as_str()).collect()
    }

    #[test]
    fn two_lines_make_one_feed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.pcapng");
        let first = datagram("S1", 1, &["a", "b"]);
        let (second, third) = (datagram("S1", 3, &["", "d"]), datagram("S1", 5, &["e"]));
        let heartbeat = datagram("S1", 6, &[]);
        let sent =
            [(A, &first), (B, &first), (A, &third), (B, &second), (A, &second), (B, &third), (A, &heartbeat)];
        capture(&path, &sent.map(|(to, bytes)| (to, bytes.clone())));
        let read = read(&path, None);
        assert_eq!(texts(&read), ["a", "b", "", "d", "e"]);
        let stamps: Vec<u64> = read.messages.iter().map(|(stamp, _)| *stamp).collect();
        assert_eq!(stamps, [0, 0, 3_000, 3_000, 3_000], "the one that came early waits for the others");
        assert!(read.failure.is_none() && read.notices.is_empty(), "{:?}", read.notices);
    }

    #[test]
    fn what_is_missing_or_left_out_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("holes.pcapng");
        let sent = [
            datagram("S1", 1, &["a"]),
            datagram("S2", 1, &["x"]),
            datagram("S1", 4, &["d"]),
            b"no MoldUDP64".to_vec(),
        ];
        capture(&path, &sent.map(|bytes| (A, bytes)));
        let read = read(&path, Some("S1"));
        assert_eq!(texts(&read), ["a", "d"]);
        let notices = read.notices.join("\n");
        for notice in
            ["2 messages are missing", "1 datagrams are of other sessions", "1 datagrams are not MoldUDP64"]
        {
            assert!(notices.contains(notice), "{notices}");
        }
    }

    #[test]
    fn one_of_several_sessions_is_chosen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("several.pcapng");
        capture(&path, &[(A, datagram("S1", 1, &["a", "b"])), (A, datagram("S2", 1, &["x"]))]);
        let error = Captured::open(&path, None).err().unwrap().to_string();
        assert!(error.ends_with("choose one: S1 (2 messages), S2 (1 messages)"), "{error}");
        assert_eq!(texts(&read(&path, Some("S2"))), ["x"]);
        assert!(texts(&read(&path, Some("S3"))).is_empty());
        capture(&path, &[(A, b"hello".to_vec())]);
        let error = Captured::open(&path, None).err().unwrap().to_string();
        assert!(error.ends_with("holds no MoldUDP64 messages"), "{error}");
    }

    #[test]
    fn what_has_no_numbers_is_taken_as_it_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("blank.pcapng");
        let lying = [&datagram("", 0, &["x"])[..], b"more"].concat();
        let sent = [datagram("", 0, &["a", "b"]), datagram("", 0, &[]), lying, datagram("", 0, &["c"])];
        capture(&path, &sent.map(|bytes| (A, bytes)));
        let read = read(&path, None);
        assert_eq!(texts(&read), ["a", "b", "c"]);
        let notices = read.notices.join("\n");
        assert!(notices.contains("3 datagrams have no sequence number"), "{notices}");
        assert!(notices.contains("1 datagrams are not MoldUDP64"), "{notices}");
    }

    #[test]
    fn a_capture_that_is_cut_off_gives_what_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cut.pcapng");
        let sent = [datagram("S1", 1, &["a"]), datagram("S1", 3, &["c"]), datagram("S1", 2, &["b"])];
        capture(&path, &sent.map(|bytes| (A, bytes)));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let read = read(&path, None);
        assert_eq!(texts(&read), ["a", "c"], "what was kept back for the missing one comes before the end");
        let failure = read.failure.unwrap();
        assert!(failure.contains("ends within packet"), "{failure}");
        assert!(read.notices.join("\n").contains("1 messages are missing"));
    }
}
