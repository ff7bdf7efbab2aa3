//! Injects loss, duplicates, delay and reordering into any driver: seeded, so that what went wrong once goes wrong
//! again.
//!
//! Each direction of each endpoint draws from its own sequence: what happens to line A does not depend on the
//! traffic of line B. The same seed, calls and times give the same faults.

mod held;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddrV4;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use self::held::{Held, HeldStore};
use super::{
    Busy, Destination, Driver, DriverCounters, EndpointId, EndpointSpec, MAX_DESTINATIONS, Received,
};
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_ENDPOINTS};
use crate::time::Nanos;

/// What is done to the datagrams of one direction of an endpoint. Probabilities are from 0 to 1; each datagram takes
/// each chance on its own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Probability that a datagram is lost.
    pub loss: f64,
    /// Probability that it arrives twice.
    pub duplicate: f64,
    /// Probability that it is held back by `reorder_by` while later ones pass.
    pub reorder: f64,
    /// How long a reordered datagram is held back.
    pub reorder_by: Nanos,
    /// How long every datagram takes.
    pub delay: Nanos,
    /// At most this is added to `delay`, evenly distributed. It does not reorder.
    pub jitter: Nanos,
}

impl Faults {
    /// None at all.
    pub const NONE: Faults = Faults {
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        reorder_by: Nanos::ZERO,
        delay: Nanos::ZERO,
        jitter: Nanos::ZERO,
    };
}

/// The faults of a driver.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Start of every sequence of chances.
    pub seed: u64,
    /// What is done to datagrams received, at endpoints not named in `endpoints`.
    pub receive: Faults,
    /// What is done to datagrams sent, likewise.
    pub transmit: Faults,
    /// What is done at single endpoints: to what they receive, and to what they send.
    pub endpoints: Vec<(EndpointId, Faults, Faults)>,
    /// Datagrams that each direction can hold back at once; what comes when it is full is lost and counted.
    pub held_datagrams: usize,
    /// Longest datagram that can be held back; a longer one is lost and counted.
    pub held_datagram_bytes: usize,
}

impl Default for FaultPlan {
    fn default() -> FaultPlan {
        FaultPlan {
            seed: 0,
            receive: Faults::NONE,
            transmit: Faults::NONE,
            endpoints: Vec::new(),
            held_datagrams: 1_024,
            held_datagram_bytes: 2_048,
        }
    }
}

impl FaultPlan {
    /// Checks the bounds that the fields name.
    ///
    /// # Errors
    /// `InvalidInput` with the field, its value and its bounds.
    pub fn validate(&self) -> io::Result<()> {
        let refuse = |text: String| Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        let single = self.endpoints.iter().flat_map(|(_, receive, transmit)| [receive, transmit]);
        for faults in [&self.receive, &self.transmit].into_iter().chain(single) {
            let chances =
                [("loss", faults.loss), ("duplicate", faults.duplicate), ("reorder", faults.reorder)];
            for (name, chance) in chances {
                if !(0.0..=1.0).contains(&chance) {
                    return refuse(format!("{name} is {chance}, must be a probability from 0 to 1"));
                }
            }
        }
        if self.held_datagrams > 65_536 {
            return refuse(format!("held_datagrams is {}, must be at most 65536", self.held_datagrams));
        }
        if !(1..=MAX_DATAGRAM_BYTES).contains(&self.held_datagram_bytes) {
            let is = self.held_datagram_bytes;
            return refuse(format!("held_datagram_bytes is {is}, must be 1 to {MAX_DATAGRAM_BYTES}"));
        }
        Ok(())
    }
}

/// What was done to the datagrams of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Datagrams that were looked at, once per destination.
    pub datagrams: u64,
    /// Lost.
    pub lost: u64,
    /// Duplicated.
    pub duplicated: u64,
    /// Held back while later ones passed.
    pub reordered: u64,
    /// Held back at all: delayed, reordered, or behind one that was.
    pub delayed: u64,
    /// Lost because there was no room to hold them.
    pub overflowed: u64,
}

/// A driver that suffers faults. Datagrams held back leave at [`Driver::poll_rx`] and [`Driver::flush`], when their time
/// has come; `transmit` takes the time of the last of these calls.
pub struct Fault<D> {
    inner: D,
    receive: Direction,
    transmit: Direction,
    now: Nanos,
    /// A datagram none of whose copies leaves at once is written here.
    scratch: Vec<u8>,
}

/// One direction: the chances of every endpoint, and what is held back.
struct Direction {
    lanes: Vec<Lane>,
    held: HeldStore,
    counters: FaultCounters,
}

struct Lane {
    faults: Faults,
    chances: ChaCha8Rng,
    /// When the last datagram in order leaves: none after it leaves before.
    floor: Nanos,
}

/// What was drawn for one datagram.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Leaves { at: Nanos, reordered: bool, copies: usize },
}

impl<D: Driver> Fault<D> {
    /// Wraps `inner`, all memory taken now.
    ///
    /// # Errors
    /// What [`FaultPlan::validate`] finds.
    pub fn new(inner: D, plan: &FaultPlan) -> io::Result<Fault<D>> {
        plan.validate()?;
        let faults = |endpoint: u16, receive: bool| {
            let single = plan.endpoints.iter().rev().find(|single| single.0.0 == endpoint);
            let (all, single) = if receive {
                (plan.receive, single.map(|single| single.1))
            } else {
                (plan.transmit, single.map(|single| single.2))
            };
            single.unwrap_or(all)
        };
        let direction = |receive: bool| Direction {
            lanes: (0..MAX_ENDPOINTS as u16)
                .map(|endpoint| Lane::new(plan.seed, endpoint, receive, faults(endpoint, receive)))
                .collect(),
            held: HeldStore::new(plan.held_datagrams, plan.held_datagram_bytes),
            counters: FaultCounters::default(),
        };
        Ok(Fault {
            inner,
            receive: direction(true),
            transmit: direction(false),
            now: Nanos::ZERO,
            scratch: vec![0; MAX_DATAGRAM_BYTES],
        })
    }

    /// The driver behind.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// What was done to datagrams received.
    pub fn receive_faults(&self) -> FaultCounters {
        self.receive.counters
    }

    /// What was done to datagrams sent.
    pub fn transmit_faults(&self) -> FaultCounters {
        self.transmit.counters
    }

    /// Sends what was held back and is due; what the driver has no room for waits for the next flush.
    fn release_sends(&mut self, now: Nanos) {
        while let Some((held, bytes)) = self.transmit.held.first_due(now) {
            let to = Destination { endpoint: held.endpoint, to: held.address };
            let copy = |buffer: &mut [u8]| {
                let len = bytes.len().min(buffer.len());
                buffer[..len].copy_from_slice(&bytes[..len]);
                len
            };
            if self.inner.transmit(&[to], bytes.len(), copy).is_err() {
                return;
            }
            self.transmit.held.remove_first();
        }
    }
}

impl Lane {
    fn new(seed: u64, endpoint: u16, receive: bool, faults: Faults) -> Lane {
        let mut chances = ChaCha8Rng::seed_from_u64(seed);
        chances.set_stream(u64::from(endpoint) << 1 | u64::from(receive));
        Lane { faults, chances, floor: Nanos::ZERO }
    }

    /// Draws as often for every datagram, so that one rate changed leaves the other chances as they were.
    fn draw(&mut self, now: Nanos) -> Fate {
        let faults = &self.faults;
        let lost = self.chances.random_bool(faults.loss);
        let duplicated = self.chances.random_bool(faults.duplicate);
        let reordered = self.chances.random_bool(faults.reorder);
        let jitter = Nanos(self.chances.random_range(0..=faults.jitter.0));
        if lost {
            return Fate::Lost;
        }
        let mut at = self.floor.max(now + faults.delay + jitter);
        if reordered {
            at = at + faults.reorder_by;
        }
        Fate::Leaves { at, reordered, copies: 1 + usize::from(duplicated) }
    }
}

impl Direction {
    fn is_clean(&self, endpoint: EndpointId) -> bool {
        self.lanes[usize::from(endpoint.0)].faults == Faults::NONE
    }

    fn draw(&mut self, endpoint: EndpointId, now: Nanos) -> Fate {
        self.lanes[usize::from(endpoint.0)].draw(now)
    }

    /// How many copies leave at once. A datagram waits behind others of its endpoint that are held in order.
    fn copies_now(&self, endpoint: EndpointId, fate: Fate, now: Nanos) -> usize {
        match fate {
            Fate::Leaves { at, copies, .. } if at <= now && !self.held.any_in_order(endpoint) => copies,
            _ => 0,
        }
    }

    /// Counts a datagram and holds the copies of it that do not leave at once.
    fn settle(&mut self, endpoint: EndpointId, address: SocketAddrV4, bytes: &[u8], fate: Fate, gone: usize) {
        let counters = &mut self.counters;
        counters.datagrams += 1;
        let Fate::Leaves { at, reordered, copies } = fate else {
            counters.lost += 1;
            return;
        };
        counters.duplicated += copies as u64 - 1;
        counters.reordered += u64::from(reordered);
        if !reordered {
            self.lanes[usize::from(endpoint.0)].floor = at;
        }
        for _ in gone..copies {
            if self.held.hold(Held { endpoint, address, at, in_order: !reordered }, bytes) {
                counters.delayed += 1;
            } else {
                counters.overflowed += 1;
            }
        }
    }
}

impl<D: Driver> Driver for Fault<D> {
    fn open(&mut self, spec: &EndpointSpec) -> io::Result<EndpointId> {
        self.inner.open(spec)
    }

    fn local_addr(&self, endpoint: EndpointId) -> SocketAddrV4 {
        self.inner.local_addr(endpoint)
    }

    fn poll_rx<F: FnMut(Received<'_>)>(
        &mut self,
        now: Nanos,
        limit: usize,
        mut on_datagram: F,
    ) -> io::Result<usize> {
        self.now = now;
        let mut delivered = 0;
        let receive = &mut self.receive;
        while delivered < limit
            && let Some((held, bytes)) = receive.held.first_due(now)
        {
            on_datagram(Received { endpoint: held.endpoint, from: held.address, bytes });
            receive.held.remove_first();
            delivered += 1;
        }
        self.inner.poll_rx(now, limit - delivered, |received| {
            let Received { endpoint, from, bytes } = received;
            if receive.is_clean(endpoint) {
                delivered += 1;
                return on_datagram(received);
            }
            let fate = receive.draw(endpoint, now);
            let gone = receive.copies_now(endpoint, fate, now);
            for _ in 0..gone {
                on_datagram(received);
            }
            delivered += gone;
            receive.settle(endpoint, from, bytes, fate, gone);
        })?;
        Ok(delivered)
    }

    fn transmit<F: FnOnce(&mut [u8]) -> usize>(
        &mut self,
        to: &[Destination],
        max_bytes: usize,
        fill: F,
    ) -> Result<usize, Busy> {
        assert!(to.len() <= MAX_DESTINATIONS, "at most {MAX_DESTINATIONS} destinations");
        if to.iter().all(|to| self.transmit.is_clean(to.endpoint)) {
            return self.inner.transmit(to, max_bytes, fill);
        }
        let mut fates = [(Fate::Lost, 0); MAX_DESTINATIONS];
        let mut leaving = [to[0]; MAX_DESTINATIONS];
        let mut leaves = 0;
        for (&destination, fate) in to.iter().zip(&mut fates) {
            fate.0 = self.transmit.draw(destination.endpoint, self.now);
            // A second copy goes with the held ones: the driver may have room for one only.
            fate.1 = self.transmit.copies_now(destination.endpoint, fate.0, self.now).min(1);
            if fate.1 > 0 {
                leaving[leaves] = destination;
                leaves += 1;
            }
        }
        let scratch = &mut self.scratch;
        let len = if leaves == 0 {
            let room = max_bytes.min(scratch.len());
            fill(&mut scratch[..room])
        } else {
            self.inner.transmit(&leaving[..leaves], max_bytes, |buffer| {
                let len = fill(buffer);
                scratch[..len].copy_from_slice(&buffer[..len]);
                len
            })?
        };
        if len > 0 {
            for (destination, (fate, gone)) in to.iter().zip(fates) {
                let (endpoint, bytes) = (destination.endpoint, &self.scratch[..len]);
                self.transmit.settle(endpoint, destination.to, bytes, fate, gone);
            }
        }
        Ok(len)
    }

    fn flush(&mut self, now: Nanos) -> io::Result<()> {
        self.now = now;
        self.release_sends(now);
        self.inner.flush(now)
    }

    fn counters(&self) -> DriverCounters {
        self.inner.counters()
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }
}
