//! A sequencer and a subscriber on two hosts, the feed between them past both kernels. Takes root; else it prints
//! `skipped`.
#![cfg(all(target_os = "linux", feature = "xdp"))]

mod common;
#[path = "../../engine/tests/io_support/mod.rs"]
mod io_support;

use common::*;
use io_support::wire::{FAR_IP, NEAR_IP, Wire, on};

#[test]
fn a_feed_goes_past_the_kernel_and_its_gaps_are_filled() {
    let Some(wire) = Wire::new() else { return };
    let mut site = Site::new(1);
    site.rewind.set_ip(NEAR_IP);
    site.snapshot.set_ip(NEAR_IP);
    let day = site.day(40_000);
    let (early_file, late_file) = (site.path("early.itch"), site.path("late.itch"));
    let past_the_kernel = |command: Seqcast, ip: std::net::Ipv4Addr| {
        let interface = ip.to_string();
        command
            .set("io.driver", "xdp")
            .set("feed.line[0].interface", &interface)
            .set("feed.line[1].interface", &interface)
    };
    let faults = ["--loss=0.02", "--fault-seed=12"];

    // The publisher is on the sequencer's own host: what it sends comes over the loopback, through the kernel.
    let sequencer =
        past_the_kernel(site.sequence(), NEAR_IP).set("rewind.allow", "[\"10.77.0.0/24\"]").start();
    let subscriber = past_the_kernel(site.subscribe(&early_file), FAR_IP).arg("--start=first").args(faults);
    let early = on(&wire.far, || subscriber.start());
    let publisher = site.publish(0, &day).arg("--rate=10000").start();
    let early = early.good();
    // Whoever comes after the first has gone has the interface past the kernel too.
    let subscriber = past_the_kernel(site.subscribe(&late_file), FAR_IP).arg("--start=snapshot");
    let late = on(&wire.far, || subscriber.start()).good();
    let sequencer = sequencer.terminate();
    assert_eq!(sequencer.code, Some(0), "{}", sequencer.err);
    assert_eq!(publisher.terminate().code, Some(0));

    for (done, messages) in [(&early, 40_000), (&late, 0)] {
        let summary = done.json();
        assert_eq!(digest_in(&summary), digest(&day), "{summary}");
        assert!(summary["messages"].as_u64() >= Some(messages), "{summary}");
        assert_eq!(summary["lost_messages"], 0);
        assert!(done.err.contains("XDP on far"), "{}", done.err);
    }
    assert_same(&messages(&early_file), &messages(&day), "subscriber");
    assert!(sequencer.err.contains("XDP on near"), "{}", sequencer.err);
    let sent = sequencer.counter("seqcast_egress_sent_datagrams_total");
    assert_eq!(sequencer.counter("seqcast_egress_bypass_sent_datagrams_total"), sent);
    // Requests leave a subscriber by whatever interface its kernel chooses, and so by its kernel, check sums left to the
    // virtual cable: those are not taken past the other one.
    assert!(sequencer.counter("seqcast_rewind_received_datagrams_total") > 0);
}
