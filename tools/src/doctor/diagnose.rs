//! From what was seen to what is wrong.

use super::evidence::{
    Coverage, Evidence, Heard, Interface, LineEvidence, Received, Rewind, Subscriber, Wire,
};
use super::{Finding, Findings};
use crate::output::grouped;

const STRICT: u8 = 1;

/// Judges what was seen, step by step along the way of a datagram.
pub(crate) fn diagnose(evidence: &Evidence) -> Vec<Finding> {
    let mut all = Vec::new();
    for (at, line) in evidence.lines.iter().enumerate() {
        let of = format!("line {} ({})", char::from(b'A' + at as u8), line.group);
        judge_line(line, evidence, &mut Findings::of(of, &mut all));
    }
    judge_whole(evidence, &mut all);
    judge_rewind(evidence, &mut all);
    for subscriber in &evidence.subscribers {
        judge_subscriber(
            subscriber,
            &mut Findings::of(format!("subscriber {}", subscriber.process), &mut all),
        );
    }
    all
}

fn judge_line(line: &LineEvidence, evidence: &Evidence, found: &mut Findings<'_>) {
    let interface = match &line.interface {
        Ok(interface) if interface.is_up => {
            found.ok("interface", format!("{} is up", interface.name));
            interface
        }
        Ok(interface) => {
            let name = &interface.name;
            found.bad(
                "interface",
                format!("{name} is down"),
                format!("`ip link set {name} up`; look at cable and switch"),
            );
            return;
        }
        Err(why) => {
            found.bad(
                "interface",
                why,
                "put an address of this host into `interface` of the line, see `ip address`",
            );
            return;
        }
    };
    judge_join(line, interface, found);
    let on_wire = line.wire.as_ref().map(Wire::datagrams).unwrap_or(0);
    let received = line.own.as_ref().map_or(0, |own| own.datagrams);
    match &line.wire {
        Err(why) => found
            .skipped("nic", format!("cannot see what comes in at {}: {why}; try as root", interface.name)),
        Ok(wire) if on_wire > 0 => {
            let senders: Vec<_> = wire.senders.keys().map(ToString::to_string).collect();
            found.ok(
                "nic",
                format!(
                    "{} datagrams came in at {}, from {}",
                    grouped(on_wire),
                    interface.name,
                    senders.join(", ")
                ),
            );
            judge_source(line, wire, found);
        }
        Ok(wire) => judge_nothing_on_wire(line, wire, interface, evidence, found),
    }
    if interface.lost > 0 {
        let what = format!(
            "{} lost {} packets meanwhile before the kernel had them",
            interface.name,
            grouped(interface.lost)
        );
        found.warning(
            "nic-lost",
            what,
            "raise its ring (`seqcast tune check --profile bare-metal`), see `ethtool -S`",
        );
    }
    if on_wire > 0 && received == 0 && line.own.is_some() {
        judge_between(line, interface, evidence, found);
    } else if let Some(own) = &line.own {
        judge_received(own, line, evidence, found);
    }
    judge_buffers(line, found);
}

fn judge_join(line: &LineEvidence, interface: &Interface, found: &mut Findings<'_>) {
    let is_group = line.group.ip().is_multicast();
    match &line.join {
        Ok(()) if is_group => {
            let others = match line.joined_before {
                0 => "nobody had joined before this question".into(),
                users => format!("{users} sockets had joined before"),
            };
            let igmp = interface
                .igmp
                .as_ref()
                .map(|version| format!(", IGMP{}", version.to_lowercase()))
                .unwrap_or_default();
            found.ok("join", format!("joined on {}{igmp}; {others}", interface.name));
        }
        Ok(()) => found.ok("join", "the port is free: nobody on this host listens"),
        Err(why) if !is_group => {
            found.skipped(
                "join",
                format!("cannot listen beside whoever has the port ({why}); judged by what comes in"),
            );
        }
        Err(why) => found.bad(
            "join",
            format!("cannot join: {why}"),
            "see `ip maddress`, net.ipv4.igmp_max_memberships and the `interface` of the line",
        ),
    }
}

fn judge_source(line: &LineEvidence, wire: &Wire, found: &mut Findings<'_>) {
    if let Some(source) = line.source.filter(|source| !wire.senders.contains_key(source)) {
        let senders: Vec<_> = wire.senders.keys().map(ToString::to_string).collect();
        let what = format!("the line is for sender {source} only, but {} sends", senders.join(", "));
        found.bad("source", what, "correct `source` of the line, or leave it out");
    }
}

fn judge_nothing_on_wire(
    line: &LineEvidence,
    wire: &Wire,
    interface: &Interface,
    evidence: &Evidence,
    found: &mut Findings<'_>,
) {
    let seconds = evidence.listened.as_secs_f64();
    let name = &interface.name;
    if let Some((port, count)) = wire.other_ports.iter().max_by_key(|(_, count)| **count) {
        let what = format!(
            "nothing to port {}, but {} datagrams to {}:{port}",
            line.group.port(),
            grouped(*count),
            line.group.ip()
        );
        found.bad(
            "port",
            what,
            format!("if that is the feed, the line's group is \"{}:{port}\"", line.group.ip()),
        );
        return;
    }
    if let Some((other, count)) = wire.elsewhere.iter().max_by_key(|(_, count)| **count)
        && !evidence.lines.iter().any(|line| line.group == *other)
    {
        let what =
            format!("nothing to the group, but {} datagrams of the session to {other}", grouped(*count));
        found.bad("group", what, format!("if that is the line, its group is \"{other}\""));
        return;
    }
    if wire.fragments > 0 {
        let what = format!("only {} fragments of datagrams", grouped(wire.fragments));
        found.bad(
            "fragments",
            what,
            "send datagrams that fit the network: send.datagram_bytes of 1472 or less on Ethernet",
        );
        return;
    }
    let what = match interface.packets {
        0 => format!("nothing at all came in at {name} in {seconds:.1} s"),
        packets => format!(
            "{} other packets came in at {name} in {seconds:.1} s, none to the group",
            grouped(packets)
        ),
    };
    let remedy = match interface.packets {
        0 => {
            "is the sender running? cable, VLAN, the right interface? (heartbeats come every send.heartbeat)"
        }
        _ => {
            "is the sender running, and its multicast_ttl above the number of routers? does the switch forward the group \
              here: IGMP snooping needs a querier in the network"
        }
    };
    found.bad("nic", what, remedy);
    if name != "lo" && line.group.ip().is_multicast() {
        match wire.igmp_queries {
            0 => found.warning(
                "querier",
                "no IGMP query was heard meanwhile (they come every 125 s, usually)",
                "without a querier a switch that snoops forgets who has joined: enable one on the switch or router; listen \
                 longer with --seconds 130 to be sure",
            ),
            queries => found.ok("querier", format!("{queries} IGMP queries were heard")),
        }
    }
}

/// They come in, and do not come out of the socket.
fn judge_between(line: &LineEvidence, interface: &Interface, evidence: &Evidence, found: &mut Findings<'_>) {
    let name = &interface.name;
    let sources_differ = line
        .source
        .is_some_and(|source| line.wire.as_ref().is_ok_and(|wire| !wire.senders.contains_key(&source)));
    if sources_differ {
        return;
    }
    let kernel = evidence.kernel;
    let before = found.all.len();
    if kernel.reverse_path > 0 {
        let what =
            format!("the reverse path filter dropped {} packets meanwhile", grouped(kernel.reverse_path));
        let remedy = format!("`sysctl net.ipv4.conf.{name}.rp_filter=2`, or a route to the sender by {name}");
        found.bad("rp-filter", what, remedy);
    } else if interface.rp_filter == Some(STRICT) {
        let what = format!("the reverse path filter of {name} is strict");
        found.warning("rp-filter", what, format!("try `sysctl net.ipv4.conf.{name}.rp_filter=2`"));
    }
    match &evidence.firewall {
        Some(Ok(rules)) if !rules.is_empty() => {
            let what = format!("the firewall has rules that drop: {}", rules.join(" | "));
            found.bad("firewall", what, format!("let UDP to {} in at {name}", line.group));
        }
        Some(Err(why)) => found.skipped("firewall", format!("its rules cannot be seen: {why}")),
        _ => {}
    }
    if kernel.checksum > 0 {
        let what = format!("{} datagrams with a wrong check sum meanwhile", grouped(kernel.checksum));
        found.bad(
            "checksum",
            what,
            "something between sender and here changes datagrams, or offloads their sums badly",
        );
    }
    if found.all.len() == before {
        found.bad(
            "socket",
            "what comes in does not reach the socket, and the kernel does not tell why",
            "look at `nft list ruleset`, `iptables-save`, `tc filter show`, and XDP programs (`ip link`)",
        );
    }
}

fn judge_received(own: &Received, line: &LineEvidence, evidence: &Evidence, found: &mut Findings<'_>) {
    if own.datagrams == 0 {
        if line.wire.is_err() {
            found.bad(
                "socket",
                "nothing came",
                "is the sender running? does the switch forward the group? ask again as root",
            );
        }
        return;
    }
    found.ok("socket", format!("{} datagrams reached the socket", grouped(own.datagrams)));
    if own.not_mold > 0 {
        let what = format!("{} datagrams are not MoldUDP64", grouped(own.not_mold));
        found.bad("format", what, "somebody else uses this address, or this is another feed");
    }
    let heard: Vec<_> = own.sessions.keys().map(String::as_str).collect();
    let Some(wanted) = evidence.session.as_deref() else {
        own.sessions.iter().for_each(|(session, heard)| judge_heard(session, heard, found));
        return;
    };
    match own.sessions.get(wanted) {
        Some(session) => judge_heard(wanted, session, found),
        None if heard.is_empty() => {}
        None => {
            let what = format!("session {wanted} is wanted, {} is on the line", heard.join(", "));
            found.bad(
                "session",
                what,
                "correct feed.session; a publisher that was started anew may have a new one",
            );
        }
    }
}

fn judge_heard(session: &str, heard: &Heard, found: &mut Findings<'_>) {
    let Heard { data, heartbeats, ended, next, coverage } = heard;
    if *ended {
        found.warning(
            "ended",
            format!("session {session} is over; {} messages", grouped(next.saturating_sub(1))),
            "nothing new will come in it",
        );
    } else if *data == 0 {
        let what = format!(
            "session {session}: {} heartbeats and no data; next is {}",
            grouped(*heartbeats),
            grouped(*next)
        );
        found.warning(
            "data",
            what,
            "the line works: the publisher has nothing to say, or waits for its sequencer",
        );
    } else {
        found.ok(
            "data",
            format!(
                "session {session}: {} datagrams with messages up to {}",
                grouped(*data),
                grouped(next.saturating_sub(1))
            ),
        );
    }
    if coverage.missing() > 0 {
        let what = format!(
            "{} messages are missing on this line, first {}",
            grouped(coverage.missing()),
            first_hole(coverage)
        );
        found.warning("holes", what, "the other line or a rewind server must fill them; see the drops of interface, buffers and switch");
    }
}

fn first_hole(coverage: &Coverage) -> String {
    match coverage.holes().first() {
        Some((from, to)) if to - from > 1 => format!("{}-{}", grouped(*from), grouped(to - 1)),
        Some((from, _)) => grouped(*from),
        None => "none".into(),
    }
}

fn judge_buffers(line: &LineEvidence, found: &mut Findings<'_>) {
    if let Some((asked, granted)) = line.buffer_bytes.filter(|(asked, granted)| granted < asked) {
        let what = format!(
            "a receive buffer of {} bytes was asked for, {} were granted",
            grouped(asked as u64),
            grouped(granted as u64)
        );
        found.warning(
            "buffer",
            what,
            "raise net.core.rmem_max (`seqcast tune`), or give the process CAP_NET_ADMIN",
        );
    }
    for socket in line.sockets.iter().filter(|socket| socket.dropped > 0) {
        let owner = socket.owner.as_deref().unwrap_or("another process");
        let what = format!(
            "the receive buffer of {owner} was full: {} datagrams dropped, {} of them meanwhile",
            grouped(socket.dropped),
            grouped(socket.dropped_meanwhile)
        );
        let remedy = "raise net.core.rmem_max and io.receive_buffer_bytes; give its thread a core of its own";
        match socket.dropped_meanwhile {
            0 => found.warning("overflow", what, remedy),
            _ => found.bad("overflow", what, remedy),
        }
    }
}

/// What no line brought.
fn judge_whole(evidence: &Evidence, all: &mut Vec<Finding>) {
    let Some(session) = &evidence.session else { return };
    let mut coverage = Coverage::default();
    for heard in evidence.lines.iter().filter_map(|line| line.own.as_ref()?.sessions.get(session)) {
        coverage.merge(&heard.coverage);
    }
    if coverage.missing() > 0 {
        let what = format!(
            "{} messages came on no line, first {}",
            grouped(coverage.missing()),
            first_hole(&coverage)
        );
        let remedy = "rewind servers must fill them; lines on separate networks would not lose the same";
        Findings::of("feed", all).warning("holes", what, remedy);
    }
}

fn judge_rewind(evidence: &Evidence, all: &mut Vec<Finding>) {
    for (server, rewind) in &evidence.rewind {
        let mut found = Findings::of(format!("rewind server {server}"), all);
        match rewind {
            Rewind::Answered => found.ok("rewind", "answers"),
            Rewind::OtherSession(session) => {
                let what = format!("answers for session {session}");
                found.bad("rewind", what, "correct feed.session or feed.rewind_servers");
            }
            Rewind::Silent => found.bad(
                "rewind",
                "is silent: gaps cannot be filled there",
                "is this host in its rewind.allow? is its limit used up (counter limited_requests_total)? does a firewall \
                 stop UDP to it or from it? does its journal reach back that far?",
            ),
            Rewind::Unreachable(why) => {
                found.bad("rewind", format!("cannot be reached: {why}"), "is it running, and is this its rewind.bind?");
            }
        }
    }
}

fn judge_subscriber(subscriber: &Subscriber, found: &mut Findings<'_>) {
    let Subscriber { expected: (before, after), missing, unanswered_meanwhile, .. } = subscriber;
    if *missing > 0 && before == after {
        let what = format!(
            "is stuck in a gap: it waits for number {}, {} messages are missing, {} requests were not answered meanwhile",
            grouped(*after),
            grouped(*missing),
            grouped(*unanswered_meanwhile)
        );
        found.bad(
            "stuck",
            what,
            "see the findings about rewind servers; `subscriber.on_unfillable` says what happens at the end",
        );
    } else if after > before {
        found.ok("progress", format!("went from number {} to {}", grouped(*before), grouped(*after)));
    } else {
        found.ok("progress", format!("waits for number {}, and knows of nothing missing", grouped(*after)));
    }
    if subscriber.wrong_session_meanwhile > 0 {
        let what =
            format!("ignored {} datagrams of another session", grouped(subscriber.wrong_session_meanwhile));
        found.bad("session", what, "its feed.session is not what is on the lines");
    }
    if subscriber.kernel_dropped_meanwhile > 0 {
        let what = format!(
            "lost {} datagrams because its receive buffer was full",
            grouped(subscriber.kernel_dropped_meanwhile)
        );
        found.bad(
            "overflow",
            what,
            "raise net.core.rmem_max and io.receive_buffer_bytes; give its thread a core of its own",
        );
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::super::Health;
    use super::super::evidence::{KernelDrops, OtherSocket};
    use super::*;

    const SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    fn interface() -> Interface {
        Interface {
            name: "eth1".into(),
            is_up: true,
            packets: 50,
            rp_filter: Some(0),
            ..Interface::default()
        }
    }

    fn line() -> LineEvidence {
        let mut own = Received::default();
        let heard = own.sessions.entry("FEED".into()).or_default();
        (heard.data, heard.next) = (5, 11);
        heard.coverage.add(1, 11);
        own.datagrams = 5;
        let wire = Wire { senders: [(SENDER, 5)].into(), ..Wire::default() };
        LineEvidence {
            group: "239.1.1.1:5000".parse().unwrap(),
            source: None,
            interface: Ok(interface()),
            join: Ok(()),
            joined_before: 0,
            wire: Ok(wire),
            own: Some(own),
            buffer_bytes: Some((100, 100)),
            sockets: Vec::new(),
        }
    }

    fn evidence(line: LineEvidence) -> Evidence {
        let listened = Duration::from_secs(3);
        Evidence { listened, session: Some("FEED".into()), lines: vec![line], ..Evidence::default() }
    }

    /// The steps that are not as they should be.
    fn wrong(evidence: &Evidence) -> Vec<&'static str> {
        let worse = |finding: &Finding| (finding.health > Health::Skipped).then_some(finding.step);
        diagnose(evidence).iter().filter_map(worse).collect()
    }

    fn silent(change: impl FnOnce(&mut Wire)) -> LineEvidence {
        let mut wire = Wire { igmp_queries: 1, ..Wire::default() };
        change(&mut wire);
        LineEvidence { wire: Ok(wire), own: Some(Received::default()), ..line() }
    }

    /// Seen at the interface, not at the socket.
    fn stopped() -> LineEvidence {
        LineEvidence { own: Some(Received::default()), ..line() }
    }

    #[test]
    fn a_line_that_works_is_left_in_peace() {
        assert!(wrong(&evidence(line())).is_empty());
    }

    #[test]
    fn each_step_of_the_way_has_its_finding() {
        let down = Interface { is_up: false, ..interface() };
        assert_eq!(wrong(&evidence(LineEvidence { interface: Ok(down), ..line() })), ["interface"]);
        assert_eq!(wrong(&evidence(LineEvidence { interface: Err("none".into()), ..line() })), ["interface"]);
        assert_eq!(wrong(&evidence(LineEvidence { join: Err("no".into()), ..line() })), ["join"]);
        assert_eq!(wrong(&evidence(silent(|_| ()))), ["nic"]);
        assert_eq!(wrong(&evidence(silent(|wire| wire.igmp_queries = 0))), ["nic", "querier"]);
        assert_eq!(wrong(&evidence(silent(|wire| wire.other_ports = [(5001, 9)].into()))), ["port"]);
        let elsewhere = "239.9.9.9:5000".parse().unwrap();
        assert_eq!(wrong(&evidence(silent(|wire| wire.elsewhere = [(elsewhere, 9)].into()))), ["group"]);
        assert_eq!(wrong(&evidence(silent(|wire| wire.fragments = 2))), ["fragments"]);
        let source = Some(Ipv4Addr::new(10, 0, 0, 8));
        assert_eq!(wrong(&evidence(LineEvidence { source, ..stopped() })), ["source"]);
        assert_eq!(wrong(&evidence(stopped())), ["socket"]);
        assert_eq!(wrong(&evidence(LineEvidence { buffer_bytes: Some((100, 50)), ..line() })), ["buffer"]);
        let sockets = vec![OtherSocket { owner: None, dropped: 4, dropped_meanwhile: 4 }];
        assert_eq!(wrong(&evidence(LineEvidence { sockets, ..line() })), ["overflow"]);
    }

    #[test]
    fn what_stops_datagrams_inside_the_host_is_named() {
        let kernel = KernelDrops { reverse_path: 3, ..KernelDrops::default() };
        assert_eq!(wrong(&Evidence { kernel, ..evidence(stopped()) }), ["rp-filter"]);
        let strict =
            LineEvidence { interface: Ok(Interface { rp_filter: Some(1), ..interface() }), ..stopped() };
        assert_eq!(wrong(&evidence(strict)), ["rp-filter"]);
        let firewall = Some(Ok(vec!["udp dport 5000 drop".into()]));
        assert_eq!(wrong(&Evidence { firewall, ..evidence(stopped()) }), ["firewall"]);
        let kernel = KernelDrops { checksum: 3, ..KernelDrops::default() };
        assert_eq!(wrong(&Evidence { kernel, ..evidence(stopped()) }), ["checksum"]);
    }

    #[test]
    fn what_is_received_is_looked_into() {
        let change = |change: &dyn Fn(&mut Received)| {
            let mut line = line();
            change(line.own.as_mut().unwrap());
            wrong(&evidence(line))
        };
        let session = |own: &mut Received| own.sessions.get_mut("FEED").unwrap().clone();
        assert_eq!(change(&|own| own.sessions = [("OTHER".into(), session(own))].into()), ["session"]);
        assert_eq!(change(&|own| own.not_mold = 2), ["format"]);
        assert_eq!(change(&|own| own.sessions.get_mut("FEED").unwrap().data = 0), ["data"]);
        assert_eq!(change(&|own| own.sessions.get_mut("FEED").unwrap().ended = true), ["ended"]);
        // On the line, and on all lines together.
        assert_eq!(
            change(&|own| own.sessions.get_mut("FEED").unwrap().coverage.add(20, 30)),
            ["holes", "holes"]
        );
        let mut two = evidence(line());
        two.lines.push(line());
        two.lines[0].own.as_mut().unwrap().sessions.get_mut("FEED").unwrap().coverage.add(15, 30);
        two.lines[1].own.as_mut().unwrap().sessions.get_mut("FEED").unwrap().coverage.add(5, 18);
        assert_eq!(wrong(&two), ["holes"], "the other line has it");
    }

    #[test]
    fn rewind_servers_and_subscribers_are_judged() {
        let server = "10.0.0.2:31010".parse().unwrap();
        for (rewind, is_wrong) in [
            (Rewind::Answered, false),
            (Rewind::Silent, true),
            (Rewind::OtherSession("X".into()), true),
            (Rewind::Unreachable("y".into()), true),
        ] {
            let found = wrong(&Evidence { rewind: vec![(server, rewind)], ..evidence(line()) });
            assert_eq!(found, if is_wrong { vec!["rewind"] } else { vec![] });
        }
        let judged = |subscriber| wrong(&Evidence { subscribers: vec![subscriber], ..evidence(line()) });
        assert_eq!(judged(Subscriber { expected: (5, 5), missing: 2, ..Subscriber::default() }), ["stuck"]);
        assert!(judged(Subscriber { expected: (5, 6), missing: 2, ..Subscriber::default() }).is_empty());
        assert_eq!(judged(Subscriber { wrong_session_meanwhile: 1, ..Subscriber::default() }), ["session"]);
        assert_eq!(judged(Subscriber { kernel_dropped_meanwhile: 1, ..Subscriber::default() }), ["overflow"]);
    }
}
