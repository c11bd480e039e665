//! Machines that elect, replicate, fail and come back.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

mod support;

use std::time::Duration;

use jikai_hub::raft::cluster::{ChangeError, ProposeError, StartError};
use jikai_hub::raft::settings::Settings;
use jikai_hub::raft::types::ENTRY_BYTES_MAX;
use support::machines::{LONG, Machines, settings};
use support::table::encode;

#[tokio::test(flavor = "multi_thread")]
async fn one_voter_takes_entries_and_goes_on_after_a_restart() {
    let mut machines = Machines::voters(1, settings()).await;
    for key in 0..20 {
        machines.put(1, key).await;
    }
    assert!(!machines[1].initialize().await.unwrap(), "it already belongs to a cluster");
    machines.stop(1).await;
    machines.start(1).await;
    machines.leader_among(&[1]).await;
    machines.put(1, 20).await;
    assert_eq!(machines.keys(1), (0..=20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_comes_back_through_a_follower_and_a_read_there_sees_it() {
    let machines = Machines::voters(3, settings()).await;
    let committed = machines[2].propose(encode(&vec![(1, vec![1]), (2, vec![2])])).await.unwrap();
    assert_eq!(postcard::from_bytes::<usize>(&committed.answer.0).unwrap(), 2);
    assert!(machines[3].ensure_linearizable().await.unwrap() >= Some(committed.index));
    assert_eq!(machines.keys(3), [1, 2]);
    let too_long = machines[1].propose(vec![0; ENTRY_BYTES_MAX + 1]).await;
    assert_eq!(too_long, Err(ProposeError::TooLong { bytes: ENTRY_BYTES_MAX + 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_entry_arrives_everywhere() {
    let machines = Machines::voters(3, settings()).await;
    let index = machines[2].propose(encode(&vec![(1, vec![1; ENTRY_BYTES_MAX - 64])])).await.unwrap().index;
    for id in 1..=3 {
        machines.applied(id, index).await;
        assert_eq!(machines.keys(id), [1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_arrive_although_they_take_longer_than_a_heartbeat() {
    let machines = Machines::voters(2, settings()).await;
    machines.slow_down(2, settings().heartbeat * 2 / 3);
    for key in 0..5 {
        machines.put(1, key).await;
    }
    // All at once, so that more entries are waiting each time the engine sends again.
    let long = |key: u64| machines[1].propose(encode(&vec![(key, vec![1; 100_000])]));
    let (a, b, c, d) = tokio::join!(long(5), long(6), long(7), long(8));
    let index = [a, b, c, d].map(|committed| committed.unwrap().index).into_iter().max().unwrap();
    machines.applied(2, index).await;
    assert_eq!(machines.keys(2), (0..=8).collect::<Vec<_>>());
    assert_eq!(machines[2].status().leader, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_with_the_leader() {
    let mut machines = Machines::voters(3, settings()).await;
    for key in 0..50 {
        machines.put(1, key).await;
    }
    machines.kill(1);
    let leader = machines.leader_among(&[2, 3]).await;
    let index = machines.put(5 - leader, 50).await;
    for id in [2, 3] {
        machines.applied(id, index).await;
        assert_eq!(machines.keys(id), (0..=50).collect::<Vec<_>>());
    }
    machines.heal();
    machines.start(1).await;
    machines.applied(1, index).await;
    assert_eq!(machines.keys(1), (0..=50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_without_a_quorum_acknowledges_nothing() {
    let machines = Machines::voters(3, Settings { propose_wait: settings().election_max, ..settings() }).await;
    machines.put(1, 0).await;
    machines.isolate(1);
    let unknown = machines[1].propose(encode(&vec![(100, vec![1])])).await;
    assert_eq!(unknown, Err(ProposeError::Unknown), "it does not know yet that it is alone");
    machines.leader_among(&[2, 3]).await;
    let quorum_lost = machines.settings.election_max.as_millis() as u64 * 2;
    let mut metrics = machines[1].metrics();
    let lost = metrics.wait_for(|metrics| metrics.millis_since_quorum_ack > Some(quorum_lost));
    tokio::time::timeout(LONG, lost).await.unwrap().unwrap();
    let refused = machines[1].propose(encode(&vec![(101, vec![1])])).await;
    assert!(matches!(refused, Err(ProposeError::NotTaken { .. })), "{refused:?}");
    assert!(machines[1].ensure_linearizable().await.is_err());
    let index = machines.put(2, 1).await;
    machines.heal();
    for id in 1..=3 {
        machines.applied(id, index).await;
        assert_eq!(machines.keys(id), [0, 1]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_catches_up_from_a_snapshot() {
    let few = Settings { snapshot_entries: 20, log_entries_kept: 0, ..settings() };
    let mut machines = Machines::voters(1, few).await;
    for key in 0..50 {
        machines.put(1, key).await;
    }
    let mut metrics = machines[1].metrics();
    let purged = metrics.wait_for(|metrics| metrics.purged.is_some_and(|purged| purged.index > 20));
    tokio::time::timeout(LONG, purged).await.unwrap().unwrap();
    machines.start(2).await;
    machines.join(1, 2).await.unwrap();
    machines[1].promote(2).await.unwrap();
    let index = machines.put(2, 50).await;
    machines.applied(2, index).await;
    assert_eq!(machines.keys(2), (0..=50).collect::<Vec<_>>());
    assert!(machines[2].status().snapshot.is_some_and(|snapshot| snapshot.index > 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_the_disk_changed_is_made_anew_before_it_is_sent() {
    let few = Settings { snapshot_entries: 20, log_entries_kept: 0, ..settings() };
    let mut machines = Machines::voters(1, few).await;
    for key in 0..30 {
        machines.put(1, key).await;
    }
    let mut metrics = machines[1].metrics();
    let purged = metrics.wait_for(|metrics| metrics.purged.is_some());
    tokio::time::timeout(LONG, purged).await.unwrap().unwrap();
    let folder = std::fs::read_dir(machines.data(1).join("snapshots")).unwrap();
    let copies = folder.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "db"));
    for copy in copies {
        let mut bytes = std::fs::read(&copy).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&copy, bytes).unwrap();
    }
    machines.start(2).await;
    machines.join(1, 2).await.unwrap();
    machines.applied(2, machines[1].status().last_index.unwrap()).await;
    assert_eq!(machines.keys(2), (0..30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_state_comes_back_from_snapshot_and_log() {
    let few = Settings { snapshot_entries: 20, log_entries_kept: 0, ..settings() };
    let mut machines = Machines::voters(1, few).await;
    for key in 0..30 {
        machines.put(1, key).await;
    }
    let mut metrics = machines[1].metrics();
    let purged = metrics.wait_for(|metrics| metrics.purged.is_some());
    tokio::time::timeout(LONG, purged).await.unwrap().unwrap();
    machines.stop(1).await;
    machines.delete_state(1);
    machines.start(1).await;
    machines.leader_among(&[1]).await;
    machines.put(1, 30).await;
    assert_eq!(machines.keys(1), (0..=30).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn all_machines_restart() {
    let mut machines = Machines::voters(3, settings()).await;
    for key in 0..10 {
        machines.put(1 + key % 3, key).await;
    }
    for id in 1..=3 {
        machines.stop(id).await;
    }
    for id in 1..=3 {
        machines.start(id).await;
    }
    machines.leader_among(&[1, 2, 3]).await;
    let index = machines.put(3, 10).await;
    for id in 1..=3 {
        machines.applied(id, index).await;
        assert_eq!(machines.keys(id), (0..=10).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_handed_over_and_a_machine_removed() {
    let machines = Machines::voters(3, settings()).await;
    machines.put(1, 0).await;
    assert!(matches!(machines[2].transfer(3).await, Err(ChangeError::NotLeader { leader: Some(1) })));
    machines[1].transfer(3).await.unwrap();
    assert_eq!(machines.leader_among(&[1, 2, 3]).await, 3);
    machines.put(1, 1).await;
    assert!(matches!(machines[3].remove(3).await, Err(ChangeError::Leads(3))));
    machines[3].remove(1).await.unwrap();
    assert_eq!(machines[3].status().voters, [2, 3]);
    let index = machines.put(2, 2).await;
    machines.applied(3, index).await;
    assert_eq!(machines.keys(3), [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_machine_is_not_listened_to() {
    let mut machines = Machines::voters(3, settings()).await;
    let index = machines.put(1, 0).await;
    machines.applied(3, index).await;
    machines.stop(3).await;
    std::fs::remove_file(machines.data(3).join("raft.db")).unwrap();
    assert!(matches!(machines.try_start(3).await, Err(StartError::LogLost)));
    std::fs::remove_dir_all(machines.data(3)).unwrap();
    machines.start(3).await;
    let told = machines[1].status_of(3, std::time::Duration::from_secs(10)).await.unwrap_err().to_string();
    assert!(told.contains("wiped"), "{told}");
    assert!(matches!(machines.join(1, 3).await, Err(ChangeError::Wiped(3))));
    machines.put(1, 1).await;
    assert_eq!(machines[3].status().last_index, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_has_caught_up_when_it_has_applied_the_log_and_gets_no_vote_before() {
    let mut machines = Machines::voters(1, Settings { catch_up_wait: Duration::from_millis(500), ..settings() }).await;
    for key in 0..300 {
        machines.put(1, key).await;
    }
    machines.start(2).await;
    let gate = machines.gate(2);
    let closed = gate.lock().await;
    let refused = machines.join(1, 2).await;
    assert!(matches!(refused, Err(ChangeError::TooSlow(2) | ChangeError::Behind { id: 2, .. })), "{refused:?}");
    let last = machines[1].status().last_index;
    let mut metrics = machines[2].metrics();
    let has_all = metrics.wait_for(|metrics| metrics.last_log_index >= last);
    tokio::time::timeout(LONG, has_all).await.unwrap().unwrap();
    let refused = machines[1].promote(2).await;
    assert!(matches!(refused, Err(ChangeError::Behind { id: 2, behind: Some(300..) })), "{refused:?}");
    assert_eq!(machines[1].status().voters, [1]);
    drop(closed);
    machines.applied(2, last.unwrap()).await;
    machines.join(1, 2).await.unwrap();
    machines[1].promote(2).await.unwrap();
    assert_eq!(machines[1].status().voters, [1, 2]);
}
