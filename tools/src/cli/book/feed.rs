use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use seqcast_engine::io::pcap::CaptureReader;
use seqcast_wire::Session;
use seqcast_wire::mold::{Downstream, Kind as MoldKind};

use crate::input::{BinaryFile, Kind, Ordered};

/// The messages of a file, in order: all of a BinaryFILE, or those of one session of a capture.
pub(super) struct Feed {
    path: PathBuf,
    source: Source,
    lost: u64,
    damage: Option<String>,
}

enum Source {
    BinaryFile(BinaryFile),
    Capture { capture: CaptureReader, session: Session },
}

/// Whether to go on to the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    Stop,
}

/// Why a walk through a capture ended early.
enum Stopped {
    Wanted,
    Failed(anyhow::Error),
}

impl Feed {
    pub(super) fn open(path: &Path, session: Option<Session>) -> anyhow::Result<Feed> {
        let source = match Kind::of(path)? {
            Kind::BinaryFile if session.is_some() => {
                bail!("{} is no capture and has no sessions: leave --session out", path.display())
            }
            Kind::BinaryFile => Source::BinaryFile(
                BinaryFile::open(path).with_context(|| format!("cannot read {}", path.display()))?,
            ),
            Kind::Capture => {
                let session = choose(path, session)?;
                Source::Capture { capture: CaptureReader::open(path)?, session }
            }
        };
        Ok(Feed { path: path.into(), source, lost: 0, damage: None })
    }

    /// Messages known to be missing between those that were handed on.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// Why the file was not read to its end.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Hands on the messages and their numbers, until `on_message` says stop.
    pub(super) fn for_each(
        &mut self,
        on_message: impl FnMut(u64, &[u8]) -> anyhow::Result<Flow>,
    ) -> anyhow::Result<()> {
        let Feed { path, source, lost, damage } = self;
        match source {
            Source::BinaryFile(file) => for_each_record(path, file, damage, on_message),
            Source::Capture { capture, session } => {
                let mut ordered = Ordered::new();
                let ended = for_each_captured(capture, *session, &mut ordered, damage, on_message);
                *lost = ordered.lost();
                match ended {
                    Ok(()) | Err(Stopped::Wanted) => Ok(()),
                    Err(Stopped::Failed(error)) => Err(error),
                }
            }
        }
    }
}

fn for_each_record(
    path: &Path,
    file: &mut BinaryFile,
    damage: &mut Option<String>,
    mut on_message: impl FnMut(u64, &[u8]) -> anyhow::Result<Flow>,
) -> anyhow::Result<()> {
    let mut seq = 0;
    while let Some(records) =
        file.next_records().with_context(|| format!("cannot read {}", path.display()))?
    {
        for message in records.flatten() {
            seq += 1;
            if on_message(seq, message)? == Flow::Stop {
                return Ok(());
            }
        }
    }
    *damage = file.damage().map(str::to_owned);
    Ok(())
}

fn for_each_captured(
    capture: &mut CaptureReader,
    session: Session,
    ordered: &mut Ordered,
    damage: &mut Option<String>,
    mut on_message: impl FnMut(u64, &[u8]) -> anyhow::Result<Flow>,
) -> Result<(), Stopped> {
    let mut hand_on = |seq: seqcast_wire::SeqNo, message: &[u8]| match on_message(seq.value(), message) {
        Ok(Flow::Go) => Ok(()),
        Ok(Flow::Stop) => Err(Stopped::Wanted),
        Err(error) => Err(Stopped::Failed(error)),
    };
    loop {
        match capture.next_datagram() {
            Ok(Some(captured)) => {
                let Ok(datagram) = Downstream::parse(captured.payload) else { continue };
                if datagram.session() == session {
                    ordered.on_datagram(&datagram, captured.payload, &mut hand_on)?;
                }
            }
            Ok(None) => break,
            Err(error) => {
                *damage = Some(error.to_string());
                break;
            }
        }
    }
    ordered.finish(&mut hand_on)
}

/// The session to read: the wanted one, or the only one. Reads the capture through to know.
fn choose(path: &Path, wanted: Option<Session>) -> anyhow::Result<Session> {
    let mut capture = CaptureReader::open(path)?;
    let mut sessions = BTreeSet::new();
    while let Ok(Some(captured)) = capture.next_datagram() {
        if let Ok(datagram) = Downstream::parse(captured.payload)
            && matches!(datagram.kind(), MoldKind::Data(_))
        {
            sessions.insert(datagram.session());
        }
    }
    let names: Vec<String> = sessions.iter().map(Session::to_string).collect();
    let (path, names) = (path.display(), names.join(", "));
    match (wanted, sessions.len()) {
        (_, 0) => bail!("{path} holds no MoldUDP64 messages"),
        (Some(wanted), _) if sessions.contains(&wanted) => Ok(wanted),
        (Some(wanted), _) => bail!("{path} holds no session {wanted}, but: {names}"),
        (None, 1) => sessions.first().copied().context("one session"),
        (None, _) => bail!("{path} holds several sessions: choose with --session one of {names}"),
    }
}
