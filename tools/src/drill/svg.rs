//! The picture of a fault: what happened when, how long messages took around it, and who saw nothing for how long.

use std::fmt::Write as _;

use seqcast_engine::time::Nanos;

use super::timeline::{Act, Outage, Passage};
use crate::svg::Svg;

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 20.0;
const PLOT_TOP: f64 = 80.0;
const PLOT_HEIGHT: f64 = 260.0;
const LANE_HEIGHT: f64 = 18.0;
const TEXT_HEIGHT: f64 = 15.0;
/// Events that are told; more would be no picture.
const MAX_EVENTS: usize = 24;
const COLOURS: [&str; 6] = ["#1f6fb2", "#c77c11", "#3a8f4d", "#8a4fa3", "#5c6670", "#b0413e"];

/// The picture of `fault`, with the title `title` and what each subscriber saw.
pub(crate) fn picture(title: &str, fault: &Act, passages: &[Vec<Passage>]) -> String {
    let scale = Scale::of(fault, passages);
    let lanes: Vec<&Outage> = fault.subscribers.iter().chain(&fault.publishers).collect();
    let lanes_top = PLOT_TOP + PLOT_HEIGHT + 34.0;
    let events_top = lanes_top + lanes.len() as f64 * LANE_HEIGHT + 24.0;
    let shown = fault.events.len().min(MAX_EVENTS);
    let mut svg = Svg::new(WIDTH, events_top + (shown + 1) as f64 * TEXT_HEIGHT);
    svg.text(LEFT, 22.0, "start", 15, title);
    svg.text(LEFT, 42.0, "start", 11, &subtitle(fault));
    draw_axes(&mut svg, &scale);
    for (at, passages) in passages.iter().enumerate() {
        draw_passages(&mut svg, &scale, fault.at_ns, passages, COLOURS[at % COLOURS.len()]);
    }
    for (at, lane) in lanes.iter().enumerate() {
        draw_lane(&mut svg, &scale, lanes_top + at as f64 * LANE_HEIGHT, lane);
    }
    let bottom = lanes_top + lanes.len() as f64 * LANE_HEIGHT;
    for (at, event) in fault.events.iter().take(shown).enumerate() {
        let colour = if event.node.is_some() { COLOURS[0] } else { COLOURS[5] };
        if let Some(x) = scale.x(event.after_ns) {
            svg.line((x, PLOT_TOP), (x, bottom), colour, "1", "3 3");
            let y = PLOT_TOP - 4.0 - (at % 2) as f64 * 10.0;
            svg.text(x, y, "middle", 9, &(at + 1).to_string());
        }
        let who = event.node.as_ref().map_or_else(|| "drill".to_owned(), Clone::clone);
        let line = format!("{}  {}  {who}: {}", at + 1, signed(event.after_ns), event.what);
        svg.text(LEFT, events_top + at as f64 * TEXT_HEIGHT, "start", 11, &line);
    }
    svg.finish()
}

fn subtitle(fault: &Act) -> String {
    let worst = |outages: &[Outage]| outages.iter().map(|outage| outage.outage_ns).max().map(Nanos);
    let told =
        |who: &str, worst: Option<Nanos>| worst.map(|worst| format!("longest silence at {who} {worst}"));
    let parts =
        [told("subscribers", worst(&fault.subscribers)), told("publishers", worst(&fault.publishers))];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}; {}", fault.what, parts.join("; "))
}

/// A time since the fault.
fn signed(after_ns: i64) -> String {
    let sign = if after_ns < 0 { '-' } else { '+' };
    format!("{sign}{}", round(after_ns.unsigned_abs()))
}

/// A time, without decimals that are none.
fn round(ns: u64) -> String {
    Nanos(ns).to_string().replace(".00 ", " ").replace(".0 ", " ")
}

/// From times and latencies to places.
struct Scale {
    from_ns: i64,
    until_ns: i64,
    /// Powers of ten of the lowest and highest latency.
    low: i32,
    high: i32,
}

impl Scale {
    fn of(fault: &Act, passages: &[Vec<Passage>]) -> Scale {
        const LEAST: i64 = 30_000_000;
        let outages = || fault.subscribers.iter().chain(&fault.publishers);
        let ends = outages().flat_map(|outage| [Some(outage.first_after_ns), outage.new_epoch_ns]);
        let last = ends.flatten().max().unwrap_or(0).max(LEAST);
        let first = outages().map(|outage| outage.last_before_ns).min().unwrap_or(0).min(0);
        let span = last - first;
        let (from_ns, until_ns) = (first - span / 4, last + span / 2);
        let seen = passages.iter().flatten().filter(|passage| {
            let after = passage.at_ns as i64 - fault.at_ns as i64;
            (from_ns..until_ns).contains(&after)
        });
        let latencies = || seen.clone().map(|passage| passage.latency_ns.max(1_000) as f64);
        let low = latencies().fold(1e5, f64::min).log10().floor() as i32;
        let high = latencies().fold(1e6, f64::max).log10().ceil() as i32;
        Scale { from_ns, until_ns, low, high: high.max(low + 1) }
    }

    /// Place of a time; none outside the picture.
    fn x(&self, after_ns: i64) -> Option<f64> {
        let part = (after_ns - self.from_ns) as f64 / (self.until_ns - self.from_ns) as f64;
        (0.0..=1.0).contains(&part).then_some(LEFT + part * (WIDTH - LEFT - RIGHT))
    }

    /// Place of a time, at the edge when it is outside.
    fn clamped(&self, after_ns: i64) -> f64 {
        self.x(after_ns.clamp(self.from_ns, self.until_ns)).unwrap_or(LEFT)
    }

    fn y(&self, latency_ns: f64) -> f64 {
        let part = (latency_ns.max(1.0).log10() - f64::from(self.low)) / f64::from(self.high - self.low);
        PLOT_TOP + PLOT_HEIGHT * (1.0 - part.clamp(0.0, 1.0))
    }

    /// Times to name on the axis: about ten round ones.
    fn ticks(&self) -> Vec<i64> {
        let rough = (self.until_ns - self.from_ns) as f64 / 10.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].iter().map(|factor| factor * power).find(|step| *step >= rough);
        let step = (step.unwrap_or(rough) as i64).max(1);
        let first = self.from_ns.div_euclid(step) + 1;
        (first..).map(|at| at * step).take_while(|at| *at < self.until_ns).collect()
    }
}

fn draw_axes(svg: &mut Svg, scale: &Scale) {
    let bottom = PLOT_TOP + PLOT_HEIGHT;
    for power in scale.low..=scale.high {
        let latency = 10f64.powi(power);
        let y = scale.y(latency);
        svg.line((LEFT, y), (WIDTH - RIGHT, y), "#d8dce0", "1", "");
        svg.text(LEFT - 8.0, y + 4.0, "end", 11, &round(latency as u64));
    }
    svg.text(LEFT - 8.0, PLOT_TOP - 16.0, "end", 11, "due to seen");
    for tick in scale.ticks() {
        let Some(x) = scale.x(tick) else { continue };
        svg.line((x, bottom), (x, bottom + 4.0), "#5c6670", "1", "");
        let label = if tick == 0 { "fault".to_owned() } else { signed(tick) };
        svg.text(x, bottom + 17.0, "middle", 11, &label);
    }
}

/// The lowest and the highest latency of each column of the picture.
fn draw_passages(svg: &mut Svg, scale: &Scale, fault_ns: u64, passages: &[Passage], colour: &str) {
    let mut columns: Vec<Option<(u64, u64)>> = vec![None; WIDTH as usize];
    for passage in passages {
        let Some(x) = scale.x(passage.at_ns as i64 - fault_ns as i64) else { continue };
        let column = &mut columns[x as usize];
        let (low, high) = column.unwrap_or((passage.latency_ns, passage.latency_ns));
        *column = Some((low.min(passage.latency_ns), high.max(passage.latency_ns)));
    }
    let mut path = String::new();
    for (x, column) in columns.iter().enumerate() {
        let Some((low, high)) = column else { continue };
        let (top, bottom) = (scale.y(*high as f64), scale.y(*low as f64) + 1.5);
        let _ = write!(path, "M{x} {top:.1}V{bottom:.1}");
    }
    svg.path(&path, colour);
}

fn draw_lane(svg: &mut Svg, scale: &Scale, top: f64, lane: &Outage) {
    let middle = top + LANE_HEIGHT / 2.0;
    svg.text(LEFT - 8.0, middle + 4.0, "end", 11, &lane.who);
    svg.rect((LEFT, top + 5.0), (WIDTH - RIGHT - LEFT, LANE_HEIGHT - 10.0), "#cfe3d4");
    let (from, to) = (scale.clamped(lane.last_before_ns), scale.clamped(lane.first_after_ns));
    svg.rect((from, top + 2.0), ((to - from).max(1.0), LANE_HEIGHT - 4.0), "#d98a87");
    svg.text(to + 4.0, middle + 4.0, "start", 10, &Nanos(lane.outage_ns).to_string());
}

#[cfg(test)]
mod tests {
    use super::super::timeline::{Phases, TimedEvent};
    use super::*;

    fn fault() -> Act {
        let outage = |who: &str| Outage {
            who: who.into(),
            outage_ns: 12_000_000,
            last_before_ns: -1_000_000,
            first_after_ns: 11_000_000,
            new_epoch_ns: None,
        };
        let event = |after_ns, node: Option<&str>| TimedEvent {
            after_ns,
            node: node.map(str::to_owned),
            what: "a < b & \"c\"".into(),
        };
        Act {
            what: "kill -9 n1".into(),
            fault: true,
            at_ns: 1_000_000_000,
            events: vec![event(0, None), event(5_000_000, Some("n2")), event(9_000_000_000, None)],
            phases: Phases::default(),
            subscribers: vec![outage("sub1")],
            publishers: vec![outage("pub1")],
        }
    }

    #[test]
    fn the_picture_is_well_formed_and_holds_everybody() {
        let passages =
            (0..2_000).map(|at| Passage { at_ns: 980_000_000 + at * 20_000, latency_ns: 1_000 * at });
        let svg = picture("restart", &fault(), &[passages.collect(), Vec::new()]);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains(">sub1<") && svg.contains(">pub1<") && svg.contains("12.00 ms"));
        assert!(svg.contains("a &lt; b &amp; \"c\""), "text is escaped");
        assert!(svg.contains("<path d=\"M"), "messages are drawn");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let opened = svg.matches("<text").count();
        assert_eq!(opened, svg.matches("</text>").count());
    }

    #[test]
    fn a_fault_that_nobody_noticed_has_a_picture_too() {
        let silent = Act { subscribers: Vec::new(), publishers: Vec::new(), events: Vec::new(), ..fault() };
        let svg = picture("x", &silent, &[]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn ticks_are_round_and_few() {
        for (from_ns, until_ns) in [(-30, 70), (-10_000_000, 40_000_000), (-1_000_000_000, 4_500_000_000)] {
            let ticks = Scale { from_ns, until_ns, low: 0, high: 1 }.ticks();
            assert!((5..=11).contains(&ticks.len()), "{ticks:?}");
            assert!(ticks.contains(&0), "{ticks:?}");
        }
    }
}
