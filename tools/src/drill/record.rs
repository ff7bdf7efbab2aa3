//! What a drill left: the journals, and what publishers and subscribers saw, ready to be compared.

use std::path::Path;

use anyhow::Context;
use seqcast_engine::book::{Books, BooksConfig};
use seqcast_engine::frame::{Frame, Kind};
use seqcast_engine::io::store::FileReadStore;
use seqcast_engine::journal::Follower;

use crate::script::{self, Messages, Share};
use crate::trace::{Event, Record, hash_of};

/// A message in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) epoch: u64,
    /// Chains all before it.
    pub(crate) crc: u32,
    pub(crate) source: u16,
    pub(crate) source_seq: u64,
    /// Event time.
    pub(crate) stamp_ns: u64,
    pub(crate) hash: u64,
}

/// A node's journal, read to its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct JournalCopy {
    pub(crate) name: String,
    /// Message `n` at place `n - 1`.
    pub(crate) entries: Vec<Entry>,
    /// Whether the session ends there.
    pub(crate) ended: bool,
    /// Of the books that the messages make.
    pub(crate) digest: u64,
    /// Session of each source, as the frames say; one that changes is several.
    pub(crate) sources: Vec<(u16, String)>,
}

impl JournalCopy {
    /// Reads the journal in `dir`.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub(crate) fn read(name: &str, dir: &Path) -> anyhow::Result<JournalCopy> {
        let place = || format!("the journal of {name}");
        let mut copy = JournalCopy { name: name.into(), ..JournalCopy::default() };
        let mut books = Books::new(BooksConfig { expected_orders: 20_000, ..BooksConfig::default() })?;
        let store = FileReadStore::open(dir).with_context(place)?;
        let mut follower = Follower::open(store, None).with_context(place)?;
        while let Some(frame) = follower.next_frame().with_context(place)? {
            copy.take(&frame, &mut books)?;
        }
        copy.digest = books.digest();
        Ok(copy)
    }

    fn take(&mut self, frame: &Frame<'_>, books: &mut Books) -> anyhow::Result<()> {
        let header = frame.header();
        let due = self.entries.len() as u64 + 1;
        if frame.seq().value() != due {
            anyhow::bail!("the journal of {}: message {} where {due} is due", self.name, frame.seq());
        }
        if frame.kind() == Kind::End {
            self.ended = true;
            return Ok(());
        }
        let origin = (header.source.get(), header.source_session.to_string());
        if !self.sources.contains(&origin) {
            self.sources.push(origin);
        }
        self.entries.push(Entry {
            epoch: header.epoch.get(),
            crc: header.crc.get(),
            source: header.source.get(),
            source_seq: header.source_seq.get(),
            stamp_ns: header.stamp_ns.get(),
            hash: hash_of(frame.payload()),
        });
        books.apply(frame.payload());
        Ok(())
    }
}

/// What one of the others saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness {
    pub(crate) name: String,
    pub(crate) records: Vec<Record>,
}

/// A publisher: what it saw, and what it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublisherWitness {
    pub(crate) witness: Witness,
    pub(crate) session: String,
}

/// Everything that a drill left.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remains {
    pub(crate) journals: Vec<JournalCopy>,
    pub(crate) subscribers: Vec<Witness>,
    pub(crate) publishers: Vec<PublisherWitness>,
    /// Names of the nodes that have to have everything.
    pub(crate) in_sync: Vec<String>,
    /// Whether the drill came to its end.
    pub(crate) complete: bool,
}

impl Remains {
    /// The longest journal: the one to compare with.
    pub(crate) fn reference(&self) -> Option<&JournalCopy> {
        self.journals.iter().max_by_key(|copy| (copy.entries.len(), copy.ended))
    }
}

/// Hash of every message that each publisher has to publish, in order.
pub(crate) fn inputs(day: &Path, publishers: usize) -> anyhow::Result<Vec<Vec<u64>>> {
    let count = u16::try_from(publishers)?;
    let shares = (0..count).map(|at| Share::new(at, count)).collect::<Result<Vec<_>, _>>()?;
    let mut hashes = vec![Vec::new(); publishers];
    let mut messages = script::open(day, None)?;
    while messages.advance()? {
        let message = messages.current().bytes;
        for (share, hashes) in shares.iter().zip(&mut hashes) {
            if share.takes(message) {
                hashes.push(hash_of(message));
            }
        }
    }
    Ok(hashes)
}

/// When each message of a publisher was due: number `n` at place `n - 1`.
pub(crate) fn dues(records: &[Record]) -> Vec<u64> {
    let due = |record: &Record| matches!(record.event, Event::Due { .. }).then_some(record.at_ns);
    records.iter().filter_map(due).collect()
}

/// Number and time of each message that arrived.
pub(crate) fn arrivals(records: &[Record]) -> Vec<(u64, u64)> {
    let arrived = |record: &Record| match record.event {
        Event::Arrived { seq, .. } => Some((seq, record.at_ns)),
        _ => None,
    };
    records.iter().filter_map(arrived).collect()
}

/// Times at which a publisher learned that more is committed, and how much.
pub(crate) fn commits(records: &[Record]) -> Vec<(u64, u64)> {
    let mut highest = 1;
    let mut found = Vec::new();
    for record in records {
        if let Event::Acknowledged { committed, .. } = record.event
            && committed > highest
        {
            highest = committed;
            found.push((committed, record.at_ns));
        }
    }
    found
}
