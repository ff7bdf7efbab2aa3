//! All that can become of a small cluster, step by step: no order of events within the bounds is left out.
//!
//! The checker (`stateright`) drives the production core: every node is a real `Control` with its real `CommitGate`, and
//! a real `Inbound` that verifies, appends and cuts real frames with their chained check sums. What the replica
//! agent does between them, [`node`] does in the same order. Abstract are:
//!
//! - **time**: timers run out whenever they like, and anybody may take anybody for dead at any time;
//! - **the stream's sending end**: a primary sends its whole journal each time, and how far it is committed. A standby
//!   may get any of what was ever sent in an epoch, in any order, any number of times, or never; what it lacks, a
//!   later one brings. An acknowledgement that finds its sender outside of the set asks for it to be taken in;
//! - **the coordinator**: a register with compare-and-swap. A swap takes effect some time after it was asked for, its
//!   answer comes some time after that or never, and a swap whose answer was given up may still be made. Reads take
//!   no time;
//! - **publishing**: what a primary counts as committed, and what a standby knows to be, is published that instant.
//!
//! The network forgets what cannot have an effect any more, and of what one node said to another in one epoch all but
//! the last [`Bounds::in_flight`].
//!
//! Explored exhaustively each time, all within a minute on two cores in the profile `dev`:
//!
//! | exploration | states | depth |
//! |---|---|---|
//! | two nodes, two messages, a takeover; a crash and a lost answer of the coordinator | 398,147 | 37 |
//! | the same; a loss of power with any part of the journal | 269,111 | 44 |
//! | the same; an operator's command | 118,674 | 33 |
//! | the same; two streams and two acknowledgements of an epoch on their way | 21,289 | 31 |
//! | three nodes, two to be in sync, one message, a takeover; a lost member | 139,068 | 31 |
//! | the same; two candidates | 28,242 | 26 |
//!
//! Each of the ten rules, broken, is found out within 23,000 states, by a way of 8 to 11 steps.
//!
//! `cargo test -p seqcast-engine --features sim --test model -- --ignored --nocapture` explores farther.

mod log;
mod model;
mod node;

use std::time::Instant;

use model::*;
use seqcast_engine::replica::{Broken, Rule};
use stateright::{Checker, Expectation, HasDiscoveries, Model, Path};

/// Two nodes that both may lead alone, two messages, one takeover and what comes of it.
const PAIR: Bounds = Bounds {
    nodes: 2,
    min_in_sync: 1,
    messages: 2,
    epoch: 3,
    faults: Faults { suspicions: 1, losses: 1, ..Faults::NONE },
    in_flight: 1,
    broken: Broken::NONE,
};

/// Three nodes of which two must be in sync, one message.
const THREE: Bounds = Bounds { nodes: 3, min_in_sync: 2, messages: 1, epoch: 2, ..PAIR };

/// Explores all within `bounds`: every state is sound, and everything that must be possible is, but for `not_here`.
fn explore(name: &str, bounds: Bounds, not_here: &[&str]) {
    let began = Instant::now();
    let checker = bounds.checker().spawn_bfs().join();
    let (states, depth, found) = (checker.unique_state_count(), checker.max_depth(), checker.discoveries());
    eprintln!("{name}: {states} states, depth {depth}, {:.1?}", began.elapsed());
    for property in bounds.properties() {
        let path = found.get(property.name).map(told);
        match property.expectation {
            Expectation::Always => assert_eq!(path, None, "{name}: not so: {}", property.name),
            _ if not_here.contains(&property.name) => {}
            _ => assert!(path.is_some(), "{name}: it never happens that {}", property.name),
        }
    }
}

fn steps(path: &Path<State, Step>) -> Vec<Step> {
    path.clone().into_actions()
}

fn told(path: &Path<State, Step>) -> String {
    let steps: Vec<String> = steps(path).iter().map(|step| format!("{step:?}")).collect();
    steps.join(", ")
}

#[test]
fn a_pair_with_crashes_and_lost_answers() {
    let faults = Faults { crashes: 1, unknown_answers: 1, ..PAIR.faults };
    explore("a pair, a crash, a lost answer", Bounds { faults, ..PAIR }, &[]);
}

#[test]
fn a_pair_with_a_loss_of_power() {
    let faults = Faults { power_losses: 1, ..PAIR.faults };
    explore("a pair, a loss of power", Bounds { faults, ..PAIR }, &[]);
}

#[test]
fn a_pair_with_an_operator() {
    let faults = Faults { commands: 1, ..PAIR.faults };
    explore("a pair, an operator's command", Bounds { faults, ..PAIR }, &[]);
}

#[test]
fn a_pair_with_reordering_within_an_epoch() {
    explore("a pair, two messages of a kind on their way", Bounds { in_flight: 2, ..PAIR }, &[]);
}

#[test]
fn three_nodes_with_a_lost_member() {
    explore("three nodes, a lost member", THREE, &[GOES_ON, COMES_BACK, TAIL_CUT]);
}

#[test]
fn three_nodes_and_two_candidates() {
    let faults = Faults { suspicions: 2, losses: 0, ..THREE.faults };
    explore("three nodes, two candidates", Bounds { faults, ..THREE }, &[GOES_ON, COMES_BACK, TAIL_CUT]);
}

/// A rule that is broken is found out, by the shortest way there.
#[test]
fn every_broken_rule_is_found_out() {
    // Without these two nothing goes wrong, but nothing goes on either: that is for the simulator.
    let is_for_liveness = |rule: &Rule| matches!(rule, Rule::ShrinkBelowMinimum | Rule::DeafPrimaryKept);
    for rule in Rule::ALL.into_iter().filter(|rule| !is_for_liveness(rule)) {
        let power_losses = matches!(rule, Rule::LostJournalEligible | Rule::StaleIncarnationCounted);
        let faults = Faults { power_losses: power_losses.into(), unknown_answers: 1, ..PAIR.faults };
        let bounds = Bounds { faults, broken: Broken::rule(rule), ..PAIR };
        let checker = bounds.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let states = checker.unique_state_count();
        let found = checker.discoveries();
        let is_always = |name: &str| [ONE_ORDER, HEIRS, NOT_LOST, FORWARD, NO_DIVERGENCE].contains(&name);
        let shortest = found.iter().filter(|(name, _)| is_always(name));
        let shortest = shortest.min_by_key(|(_, path)| steps(path).len());
        let Some((property, path)) = shortest else {
            panic!("{}: not found in {states} states", rule.name())
        };
        let steps = steps(path).len();
        eprintln!("{}: {states} states, {steps} steps, not so: {property}: {}", rule.name(), told(path));
    }
}

#[test]
#[ignore = "minutes, and gigabytes of memory"]
fn a_pair_farther() {
    let faults = Faults { crashes: 1, power_losses: 1, unknown_answers: 1, ..PAIR.faults };
    explore("a pair, a crash, a loss of power, a lost answer", Bounds { faults, ..PAIR }, &[]);
    let faults = Faults { power_losses: 1, ..PAIR.faults };
    explore("a pair, a loss of power, two on their way", Bounds { faults, in_flight: 2, ..PAIR }, &[]);
    let faults = Faults { suspicions: 2, crashes: 1, unknown_answers: 1, ..PAIR.faults };
    explore("a pair, two takeovers, a crash, a lost answer", Bounds { faults, epoch: 4, ..PAIR }, &[]);
}

#[test]
#[ignore = "minutes, and gigabytes of memory"]
fn three_nodes_farther() {
    let not_here = [GOES_ON, COMES_BACK, TAIL_CUT];
    let faults = Faults { suspicions: 2, losses: 0, ..THREE.faults };
    explore("three nodes, two candidates, three epochs", Bounds { faults, epoch: 3, ..THREE }, &not_here);
    let faults = Faults { power_losses: 1, ..THREE.faults };
    explore("three nodes, a loss of power", Bounds { faults, ..THREE }, &not_here);
    explore("three nodes, two messages", Bounds { messages: 2, ..THREE }, &not_here);
}
