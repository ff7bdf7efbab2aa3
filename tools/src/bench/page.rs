//! A report as one HTML page that needs nothing else: tables, and percentile plots in SVG.

use std::fmt::Write as _;

use seqcast_engine::stat::Latency;

use super::curve::{self, Curve};
use super::growth::REQUEST;
use super::observer::WHOLE;
use super::report::{Figure, QUANTILES, Report, Series, Variant};
use super::text;
use super::{curve_plot, plot};
use crate::output::grouped;

const STYLE: &str = "body{font:14px sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}\
    table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;text-align:right;border-bottom:1px solid #ddd}\
    td:first-child,th:first-child,td.l,th.l{text-align:left}.bad{color:#b0413e}.note{background:#fff6e0;padding:.4em .8em;\
    margin:.3em 0}code{background:#f3f3f3}";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut page = String::new();
    let title = escaped(&format!("seqcast bench {}", report.bench));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n<p>{}</p>\n",
        escaped(&report.what)
    );
    let complete = if report.is_complete {
        "Everything that was sent arrived."
    } else {
        "<b class=\"bad\">Not everything that was sent arrived, or the run changed on the way: see the notes.</b>"
    };
    let _ = writeln!(
        page,
        "<p>Medians of {} repeats, in turn; in brackets where 95 % of such medians would be. {complete}</p>",
        report.repeats
    );
    for notice in &report.notices {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escaped(notice));
    }
    if report.curves.is_empty() {
        plots(&mut page, report);
    } else {
        curves(&mut page, report);
    }
    latencies(&mut page, report);
    figures(&mut page, report);
    header(&mut page, report);
    page.push_str("</body></html>\n");
    page
}

/// What bends first; for each curve a plot, a table, what is said of it, and the percentiles behind it.
fn curves(page: &mut String, report: &Report) {
    let ranking = curve::ranking(&report.curves);
    if !ranking.is_empty() {
        let _ = writeln!(page, "<h2>What bends first</h2><table><tr>");
        curve::RANKING.iter().for_each(|name| _ = write!(page, "<th class=\"l\">{name}</th>"));
        page.push_str("</tr>\n");
        for (curve, cost) in ranking {
            let (name, figure) = (escaped(&curve.name), escaped(&cost.figure));
            let _ = write!(page, "<tr><td>{name}</td><td class=\"l\">{figure}</td>");
            curve::ranked(cost).iter().for_each(|told| _ = write!(page, "<td>{told}</td>"));
            page.push_str("</tr>\n");
        }
        page.push_str("</table>\n");
    }
    for curve in &report.curves {
        let _ = writeln!(page, "<h2>{}</h2><p>{}</p>", escaped(&curve.name), escaped(&curve.what));
        let _ = writeln!(page, "{}", curve_plot::plot(curve, report));
        points(page, curve, report);
        for cost in &curve.costs {
            let _ = writeln!(page, "<p>{}</p>", escaped(&curve::verdict(cost, &curve.axis)));
        }
        let is_of = |variant: &&Variant| curve.points.iter().any(|point| point.variant == variant.name);
        for name in [WHOLE, REQUEST] {
            let histograms = merged(report.variants.iter().filter(is_of), name);
            if !histograms.is_empty() {
                let _ = writeln!(page, "{}", percentiles(name, &histograms, report));
            }
        }
    }
}

/// The points of a curve as a table.
fn points(page: &mut String, curve: &Curve, report: &Report) {
    let _ = write!(page, "<table><tr><th>{}</th>", escaped(&curve.axis));
    curve.costs.iter().for_each(|cost| _ = write!(page, "<th>{}</th>", escaped(&cost.figure)));
    page.push_str("</tr>\n");
    for point in &curve.points {
        let _ = write!(page, "<tr><td>{}</td>", grouped(point.at));
        let figures = curve.costs.iter().map(|cost| report.figure_at(point, &cost.figure));
        figures.for_each(|figure| page.push_str(&cell(figure)));
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

/// All repeats of the series `name` together, by variant.
fn merged<'a>(variants: impl Iterator<Item = &'a Variant>, name: &str) -> Vec<(&'a str, Latency)> {
    let of = |variant: &Variant| variant.series.iter().find(|series| series.name == name).map(Series::merged);
    variants.filter_map(|variant| Some((variant.name.as_str(), of(variant)?))).collect()
}

fn percentiles(name: &str, histograms: &[(&str, Latency)], report: &Report) -> String {
    let curves =
        histograms.iter().map(|(name, latency)| plot::Curve { name, histogram: latency.histogram() });
    plot::percentiles(name, &curves.collect::<Vec<_>>(), &host(report))
}

/// For each series a plot with all variants that have it, and what the host alone does.
fn plots(page: &mut String, report: &Report) {
    let mut names: Vec<&str> = Vec::new();
    for series in report.variants.iter().flat_map(|variant| &variant.series) {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    // The whole way comes last, and is what is looked for first.
    for name in names.into_iter().rev() {
        let _ = writeln!(page, "{}", percentiles(name, &merged(report.variants.iter(), name), report));
    }
}

/// What the host alone delays a message by, at the worse of both times.
fn host(report: &Report) -> Vec<(f64, f64)> {
    let (before, after) = (&report.host.before.delay_ns, &report.host.after.delay_ns);
    let quantile =
        |name: &str| QUANTILES.iter().find(|(known, _)| *known == name).map(|(_, quantile)| *quantile);
    let both = before.iter().zip(after);
    both.filter_map(|((name, a), (_, b))| Some((quantile(name)?, *a.max(b) as f64))).collect()
}

fn latencies(page: &mut String, report: &Report) {
    if !report.variants.iter().any(|variant| !text::series(variant).is_empty()) {
        return;
    }
    page.push_str("<h2>Latency</h2><table><tr><th></th><th class=\"l\">from → to</th>");
    QUANTILES.iter().for_each(|(name, _)| _ = write!(page, "<th>{name}</th>"));
    page.push_str("</tr>\n");
    for variant in &report.variants {
        for series in text::series(variant) {
            let (name, series_name) = (escaped(&variant.name), escaped(series));
            let _ = write!(page, "<tr><td>{name}</td><td class=\"l\">{series_name}</td>");
            for (quantile, _) in QUANTILES {
                let _ = write!(page, "{}", cell(variant.figure(&format!("{series}: {quantile}"))));
            }
            page.push_str("</tr>\n");
        }
    }
    page.push_str("</table><p>!! says nothing about Seqcast: the host alone delays as much. ! is half the host, or more.</p>\n");
}

fn figures(page: &mut String, report: &Report) {
    page.push_str("<h2>Figures</h2><table>\n");
    for ratio in &report.ratios {
        let _ = writeln!(
            page,
            "<tr><td>within the run</td><td class=\"l\">{}</td>{}</tr>",
            escaped(&ratio.name),
            cell(Some(ratio))
        );
    }
    for variant in &report.variants {
        let of = escaped(&variant.name);
        for figure in text::plain(variant) {
            let name = escaped(&figure.name);
            let _ = writeln!(page, "<tr><td>{of}</td><td class=\"l\">{name}</td>{}</tr>", cell(Some(figure)));
        }
        for (name, count) in variant.counts.iter().filter(|(_, count)| **count > 0) {
            let _ = writeln!(
                page,
                "<tr><td>{of}</td><td class=\"l\">{}</td><td>{}</td></tr>",
                escaped(name),
                grouped(*count)
            );
        }
    }
    page.push_str("</table>\n");
}

fn header(page: &mut String, report: &Report) {
    page.push_str("<h2>Measured with</h2><table>\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(page, "<tr><td>{}</td><td class=\"l\">{}</td></tr>", escaped(name), escaped(value));
    };
    row("program", &report.fingerprint.program);
    report.parameters.iter().for_each(|(name, value)| row(name, value));
    report.fingerprint.host.iter().for_each(|(name, value)| row(name, value));
    for (variant, threads) in &report.layout {
        row(&format!("threads, {variant}"), &threads.join("; "));
    }
    report.not_measured.iter().for_each(|what| row("not measured", what));
    page.push_str("</table>\n");
}

fn cell(figure: Option<&Figure>) -> String {
    let Some(figure) = figure else { return "<td></td>".into() };
    let class = if figure.doubt.is_some() { " class=\"bad\"" } else { "" };
    let why = figure.doubt.as_ref().map(|doubt| format!(" title=\"{}\"", escaped(doubt))).unwrap_or_default();
    format!("<td{class}{why}>{}</td>", escaped(&text::figure(figure)))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use seqcast_engine::time::Nanos;

    use super::super::report::{Unit, Variant};
    use super::super::testing;
    use super::*;

    #[test]
    fn a_page_holds_everything_and_needs_nothing() {
        let mut variant = Variant::new("a <b> & \"c\"");
        let mut latency = Latency::new();
        (1..1_000).for_each(|ns| latency.record(Nanos(ns * 100)));
        variant.record_latency("all", SystemTime::UNIX_EPOCH, latency);
        variant.record("rate", Unit::PerS, 77_777.0);
        let mut report = testing::report(vec![variant]);
        report.is_complete = false;
        let page = page(&report);
        assert!(
            page.contains("a &lt;b&gt; &amp; &quot;c&quot;") && !page.contains("a <b>"),
            "text is escaped"
        );
        assert!(page.contains("<svg ") && page.contains("77,777/s") && page.contains("class=\"bad\""));
        for outside in ["http://", "https://", "src="] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<table").count(), page.matches("</table>").count());
        assert_eq!(page.matches("<tr>").count(), page.matches("</tr>").count());
    }
}
