//! Who is not a machine of the cluster is not heard.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

mod support;

use std::time::Duration;

use jikai_hub::raft::cluster::ChangeError;
use jikai_hub::raft::network::Identity;
use jikai_hub::raft::settings::Settings;
use support::certificates::Authority;
use support::machines::{Machines, settings};

async fn check_is_refused(identity: impl FnOnce(&Authority) -> Identity) {
    let mut machines = Machines::voters(1, Settings { propose_wait: Duration::from_secs(2), ..settings() }).await;
    machines.start(2).await;
    machines.stop(2).await;
    let identity = identity(&machines.authority);
    machines.start_as(2, identity).await.unwrap();
    let joined = machines.join(1, 2).await;
    assert!(matches!(joined, Err(ChangeError::Unreachable { id: 2, .. })), "{joined:?}");
    assert!(machines[1].status().learners.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused() {
    check_is_refused(|_| Authority::new().identity(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_belongs_to_no_machine_is_refused() {
    check_is_refused(|authority| authority.unregistered().0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_machine_is_refused() {
    check_is_refused(|authority| authority.identity(3)).await;
}
