//! `seqcast bench growth`: its options, and the points that it measures where nobody names others.

use clap::ValueEnum;
use seqcast_engine::limits::MAX_SOURCES;

use super::common::Defaults;
use super::distinct;
use crate::bench::{Axis, Growth, MAX_LENGTH, MAX_MESSAGES, MAX_ORDERS, MAX_SUBSCRIBERS};
use crate::output::UsageError;

/// Stocks of one feed: a locate has 16 bits, and number 0 is nobody's.
const MAX_SYMBOLS: u64 = u16::MAX as u64;

#[derive(clap::Args)]
pub(super) struct GrowthArgs {
    /// Curves to measure [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CURVE,…")]
    curve: Vec<Axis>,
    /// Fewer and smaller points, shorter and less often: half a minute instead of five
    #[arg(long)]
    quick: bool,
    /// Points of the curve `rate`: messages a second
    #[arg(long, value_delimiter = ',', value_name = "RATE,…")]
    rate: Vec<u64>,
    /// Points of the curve `symbols`; one feed has at most 65,535, since ITCH's stock locate has 16 bits
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    symbols: Vec<u64>,
    /// Points of the curve `orders`: live orders; about 130 bytes of memory each
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    orders: Vec<u64>,
    /// Points of the curve `sources`
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    sources: Vec<u64>,
    /// Points of the curve `subscribers`
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    subscribers: Vec<u64>,
    /// Points of the curve `journal`: messages in it; about 100 bytes of disk each, all points at the same time
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    journal: Vec<u64>,
    /// Seed of the order flow and of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A curve as it is asked for.
struct Asked<'a> {
    axis: Axis,
    option: &'static str,
    points: &'a [u64],
    default: &'static [u64],
    quick: &'static [u64],
    most: u64,
}

impl GrowthArgs {
    /// How long and how often, where nobody says.
    pub(super) fn defaults(&self) -> Defaults {
        if self.quick {
            Defaults { repeats: 2, seconds: 0.2, warm_up: 0.05, host_check: 0.3 }
        } else {
            Defaults { repeats: 5, seconds: 0.8, warm_up: 0.2, host_check: 1.0 }
        }
    }

    fn asked(&self, axis: Axis) -> Asked<'_> {
        match axis {
            Axis::Rate => Asked {
                axis,
                option: "--rate",
                points: &self.rate,
                default: &[1_000, 3_000, 10_000, 30_000, 100_000, 200_000, 400_000, 800_000, 1_600_000],
                quick: &[1_000, 10_000, 100_000, 400_000],
                most: MAX_MESSAGES,
            },
            Axis::Symbols => Asked {
                axis,
                option: "--symbols",
                points: &self.symbols,
                default: &[10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 65_535],
                quick: &[10, 1_000, 65_535],
                most: MAX_SYMBOLS,
            },
            Axis::Orders => Asked {
                axis,
                option: "--orders",
                points: &self.orders,
                default: &[1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000],
                quick: &[1_000, 10_000, 100_000, 1_000_000],
                most: MAX_ORDERS,
            },
            Axis::Sources => Asked {
                axis,
                option: "--sources",
                points: &self.sources,
                default: &[1, 2, 4, 8, 16, 32, 64],
                quick: &[1, 8, 64],
                most: MAX_SOURCES as u64,
            },
            Axis::Subscribers => Asked {
                axis,
                option: "--subscribers",
                points: &self.subscribers,
                default: &[1, 2, 4, 8, 16, 32, 64],
                quick: &[1, 8, 64],
                most: MAX_SUBSCRIBERS as u64,
            },
            Axis::Journal => Asked {
                axis,
                option: "--journal",
                points: &self.journal,
                default: &[100_000, 300_000, 1_000_000, 3_000_000, 10_000_000, 30_000_000],
                quick: &[10_000, 100_000, 1_000_000],
                most: MAX_LENGTH,
            },
        }
    }

    pub(super) fn checked(&self) -> Result<Growth, UsageError> {
        let all = Axis::value_variants();
        let curves = if self.curve.is_empty() { all.to_vec() } else { distinct(&self.curve) };
        if let Some(idle) =
            all.iter().find(|curve| !curves.contains(curve) && !self.asked(**curve).points.is_empty())
        {
            let Asked { option, .. } = self.asked(*idle);
            return Err(UsageError(format!(
                "{option} names points of a curve that --curve leaves out: leave out one of them"
            )));
        }
        let axes = curves.into_iter().map(|curve| self.asked(curve).checked(self.quick));
        Ok(Growth { axes: axes.collect::<Result<_, _>>()?, seed: self.seed })
    }
}

impl Asked<'_> {
    fn checked(&self, quick: bool) -> Result<(Axis, Vec<u64>), UsageError> {
        let Asked { option, points, most, .. } = self;
        if let Some(point) = points.iter().find(|point| !(1..=*most).contains(*point)) {
            return Err(UsageError(format!("{option} names {point}, and must be 1 to {most}")));
        }
        let points = match (points.is_empty(), quick) {
            (false, _) => points,
            (true, false) => self.default,
            (true, true) => self.quick,
        };
        Ok((self.axis, distinct(points)))
    }
}
