//! How a cost grows along one axis, and where it bends.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::report::{Figure, Report, Variant};
use super::summary::{Interval, interval, median};
use super::text;
use crate::output::grouped;

/// A cost bends at the first point from which on it is more than so many times the cheapest before.
pub(crate) const BENT: f64 = 1.5;

/// One axis, and what was measured along it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// In one word.
    pub(crate) name: String,
    /// What is counted along it.
    pub(crate) axis: String,
    /// What was measured, and what stood still meanwhile.
    pub(crate) what: String,
    /// The points, from the smallest.
    pub(crate) points: Vec<Point>,
    /// What is drawn.
    pub(crate) costs: Vec<Cost>,
}

/// Where on the axis a variant was measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Point {
    /// So many.
    pub(crate) at: u64,
    /// Name of the variant.
    pub(crate) variant: String,
}

/// One figure along the axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Name of the figure, in ns.
    pub(crate) figure: String,
    /// Whether it takes part in what bends first. What the host decides does not.
    pub(crate) is_ranked: bool,
    /// The farthest that it rises; none where there is nothing to compare.
    pub(crate) rise: Option<Rise>,
    /// The first point from which on it is above [`BENT`]; none where the last one is not.
    pub(crate) bend: Option<Rise>,
    /// What the counters say of the bend.
    pub(crate) why: Option<String>,
}

/// One point over the cheapest before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Rise {
    /// The point.
    pub(crate) at: u64,
    /// The cheapest of those before.
    pub(crate) from: u64,
    /// So many times.
    pub(crate) times: Interval,
    /// How much of the range, from its first point to its last, lies before the point: both in powers of ten.
    pub(crate) part: f64,
}

impl Rise {
    /// Whether it is a bend whichever repeats are drawn.
    pub(crate) fn is_sure(&self) -> bool {
        self.times.low > BENT
    }
}

impl Cost {
    pub(crate) fn new(figure: impl Into<String>) -> Cost {
        Cost { figure: figure.into(), is_ranked: true, rise: None, bend: None, why: None }
    }

    /// One that is drawn, and no more.
    pub(crate) fn beside(figure: impl Into<String>) -> Cost {
        Cost { is_ranked: false, ..Cost::new(figure) }
    }
}

/// Each point over the cheapest before it. `points`: how many, and what each repeat gave; from the smallest. Repeat by
/// repeat, so that the host's mood is in both.
fn rises(points: &[(u64, &[f64])]) -> Vec<Rise> {
    let range = |to: u64| {
        let (first, last) = (points[0].0.max(1) as f64, points[points.len() - 1].0 as f64);
        (to as f64 / first).ln() / (last / first).ln()
    };
    let over = |at: usize| {
        let cheapest = (0..at).min_by(|a, b| median(points[*a].1).total_cmp(&median(points[*b].1)))?;
        let quotients = points[at].1.iter().zip(points[cheapest].1).map(|(of, to)| of / to);
        let times = interval(&quotients.collect::<Vec<_>>());
        let (at, from) = (points[at].0, points[cheapest].0);
        times.median.is_finite().then(|| Rise { at, from, times, part: range(at) })
    };
    (1..points.len()).filter_map(over).collect()
}

/// The first point from which on all are bent: one that is and then is no more was the host's.
fn bend(rises: &[Rise]) -> Option<Rise> {
    rises.iter().rev().take_while(|rise| rise.times.median > BENT).last().copied()
}

impl Curve {
    /// Finds where each cost of `report` bends. `why` is asked for the reason: of the figure, with the variants at the bend
    /// and at the cheapest point before it.
    pub(crate) fn judge(&mut self, report: &Report, why: fn(&str, &Variant, &Variant) -> Option<String>) {
        let Curve { points, costs, .. } = self;
        for cost in costs {
            let values = points.iter().map(|point| (point.at, report.values(&point.variant, &cost.figure)));
            let values: Vec<_> = values.filter(|(_, values)| !values.is_empty()).collect();
            let found = rises(&values);
            cost.rise = found.iter().copied().max_by(|a, b| a.times.median.total_cmp(&b.times.median));
            cost.bend = bend(&found);
            let variant = |at: u64| {
                let point = points.iter().find(|point| point.at == at)?;
                report.variants.iter().find(|variant| variant.name == point.variant)
            };
            cost.why = cost.bend.and_then(|bend| why(&cost.figure, variant(bend.at)?, variant(bend.from)?));
        }
    }
}

/// The ranked costs of all curves: those that bend earliest in their range first, then those that rise most.
pub(crate) fn ranking(curves: &[Curve]) -> Vec<(&Curve, &Cost)> {
    let all = curves.iter().flat_map(|curve| curve.costs.iter().map(move |cost| (curve, cost)));
    let mut ranked: Vec<_> = all.filter(|(_, cost)| cost.is_ranked && cost.rise.is_some()).collect();
    let key = |cost: &Cost| match (cost.bend, cost.rise) {
        (Some(bend), _) => (bend.part, -bend.times.median),
        (None, rise) => (f64::INFINITY, -rise.map_or(0.0, |rise| rise.times.median)),
    };
    ranked.sort_by(|(_, a), (_, b)| {
        let (a, b) = (key(a), key(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    ranked
}

/// A rise with its interval.
pub(super) fn times(rise: &Rise) -> String {
    let Interval { median, low, high } = rise.times;
    format!("{median:.2} ({low:.2} … {high:.2})")
}

/// What is said of a cost along `axis`.
pub(super) fn verdict(cost: &Cost, axis: &str) -> String {
    let Cost { figure, rise, bend, why, .. } = cost;
    let Some(rise) = rise else { return format!("{figure}: nothing to compare") };
    let Some(bend) = bend else {
        return format!(
            "{figure}: does not bend; at most {} times the cheapest before, at {} {axis}",
            times(rise),
            grouped(rise.at)
        );
    };
    let perhaps = if bend.is_sure() { "" } else { "perhaps " };
    let why = why.as_ref().map(|why| format!("; {why}")).unwrap_or_default();
    format!(
        "{figure}: {perhaps}bends at {} {axis}: {} times that at {}{why}",
        grouped(bend.at),
        times(bend),
        grouped(bend.from)
    )
}

/// The first columns of a row of the ranking: where it bends, after which part of its range, how far it rises.
pub(super) fn ranked(cost: &Cost) -> [String; 3] {
    let rise = cost.rise.as_ref().map(times).unwrap_or_default();
    match &cost.bend {
        None => ["does not".into(), String::new(), rise],
        Some(bend) => {
            let perhaps = if bend.is_sure() { "" } else { "perhaps " };
            [format!("{perhaps}{}", grouped(bend.at)), format!("{:.0} %", bend.part * 100.0), rise]
        }
    }
}

/// Columns of the ranking.
pub(super) const RANKING: [&str; 5] =
    ["curve", "cost", "bends at", "after … of its range", "times the cheapest before, at most"];

impl Report {
    /// The figure of a point, if it has it.
    pub(super) fn figure_at(&self, point: &Point, figure: &str) -> Option<&Figure> {
        self.variants.iter().find(|variant| variant.name == point.variant)?.figure(figure)
    }

    /// Writes a table for each curve, where it bends, and what bends first.
    pub(super) fn write_curves(&self, out: &mut impl Write) -> io::Result<()> {
        for curve in &self.curves {
            writeln!(out, "{}: {}", curve.name, curve.what)?;
            let header = std::iter::once(curve.axis.as_str());
            let header: Vec<&str> =
                header.chain(curve.costs.iter().map(|cost| cost.figure.as_str())).collect();
            let mut table = text::table(&header);
            for column in table.column_iter_mut() {
                column.set_cell_alignment(comfy_table::CellAlignment::Right);
            }
            for point in &curve.points {
                let cells = curve.costs.iter().map(|cost| self.figure_at(point, &cost.figure));
                let cells = cells.map(|figure| figure.map(text::figure).unwrap_or_default());
                table.add_row(std::iter::once(grouped(point.at)).chain(cells));
            }
            writeln!(out, "{table}")?;
            for cost in &curve.costs {
                writeln!(out, "  {}", verdict(cost, &curve.axis))?;
            }
            writeln!(out)?;
        }
        let ranking = ranking(&self.curves);
        if !ranking.is_empty() {
            writeln!(
                out,
                "what bends first (from there on more than {BENT} times the cheapest point before):"
            )?;
            let mut table = text::table(&RANKING);
            for (curve, cost) in ranking {
                let [at, part, rise] = ranked(cost);
                table.add_row([curve.name.clone(), cost.figure.clone(), at, part, rise]);
            }
            writeln!(out, "{table}\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Unit;
    use super::super::testing;
    use super::*;

    /// A report of a curve `name` whose point `at` gave `values`, and the curve, judged.
    pub(super) fn judged(name: &str, points: &[(u64, [f64; 3])]) -> (Report, Curve) {
        let variants = points.iter().map(|(at, values)| {
            let mut variant = Variant::new(format!("{name} {at}"));
            values.iter().for_each(|ns| variant.record("cost", Unit::Ns, *ns));
            variant
        });
        let report = testing::report(variants.collect());
        let point = |(at, _): &(u64, _)| Point { at: *at, variant: format!("{name} {at}") };
        let mut curve = Curve {
            name: name.into(),
            axis: "things".into(),
            what: "made up".into(),
            points: points.iter().map(point).collect(),
            costs: vec![Cost::new("cost"), Cost::beside("nothing")],
        };
        curve.judge(&report, |figure, bend, from| {
            Some(format!("{figure}: {} after {}", bend.name, from.name))
        });
        (report, curve)
    }

    fn flat(ns: f64) -> [f64; 3] {
        [ns * 0.99, ns, ns * 1.01]
    }

    #[test]
    fn a_bend_is_the_first_point_from_which_on_all_are_above_the_cheapest_before() {
        let points = [
            (10, flat(200.0)),
            (100, flat(100.0)),
            (1_000, flat(140.0)),
            (10_000, flat(160.0)),
            (100_000, flat(400.0)),
        ];
        let (_, curve) = judged("falls and rises", &points);
        let cost = &curve.costs[0];
        let bend = cost.bend.unwrap();
        assert_eq!((bend.at, bend.from), (10_000, 100));
        assert!((bend.times.median - 1.6).abs() < 1e-9 && bend.is_sure(), "{bend:?}");
        assert!((bend.part - 0.75).abs() < 1e-9, "three of four powers of ten: {bend:?}");
        assert_eq!(cost.why.as_deref(), Some("cost: falls and rises 10000 after falls and rises 100"));
        assert_eq!(cost.rise.unwrap().at, 100_000);
        assert_eq!(curve.costs[1].bend, None, "a figure that is not there does not bend");
    }

    #[test]
    fn one_point_that_sticks_out_is_no_bend() {
        let points = [(1, flat(10.0)), (10, flat(30.0)), (100, flat(11.0)), (1_000, flat(20.0))];
        let (_, curve) = judged("sticks out", &points);
        assert_eq!(curve.costs[0].bend.unwrap().at, 1_000);
        assert_eq!(curve.costs[0].rise.unwrap().at, 10, "but it is told");
        let (_, curve) = judged("sticks out", &points[..3]);
        assert_eq!(curve.costs[0].bend, None);
    }

    #[test]
    fn a_mood_of_the_host_that_all_points_share_is_no_doubt() {
        let (_, curve) = judged("moody", &[(1, [10.0, 20.0, 30.0]), (10, [16.0, 32.0, 48.0])]);
        assert!(curve.costs[0].bend.unwrap().is_sure());
    }

    #[test]
    fn what_falls_or_stays_does_not_bend() {
        for costs in [[100.0, 50.0, 20.0], [100.0, 120.0, 149.0]] {
            let (_, curve) = judged("c", &[(1, flat(costs[0])), (10, flat(costs[1])), (100, flat(costs[2]))]);
            assert_eq!(curve.costs[0].bend, None, "{costs:?}");
            assert!(verdict(&curve.costs[0], "things").contains("does not bend"));
        }
        let (_, alone) = judged("c", &[(1, flat(5.0))]);
        assert_eq!(alone.costs[0].rise, None);
        assert!(verdict(&alone.costs[0], "things").contains("nothing to compare"));
    }

    #[test]
    fn what_the_repeats_do_not_show_for_sure_is_perhaps() {
        let (_, curve) = judged("c", &[(1, [90.0, 100.0, 110.0]), (10, [120.0, 155.0, 300.0])]);
        assert!(!curve.costs[0].bend.unwrap().is_sure());
        assert!(verdict(&curve.costs[0], "things").contains("perhaps bends at 10 things"));
    }

    #[test]
    fn the_earliest_bend_in_its_range_is_first() {
        let early = judged("early", &[(1, flat(10.0)), (10, flat(16.0)), (1_000, flat(17.0))]).1;
        let late = judged("late", &[(1, flat(10.0)), (100, flat(11.0)), (1_000, flat(90.0))]).1;
        let never = judged("never", &[(1, flat(10.0)), (1_000, flat(11.0))]).1;
        let falls = judged("falls", &[(1, flat(10.0)), (1_000, flat(5.0))]).1;
        let curves = [falls, never, late, early];
        let names: Vec<&str> = ranking(&curves).iter().map(|(curve, _)| curve.name.as_str()).collect();
        assert_eq!(names, ["early", "late", "never", "falls"]);
    }

    #[test]
    fn tables_hold_every_point() {
        let (mut report, curve) = judged("grows", &[(1, flat(10.0)), (1_000, flat(40.0))]);
        report.curves.push(curve);
        let mut out = Vec::new();
        report.write_text(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for told in
            ["things", "1,000", "40.0 ns (39.6 ns", "bends at 1,000 things: 4.0", "what bends first", "100 %"]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
}
