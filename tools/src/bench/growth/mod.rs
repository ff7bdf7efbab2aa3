//! `growth`: what a message costs as one thing after the other grows, and what bends first.
//!
//! Six curves, each along one axis while everything else stands still: the rate of messages, the number of stocks, of
//! live orders, of sources, of subscribers, and the length of the journal.

mod books;
mod length;
mod path;
mod room;
mod steady;

use std::fmt;
use std::num::NonZeroU64;

use self::length::Journals;
pub(super) use self::length::REQUEST;
use self::room::{Need, Room};
use super::curve::{Curve, Point};
use super::fingerprint::Fingerprint;
use super::report::{Report, Variant};
use super::session::{Session, Subject};
use crate::output::{grouped, say};

/// Most live orders: a dozen times those of the busiest day.
pub(crate) const MAX_ORDERS: u64 = 100_000_000;
/// Longest journal, in messages.
pub(crate) const MAX_LENGTH: u64 = 1_000_000_000;
/// Time that passes beside what is told below, for each point and repeat, in seconds.
const BESIDE_S: f64 = 0.05;

/// An axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Axis {
    /// Messages a second
    Rate,
    /// Stocks of the feed, in the books
    Symbols,
    /// Live orders, in the books
    Orders,
    /// Publishers of one sequencer
    Sources,
    /// Subscribers on this host
    Subscribers,
    /// Messages in the journal: appending, answering a request, opening
    Journal,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Axis::Rate => "rate",
            Axis::Symbols => "symbols",
            Axis::Orders => "orders",
            Axis::Sources => "sources",
            Axis::Subscribers => "subscribers",
            Axis::Journal => "journal",
        }
    }

    /// What is counted along it.
    fn unit(self) -> &'static str {
        match self {
            Axis::Rate => "messages/s",
            Axis::Symbols => "symbols",
            Axis::Orders => "live orders",
            Axis::Sources => "sources",
            Axis::Subscribers => "subscribers",
            Axis::Journal => "messages",
        }
    }
}

/// What to measure.
pub(crate) struct Growth {
    /// The axes, and the points of each.
    pub(crate) axes: Vec<(Axis, Vec<u64>)>,
    /// Of everything random.
    pub(crate) seed: u64,
}

/// One point to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spot {
    axis: Axis,
    at: u64,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = if self.axis == Axis::Rate { "/s" } else { "" };
        write!(f, "{} {}{unit}", self.axis.name(), grouped(self.at))
    }
}

impl Spot {
    /// About how long one repeat takes, and what comes before the first, in seconds, on a machine of these years.
    fn estimate_s(self, session: &Session) -> (f64, f64) {
        let (repeat, once) = match self.axis {
            Axis::Rate => (session.seconds + 0.3, 0.0),
            Axis::Sources => (session.seconds + 0.3 + 0.02 * self.at as f64, 0.0),
            Axis::Subscribers => (session.seconds + 0.3 + 0.03 * self.at as f64, 0.0),
            Axis::Symbols => (books::estimate_s(session, books::ORDERS), 0.0),
            Axis::Orders => (books::estimate_s(session, self.at), 0.0),
            Axis::Journal => length::estimate_s(self.at),
        };
        (repeat + BESIDE_S, once)
    }

    fn need(self, session: &Session) -> Need {
        match self.axis {
            Axis::Orders => Need::Memory(books::needed_bytes(session, self.at)),
            Axis::Symbols => Need::Memory(books::needed_bytes(session, books::ORDERS)),
            Axis::Journal => Need::Disk(length::needed_bytes(session, self.at)),
            Axis::Rate | Axis::Sources | Axis::Subscribers => Need::Memory(path::needed_bytes(session, self)),
        }
    }
}

/// Measures all points of all axes in turn, and says where each cost bends.
///
/// # Errors
/// Something could not be set up, or failed.
pub(crate) fn run(session: &Session, growth: &Growth) -> anyhow::Result<Report> {
    let asked =
        growth.axes.iter().flat_map(|(axis, points)| points.iter().map(|&at| Spot { axis: *axis, at }));
    let (mut spots, mut notices) = (Vec::new(), Vec::new());
    let mut room = Room::of(&session.dir);
    for spot in asked {
        match room.take(spot.need(session)) {
            None => spots.push(spot),
            Some(lack) => notices.push(format!("{spot}: left out: {lack}")),
        }
    }
    notices.iter().for_each(say);
    anyhow::ensure!(!spots.is_empty(), "nothing can be measured here: {}", notices.join("; "));
    tell_estimate(session, &spots);
    let path = path::Path::prepare(session, &spots, growth.seed)?;
    let mut journals = Journals::new(session, growth.seed)?;
    let mut seed = growth.seed;
    let variants = spots.iter().map(|spot| Variant::new(spot.to_string())).collect();
    let mut report = session.measure(subject(session, growth), variants, |turn, variant| {
        let spot = spots[turn];
        // Another flow in each run, the same in each session.
        seed = seed.wrapping_add(1);
        match spot.axis {
            Axis::Rate | Axis::Sources | Axis::Subscribers => path.measure(session, spot, variant),
            Axis::Symbols => books::measure(session, (spot.at, books::ORDERS), seed, variant),
            Axis::Orders => books::measure(session, (books::SYMBOLS, spot.at), seed, variant),
            Axis::Journal => journals.measure(session, spot.at, variant),
        }
    })?;
    notices.into_iter().for_each(|notice| report.notice(notice));
    for (axis, _) in &growth.axes {
        let mut curve = curve(*axis, &spots);
        match axis {
            Axis::Symbols | Axis::Orders => curve.judge(&report, books::why),
            Axis::Journal => curve.judge(&report, length::why),
            Axis::Rate | Axis::Sources | Axis::Subscribers => curve.judge(&report, path::why),
        }
        report.curves.push(curve);
    }
    Ok(report)
}

/// The curve of `axis`, not judged yet.
fn curve(axis: Axis, spots: &[Spot]) -> Curve {
    let of_axis = spots.iter().filter(|spot| spot.axis == axis);
    let mut points: Vec<Point> =
        of_axis.map(|spot| Point { at: spot.at, variant: spot.to_string() }).collect();
    points.sort_by_key(|point| point.at);
    let (what, costs) = match axis {
        Axis::Symbols | Axis::Orders => (books::what(axis), books::costs()),
        Axis::Journal => (length::WHAT.to_owned(), length::costs()),
        Axis::Rate | Axis::Sources | Axis::Subscribers => (path::what(axis), path::costs(axis)),
    };
    Curve { name: axis.name().into(), axis: axis.unit().into(), what, points, costs }
}

fn subject(session: &Session, growth: &Growth) -> Subject {
    let what = "cost of a message as one thing grows and everything else stands still; a cost bends at the first point from \
                which on it is more than 1.5 times the smallest before";
    let mut subject = Subject::new("growth", what, session.place.cores().min(4))
        .with("seed", growth.seed)
        .with("journal on", Fingerprint::file_system(&session.dir))
        .with("caches", room::caches_in_words())
        .without(&[
            "network cards, cables and switches: loopback only",
            "several hosts: everybody shares this one's cores, caches and kernel",
            "journals that are not in the page cache",
        ]);
    for (axis, points) in &growth.axes {
        subject = subject.with(axis.name(), super::flow::in_words(points));
    }
    subject
}

/// Says about how long it will take.
fn tell_estimate(session: &Session, spots: &[Spot]) {
    let of_spot = |spot: &Spot| {
        let (repeat, once) = spot.estimate_s(session);
        repeat * session.repeats as f64 + once
    };
    let seconds = spots.iter().map(of_spot).sum::<f64>() + 2.0 * session.host_check.as_secs_f64();
    let (points, repeats) = (spots.len(), session.repeats);
    let about = if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) };
    say(format_args!("growth: {points} points, {repeats} repeats: about {about}"));
}

/// `at` a second; at least one.
fn per_s(at: u64) -> NonZeroU64 {
    NonZeroU64::new(at).unwrap_or(NonZeroU64::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_of_a_curve_are_sorted_and_its_own() {
        let spots = [(Axis::Rate, 5), (Axis::Orders, 7), (Axis::Rate, 3)].map(|(axis, at)| Spot { axis, at });
        let curve = curve(Axis::Rate, &spots);
        let points: Vec<_> = curve.points.iter().map(|point| (point.at, point.variant.as_str())).collect();
        assert_eq!(points, [(3, "rate 3/s"), (5, "rate 5/s")]);
        assert!(curve.costs.iter().any(|cost| cost.is_ranked));
    }
}
