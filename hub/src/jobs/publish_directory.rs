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
