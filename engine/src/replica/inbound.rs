//! A standby's end of the stream.

use seqcast_wire::repl::{self, Head, Origin, Position, Reach};
use seqcast_wire::{SeqNo, Session};

use super::broken::{Broken, Rule};
use super::config::{StreamConfig, StreamConfigError};
use super::member::{Member, NodeId};
use super::position::{self, reach};
use super::stash::Stash;
use super::stats::InboundStats;
use crate::frame::{Chain, ChainError, Frame, FrameError};
use crate::time::Nanos;

/// A standby's journal, as the stream writes it.
pub trait Standby {
    /// Where the journal ends.
    fn chain(&self) -> &Chain;

    /// Where the journal stands before the frame numbered `next`, an end of the session not counted in. `None` when
    /// that cannot be read. Asked only for what lies between what is committed and the journal's end.
    fn position_at(&mut self, next: SeqNo) -> Option<Position>;

    /// Appends a frame, which was checked whole and is the next of the chain. `false`: there is no room now, try again.
    fn append(&mut self, frame: &[u8]) -> bool;

    /// Cuts everything from the frame numbered `to` on, an end of the session included. `false`: not now, try again.
    /// What is durable is counted anew from `to` on: what was synced is not what will stand there.
    fn cut_back(&mut self, to: SeqNo) -> bool;
}

/// What became of an [`Append`](repl::Append).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// It came from the primary that is followed, in its epoch, and was used, kept for later, or known already.
    Accepted,
    /// It is of an epoch below the one promised: answer with [`Refusals`](super::Refusals).
    Stale,
    /// It is of an epoch that this node does not follow yet: read the coordinator's record.
    HigherEpoch {
        /// The epoch.
        epoch: u64,
        /// Who claims to be its primary.
        from: Member,
    },
    /// It is of the epoch followed, but not from its primary.
    NotPrimary(Member),
    /// Another session.
    Foreign,
    /// Some of its bytes are no frame. It was dropped; the primary is asked again.
    Damaged(FrameError),
    /// The primary's history is not the one that was verified. This must never happen: stop, and let people look.
    Diverged(Divergence),
    /// This node's own journal cannot be read at this number: stop.
    Unreadable(SeqNo),
    /// The image is for this node, whose journal is to begin anew where it stands.
    Begin,
}

/// A standby that has just begun may hear what its primary said long ago. So many datagrams in a row are no leftovers.
const MAX_SHORT: u32 = 1_000;

/// How the primary's history contradicts what was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Divergence {
    /// The histories differ before what was verified ends.
    #[error(
        "before message {next} the primary has epoch {theirs_epoch} with CRC-32C {theirs:08x}, this journal epoch {ours_epoch} with {ours:08x}, though it was verified"
    )]
    Verified {
        /// Up to where this node had verified.
        next: SeqNo,
        /// Epoch of this journal's last verified frame.
        ours_epoch: u64,
        /// Its CRC.
        ours: u32,
        /// Epoch of the primary's frame.
        theirs_epoch: u64,
        /// Its CRC.
        theirs: u32,
    },
    /// The primary lacks what is committed.
    #[error(
        "the primary's history ends before message {end}, and everything before {committed} is committed: the coordinator \
         may have been restored from an old backup; stop all nodes, restore its newest record, and start them again"
    )]
    Short {
        /// Where the primary's history ends.
        end: SeqNo,
        /// What this node knows to be committed.
        committed: SeqNo,
    },
    /// A frame is not the next one.
    #[error("message {seq} of the primary's stream: {error}")]
    Chain {
        /// The number due.
        seq: SeqNo,
        /// Why it is not the next.
        error: ChainError,
    },
    /// A frame is of a higher epoch than its primary.
    #[error("message {seq} is of epoch {frame} in a stream of epoch {stream}")]
    Epoch {
        /// Number of the frame.
        seq: SeqNo,
        /// Its epoch.
        frame: u64,
        /// The primary's.
        stream: u64,
    },
    /// This journal holds frames of the stream's own epoch that the primary does not have.
    #[error("from message {next} on this journal has another history of epoch {epoch} than its primary")]
    SameEpoch {
        /// Where they differ.
        next: SeqNo,
        /// The epoch.
        epoch: u64,
    },
}

/// Why a datagram was not taken.
enum Fault {
    Damaged(FrameError),
    Diverged(Divergence),
    Unreadable(SeqNo),
}

/// What became of frames.
#[derive(PartialEq, Eq)]
enum Taken {
    /// All of them are verified.
    All,
    /// They begin beyond what is verified.
    Early,
    /// The journal has no room for the rest now.
    NoRoom,
}

/// The primary that is followed, in one epoch.
#[derive(Clone, Debug)]
struct Following {
    epoch: u64,
    primary: Member,
    /// Up to here the journal equals the primary's history.
    verified: Position,
    /// The primary's history was seen to have that position. Until then it is only known that it must: what is committed
    /// is in the journal of every primary, as long as the coordinator keeps its record.
    is_confirmed: bool,
    /// Datagrams in a row that told of a history that ends before that.
    short: u32,
    /// How far the primary is: the most that it said in this epoch; `None` until it was heard.
    head: Option<Head>,
    /// A point of its history that the primary spoke of. What lies before was sent.
    sent: Reach,
    broken: Broken,
}

/// Takes the stream of one primary after another into a standby's journal, and acknowledges.
///
/// Nothing changes the journal but frames of the epoch followed, from its primary. They are compared with the journal
/// from what is committed on; where they first differ the journal is cut, and they are appended. A tail that goes
/// further than the primary's whole history is cut when all of it is older than the primary's epoch. So no
/// datagram cuts what the epoch's primary has, however late it comes.
#[derive(Clone, Debug)]
pub struct Inbound {
    session: Session,
    me: Member,
    heartbeat: Nanos,
    promised: u64,
    following: Option<Following>,
    /// The journal meets the primary's history nowhere: an image is asked for.
    needs_image: bool,
    wish: Option<repl::Wish>,
    stash: Stash,
    committed: Reach,
    /// What the last acknowledgement was sent for.
    said: Option<Said>,
    ack_due: Nanos,
    stats: InboundStats,
    broken: Broken,
}

impl Inbound {
    /// A standby that follows nobody yet, has promised epoch `promised` (0: none) and knows everything up to `committed`
    /// to be committed.
    ///
    /// # Errors
    /// A setting that cannot work.
    pub fn new(
        config: &StreamConfig,
        me: Member,
        session: Session,
        promised: u64,
        committed: Reach,
    ) -> Result<Inbound, StreamConfigError> {
        config.check()?;
        Ok(Inbound {
            session,
            me,
            heartbeat: config.heartbeat,
            promised,
            following: None,
            needs_image: false,
            wish: None,
            stash: Stash::new(config.stash_datagrams, config.max_datagram_bytes),
            committed,
            said: None,
            ack_due: Nanos::ZERO,
            stats: InboundStats::default(),
            broken: Broken::NONE,
        })
    }

    /// The same with a rule broken on purpose, if one is.
    pub fn breaking(mut self, broken: Broken) -> Inbound {
        self.broken = broken;
        self
    }

    /// Follows `primary` in `epoch`, whose promise is durable by now. `verified` is a position of this node's journal
    /// up to which everything is committed.
    ///
    /// # Panics
    /// When a higher epoch was promised, or the primary is this node: the caller would break its promise.
    pub fn follow(&mut self, epoch: u64, primary: Member, verified: Position) {
        assert!(epoch >= self.promised && epoch > 0, "an epoch below the promised one is refused for good");
        assert!(primary.node != self.me.node, "a node does not follow itself");
        self.promised = epoch;
        let (sent, broken) = (Reach::NOTHING, self.broken);
        let is_confirmed = verified == Position::START;
        self.following =
            Some(Following { epoch, primary, verified, is_confirmed, short: 0, head: None, sent, broken });
        self.stash.clear();
        self.committed = self.committed.max(verified.at);
        self.said = None;
    }

    /// Follows nobody and acknowledges nothing but that it is there, until [`Inbound::follow`]: this node is a candidate,
    /// or became primary, in `promised`. Call it before the promise is sent anywhere.
    pub fn stop_acking(&mut self, promised: u64) {
        self.promised = self.promised.max(promised);
        self.following = None;
        self.said = None;
        self.stash.clear();
    }

    /// Takes a datagram. Frames that the journal has no room for are kept: see [`Inbound::poll`].
    pub fn on_append(&mut self, append: &repl::Append<'_>, standby: &mut impl Standby) -> AppendOutcome {
        if let Some(refused) = self.refuse(&append.origin) {
            return refused;
        }
        let Some(following) = &mut self.following else { return AppendOutcome::Accepted };
        self.stats.datagrams += 1;
        if let Err(fault) = following.hear(append) {
            return self.fault(fault);
        }
        if self.needs_image {
            return AppendOutcome::Accepted;
        }
        match following.take(append.previous, append.frames, standby, &mut self.stats) {
            Ok(Taken::All) => {}
            Ok(_) if append.frames.is_empty() => {}
            Ok(_) if self.stash.insert(append.previous, append.frames) => self.stats.early_datagrams += 1,
            Ok(_) => self.stats.dropped_datagrams += 1,
            Err(fault) => return self.fault(fault),
        }
        self.poll(standby)
    }

    /// What is verified is not the primary's after all, and nobody ever counted on it: asks for an image from now on.
    pub fn ask_for_image(&mut self) {
        self.needs_image = true;
        self.stash.clear();
        self.said = None;
    }

    /// What the primary is asked for from now on.
    pub fn wish(&mut self, wish: Option<repl::Wish>) {
        self.wish = wish;
    }

    /// Takes an image. Only what is not known to be committed, or covered by the image, may be given up for it.
    pub fn on_image(&mut self, image: &repl::Image<'_>) -> AppendOutcome {
        if let Some(refused) = self.refuse(&image.origin) {
            return refused;
        }
        let Some(following) = &self.following else { return AppendOutcome::Accepted };
        self.stats.datagrams += 1;
        let leads_on = self.needs_image || image.position.at > following.verified.at;
        if image.replaces == self.me.incarnation && leads_on {
            return AppendOutcome::Begin;
        }
        self.stats.useless_images += 1;
        AppendOutcome::Accepted
    }

    /// Why a datagram is none of this stream.
    fn refuse(&mut self, from: &Origin) -> Option<AppendOutcome> {
        let sender = Member { node: NodeId(from.node), incarnation: from.incarnation };
        if from.session != self.session || sender.node == self.me.node {
            self.stats.foreign_datagrams += 1;
            return Some(AppendOutcome::Foreign);
        }
        if from.epoch < self.promised {
            if self.broken.is(Rule::StaleEpochAccepted)
                && let Some(following) = &mut self.following
            {
                (following.epoch, following.primary) = (from.epoch, sender);
                return None;
            }
            self.stats.stale_datagrams += 1;
            return Some(AppendOutcome::Stale);
        }
        match &self.following {
            Some(following) if following.epoch == from.epoch => {
                if following.primary == sender {
                    return None;
                }
                self.stats.not_primary_datagrams += 1;
                Some(AppendOutcome::NotPrimary(sender))
            }
            _ => {
                self.stats.higher_epoch_datagrams += 1;
                Some(AppendOutcome::HigherEpoch { epoch: from.epoch, from: sender })
            }
        }
    }

    /// Goes on with what waits for room in the journal or for its turn. Call in every duty cycle.
    pub fn poll(&mut self, standby: &mut impl Standby) -> AppendOutcome {
        let Some(following) = self.following.as_mut().filter(|_| !self.needs_image) else {
            return AppendOutcome::Accepted;
        };
        while let Some((from, frames)) = self.stash.first()
            && from.at <= following.verified.at
        {
            match following.take(from, frames, standby, &mut self.stats) {
                Ok(Taken::All) => self.stash.remove_first(),
                Ok(_) => break,
                Err(fault) => {
                    self.stash.remove_first();
                    return self.fault(fault);
                }
            }
        }
        following.cut_longer_tail(standby, &mut self.stats);
        if let Some(head) = following.head {
            self.committed = self.committed.max(head.committed.min(following.verified.at));
        }
        AppendOutcome::Accepted
    }

    #[cold]
    fn fault(&mut self, fault: Fault) -> AppendOutcome {
        match fault {
            Fault::Damaged(error) => {
                self.stats.damaged_datagrams += 1;
                AppendOutcome::Damaged(error)
            }
            Fault::Diverged(divergence) => {
                self.stats.divergences += 1;
                AppendOutcome::Diverged(divergence)
            }
            Fault::Unreadable(seq) => AppendOutcome::Unreadable(seq),
        }
    }

    /// The acknowledgement that is due, if one is; [`Inbound::on_acked`] when it was sent. It goes to the primary that is
    /// followed; as long as there is none, or it is doubted, to every peer. `chain` is the journal's, with everything appended
    /// published: a killed process leaves what was acknowledged. `durable` is how far the journal is synced, when
    /// acknowledgements wait for the disk.
    pub fn poll_ack(&self, now: Nanos, chain: &Chain, durable: Option<Reach>) -> Option<repl::Ack> {
        let ack = self.ack(chain, durable);
        (self.said != Some(says(&ack)) || now >= self.ack_due).then_some(ack)
    }

    /// `ack` was sent.
    pub fn on_acked(&mut self, now: Nanos, ack: &repl::Ack) {
        self.stats.acks += 1;
        self.said = Some(says(ack));
        self.ack_due = now + self.heartbeat;
    }

    fn ack(&self, chain: &Chain, durable: Option<Reach>) -> repl::Ack {
        let received = self.verified();
        // What the primary may not have is nothing to it.
        let is_confirmed = self.following.as_ref().is_some_and(|following| following.is_confirmed);
        repl::Ack {
            origin: Origin {
                session: self.session,
                epoch: self.following.as_ref().map_or(0, |following| following.epoch),
                node: self.me.node.0,
                incarnation: self.me.incarnation,
            },
            tail: Position::from(chain),
            verified: match durable {
                _ if !is_confirmed => Reach::NOTHING,
                // The end of the session counts only with all that comes before it.
                Some(durable) if durable < received => Reach::to(durable.next),
                _ => received,
            },
            received,
            wanted: self.wanted(),
            committed: self.committed,
            is_deaf: false,
            needs_image: self.needs_image && self.following.is_some(),
            wish: self.wish.filter(|_| self.following.is_some()),
        }
    }

    /// Up to where something is missing.
    fn wanted(&self) -> Option<Reach> {
        let following = self.following.as_ref()?;
        let known = match self.stash.first() {
            Some((from, _)) => from.at,
            None => following.sent,
        };
        Some(known).filter(|known| *known > following.verified.at)
    }

    /// The epoch promised: no lower one is heeded.
    pub fn promised(&self) -> u64 {
        self.promised
    }

    /// The epoch and the primary that are followed.
    pub fn following(&self) -> Option<(u64, Member)> {
        self.following.as_ref().map(|following| (following.epoch, following.primary))
    }

    /// How far the journal equals the history of the primary that is followed; nothing when there is none.
    pub fn verified(&self) -> Reach {
        self.following.as_ref().map_or(Reach::NOTHING, |following| following.verified.at)
    }

    /// How far is committed, of what the journal holds.
    pub fn committed(&self) -> Reach {
        self.committed
    }

    /// How far the primary that is followed is, by the most that it said; `None` until it was heard.
    pub fn head(&self) -> Option<&Head> {
        self.following.as_ref().and_then(|following| following.head.as_ref())
    }

    /// What was counted so far.
    pub fn stats(&self) -> &InboundStats {
        &self.stats
    }

    #[cfg(feature = "sim")]
    fn decisive(&self) -> impl PartialEq + std::hash::Hash + '_ {
        let Inbound {
            session: _,
            me,
            heartbeat: _,
            promised,
            following,
            needs_image,
            wish,
            stash: _,
            committed,
            said: _,
            ack_due: _,
            stats: _,
            broken: _,
        } = self;
        let following = following.as_ref().map(|following| {
            let Following { epoch, primary, verified, is_confirmed, short: _, head, sent, broken: _ } =
                following;
            (epoch, primary, verified, is_confirmed, head, sent)
        });
        (me, promised, following, needs_image, wish, committed)
    }
}

/// Two are equal when they will act alike, but for what the stash keeps and when the next acknowledgement is due: for
/// whoever explores all that may become of one.
#[cfg(feature = "sim")]
impl PartialEq for Inbound {
    fn eq(&self, other: &Inbound) -> bool {
        self.decisive() == other.decisive()
    }
}

#[cfg(feature = "sim")]
impl Eq for Inbound {}

#[cfg(feature = "sim")]
impl std::hash::Hash for Inbound {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.decisive().hash(state);
    }
}

/// What an acknowledgement is sent for, when it changes: verified, received, wanted, and a wish.
type Said = (Reach, Reach, Option<Reach>, Option<repl::Wish>);

fn says(ack: &repl::Ack) -> Said {
    (ack.verified, ack.received, ack.wanted, ack.wish)
}

impl Following {
    /// Notes how far the primary is. In one epoch all of that only grows, so the most that was said is true.
    fn hear(&mut self, append: &repl::Append<'_>) -> Result<(), Fault> {
        let head = self.head.get_or_insert(append.head);
        head.end = head.end.max(append.head.end);
        head.committed = head.committed.max(append.head.committed);
        head.published = head.published.max(append.head.published);
        head.everywhere = head.everywhere.max(append.head.everywhere);
        self.sent = self.sent.max(append.previous.at);
        if head.end >= self.verified.at {
            self.short = 0;
            return Ok(());
        }
        self.short += 1;
        let (end, committed) = (head.end.next, self.verified.at.next);
        if self.short < MAX_SHORT {
            Ok(())
        } else {
            Err(Fault::Diverged(Divergence::Short { end, committed }))
        }
    }

    /// The primary's history has the position `at`, as far as this journal was verified.
    fn confirm(&mut self, at: Position) -> Result<(), Fault> {
        if at != self.verified && !self.broken.is(Rule::TruncationByNumber) {
            return Err(Fault::Diverged(self.divergence_at(at)));
        }
        self.is_confirmed = true;
        Ok(())
    }

    fn divergence_at(&self, at: Position) -> Divergence {
        let ours = self.verified;
        Divergence::Verified {
            next: ours.at.next,
            ours_epoch: ours.epoch,
            ours: ours.crc,
            theirs_epoch: at.epoch,
            theirs: at.crc,
        }
    }

    /// Verifies or appends frames that begin at `from` in the primary's history.
    fn take(
        &mut self,
        from: Position,
        frames: &[u8],
        standby: &mut impl Standby,
        stats: &mut InboundStats,
    ) -> Result<Taken, Fault> {
        if from.at > self.verified.at {
            // Histories that agree on a position agree on everything before.
            let own = own_position(standby, from.at)?;
            if own.is_none_or(|own| own != from && !self.broken.is(Rule::TruncationByNumber)) {
                return Ok(Taken::Early);
            }
            stats.verified += from.at.next.since(self.verified.at.next);
            self.verified = from;
        }
        if from.at == self.verified.at {
            self.confirm(from)?;
        }
        let (mut at, mut rest) = (from, frames);
        while !rest.is_empty() {
            let frame = Frame::view(rest).map_err(Fault::Damaged)?;
            rest = &rest[frame.framed_bytes()..];
            let behind = position::behind(&frame);
            if behind.at > self.verified.at {
                let frame = Frame::parse(frame.bytes()).map_err(Fault::Damaged)?;
                self.check(at, &frame).map_err(Fault::Diverged)?;
                if !self.step(&frame, behind, standby, stats)? {
                    stats.no_room += 1;
                    return Ok(Taken::NoRoom);
                }
            } else if behind.at == self.verified.at {
                self.confirm(behind)?;
            }
            at = behind;
        }
        Ok(Taken::All)
    }

    /// Whether `frame`, at `at` in the primary's history, is what follows there and what was verified.
    fn check(&self, at: Position, frame: &Frame<'_>) -> Result<(), Divergence> {
        let header = frame.header();
        let (seq, previous, epoch) = (at.at.next, header.previous_crc.get(), header.epoch.get());
        let error = if at.at.ended {
            ChainError::Ended
        } else if frame.seq() != seq {
            ChainError::Seq { expected: seq, found: frame.seq() }
        } else if at != self.verified {
            return Err(self.divergence_at(at));
        } else if previous != at.crc {
            ChainError::Previous { expected: at.crc, found: previous }
        } else if epoch < at.epoch {
            ChainError::Epoch { last: at.epoch, found: epoch }
        } else if epoch > self.epoch {
            return Err(Divergence::Epoch { seq, frame: epoch, stream: self.epoch });
        } else {
            return Ok(());
        };
        Err(Divergence::Chain { seq, error })
    }

    /// Verifies or appends one frame, the next behind what is verified; `false` when the journal has no room now.
    fn step(
        &mut self,
        frame: &Frame<'_>,
        behind: Position,
        standby: &mut impl Standby,
        stats: &mut InboundStats,
    ) -> Result<bool, Fault> {
        if reach(standby.chain()) > self.verified.at {
            let own = own_position(standby, behind.at)?;
            if own.is_some_and(|own| own == behind || self.broken.is(Rule::TruncationByNumber)) {
                stats.verified += 1;
                self.verified = behind;
                return Ok(true);
            }
            let next = self.verified.at.next;
            if standby.chain().epoch() >= self.epoch {
                return Err(Fault::Diverged(Divergence::SameEpoch { next, epoch: self.epoch }));
            }
            if !standby.cut_back(next) {
                return Ok(false);
            }
            stats.cuts += 1;
        }
        let seq = frame.seq();
        standby.chain().check(frame).map_err(|error| Fault::Diverged(Divergence::Chain { seq, error }))?;
        if !standby.append(frame.bytes()) {
            return Ok(false);
        }
        stats.appended += 1;
        self.verified = behind;
        Ok(true)
    }

    /// Cuts what goes beyond the primary's whole history. All that the primary adds later is of its epoch, so only
    /// what is older is sure to be no part of it.
    fn cut_longer_tail(&mut self, standby: &mut impl Standby, stats: &mut InboundStats) {
        let chain = standby.chain();
        let is_at_end = self.head.is_some_and(|head| head.end == self.verified.at);
        let goes_beyond = is_at_end && reach(chain) > self.verified.at;
        if goes_beyond && chain.epoch() < self.epoch && standby.cut_back(self.verified.at.next) {
            stats.cuts += 1;
        }
    }
}

/// The position of the standby's own history at `at`; `None` when it has no such point.
fn own_position(standby: &mut impl Standby, at: Reach) -> Result<Option<Position>, Fault> {
    let tail = Position::from(standby.chain());
    if at == tail.at {
        return Ok(Some(tail));
    }
    if at.ended || at > tail.at {
        return Ok(None);
    }
    standby.position_at(at.next).map(Some).ok_or(Fault::Unreadable(at.next))
}
