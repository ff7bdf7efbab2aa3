//! Controls of a few nodes around one register, by hand: every promise is durable and every answer there at once, unless a
//! test says otherwise. The simulator tries what these do not.

use super::*;
use crate::replica::gate::Closed;
use crate::replica::hearing::Attendance;

const T0: Nanos = Nanos(1_000_000_000);

fn seq(value: u64) -> SeqNo {
    SeqNo::new(value).unwrap()
}

fn session() -> Session {
    "SESSION".parse().unwrap()
}

fn member(node: u16) -> Member {
    Member { node: NodeId(node), incarnation: 100 + u64::from(node) }
}

fn set(nodes: &[u16]) -> Members {
    Members::of(&nodes.iter().map(|&node| member(node)).collect::<Vec<_>>()).unwrap()
}

fn config(node: u16) -> ControlConfig {
    ControlConfig {
        me: member(node),
        session: session(),
        has_coordinator: true,
        min_in_sync: 2,
        durability: Durability::Memory,
        record_refresh: Nanos::from_millis(250),
        stagger: Nanos::from_millis(5),
        retry: Nanos::from_millis(2),
    }
}

/// The coordinator.
#[derive(Default)]
struct Register(Option<Versioned>);

impl Register {
    fn holding(revision: u64, epoch: u64, primary: u16, nodes: &[u16]) -> Register {
        let record = Record { session: session(), epoch, primary: member(primary), in_sync: set(nodes) };
        Register(Some(Versioned { revision, record }))
    }

    fn answer(&mut self, request: Request) -> Answer {
        match request {
            Request::Read => Answer::Read(self.0),
            Request::Swap { expected, record } => {
                if self.0.map_or(0, |versioned| versioned.revision) != expected {
                    return Answer::Lost;
                }
                let versioned = Versioned { revision: expected + 1, record };
                self.0 = Some(versioned);
                Answer::Swapped(versioned)
            }
        }
    }
}

fn node(number: u16, promised: u64, next: u64, epoch: u64) -> Control {
    let state = JournalState { next: seq(next), ended: false, epoch, published: seq(1) };
    Control::new(config(number), promised, state, Broken::NONE)
}

/// Takes all actions, answers what is asked, and gives the others.
fn run(control: &mut Control, now: Nanos, register: &mut Register) -> Vec<Action> {
    let mut others = Vec::new();
    control.poll(now);
    while let Some(action) = control.poll_action() {
        match action {
            Action::Promise(epoch) => control.on_promised(now, epoch),
            Action::Ask(request) => {
                let answer = register.answer(request);
                control.on_answer(now, answer);
            }
            Action::Prepare(_) | Action::Tell(_) => {}
            other => others.push(other),
        }
    }
    others
}

/// A standby of node 0, epoch 7, in the set {0, 1, 2}.
fn standby(number: u16, register: &mut Register) -> Control {
    let mut control = node(number, 0, 5, 7);
    run(&mut control, T0, register);
    assert_eq!(control.role(), Role::Standby { primary: member(0) });
    assert_eq!((control.epoch(), control.promised()), (7, 7));
    control
}

#[test]
fn the_first_node_of_all_leads_and_the_others_follow_it() {
    let mut register = Register::default();
    let mut first = node(0, 0, 1, 0);
    let mut second = node(1, 0, 1, 0);
    assert_eq!(run(&mut second, T0, &mut register), [], "it lets the first go first");
    assert_eq!(run(&mut first, T0, &mut register), [Action::StopAcknowledging(1), Action::Lead { epoch: 1 }]);
    assert!(first.gate().unwrap().admitting().is_err(), "one member is below the minimum");
    let later = T0 + Nanos::from_millis(6);
    let actions = run(&mut second, later, &mut register);
    assert_eq!(actions.last(), Some(&Action::Follow { epoch: 1, primary: member(0) }), "{actions:?}");
}

#[test]
fn a_standby_takes_over_by_one_swap_without_the_old_primary() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    control.on_suspicion(T0, Suspect::Closed);
    assert_eq!(
        run(&mut control, T0, &mut register),
        [Action::StopAcknowledging(8), Action::Lead { epoch: 8 }]
    );
    let record = register.0.unwrap().record;
    assert_eq!((record.epoch, record.primary, record.in_sync), (8, member(1), set(&[1, 2])));
    assert_eq!(*control.gate().unwrap().local(), set(&[1, 2]));
}

#[test]
fn of_two_that_race_one_wins_and_the_other_follows_it() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let (mut one, mut two) = (standby(1, &mut register), standby(2, &mut register));
    one.on_suspicion(T0, Suspect::Closed);
    two.on_suspicion(T0, Suspect::Closed);
    run(&mut one, T0, &mut register);
    assert_eq!(one.role(), Role::Primary);
    let later = T0 + Nanos::from_millis(5);
    let actions = run(&mut two, later, &mut register);
    assert_eq!(two.role(), Role::Standby { primary: member(1) }, "{actions:?}");
    assert_eq!(two.epoch(), 8);
}

#[test]
fn who_is_not_listed_as_it_is_now_never_stands() {
    let mut register = Register::holding(40, 7, 0, &[0, 1]);
    let mut outsider = standby(2, &mut register);
    outsider.on_suspicion(T0, Suspect::Silent);
    assert_eq!(run(&mut outsider, T0, &mut register), []);
    // Node 1 with another incarnation than the one listed.
    let config = ControlConfig { me: Member { node: NodeId(1), incarnation: 999 }, ..config(1) };
    let state = JournalState { next: seq(1), ended: false, epoch: 0, published: seq(1) };
    let mut reborn = Control::new(config, 0, state, Broken::NONE);
    run(&mut reborn, T0, &mut register);
    reborn.on_suspicion(T0, Suspect::Closed);
    run(&mut reborn, T0 + Nanos::from_secs(1), &mut register);
    assert_eq!(reborn.role(), Role::Standby { primary: member(0) });
    assert_eq!(register.0.unwrap().revision, 40);
}

#[test]
fn a_swap_of_unknown_outcome_is_settled_by_reading() {
    for was_made in [true, false] {
        let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
        let mut control = standby(1, &mut register);
        control.on_suspicion(T0, Suspect::Closed);
        control.poll(T0);
        let mut swaps = 0;
        let mut now = T0;
        for _ in 0..10 {
            while let Some(action) = control.poll_action() {
                match action {
                    Action::Promise(epoch) => control.on_promised(now, epoch),
                    Action::Ask(request @ Request::Swap { .. }) => {
                        swaps += 1;
                        let mut answer = Answer::Unknown;
                        if was_made || swaps > 1 {
                            let made = register.answer(request);
                            answer = if swaps > 1 { made } else { Answer::Unknown };
                        }
                        control.on_answer(now, answer);
                    }
                    Action::Ask(request) => {
                        let answer = register.answer(request);
                        control.on_answer(now, answer);
                    }
                    _ => {}
                }
            }
            now = now + Nanos::from_millis(2);
            control.poll(now);
        }
        assert_eq!(control.role(), Role::Primary, "made: {was_made}");
        assert_eq!(swaps, if was_made { 1 } else { 2 });
        assert_eq!((register.0.unwrap().revision, register.0.unwrap().record.epoch), (41, 8));
    }
}

#[test]
fn a_primary_that_the_record_does_not_name_steps_down_and_follows() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    control.on_suspicion(T0, Suspect::Closed);
    run(&mut control, T0, &mut register);
    register = Register::holding(42, 9, 2, &[1, 2]);
    let actions = run(&mut control, T0 + Nanos::from_secs(1), &mut register);
    assert_eq!(
        actions,
        [Action::StepDown, Action::StopAcknowledging(9), Action::Follow { epoch: 9, primary: member(2) }]
    );
    assert!(control.gate().is_none());
}

#[test]
fn a_member_that_promised_more_makes_the_primary_renew_its_epoch() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    control.on_suspicion(T0, Suspect::Closed);
    run(&mut control, T0, &mut register);
    control.on_refused(T0, 12);
    let actions = run(&mut control, T0, &mut register);
    assert_eq!(actions, [Action::StopAcknowledging(13), Action::StepDown, Action::Lead { epoch: 13 }]);
    assert_eq!(register.0.unwrap().record.in_sync, set(&[1, 2]));
    control.on_refused(T0, 12);
    assert_eq!(run(&mut control, T0, &mut register), [], "it speaks of an earlier epoch");
}

#[test]
fn a_forged_refusal_of_an_epoch_that_nobody_can_have_promised_changes_nothing() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    control.on_suspicion(T0, Suspect::Closed);
    run(&mut control, T0, &mut register);
    for epoch in [u64::MAX, u64::MAX - 1, 8 + MAX_LEAP + 1] {
        control.on_refused(T0, epoch);
        assert_eq!(run(&mut control, T0, &mut register), []);
        assert_eq!((control.epoch(), control.promised()), (8, 8));
    }
    control.on_refused(T0, 8 + MAX_LEAP);
    assert_eq!(run(&mut control, T0, &mut register).last(), Some(&Action::Lead { epoch: 9 + MAX_LEAP }));
}

#[test]
fn a_forged_higher_epoch_is_looked_up_and_not_believed() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    for epoch in [8, u64::MAX] {
        control.on_higher_epoch(T0, epoch);
        control.poll(T0);
        assert_eq!(control.poll_action(), Some(Action::Ask(Request::Read)));
        control.on_answer(T0, Answer::Read(register.0));
        assert_eq!(run(&mut control, T0, &mut register), []);
        assert_eq!((control.role(), control.promised()), (Role::Standby { primary: member(0) }, 7));
    }
}

#[test]
fn the_last_word_of_a_primary_makes_the_others_look_whom_the_record_names() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut heir = standby(1, &mut register);
    let mut register = Register::holding(41, 8, 1, &[0, 1, 2]);
    assert_eq!(run(&mut heir, T0, &mut register), [], "it is not due to look");
    heir.on_refused(T0, 8);
    let actions = run(&mut heir, T0, &mut register);
    assert_eq!(actions, [Action::StopAcknowledging(8), Action::Lead { epoch: 8 }]);
}

#[test]
fn a_zombie_whose_renewal_is_lost_refuses_the_winner_until_that_renews_its_epoch_too() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut zombie = standby(1, &mut register);
    zombie.on_suspicion(T0, Suspect::Closed);
    run(&mut zombie, T0, &mut register);
    assert_eq!((zombie.role(), zombie.epoch()), (Role::Primary, 8));
    // Frozen while another took over, it hears of that by a refusal before it reads the record.
    let mut register = Register::holding(42, 9, 2, &[2]);
    zombie.on_refused(T0, 9);
    let actions = run(&mut zombie, T0, &mut register);
    assert_eq!(actions, [Action::StopAcknowledging(10), Action::StepDown]);
    assert_eq!((zombie.role(), zombie.promised()), (Role::Joining, 10));
    let mut register = Register::holding(43, 11, 2, &[2]);
    let actions = run(&mut zombie, T0 + Nanos::from_secs(1), &mut register);
    assert_eq!(actions, [Action::StopAcknowledging(11), Action::Follow { epoch: 11, primary: member(2) }]);
}

/// The renewal of a primary and the swap of a candidate cross. The candidate won, lives, and renews its epoch once it is
/// refused; were the loser to stand again at once, each would go on deposing the other, and one of them ends alone.
#[test]
fn whose_renewal_is_lost_leaves_the_winner_time_to_renew_its_epoch() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut loser = standby(1, &mut register);
    loser.on_suspicion(T0, Suspect::Closed);
    run(&mut loser, T0, &mut register);
    let mut register = Register::holding(42, 9, 2, &[1, 2]);
    loser.on_refused(T0, 9);
    let actions = run(&mut loser, T0, &mut register);
    assert_eq!(actions, [Action::StopAcknowledging(10), Action::StepDown]);
    let soon = T0 + Nanos::from_millis(49);
    assert_eq!(run(&mut loser, soon, &mut register), [], "it leaves the other time");
    assert_eq!(register.0.unwrap().record.primary, member(2));
    let late = T0 + Nanos::from_millis(50);
    assert_eq!(
        run(&mut loser, late, &mut register).last(),
        Some(&Action::Lead { epoch: 11 }),
        "but not for ever"
    );
    assert_eq!(register.0.unwrap().record.in_sync, set(&[1]));
}

#[test]
fn the_set_shrinks_by_swap_first_and_grows_locally_first() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    control.on_suspicion(T0, Suspect::Closed);
    run(&mut control, T0, &mut register);
    control.on_caught_up(member(0), seq(5));
    assert_eq!(*control.gate().unwrap().local(), set(&[0, 1, 2]), "before the swap");
    assert_eq!(register.0.unwrap().record.in_sync, set(&[1, 2]));
    run(&mut control, T0, &mut register);
    assert_eq!(register.0.unwrap().record.in_sync, set(&[0, 1, 2]));
    control.on_roll(roll(&[THERE, GONE]));
    control.on_lost(NodeId(2), Suspect::Silent);
    assert_eq!(*control.gate().unwrap().local(), set(&[0, 1, 2]), "until the swap is confirmed");
    run(&mut control, T0, &mut register);
    assert_eq!(*control.gate().unwrap().local(), set(&[0, 1]));
}

const THERE: Attendance = Attendance { is_member: true, is_heard: true, is_fresh: true, keeps_up: true };
const GONE: Attendance = Attendance { is_heard: false, is_fresh: false, ..THERE };

fn roll(others: &[Attendance]) -> Roll {
    let mut roll = Roll::default();
    others.iter().for_each(|&other| roll.count(other));
    roll
}

#[test]
fn the_set_never_shrinks_below_its_minimum_and_nothing_is_admitted_then() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    control.on_suspicion(T0, Suspect::Closed);
    run(&mut control, T0, &mut register);
    assert_eq!(register.0.unwrap().record.in_sync, set(&[1, 2]));
    assert!(!control.is_deaf(), "it has not looked yet");
    control.on_lost(NodeId(2), Suspect::Silent);
    assert!(control.gate().unwrap().proposal().is_none(), "who has not looked does not shrink");
    for (others, is_deaf) in [([GONE, GONE], true), ([Attendance { keeps_up: false, ..THERE }, GONE], false)]
    {
        control.on_roll(roll(&others));
        control.on_lost(NodeId(2), Suspect::Silent);
        run(&mut control, T0, &mut register);
        assert_eq!(register.0.unwrap().record.in_sync, set(&[1, 2]), "node 2 may still take over");
        assert_eq!(control.is_deaf(), is_deaf);
        assert_eq!(control.gate().unwrap().admitting(), Err(Closed::BelowMinimum { len: 1, min: 2 }));
    }
    control.on_roll(roll(&[THERE, GONE]));
    assert!(!control.is_deaf() && control.gate().unwrap().admitting().is_ok());
    // An earlier incarnation leaves whoever is there: nobody could take over as that.
    let reborn = Member { incarnation: 999, ..member(2) };
    control.on_roll(roll(&[Attendance { keeps_up: false, ..THERE }]));
    control.on_caught_up(reborn, seq(5));
    run(&mut control, T0, &mut register);
    assert_eq!(register.0.unwrap().record.in_sync, set(&[1]));
    control.on_caught_up(reborn, seq(5));
    run(&mut control, T0, &mut register);
    assert!(register.0.unwrap().record.in_sync.contains(reborn));
}

#[test]
fn who_may_go_on_alone_shrinks_to_itself() {
    let mut register = Register::holding(40, 7, 1, &[0, 1]);
    let state = JournalState { next: seq(5), ended: false, epoch: 7, published: seq(1) };
    let mut control = Control::new(ControlConfig { min_in_sync: 1, ..config(1) }, 7, state, Broken::NONE);
    run(&mut control, T0, &mut register);
    assert_eq!(control.role(), Role::Primary);
    control.on_roll(roll(&[GONE, GONE]));
    assert!(!control.is_deaf());
    control.on_lost(NodeId(0), Suspect::Silent);
    run(&mut control, T0, &mut register);
    assert_eq!(register.0.unwrap().record.in_sync, set(&[1]));
    assert!(control.gate().unwrap().admitting().is_ok());
}

#[test]
fn who_only_doubts_tells_it_and_goes_on_following() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    for _ in 0..3 {
        control.on_doubt(Suspect::Silent);
    }
    let told = Action::Tell(Notice::Suspected { node: NodeId(0), why: Suspect::Silent });
    assert_eq!(control.poll_action(), Some(told));
    assert_eq!((control.poll_action(), control.role()), (None, Role::Standby { primary: member(0) }));
}

#[test]
fn who_waits_for_its_turn_looks_when_it_hears_of_somebody_who_was_first() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let (mut one, mut two) = (standby(1, &mut register), standby(2, &mut register));
    one.on_suspicion(T0, Suspect::Silent);
    two.on_suspicion(T0, Suspect::Silent);
    assert_eq!(run(&mut two, T0, &mut register), []);
    run(&mut one, T0, &mut register);
    assert_eq!((one.role(), two.role()), (Role::Primary, Role::Candidate));
    let now = T0 + Nanos(1);
    two.on_higher_epoch(now, 8);
    let actions = run(&mut two, now, &mut register);
    assert_eq!(actions, [Action::StopAcknowledging(8), Action::Follow { epoch: 8, primary: member(1) }]);
}

#[test]
fn behind_a_dead_primary_who_waits_for_its_turn_promises_meanwhile() {
    for is_first_alive in [true, false] {
        let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
        let (mut one, mut two) = (standby(1, &mut register), standby(2, &mut register));
        two.on_suspicion(T0, Suspect::Closed);
        assert_eq!(run(&mut two, T0, &mut register), [Action::StopAcknowledging(8)]);
        assert_eq!(
            (two.role(), register.0.unwrap().revision),
            (Role::Candidate, 40),
            "its turn has not come"
        );
        two.on_primary_heard();
        assert_eq!(two.role(), Role::Candidate, "a promise is a promise");
        if is_first_alive {
            one.on_suspicion(T0, Suspect::Closed);
            run(&mut one, T0, &mut register);
            two.on_higher_epoch(T0, 8);
            let actions = run(&mut two, T0, &mut register);
            assert_eq!(actions, [Action::Follow { epoch: 8, primary: member(1) }]);
        } else {
            let actions = run(&mut two, T0 + Nanos::from_millis(5), &mut register);
            assert_eq!(actions, [Action::Lead { epoch: 8 }]);
        }
    }
}

#[test]
fn who_waits_behind_a_dead_primary_finds_the_new_one_without_hearing_of_it() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut two = standby(2, &mut register);
    two.on_suspicion(T0, Suspect::Closed);
    run(&mut two, T0, &mut register);
    let mut now = T0;
    for _ in 0..3 {
        now = now + LOOK_EVERY;
        assert_eq!(run(&mut two, now, &mut register), [], "nobody has taken over yet");
    }
    register = Register::holding(41, 8, 1, &[1, 2]);
    assert_eq!(run(&mut two, now, &mut register), [], "not all the time");
    let actions = run(&mut two, now + LOOK_EVERY, &mut register);
    assert_eq!(actions, [Action::Follow { epoch: 8, primary: member(1) }]);
}

#[test]
fn a_swap_is_prepared_while_its_promise_is_made() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let (mut one, mut two) = (standby(1, &mut register), standby(2, &mut register));
    let actions = |control: &mut Control| -> Vec<Action> {
        control.on_suspicion(T0, Suspect::Closed);
        std::iter::from_fn(|| control.poll_action()).collect()
    };
    let prepared = |actions: &[Action]| {
        actions
            .iter()
            .find_map(|action| if let Action::Prepare(record) = action { Some(*record) } else { None })
    };
    let (first, second) = (actions(&mut one), actions(&mut two));
    assert!(first.contains(&Action::Promise(8)) && second.contains(&Action::Promise(8)));
    assert_eq!(prepared(&second), None, "it leaves the disk to who goes first");
    one.on_promised(T0, 8);
    let record = prepared(&first).unwrap();
    assert_eq!(one.poll_action(), Some(Action::Ask(Request::Swap { expected: 40, record })));
}

#[test]
fn a_promise_that_is_still_on_its_way_is_waited_for_by_whoever_follows_too() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut two = standby(2, &mut register);
    two.on_suspicion(T0, Suspect::Closed);
    let asks =
        |control: &mut Control| -> Vec<Action> { std::iter::from_fn(|| control.poll_action()).collect() };
    assert!(asks(&mut two).contains(&Action::Promise(8)));
    register = Register::holding(41, 8, 1, &[1, 2]);
    two.on_higher_epoch(T0, 8);
    two.poll(T0);
    assert!(asks(&mut two).contains(&Action::Ask(Request::Read)));
    two.on_answer(T0, Answer::Read(register.0));
    assert_eq!(two.role(), Role::Joining);
    two.on_promised(T0, 8);
    assert_eq!(two.role(), Role::Standby { primary: member(1) });
}

#[test]
fn a_restored_backup_and_a_lost_record_are_refused() {
    let mut register = Register::holding(40, 7, 0, &[0, 1, 2]);
    let mut control = standby(1, &mut register);
    register = Register::holding(3, 2, 2, &[1, 2]);
    control.on_suspicion(T0, Suspect::Closed);
    control.on_answer(T0, Answer::Unknown);
    for step in 1..100 {
        run(&mut control, T0 + Nanos::from_millis(10 * step), &mut register);
    }
    assert_ne!(control.role(), Role::Primary);
    assert_eq!(register.0.unwrap().revision, 3);

    let mut register = Register(None);
    let mut control = node(1, 7, 5, 7);
    for step in 1..100 {
        run(&mut control, T0 + Nanos::from_millis(10 * step), &mut register);
    }
    assert_eq!(
        (control.role(), register.0),
        (Role::Joining, None),
        "it has a history, and makes no first record"
    );
}

#[test]
fn the_last_member_lost_is_not_replaced() {
    let mut register = Register::holding(40, 7, 1, &[1]);
    let config = ControlConfig { me: Member { node: NodeId(1), incarnation: 999 }, ..config(1) };
    let state = JournalState { next: seq(1), ended: false, epoch: 0, published: seq(1) };
    let mut control = Control::new(config, 0, state, Broken::NONE);
    for step in 1..100 {
        run(&mut control, T0 + Nanos::from_millis(10 * step), &mut register);
    }
    assert_eq!((control.role(), register.0.unwrap().revision), (Role::Joining, 40));
}

#[test]
fn a_node_that_is_alone_leads_once_its_promise_is_durable() {
    let config = ControlConfig { has_coordinator: false, min_in_sync: 1, ..config(0) };
    let state = JournalState { next: seq(5), ended: false, epoch: 3, published: seq(5) };
    let mut control = Control::new(config, 4, state, Broken::NONE);
    let actions: Vec<_> = std::iter::from_fn(|| control.poll_action()).collect();
    assert!(actions.contains(&Action::Promise(5)), "{actions:?}");
    assert!(control.gate().is_none());
    control.on_promised(T0, 5);
    assert_eq!(control.role(), Role::Primary);
    assert!(control.gate().unwrap().admitting().is_ok());
}
