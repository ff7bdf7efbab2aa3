//! The receive side of a subscriber: lines and rewind replies in, the feed's items in order out, into a ring.
//!
//! Applications read the ring; what becomes of one that is too slow is decided by the kind of reader it has (see
//! [`super::books::Input`]).

use seqcast_wire::SeqNo;

use super::event;
use super::intake::{FeedPlan, FeedsSink, Intake, has_room};
use super::join::Handover;
use super::meter::Meter;
use super::trace::{Stage, Trace};
use crate::feed::{FeedState, Item};
use crate::io::Driver;
use crate::ring::broadcast::Writer;
use crate::runtime::{Agent, AgentError};
use crate::stat::Latency;
use crate::time::Nanos;

/// The agent.
pub struct Subscriber<D> {
    name: String,
    intake: Intake<D>,
    out: Out,
    /// A snapshot is awaited: the number to go on from arrives here.
    handover: Option<Handover>,
    /// Time from a hole to its filling.
    recovery: Latency,
    /// The agent is done when the session has ended and the end is in the ring.
    finish_at_end: bool,
    meter: Meter,
}

/// Where the items go.
struct Out {
    ring: Writer,
    now: Nanos,
    refusals: u64,
    /// When the ring is full, readers that are this far behind are evicted.
    evict_at: Option<u64>,
    evicted: u64,
    ended: bool,
    /// Whether the subscriber ends when messages are lost for good, and the first range that was.
    stops_at_loss: bool,
    lost: Option<(SeqNo, u64)>,
    trace: Option<Trace>,
}

impl FeedsSink for Out {
    fn has_room(&mut self) -> bool {
        has_room(&self.ring)
    }

    fn on_item(&mut self, _feed: usize, item: Item<'_>) -> bool {
        let len = event::encoded_bytes(&item);
        let Ok(mut claim) = self.ring.try_claim(len) else {
            self.refusals += 1;
            if let Some(lag_bytes) = self.evict_at {
                self.evicted += self.ring.evict_lagging(lag_bytes) as u64;
            }
            return false;
        };
        event::encode(&item, self.now, |bytes| claim.write(bytes));
        claim.commit();
        match item {
            Item::Message { seq, .. } => {
                if let Some(trace) = &self.trace {
                    trace.mark(Stage::Received, seq);
                }
            }
            Item::End { .. } => self.ended = true,
            Item::Lost { first, count } if self.stops_at_loss => self.lost = Some((first, count)),
            _ => {}
        }
        true
    }
}

impl<D: Driver> Subscriber<D> {
    /// Opens the endpoints of `plan`; items go to `ring`.
    ///
    /// # Errors
    /// What the driver refused, or a setting that cannot work.
    pub fn open(
        name: impl Into<String>,
        driver: D,
        plan: &FeedPlan,
        ring: Writer,
        meter: Meter,
    ) -> Result<Subscriber<D>, AgentError> {
        Ok(Subscriber {
            name: name.into(),
            intake: Intake::open(driver, std::slice::from_ref(plan))?,
            out: Out {
                ring,
                now: Nanos::ZERO,
                refusals: 0,
                evict_at: None,
                evicted: 0,
                ended: false,
                stops_at_loss: false,
                lost: None,
                trace: None,
            },
            handover: None,
            recovery: Latency::new(),
            finish_at_end: false,
            meter,
        })
    }

    /// Starts with a snapshot: goes on from the number that `handover` brings. The plan's feed starts with
    /// [`crate::feed::Start::Snapshot`].
    pub fn joining(mut self, handover: Handover) -> Subscriber<D> {
        self.handover = Some(handover);
        self
    }

    /// Finishes once the session has ended, instead of waiting for another one.
    pub fn finishing_at_end(mut self) -> Subscriber<D> {
        self.finish_at_end = true;
        self
    }

    /// When the ring is full, evicts readers that are `lag_bytes` behind instead of waiting for them (`disconnect`).
    pub fn evicting(mut self, lag_bytes: u64) -> Subscriber<D> {
        self.out.evict_at = Some(lag_bytes);
        self
    }

    /// Fails once messages are lost for good, instead of standing still.
    pub fn stopping_at_loss(mut self) -> Subscriber<D> {
        self.out.stops_at_loss = true;
        self
    }

    /// Marks the time each message was received.
    pub fn traced(mut self, trace: Trace) -> Subscriber<D> {
        self.out.trace = Some(trace);
        self
    }

    /// The feed's state now.
    pub fn state(&self) -> FeedState {
        self.intake.receiver(0).state()
    }

    /// Number that is delivered next.
    pub fn expected(&self) -> SeqNo {
        self.intake.receiver(0).expected()
    }

    fn report(&mut self) {
        let receiver = self.intake.receiver(0);
        self.meter.feed(receiver);
        self.meter.set("ring_refusals_total", self.out.refusals);
        self.meter.set("evicted_readers_total", self.out.evicted);
        self.meter.set("stranger_datagrams_total", self.intake.strangers());
        self.meter.set("held_back_cycles_total", self.intake.held_back());
        self.meter.set("busy_datagrams_total", self.intake.busy());
        self.meter.driver(&self.intake.driver().counters());
    }
}

impl<D: Driver + Send> Agent for Subscriber<D> {
    fn name(&self) -> &str {
        &self.name
    }

    fn do_work(&mut self, now: Nanos) -> Result<usize, AgentError> {
        self.out.now = now;
        if let Some(seq) = self.handover.as_ref().and_then(Handover::take_resume) {
            self.intake.receiver_mut(0).resume_at(now, seq);
        }
        let work = self.intake.do_work(now, &mut self.out)?;
        self.intake.flush(now)?;
        while let Some(span) = self.intake.receiver_mut(0).poll_recovery() {
            self.recovery.record(span);
        }
        if self.meter.is_due(now) {
            self.report();
        }
        if let Some((first, count)) = self.out.lost {
            let last = first.saturating_add(count - 1);
            return Err(AgentError::failed(format_args!(
                "messages {first} to {last} are lost: no line and no rewind server has them; take a snapshot \
                 (subscriber.on_unfillable) or start again"
            )));
        }
        if self.finish_at_end && self.out.ended {
            return Err(AgentError::Finished);
        }
        Ok(work)
    }

    fn on_close(&mut self, _now: Nanos) {
        self.report();
        self.meter.latency(&self.recovery);
    }
}
