//! What is said on a control connection: lines of text.

use std::fmt;

use seqcast_wire::Session;

use super::desk::OperatorCommand;
use crate::replica::NodeId;

/// Version of what is said.
const VERSION: &str = "1";
/// Longest line.
pub(super) const MAX_LINE_BYTES: usize = 256;

/// Who a node says that it is: `SEQCAST 1 SESSION NODE INCARNATION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) session: Session,
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Hello(Hello),
    /// Nothing new, but it lives.
    Alive,
    /// The connection is given up, and who says so lives on.
    Bye(String),
    Status,
    Command(OperatorCommand),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Hello(Hello { session, node, incarnation }) => {
                let session = String::from_utf8_lossy(session.as_bytes());
                write!(f, "SEQCAST {VERSION} {} {} {incarnation:x}", session.trim_end(), node.0)
            }
            Line::Alive => f.write_str("ALIVE"),
            Line::Bye(why) => write!(f, "BYE {why}"),
            Line::Status => f.write_str("status"),
            Line::Command(command) => f.write_str(command.word()),
        }
    }
}

impl Line {
    /// Reads a line without its end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Line, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "not text".to_owned())?.trim_end_matches('\r');
        if let Some(why) = text.strip_prefix("BYE ") {
            return Ok(Line::Bye(why.to_owned()));
        }
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["SEQCAST", VERSION, session, node, incarnation] => {
                let session = session.parse().map_err(|error| format!("{session:?}: {error}"))?;
                let node = node.parse().map(NodeId).map_err(|_| format!("{node:?} is no node"))?;
                let incarnation = u64::from_str_radix(incarnation, 16)
                    .map_err(|_| format!("{incarnation:?} is no incarnation"))?;
                Ok(Line::Hello(Hello { session, node, incarnation }))
            }
            ["SEQCAST", VERSION, ..] => Err("a hello is SEQCAST 1 SESSION NODE INCARNATION".to_owned()),
            ["SEQCAST", version, ..] => Err(format!("version {version:?}: this node speaks {VERSION}")),
            ["ALIVE"] => Ok(Line::Alive),
            ["status"] => Ok(Line::Status),
            ["promote"] => Ok(Line::Command(OperatorCommand::Promote)),
            ["retire"] => Ok(Line::Command(OperatorCommand::Retire)),
            _ => Err("neither a hello nor one of: status, promote, retire".to_owned()),
        }
    }
}

/// Takes bytes as they come and gives lines.
#[derive(Debug)]
pub(super) struct Lines {
    bytes: [u8; MAX_LINE_BYTES],
    len: usize,
}

impl Lines {
    pub(super) fn new() -> Lines {
        Lines { bytes: [0; MAX_LINE_BYTES], len: 0 }
    }

    /// Where bytes are to be put next; empty when a line is too long.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// So many were put there.
    pub(super) fn on_put(&mut self, count: usize) {
        self.len += count;
    }

    /// Whether the longest line is here and has no end.
    pub(super) fn is_full(&self) -> bool {
        self.len == MAX_LINE_BYTES && !self.bytes.contains(&b'\n')
    }

    /// The next whole line; `None` when there is none yet.
    pub(super) fn next_line(&mut self) -> Option<Result<Line, String>> {
        let end = self.bytes[..self.len].iter().position(|&byte| byte == b'\n')?;
        let line = Line::parse(&self.bytes[..end]);
        self.bytes.copy_within(end + 1..self.len, 0);
        self.len -= end + 1;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello { session: "FEED1".parse().unwrap(), node: NodeId(2), incarnation: 0xfeed }
    }

    #[test]
    fn lines_come_back_as_they_were_said() {
        let text = Line::Hello(hello()).to_string();
        assert_eq!(text, "SEQCAST 1 FEED1 2 feed");
        for line in [
            Line::Hello(hello()),
            Line::Alive,
            Line::Bye("not now".into()),
            Line::Status,
            Line::Command(OperatorCommand::Promote),
            Line::Command(OperatorCommand::Retire),
        ] {
            assert_eq!(Line::parse(line.to_string().as_bytes()), Ok(line.clone()));
            assert_eq!(Line::parse(format!("{line}\r").as_bytes()), Ok(line), "as telnet says it");
        }
    }

    #[test]
    fn what_is_no_line_is_refused_with_a_reason() {
        for (text, why) in [
            (&b""[..], "neither a hello nor"),
            (b"GET / HTTP/1.1", "neither a hello nor"),
            (b"STATUS", "neither a hello nor"),
            (b"SEQCAST 2 FEED1 2 feed", "this node speaks 1"),
            (b"SEQCAST 1 FEED1 2", "a hello is"),
            (b"SEQCAST 1 TOOLONGSESSION 2 feed", "session"),
            (b"SEQCAST 1 FEED1 70000 feed", "is no node"),
            (b"SEQCAST 1 FEED1 -1 feed", "is no node"),
            (b"SEQCAST 1 FEED1 2 xyz", "is no incarnation"),
            (b"SEQCAST 1 FEED1 2 1ffffffffffffffff", "is no incarnation"),
            (b"\xff\xfe", "not text"),
        ] {
            let error = Line::parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    fn feed(lines: &mut Lines, mut bytes: &[u8], piece: usize) -> Vec<Line> {
        let mut found = Vec::new();
        while !bytes.is_empty() && !lines.is_full() {
            let room = lines.room();
            let take = bytes.len().min(room.len()).min(piece);
            room[..take].copy_from_slice(&bytes[..take]);
            lines.on_put(take);
            bytes = &bytes[take..];
            while let Some(line) = lines.next_line() {
                found.push(line.unwrap());
            }
        }
        found
    }

    proptest! {
        /// However a stream is cut, the lines are the same.
        #[test]
        fn pieces_do_not_matter(piece in 1usize..300, alive in 0usize..40) {
            let text = format!("{}\n{}status\n", Line::Hello(hello()), "ALIVE\n".repeat(alive));
            let found = feed(&mut Lines::new(), text.as_bytes(), piece);
            prop_assert_eq!(found.len(), alive + 2);
            prop_assert_eq!(&found[0], &Line::Hello(hello()));
            prop_assert_eq!(&found[alive + 1], &Line::Status);
        }

        /// Nothing that comes makes it panic, or grow.
        #[test]
        fn anything_may_come(bytes: Vec<u8>) {
            let _ = Line::parse(&bytes);
        }
    }

    #[test]
    fn a_line_without_end_is_noticed() {
        let mut lines = Lines::new();
        feed(&mut lines, &[b'x'; 1000], 100);
        assert!(lines.is_full());
        assert!(lines.next_line().is_none());
    }
}
