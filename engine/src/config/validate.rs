//! What keys mean together: everything that each alone looks right but cannot work.

mod cluster;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::Config;
use super::error::Problem;
use super::section::{
    Idle, Io, Journal, Line, OnUnfillable, Receiving, RewindLimits, Runtime, Sending, Sequencer, Start,
    Subscriber, ThreadLayout,
};
use super::unit::{Prefix, Rate, SourceSession, size};
use crate::limits::{MAX_DATAGRAM_BYTES, MAX_LINES, MAX_REWIND_SERVERS, MAX_SOURCES};
use crate::time::Nanos;

/// Header of a MoldUDP64 datagram, length of a message, and one byte of it.
const MIN_DATAGRAM_BYTES: usize =
    seqcast_wire::mold::HEADER_BYTES + seqcast_wire::mold::BLOCK_HEADER_BYTES + 1;
/// Smallest ring: eight of the longest messages.
const MIN_RING_BYTES: usize = 1 << 20;
/// Smallest segment of a journal: smaller ones are more files than data.
const MIN_SEGMENT_BYTES: u64 = 1 << 20;
/// Segments are whole pages.
const PAGE_BYTES: u64 = 4_096;
const MAX_RECEIVE_BUFFERS: usize = 32_768;
const MAX_SEND_SLOTS: usize = 16_384;
const MAX_PARK: Nanos = Nanos::from_secs(1);
const USERNAME_BYTES: usize = 6;
const PASSWORD_BYTES: usize = 10;

/// Everything that does not fit.
pub(super) fn problems(config: &Config) -> Vec<Problem> {
    let mut found = Found(Vec::new());
    found.check_feeds(config);
    if let Some(sequencer) = &config.sequencer {
        found.check_sequencer(sequencer);
    }
    found.check_cluster(config);
    if let Some(journal) = &config.journal {
        found.check_journal(journal);
    }
    if let Some(rewind) = &config.rewind {
        found.check_rewind("rewind", &rewind.allow, &rewind.limits);
    }
    found.check_logins(config);
    found.check_subscriber(config);
    found.check_receiving(&config.receive, &config.send);
    found.check_sending(&config.send, &config.io);
    found.check_io(&config.io);
    found.power_of_two("memory.ring_bytes", config.memory.ring_bytes, MIN_RING_BYTES);
    found.check_runtime(&config.runtime);
    found.0
}

struct Found(Vec<Problem>);

impl Found {
    /// Notes that `key` is wrong: `what` reads on from the key's name.
    fn add(&mut self, key: impl Display, what: impl Display, remedy: impl Display) {
        self.0.push(Problem::new(key.to_string(), format!("`{key}` {what}"), remedy.to_string()));
    }

    fn at_least_one<T: Default + PartialEq>(&mut self, key: &str, value: &T) {
        if *value == T::default() {
            self.add(key, "is zero", "give at least 1");
        }
    }

    fn power_of_two(&mut self, key: &str, bytes: usize, min: usize) {
        if !bytes.is_power_of_two() || bytes < min {
            let nearest = bytes.max(min).checked_next_power_of_two().unwrap_or(min);
            let what =
                format!("is {}, which is no power of two of at least {}", bytes_text(bytes), bytes_text(min));
            self.add(key, what, format!("use {}", bytes_text(nearest)));
        }
    }

    /// The lines and sessions of all feeds, each alone and against each other.
    fn check_feeds(&mut self, config: &Config) {
        if let Some(feed) = &config.feed {
            self.check_lines("feed.line", &feed.lines);
            self.check_servers("feed.rewind_servers", &feed.rewind_servers);
        }
        if let Some(publisher) = &config.publisher {
            self.check_lines("publisher.line", &publisher.lines);
            self.at_least_one("publisher.retain_bytes", &publisher.retain_bytes);
            self.check_rewind("publisher", &publisher.allow, &publisher.limits);
            if publisher.window_messages == Some(0) {
                let remedy = "give at least 1, or leave it out when nobody acknowledges";
                self.add("publisher.window_messages", "is zero: nothing could be sent", remedy);
            }
        }
        let (Some(feed), Some(sequencer)) = (&config.feed, &config.sequencer) else { return };
        for (index, source) in sequencer.sources.iter().enumerate() {
            for (line_index, line) in source.lines.iter().enumerate() {
                if let Some(own) = feed.lines.iter().position(|own| own.group == line.group) {
                    let key = format!("sequencer.source[{index}].line[{line_index}].group");
                    let what =
                        format!("is also `feed.line[{own}].group`: the sequencer would order its own output");
                    self.add(key, what, "give the source and the feed different groups");
                }
            }
            if source.session == SourceSession::Only(feed.session) {
                let key = format!("sequencer.source[{index}].session");
                self.add(key, "is also `feed.session`", "give the source and the feed different sessions");
            }
        }
    }

    fn check_lines(&mut self, key: &str, lines: &[Line]) {
        if lines.is_empty() {
            self.add(key, "is empty", format!("write at least one [[{key}]]"));
        }
        if lines.len() > MAX_LINES {
            self.add(
                key,
                format!("has {} items", lines.len()),
                format!("a feed has at most {MAX_LINES} lines"),
            );
        }
        for (index, line) in lines.iter().enumerate() {
            let this = format!("{key}[{index}]");
            if let Some(first) = lines[..index].iter().position(|first| first.same_datagrams(line)) {
                let what = format!("repeats `{key}[{first}]` ({})", line.group);
                self.add(&this, what, "give each line its own group or port");
            }
            self.check_line(&this, line);
        }
    }

    fn check_line(&mut self, key: &str, line: &Line) {
        let address = *line.group.ip();
        let group = format!("{key}.group");
        if line.group.port() == 0 {
            self.add(&group, "has port 0", "give the port of the line");
        }
        if address.is_unspecified() || address.is_broadcast() {
            let remedy = "use a multicast group (224.0.0.0 to 239.255.255.255) or a host's own address";
            self.add(&group, format!("is {address}, which names nobody"), remedy);
        } else if !address.is_multicast() && line.interface.is_unspecified() {
            let what =
                format!("is {address}, which is no multicast group, and `{key}.interface` is not given");
            let remedy = "use a group from 224.0.0.0 to 239.255.255.255; or, for a unicast line, give this host's \
                          own address as interface";
            self.add(&group, what, remedy);
        }
        if line.interface.is_multicast() || line.interface.is_broadcast() {
            let what = format!("is {}, which is no interface's address", line.interface);
            self.add(
                format!("{key}.interface"),
                what,
                "give the address of a local interface, see `ip address`",
            );
        }
        if line.source.is_some() && !address.is_multicast() {
            let what = format!("is given, but `{group}` is no multicast group");
            self.add(format!("{key}.source"), what, "leave it out: it selects among the senders of a group");
        }
    }

    fn check_servers(&mut self, key: &str, servers: &[SocketAddrV4]) {
        if servers.len() > MAX_REWIND_SERVERS {
            let what = format!("has {} items", servers.len());
            self.add(key, what, format!("name at most {MAX_REWIND_SERVERS}"));
        }
        for (index, server) in servers.iter().enumerate() {
            let this = format!("{key}[{index}]");
            if servers[..index].contains(server) {
                self.add(&this, format!("repeats {server}"), "name each server once");
            }
            if server.port() == 0 || is_nobody(*server.ip()) {
                self.add(
                    &this,
                    format!("is {server}, where nobody answers"),
                    "give a server's address and port",
                );
            }
        }
    }

    fn check_sequencer(&mut self, sequencer: &Sequencer) {
        if sequencer.name.trim().is_empty() {
            self.add("sequencer.name", "is empty", "give the node a name");
        }
        let sources = &sequencer.sources;
        if sources.is_empty() || sources.len() > MAX_SOURCES {
            let what = format!("has {} items", sources.len());
            self.add("sequencer.source", what, format!("a sequencer has 1 to {MAX_SOURCES} sources"));
        }
        for (index, source) in sources.iter().enumerate() {
            let key = format!("sequencer.source[{index}]");
            if source.name.trim().is_empty() {
                self.add(format!("{key}.name"), "is empty", "give the source a name");
            }
            self.check_lines(&format!("{key}.line"), &source.lines);
            self.check_servers(&format!("{key}.rewind_servers"), &source.rewind_servers);
            if source.acknowledge && source.rewind_servers.is_empty() {
                let what = format!("is true, but `{key}.rewind_servers` names nobody to tell");
                self.add(format!("{key}.acknowledge"), what, "name the publisher there, or set it to false");
            }
            for (other_index, other) in sources[..index].iter().enumerate() {
                let other_key = format!("sequencer.source[{other_index}]");
                if source.name == other.name {
                    let what = format!("is `{}`, as `{other_key}.name`", source.name);
                    self.add(format!("{key}.name"), what, "give each source its own name");
                }
                if source.session == other.session && source.session != SourceSession::Any {
                    let what = format!("is `{}`, as `{other_key}.session`", source.session);
                    self.add(format!("{key}.session"), what, "a session has one source: give each its own");
                }
                let shared =
                    source.lines.iter().find(|line| other.lines.iter().any(|o| o.group == line.group));
                let any = [source.session, other.session].contains(&SourceSession::Any);
                if let (Some(line), true) = (shared, any) {
                    let what = format!(
                        "shares {} with `{other_key}`, and one of them takes any session",
                        line.group
                    );
                    self.add(&key, what, "name the session of both, or give each its own lines");
                }
            }
        }
    }

    fn check_journal(&mut self, journal: &Journal) {
        let &Journal { segment_bytes, retain_bytes, catch_up_bytes, .. } = journal;
        let (segment, least) = (size::write(segment_bytes), size::write(MIN_SEGMENT_BYTES));
        if segment_bytes < MIN_SEGMENT_BYTES {
            let what = format!("is {segment}; a segment must have room for the largest frames");
            self.add("journal.segment_bytes", what, format!("give at least {least}"));
        } else if !segment_bytes.is_multiple_of(PAGE_BYTES) {
            self.add("journal.segment_bytes", format!("is {segment}"), "give a multiple of 4KiB");
        }
        if let Some(retain_bytes) = retain_bytes.filter(|bytes| *bytes < segment_bytes.saturating_mul(2)) {
            let what = format!(
                "is {}, less than two segments (`journal.segment_bytes` is {segment})",
                size::write(retain_bytes)
            );
            let remedy = "whole segments are deleted, never the one being written: give at least two, or leave it \
                          out to keep everything";
            self.add("journal.retain_bytes", what, remedy);
        }
        let Some(catch_up_bytes) = catch_up_bytes else { return };
        match retain_bytes {
            Some(retain_bytes) if catch_up_bytes < retain_bytes => {
                let (is, less) = (size::write(catch_up_bytes), size::write(retain_bytes));
                let what =
                    format!("is {is}, less than `journal.retain_bytes` ({less}), which is kept anyway");
                self.add("journal.catch_up_bytes", what, "give more, or leave it out for four times as much");
            }
            Some(_) => {}
            None => {
                let what = "is set, but without `journal.retain_bytes` everything is kept";
                self.add("journal.catch_up_bytes", what, "leave it out, or set `journal.retain_bytes`");
            }
        }
    }

    /// Who may ask, and how much: of a rewind server in `section`, or of a publisher.
    fn check_rewind(&mut self, section: &str, allow: &[Prefix], limits: &RewindLimits) {
        if allow.is_empty() {
            let remedy = "name the networks of those who receive the feed, such as [\"10.1.0.0/16\"]";
            self.add(format!("{section}.allow"), "is empty: nobody could ask", remedy);
        }
        let key = |name: &str| format!("{section}.limits.{name}");
        self.at_least_one(&key("client_datagrams_per_s"), &limits.client_datagrams_per_s);
        self.check_rate(&key("client_rate"), limits.client_rate);
        self.at_least_one(&key("total_datagrams_per_s"), &limits.total_datagrams_per_s);
        self.check_rate(&key("total_rate"), limits.total_rate);
        self.at_least_one(&key("burst"), &limits.burst.0);
        self.at_least_one(&key("max_clients"), &limits.max_clients);
    }

    fn check_rate(&mut self, key: &str, rate: Rate) {
        if rate.bytes_per_s() == Some(0) {
            self.add(
                key,
                "is less than a byte a second",
                "give a rate such as \"1Gbit/s\", or \"unlimited\"",
            );
        }
    }

    fn check_subscriber(&mut self, config: &Config) {
        let Some(feed) = &config.feed else { return };
        let Subscriber { start, on_unfillable, .. } = config.subscriber;
        let asked = [
            ("subscriber.start", start == Start::Snapshot),
            ("subscriber.on_unfillable", on_unfillable == OnUnfillable::Snapshot),
        ];
        for (key, _) in asked.into_iter().filter(|(_, asked)| *asked && feed.snapshot.is_none()) {
            let what = "is \"snapshot\", and no snapshot server is known";
            self.add(key, what, "write [feed.snapshot] with `servers` and a login");
        }
    }

    fn check_logins(&mut self, config: &Config) {
        if let Some(client) = config.feed.as_ref().and_then(|feed| feed.snapshot.as_ref()) {
            if client.servers.is_empty() {
                self.add("feed.snapshot.servers", "names nobody", "write the address of a snapshot server");
            }
            self.check_servers("feed.snapshot.servers", &client.servers);
            self.check_login("feed.snapshot", &client.username, &client.password);
        }
        if let Some(server) = &config.snapshot {
            self.check_login("snapshot", &server.username, &server.password);
            self.at_least_one("snapshot.max_clients", &server.max_clients);
        }
    }

    fn check_login(&mut self, section: &str, username: &str, password: &str) {
        for (name, value, max) in
            [("username", username, USERNAME_BYTES), ("password", password, PASSWORD_BYTES)]
        {
            let fits = (1..=max).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_alphanumeric());
            if !fits {
                // The value is not repeated: messages end up in logs.
                let remedy = format!("SoupBinTCP has room for 1 to {max} ASCII letters or digits");
                self.add(format!("{section}.{name}"), "does not fit a login", remedy);
            }
        }
    }

    fn check_receiving(&mut self, receive: &Receiving, send: &Sending) {
        self.at_least_one("receive.attempts", &receive.attempts);
        self.at_least_one("receive.max_requests_in_flight", &receive.max_requests_in_flight);
        self.at_least_one("receive.stash_messages", &receive.stash_messages);
        self.at_least_one("receive.max_gap_messages", &receive.max_gap_messages);
        self.at_least_one("receive.request_timeout", &receive.request_timeout.0);
        if receive.max_backoff < receive.request_timeout {
            let what = "is less than `receive.request_timeout`";
            self.add("receive.max_backoff", what, "make it at least as long");
        }
        if receive.stash_bytes < MAX_DATAGRAM_BYTES {
            let what = format!("is {}, less than one datagram may have", bytes_text(receive.stash_bytes));
            self.add("receive.stash_bytes", what, "give at least 64KiB");
        }
        if receive.silence < send.heartbeat + send.heartbeat {
            let what = "is less than two of `send.heartbeat`: an idle feed would look stale";
            self.add("receive.silence", what, "make it longer, or the heartbeat shorter");
        }
    }

    fn check_sending(&mut self, send: &Sending, io: &Io) {
        if !(MIN_DATAGRAM_BYTES..=MAX_DATAGRAM_BYTES).contains(&send.datagram_bytes) {
            let what = format!("is {}", send.datagram_bytes);
            let remedy = format!(
                "give {MIN_DATAGRAM_BYTES} to {MAX_DATAGRAM_BYTES} bytes; 1472 fit an Ethernet frame"
            );
            self.add("send.datagram_bytes", what, remedy);
        } else if send.datagram_bytes > io.max_datagram_bytes {
            let max = io.max_datagram_bytes;
            let what = format!("is {}, more than `io.max_datagram_bytes` ({max})", send.datagram_bytes);
            self.add(
                "send.datagram_bytes",
                what,
                "raise the latter on every host that sends or receives the feed",
            );
        }
        self.check_rate("send.pace", send.pace);
        self.at_least_one("send.first_heartbeat", &send.first_heartbeat.0);
        if send.heartbeat < send.first_heartbeat {
            self.add("send.heartbeat", "is less than `send.first_heartbeat`", "make it at least as long");
        }
        self.at_least_one("send.multicast_ttl", &send.multicast_ttl);
    }

    fn check_io(&mut self, io: &Io) {
        if !(MIN_DATAGRAM_BYTES..=MAX_DATAGRAM_BYTES).contains(&io.max_datagram_bytes) {
            let remedy = format!("give {MIN_DATAGRAM_BYTES} to {MAX_DATAGRAM_BYTES} bytes");
            self.add("io.max_datagram_bytes", format!("is {}", io.max_datagram_bytes), remedy);
        }
        if !io.receive_buffers.is_power_of_two() || io.receive_buffers > MAX_RECEIVE_BUFFERS {
            let remedy = format!("give a power of two up to {MAX_RECEIVE_BUFFERS}");
            self.add("io.receive_buffers", format!("is {}", io.receive_buffers), remedy);
        }
        if !(1..=MAX_SEND_SLOTS).contains(&io.send_slots) {
            self.add("io.send_slots", format!("is {}", io.send_slots), format!("give 1 to {MAX_SEND_SLOTS}"));
        }
    }

    fn check_runtime(&mut self, runtime: &Runtime) {
        self.at_least_one("runtime.park_min", &runtime.park_min.0);
        if runtime.park_max < runtime.park_min {
            self.add("runtime.park_max", "is less than `runtime.park_min`", "make it at least as long");
        }
        if runtime.park_max > MAX_PARK {
            let what = format!("is {}", runtime.park_max);
            self.add(
                "runtime.park_max",
                what,
                "a resting thread sees a stop only afterwards: give at most 1s",
            );
        }
        let mut homes = BTreeMap::new();
        for (index, thread) in runtime.threads.iter().enumerate() {
            let key = format!("runtime.thread[{index}]");
            if thread.agents.is_empty() {
                self.add(
                    format!("{key}.agents"),
                    "is empty",
                    "name at least one agent, or leave the thread out",
                );
            }
            for agent in &thread.agents {
                if let Some(home) = homes.insert(agent, index) {
                    let what = format!("names `{agent}`, as `runtime.thread[{home}]` does");
                    self.add(format!("{key}.agents"), what, "an agent runs on one thread: name it once");
                }
            }
            self.check_thread(&key, index, runtime);
        }
    }

    fn check_thread(&mut self, key: &str, index: usize, runtime: &Runtime) {
        let (before, thread) = (&runtime.threads[..index], &runtime.threads[index]);
        if thread.name.trim().is_empty() {
            self.add(format!("{key}.name"), "is empty", "give the thread a name");
        } else if let Some(other) = before.iter().position(|other| other.name == thread.name) {
            let what = format!("is `{}`, as `runtime.thread[{other}].name`", thread.name);
            self.add(format!("{key}.name"), what, "give each thread its own name");
        }
        let spins = |thread: &ThreadLayout| thread.idle.unwrap_or(runtime.idle) == Idle::Spin;
        let same_core = |other: &&ThreadLayout| thread.core.is_some() && other.core == thread.core;
        if let Some(other) = before.iter().find(same_core).filter(|other| spins(other) || spins(thread)) {
            let what = format!("is also the core of `{}`, and one of them spins all the time", other.name);
            let remedy =
                "give each its own core, put their agents on one thread, or let both use \"backoff\"";
            self.add(format!("{key}.core"), what, remedy);
        }
    }
}

impl Line {
    /// Whether two lines receive the same datagrams, so that one of them is no redundancy.
    fn same_datagrams(&self, other: &Line) -> bool {
        self.group == other.group && self.source == other.source && self.interface == other.interface
    }
}

fn is_nobody(address: Ipv4Addr) -> bool {
    address.is_unspecified() || address.is_broadcast() || address.is_multicast()
}

fn bytes_text(bytes: usize) -> String {
    size::write(bytes as u64)
}
