//! The cluster: nodes, a coordinator's register, a network, what has been published, and all that can happen next.

use std::collections::BTreeSet;
use std::sync::Arc;

use seqcast_engine::replica::{Answer, Broken, Member, Members, NodeId, Record, Request, Rule, Versioned};
use stateright::{Model, Property};

use crate::log::Log;
use crate::node::{Acknowledgement, Asked, Node, Setting, Stream};

/// How far the exploration goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) nodes: u16,
    pub(crate) min_in_sync: usize,
    /// Messages in a journal.
    pub(crate) messages: u64,
    /// Highest epoch.
    pub(crate) epoch: u64,
    /// Of the faults, how many of each.
    pub(crate) faults: Faults,
    /// Streams and acknowledgements that are on their way between two nodes, of each kind and epoch.
    pub(crate) in_flight: usize,
    pub(crate) broken: Broken,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Faults {
    /// A standby takes its primary for dead.
    pub(crate) suspicions: u8,
    /// A primary takes a standby for dead.
    pub(crate) losses: u8,
    /// A process dies; its journal stays.
    pub(crate) crashes: u8,
    /// A machine loses its power, and the journal's end with it.
    pub(crate) power_losses: u8,
    /// The coordinator's answer is lost; a swap may yet be made.
    pub(crate) unknown_answers: u8,
    /// An operator wants another primary.
    pub(crate) commands: u8,
}

impl Faults {
    pub(crate) const NONE: Faults =
        Faults { suspicions: 0, losses: 0, crashes: 0, power_losses: 0, unknown_answers: 0, commands: 0 };
}

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Message {
    to: NodeId,
    from: (NodeId, u64),
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum What {
    Stream(Stream),
    Acknowledgement(Acknowledgement),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) register: Option<Versioned>,
    /// A swap whose answer was given up, and that may yet be made.
    late: Option<(u64, Record)>,
    network: BTreeSet<Message>,
    faults: Faults,
    /// The longest history that was published, rewound or acknowledged to a publisher.
    pub(crate) published: Log,
    /// Somebody published another one.
    is_forked: bool,
    /// The register went back, or one epoch has had two primaries.
    went_back: bool,
    /// A member came back into the set.
    grew: bool,
}

/// Something that can happen. Nodes are named by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Number(usize),
    /// All timers of a node run out.
    Tick(usize),
    Promised(usize),
    /// A request arrives at the coordinator.
    Request(usize),
    Answer(usize),
    Unknown(usize),
    /// A swap that was given up is made.
    LateSwap,
    /// The message with this place in the network arrives.
    Deliver(usize),
    /// A node that promised a higher epoch tells a primary.
    Refuse {
        by: usize,
        to: usize,
    },
    Suspect(usize),
    Lose {
        by: usize,
        node: usize,
    },
    Crash(usize),
    LosePower {
        node: usize,
        kept: u64,
    },
    Promote(usize),
    HandOver {
        from: usize,
        to: usize,
    },
}

fn epoch_of(what: &What) -> u64 {
    match what {
        What::Stream(stream) => stream.epoch,
        What::Acknowledgement(said) => said.epoch,
    }
}

impl Bounds {
    pub(crate) fn setting(&self) -> Setting {
        Setting { min_in_sync: self.min_in_sync, broken: self.broken }
    }

    fn nothing_yet(&self) -> State {
        let member = |node| Member { node: NodeId(node), incarnation: 1 };
        State {
            nodes: (0..self.nodes).map(|node| Arc::new(Node::new(self.setting(), member(node)))).collect(),
            register: None,
            late: None,
            network: BTreeSet::new(),
            faults: Faults::NONE,
            published: Log::default(),
            is_forked: false,
            went_back: false,
            grew: false,
        }
    }

    /// All nodes in sync in epoch 1, as they come to be when nothing goes wrong.
    pub(crate) fn in_sync(&self) -> State {
        let mut state = self.nothing_yet();
        let is_in_sync = |state: &State| {
            let all = |versioned: Versioned| versioned.record.in_sync.len() == usize::from(self.nodes);
            state.register.is_some_and(all)
                && state.nodes.iter().all(|node| {
                    let knows_all = node.control.known().is_some_and(|known| all(*known));
                    node.control.epoch() == 1 && node.asked == Asked::Nothing && knows_all
                })
        };
        for round in 0..1_000 {
            if is_in_sync(&state) {
                let faults = self.faults;
                return State { faults, grew: false, ..state };
            }
            let mut steps = Vec::new();
            self.actions(&state, &mut steps);
            let goes_on = |step: &&Step| {
                matches!(step, Step::Promised(_) | Step::Request(_) | Step::Answer(_) | Step::Deliver(_))
            };
            let tick = Step::Tick(round % state.nodes.len());
            let next = steps.iter().filter(goes_on).find_map(|step| self.next_state(&state, *step));
            state = next.or_else(|| self.next_state(&state, tick)).unwrap_or(state);
        }
        panic!("the cluster does not come to be in sync: {state:#?}");
    }
}

impl State {
    fn node_mut(&mut self, node: usize) -> &mut Node {
        Arc::make_mut(&mut self.nodes[node])
    }

    /// The request of a node at the coordinator.
    fn request(&mut self, node: usize) {
        let Asked::Request(request) = self.nodes[node].asked else { return };
        let answer = match request {
            Request::Read => Answer::Read(self.register),
            Request::Swap { expected, record } => self.swap(expected, record),
        };
        self.node_mut(node).asked = Asked::Answer(answer);
    }

    fn swap(&mut self, expected: u64, record: Record) -> Answer {
        let revision = self.register.map_or(0, |versioned| versioned.revision);
        if expected != revision {
            return Answer::Lost;
        }
        if let Some(Versioned { record: old, .. }) = self.register {
            let is_older = record.epoch < old.epoch;
            self.went_back |= is_older || (record.epoch == old.epoch && record.primary != old.primary);
            self.grew |= record.epoch == old.epoch && record.in_sync.len() > old.in_sync.len();
        }
        let versioned = Versioned { revision: revision + 1, record };
        self.register = Some(versioned);
        Answer::Swapped(versioned)
    }

    /// The answer of a node is not waited for any more.
    fn give_up_request(&mut self, node: usize) {
        if let Asked::Request(Request::Swap { expected, record }) = self.nodes[node].asked {
            self.late = Some((expected, record));
        }
        self.node_mut(node).asked = Asked::Nothing;
    }

    /// Sends what `node` now has to say, and takes note of what it may tell subscribers and publishers.
    fn look_at(&mut self, bounds: &Bounds, node: usize) {
        let told = &self.nodes[node];
        let from = (told.me.node, told.me.incarnation);
        let mut said = Vec::new();
        if let Some(stream) = told.stream() {
            let others = self.nodes.iter().map(|node| node.me.node).filter(|other| *other != from.0);
            said.extend(others.map(|to| Message { to, from, what: What::Stream(stream.clone()) }));
        }
        if let Some((to, acknowledgement)) = told.acknowledgement() {
            said.push(Message { to, from, what: What::Acknowledgement(acknowledgement) });
        }
        let final_for_it = told.log.prefix(told.committed);
        if final_for_it.begins_with(&self.published) {
            self.published = final_for_it;
        } else {
            self.is_forked |= !self.published.begins_with(&final_for_it);
        }
        self.network.extend(said);
        self.forget(bounds);
    }

    /// The network loses what can have no effect any more, and what is too much for it: of what one node said to another
    /// in one epoch, the oldest.
    fn forget(&mut self, bounds: &Bounds) {
        let heeds_all = bounds.broken.is(Rule::StaleEpochAccepted);
        let nodes = &self.nodes;
        self.network.retain(|message| {
            let to = &nodes[usize::from(message.to.0)];
            match &message.what {
                What::Stream(stream) => heeds_all || stream.epoch >= to.promised,
                What::Acknowledgement(said) => to.leads() == Some(said.epoch),
            }
        });
        let of = |message: &Message| {
            let is_stream = matches!(message.what, What::Stream(_));
            (message.to, message.from, is_stream, epoch_of(&message.what))
        };
        let mut too_many = Vec::new();
        let mut count = (None, 0);
        for message in self.network.iter().rev() {
            count =
                if count.0 == Some(of(message)) { (count.0, count.1 + 1) } else { (Some(of(message)), 1) };
            if count.1 > bounds.in_flight {
                too_many.push(message.clone());
            }
        }
        for message in too_many {
            self.network.remove(&message);
        }
        let revision = self.register.map_or(0, |versioned| versioned.revision);
        self.late = self.late.filter(|(expected, _)| *expected == revision);
    }

    fn deliver(&mut self, bounds: &Bounds, at: usize) -> Option<usize> {
        let message = self.network.iter().nth(at)?.clone();
        let to = usize::from(message.to.0);
        let from = Member { node: message.from.0, incarnation: message.from.1 };
        // Again and again it would bring a former incarnation back into the set, for a while each time.
        if self.nodes[usize::from(from.node.0)].me != from {
            self.network.remove(&message);
        }
        match &message.what {
            What::Stream(stream) => self.node_mut(to).on_stream(from, stream),
            What::Acknowledgement(said) => {
                // With that rule broken it counts what the node ever had as what it has.
                let counts_all = bounds.broken.is(Rule::StaleIncarnationCounted);
                let most = self.network.iter().filter_map(|other| match &other.what {
                    What::Acknowledgement(most)
                        if other.to == message.to && other.from.0 == message.from.0 =>
                    {
                        Some(most.verified)
                    }
                    _ => None,
                });
                let most = most.max().filter(|_| counts_all);
                self.node_mut(to).on_acknowledgement(from, said, most);
            }
        }
        Some(to)
    }

    /// A step that is no fault. Gives the node that took it.
    fn go_on(&mut self, bounds: &Bounds, step: Step) -> Option<usize> {
        let at = match step {
            Step::Number(at)
            | Step::Tick(at)
            | Step::Promised(at)
            | Step::Request(at)
            | Step::Answer(at)
            | Step::Refuse { to: at, .. } => at,
            Step::Deliver(at) => return self.deliver(bounds, at),
            _ => return None,
        };
        match step {
            Step::Number(_) => self.node_mut(at).number(),
            Step::Tick(_) => {
                self.node_mut(at).tick();
                // A read takes no time: that answers come late is left to swaps.
                if self.nodes[at].asked == Asked::Request(Request::Read) {
                    let answer = Answer::Read(self.register);
                    self.node_mut(at).on_answer(answer);
                }
            }
            Step::Promised(_) => self.node_mut(at).on_promised(),
            Step::Answer(_) => {
                let Asked::Answer(answer) = self.nodes[at].asked else { return None };
                self.node_mut(at).on_answer(answer);
            }
            Step::Refuse { by, .. } => {
                let promised = self.nodes[by].inbound.promised();
                self.node_mut(at).on_refused(promised);
            }
            _ => self.request(at),
        }
        Some(at)
    }

    /// A fault, if there may be one more of its kind. Gives the node that it befell.
    fn fail(&mut self, bounds: &Bounds, step: Step) -> Option<usize> {
        let (faults, setting) = (&mut self.faults, bounds.setting());
        let (left, at) = match step {
            Step::Unknown(at) => (&mut faults.unknown_answers, at),
            Step::Suspect(at) => (&mut faults.suspicions, at),
            Step::Lose { by, .. } => (&mut faults.losses, by),
            Step::Crash(at) => (&mut faults.crashes, at),
            Step::LosePower { node, .. } => (&mut faults.power_losses, node),
            Step::Promote(at) => (&mut faults.commands, at),
            Step::HandOver { from, .. } => (&mut faults.commands, from),
            _ => return None,
        };
        *left = left.checked_sub(1)?;
        match step {
            Step::Unknown(_) => {
                self.give_up_request(at);
                self.node_mut(at).on_answer(Answer::Unknown);
            }
            Step::Suspect(_) => self.node_mut(at).suspect(),
            Step::Lose { node, .. } => self.node_mut(at).lose(NodeId(node as u16)),
            Step::Crash(_) => {
                self.give_up_request(at);
                self.nodes[at] = Arc::new(self.nodes[at].restarted(setting));
            }
            Step::LosePower { kept, .. } => {
                self.give_up_request(at);
                self.nodes[at] = Arc::new(self.nodes[at].powered_again(setting, kept));
            }
            Step::Promote(_) => self.node_mut(at).promote(),
            Step::HandOver { to, .. } => {
                let to = self.nodes[to].me;
                self.node_mut(at).hand_over(to);
            }
            _ => return None,
        }
        Some(at)
    }

    /// Who is primary by the record, leads, and is who the record means.
    fn leader(&self) -> Option<&Node> {
        let record = self.register?.record;
        let node = self.nodes.get(usize::from(record.primary.node.0))?;
        (node.me == record.primary && node.leads() == Some(record.epoch)).then_some(node)
    }

    fn in_sync(&self) -> Members {
        self.register.map_or_else(Members::default, |versioned| versioned.record.in_sync)
    }

    /// The members of the set that may take over.
    fn heirs(&self) -> impl Iterator<Item = &Arc<Node>> {
        let in_sync = self.in_sync();
        self.nodes.iter().filter(move |node| in_sync.contains(node.me))
    }
}

impl Model for Bounds {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![self.in_sync()]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        let faults = &state.faults;
        let has = |left: u8| left > 0;
        for (at, node) in state.nodes.iter().enumerate().filter(|(_, node)| !node.diverged) {
            let is_primary = node.is_primary();
            if node.is_admitting() && node.log.len() < self.messages {
                steps.push(Step::Number(at));
            }
            if node.promising.is_some() {
                steps.push(Step::Promised(at));
            }
            match node.asked {
                Asked::Nothing => {}
                Asked::Request(_) => steps.push(Step::Request(at)),
                Asked::Answer(_) => steps.push(Step::Answer(at)),
            }
            if node.asked != Asked::Nothing && has(faults.unknown_answers) {
                steps.push(Step::Unknown(at));
            }
            steps.push(Step::Tick(at));
            if !is_primary && has(faults.suspicions) {
                steps.push(Step::Suspect(at));
            }
            if !is_primary && has(faults.commands) {
                steps.push(Step::Promote(at));
            }
            if has(faults.crashes) {
                steps.push(Step::Crash(at));
            }
            if has(faults.power_losses) {
                steps.extend((0..=node.log.len()).map(|kept| Step::LosePower { node: at, kept }));
            }
            for other in (0..state.nodes.len()).filter(|other| *other != at) {
                if is_primary && has(faults.losses) {
                    steps.push(Step::Lose { by: at, node: other });
                }
                if is_primary && has(faults.commands) {
                    steps.push(Step::HandOver { from: at, to: other });
                }
                let promised = state.nodes[at].inbound.promised();
                if state.nodes[other].leads().is_some_and(|epoch| epoch < promised) {
                    steps.push(Step::Refuse { by: at, to: other });
                }
            }
        }
        steps.extend((0..state.network.len()).map(Step::Deliver));
        if state.late.is_some() {
            steps.push(Step::LateSwap);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::LateSwap => {
                let (expected, record) = state.late.take()?;
                state.swap(expected, record);
                state.forget(self);
            }
            step => {
                let touched = state.go_on(self, step).or_else(|| state.fail(self, step))?;
                state.look_at(self, touched);
            }
        }
        // What a fault leaves as it was did not happen.
        let is_same = state == State { faults: state.faults, ..last.clone() };
        (!is_same).then_some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        let promised = |node: &Arc<Node>| node.control.promised() <= self.epoch;
        state.nodes.iter().all(promised)
    }

    fn properties(&self) -> Vec<Property<Bounds>> {
        vec![
            Property::always(ONE_ORDER, |_, state: &State| !state.is_forked),
            Property::always(HEIRS, |_, state: &State| {
                state.heirs().all(|node| node.log.begins_with(&state.published))
            }),
            Property::always(NOT_LOST, |_, state: &State| {
                state.leader().is_none_or(|node| node.log.begins_with(&state.published))
            }),
            Property::always(FORWARD, |_, state: &State| {
                let keeps = |node: &Arc<Node>| {
                    let promised = node.promised.max(node.inbound.promised());
                    node.inbound.following().is_none_or(|(epoch, _)| epoch >= promised)
                        && node.promised <= node.control.promised()
                };
                !state.went_back && state.nodes.iter().all(keeps)
            }),
            Property::always(NO_DIVERGENCE, |_, state: &State| state.nodes.iter().all(|node| !node.diverged)),
            Property::sometimes(TAKEOVER, |_, state: &State| {
                state.leader().is_some_and(|node| node.me.node != NodeId(0))
            }),
            Property::sometimes(GOES_ON, |_, state: &State| {
                let epochs = state.published.epochs();
                epochs.first() == Some(&1) && epochs.last() > Some(&1)
            }),
            Property::sometimes(COMES_BACK, |bounds, state: &State| {
                let all = state.in_sync().len() == usize::from(bounds.nodes);
                state.grew && all && state.leader().is_some_and(|node| node.me.node != NodeId(0))
            }),
            Property::sometimes(TAIL_CUT, |_, state: &State| state.nodes.iter().any(|node| node.was_cut)),
        ]
    }
}

pub(crate) const ONE_ORDER: &str = "no number is published twice";
pub(crate) const HEIRS: &str = "what is published is in the journal of every member that may take over";
pub(crate) const NOT_LOST: &str = "what is acknowledged is in the journal of whoever leads";
pub(crate) const FORWARD: &str = "epochs go forward, each with one primary";
pub(crate) const NO_DIVERGENCE: &str = "no stream contradicts what was verified";
pub(crate) const TAKEOVER: &str = "another node takes over";
pub(crate) const GOES_ON: &str = "after a takeover the order goes on";
pub(crate) const COMES_BACK: &str = "a member comes back into the set of another primary";
pub(crate) const TAIL_CUT: &str = "a stale tail is cut";
