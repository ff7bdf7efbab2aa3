//! Seqcast beside its rivals: the same messages at the same rate on the same cores, in turn, in one run.
//!
//! The options, the clocks, the reports and the files are those of `seqcast bench`. Aeron takes the feature `aeron`;
//! without it a report says that Aeron was not measured.

#[cfg(feature = "aeron")]
mod aeron;
mod book;
mod flow;
mod hop;
mod load;
mod loss;
mod ours;
mod ping;
mod ring;

use std::process::ExitCode;

use clap::Subcommand;
use seqcast::bench::Report;

#[derive(Subcommand)]
enum What {
    /// The round trip of one datagram: raw spinning sockets, our drivers, Aeron
    Ping(ping::Args),
    /// Order books over a generated day: Seqcast, standard collections, crates that parse ITCH, nautilus-model
    Book(book::Args),
    /// The highest rate of small messages over one hop that is sustained: Seqcast, Aeron
    Load(load::Args),
    /// Latency at a fixed rate while the receiving end loses datagrams: Seqcast on one line and on two, Aeron
    Loss(loss::Args),
    /// What a message costs in a ring: Seqcast, rtrb, disruptor, crossbeam; and from another process
    Ring,
}

fn main() -> ExitCode {
    if let Some(code) = ring::other_process() {
        return code;
    }
    let about = "Seqcast beside its rivals, in the same run";
    seqcast::cli::bench_main("seqcast-rivals", about, |session, what: &What| match what {
        What::Ping(args) => ping::run(session, args),
        What::Book(args) => book::run(session, args),
        What::Load(args) => load::run(session, args),
        What::Loss(args) => loss::run(session, args),
        What::Ring => ring::run(session),
    })
}

/// Length of a message that has room for what is in it.
fn message_bytes(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (flow::MIN_BYTES..=flow::MAX_BYTES).contains(&bytes) => Ok(bytes),
        _ => Err(format!("must be {} to {}", flow::MIN_BYTES, flow::MAX_BYTES)),
    }
}

/// Says that Aeron is missing, where it is.
fn without_aeron(report: &mut Report) {
    if cfg!(not(feature = "aeron")) {
        report.notice("Aeron was not measured: build with --features aeron (see benches/rivals/install)");
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, Subcommand};

    use super::What;

    #[test]
    fn the_command_line_is_consistent() {
        What::augment_subcommands(Command::new("seqcast-rivals")).debug_assert();
    }
}
