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
use crate::wire::{Hello, Mark, RefusalV1};

/// How long an older session may take to finish the batch that it is committing.
const LEAVE_WAIT: Duration = Duration::from_secs(5);

/// Time between two looks at what arrives from an older session, while another process wants its seat. A node that lives says
/// something every quarter of a second at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// Looks whose findings may be what a process had sent before it was killed.
const LOOKS_LATE: u32 = 2;
/// Looks in a row without anything after which the older process is taken for dead.
const LOOKS_SILENT: u32 = 3;
/// Most looks. By then one of the two is found out.
const LOOKS_MAX: u32 = LOOKS_LATE + LOOKS_SILENT;

/// The seats of all nodes. Never more than there are certificates.
#[derive(Default)]
pub(super) struct Seats(Mutex<HashMap<NodeId, Seat>>);

#[derive(Default)]
struct Seat {
    newest: Option<Connection>,
    /// Which run sits there, where it told.
    mark: Option<Mark>,
    /// Held from a session's admission until nothing of it is being committed any more.
    taken: Arc<tokio::sync::Mutex<()>>,
}

/// A node's seat while a session holds it.
pub(super) type Held = OwnedMutexGuard<()>;

impl Seats {
    /// Admits a node and gives it the seat. An older session leaves only for a store that the hub admits: a fenced, copied or
    /// misdirected one cannot push the right one out. Another process than the one that sits there gets the seat only once that
    /// one is dead: two that live run on copies of one store, and the one that was there goes on. That holds also where the log of the
    /// newcomer is the shorter one: a copy that was made a moment ago lacks what the original has sent since. What the older one was
    /// committing is in before the newer one is told where to go on.
    pub(super) async fn admit(
        &self,
        store: &dyn HubStore,
        hello: &Hello,
        mark: Option<Mark>,
        connection: &Connection,
    ) -> Result<(Admission, Held), RefusalV1> {
        let node = hello.node;
        let taken = self.0.lock().entry(node).or_default().taken.clone();
        if let Ok(held) = taken.clone().try_lock_owned() {
            self.sit(node, mark, connection);
            let admission = store.admit(hello.clone()).await?;
            begin_run(store, hello, mark).await?;
            return Ok((admission, held));
        }
        let admitted = store.admit(hello.clone()).await.map(drop);
        let has_other_log = matches!(admitted, Err(RefusalV1::Rewound { .. } | RefusalV1::Fork { .. }));
        if (admitted.is_ok() || has_other_log)
            && let Some(mark) = mark
            && let Some(older) = self.other_process(node, mark)
            && is_alive(&older).await
        {
            store.is_clone(node, mark.run).await;
            return Err(RefusalV1::Cloned { node });
        }
        admitted?;
        begin_run(store, hello, mark).await?;
        if let Some(older) = self.sit(node, mark, connection) {
            let hint = RefusalV1::Superseded.hint();
            tracing::warn!(%node, hint, "a newer session takes over");
            close(&older, Some(&RefusalV1::Superseded));
        }
        let left = tokio::time::timeout(LEAVE_WAIT, taken.lock_owned()).await;
        let held = left.map_err(|_| RefusalV1::Unavailable { why: "an older session is still committing".into() })?;
        Ok((store.admit(hello.clone()).await?, held))
    }

    fn sit(&self, node: NodeId, mark: Option<Mark>, connection: &Connection) -> Option<Connection> {
        let mut seats = self.0.lock();
        let seat = seats.entry(node).or_default();
        seat.mark = mark;
        seat.newest.replace(connection.clone())
    }

    /// The connection of the process that sits there, if it is another one.
    fn other_process(&self, node: NodeId, mark: Mark) -> Option<Connection> {
        let seats = self.0.lock();
        let seat = seats.get(&node)?;
        seat.mark.filter(|sitting| sitting.process != mark.process)?;
        seat.newest.clone()
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

async fn begin_run(store: &dyn HubStore, hello: &Hello, mark: Option<Mark>) -> Result<(), RefusalV1> {
    match mark {
        Some(mark) => store.begin_run(hello, mark).await,
        None => Ok(()),
    }
}

/// Where another run wants to take the place of this session's by way of another machine of the hub: notes that this one lives, if
/// it does.
pub(super) async fn object(store: Arc<dyn HubStore>, node: NodeId, mark: Mark, connection: Connection) {
    if let Some(claimant) = store.claimant(node, mark).await
        && is_alive(&connection).await
    {
        store.is_clone(node, claimant).await;
    }
}

/// Whether the process at the other end of a connection lives: something arrives from it that it sent just now.
async fn is_alive(connection: &Connection) -> bool {
    let arrived = || connection.stats().udp_rx.datagrams;
    let (mut before, mut silent) = (arrived(), 0);
    for look in 1..=LOOKS_MAX {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = connection.closed() => return false,
        }
        let now = arrived();
        silent = if now == before { silent + 1 } else { 0 };
        if silent >= LOOKS_SILENT {
            return false;
        }
        if look > LOOKS_LATE && now != before {
            return true;
        }
        before = now;
    }
    false
}
