//! The journal's length: what appending, answering a request and opening cost as it grows.

use std::fs;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail, ensure};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use seqcast_engine::agents::meter::Meter;
use seqcast_engine::agents::rewind::Rewind;
use seqcast_engine::frame::{framed_bytes, seal};
use seqcast_engine::io::store::FileStore;
use seqcast_engine::journal::{AppendError, Journal, JournalConfig, JournalReader, Opened};
use seqcast_engine::rewind::{Bucket, Prefix, ServerConfig};
use seqcast_engine::runtime::{Agent, Clock};
use seqcast_engine::sequencer::{Admit, Sequencer, SourceId};
use seqcast_engine::stat::{Counters, CountersSpec, Latency};
use seqcast_engine::sync::{Flag, Watermark};
use seqcast_engine::time::Nanos;
use seqcast_engine::topology::{self, Node};
use seqcast_wire::mold::{Downstream, Request};
use seqcast_wire::{SeqNo, Session as Name};

use crate::bench::book::Stopwatch;
use crate::bench::curve::Cost;
use crate::bench::report::{Unit, Variant};
use crate::bench::schedule::Prepared;
use crate::bench::session::Session;
use crate::output::{grouped, say, sized};

/// What the curve is of.
pub(super) const WHAT: &str = "the journal as it grows: appending one more message, in time that the thread ran; opening (every \
                               frame is checked), by message; the answer to a request for a datagram's worth of messages at \
                               a random place, by the rewind agent over loopback";
/// Name of the series.
pub(in crate::bench) const REQUEST: &str = "request at a random place → answer";
const APPENDED: &str = "appending a message";
const OPENED: &str = "opening, by message";
const OPENED_WHOLE: &str = "opening, all of it";

/// Messages made before they are appended.
const MADE: u64 = 1 << 13;
/// Messages appended before readers are let see them, as an agent does once a duty cycle.
const BATCH: usize = 32;
/// A repeat appends one message for so many that are there, but not fewer nor more than these, and the fewest before.
const APPENDED_PART: u64 = 20;
const LEAST_APPENDED: u64 = 1_000;
const MOST_APPENDED: u64 = 100_000;
/// Requests in a repeat, and messages asked for at once: about a datagram's worth.
const REQUESTS: u64 = 4_000;
const ASKED: u16 = 32;
/// How long one request may take: nothing is lost on loopback but by a full buffer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Different messages; they come again and again.
const DIFFERENT: u64 = 10_000;
/// Bytes of a message in the journal, with the header of its frame.
const FRAME_BYTES: u64 = 96;
const SEGMENTS: &str = "segments";
const BYTES: &str = "bytes of the journal";
const STALLS: &str = "waits for a segment";

fn segment_bytes(session: &Session) -> u64 {
    session.config.journal.as_ref().map_or(64 << 20, |journal| journal.segment_bytes)
}

/// What is drawn.
pub(super) fn costs() -> Vec<Cost> {
    let request = |quantile| format!("{REQUEST}: {quantile}");
    vec![Cost::new(APPENDED), Cost::new(OPENED), Cost::new(request("p50")), Cost::beside(request("p99"))]
}

/// Disk for a journal of `length` messages: what repeats append, and segments prepared ahead.
pub(super) fn needed_bytes(session: &Session, length: u64) -> u64 {
    length * FRAME_BYTES * 3 / 2 + 2 * segment_bytes(session)
}

/// How long one repeat takes, and making it.
pub(super) fn estimate_s(length: u64) -> (f64, f64) {
    (0.3 + length as f64 * 50e-9, 0.3 + length as f64 * 300e-9)
}

/// The journals of all points. Their files go when this does.
pub(super) struct Journals {
    dir: PathBuf,
    messages: Prepared,
    random: ChaCha8Rng,
    /// Those that are made, by the length they were made with.
    made: Vec<u64>,
}

impl Drop for Journals {
    fn drop(&mut self) {
        // What cannot be removed is in a directory that is named after this process.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl Journals {
    /// None made yet.
    ///
    /// # Errors
    /// The messages cannot be made.
    pub(super) fn new(session: &Session, seed: u64) -> anyhow::Result<Journals> {
        let dir = session.dir.join(format!("seqcast-bench-{}-journals", std::process::id()));
        let messages = Prepared::new(DIFFERENT, 100, seed)?;
        Ok(Journals { dir, messages, random: ChaCha8Rng::seed_from_u64(seed), made: Vec::new() })
    }

    /// Opens the journal of `length` messages, appends some, asks for some, and adds what that cost.
    ///
    /// # Errors
    /// The disk is full, or something else was refused; it was interrupted.
    pub(super) fn measure(
        &mut self,
        session: &Session,
        length: u64,
        variant: &mut Variant,
    ) -> anyhow::Result<String> {
        if !self.made.contains(&length) {
            say(format_args!("growth: making a journal of {} messages", grouped(length)));
            let mut writer = self.open(session, length)?;
            writer.append(&self.messages, length, session)?;
            self.made.push(length);
        }
        let started = Instant::now();
        let mut writer = self.open(session, length)?;
        let opened = started.elapsed().as_nanos() as f64;
        let there = writer.next().since(SeqNo::FIRST);
        ensure!(there >= length, "the journal of {length} messages has only {there}");
        let more = (length / APPENDED_PART).clamp(LEAST_APPENDED, MOST_APPENDED);
        // The first of them find everything cold.
        writer.append(&self.messages, LEAST_APPENDED, session)?;
        let appended = writer.append(&self.messages, more, session)? / more as f64;
        variant.record(APPENDED, Unit::Ns, appended);
        variant.record(OPENED, Unit::Ns, opened / there as f64);
        variant.record(OPENED_WHOLE, Unit::Ns, opened);
        variant.count(STALLS, writer.opened.journal.stalls());
        let (segments, bytes) = self.size(length)?;
        variant.counts.insert(SEGMENTS.into(), segments);
        variant.counts.insert(BYTES.into(), bytes);
        let p50 = self.ask(session, writer.opened.reader.clone(), variant)?;
        Ok(format!("append {appended:.1} ns, open {}, request {p50}", Nanos(opened as u64)))
    }

    fn place(&self, length: u64) -> PathBuf {
        self.dir.join(length.to_string())
    }

    fn open(&self, session: &Session, length: u64) -> anyhow::Result<Writer> {
        let place = self.place(length);
        let store = FileStore::open(&place).with_context(|| place.display().to_string())?;
        let segment_bytes = segment_bytes(session) as usize;
        let config = JournalConfig { segment_bytes, ..JournalConfig::new(name()?, 1) };
        Writer::new(Journal::open(store, &config)?)
    }

    /// Segments of the journal, and their bytes.
    fn size(&self, length: u64) -> anyhow::Result<(u64, u64)> {
        let (mut segments, mut bytes) = (0, 0);
        for file in fs::read_dir(self.place(length))? {
            let file = file?;
            if file.path().extension().is_some_and(|kind| kind == "seg") {
                segments += 1;
                bytes += file.metadata()?.len();
            }
        }
        Ok((segments, bytes))
    }

    /// Asks the rewind agent, one request after the other. Gives the median.
    fn ask(
        &mut self,
        session: &Session,
        reader: JournalReader,
        variant: &mut Variant,
    ) -> anyhow::Result<Nanos> {
        let end = reader.next();
        let mut agent = agent(session, reader)?;
        let to = agent.local_addr();
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let (clock, began) = (Clock::new(), SystemTime::now());
        agent.on_start(clock.now())?;
        let mut latency = Latency::new();
        let mut request = [0; 20];
        for _ in 0..REQUESTS {
            let last = end.since(SeqNo::FIRST).saturating_sub(ASKED.into()).max(1);
            let first = SeqNo::FIRST.saturating_add(self.random.random_range(0..last));
            let len = Request { session: name()?, first, count: ASKED }.emit(&mut request);
            let asked = clock.now();
            socket.send_to(&request[..len], to)?;
            let is_answered = answered(&mut agent, &socket, &clock, first)?;
            variant.count("sent", 1);
            if is_answered {
                latency.record(clock.now().since(asked));
                variant.count("received", 1);
            }
            if session.stop.is_set() {
                bail!("interrupted");
            }
        }
        agent.on_close(clock.now());
        let p50 = latency.percentiles().p50;
        variant.record_latency(REQUEST, began, latency);
        Ok(p50)
    }
}

/// Lets `agent` work until its answer, which begins with message `first`, is there.
fn answered(agent: &mut impl Agent, socket: &UdpSocket, clock: &Clock, first: SeqNo) -> anyhow::Result<bool> {
    let started = Instant::now();
    let mut answer = [0; 2_048];
    while started.elapsed() < PATIENCE {
        agent.do_work(clock.now())?;
        match socket.recv(&mut answer) {
            Ok(len) => {
                let answer = Downstream::parse(&answer[..len]).context("the answer")?;
                // One that came late is of another request.
                if answer.first() == first {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(false)
}

/// The rewind agent over all that `reader` has, answering whoever asks here as often as he likes.
fn agent(
    session: &Session,
    reader: JournalReader,
) -> anyhow::Result<Rewind<impl seqcast_engine::io::Driver>> {
    let driver = topology::driver(&session.config, &mut Node::default())?;
    let unlimited = Bucket { datagrams_per_s: u64::MAX, bytes_per_s: u64::MAX, burst: Nanos::from_secs(1) };
    let server = ServerConfig {
        max_datagram_bytes: session.config.send.datagram_bytes,
        per_source: unlimited,
        total: unlimited,
        ..ServerConfig::new(name()?, vec![Prefix::LOOPBACK])
    };
    let counters = Counters::anonymous("bench", CountersSpec::default())?;
    let watermarks = (Watermark::starting_at(reader.next()), Watermark::new());
    let bind = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let meter = Meter::new(&counters, "rewind", "");
    Ok(Rewind::open(driver, bind, server, reader, watermarks, Flag::new(), meter)?)
}

fn name() -> anyhow::Result<Name> {
    Ok("BENCHJRNL".parse()?)
}

/// The writing end, and who numbers what is written.
struct Writer {
    opened: Opened,
    sequencer: Sequencer,
}

impl Writer {
    fn new(opened: Opened) -> anyhow::Result<Writer> {
        let chain = opened.recovered.chain.clone();
        let next = chain.next();
        let mut sequencer = Sequencer::new(chain, 1, next)?;
        sequencer.open_source(SourceId(0), name()?).map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        Ok(Writer { opened, sequencer })
    }

    fn next(&self) -> SeqNo {
        self.opened.reader.next()
    }

    /// Appends `count` more messages and gives the nanoseconds that took; neither making them counts nor preparing
    /// segments, which others do.
    fn append(&mut self, messages: &Prepared, count: u64, session: &Session) -> anyhow::Result<f64> {
        let (mut took, mut left) = (0.0, count);
        let (mut frames, mut lengths) = (Vec::new(), Vec::new());
        while left > 0 {
            if session.stop.is_set() {
                bail!("interrupted");
            }
            let now = left.min(MADE);
            frames.clear();
            lengths.clear();
            for _ in 0..now {
                lengths.push(self.make(messages, &mut frames)?);
            }
            while self.opened.preparer.poll(SeqNo::FIRST, SeqNo::MAX)? {}
            let stopwatch = Stopwatch::start();
            self.append_made(&frames, &lengths)?;
            took += stopwatch.elapsed_ns();
            left -= now;
        }
        Ok(took)
    }

    /// Numbers and seals the next message behind `frames`; gives the frame's length.
    fn make(&mut self, messages: &Prepared, frames: &mut Vec<u8>) -> anyhow::Result<usize> {
        let at = self.sequencer.chain().next().since(SeqNo::FIRST) as usize % messages.len();
        let message = messages.message(at);
        let source = self.sequencer.chain().sources()[0].next;
        let Admit::Frame(header) = self.sequencer.admit(1, SourceId(0), name()?, source, message.len())
        else {
            bail!("message {source} is not admitted");
        };
        let (start, len) = (frames.len(), framed_bytes(message.len()));
        frames.resize(start + len, 0);
        seal(&mut frames[start..], self.sequencer.seal(header, message), message);
        Ok(len)
    }

    fn append_made(&mut self, frames: &[u8], lengths: &[usize]) -> anyhow::Result<()> {
        let Opened { journal, preparer, .. } = &mut self.opened;
        let mut rest = frames;
        for batch in lengths.chunks(BATCH) {
            for len in batch {
                let (frame, behind) = rest.split_at(*len);
                rest = behind;
                match journal.append(frame) {
                    Err(AppendError::NotReady) => {
                        while preparer.poll(SeqNo::FIRST, SeqNo::MAX)? {}
                        journal.append(frame)?;
                    }
                    appended => _ = appended?,
                }
            }
            journal.publish();
        }
        Ok(())
    }
}

/// What the journal looks like at the two points.
pub(super) fn why(_figure: &str, bend: &Variant, from: &Variant) -> Option<String> {
    Some(format!(
        "the journal went from {} to {}, in {} and {} segments; the writer waited for a segment {} times",
        sized(from.counted(BYTES)),
        sized(bend.counted(BYTES)),
        grouped(from.counted(SEGMENTS)),
        grouped(bend.counted(SEGMENTS)),
        grouped(bend.counted(STALLS))
    ))
}
