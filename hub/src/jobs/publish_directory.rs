//! The job that signs what terminals are told of all nodes, whenever that changes.

use std::sync::Arc;
use std::time::Duration;

use jikai_schema::command::{Command, DirectoryCommand};
use jikai_schema::directory::{Directory, DirectoryNode, SignedDirectory, nodes_of};
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

use super::lease::{Lease, Lost};
use crate::directory::DirectoryKey;
use crate::store::ReadPool;

/// How often nodes and addresses are looked at: some small tables.
const EVERY: Duration = Duration::from_secs(1);

/// What it needs to sign.
pub struct DirectorySigner {
    /// The hub's.
    pub key: Arc<DirectoryKey>,
    /// production, training or test.
    pub environment: String,
}

/// Publishes until the lease is lost.
pub(super) async fn until_lost(lease: &Lease, signer: &DirectorySigner, pool: &ReadPool) {
    // What could not be published is told once, and tried again when it changes.
    let mut refused: Option<Vec<DirectoryNode>> = None;
    loop {
        match pool.read(|store| due(store)).await {
            Ok(Ok(Some(due))) if refused.as_ref() != Some(&due.nodes) => match publish(lease, signer, &due).await {
                Ok(true) => refused = None,
                Ok(false) => refused = Some(due.nodes),
                Err(lost @ Lost::Fenced(_)) => {
                    return tracing::info!(%lost, "the directory is published by another machine");
                }
                Err(error) => tracing::info!(%error, "the directory waits"),
            },
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%error, "the nodes cannot be read: the directory stays as it is"),
            Err(error) => tracing::info!(%error, "the nodes could not be read now: the directory waits"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What is to be signed.
struct Due {
    version: u64,
    nodes: Vec<DirectoryNode>,
}

/// `None` while what was published is still true, or no node has told where it is reached.
fn due(store: &Connection) -> Result<Option<Due>, rusqlite::Error> {
    let nodes = nodes_of(store)?;
    let Some(before) = SignedDirectory::load(store)? else {
        let is_of_use = nodes.iter().any(|node| !node.addresses.is_empty());
        return Ok(is_of_use.then_some(Due { version: 1, nodes }));
    };
    let is_true = Directory::read(&before.bytes).is_ok_and(|known| known.nodes == nodes);
    Ok((!is_true).then_some(Due { version: before.version.saturating_add(1), nodes }))
}

/// Signs and proposes; `false`: it was refused, which does not pass by itself.
async fn publish(lease: &Lease, signer: &DirectorySigner, due: &Due) -> Result<bool, Lost> {
    let directory = Directory {
        environment: signer.environment.clone(),
        version: due.version,
        issued_at_ms: TimeMs::now(),
        key: signer.key.public_hex(),
        nodes: due.nodes.clone(),
    };
    let SignedDirectory { bytes, signature, .. } = signer.key.sign(&directory);
    let command = DirectoryCommand::Publish { fence: lease.fence(), bytes, signature };
    let published = lease.propose(Command::Directory(command)).await?;
    if published {
        tracing::info!(version = due.version, nodes = due.nodes.len(), "the directory is published");
    }
    Ok(published)
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::VerifyingKey;
    use jikai_schema::command::{ClusterCommand, Outcome};
    use jikai_schema::id::MachineNo;

    use super::*;
    use crate::province::*;

    /// Until the directory that is published is as wanted.
    async fn published(hub: &Running, wanted: impl Fn(&Directory) -> bool) -> SignedDirectory {
        let looking = async {
            loop {
                let known = hub.pool.read(|store| SignedDirectory::load(store)).await.unwrap().unwrap();
                match known.filter(|known| Directory::read(&known.bytes).is_ok_and(|directory| wanted(&directory))) {
                    Some(known) => return known,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), looking).await.expect("it was not published")
    }

    async fn reach(hub: &Running, number: u16, address: &str) {
        let addresses = vec![address.to_string()];
        hub.ask(Command::Directory(DirectoryCommand::Reach { node: node(number), addresses })).await;
    }

    #[tokio::test]
    async fn what_nodes_tell_is_signed_and_published_and_signed_anew_when_it_changes() {
        let hub = Running::set_up().await;
        let secrets = secrets_in(hub.data.path());
        std::fs::create_dir(hub.data.path().join("ca")).unwrap();
        let key = Arc::new(DirectoryKey::make(hub.data.path(), &secrets).unwrap());
        let mut public = [0; 32];
        hex::decode_to_slice(key.public_hex(), &mut public).unwrap();
        let public = VerifyingKey::from_bytes(&public).unwrap();
        let take = ClusterCommand::TakeLease { machine: MachineNo::new(1).unwrap(), run: [1; 16], after: 0 };
        assert_eq!(hub.ask(Command::Cluster(take)).await, Outcome::Leased { fence: 1 });
        let signer = DirectorySigner { key, environment: "test".into() };
        let lease = Lease::of_test(1, &hub.sequencer);
        let pool = hub.pool.clone();
        let job = tokio::spawn(async move { until_lost(&lease, &signer, &pool).await });
        reach(&hub, 2, "node2.example:443").await;
        let reached = |number: usize, address: &'static str| {
            move |directory: &Directory| directory.nodes[number - 1].addresses == [address]
        };
        let first = published(&hub, reached(2, "node2.example:443")).await;
        let known = first.verify(&public, "test").unwrap();
        assert_eq!(known.nodes.iter().map(|node| node.addresses.len()).collect::<Vec<_>>(), [0, 1]);
        reach(&hub, 1, "node1.example:443").await;
        let second = published(&hub, reached(1, "node1.example:443")).await;
        assert!(second.version > first.version);
        second.verify(&public, "test").unwrap();
        let take = ClusterCommand::TakeLease { machine: MachineNo::new(1).unwrap(), run: [2; 16], after: 1 };
        assert_eq!(hub.ask(Command::Cluster(take)).await, Outcome::Leased { fence: 2 });
        reach(&hub, 1, "elsewhere.example:443").await;
        tokio::time::timeout(Duration::from_secs(30), job).await.expect("the job goes on without its lease").unwrap();
    }
}
