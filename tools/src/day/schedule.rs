//! The day's course: which part of it a message belongs to, and what its timestamp is.

use super::DayConfig;
use super::dice::Dice;

const MINUTE_NS: u64 = 60_000_000_000;

/// `hours:minutes` in nanoseconds since midnight.
pub(super) const fn clock_ns(hours: u64, minutes: u64) -> u64 {
    (hours * 60 + minutes) * MINUTE_NS
}

/// Messages of one cross at most: an execution on either side and the cross itself.
pub(super) const CROSS_MESSAGES: u64 = 3;
/// Messages after the last flow: end of system hours, some late deletions, end of messages.
pub(super) const LATE_DELETIONS: u64 = 3;
const TAIL_MESSAGES: u64 = LATE_DELETIONS + 2;
const BREACH_MESSAGES: u64 = 1;
/// The crosses of all stocks are published within two seconds.
const CROSS_NS: u64 = 2_000_000_000;

/// A stretch of order flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    PreOpen,
    OpeningImbalance,
    Continuous,
    ClosingImbalance,
    Evening,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    StartOfMessages,
    /// Stock directory, from this market on.
    Directory(u16),
    /// Trading action and Reg SHO, from this market on.
    Status(u16),
    /// This many participant positions.
    Positions(u64),
    DeclineLevels,
    StartOfSystemHours,
    Flow(Flow),
    StartOfMarketHours,
    OpeningCross(u16),
    Breach,
    EndOfMarketHours,
    ClosingCross(u16),
    EndOfSystemHours,
    LateDeletions(u64),
    EndOfMessages,
    Over,
}

/// Share of the flow that comes before a time: pre-open, a U over the day with a rush into the close, and little after.
const COURSE: &[(u64, u64)] = &[
    // time, flow messages by then per ten thousand
    (clock_ns(4, 0), 0),
    (clock_ns(8, 0), 90),
    (clock_ns(9, 25), PRE_OPEN),
    (clock_ns(9, 30), OPEN),
    (clock_ns(9, 45), 1_500),
    (clock_ns(10, 30), 3_100),
    (clock_ns(12, 0), 4_900),
    (clock_ns(14, 0), 6_600),
    (clock_ns(15, 30), 8_300),
    (clock_ns(15, 50), IMBALANCE),
    (clock_ns(16, 0), CLOSE),
    (clock_ns(20, 0), 10_000),
];
const PRE_OPEN: u64 = 250;
const OPEN: u64 = 400;
const IMBALANCE: u64 = 8_900;
const CLOSE: u64 = 9_850;

#[derive(Clone, Copy, Debug)]
struct Knot {
    message: u64,
    ns: u64,
}

/// Where the parts of the day begin, counted in messages.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Participant positions in the spin.
    pub(super) positions: u64,
    ends: [u64; 5],
    knots: Vec<Knot>,
}

impl Schedule {
    pub(super) fn new(config: &DayConfig) -> Schedule {
        let symbols = u64::from(config.symbols);
        let positions = (config.messages * 8 / 10_000).min(symbols * 30);
        // Around the directory: start of messages, decline levels, start of system hours.
        let spin = 3 + 3 * symbols + positions;
        // With the event that opens or closes the market.
        let cross = 1 + CROSS_MESSAGES * symbols;
        let flow = config.messages - spin - 2 * cross - BREACH_MESSAGES - TAIL_MESSAGES;
        let mut knots = vec![
            Knot { message: 0, ns: clock_ns(3, 5) },
            Knot { message: 1, ns: clock_ns(3, 10) },
            Knot { message: spin - 1, ns: clock_ns(3, 11) },
        ];
        let mut ends = Vec::with_capacity(5);
        let mut before = spin;
        for &(ns, share) in COURSE {
            let message = before + (u128::from(flow) * u128::from(share) / 10_000) as u64;
            knots.push(Knot { message, ns });
            let between = match share {
                PRE_OPEN => 0,
                OPEN | CLOSE => cross,
                IMBALANCE => BREACH_MESSAGES,
                10_000 => TAIL_MESSAGES,
                _ => continue,
            };
            ends.push(message);
            before += between;
            knots.push(Knot { message: message + between, ns: ns + between.min(1) * CROSS_NS });
        }
        let ends = [ends[0], ends[1], ends[2], ends[3], ends[4]];
        Schedule { positions, ends, knots }
    }

    /// Index of the first message after `flow`.
    pub(super) fn end_of(&self, flow: Flow) -> u64 {
        self.ends[flow as usize]
    }

    fn course_ns(&self, knot: usize, message: u64) -> u64 {
        let (from, to) = (self.knots[knot], self.knots[knot + 1]);
        let span = (to.message - from.message).max(1);
        let into = message.saturating_sub(from.message).min(span);
        from.ns + (u128::from(to.ns - from.ns) * u128::from(into) / u128::from(span)) as u64
    }
}

/// Gives messages their timestamps: bursts a microsecond apart, and silence between them so that the day keeps to
/// its course.
#[derive(Debug)]
pub(super) struct Clock {
    now_ns: u64,
    until_ns: u64,
    burst_left: u32,
    knot: usize,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { now_ns: clock_ns(3, 5), until_ns: clock_ns(4, 0), burst_left: 0, knot: 0 }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// What comes is stamped from `from_ns` on, and before `until_ns`.
    pub(super) fn enter(&mut self, from_ns: u64, until_ns: u64) {
        self.now_ns = self.now_ns.max(from_ns);
        self.until_ns = until_ns;
        self.burst_left = 0;
    }

    /// Time of message number `message` (from 0).
    pub(super) fn tick(&mut self, message: u64, schedule: &Schedule, dice: &mut Dice) -> u64 {
        let next_ns = if self.burst_left > 0 {
            self.burst_left -= 1;
            self.now_ns + u64::from(dice.between(60, 2_000))
        } else {
            self.burst_left = dice.heavy(4).min(3_000);
            while self.knot + 2 < schedule.knots.len() && schedule.knots[self.knot + 1].message <= message {
                self.knot += 1;
            }
            self.now_ns.max(schedule.course_ns(self.knot, message)) + u64::from(dice.between(1, 900))
        };
        self.now_ns = next_ns.min(self.until_ns - 1).max(self.now_ns);
        self.now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_course_is_in_order_for_short_and_long_days() {
        for (symbols, messages) in [(1, 80), (8_000, 128_064), (100, 1_000_000), (9_000, 300_000_000_000)] {
            let schedule = Schedule::new(&DayConfig { symbols, messages, ..DayConfig::default() });
            assert!(schedule.knots.is_sorted_by_key(|knot| knot.message), "{:?}", schedule.knots);
            assert!(schedule.knots.is_sorted_by_key(|knot| knot.ns));
            assert!(schedule.ends.is_sorted());
            assert_eq!(schedule.end_of(Flow::Evening), messages - TAIL_MESSAGES);
        }
    }

    #[test]
    fn time_never_runs_back_nor_out_of_its_part() {
        let config = DayConfig { symbols: 1, messages: 200_000, ..DayConfig::default() };
        let (schedule, mut clock, mut dice) = (Schedule::new(&config), Clock::new(), Dice::new(3));
        let mut last = 0;
        for message in 0..200_000 {
            if message == 50_000 {
                clock.enter(clock_ns(12, 0), clock_ns(12, 1));
            }
            let now = clock.tick(message, &schedule, &mut dice);
            assert!(now >= last);
            assert!(message < 50_000 || (clock_ns(12, 0)..clock_ns(12, 1)).contains(&now));
            last = now;
        }
    }
}
