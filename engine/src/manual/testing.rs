//! How it is tested, and how to run that.
//!
//! ```sh
//! cargo test --workspace                                                       # everything but the next two
//! RUSTFLAGS="--cfg loom" cargo test -p seqcast-engine --release --test loom_ring   # every interleaving of the rings
//! cd wire && cargo fuzz run -s none mold                                       # see wire/fuzz/README.md
//! ```
//!
//! No test decides by the time that something took. Core logic gets its time as an argument, threads are joined rather
//! than waited for, and what must arrive over real sockets is polled for within a bound that only a hang reaches. Tests
//! that need what a machine may not have (io_uring, tshark, captures of real feeds) print `skipped: …` and pass.
//!
//! | what | how | where |
//! |---|---|---|
//! | formats | golden bytes that other implementations accepted; every ITCH field against the specification's table; properties (what is written is read again; no bytes make a parser panic); a fuzzing corpus replayed in every run; captures of real feeds | `wire/tests`, `wire/fuzz` |
//! | failover | a model, explored exhaustively within small bounds, that drives the real rules; whole worlds in a simulator, from seeds; each rule broken on purpose must be found by both; whole clusters of processes fed with bad records, names, backups and datagrams | `engine/tests/model`, `engine/tests/sim.rs`, `tools/tests/bad_cluster.rs` |
//! | rings | models under loom, which runs every interleaving and every value a load may see | `engine/tests/loom_ring.rs` |
//! | feed, send path, rewind server | scenarios with one right outcome; forgers; a world of lossy, reordering, duplicating lines and servers in simulated time, from seeds | `engine/tests/feed` |
//! | journal | processes that are killed, directories that are taken, disks that are full, bytes that are bad, against real files; losses of power against a store in memory that forgets what was not synced | `engine/tests/journal_files.rs`, `engine/src/journal` |
//! | books | against the simplest books there can be, over generated days | `tools/tests/day.rs` |
//! | drivers | one contract over every driver and wrapper on the loopback interface; captures that tshark accepts | `engine/tests/io_conformance.rs`, `engine/tests/io_capture.rs` |
//! | AF_XDP | the same contract between two network namespaces, in native and generic mode; the program against crafted frames, run by the kernel (`BPF_PROG_TEST_RUN`); ping, TCP, fragments and other ports beside it; a killed process; a feed end to end. Takes root | `engine/tests/io_xdp.rs`, `engine/src/io/xdp/program.rs`, `tools/tests/xdp.rs` |
//! | no allocation after start | publisher, sequencer and subscriber on one thread whose allocations are counted, while time runs twenty times as fast | `tools/tests/allocations.rs` |
//! | runners, counters, configuration | fake agents with scripts; a second mapping as the other process; every message of a refused configuration, by key, line and remedy; random edits of the default file | at the end of each file |
//! | host tuning, doctor | a made-up kernel that clamps and refuses, and a death after any step: undo after apply is nothing; trees of files; feeds that do not come on loopback and between network namespaces, for each reason | `tools/src/tune`, `tools/tests/tune.rs`, `tools/tests/doctor.rs` |
//! | the architecture | who imports whom, where `unsafe` stands, how long files are, from the compiler's tokens, with planted violations | `engine/tests/directions.rs` |
//!
//! # Writing tests
//!
//! - Drive agents by hand: an [`Invoker`](crate::runtime::Invoker) gives an agent its duty cycles with a `now` of your
//!   choosing, and [`Node::take_hot`](crate::topology::Node::take_hot) makes one agent of a process.
//! - Make losses with [`io::fault`](crate::io::fault) around a driver: seeded, so that a failure happens again. Keep what
//!   passed with [`io::tap`](crate::io::tap), which writes a capture for Wireshark.
//! - Unit tests stand at the end of their file; what needs several modules goes to `engine/tests`. Random inputs come from
//!   proptest; keep the seed of a failure as a test of its own.
