//! `loss`: latency at a fixed rate while the subscriber loses datagrams, over any number of lines.

use std::num::NonZeroU64;

use super::flow::{Flow, in_words};
use super::observer::WHOLE;
use super::report::{Report, Variant};
use super::session::Session;
use super::stage::{self, Scene};
use crate::output::grouped;

/// What to measure.
pub(crate) struct Loss {
    pub(crate) rate: NonZeroU64,
    /// Parts of the datagrams that are lost, on each line for itself.
    pub(crate) losses: Vec<f64>,
    /// Numbers of lines.
    pub(crate) lines: Vec<usize>,
    pub(crate) flow: Flow,
}

/// Name of a variant.
fn name(lines: usize, loss: f64) -> String {
    let lines = if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
    // Parts in a million are as exact as anybody asks.
    format!("{lines}, {} % lost", (loss * 1e8).round() / 1e6)
}

/// Measures each number of lines with each loss in turn.
///
/// # Errors
/// Something could not be set up, or failed.
pub(crate) fn run(session: &Session, loss: &Loss) -> anyhow::Result<Report> {
    let turns: Vec<(usize, f64)> =
        loss.lines.iter().flat_map(|&lines| loss.losses.iter().map(move |&part| (lines, part))).collect();
    let (count, _) = session.messages(loss.rate.get());
    let messages = loss.flow.prepare(count)?;
    let variants = turns.iter().map(|&(lines, part)| Variant::new(name(lines, part))).collect();
    let what = format!(
        "due → in the book at {}/s while the subscriber loses datagrams at random: on each line for itself, and answers to \
         its requests as well",
        grouped(loss.rate.get())
    );
    let subject = loss
        .flow
        .subject("loss", what, session, &messages)
        .with("rate", format!("{}/s", grouped(loss.rate.get())))
        .with("lost part", in_words(&loss.losses))
        .with("lines", in_words(&loss.lines))
        .without(&[
            "losses in a row: each datagram takes its chance on its own",
            "losses before the sequencer",
        ]);
    let mut chances = loss.flow.seed;
    let mut report = session.measure(subject, variants, |at, variant| {
        let (lines, part) = turns[at];
        // Other chances in each run, the same in each session.
        chances = chances.wrapping_add(1);
        let flow = Flow { lines, ..loss.flow };
        let scene = Scene { loss: part, seed: chances, ..flow.scene(session, &messages, loss.rate) };
        Ok(stage::run(&scene, &session.stop)?.record(&scene, variant))
    })?;
    compare(&mut report, loss);
    Ok(report)
}

/// Latency with loss over that without, on as many lines, repeat by repeat.
fn compare(report: &mut Report, loss: &Loss) {
    for &lines in &loss.lines {
        for &part in loss.losses.iter().filter(|part| **part > 0.0) {
            for quantile in ["p50", "p90", "p99"] {
                let (figure, name) = (format!("{WHOLE}: {quantile}"), name(lines, part));
                let values = report.quotients([&name, &figure], [&self::name(lines, 0.0), &figure]);
                report.ratio(format!("{name}: latency / that without loss, {quantile}"), values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Unit;
    use super::super::testing;
    use super::*;

    #[test]
    fn loss_is_compared_on_as_many_lines() {
        let loss = Loss {
            rate: NonZeroU64::MIN,
            losses: vec![0.0, 0.001],
            lines: vec![1, 2],
            flow: Flow { symbols: 1, lines: 2, seed: 1 },
        };
        let variant = |lines, part, values: [f64; 2]| {
            let mut variant = Variant::new(name(lines, part));
            values.iter().for_each(|value| variant.record(&format!("{WHOLE}: p99"), Unit::Ns, *value));
            variant
        };
        let mut report = testing::report(vec![
            variant(1, 0.0, [10.0, 10.0]),
            variant(1, 0.001, [50.0, 60.0]),
            variant(2, 0.0, [20.0, 20.0]),
            variant(2, 0.001, [20.0, 22.0]),
        ]);
        compare(&mut report, &loss);
        let found: Vec<_> =
            report.ratios.iter().map(|ratio| (ratio.name.as_str(), &ratio.values[..])).collect();
        assert_eq!(
            found,
            [
                ("1 line, 0.1 % lost: latency / that without loss, p99", &[5.0, 6.0][..]),
                ("2 lines, 0.1 % lost: latency / that without loss, p99", &[1.0, 1.1][..]),
            ]
        );
    }
}
