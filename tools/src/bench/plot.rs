//! Percentile plots: latency over how rare it is, both in powers of ten.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::text;
use crate::svg::Svg;

const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 44.0;
pub(super) const COLOURS: [&str; 8] =
    ["#1f6fb2", "#c77c11", "#3a8f4d", "#8a4fa3", "#b0413e", "#2a9d9d", "#7d6b3d", "#d05c9a"];
const HOST: &str = "#9aa2aa";
/// Points of a curve for each halving of the distance to 100 %.
const TICKS: u32 = 8;

/// One curve.
pub(super) struct Curve<'a> {
    pub(super) name: &'a str,
    pub(super) histogram: &'a Histogram<u64>,
}

/// A plot of `curves`, and of what the host alone does: quantiles with times in ns.
pub(super) fn percentiles(title: &str, curves: &[Curve<'_>], host: &[(f64, f64)]) -> String {
    let scale = Scale::of(curves, host);
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.text(LEFT, 24.0, "start", 15, title);
    axes(&mut svg, &scale);
    for (at, curve) in curves.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let points = curve.histogram.iter_quantiles(TICKS);
        let points = points.map(|step| (step.quantile_iterated_to(), step.value_iterated_to() as f64));
        svg.path(&scale.path(points), colour);
        legend(&mut svg, at, colour, curve.name);
    }
    if host.iter().any(|(_, ns)| *ns > 0.0) {
        svg.path(&scale.path(host.iter().copied()), HOST);
        legend(&mut svg, curves.len(), HOST, "the host alone");
    }
    svg.finish()
}

fn legend(svg: &mut Svg, at: usize, colour: &str, name: &str) {
    let y = TOP + 12.0 + at as f64 * 18.0;
    svg.rect((WIDTH - RIGHT + 12.0, y - 8.0), (14.0, 4.0), colour);
    svg.text(WIDTH - RIGHT + 32.0, y - 2.0, "start", 11, name);
}

/// From quantiles and times to places. A quantile's place is how many powers of ten it is rare: 0.99 is at 2.
struct Scale {
    rarest: f64,
    low: i32,
    high: i32,
}

impl Scale {
    fn of(curves: &[Curve<'_>], host: &[(f64, f64)]) -> Scale {
        let most = curves.iter().map(|curve| curve.histogram.len()).max().unwrap_or(0);
        let rarest = (most.max(10) as f64).log10().ceil();
        let times = curves.iter().filter(|curve| !curve.histogram.is_empty());
        let least = times.clone().map(|curve| curve.histogram.min()).min().unwrap_or(1_000);
        let of_host = host.iter().map(|(_, ns)| *ns as u64);
        let longest = times.map(|curve| curve.histogram.max()).chain(of_host).max().unwrap_or(0);
        let low = (least.max(1) as f64).log10().floor() as i32;
        let high = (longest.max(1) as f64).log10().ceil() as i32;
        Scale { rarest, low, high: high.max(low + 1) }
    }

    fn x(&self, rare: f64) -> f64 {
        LEFT + rare.clamp(0.0, self.rarest) / self.rarest * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, ns: f64) -> f64 {
        let part = (ns.max(1.0).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        HEIGHT - BOTTOM - part.clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn path(&self, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        for (quantile, ns) in points {
            let rare = if quantile < 1.0 { -(1.0 - quantile).log10() } else { self.rarest };
            let start = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{start}{:.1} {:.1}", self.x(rare), self.y(ns));
        }
        path
    }
}

fn axes(svg: &mut Svg, scale: &Scale) {
    for power in scale.low..=scale.high {
        let ns = 10f64.powi(power);
        let y = scale.y(ns);
        svg.line((LEFT, y), (WIDTH - RIGHT, y), "#d8dce0", "1", "");
        svg.text(LEFT - 8.0, y + 4.0, "end", 11, &text::round_ns(ns));
    }
    for rare in 0..=scale.rarest as i32 {
        let x = scale.x(rare.into());
        svg.line((x, TOP), (x, HEIGHT - BOTTOM), "#eceef0", "1", "");
        svg.text(x, HEIGHT - BOTTOM + 18.0, "middle", 11, &percent(rare));
    }
}

/// The percentile that is `rare` powers of ten rare.
fn percent(rare: i32) -> String {
    match rare {
        0 => "0 %".into(),
        1 => "90 %".into(),
        more => format!("{:.*} %", (more - 2) as usize, 100.0 - 100.0 / 10f64.powi(more)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_things_have_their_percentile() {
        let labels: Vec<String> = (0..5).map(percent).collect();
        assert_eq!(labels, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn curves_rise_and_stay_in_the_picture() {
        let mut histogram = Histogram::new(3).unwrap();
        (1..10_000u64).for_each(|value| histogram.record(value * value).unwrap());
        let curve = Curve { name: "a <b>", histogram: &histogram };
        let scale = Scale::of(std::slice::from_ref(&curve), &[]);
        assert!(scale.y(1e9) <= scale.y(1e3), "up is longer");
        let svg = percentiles("t", &[curve], &[(0.5, 100.0), (0.99, 2e6)]);
        assert!(svg.contains("a &lt;b&gt;") && svg.contains("the host alone"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let empty = Histogram::new(3).unwrap();
        let svg = percentiles("t", &[Curve { name: "none", histogram: &empty }], &[]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
