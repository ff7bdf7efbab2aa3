use std::fs;

use proptest::prelude::*;

use super::*;
use crate::time::Nanos;

/// A subscriber's file, to be spoilt.
const SUBSCRIBER: &str = r#"# the feed of the other building
[feed]
session = "ABC"
rewind_servers = ["10.1.0.5:26000", "10.1.0.6:26000"]

[[feed.line]]
group = "239.1.1.1:5000"
interface = "10.1.0.17"

[[feed.line]]
group = "239.1.1.2:5000"
interface = "10.2.0.17"
source = "10.2.0.5"
"#;

/// The least that a cluster is told.
const FILE_CLUSTER: &str = r#"[cluster.coordinator]
kind = "file"
dir = "/var/lib/seqcast/coordinator"
[[cluster.node]]
name = "seq1"
replication = "127.0.0.1:31201"
[[cluster.node]]
name = "seq2"
replication = "127.0.0.1:31202"
[[cluster.node]]
name = "seq3"
replication = "127.0.0.1:31203"
"#;

/// The most that one with etcd is told.
const ETCD_CLUSTER: &str = r#"[cluster]
heartbeat = "500us"
[cluster.coordinator]
kind = "etcd"
endpoints = ["https://10.1.0.11:2379", "https://10.1.0.12"]
prefix = "/trading/"
request_timeout = "100ms"
user = "u"
password = "p"
ca = "ca.pem"
cert = "cert.pem"
key = "key.pem"
[[cluster.node]]
name = "seq1"
replication = "10.1.0.1:31200"
"#;

fn file_coordinator(dir: &str) -> Coordinator {
    Coordinator::File(FileCoordinator { dir: dir.into() })
}

/// The default, with a cluster.
fn in_a_cluster() -> Config {
    Config { cluster: Config::parse(FILE_CLUSTER).unwrap().cluster, ..Config::default() }
}

fn refusal(text: &str) -> String {
    Config::parse(text).and_then(|config| config.validate()).unwrap_err().to_string()
}

fn spoilt(old: &str, new: &str) -> String {
    assert!(SUBSCRIBER.contains(old));
    refusal(&SUBSCRIBER.replacen(old, new, 1))
}

/// What an override of the default configuration is refused with.
fn refused(assignments: &[&str]) -> String {
    let assignments: Vec<String> = assignments.iter().map(|&text| text.into()).collect();
    Config::load(None, &assignments).unwrap_err().to_string()
}

#[test]
fn the_default_file_is_the_default() {
    let config = Config::parse(Config::default_toml()).unwrap();
    assert_eq!(config, Config::default());
    config.validate().unwrap();
}

#[test]
fn the_default_file_names_every_key_and_says_something_about_it() {
    let text = Config::default_toml();
    let written = Config::default().to_toml().unwrap();
    let keys = written.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key);
    // These have no value by default, and stand there as a comment.
    for key in keys.chain(["# source", "# core", "# idle", "# agents", "# name", "# min_in_sync"]) {
        assert!(text.contains(&format!("\n{key} = ")), "{key}");
    }
    // So has the whole cluster; its coordinator is of one kind only, and the other stands there indented.
    for (cluster, indent) in [(FILE_CLUSTER, "# "), (ETCD_CLUSTER, "#   ")] {
        let config = Config::parse(cluster).unwrap().to_toml().unwrap();
        for (key, _) in config.lines().filter_map(|line| line.split_once(" = ")) {
            let there = ["", "# ", indent].iter().any(|indent| text.contains(&format!("\n{indent}{key} = ")));
            assert!(there, "{key}");
        }
    }
    for section in text.split("# ----").skip(1) {
        assert!(section.lines().nth(1).unwrap().starts_with("# "), "{section}");
    }
}

#[test]
fn the_commented_examples_in_the_default_file_are_right() {
    let text = Config::default_toml()
        .lines()
        .map(|line| {
            let is_example = |rest: &&str| rest.starts_with('[') || rest.contains(" = ");
            line.strip_prefix("# ").filter(|rest| !rest.starts_with(' ')).filter(is_example)
        })
        .zip(Config::default_toml().lines())
        .map(|(example, line)| example.unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n");
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.runtime.threads[0].core, Some(2));
    let cluster = config.cluster.as_ref().unwrap();
    assert_eq!(
        (cluster.nodes.len(), &cluster.coordinator),
        (2, &file_coordinator("seqcast-data/coordinator"))
    );
    let tuning = |cluster: &Cluster| Cluster {
        nodes: Vec::new(),
        coordinator: file_coordinator(""),
        // Its default is that of `[io]`, which no example can be.
        driver: None,
        ..cluster.clone()
    };
    assert_eq!(
        tuning(cluster),
        tuning(Config::parse(FILE_CLUSTER).unwrap().cluster.as_ref().unwrap()),
        "the defaults"
    );
    assert!(config.feed.as_ref().unwrap().lines[0].source.is_some());
    config.validate().unwrap();
}

#[test]
fn an_empty_file_names_nobody_and_tunes_nothing() {
    let config = Config::parse("").unwrap();
    assert_eq!((&config.feed, &config.publisher), (&None, &None));
    assert_eq!((config.receive.clone(), config.io.clone()), (Receiving::default(), Io::default()));
    config.validate().unwrap();
    let error = config.feed().unwrap_err().to_string();
    assert_eq!(
        error,
        "section `[feed]` is missing, and this role needs its session and lines from it; \
         `seqcast config default` prints a complete example"
    );
    assert!(config.sequencer().is_err() && config.journal().is_err() && config.publisher().is_err());
    assert!(config.rewind().is_err() && config.snapshot().is_err());
}

#[test]
fn a_file_with_a_few_keys_gets_defaults_for_the_rest() {
    let config = Config::parse(SUBSCRIBER).unwrap();
    config.validate().unwrap();
    let feed = config.feed().unwrap();
    assert_eq!(feed.session.to_string(), "ABC");
    assert_eq!(feed.lines[1].source, Some([10, 2, 0, 5].into()));
    assert_eq!(feed.lines[0].source, None);
    assert_eq!(feed.rewind_servers.len(), 2);
    assert_eq!(feed.snapshot, None);

    let config = Config::parse("[receive]\nattempts = 9\n[journal]\ndir = \"j\"").unwrap();
    assert_eq!(config.receive, Receiving { attempts: 9, ..Receiving::default() });
    assert_eq!(config.journal().unwrap().segment_bytes, 64 << 20);
    assert_eq!(config.journal().unwrap().retain_bytes, None);
}

#[test]
fn unknown_keys_are_refused_with_place_and_suggestion() {
    assert_eq!(
        spoilt("session =", "sesion ="),
        "unknown key `sesion` at line 3, column 1; did you mean `session`?"
    );
    assert_eq!(
        spoilt("interface = \"10.2", "  iface = \"10.2"),
        "unknown key `iface` at line 12, column 3; known here: group, interface, source"
    );
    assert_eq!(spoilt("[feed]", "[fed]"), "unknown key `fed` at line 2, column 2; did you mean `feed`?");
    assert!(refusal("[io]\ngsso = true").ends_with("did you mean `gso`?"));
}

#[test]
fn wrong_values_are_refused_with_key_place_and_what_is_right() {
    assert_eq!(
        spoilt("\"239.1.1.2:5000\"", "\"239.1.1.2\""),
        "`feed.line[1].group`: 239.1.1.2 is not an IPv4 address and port such as \"239.255.77.1:31001\" \
         at line 11, column 9"
    );
    assert_eq!(
        spoilt("\"10.1.0.6:26000\"", "6"),
        "`feed.rewind_servers[1]`: invalid type: integer `6`, expected an IPv4 address and port such as \
         \"239.255.77.1:31001\" at line 4, column 37"
    );
    assert_eq!(
        spoilt("\"ABC\"", "\"ELEVENCHARS\""),
        "`feed.session`: ELEVENCHARS is not a session: 1 to 10 ASCII letters, digits or signs, such as \
         \"SEQCAST001\" at line 3, column 11"
    );
    assert_eq!(
        refusal("[receive]\nreorder_wait = 5"),
        "`receive.reorder_wait`: invalid type: integer `5`, expected a duration with a unit \
         (ns, us, ms, s, min or h) such as \"250us\" at line 2, column 16"
    );
    assert_eq!(
        refusal("[subscriber]\nslow_consumer = \"wiat\""),
        "`subscriber.slow_consumer` cannot be `wiat` at line 2, column 17; did you mean `wait`?"
    );
    assert_eq!(
        refusal("[io]\ndriver = \"dpdk\""),
        "`io.driver` cannot be `dpdk` at line 2, column 10; known here: auto, uring, udp, xdp"
    );
    assert_eq!(
        refusal("[io]\nreceive_buffer_bytes = -1"),
        "`io.receive_buffer_bytes`: -1 is not a size with a unit (B, KiB, MiB, GiB or TiB) such as \"64MiB\" \
         at line 2, column 24"
    );
    assert_eq!(
        refusal("[receive]\nattempts = -3"),
        "`receive.attempts`: invalid value: integer `-3`, expected u32 at line 2, column 12"
    );
}

#[test]
fn missing_keys_are_named_with_their_table() {
    let error = spoilt("session = \"ABC\"\n", "");
    assert!(error.starts_with("`feed.session` is missing at line 2, column 1; "), "{error}");
    let error = spoilt("group = \"239.1.1.2:5000\"\n", "");
    assert!(error.starts_with("`feed.line[1].group` is missing at line 10, column 1; "), "{error}");
    assert!(refusal("[feed]\nsession = \"ABC\"").starts_with("`feed.line` is missing at line 1"));
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_place() {
    for (text, place) in [
        ("[feed\n", "line 1, column 6"),
        ("[feed]\nsession = ABC\n", "line 2, column 11"),
        ("[feed]\nsession = \"A\"\nsession = \"B\"\n", "line 3, column 1"),
        ("\u{0}", "line 1, column 2"),
    ] {
        let error = refusal(text);
        assert!(error.contains(place) && error.lines().count() == 1, "{text:?}: {error}");
    }
}

#[test]
fn sizes_may_be_numbers_of_bytes() {
    let config =
        Config::parse("[send]\ndatagram_bytes = 1200\n[io]\nmax_datagram_bytes = \"1.5KiB\"").unwrap();
    assert_eq!((config.send.datagram_bytes, config.io.max_datagram_bytes), (1200, 1536));
}

#[test]
fn configurations_read_back() {
    let mut config = Config::default();
    config.apply_override("runtime.thread=[{name='a', agents=['x', 'y'], core=1, idle='spin'}]").unwrap();
    config.apply_override("journal.retain_bytes=1GiB").unwrap();
    config.apply_override("send.pace=unlimited").unwrap();
    assert_eq!(Config::parse(&config.to_toml().unwrap()).unwrap(), config);
    let empty = Config::parse("").unwrap();
    assert_eq!(Config::parse(&empty.to_toml().unwrap()).unwrap(), empty);
}

#[test]
fn overrides_change_one_key() {
    let mut config = Config::default();
    for assignment in [
        "feed.session=XYZ",
        " receive.reorder_wait = 250us ",
        "receive.attempts=7",
        "io.gro=true",
        "feed.line[1].group=239.9.9.9:9",
        "rewind.allow=[\"10.0.0.0/8\", \"192.168.0.0/16\"]",
        "stat.dir=",
    ] {
        config.apply_override(assignment).unwrap();
    }
    let mut expected = Config::default();
    let feed = expected.feed.as_mut().unwrap();
    feed.session = "XYZ".parse().unwrap();
    feed.lines[1].group = "239.9.9.9:9".parse().unwrap();
    expected.receive.reorder_wait = Nanos::from_micros(250);
    expected.receive.attempts = 7;
    expected.io.gro = true;
    expected.rewind.as_mut().unwrap().allow =
        vec!["10.0.0.0/8".parse().unwrap(), "192.168.0.0/16".parse().unwrap()];
    expected.stat.dir = "".into();
    assert_eq!(config, expected);
}

#[test]
fn overrides_that_look_like_numbers_may_be_text() {
    let mut config = Config::default();
    config.apply_override("feed.session=20260101").unwrap();
    assert_eq!(config.feed().unwrap().session.to_string(), "20260101");
    config.apply_override("sequencer.name=true").unwrap();
    assert_eq!(config.sequencer().unwrap().name, "true");
}

#[test]
fn overrides_add_items_and_sections() {
    let mut config = Config::default();
    config.apply_override("feed.line[2]={group='239.1.1.3:1', interface='127.0.0.1'}").unwrap();
    assert_eq!(config.feed().unwrap().lines.len(), 3);
    let mut config = Config::parse("").unwrap();
    config.apply_override("journal.dir=/var/lib/seqcast").unwrap();
    assert_eq!(config.journal().unwrap().dir.to_str(), Some("/var/lib/seqcast"));
}

#[test]
fn overrides_are_refused_like_files_and_change_nothing() {
    let mut config = Config::default();
    for (assignment, expected) in [
        ("feed.sesion=A", "unknown key `sesion`; did you mean `session`?"),
        ("feed.session=ELEVENCHARS", "`feed.session`: ELEVENCHARS is not a session"),
        ("receive.reorder_wait=5", "invalid type: integer `5`, expected a duration with a unit"),
        ("io.driver=dpdk", "`io.driver` cannot be `dpdk`; known here: auto, uring, udp, xdp"),
        ("feed.session", "no value; write key=value"),
        ("=5", "`` is no key"),
        ("feed..session=5", "`` is no key"),
        ("feed.line[x].group=1", "`line[x]` is no key"),
        ("feed.line[7].group=1", "`line[7]` is not there; the next index is 2"),
        ("feed.line[2].group=239.1.1.1:1x", "is not an IPv4 address and port"),
        ("feed.session[0]=A", "`session` is no list"),
        ("feed.session.name=A", "`session` has no keys below it"),
        ("feed.line.group=A", "`line` has no keys below it"),
        ("feed.session=A\nB", "is not a session"),
    ] {
        let error = config.apply_override(assignment).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{assignment}: ")) && error.contains(expected), "{error}");
        assert_eq!(config, Config::default());
    }
}

#[test]
fn everything_that_does_not_fit_is_found_at_once() {
    let text = SUBSCRIBER.replace("239.1.1.1", "10.1.1.1").replace("\"10.1.0.17\"", "\"0.0.0.0\"");
    let text = text + "[runtime]\npark_max = \"10s\"\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seqcast.toml");
    fs::write(&path, text).unwrap();
    let error = Config::load(Some(&path), &[]).unwrap_err();
    let file = path.display();
    assert_eq!(
        error.to_string(),
        format!(
            "{file}: `feed.line[0].group` is 10.1.1.1, which is no multicast group, and \
             `feed.line[0].interface` is not given at line 7, column 1; use a group from 224.0.0.0 to \
             239.255.255.255; or, for a unicast line, give this host's own address as interface\n\
             {file}: `runtime.park_max` is 10.00 s at line 15, column 1; a resting thread sees a stop only \
             afterwards: give at most 1s"
        )
    );
    // The place in the file means nothing once the key is overridden.
    let error = Config::load(Some(&path), &["feed.line[0].group=10.1.1.2:1".into()]).unwrap_err();
    assert_eq!(error.problems[0].at, None);
    assert!(error.problems[1].at.is_some());
    Config::load(Some(&path), &["feed.line[0].group=239.1.1.1:1".into(), "runtime.park_max=1ms".into()])
        .unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.toml");
    let error = Config::load(Some(&path), &[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: cannot read the configuration: ", path.display())), "{error}");
    fs::write(&path, b"\xff\xfe").unwrap();
    assert!(Config::load(Some(&path), &[]).unwrap_err().to_string().contains("UTF-8"));
}

/// Overrides of the default configuration, the key that is wrong then, and a part of the message.
type Misfit = (&'static [&'static str], &'static str, &'static str);

const WHO_AND_WHERE: &[Misfit] = &[
    (&["feed.line=[]"], "feed.line", "at least one [[feed.line]]"),
    (&["feed.line[1].group=239.255.77.1:31001"], "feed.line[1]", "repeats `feed.line[0]`"),
    (&["feed.line[0].group=239.1.1.1:0"], "feed.line[0].group", "port 0"),
    (&["feed.line[0].group=0.0.0.0:5"], "feed.line[0].group", "names nobody"),
    (&["feed.line[0].interface=224.0.0.1"], "feed.line[0].interface", "no interface's address"),
    (
        &["feed.line[0].group=127.0.0.1:5", "feed.line[0].source=127.0.0.1"],
        "feed.line[0].source",
        "no multicast group",
    ),
    (&["feed.rewind_servers=['127.0.0.1:0']"], "feed.rewind_servers[0]", "nobody answers"),
    (
        &["feed.rewind_servers=['127.0.0.1:1', '127.0.0.1:1']"],
        "feed.rewind_servers[1]",
        "name each server once",
    ),
    (&["sequencer.min_in_sync=0"], "sequencer.min_in_sync", "give 1 to 1"),
    (&["sequencer.min_in_sync=2"], "sequencer.min_in_sync", "this node is alone"),
    (&["sequencer.source=[]"], "sequencer.source", "1 to 64 sources"),
    (&["sequencer.name="], "sequencer.name", "is empty"),
    (
        &["sequencer.source[0].line[1].group=239.255.77.2:31002"],
        "sequencer.source[0].line[1].group",
        "also `feed.line[1].group`: the sequencer would order its own output",
    ),
    (&["sequencer.source[0].session=SEQCAST001"], "sequencer.source[0].session", "`feed.session`"),
    (&["journal.segment_bytes=16KiB"], "journal.segment_bytes", "largest frames; give at least 1MiB"),
    (&["journal.segment_bytes=1234567"], "journal.segment_bytes", "multiple of 4KiB"),
    (&["journal.retain_bytes=100MiB"], "journal.retain_bytes", "less than two segments"),
    (&["journal.catch_up_bytes=1GiB"], "journal.catch_up_bytes", "less than `journal.retain_bytes`"),
    (&["publisher.retain_bytes=0"], "publisher.retain_bytes", "at least 1"),
    (&["publisher.window_messages=0"], "publisher.window_messages", "nothing could be sent"),
    (&["publisher.allow=[]"], "publisher.allow", "nobody could ask"),
    (&["publisher.limits.client_rate=7bit/s"], "publisher.limits.client_rate", "less than a byte a second"),
    (&["sequencer.source[0].rewind_servers=[]"], "sequencer.source[0].acknowledge", "names nobody to tell"),
    (&["rewind.allow=[]"], "rewind.allow", "nobody could ask"),
    (&["rewind.limits.total_datagrams_per_s=0"], "rewind.limits.total_datagrams_per_s", "at least 1"),
    (&["snapshot.username=toolong"], "snapshot.username", "1 to 6 ASCII letters or digits"),
    (&["feed.snapshot.servers=[]"], "feed.snapshot.servers", "names nobody"),
    (
        &["feed.snapshot.servers=['127.0.0.1:1', '127.0.0.1:1']"],
        "feed.snapshot.servers[1]",
        "name each server once",
    ),
    (&["feed.snapshot.password="], "feed.snapshot.password", "1 to 10 ASCII"),
];

const TUNING: &[Misfit] = &[
    (&["receive.attempts=0"], "receive.attempts", "at least 1"),
    (&["receive.stash_bytes=1KiB"], "receive.stash_bytes", "give at least 64KiB"),
    (&["receive.silence=1s"], "receive.silence", "two of `send.heartbeat`"),
    (&["receive.max_backoff=1ms"], "receive.max_backoff", "`receive.request_timeout`"),
    (&["send.datagram_bytes=22"], "send.datagram_bytes", "give 23 to 65507 bytes"),
    (&["send.datagram_bytes=64KiB"], "send.datagram_bytes", "give 23 to 65507 bytes"),
    (&["send.datagram_bytes=9000"], "send.datagram_bytes", "more than `io.max_datagram_bytes` (2048)"),
    (&["send.pace=0bit/s"], "send.pace", "give a rate"),
    (&["send.first_heartbeat=2s"], "send.heartbeat", "`send.first_heartbeat`"),
    (&["io.max_datagram_bytes=1MiB"], "io.max_datagram_bytes", "65507"),
    (&["io.receive_buffers=1000"], "io.receive_buffers", "power of two up to 32768"),
    (&["io.send_slots=0"], "io.send_slots", "give 1 to 16384"),
    (&["memory.ring_bytes=3MiB"], "memory.ring_bytes", "power of two of at least 1MiB; use 4MiB"),
    (&["runtime.park_min=2ms"], "runtime.park_max", "less than `runtime.park_min`"),
    (&["runtime.thread=[{name='a', agents=[]}]"], "runtime.thread[0].agents", "at least one agent"),
    (
        &["runtime.thread=[{name='a', agents=['x']}, {name='b', agents=['y', 'x']}]"],
        "runtime.thread[1].agents",
        "names `x`, as `runtime.thread[0]` does",
    ),
    (
        &["runtime.thread=[{name='a', agents=['x']}, {name='a', agents=['y']}]"],
        "runtime.thread[1].name",
        "its own name",
    ),
    (
        &["runtime.thread=[{name='a', agents=['x'], core=1, idle='spin'}, {name='b', agents=['y'], core=1}]"],
        "runtime.thread[1].core",
        "also the core of `a`",
    ),
];

#[test]
fn a_cluster_needs_a_coordinator_and_nodes_and_gets_defaults_for_the_rest() {
    let config = Config::parse(FILE_CLUSTER).unwrap();
    config.validate().unwrap();
    let Cluster {
        heartbeat,
        suspect_after,
        max_suspect_after,
        stagger,
        lag_timeout,
        window_bytes,
        record_refresh,
        ..
    } = config.cluster.clone().unwrap();
    assert_eq!((heartbeat, suspect_after), (Nanos::from_millis(1), Nanos::from_millis(50)));
    assert_eq!((max_suspect_after, stagger), (Nanos::from_secs(2), Nanos::from_millis(10)));
    assert_eq!((lag_timeout, record_refresh), (Nanos::from_millis(500), Nanos::from_millis(250)));
    assert_eq!(window_bytes, 1 << 20);
    assert_eq!(config.cluster.as_ref().unwrap().nodes[2].replication, "127.0.0.1:31203".parse().unwrap());

    let config = Config::parse(ETCD_CLUSTER).unwrap();
    config.validate().unwrap();
    let Coordinator::Etcd(etcd) = &config.cluster.as_ref().unwrap().coordinator else { panic!("etcd") };
    assert_eq!(etcd.endpoints[1].to_string(), "https://10.1.0.12:2379");
    assert_eq!((etcd.prefix.as_str(), etcd.request_timeout), ("/trading/", Nanos::from_millis(100)));
    let least = "[cluster]\nnode = []\ncoordinator = {kind='etcd', endpoints=['http://h']}";
    let least = Config::parse(least).unwrap().cluster.unwrap().coordinator;
    let Coordinator::Etcd(etcd) = least else { panic!("etcd") };
    assert_eq!((etcd.prefix.as_str(), etcd.request_timeout), ("/seqcast/", Nanos::from_millis(250)));
    assert_eq!((etcd.user, etcd.ca, etcd.cert), (None, None, None));
}

#[test]
fn clusters_read_back() {
    for text in [FILE_CLUSTER, ETCD_CLUSTER] {
        let config = Config::parse(text).unwrap();
        assert_eq!(Config::parse(&config.to_toml().unwrap()).unwrap(), config);
    }
}

#[test]
fn in_a_cluster_two_members_are_the_least_unless_it_says_otherwise() {
    assert_eq!(Config::default().min_in_sync(), 1);
    let mut config = in_a_cluster();
    assert_eq!(config.min_in_sync(), 2);
    config.cluster.as_mut().unwrap().nodes.truncate(1);
    assert_eq!(config.min_in_sync(), 1);
    config.sequencer.as_mut().unwrap().min_in_sync = Some(3);
    assert_eq!(config.min_in_sync(), 3);
}

/// Replacements in [`FILE_CLUSTER`] or [`ETCD_CLUSTER`], and the message then.
const CLUSTERS: &[(&str, &str, &str, &str)] = &[
    (
        FILE_CLUSTER,
        "name = \"seq2\"",
        "name = \"seq1\"",
        "`cluster.node[1].name` is `seq1`, as `cluster.node[0].name`",
    ),
    (
        FILE_CLUSTER,
        "31202",
        "31201",
        "`cluster.node[1].replication` is 127.0.0.1:31201, as `cluster.node[0].replication`",
    ),
    (FILE_CLUSTER, "127.0.0.1:31202", "0.0.0.0:5", "is 0.0.0.0:5, where nobody can be reached"),
    (FILE_CLUSTER, "31202", "0", "is 127.0.0.1:0, where nobody can be reached"),
    (FILE_CLUSTER, "\"seq2\"", "\"a b\"", "`cluster.node[1].name` is `a b`; give it a name"),
    (FILE_CLUSTER, "\"seq2\"", "\"\"", "1 to 32 ASCII letters"),
    (
        FILE_CLUSTER,
        "dir = \"/var/lib/seqcast/coordinator\"",
        "dir = \"\"",
        "`cluster.coordinator.dir` is empty",
    ),
    (
        FILE_CLUSTER,
        "dir = \"/var/lib/seqcast/coordinator\"",
        "",
        "`cluster.coordinator.dir` is missing at line 1",
    ),
    (FILE_CLUSTER, "dir =", "dri =", "unknown key `dri` at line 1, column 1; did you mean `dir`?"),
    (FILE_CLUSTER, "\"file\"", "\"zookeeper\"", "`cluster.coordinator.kind` cannot be `zookeeper`"),
    (FILE_CLUSTER, "kind = \"file\"\n", "", "`cluster.coordinator.kind` is missing"),
    (
        FILE_CLUSTER,
        "[cluster.coordinator]",
        "[cluster]\nheartbeat=\"0s\"\n[cluster.coordinator]",
        "`cluster.heartbeat` is zero",
    ),
    (
        FILE_CLUSTER,
        "[cluster.coordinator]",
        "[cluster]\nheartbeat=\"20ms\"\n[cluster.coordinator]",
        "`cluster.suspect_after` is less than 3 of",
    ),
    (
        FILE_CLUSTER,
        "[cluster.coordinator]",
        "[cluster]\nsuspect_after=\"3s\"\n[cluster.coordinator]",
        "`cluster.max_suspect_after` is less than",
    ),
    (
        FILE_CLUSTER,
        "[cluster.coordinator]",
        "[cluster]\nlag_timeout=\"2ms\"\n[cluster.coordinator]",
        "`cluster.lag_timeout` is less than 3 of",
    ),
    (
        FILE_CLUSTER,
        "[cluster.coordinator]",
        "[cluster]\nstagger=\"3s\"\n[cluster.coordinator]",
        "`cluster.stagger` is more than",
    ),
    (
        FILE_CLUSTER,
        "[cluster.coordinator]",
        "[cluster]\nwindow_bytes=\"1KiB\"\n[cluster.coordinator]",
        "`cluster.window_bytes` is 1KiB",
    ),
    (
        FILE_CLUSTER,
        "[cluster.coordinator]",
        "[cluster]\nrecord_refresh=\"0ms\"\n[cluster.coordinator]",
        "`cluster.record_refresh` is zero",
    ),
    (
        ETCD_CLUSTER,
        "\"https://10.1.0.11:2379\", \"https://10.1.0.12\"",
        "",
        "`cluster.coordinator.endpoints` is empty",
    ),
    (ETCD_CLUSTER, "12\"", "11\"", "`cluster.coordinator.endpoints[1]` repeats https://10.1.0.11:2379"),
    (ETCD_CLUSTER, "https://10.1.0.12", "http://10.1.0.12", "mixes http:// and https://"),
    (
        ETCD_CLUSTER,
        "https://10.1.0.12",
        "10.1.0.12:1",
        "10.1.0.12:1 is not an address such as \"http://10.1.0.9:2379\"",
    ),
    (
        ETCD_CLUSTER,
        "user = \"u\"\n",
        "",
        "`cluster.coordinator.password` is given, but `cluster.coordinator.user` is not",
    ),
    (
        ETCD_CLUSTER,
        "key = \"key.pem\"\n",
        "",
        "`cluster.coordinator.cert` is given, but `cluster.coordinator.key` is not",
    ),
    (ETCD_CLUSTER, "\"/trading/\"", "\"\"", "`cluster.coordinator.prefix` is empty"),
    (ETCD_CLUSTER, "\"100ms\"", "\"0ms\"", "`cluster.coordinator.request_timeout` is zero"),
    (ETCD_CLUSTER, "\"100ms\"", "100", "expected a duration with a unit"),
];

#[test]
fn clusters_that_cannot_work_are_refused() {
    for &(text, old, new, expected) in CLUSTERS {
        assert!(text.contains(old), "{old}");
        let error = refusal(&text.replacen(old, new, 1));
        assert!(error.contains(expected), "{old} -> {new}: {error}");
    }
    let plain = ETCD_CLUSTER.replace("https://", "http://");
    assert!(
        refusal(&plain).contains("`cluster.coordinator.ca` is given, but no item of"),
        "{}",
        refusal(&plain)
    );
    let nodes: String = (0..9)
        .map(|at| format!("[[cluster.node]]\nname = \"n{at}\"\nreplication = \"10.0.0.{at}:1\"\n"))
        .collect();
    let nine = FILE_CLUSTER.split("[[").next().unwrap().to_owned() + &nodes;
    assert!(refusal(&nine).contains("`cluster.node` has 9 items"), "{}", refusal(&nine));
    assert!(
        refusal("[cluster]\nnode = []\ncoordinator = {kind='file', dir='d'}")
            .contains("`cluster.node` has 0 items")
    );
}

#[test]
fn a_sequencer_is_one_of_its_cluster() {
    let with = |sequencer: &str| {
        let mut config = in_a_cluster();
        config.apply_override(sequencer).unwrap();
        config.validate().map_err(|error| error.to_string())
    };
    with("sequencer.name=seq2").unwrap();
    with("sequencer.min_in_sync=3").unwrap();
    assert!(with("sequencer.min_in_sync=4").unwrap_err().contains("`cluster.node` has 3 items"));
    assert!(with("sequencer.min_in_sync=0").unwrap_err().contains("give 1 to 3"));
    let error = with("sequencer.name=seq9").unwrap_err();
    assert!(error.contains("is `seq9`, which `cluster.node` does not name"), "{error}");
    assert!(error.contains("(known: seq1, seq2, seq3)"), "{error}");
}

#[test]
fn what_does_not_fit_together_is_refused_with_keys_and_remedy() {
    for (assignments, key, what) in WHO_AND_WHERE.iter().chain(TUNING) {
        let assignments: Vec<String> = assignments.iter().map(|&text| text.into()).collect();
        let error = Config::load(None, &assignments).unwrap_err();
        assert!(
            error.problems.iter().any(|problem| problem.key == *key && problem.to_string().contains(what)),
            "{assignments:?}: {error}"
        );
    }
}

#[test]
fn sources_must_be_told_apart() {
    let source = |name: &str, session: &str, group: u8| {
        format!(
            "{{name='{name}', session='{session}', acknowledge=false, line=[{{group='239.7.7.{group}:7', interface='10.0.0.1'}}]}}"
        )
    };
    let with = |first: String, second: String| format!("sequencer.source=[{first}, {second}]");
    let load = |assignment: String| Config::load(None, &[assignment]);
    load(with(source("a", "A", 1), source("b", "B", 2))).unwrap();
    load(with(source("a", "A", 1), source("b", "B", 1))).expect("sessions tell lines apart");
    load(with(source("a", "any", 1), source("b", "any", 2))).expect("lines tell sessions apart");
    let two_of_one_name = with(source("a", "A", 1), source("a", "B", 2));
    assert!(
        refused(&[&two_of_one_name])
            .contains("`sequencer.source[1].name` is `a`, as `sequencer.source[0].name`")
    );
    let two_of_one_session = with(source("a", "A", 1), source("b", "A", 2));
    assert!(refused(&[&two_of_one_session]).contains("`sequencer.source[1].session` is `A`"));
    let any_on_a_shared_line = with(source("a", "A", 1), source("b", "any", 1));
    assert!(refused(&[&any_on_a_shared_line]).contains("shares 239.7.7.1:7"));
}

#[test]
fn two_threads_may_share_a_core_when_both_rest() {
    let threads = "runtime.thread=[{name='a', agents=['x'], core=1}, {name='b', agents=['y'], core=1}]";
    Config::load(None, &[threads.into()]).unwrap();
    assert!(refused(&[threads, "runtime.idle=spin"]).contains("give each its own core"));
}

#[test]
fn whoever_wants_a_snapshot_needs_a_server() {
    let mut config = Config::parse(SUBSCRIBER).unwrap();
    for key in ["start", "on_unfillable"] {
        config.subscriber = Subscriber::default();
        config.apply_override(&format!("subscriber.{key}=snapshot")).unwrap();
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`subscriber.{key}` is \"snapshot\"")), "{error}");
    }
    config.apply_override("feed.snapshot={servers=['10.1.0.7:1'], username='a', password='b'}").unwrap();
    config.validate().unwrap();
}

#[test]
fn passwords_are_not_repeated_in_messages() {
    assert!(!refused(&["snapshot.password=correct horse battery"]).contains("horse"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(\\PC|\n|\\[|\\]|=|\"|feed|line|session|\\.){0,60}") {
        if let Err(error) = Config::parse(&text) {
            prop_assert!(!error.to_string().is_empty());
        }
        let _ = Config::default().apply_override(&text);
    }

    #[test]
    fn a_file_cut_off_or_changed_anywhere_is_read_or_refused(at in 0usize..4_000, byte in 32u8..127) {
        let mut text = Config::default_toml().as_bytes().to_vec();
        let at = at % text.len();
        text[at] = byte;
        for text in [&text[..], &text[..at]] {
            if let Ok(text) = std::str::from_utf8(text) && let Ok(config) = Config::parse(text) {
                let _ = config.validate();
            }
        }
    }
}
