//! `seqcast bench`: how fast this is on this host.

mod beside;
mod common;
mod growth;

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use seqcast_engine::config::IoDriver;
use seqcast_engine::limits::MAX_NODES;
use seqcast_engine::time::Nanos;

use super::Verdict;
use crate::bench::echo::{MAX_BYTES, MIN_BYTES};
use crate::bench::{
    self, Between, Book, Burst, Fanout, Flow, Load, Loss, MAX_MESSAGES, MAX_SUBSCRIBERS, Ping, Pipe,
};
use crate::day::DayConfig;
use crate::output::{Output, UsageError};

pub use beside::bench_main;
use common::{Common, Defaults};
use growth::GrowthArgs;

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The round trip of one datagram: our driver, and raw spinning sockets as the floor
    Ping(PingArgs),
    /// Publisher → sequencer → [standbys] → subscriber → book, by stage
    Pipe(PipeArgs),
    /// How often and how long the host takes the core away from a spinning thread
    Host,
    /// What a message costs in our rings
    Ring,
    /// What a message costs in the order books, over a generated day
    Book(BookArgs),
    /// Many messages at once: the time until the last is in the book
    Burst(BurstArgs),
    /// Latency at a fixed rate while the subscriber loses datagrams
    Loss(LossArgs),
    /// The highest rate that is sustained without loss, by search
    Load(LoadArgs),
    /// One feed, many subscribers on this host
    Fanout(FanoutArgs),
    /// Cost of a message as rate, symbols, orders, sources, subscribers or the journal grow, and what bends first
    Growth(GrowthArgs),
    /// Two results, figure by figure: how many times B is A
    Compare(CompareArgs),
}

#[derive(clap::Args)]
struct PingArgs {
    /// Pings a second
    #[arg(long, default_value = "10000")]
    rate: NonZeroU64,
    /// Length of the datagram (UDP payload)
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// Drivers to measure
    #[arg(long, value_enum, value_delimiter = ',', default_value = "auto")]
    driver: Vec<DriverArg>,
}

#[derive(clap::Args)]
struct PipeArgs {
    /// Messages a second; several are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "20000", value_name = "RATE,…")]
    rate: Vec<NonZeroU64>,
    /// Standbys that every commit waits for; several are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "N,…")]
    standbys: Vec<usize>,
    /// What is between the sequencer and its standbys: `loopback`; `veth`, a wire between two network namespaces, as root;
    /// `xdp`, the same with the stream between them over AF_XDP
    #[arg(long, default_value = "loopback", value_name = "WHAT")]
    between: Between,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(clap::Args)]
struct BookArgs {
    /// Messages of the day; about 70 bytes of memory each
    #[arg(long, short = 'n', default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..=MAX_MESSAGES))]
    messages: u64,
    /// Stocks
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u16).range(1..))]
    symbols: u16,
    /// Seed of the order flow
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct CompareArgs {
    /// A result: JSON that --out or --json made
    a: PathBuf,
    /// Another one
    b: PathBuf,
    /// Exit with 1 if a figure of B is for sure more than this many times as bad as in A
    #[arg(long, value_name = "TIMES")]
    limit: Option<f64>,
}

#[derive(clap::Args)]
struct BurstArgs {
    /// Messages of a burst; several are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "64,256,1024,4096", value_name = "N,…")]
    size: Vec<NonZeroU64>,
    /// Milliseconds from one burst to the next
    #[arg(long, default_value_t = 20, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    every: u64,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(clap::Args)]
struct LossArgs {
    /// Messages a second
    #[arg(long, default_value = "20000")]
    rate: NonZeroU64,
    /// Part of the datagrams that is lost, on each line for itself; several are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "0,0.001,0.01", value_name = "PART,…")]
    loss: Vec<f64>,
    /// Lines; several numbers are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_name = "N,…", value_parser = clap::value_parser!(u8).range(1..=4))]
    lines: Vec<u8>,
    /// Stocks
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    symbols: u16,
    /// Seed of the order flow and of the losses
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(clap::Args)]
struct LoadArgs {
    /// Messages a second to begin with
    #[arg(long, default_value = "50000", value_name = "RATE")]
    from: NonZeroU64,
    /// Most messages a second to try
    #[arg(long, default_value = "2000000", value_name = "RATE")]
    to: NonZeroU64,
    /// Milliseconds that the last message may be late
    #[arg(long, default_value_t = 20, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    backlog: u64,
    /// Standbys that every commit waits for; several are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "N,…")]
    standbys: Vec<usize>,
    #[command(flatten)]
    flow: FlowArgs,
}

#[derive(clap::Args)]
struct FanoutArgs {
    /// Messages a second
    #[arg(long, default_value = "1000")]
    rate: NonZeroU64,
    /// Subscribers; several numbers are measured in turn
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64", value_name = "N,…")]
    subscribers: Vec<usize>,
    #[command(flatten)]
    flow: FlowArgs,
}

/// What flows.
#[derive(clap::Args)]
struct FlowArgs {
    /// Stocks
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    symbols: u16,
    /// Lines of every feed
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=4))]
    lines: u8,
    /// Seed of the order flow and of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DriverArg {
    /// io_uring where the kernel allows it, else plain sockets
    Auto,
    /// io_uring
    Uring,
    /// Plain sockets
    Udp,
}

impl From<DriverArg> for IoDriver {
    fn from(driver: DriverArg) -> IoDriver {
        match driver {
            DriverArg::Auto => IoDriver::Auto,
            DriverArg::Uring => IoDriver::Uring,
            DriverArg::Udp => IoDriver::Udp,
        }
    }
}

pub(crate) fn run(args: &Args, output: Output) -> anyhow::Result<Verdict> {
    let defaults = match &args.what {
        What::Growth(growth) => growth.defaults(),
        _ => Defaults::USUAL,
    };
    let session = args.common.session(defaults)?;
    let report = match &args.what {
        What::Ping(ping) => bench::ping(&session, &ping.checked()?),
        What::Pipe(pipe) => bench::pipe(&session, &pipe.checked()?),
        What::Host => bench::host(&session),
        What::Ring => bench::ring(&session),
        What::Book(book) => bench::book(&session, &book.checked()?),
        What::Burst(burst) => bench::burst(&session, &burst.checked()?),
        What::Loss(loss) => bench::loss(&session, &loss.checked()?),
        What::Load(load) => bench::load(&session, &load.checked()?),
        What::Fanout(fanout) => bench::fanout(&session, &fanout.checked()?),
        What::Growth(growth) => bench::growth(&session, &growth.checked()?),
        What::Compare(two) => return two.run(output),
    }?;
    args.common.finish(&report, output)
}

impl PingArgs {
    fn checked(&self) -> Result<Ping, UsageError> {
        if !(MIN_BYTES..=MAX_BYTES).contains(&self.bytes) {
            let bytes = self.bytes;
            return Err(UsageError(format!("--bytes is {bytes}, and must be {MIN_BYTES} to {MAX_BYTES}")));
        }
        let drivers = distinct(&self.driver).into_iter().map(IoDriver::from).collect();
        Ok(Ping { rate: self.rate, bytes: self.bytes, drivers })
    }
}

/// Numbers of standbys that a cluster can have.
fn standbys(asked: &[usize]) -> Result<Vec<usize>, UsageError> {
    const MOST: usize = MAX_NODES - 1;
    match asked.iter().find(|standbys| **standbys > MOST) {
        Some(many) => Err(UsageError(format!("--standbys names {many}; a cluster has at most {MOST}"))),
        None => Ok(distinct(asked)),
    }
}

impl BookArgs {
    fn checked(&self) -> Result<Book, UsageError> {
        let BookArgs { messages, symbols, seed } = *self;
        let needed = DayConfig::min_messages(symbols);
        if messages < needed {
            return Err(UsageError(format!(
                "--messages is {messages}, and {symbols} stocks need a day of at least {needed}: give more, or fewer --symbols"
            )));
        }
        Ok(Book { messages, symbols, seed })
    }
}

impl CompareArgs {
    fn run(&self, output: Output) -> anyhow::Result<Verdict> {
        if let Some(limit) = self.limit.filter(|limit| !(limit.is_finite() && *limit >= 1.0)) {
            return Err(UsageError(format!(
                "--limit is {limit}, and must be at least 1 (1.1: a tenth worse)"
            ))
            .into());
        }
        let found = bench::compare(&bench::read(&self.a)?, &bench::read(&self.b)?, self.limit)?;
        output.print(&found, |data| found.write_text(data))?;
        Ok(if found.is_good() { Verdict::Good } else { Verdict::Bad })
    }
}

impl BurstArgs {
    fn checked(&self) -> Result<Burst, UsageError> {
        let most = MAX_MESSAGES;
        if let Some(size) = self.size.iter().find(|size| size.get() > most) {
            return Err(UsageError(format!("--size names {size}; a run has at most {most} messages")));
        }
        let every = Nanos::from_millis(self.every);
        Ok(Burst { sizes: distinct(&self.size), every, flow: (&self.flow).into() })
    }
}

impl LossArgs {
    fn checked(&self) -> Result<Loss, UsageError> {
        if let Some(part) = self.loss.iter().find(|part| !(0.0..0.9).contains(*part)) {
            let text = format!(
                "--loss names {part}, and must be a part from 0 to less than 0.9 (0.01: one in a hundred)"
            );
            return Err(UsageError(text));
        }
        let lines = distinct(&self.lines).into_iter().map(usize::from).collect();
        let flow = Flow { symbols: self.symbols, lines: 1, seed: self.seed };
        Ok(Loss { rate: self.rate, losses: distinct(&self.loss), lines, flow })
    }
}

impl LoadArgs {
    fn checked(&self) -> Result<Load, UsageError> {
        let (from, to) = (self.from, self.to);
        if from > to {
            return Err(UsageError(format!(
                "--from {from} is more than --to {to}: there is nothing to search"
            )));
        }
        let backlog = Nanos::from_millis(self.backlog);
        Ok(Load { from, to, backlog, standbys: standbys(&self.standbys)?, flow: (&self.flow).into() })
    }
}

impl FanoutArgs {
    fn checked(&self) -> Result<Fanout, UsageError> {
        if let Some(count) = self.subscribers.iter().find(|count| !(1..=MAX_SUBSCRIBERS).contains(*count)) {
            let text = format!("--subscribers names {count}, and must be 1 to {MAX_SUBSCRIBERS}");
            return Err(UsageError(text));
        }
        Ok(Fanout { rate: self.rate, subscribers: distinct(&self.subscribers), flow: (&self.flow).into() })
    }
}

impl PipeArgs {
    fn checked(&self) -> Result<Pipe, UsageError> {
        let (rates, standbys) = (distinct(&self.rate), standbys(&self.standbys)?);
        Ok(Pipe { rates, standbys, between: self.between, flow: (&self.flow).into() })
    }
}

impl From<&FlowArgs> for Flow {
    fn from(flow: &FlowArgs) -> Flow {
        let FlowArgs { symbols, lines, seed } = *flow;
        Flow { symbols, lines: lines.into(), seed }
    }
}

/// `values` without those that were there before, in their order.
fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut distinct = Vec::new();
    for value in values {
        if !distinct.contains(value) {
            distinct.push(*value);
        }
    }
    distinct
}
