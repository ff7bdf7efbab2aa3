//! Talking: data to standard output, everything else to standard error, and neither ever panics.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

/// How data is to be printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of text.
    pub(crate) json: bool,
}

impl Output {
    /// Prints `value` as one JSON document, or what `text` writes.
    pub(crate) fn print(
        self,
        value: &impl Serialize,
        text: impl FnOnce(&mut Data) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut data = Data::new();
        if self.json {
            data.json_line(value)?
        } else {
            text(&mut data)?
        }
        data.flush()?;
        Ok(())
    }
}

/// Standard output, buffered. Once its reader is gone, writing fails with an error that ends the program quietly.
#[derive(Debug)]
pub(crate) struct Data(BufWriter<Stdout>);

impl Data {
    pub(crate) fn new() -> Data {
        Data(BufWriter::with_capacity(1 << 16, io::stdout()))
    }

    /// Writes `value` as JSON on a line of its own.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut *self, value)?;
        self.write_all(b"\n")
    }
}

impl Write for Data {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(told)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(told)
    }
}

fn told(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::BrokenPipe { io::Error::new(error.kind(), StdoutClosed) } else { error }
}

/// Whoever read standard output has stopped: no failure, and nothing more to say.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct StdoutClosed;

impl StdoutClosed {
    pub(crate) fn caused(error: &anyhow::Error) -> bool {
        error.chain().any(|cause| {
            let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            cause.is::<StdoutClosed>() || inner.is_some_and(|inner| inner.is::<StdoutClosed>())
        })
    }
}

/// Arguments that cannot mean anything together, found out after parsing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// A line on standard error.
pub(crate) fn say(what: impl fmt::Display) {
    // A closed standard error is no reason to end: the data may still be wanted.
    let _ = writeln!(io::stderr(), "seqcast: {what}");
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that suits them.
pub(crate) fn sized(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64 / 1_024.0;
    if value < 1.0 {
        return format!("{bytes} B");
    }
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_threes() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn sizes_have_their_unit() {
        assert_eq!(sized(1_023), "1023 B");
        assert_eq!(sized(1_536), "1.5 KiB");
        assert_eq!(sized(8_251_407_909), "7.7 GiB");
        assert_eq!(sized(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn only_a_closed_stdout_counts_as_one() {
        let closed = anyhow::Error::from(told(io::ErrorKind::BrokenPipe.into())).context("printing");
        assert!(StdoutClosed::caused(&closed));
        assert!(!StdoutClosed::caused(&anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe))));
        let json = serde_json::Error::io(told(io::ErrorKind::BrokenPipe.into()));
        assert!(StdoutClosed::caused(&anyhow::Error::from(io::Error::from(json))));
    }
}
