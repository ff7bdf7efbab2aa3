//! Why it is so, and what was measured.
//!
//! Figures are from one virtual machine with two processors (Linux 6.18, sockets over veth unless said). Ratios carry
//! over to other machines, absolutes do not; p50 to p99 mean something there, p99.9 is the timer's tick and the maximum is
//! the host.
//!
//! # Transport
//!
//! | decision | because |
//! |---|---|
//! | MoldUDP64 on the wire, unchanged | any stock receiver can follow the feed; what Seqcast adds (acknowledgements to publishers) are datagrams of its own |
//! | io_uring where the kernel allows it, else plain sockets, and the start-up report says which | containers often forbid io_uring |
//! | io_uring with `DEFER_TASKRUN`, `SINGLE_ISSUER`, multishot receives, provided buffers | default flags cost three times as much: p50 31 µs a round trip against 10.5 |
//! | a lone datagram is received by a plain call when the ring says that something came, and sent by one | through the ring it costs deferred work, a second look at the empty socket and a completion: 1.5 to 1.8 raw round trips; with the ring as a doorbell 1.15 to 1.25 over multicast, 1.39 over unicast. What is left is the doorbell: some cache lines that the sender's core writes and ours reads |
//! | who sends a line has a socket connected to its group | the way is looked up once: `send` instead of `sendto` is 0.16 µs a datagram. Unicast receivers are not connected to: news that one is down would cost the next datagram |
//! | plain sockets on a thread that polls one or two of them | 1.05 to 1.1 raw round trips, for an empty call of 0.34 µs at every poll of every socket; from 4 sockets on a thread the ring wins, and the whole path is faster with it |
//! | receive offload by default | bursts are in the book 10 to 30 % earlier; a lone datagram pays 0.16 µs for control data (`recvmsg` instead of `recvfrom`) |
//! | AF_XDP beside sockets, not instead of them | each endpoint keeps a socket: for joins, and for whatever the bypass cannot carry (fragments, hosts not known yet, long datagrams), so that a driver never does less than the others |
//! | one memory a queue, shared by a process's drivers through sockets of their own; no crate for it | the kernel binds one memory to a queue, and a sequencer has four drivers on threads of their own. The crates that are pure Rust bind one socket to a memory |
//! | the XDP program is bytecode made at run time, about 50 instructions | no C compiler, nothing to ship beside the program; `BPF_PROG_TEST_RUN` tests it frame by frame |
//! | on a veth pair generic mode comes first | native mode there is a thread of the kernel's more: 5.0 µs a round trip against 4.2 |
//! | in generic mode, a frame whose check sum was left to an offload is the kernel's | it came from a socket of this host and may be a whole run of datagrams that were to be split later |
//! | full datagrams, offloaded segmentation, and pacing | one datagram a system call tops out at 0.25 to 0.35 million a second, offload carried 1.2 to 4; unpaced it lost up to half |
//! | no bundles, no incremental provided buffers | they never batch UDP, and truncate datagrams silently |
//!
//! # Memory and threads
//!
//! | decision | because |
//! |---|---|
//! | rings of mapped memory, prefaulted | an append to a prefaulted page costs 4 ns; to one that is not, 127, with stalls of 26 ms |
//! | rings and watermarks, no channels, on the data path | channels collapse when both ends share a core |
//! | one read of the clock a duty cycle, by the runner | a read costs 25 ns |
//! | counters are single-writer words on cache lines of their own, mirrored from plain numbers a few times a second | a shared counter costs a cache line's round trip: 80 to 115 ns one way when cores are near, four times that when they are not |
//! | histograms are swapped between threads, not shared | recording stays a plain store |
//! | an idle strategy that spins by single pauses | one that doubles its pauses, as for a contended lock, looks less and less often at a socket whose next datagram is due |
//! | cores are read back after pinning | the library answers with a bare `false`, and a container's mask decides |
//! | one failing agent stops its process | agents of one process need each other |
//!
//! # Order and durability
//!
//! | decision | because |
//! |---|---|
//! | commit waits for every member of the in-sync set; no majority | f + 1 replicas survive f failures, and any member can take over without merging histories. The price: a member's death stalls commits until it is detected and taken out |
//! | who is in the set is a record changed by compare-and-swap, outside the path of events | no consensus of our own; nothing in the data path waits for it |
//! | publish what is committed, nothing earlier | publishing before the acknowledgements rewrote a published message within six steps of the model |
//! | no leases, no clocks in any safety rule | a stopped process keeps its lease and its lock |
//! | check sums in a chain, CRC-32C | 10 to 15 ns for a short message; finds torn and swapped records, and compares histories. It is no proof against forgery |
//! | a damaged record with whole ones behind it stops the node | cutting there would take back published messages |
//! | syncing is a cold thread's work | 180 µs each, never on a hot thread |
//! | acknowledgements to publishers | what is not committed is sent again after a restart: exactly once, by source, session and number |
//!
//! # Receiving
//!
//! | decision | because |
//! |---|---|
//! | arbitration by message, not by datagram | after a restart datagram boundaries differ |
//! | nothing a single datagram claims is believed if it would cost much | a forged number must not make a receiver request millions of messages or end the session |
//! | one datagram for each request, from allowed networks, within two buckets | the protocol has no room for a cookie, and a sender's address is easily forged |
//! | books say nothing while they are not whole | a wrong book is worse than none |
//!
//! # Code
//!
//! | decision | because |
//! |---|---|
//! | core without I/O | production code runs under simulated networks and clocks |
//! | configuration is plain data; `topology` turns it into agents | the same functions serve one role, all roles in one process, and tests |
//! | errors name key, line and remedy | whoever reads them at night has no time for more |
//! | `unsafe` in four modules only | each block says why it is sound; a test keeps it there |
