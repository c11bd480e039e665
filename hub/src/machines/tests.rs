//! Machines in one process: what is refused before it could not be undone, and who stands when nobody else can.

use std::time::Duration;

use futures_util::FutureExt;
use jikai_schema::command::{ClusterCommand, Command, Outcome};
use jikai_schema::event::{Actor, MachineState};
use jikai_schema::id::MachineNo;
use jikai_sync::transport::HubDrain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::view::Role;
use super::*;
use crate::province::{LONG, Machines as Province, deposit};
use crate::raft::digests::Agreement;
use crate::raft::settings::Settings;

fn number(machine: u16) -> MachineNo {
    MachineNo::new(machine).unwrap()
}

/// Three voters that have told where they are; the last one was invited to vote only.
async fn three() -> Province {
    three_of_which_votes_only(3).await
}

async fn three_of_which_votes_only(voting: u16) -> Province {
    let province = Province::set_up(3, &Settings::default()).await;
    for invited in 2..=3 {
        let voter_only = invited == voting;
        let outcome = province.ask(1, Command::Cluster(ClusterCommand::Invite { voter_only })).await;
        assert!(matches!(outcome, Outcome::Invited { .. }), "{outcome:?}");
    }
    for machine in 1..=3 {
        let http = Some("127.0.0.1:8443".parse().unwrap());
        let (machine, voter_only, links) = (number(machine), machine == voting, Vec::new());
        let told = ClusterCommand::Announce { machine, http, voter_only, links };
        assert_eq!(province.ask(1, Command::Cluster(told)).await, Outcome::Done { events: 1, existing: 0 });
    }
    province
}

fn seen_from(province: &Province, machine: u16) -> Machines {
    let running = &province[machine];
    Machines::new(machine, &running.member.cluster, running.sequencer.clone(), running.pool.clone())
}

fn credit(number: u64) -> Command {
    Command::CreditDeposits(vec![deposit(number, 13_010_001, "1.00")])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_only_votes_stands_where_it_alone_has_the_newest_entry_and_hands_over() {
    stands_and_hands_over(3, 2).await;
}

/// The engine prefers the greater number where both stand in the same term.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_only_votes_stands_where_the_one_it_must_refuse_has_a_greater_number() {
    stands_and_hands_over(2, 3).await;
}

/// The first leads, and is lost with an entry that of both others only the one that votes has.
async fn stands_and_hands_over(voting: u16, behind: u16) {
    let province = three_of_which_votes_only(voting).await;
    province.isolate(behind);
    assert_eq!(province.ask(1, credit(100)).await, Outcome::Done { events: 1, existing: 0 });
    province.applied(voting, province[1].sequencer.applied()).await;
    let cancelled = CancellationToken::new();
    // Only because it must refuse the other, without which it would wait for ever.
    let keeping = keep_only_voting(seen_from(&province, voting), Duration::MAX, cancelled.clone());
    let keeping = tokio::spawn(keeping);
    province.isolate(1);
    province.heal_but(1);
    let mut metrics = province[behind].member.cluster.metrics();
    let led = metrics.wait_for(|metrics| metrics.current_leader == Some(u64::from(behind)));
    tokio::time::timeout(LONG, led).await.unwrap().unwrap();
    assert_eq!(province.ask(behind, credit(100)).await, Outcome::Done { events: 0, existing: 1 }, "it is not lost");
    assert!(!province[voting].member.cluster.is_needed_to_lead(), "it hears the one that it had refused");
    cancelled.cancel();
    keeping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_only_votes_stands_when_its_patience_has_ended_where_nobody_else_does() {
    let province = three().await;
    let cancelled = CancellationToken::new();
    let voting = keep_only_voting(seen_from(&province, 3), Duration::ZERO, cancelled.clone());
    let voting = tokio::spawn(voting);
    province[2].member.cluster.stand_for_election(false);
    for machine in [2, 3] {
        province.applied(machine, province[1].sequencer.applied()).await;
    }
    province.isolate(1);
    province.heal_but(1);
    let mut metrics = province[2].member.cluster.metrics();
    let led = metrics.wait_for(|metrics| metrics.current_leader == Some(2));
    tokio::time::timeout(LONG, led).await.unwrap().unwrap();
    cancelled.cancel();
    voting.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_after_which_no_majority_would_answer_is_refused_and_changes_nothing() {
    let province = three().await;
    province.isolate(3);
    let machines = seen_from(&province, 1);
    let refused = machines.remove(Actor::System.into(), number(2)).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "no_majority_left", .. }), "{refused}");
    let view = machines.view().await.unwrap();
    assert_eq!(view.machines[1].state, Some(MachineState::Serving), "it does not even drain");
    assert_eq!(province.ask(1, credit(100)).await, Outcome::Done { events: 1, existing: 0 });
    province.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_has_not_caught_up_gets_no_vote() {
    let mut province = three().await;
    province.seat(4).await;
    province.follow(4).await;
    province.isolate(4);
    for deposit in 100..320 {
        province.ask(1, credit(deposit)).await;
    }
    let refused = province[1].member.cluster.promote(4).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Behind { id: 4, .. }), "{refused}");
    assert_eq!(province.ask(1, credit(400)).await, Outcome::Done { events: 1, existing: 0 });
    province.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_taken_in_beyond_the_request_that_began_it() {
    let mut province = three().await;
    for _ in 4..=5 {
        province.ask(1, Command::Cluster(ClusterCommand::Invite { voter_only: false })).await;
    }
    province.seat(4).await;
    province.isolate(4);
    let machines = seen_from(&province, 1);
    let address = province.peer_address(4);
    assert!(!machines.begin_to_add(number(4), &address).await.unwrap(), "it cannot be reached yet");
    let refused = machines.begin_to_add(number(5), &address).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "taking_in_another", .. }), "{refused}");
    province.heal();
    let mut caught_up = machines.begin_to_add(number(4), &address).await.unwrap();
    while !caught_up {
        caught_up = machines.go_on_adding(number(4)).await.unwrap();
    }
    let view = machines.view().await.unwrap();
    assert!(view.machines.iter().any(|known| known.machine == 4 && known.role == Role::Learner));
    assert!(machines.go_on_adding(number(4)).await.unwrap(), "who else waits hears it too");
    assert!(machines.begin_to_add(number(4), &address).await.unwrap(), "asking again is harmless");
    province.ask(1, Command::Cluster(ClusterCommand::Retire { machine: number(4) })).await;
    let refused = machines.begin_to_add(number(4), &address).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "machine_retired", .. }), "it begins anew: {refused}");
    let refused = machines.go_on_adding(number(5)).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "not_taking_in", .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_machine_hears_why_it_was_not_taken_in_and_may_begin_anew() {
    let province = three().await;
    let machines = seen_from(&province, 1);
    for _ in 0..2 {
        let refused = machines.begin_to_add(number(9), "127.0.0.1:7447").await.unwrap_err();
        assert!(matches!(refused, MachinesError::NotNow { code: "machine_not_invited", .. }), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_taken_out_at_its_own_request_beyond_it_and_stays_until_the_end_was_told() {
    let province = three().await;
    let machines = seen_from(&province, 2);
    let refused = machines.go_on_removing(number(2)).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "not_taking_out", .. }), "{refused}");
    assert!(machines.told_own_removal().now_or_never().is_some(), "nobody is to be told");
    let by = || Actor::System.into();
    assert!(!machines.begin_to_remove(by(), number(2)).await.unwrap(), "its nodes have longer to leave");
    let refused = machines.begin_to_remove(by(), number(3)).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "taking_out_another", .. }), "{refused}");
    assert!(machines.told_own_removal().now_or_never().is_none(), "who asked is to hear the end before it stops");
    let mut removed = machines.begin_to_remove(by(), number(2)).await.unwrap();
    while !removed {
        removed = machines.go_on_removing(number(2)).await.unwrap();
    }
    assert!(machines.told_own_removal().now_or_never().is_some(), "it was told");
    assert!(machines.begin_to_remove(by(), number(2)).await.unwrap(), "the machine itself is asked again");
    let view = seen_from(&province, 1).view().await.unwrap();
    let known = view.machines.iter().find(|known| known.machine == 2).unwrap();
    assert_eq!((known.role, known.state), (Role::Outside, Some(MachineState::Retired)));
    let machines = seen_from(&province, 1);
    assert!(machines.go_on_removing(number(2)).await.unwrap(), "it is out, whoever was asked for it");
    assert!(machines.begin_to_remove(by(), number(2)).await.unwrap(), "asking another one again is harmless");
    let refused = machines.begin_to_remove(by(), number(9)).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "machine_not_invited", .. }), "it begins anew: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_machine_is_not_taken_in_though_somebody_began_to_before() {
    let mut province = three().await;
    province.ask(1, Command::Cluster(ClusterCommand::Invite { voter_only: false })).await;
    province.seat(4).await;
    let (leader, address) = (&province[1].member.cluster, province.peer_address(4));
    leader.turn_away([4].into());
    let refused = leader.add_learner(4, &address).await.unwrap_err();
    assert!(matches!(refused, ChangeError::Removed(4)), "{refused}");
    leader.turn_away([].into());
    leader.add_learner(4, &address).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_only_votes_is_not_drained_and_is_removed_without() {
    let province = three().await;
    let machines = seen_from(&province, 1);
    let refused = machines.drain(Actor::System.into(), number(3), true).await.unwrap_err();
    assert!(matches!(refused, MachinesError::NotNow { code: "votes_only", .. }), "{refused}");
    machines.remove(Actor::System.into(), number(3)).await.unwrap();
    let view = machines.view().await.unwrap();
    assert_eq!((view.machines[2].role, view.machines[2].state), (Role::Outside, Some(MachineState::Retired)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_belongs_to_no_hub_changes_none_and_one_that_was_taken_in_has_all_that_was_there() {
    let mut province = three().await;
    province.ask(1, Command::Cluster(ClusterCommand::Invite { voter_only: false })).await;
    province.seat(4).await;
    let (stranger, address) = (seen_from(&province, 4), province.peer_address(4));
    let by = || Actor::System.into();
    for refused in [
        stranger.add(number(4), &address).await,
        stranger.promote(number(4)).await,
        stranger.transfer(number(1)).await,
        stranger.drain(by(), number(1), true).await,
        stranger.remove(by(), number(1)).await,
    ] {
        let refused = refused.unwrap_err();
        assert!(matches!(refused, MachinesError::NotNow { code: "belongs_to_no_hub", .. }), "{refused}");
    }
    for deposit in 100..150 {
        province.ask(1, credit(deposit)).await;
    }
    let there = province[1].member.cluster.status().last_index;
    seen_from(&province, 1).add(number(4), &address).await.unwrap();
    assert!(province[4].member.cluster.status().last_index >= there, "few entries are all of a young log");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_leave_a_machine_that_gives_way_because_its_state_differs_and_may_come_back_when_it_does_not() {
    let province = three().await;
    let (drain, stopping) = (HubDrain::default(), CancellationToken::new());
    let (_used, own_state) = watch::channel(OwnState::Serving);
    let draining = tokio::spawn(drain_nodes(drain.clone(), seen_from(&province, 2), own_state, stopping.clone()));
    let digests = province[2].member.cluster.digests();
    let conclude =
        |yields: bool| digests.conclude(Agreement { index: 9, agrees: Some(!yields), tables: Vec::new(), yields });
    for yields in [false, true, false] {
        conclude(yields);
        let is_seen = async {
            while drain.is_set() != yields {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, is_seen).await.expect("nodes stay or go as it says");
    }
    stopping.cancel();
    draining.await.unwrap();
}
