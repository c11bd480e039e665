//! One session a node: who holds a node's seat, and how a newer session takes it over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jikai_schema::id::NodeId;
use parking_lot::Mutex;
use quinn::Connection;
use tokio::sync::OwnedMutexGuard;

use crate::transport::closing::close;
use crate::transport::store::{Admission, HubStore};
use crate::wire::{Hello, RefusalV1};

/// How long an older session may take to finish the batch that it is committing.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// The seats of all nodes. Never more than there are certificates.
#[derive(Default)]
pub(super) struct Seats(Mutex<HashMap<NodeId, Seat>>);

#[derive(Default)]
struct Seat {
    newest: Option<Connection>,
    /// Held from a session's admission until nothing of it is being committed any more.
    taken: Arc<tokio::sync::Mutex<()>>,
}

/// A node's seat while a session holds it.
pub(super) type Held = OwnedMutexGuard<()>;

impl Seats {
    /// Admits a node and gives it the seat. An older session leaves only for a store that the hub admits: a fenced or
    /// copied one cannot push the right one out. What the older one was committing is in before the newer one is told
    /// where to go on.
    pub(super) async fn admit(
        &self,
        store: &dyn HubStore,
        hello: Hello,
        connection: &Connection,
    ) -> Result<(Admission, Held), RefusalV1> {
        let node = hello.node;
        let taken = self.0.lock().entry(node).or_default().taken.clone();
        if let Ok(held) = taken.clone().try_lock_owned() {
            self.sit(node, connection);
            return Ok((store.admit(hello).await?, held));
        }
        store.admit(hello.clone()).await?;
        if let Some(older) = self.sit(node, connection) {
            let hint = RefusalV1::Superseded.hint();
            tracing::warn!(%node, hint, "a newer session takes over");
            close(&older, Some(&RefusalV1::Superseded));
        }
        let left = tokio::time::timeout(LEAVE_WAIT, taken.lock_owned()).await;
        let held = left.map_err(|_| RefusalV1::Unavailable { why: "an older session is still committing".into() })?;
        Ok((store.admit(hello).await?, held))
    }

    fn sit(&self, node: NodeId, connection: &Connection) -> Option<Connection> {
        self.0.lock().entry(node).or_default().newest.replace(connection.clone())
    }

    /// Gives the seat up; `false` when a newer session has taken it, or this one never had it. What is to be done then is done
    /// before anybody else can sit down.
    pub(super) fn leave(&self, node: NodeId, connection: &Connection, done: impl FnOnce()) -> bool {
        let mut seats = self.0.lock();
        let newest = seats.get_mut(&node).map(|seat| &mut seat.newest);
        let ours = newest.and_then(|newest| newest.take_if(|newest| newest.stable_id() == connection.stable_id()));
        if ours.is_some() {
            done();
        }
        ours.is_some()
    }
}
