//! Seqcast beside its rivals: the same messages at the same rate on the same cores, in turn, in one run.
//!
//! The options, the clocks, the reports and the files are those of `seqcast bench`. Aeron takes the feature `aeron`;
//! without it a report says that Aeron was not measured.

mod ping;

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Subcommand)]
enum What {
    /// The round trip of one datagram: raw spinning sockets, our drivers, Aeron
    Ping(ping::Args),
}

fn main() -> ExitCode {
    let about = "Seqcast beside its rivals, in the same run";
    seqcast::cli::bench_main("seqcast-rivals", about, |session, what: &What| match what {
        What::Ping(args) => ping::run(session, args),
    })
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
