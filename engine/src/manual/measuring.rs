//! Measuring it on your own hosts, and reading what comes out.
//!
//! ```sh
//! cargo build --release
//! seqcast bench host                                   # is this host fit for it?
//! seqcast bench ping                                   # round trip of a datagram: driver against raw sockets
//! seqcast bench pipe --standbys 0,1,2 --out before     # the whole path by stage, and what safety costs
//! seqcast bench compare before/pipe.json after/pipe.json --limit 1.1
//! ```
//!
//! | benchmark | measures | by default |
//! |---|---|---|
//! | `host` | gaps between two readings of the clock by a thread that only spins: how often and how long the core is gone | one thread, and one on each core |
//! | `ping` | round trip of a datagram between two threads, unicast and multicast, over each driver and over raw spinning sockets | 10,000 a second, 64 bytes |
//! | `pipe` | publisher → sequencer → \[standbys\] → subscriber → book, by stage, and a raw round trip beside it | 20,000 messages a second, no standby |
//! | `burst` | many messages due at once, until the last is in the book | 64, 256, 1,024, 4,096 |
//! | `loss` | the path while the subscriber loses datagrams, over one and more lines | 0, 0.1 and 1 %; 1 and 2 lines; 20,000 a second |
//! | `load` | the highest rate at which everything arrives and nothing piles up, by doubling and halving | 50,000 to 2 million a second |
//! | `fanout` | one feed, many subscribers on this host | 1 to 64, 1,000 a second |
//! | `growth` | a message's cost as the rate, symbols, live orders, sources, subscribers or the journal grow, and what bends first | see [below](#growth-curves) |
//! | `ring` | a message's cost in the rings, crossbeam's queue as a yardstick; round trip through two rings | 64 bytes |
//! | `book` | a message's cost in the order books over a generated day, references growing and random | 2 million messages |
//! | `compare` | two results, figure by figure | |
//!
//! # How it is measured
//!
//! - **The agents, drivers and rings are those of production**, put together by [`topology`](crate::topology): a benchmark
//!   adds a load, a clock at each stage ([`trace`](crate::agents::trace)) and an application that looks at its book.
//!   Standbys are nodes of a cluster with journals and a coordinator (in files) of their own, and every commit waits for
//!   all of them. What differs from the defaults: rings of 8 MiB, and timeouts of five seconds before a silent node is
//!   suspected, since this is no failover drill. `--set` changes any key.
//! - **Open loop.** Message *n* is due at start + *n* / rate. Latency counts from then, whether the sender was ready or
//!   not: a stall of 10 ms at 20,000 a second shows in 200 messages, as it would to users, and not in one (coordinated
//!   omission). Messages are made beforehand. Only `ring` measures round trips in a closed loop.
//! - **In turn.** All variants of a run are measured one after the other, then again, `--repeat` times, each time another
//!   one first. A figure is the median of its repeats; what stands in brackets is where 95 % of such medians would be
//!   (bootstrap over the repeats). Ratios are taken within each turn: the host's mood is in both figures.
//! - **Threads.** Agents share as many threads as there are cores, or as `--cores` names, and each thread spins unless
//!   `--idle` says otherwise: with two, publisher and sequencer have one, standbys and subscriber the other, so that no
//!   acknowledgement is free of a crossing between cores. The report says who had which. `--cores` also pins.
//! - **Everything is accounted for.** Sent and received must agree, and the set of standbys must be the same at the end:
//!   otherwise the report says so, and the exit code is 1.
//!
//! # Growth curves
//!
//! ```sh
//! seqcast bench growth --out growth                    # all six curves: about five minutes
//! seqcast bench growth --quick                         # half a minute: fewer and smaller points
//! seqcast bench growth --curve symbols,orders          # some of them
//! seqcast bench growth --curve orders --orders 1000,1000000,20000000 --repeat 9
//! ```
//!
//! | curve | grows | stands still | costs |
//! |---|---|---|---|
//! | `rate` | messages a second, 1,000 to 1,600,000 | one source, one subscriber, two lines | latency from due to in the book; busy time of publisher, sequencer, subscriber |
//! | `symbols` | 10 to 65,535 stocks | 250,000 live orders | a message in the books |
//! | `orders` | 10³ to 10⁷ live orders | 1,000 stocks | a message in the books |
//! | `sources` | 1 to 64 publishers | 20,000 messages a second of all together | as `rate` |
//! | `subscribers` | 1 to 64 | 1,000 messages a second | as `rate`; a subscriber's busy time is that of one |
//! | `journal` | 10⁵ to 3 · 10⁷ messages in it | segments as configured | appending one more; the answer to a request at a random place, over loopback; opening, in which every frame is checked |
//!
//! One feed of ITCH has at most 65,535 stocks: a stock locate has 16 bits, and number 0 is nobody's. Whoever has 100,000
//! symbols has two feeds.
//!
//! - *Busy time* is that of the duty cycles that found something to do, by message sent: a thread that spins is always busy.
//!   It holds what the kernel does on that thread, such as copying a datagram to every subscriber of this host.
//! - Books are filled, and then additions and deletions are in balance, with the mix of a trading day. One flow is about any
//!   live order of any stock alike, which no cache likes; in the other, stocks by their rank and orders by their age come a
//!   tenth as often when they are ten times as far behind, as in a market. What is measured is the time that the thread ran.
//! - All points of all curves are measured in turn, as everything is. A point for which memory or disk is short is left out,
//!   and the report says so. Journals are in `--dir` while it runs: about 100 bytes for each message of each point.
//! - A cost **bends** at the first point from which on it is more than 1.5 times the smallest at any point before, repeat by
//!   repeat: what falls with growth, as the cost of a message does when datagrams are fuller, has not bent, nor has what
//!   sticks out at one point and is back at the next. *Perhaps* marks a bend that the repeats do not show for sure. *What
//!   bends first* orders all costs by how much of their range lies before the bend, in powers of ten, so that 8 of 64
//!   sources and 1,000 of 10⁶ orders are alike. 99th percentiles are shown and not ranked: they are the host's as often as
//!   ours. Beside a bend stands what the engine's own counters say of it: the stage that grew, how busy everybody was,
//!   datagrams dropped, back-pressure, the cache that was outgrown.
//!
//! # Rivals
//!
//! `benches/rivals` measures others in the same run, in turn, by the same hands: clock, schedule, threads, reports. It is a
//! workspace of its own, so that nobody needs a C compiler to build Seqcast. `benches/rivals/run` installs what Aeron's C
//! driver is built with (`benches/rivals/install`, on Debian), builds and runs; without the feature `aeron` the package is
//! pure Rust, and its reports say that Aeron is missing.
//!
//! | benchmark | measures |
//! |---|---|
//! | `ping` | round trip of a datagram: raw sockets, our drivers, Aeron; unicast and multicast |
//! | `load` | highest rate of short messages over one hop of multicast at which all arrive and the last is no more than 10 ms late |
//! | `loss` | latency at a fixed rate over one hop while the receiver loses datagrams; with `--burst 1`, what becomes of a last message |
//! | `ring` | a message between two threads: crates `rtrb`, `disruptor` (one and three readers), crossbeam's queue; our ring tapped from a second process |
//! | `book` | a day of messages: parsing by `itch5` and `itchy`, books in the standard collections and (feature `nautilus`) by `nautilus-model` |
//!
//! One hop of Seqcast is a publisher with its history and rewind server, a subscriber with its recovery and its ring, and a
//! reader of that; one of Aeron is an exclusive publication and a subscription. Two pinned threads in both cases: Aeron's
//! each have an embedded driver in invoker mode and no sparse term buffers. Each side loses by its own injector, repairs and
//! heartbeats too. Nobody sequences, journals or keeps books here: `pipe` measures that.
//!
//! # How to read it
//!
//! The header tells kernel, processor, isolation, clock, load and build. For a second before and after, threads that only
//! spin measure the host alone. From their gaps follows how late a message at any time would be seen *though nothing of
//! ours was slow*, by percentile. A figure that is no longer than that is marked `!!`: it says nothing about Seqcast. One
//! of which the host may be half is marked `!`. On a virtual machine without isolated cores that is the rule from p99 on.
//!
//! - *cost of safety / raw round trip*: how much later a message is in the book with standbys than without, in round trips
//!   of a raw unicast datagram of 64 bytes between the same two threads. An acknowledgement takes at least one. With
//!   `--between veth` (as root) the standbys are in a network namespace of their own, behind a veth pair, which raw datagrams
//!   cross too; `--between xdp` is the same with the stream over AF_XDP (`cluster.driver = "xdp"`).
//! - *whole path / raw round trip*, *raw multicast round trip*: the path has two hops, as a round trip has. Its hops are
//!   multicast, which costs a kernel more than unicast.
//! - Stages count from one to the next, each with percentiles of its own: those do not add up.
//! - `!!` and intervals that hold 1 are what they are. Compare by `bench compare`, which says *better*, *worse* or *no
//!   difference shown*; with `--limit 1.1` its exit code is 1 when something is for sure more than a tenth worse.
//!
//! `--out DIR` leaves the report as JSON (all repeats of all figures), as a page with percentile plots that needs nothing
//! else, and all histograms: `.hgrm`, the percentile distribution in µs, and `.hlog`, an interval log with one interval a
//! repeat, tagged by variant and stage, in ns. HdrHistogram's own tools read both.
//!
//! # What is not measured
//!
//! Network cards, cables and switches: everything is on the loopback interface of one host, whose kernel copies multicast
//! for every subscriber on the sender's core. Nodes on hosts of their own, which would not share caches and cores. Losses
//! that come in a row, or before the sequencer. Applications behind the book. `durability = "disk"`, unless `--set
//! sequencer.durability=disk` asks for it; then `--dir` chooses the disk.
