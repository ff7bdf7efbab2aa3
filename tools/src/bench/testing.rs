//! Reports for tests.

use super::fingerprint::Fingerprint;
use super::report::{HostReport, Report, SCHEMA, Variant};

pub(super) fn report(variants: Vec<Variant>) -> Report {
    Report {
        schema: SCHEMA,
        bench: "pipe".into(),
        what: "made up".into(),
        fingerprint: Fingerprint::take(),
        parameters: [("rate".to_owned(), "20,000/s".to_owned())].into(),
        repeats: variants.first().map_or(0, |variant| variant.figures.first().map_or(0, |f| f.values.len())),
        host: HostReport::default(),
        variants,
        ratios: Vec::new(),
        curves: Vec::new(),
        layout: Default::default(),
        is_complete: true,
        notices: Vec::new(),
        not_measured: Vec::new(),
    }
}
