//! The record as text, for coordinators that store bytes: readable by people, strict for programs.
//!
//! ```text
//! seqcast-record = 1
//! session = SEQCAST001
//! epoch = 7
//! primary = 1:c0ffee
//! in_sync = 0:a11ce 1:c0ffee
//! crc = f7ad8b09
//! ```
//!
//! The first line holds the version of the format. A member is `node:incarnation`, the node in decimal, the incarnation
//! in hexadecimal; the set is sorted by node. `crc` is the CRC-32C of all lines before it, in eight hexadecimal digits.
//!
//! A record has one spelling: what reads but is not what [`Record::encode`] writes is refused, so that nothing is ever
//! guessed. A text that was put right by hand needs the right `crc`; the refusal of the wrong one names it.

use std::fmt::Write;

use seqcast_wire::Session;

use super::coordinator::Record;
use super::member::{Member, Members, NodeId};
use crate::limits::MAX_NODES;

/// Longest record: eight members of 22 characters, and the rest.
pub const MAX_RECORD_BYTES: usize = 512;

/// Highest epoch of a record: there is always a higher one to take over with.
const MAX_EPOCH: u64 = 1 << 62;

const VERSION: &str = "1";
/// The keys, in the order of their lines.
const KEYS: [&str; 6] = ["seqcast-record", "session", "epoch", "primary", "in_sync", "crc"];
/// Of what a line holds, messages repeat so much.
const SHOWN_CHARS: usize = 60;

/// Why a text is no record, or a record not one to act on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// It is longer than any record.
    #[error("it has {0} bytes, a record at most {MAX_RECORD_BYTES}")]
    TooLong(usize),
    /// It is cut off.
    #[error("it ends where line {line}, `{key} = …`, should follow")]
    CutOff {
        /// Line, from 1.
        line: usize,
        /// Key that should stand there.
        key: &'static str,
    },
    /// A line is not what must stand there.
    #[error("line {line} is `{found}`, and must be `{key} = …` with {expected}")]
    Line {
        /// Line, from 1.
        line: usize,
        /// Key that must stand there.
        key: &'static str,
        /// What the key holds.
        expected: &'static str,
        /// What stands there.
        found: String,
    },
    /// Something follows the last line.
    #[error("something follows line {}, which must be the last", KEYS.len())]
    GoesOn,
    /// Another version wrote it.
    #[error("it is of version `{0}`, and this program knows version {VERSION}; run one that knows the other")]
    Version(String),
    /// Its check sum is another.
    #[error(
        "line 6 says `crc = {stated:08x}`, and the lines before have {computed:08x}: it was damaged, or changed by hand"
    )]
    Crc {
        /// What it says.
        stated: u32,
        /// What it has.
        computed: u32,
    },
    /// It is of another session.
    #[error(
        "it is of session {found}, not {expected}; give each session a coordinator's directory or prefix of its own"
    )]
    Session {
        /// Its session.
        found: String,
        /// The session asked for.
        expected: Session,
    },
    /// No primary has epoch 0.
    #[error("epoch 0 is nobody's")]
    NoEpoch,
    /// Nobody gets so far.
    #[error("epoch {0} is higher than takeovers can bring it")]
    TooHigh(u64),
    /// The set names a node twice, or more than there can be.
    #[error("`in_sync` names node {0} twice, or more than {MAX_NODES} nodes")]
    NoSet(u16),
    /// The primary is not in its set.
    #[error("the primary, {0}, is not in its in-sync set")]
    PrimaryOutside(Member),
}

impl Record {
    /// Whether it makes sense for `session`.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, session: Session) -> Result<(), RecordError> {
        if self.session != session {
            return Err(RecordError::Session { found: self.session.to_string(), expected: session });
        }
        if self.epoch == 0 {
            return Err(RecordError::NoEpoch);
        }
        if self.epoch > MAX_EPOCH {
            return Err(RecordError::TooHigh(self.epoch));
        }
        if !self.in_sync.contains(self.primary) {
            return Err(RecordError::PrimaryOutside(self.primary));
        }
        Ok(())
    }

    /// The record as text.
    pub fn encode(&self) -> String {
        let mut members = self.in_sync.as_slice().to_vec();
        members.sort_unstable_by_key(|member| member.node);
        let members: Vec<String> = members.into_iter().map(member_text).collect();
        let values = [
            VERSION.to_owned(),
            self.session.to_string(),
            self.epoch.to_string(),
            member_text(self.primary),
            members.join(" "),
        ];
        let mut text = String::with_capacity(MAX_RECORD_BYTES);
        for (key, value) in KEYS.iter().zip(values) {
            let _ = writeln!(text, "{key} = {value}");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "{} = {crc:08x}", KEYS[5]);
        text
    }

    /// Reads a record of `session`.
    ///
    /// # Errors
    /// What is wrong with it, and where. Damage is told before meaning: a check sum that fits says that a writer meant it.
    pub fn decode(bytes: &[u8], session: Session) -> Result<Record, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let mut lines = Lines { rest: bytes, line: 0 };
        let version = lines.value("a version")?;
        if version != VERSION.as_bytes() {
            return Err(RecordError::Version(shown(version)));
        }
        let found = lines.value("the session")?;
        let epoch = lines.parse("a number in decimal", |text| number(text, 10))?;
        let primary = lines.parse("node:incarnation", member)?;
        let members = lines.parse("node:incarnation for each member", |text| {
            text.split(' ').map(member).collect::<Option<Vec<Member>>>()
        })?;
        let covered = &bytes[..bytes.len() - lines.rest.len()];
        let stated = lines.parse("eight hexadecimal digits", |text| {
            (text.len() == 8).then(|| u32::from_str_radix(text, 16).ok()).flatten()
        })?;
        if !lines.rest.is_empty() {
            return Err(RecordError::GoesOn);
        }
        let computed = crc32c::crc32c(covered);
        if stated != computed {
            return Err(RecordError::Crc { stated, computed });
        }
        if found != session.to_string().as_bytes() {
            return Err(RecordError::Session { found: shown(found), expected: session });
        }
        let mut in_sync = Members::default();
        for member in members {
            in_sync = in_sync.with(member).ok_or(RecordError::NoSet(member.node.0))?;
        }
        let record = Record { session, epoch, primary, in_sync };
        record.check(session)?;
        record.is_spelled(bytes)?;
        Ok(record)
    }

    /// Whether `bytes` are this record's one spelling.
    fn is_spelled(&self, bytes: &[u8]) -> Result<(), RecordError> {
        let spelling = self.encode();
        let mut lines = bytes.split(|&byte| byte == b'\n').zip(spelling.lines()).zip(1..);
        match lines.find(|((found, expected), _)| *found != expected.as_bytes()) {
            None => Ok(()),
            Some(((found, _), line)) => {
                let expected = "that value as Seqcast writes it: no signs, no leading zeros, small letters, sorted by node";
                Err(RecordError::Line { line, key: KEYS[line - 1], expected, found: shown(found) })
            }
        }
    }
}

/// A text's lines, one key after the other.
struct Lines<'a> {
    rest: &'a [u8],
    /// The last line taken.
    line: usize,
}

impl<'a> Lines<'a> {
    /// What stands at the key of the next line.
    fn value(&mut self, expected: &'static str) -> Result<&'a [u8], RecordError> {
        let key = KEYS[self.line];
        self.line += 1;
        let Some(end) = self.rest.iter().position(|&byte| byte == b'\n') else {
            return Err(RecordError::CutOff { line: self.line, key });
        };
        let (found, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        let value = found.strip_prefix(key.as_bytes()).and_then(|rest| rest.strip_prefix(b" = "));
        value.ok_or_else(|| RecordError::Line { line: self.line, key, expected, found: shown(found) })
    }

    /// The same, read by `read`.
    fn parse<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, RecordError> {
        let value = self.value(expected)?;
        let read = str::from_utf8(value).ok().and_then(read);
        read.ok_or_else(|| {
            let key = KEYS[self.line - 1];
            RecordError::Line { line: self.line, key, expected, found: format!("{key} = {}", shown(value)) }
        })
    }
}

fn number(text: &str, radix: u32) -> Option<u64> {
    // The standard library also takes a sign.
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric())
        .then(|| u64::from_str_radix(text, radix).ok())
        .flatten()
}

fn member(text: &str) -> Option<Member> {
    let (node, incarnation) = text.split_once(':')?;
    let node = NodeId(u16::try_from(number(node, 10)?).ok()?);
    Some(Member { node, incarnation: number(incarnation, 16)? })
}

fn member_text(member: Member) -> String {
    format!("{}:{:x}", member.node.0, member.incarnation)
}

/// `bytes` as they can stand in a message.
fn shown(bytes: &[u8]) -> String {
    let text = bytes.escape_ascii().to_string();
    match text.get(..SHOWN_CHARS) {
        Some(start) if text.len() > SHOWN_CHARS => format!("{start}…"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOLDEN: &str = "seqcast-record = 1\n\
                          session = SEQCAST001\n\
                          epoch = 7\n\
                          primary = 1:c0ffee\n\
                          in_sync = 0:a11ce 1:c0ffee 7:ffffffffffffffff\n\
                          crc = 572bfa08\n";

    fn session() -> Session {
        Session::from_wire(*b"SEQCAST001")
    }

    fn of(node: u16, incarnation: u64) -> Member {
        Member { node: NodeId(node), incarnation }
    }

    fn golden() -> Record {
        let in_sync = Members::of(&[of(7, u64::MAX), of(1, 0xc0_ffee), of(0, 0xa_11ce)]).unwrap();
        Record { session: session(), epoch: 7, primary: of(1, 0xc0_ffee), in_sync }
    }

    /// `text` with the check sum that its lines have.
    fn summed(text: &str) -> String {
        let covered = &text[..text.rfind("crc = ").unwrap()];
        format!("{covered}crc = {:08x}\n", crc32c::crc32c(covered.as_bytes()))
    }

    fn refusal(text: &str) -> String {
        Record::decode(text.as_bytes(), session()).unwrap_err().to_string()
    }

    fn spoilt(old: &str, new: &str) -> String {
        assert!(GOLDEN.contains(old), "{old}");
        refusal(&summed(&GOLDEN.replacen(old, new, 1)))
    }

    #[test]
    fn golden_text() {
        assert_eq!(golden().encode(), GOLDEN);
        assert_eq!(Record::decode(GOLDEN.as_bytes(), session()), Ok(golden()));
        assert_eq!(summed(GOLDEN), GOLDEN);
    }

    #[test]
    fn the_longest_record_fits() {
        let members: Vec<Member> = (0..MAX_NODES as u16).map(|at| of(u16::MAX - at, u64::MAX)).collect();
        let session = Session::from_wire([0xff; 10]);
        let in_sync = Members::of(&members).unwrap();
        let record = Record { session, epoch: MAX_EPOCH, primary: members[0], in_sync };
        assert!(record.encode().len() <= MAX_RECORD_BYTES, "{}", record.encode().len());
        assert_eq!(Record::decode(record.encode().as_bytes(), session), Ok(record));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (old, new, expected) in [
            (
                "epoch = 7",
                "epoch = +7",
                "line 3 is `epoch = +7`, and must be `epoch = …` with a number in decimal",
            ),
            (
                "epoch = 7",
                "epoch = 07",
                "line 3 is `epoch = 07`, and must be `epoch = …` with that value as Seqcast",
            ),
            ("epoch = 7", "epoch = 18446744073709551616", "line 3 is"),
            ("epoch = 7", "epoch =  7", "line 3 is"),
            ("epoch = 7", "epoch=7", "line 3 is `epoch=7`"),
            ("epoch = 7", "epoch = 0", "epoch 0 is nobody's"),
            (
                "epoch = 7",
                "epoch = 18446744073709551615",
                "epoch 18446744073709551615 is higher than takeovers can bring it",
            ),
            ("epoch = 7\n", "", "line 3 is `primary = 1:c0ffee`, and must be `epoch = …`"),
            (
                "= 1:c0ffee\n",
                "= 1:c0ffef\n",
                "the primary, node 1 (incarnation c0ffef), is not in its in-sync set",
            ),
            (
                "= 1:c0ffee\n",
                "= 1\n",
                "line 4 is `primary = 1`, and must be `primary = …` with node:incarnation",
            ),
            ("= 1:c0ffee\n", "= 1:C0FFEE\n", "line 4 is"),
            ("= 1:c0ffee\n", "= 65536:c0ffee\n", "line 4 is"),
            (" 1:c0ffee 7:", " 1:c0ffee 1:", "`in_sync` names node 1 twice"),
            ("0:a11ce 1:c0ffee", "1:c0ffee 0:a11ce", "line 5 is"),
            ("0:a11ce 1:c0ffee", "0:a11ce  1:c0ffee", "line 5 is"),
            ("0:a11ce 1:c0ffee", "0:a 1:c0ffee 2:1 3:1 4:1 5:1 6:1 8:1", "or more than 8 nodes"),
            ("SEQCAST001", "SEQCAST002", "it is of session SEQCAST002, not SEQCAST001; give each"),
            ("SEQCAST001", "", "it is of session , not SEQCAST001"),
            ("SEQCAST001", "SEQCAST001 ", "it is of session SEQCAST001 , not"),
            ("record = 1", "record = 2", "it is of version `2`, and this program knows version 1"),
            ("seqcast-record", "record", "line 1 is `record = 1`"),
            ("\n", "\r\n", "it is of version `1\\r`"),
            ("SEQCAST001", "\u{e9}", "it is of session \\xc3\\xa9"),
        ] {
            let refused = spoilt(old, new);
            assert!(
                refused.starts_with(expected) || refused.ends_with(expected),
                "{old} -> {new}: {refused}"
            );
            assert_eq!(refused.lines().count(), 1, "{refused}");
        }
        assert_eq!(refusal(""), "it ends where line 1, `seqcast-record = …`, should follow");
        assert_eq!(refusal(&format!("{GOLDEN}\n")), "something follows line 6, which must be the last");
        assert_eq!(refusal(&"x".repeat(600)), "it has 600 bytes, a record at most 512");
        assert!(refusal(&"x".repeat(500)).contains("it ends where line 1"));
        let long = format!("{}\n", "x".repeat(200));
        assert!(refusal(&long).contains(&format!("`{}…`", "x".repeat(SHOWN_CHARS))), "{}", refusal(&long));
        assert!(refusal(&GOLDEN.to_uppercase()).starts_with("line 1 is"));
        assert!(refusal(&GOLDEN.replace("crc = ", "crc = 0")).starts_with("line 6 is"));
    }

    #[test]
    fn a_changed_record_is_damaged_and_the_check_sum_that_it_needs_is_told() {
        let changed = GOLDEN.replace("epoch = 7", "epoch = 8");
        let refused = refusal(&changed);
        let right = summed(&changed);
        let (_, crc) = right.trim_end().rsplit_once(' ').unwrap();
        assert!(refused.contains(&format!("the lines before have {crc}")), "{refused}");
        assert_eq!(Record::decode(right.as_bytes(), session()), Ok(Record { epoch: 8, ..golden() }));
    }

    #[test]
    fn every_single_changed_or_missing_byte_is_noticed() {
        for at in 0..GOLDEN.len() {
            assert!(Record::decode(&GOLDEN.as_bytes()[..at], session()).is_err(), "cut off at {at}");
            for bit in 0..8 {
                let mut bytes = GOLDEN.as_bytes().to_vec();
                bytes[at] ^= 1 << bit;
                assert!(Record::decode(&bytes, session()).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    fn records() -> impl Strategy<Value = Record> {
        let members = proptest::collection::btree_map(0..u16::MAX, any::<u64>(), 1..=MAX_NODES);
        (any::<[u8; 10]>(), 1..=MAX_EPOCH, members, any::<proptest::sample::Index>()).prop_map(
            |(session, epoch, members, primary)| {
                let members: Vec<Member> = members.into_iter().map(|(node, inc)| of(node, inc)).collect();
                let in_sync = Members::of(&members).unwrap();
                Record {
                    session: Session::from_wire(session),
                    epoch,
                    primary: *primary.get(&members),
                    in_sync,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn records_read_back(record in records()) {
            let text = record.encode();
            prop_assert_eq!(Record::decode(text.as_bytes(), record.session), Ok(record));
            prop_assert!(Record::decode(text.as_bytes(), Session::BLANK).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            prop_assert!(Record::decode(&bytes, session()).is_err());
        }

        #[test]
        fn lines_in_disorder_are_refused_and_what_is_read_has_one_spelling(
            lines in proptest::collection::vec(
                "(seqcast-record|session|epoch|primary|in_sync|crc) = (1|7|SEQCAST001|(([0-9]:[0-9a-fA-F]{0,3} ?){0,3}))",
                0..8,
            )
        ) {
            let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            for text in [summed(&format!("{text}crc = ")), text] {
                if let Ok(record) = Record::decode(text.as_bytes(), session()) {
                    prop_assert_eq!(record.encode(), text);
                }
            }
        }
    }
}
