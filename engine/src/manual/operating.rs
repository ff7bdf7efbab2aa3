//! Configuring, watching and stopping it.
//!
//! # Configuration
//!
//! One TOML file describes all roles; a process reads the sections of its role.
//! [`Config::default_toml`](crate::config::Config::default_toml) is that file with every key, its default and a comment.
//! Without a file, everything runs on the loopback interface of one machine.
//!
//! - Sections that say who and where (`feed`, `sequencer`, `journal`, `publisher`, `rewind`, `snapshot`) are absent
//!   unless written: a typing error never makes a process listen somewhere by default.
//! - Durations, sizes and rates are strings with a unit: `"250us"`, `"64MiB"`, `"1Gbit/s"`.
//! - Single keys can be overridden: `feed.session=ABC`, `feed.line[1].group=239.1.2.3:5000`.
//! - A mistake names the key, the line and the remedy; all mistakes that concern several keys are told at once.
//!
//! What must agree between processes: the feed's `session` and lines; a source's lines and its publisher's; each
//! `rewind_servers` and the `bind` (or `rewind_bind`) it means; `io.max_datagram_bytes` at receivers and
//! `send.datagram_bytes` at senders.
//!
//! # Network
//!
//! - Put the lines of a feed on separate networks; `interface` says which. The same message is sent on all.
//! - Receive buffers: the kernel grants no more than `net.core.rmem_max`. What it drops for want of room is counted
//!   (`kernel_dropped_datagrams`), not silent.
//! - Pace (`send.pace`) to the slowest receiver: segmentation offload without pacing can lose half of what it sends.
//! - A request of 20 bytes is answered by one datagram, up to 74 times as large, and its sender may be forged: `allow`
//!   names the networks that are answered, token buckets bound what each address and all together can be made to receive.
//! - MoldUDP64 has no authentication, and SoupBinTCP sends its password in clear. Use networks that you trust.
//!
//! # Which driver
//!
//! - `io.driver = "auto"` takes io_uring where it is allowed. An idle poll of it costs no call into the kernel, however many
//!   sockets a thread has: right for sequencers, standbys, and whatever shares a core.
//! - `io.driver = "udp"` asks every socket at every poll. On a core of its own, a subscriber of one or two lines sees a lone
//!   datagram soonest with it.
//! - `io.gro = false` spares each lone datagram about 0.16 µs, and costs bursts up to a third of their time.
//! - `io.keep_warm = "1ms"` is for threads that spin and seldom send, such as a subscriber that asks for gaps: a send after
//!   5 ms of silence took 10 to 40 µs, and with it 4 to 5; of gaps 25 ms apart, the slowest hundredth was filled in little
//!   more than half the time. It sends to itself over the loopback interface, which takes about 0.5 % of the thread's time
//!   and shows in that interface's counters. What goes past the kernel gains nothing by it.
//! - `io.driver = "xdp"` goes past the kernel, and takes about half the round trip; what it needs, and what is different with
//!   it, the next section says.
//!
//! # Past the kernel
//!
//! `io.driver = "xdp"` (Linux 5.9 or newer, built with the feature `xdp`, as `seqcast` is by default) moves datagrams between
//! the interface and our memory without the kernel's network stack. It needs `CAP_NET_ADMIN`, `CAP_NET_RAW`, `CAP_BPF` and
//! `CAP_IPC_LOCK`. A small program on the interface picks our endpoints' datagrams out; ARP, other ports and protocols,
//! fragments and everything in doubt still reach the kernel. It is gone when the process is, also after `kill -9`.
//!
//! - The interface is that of the line's `interface`, of a unicast line's or an endpoint's own address. What cannot be
//!   bypassed (loopback, an interface with another XDP program, a process without the privileges) is served by sockets, and
//!   a warning says why. `bypass_received_datagrams` beside `received_datagrams`, and the same for sent, tell how much
//!   took the short way.
//! - One process to an interface: all agents of a process share it (up to 8), a second process does with sockets, and does
//!   not hear the lines that the first has taken. Nor does this host hear what it sends itself. Put a sequencer and
//!   a local subscriber on different interfaces, or let one of them use sockets on a line that the other has not joined.
//! - Groups are joined by a plain socket beside the bypass, so that IGMP and switches know. Senders find hosts by the kernel's
//!   routes and neighbour table: the first datagrams to a host go by the kernel, which asks for its address.
//! - Datagrams longer than the interface's MTU go by the kernel, in fragments: keep `send.datagram_bytes` below it.
//! - `io.receive_buffers` is all that may wait: no socket buffer stands behind. Drops are counted
//!   (`kernel_dropped_datagrams`); what is malformed or has a wrong check sum is, too (`malformed_frames`).
//! - Receive queues: every queue (up to 32) has its sockets and its memory (eight times `receive_buffers`, at least 1,024,
//!   of 2 KiB, locked), and every poll asks each. `ethtool -L <interface> combined 1` makes it one;
//!   `ethtool -N <interface> flow-type udp4 dst-ip <group> action <queue>` puts a line where one wants it.
//! - The stream between the nodes of a cluster may have a driver of its own, `cluster.driver`: an interface that only
//!   that stream uses is the easiest to bypass, and a commit waits for a round trip over it.
//! - Native mode, and zero copy where the interface can, come by themselves; `[io.xdp]` forbids them.
//!
//! # Threads and cores
//!
//! `[runtime]` says what threads do when there is nothing to do. `backoff` suits shared machines: no loss of latency while
//! a feed is busy, a millisecond at most after a pause. `spin` is for threads with a core of their own, given by
//! `[[runtime.thread]]`; two spinning threads on one core are refused. What came of pinning is read back from the kernel
//! and reported: a container may not allow the core that was asked for.
//!
//! A thread that was away longer than `runtime.stall_threshold` between two duty cycles is counted as stalled. On a
//! virtual machine that will happen: its host takes the processor away for milliseconds.
//!
//! # The host
//!
//! `seqcast tune check` compares a host with a profile: `shared-vm`, `bare-metal`, `bench`, or a file of your own. Each knob
//! has what is wanted, what is there, why, at which risk and by which command. `plan` prints what `apply` would do; `apply`
//! changes only what can be changed while the host runs, asks before, and remembers each old value before it writes the
//! new one; `undo` puts them back in reverse, and leaves alone what somebody else has changed since. `tuning/README.md` says
//! how to write a profile.
//!
//! `seqcast doctor` holds a configuration against the host: are the addresses here and their interfaces up, can the lines be
//! joined, are the ports free, the cores there and isolated, is io_uring allowed, which buffers are granted, has the journal
//! a local disk with room, who keeps the time. `--role` names what this host does where the file describes several.
//!
//! `seqcast doctor --feed` answers "why do I see no data". It listens to the lines and follows a datagram's way:
//!
//! | step | asks |
//! |---|---|
//! | `interface`, `join`, `querier` | is the interface up, is the group joined, does somebody ask for members? |
//! | `nic`, `nic-lost`, `port`, `group`, `fragments`, `source` | does it come in (a packet socket; root)? to another port or group? in pieces? from somebody else? |
//! | `rp-filter`, `firewall`, `checksum` | it came in and did not reach the socket: what stopped it? |
//! | `socket`, `buffer`, `overflow` | does it reach the socket; how large is the buffer; whose buffer overflows? |
//! | `format`, `session`, `data`, `ended`, `holes` | is it MoldUDP64, the right session, more than heartbeats, whole? |
//! | `rewind` | does each rewind server answer for the last message that was heard? |
//! | `stuck`, `progress` | does a running subscriber (by its counters) wait in a gap? |
//!
//! Each finding has a remedy. Only what does not work makes exit code 1; warnings do not.
//!
//! # As a service
//!
//! `tuning/systemd` has units. A process that finds `NOTIFY_SOCKET` tells its service manager when its threads run
//! (`READY=1`) and when it stops, and with `WATCHDOG_USEC` that it is alive, four times in that period: only if every
//! thread of the data path has begun a duty cycle since the last time. Threads that may block (the journal's upkeep, control
//! connections) are not watched: a slow disk is no reason to lose what is in memory. `runtime.park_max` must be well below a
//! quarter of the period.
//!
//! # Counters and errors
//!
//! Each process can put its counters into one mapped file (`stat.dir`), where any other process can read them at no
//! cost to the writer, and after a crash: [`CountersReader`](crate::stat::CountersReader). Keep it in a memory file system.
//! The file goes when the process ends in good order. Labels follow the text format of Prometheus:
//! `seqcast_<agent>_<noun>_total` only grows, other last words are gauges. The same file holds the process's distinct
//! errors, each once, with a count and its first and last time.
//!
//! Hot threads write no log: what they count is mirrored into these counters a few times a second. Cold threads log
//! through `tracing`.
//!
//! # The journal
//!
//! A directory of segments of one size, made in advance. One process owns it; others may read it meanwhile. At start it
//! is checked from its first to its last frame. `journal.retain_bytes` deletes the oldest segments, never what is not
//! published yet, never what the snapshot server still has to read, and in a cluster, up to `journal.catch_up_bytes`, nothing
//! that one of its nodes lacks: plan the disk for that. Rewind and snapshots serve what is still there.
//!
//! Do not delete segments by hand, and do not copy a directory in use and run both copies: they would both claim the
//! same numbers.
//!
//! # The coordinator
//!
//! In a cluster (`[cluster]`), one small record says who leads and who is in the in-sync set. It is readable text, changes
//! only by compare-and-swap, and is in nobody's way: while its keeper is away, events flow, and only changes of roles wait.
//!
//! - `kind = "file"`: a directory, for nodes on one machine, on a local file system with hard links. The newest of its
//!   `record.…` files counts; the last 16 stay for a look back. Each session needs a directory of its own.
//! - `kind = "etcd"`: etcd 3.4 or later. The key is `prefix` and the session. Its members are best on other hosts than the
//!   nodes', and tuned to the network they have: with etcd's own defaults (`--heartbeat-interval=100
//!   --election-timeout=1000`) the death of its leader stops swaps for one to two seconds. A swap that was on its way then is
//!   lost without a word, so `request_timeout` is what that costs at least. `https://` takes a program built with
//!   `--features etcd-tls`, which needs a C compiler; the default build speaks `http://` only, passwords included.
//!
//! A record that is damaged, of another session, or older than one that was seen before is refused, with the reason in the
//! log: nodes keep their roles and change none. To put it right, stop all nodes, write the record that they logged last (an
//! older one shows the form; the refusal of a wrong check sum names the right one), and start them. Restoring an
//! old backup of etcd, or deleting the directory, is such a case: nodes that run notice it, and nodes that start refuse
//! epochs below those that they promised. A node that was away when the record changed cannot know: it may take the lead by
//! the old record. Those that know better then stop, telling that their primary lacks what is committed, and with
//! `min_in_sync` of 2 or more nothing is published by it.
//!
//! # Stopping
//!
//! A process asked to stop closes its agents in order: the data path first. A sequencer that is closed in good order
//! syncs its journal and marks it as whole; started again, it goes on in its session. The session ends, with
//! `sequencer.end_with_sources`, when all its sources have ended theirs; the end is repeated on the lines for
//! `send.end_of_session`: the last chance to fill gaps.
//!
//! # The program
//!
//! `seqcast --help` lists the subcommands. Standard output is data, standard error is talk, `--json` makes the data JSON.
//! Exit codes: 0 done and good, 1 done and bad, 2 the command line makes no sense, 3 something could not be read, written or
//! run.
