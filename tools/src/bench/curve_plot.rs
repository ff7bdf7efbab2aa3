//! Growth plots: what a message costs over how many there are, both in powers of ten.

use std::fmt::Write as _;

use super::curve::{Cost, Curve};
use super::plot::COLOURS;
use super::report::{Figure, Report};
use super::text;
use crate::svg::Svg;

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 300.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 60.0;
/// Where costs have a line of their own within each power of ten.
const STEPS: [f64; 3] = [1.0, 2.0, 5.0];

/// The plot of `curve`: medians as lines, their intervals as bars, and a dashed line where a cost bends.
pub(super) fn plot(curve: &Curve, report: &Report) -> String {
    let drawn: Vec<(&Cost, Vec<(f64, &Figure)>)> = curve
        .costs
        .iter()
        .map(|cost| {
            let of = |point| Some((point, report.figure_at(point, &cost.figure)?));
            let points = curve.points.iter().filter_map(of);
            (cost, points.map(|(point, figure)| (point.at as f64, figure)).collect())
        })
        .collect();
    let figures = || drawn.iter().flat_map(|(_, points)| points.iter().map(|(_, figure)| &figure.interval));
    let scale = Scale {
        x: Range::of(curve.points.iter().map(|point| point.at as f64)),
        y: Range::of(figures().flat_map(|interval| [interval.low, interval.high])),
    };
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text(LEFT, 24.0, "start", 15, &format!("{}: cost of a message", curve.name));
    axes(&mut svg, &scale, curve);
    for (at, (cost, points)) in drawn.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let mut path = String::new();
        for (x, figure) in points {
            let start = if path.is_empty() { 'M' } else { 'L' };
            let [low, median, high] = [figure.interval.low, figure.interval.median, figure.interval.high]
                .map(|ns| scale.at(*x, ns));
            let _ = write!(path, "{start}{:.1} {:.1}", median.0, median.1);
            svg.line(low, high, colour, "1.2", "");
            svg.rect((median.0 - 2.5, median.1 - 2.5), (5.0, 5.0), colour);
        }
        if !path.is_empty() {
            svg.path(&path, colour);
        }
        if let Some(bend) = cost.bend.filter(|_| cost.is_ranked) {
            let x = scale.at(bend.at as f64, 1.0).0 + at as f64;
            svg.line((x, TOP), (x, HEIGHT - BOTTOM), colour, "1", "4 4");
        }
        let y = TOP + 12.0 + at as f64 * 18.0;
        svg.rect((WIDTH - RIGHT + 12.0, y - 8.0), (14.0, 4.0), colour);
        svg.text(WIDTH - RIGHT + 32.0, y - 2.0, "start", 11, &cost.figure);
    }
    svg.finish()
}

/// A range in powers of ten; never empty.
struct Range {
    low: f64,
    high: f64,
}

impl Range {
    fn of(values: impl Iterator<Item = f64>) -> Range {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for power in values.filter(|value| *value > 0.0 && value.is_finite()).map(f64::log10) {
            (low, high) = (low.min(power), high.max(power));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // A cost that stays is a line in the middle, not one blown up to fill the picture.
        let margin = ((1.0 - (high - low)) / 2.0).max(0.05);
        Range { low: low - margin, high: high + margin }
    }

    fn part(&self, value: f64) -> f64 {
        ((value.max(f64::MIN_POSITIVE).log10() - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value.log10())
    }
}

struct Scale {
    x: Range,
    y: Range,
}

impl Scale {
    fn at(&self, x: f64, ns: f64) -> (f64, f64) {
        (
            LEFT + self.x.part(x) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - self.y.part(ns) * (HEIGHT - TOP - BOTTOM),
        )
    }
}

fn axes(svg: &mut Svg, scale: &Scale, curve: &Curve) {
    let powers = scale.y.low.floor() as i32..=scale.y.high.ceil() as i32;
    let few = scale.y.high - scale.y.low < 3.0;
    for ns in powers.flat_map(|power| STEPS.map(|step| step * 10f64.powi(power))) {
        let is_power = ns.log10().fract().abs() < 1e-9;
        if scale.y.holds(ns) && (is_power || few) {
            let (_, y) = scale.at(1.0, ns);
            svg.line((LEFT, y), (WIDTH - RIGHT, y), if is_power { "#d8dce0" } else { "#eceef0" }, "1", "");
            svg.text(LEFT - 8.0, y + 4.0, "end", 11, &text::round_ns(ns));
        }
    }
    for point in &curve.points {
        let (x, _) = scale.at(point.at as f64, 1.0);
        svg.line((x, TOP), (x, HEIGHT - BOTTOM), "#eceef0", "1", "");
        svg.text(x, HEIGHT - BOTTOM + 18.0, "middle", 11, &short(point.at));
    }
    let middle = (LEFT + WIDTH - RIGHT) / 2.0;
    svg.text(middle, HEIGHT - 16.0, "middle", 11, &curve.axis);
}

/// `30_000_000` as `30M`; what is no round number keeps a digit or two behind the point.
fn short(number: u64) -> String {
    let (value, unit) = match number {
        0..10_000 => return number.to_string(),
        10_000..1_000_000 => (number as f64 / 1e3, "k"),
        _ => (number as f64 / 1e6, "M"),
    };
    let text = format!("{value:.1}");
    format!("{}{unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::super::curve::Point;
    use super::super::report::{Unit, Variant};
    use super::super::testing;
    use super::*;

    fn plotted(points: &[(u64, f64)]) -> String {
        let variants = points.iter().map(|(at, ns)| {
            let mut variant = Variant::new(at.to_string());
            variant.record("cost <1>", Unit::Ns, *ns);
            variant
        });
        let report = testing::report(variants.collect());
        let mut curve = Curve {
            name: "a".into(),
            axis: "b & c".into(),
            what: String::new(),
            points: points.iter().map(|(at, _)| Point { at: *at, variant: at.to_string() }).collect(),
            costs: vec![Cost::new("cost <1>"), Cost::new("not there")],
        };
        curve.judge(&report, |_, _, _| None);
        plot(&curve, &report)
    }

    #[test]
    fn numbers_are_short() {
        let found = [1, 9_999, 65_535, 30_000, 1_600_000, 30_000_000].map(short);
        assert_eq!(found, ["1", "9999", "65.5k", "30k", "1.6M", "30M"]);
    }

    #[test]
    fn every_point_is_drawn_and_a_bend_is_marked() {
        let svg = plotted(&[(10, 80.0), (100, 90.0), (65_535, 400.0)]);
        assert!(svg.contains("cost &lt;1&gt;") && svg.contains("b &amp; c") && svg.contains("65.5k"));
        assert_eq!(svg.matches("width=\"5.0\"").count(), 3, "{svg}");
        assert_eq!(svg.matches("4 4").count(), 1, "one bend");
        assert!(svg.contains("100 ns") && svg.contains("200 ns"), "{svg}");
        let flat = plotted(&[(1, 10.0), (10, 10.0)]);
        assert_eq!(flat.matches("4 4").count(), 0);
        for svg in [svg, flat, plotted(&[(1, 0.0)]), plotted(&[])] {
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn more_is_up_and_to_the_right() {
        let scale = Scale { x: Range::of([1.0, 1e6].into_iter()), y: Range::of([10.0, 1e5].into_iter()) };
        let (low, high) = (scale.at(10.0, 20.0), scale.at(1e5, 9e4));
        assert!(low.0 < high.0 && low.1 > high.1);
        assert!(scale.at(1e9, 1e9).0 <= WIDTH - RIGHT && scale.at(1e9, 1e9).1 >= TOP);
    }
}
