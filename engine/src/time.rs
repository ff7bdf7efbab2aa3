//! Time as the core sees it: a number handed in, never read.

use std::fmt;
use std::ops::{Add, Sub};

/// A point on the monotonic clock, in nanoseconds since an arbitrary start; also a span between two points.
///
/// Nothing in the core reads a clock. An agent's runner reads it once per duty cycle and hands it down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The start of the clock, or no time at all.
    pub const ZERO: Nanos = Nanos(0);
    /// Later than any time that will be reached.
    pub const NEVER: Nanos = Nanos(u64::MAX);

    /// `value` microseconds.
    pub const fn from_micros(value: u64) -> Nanos {
        Nanos(value.saturating_mul(1_000))
    }

    /// `value` milliseconds.
    pub const fn from_millis(value: u64) -> Nanos {
        Nanos(value.saturating_mul(1_000_000))
    }

    /// `value` seconds.
    pub const fn from_secs(value: u64) -> Nanos {
        Nanos(value.saturating_mul(1_000_000_000))
    }

    /// The span from `earlier` to here; zero when `earlier` is later.
    pub const fn since(self, earlier: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Nanos {
    type Output = Nanos;

    fn add(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_add(span.0))
    }
}

impl Sub for Nanos {
    type Output = Nanos;

    fn sub(self, span: Nanos) -> Nanos {
        Nanos(self.0.saturating_sub(span.0))
    }
}

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ns @ 0..1_000 => write!(f, "{ns} ns"),
            ns @ 1_000..1_000_000 => write!(f, "{:.1} µs", ns as f64 / 1e3),
            ns @ 1_000_000..1_000_000_000 => write!(f, "{:.2} ms", ns as f64 / 1e6),
            ns => write!(f, "{:.2} s", ns as f64 / 1e9),
        }
    }
}
