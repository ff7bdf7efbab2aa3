//! What a thread does when a duty cycle found nothing to do.

use std::hint;
use std::thread;
use std::time::Duration;

use crate::time::Nanos;

/// How a thread rests between duty cycles without work: the choice between latency and the processor's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleStrategy {
    /// Never rests. Lowest latency; takes the whole core, so only for a core that nothing else needs.
    BusySpin,
    /// Gives the core to whoever else can run, and comes back at once if nobody does.
    Yield,
    /// Spins, then yields, then parks for longer and longer. Any work starts it again from spinning.
    ///
    /// Each spin is a single pause with a duty cycle between any two: a back-off that doubles its pauses, as for a
    /// contended lock, would look less and less often at a socket on which the next datagram is due.
    Backoff {
        /// Idle duty cycles to spin through.
        spins: u32,
        /// Idle duty cycles to yield through after that.
        yields: u32,
        /// First park.
        park_min: Nanos,
        /// Longest park; each is twice as long as the one before, up to this.
        park_max: Nanos,
    },
    /// Parks for this long after each idle duty cycle. Least processor time. Linux adds about 50 µs.
    Sleep(Nanos),
}

impl IdleStrategy {
    /// [`IdleStrategy::Backoff`] as it suits a machine whose cores are shared: no loss of latency while a feed is
    /// busy, and at most a millisecond late after a pause.
    pub const fn backoff() -> IdleStrategy {
        IdleStrategy::Backoff {
            spins: 100,
            yields: 20,
            park_min: Nanos::from_micros(10),
            park_max: Nanos::from_millis(1),
        }
    }

    /// The state machine that follows this strategy.
    pub fn idler(self) -> Idler {
        Idler { strategy: self, idle_cycles: 0, park: Nanos::ZERO }
    }
}

/// Follows an [`IdleStrategy`] on one thread. Parked threads come back early when they are unparked.
#[derive(Clone, Debug)]
pub struct Idler {
    strategy: IdleStrategy,
    idle_cycles: u32,
    park: Nanos,
}

/// What to do after one idle duty cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    None,
    Spin,
    Yield,
    Park(Nanos),
}

impl Idler {
    /// Rests as the strategy says after a duty cycle that did `work_count` work; not at all when that is not 0.
    pub fn idle(&mut self, work_count: usize) {
        match self.rest(work_count) {
            Rest::None => {}
            Rest::Spin => hint::spin_loop(),
            Rest::Yield => thread::yield_now(),
            Rest::Park(span) => thread::park_timeout(Duration::from_nanos(span.0)),
        }
    }

    fn rest(&mut self, work_count: usize) -> Rest {
        if work_count > 0 {
            self.idle_cycles = 0;
            self.park = Nanos::ZERO;
            return Rest::None;
        }
        match self.strategy {
            IdleStrategy::BusySpin => Rest::Spin,
            IdleStrategy::Yield => Rest::Yield,
            IdleStrategy::Sleep(span) => Rest::Park(span),
            IdleStrategy::Backoff { spins, yields, park_min, park_max } => {
                if self.idle_cycles < spins {
                    self.idle_cycles = self.idle_cycles.saturating_add(1);
                    Rest::Spin
                } else if self.idle_cycles - spins < yields {
                    self.idle_cycles = self.idle_cycles.saturating_add(1);
                    Rest::Yield
                } else {
                    self.park = (self.park + self.park).max(park_min).min(park_max);
                    Rest::Park(self.park)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Idler {
        let (park_min, park_max) = (Nanos(10), Nanos(35));
        IdleStrategy::Backoff { spins: 2, yields: 1, park_min, park_max }.idler()
    }

    fn rests(idler: &mut Idler, cycles: usize) -> Vec<Rest> {
        (0..cycles).map(|_| idler.rest(0)).collect()
    }

    #[test]
    fn backoff_spins_then_yields_then_parks_longer_and_longer() {
        use Rest::{Park, Spin, Yield};
        let expected =
            [Spin, Spin, Yield, Park(Nanos(10)), Park(Nanos(20)), Park(Nanos(35)), Park(Nanos(35))];
        assert_eq!(rests(&mut backoff(), 7), expected);
    }

    #[test]
    fn work_starts_the_backoff_again() {
        let mut idler = backoff();
        let first = rests(&mut idler, 6);
        assert_eq!(idler.rest(3), Rest::None);
        assert_eq!(rests(&mut idler, 6), first);
    }

    #[test]
    fn plain_strategies_rest_alike_every_time() {
        for (strategy, rest) in [
            (IdleStrategy::BusySpin, Rest::Spin),
            (IdleStrategy::Yield, Rest::Yield),
            (IdleStrategy::Sleep(Nanos(7)), Rest::Park(Nanos(7))),
        ] {
            let mut idler = strategy.idler();
            assert_eq!(rests(&mut idler, 3), [rest; 3]);
            assert_eq!(idler.rest(1), Rest::None);
        }
    }

    #[test]
    fn spins_and_yields_may_be_as_many_as_the_type_holds() {
        let (park_min, park_max) = (Nanos(1), Nanos(1));
        let mut idler =
            IdleStrategy::Backoff { spins: u32::MAX, yields: u32::MAX, park_min, park_max }.idler();
        idler.idle_cycles = u32::MAX - 1;
        assert_eq!(idler.rest(0), Rest::Spin);
        assert_eq!(idler.rest(0), Rest::Yield, "the count of idle cycles must not overflow");
        idler.idle(0);
    }
}
