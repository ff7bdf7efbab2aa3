//! What a feed is, which roles there are, and where things stand in the sources.
//!
//! # One idea: everything is a feed
//!
//! A **feed** is an append-only sequence of messages, numbered from 1 within a **session**. On the wire a feed is
//! MoldUDP64; on disk it is a [journal](crate::journal); in memory it is a [ring](crate::ring). Every role eats feeds and
//! makes feeds:
//!
//! | role | eats | makes |
//! |---|---|---|
//! | publisher | an application's messages, a file, a capture | its own feed, and answers to requests for gaps in it |
//! | sequencer | the feeds of its publishers, gaps filled | one feed in total order, from the committed part of its journal |
//! | subscriber | the lines of a feed, retransmissions, perhaps a snapshot | order books, and events for an application |
//!
//! So there is one receive path, [`feed`](crate::feed), for subscribers and for the sequencer's sources, and one send
//! path, [`downstream`](crate::downstream), for publishers and for the sequencer. To everything but
//! [`book`](crate::book) a message is opaque bytes. ITCH 5.0 is the payload that books understand.
//!
//! # Words
//!
//! | word | means |
//! |---|---|
//! | session | the ten bytes that name one run of a feed; numbers begin anew with it |
//! | sequence number | number of a message in its session, from 1 |
//! | source | a publisher's feed as the sequencer sees it |
//! | line | one redundant copy of a feed: group, port, interface |
//! | datagram, message, frame | a UDP payload; one item of a feed; a record of the journal |
//! | arbitration | the first copy of a message wins, over all lines |
//! | gap | a range of numbers that no line brought |
//! | rewind | sending messages again on request, from a history or a journal |
//! | image, snapshot | the state of the books at a number; the act of sending it |
//! | epoch | generation of leadership; every frame carries that of the primary that numbered it |
//! | in-sync set | the members whose acknowledgement a commit waits for |
//! | watermark | the number below which everything is appended, durable, committed, published |
//! | agent, duty cycle, runner | a role's work; one turn of it; the thread that gives it turns |
//!
//! # The sources
//!
//! ```text
//! wire/      formats: MoldUDP64, SoupBinTCP, GLIMPSE, ITCH 5.0, BinaryFILE, Ethernet to UDP. No std, no unsafe.
//! engine/    this crate
//!   limits, time, frame               bounds, a number of nanoseconds, the record that is ordered
//!   mem, sync, ring                   mapped memory, watermarks, rings; with io/uring and io/xdp the only unsafe code
//!   feed, downstream, rewind,         CORE: state machines without I/O
//!   session, journal, sequencer, book
//!   io                                drivers: io_uring, AF_XDP, plain sockets, captures, faults
//!   runtime, stat, config             threads, counters, configuration
//!   agents, topology                  what joins them
//! tools/     the `seqcast` program
//! ```
//!
//! **Core** modules take their inputs and the time as arguments and return what is to be done. They read no clock, know
//! no socket, take no lock, start no thread, hash nothing at random, and do not import one another. **Drivers** know
//! datagrams and memory, never sequence numbers. Only **agents** know both. A test, `engine/tests/directions.rs`, holds
//! this as a table and enforces it, as well as where `unsafe` may stand and how long files may grow.
//!
//! The reason is not purity. The same state machines run in production, under the tests' simulated networks, and in an
//! application's own loop, and a lost datagram is one line in a test. What costs time is not the seam (a call through
//! `dyn` is 3.5 ns) but copies, allocations and reads of a clock (20 to 25 ns): so a runner reads the clock once per
//! [duty cycle](crate::runtime), receive buffers are lent to closures, and datagrams are packed straight into the
//! driver's memory.
