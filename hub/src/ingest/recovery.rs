//! Nodes at a hub that was put back from an older copy: they are met, return their feeds, and stand still meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use jikai_schema::command::{Command, FeedReturn, NodeBatch, Outcome, RecoveryCommand};
use jikai_schema::event::Actor;
use jikai_schema::id::{BatchNo, NodeId};
use jikai_schema::peer::{HubReply, KEYS_MAX, PlainKey};
use jikai_schema::seal::BatchKey;
use jikai_sync::transport::Admission;
use jikai_sync::wire::{BATCH_EVENTS_MAX, Cursor, Hello, RefusalV1, Welcome};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::admission::check_up;
use super::{NodeGate, unavailable};
use crate::machine::{self, EpochRow, NodeCursor, NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState};

/// How long a node that has returned all waits for an answer: well within its patience with a request.
const PLACE_WAIT: Duration = Duration::from_secs(2);

/// Sessions that stand still: what ends the wait of a node's session once it greets anew.
#[derive(Default)]
pub(super) struct Standstill(Mutex<BTreeMap<NodeId, CancellationToken>>);

impl Standstill {
    fn begin(&self, node: NodeId) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(older) = self.0.lock().insert(node, token.clone()) {
            older.cancel();
        }
        token
    }

    fn of(&self, node: NodeId) -> CancellationToken {
        self.0.lock().entry(node).or_default().clone()
    }
}

pub(super) async fn is_on(gate: &NodeGate) -> Result<bool, RefusalV1> {
    let on = gate.read(RecoveryRow::is_on).await;
    on.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })
}

/// Opens a session in which nothing flows: whatever the node knows of its feed, and also if the copy does not know the node.
/// It ends with the recovery, so that the node greets the hub that has its feed again.
pub(super) async fn admit(gate: &NodeGate, hello: &Hello) -> Result<Admission, RefusalV1> {
    let (node, down_seq) = (hello.node, hello.down.next_seq - 1);
    let known = gate.read(move |store| {
        let met_epoch = RecoveryNodeRow::place(store, node)?.met_epoch;
        Ok((NodeCursor::load(store, node)?, EpochRow::newest(store, node)?, met_epoch))
    });
    let (cursor, epoch, met_epoch) = known.await.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
    if hello.epoch < epoch {
        // By the word of a store that was met a person may see that it was the wrong one: this one is not shut out for ever.
        return Err(match met_epoch == Some(epoch) {
            true => RefusalV1::Incarnation { node },
            false => RefusalV1::Fenced { node, ours: epoch, theirs: hello.epoch },
        });
    }
    let up = match cursor {
        Some(NodeCursor { next_seq, hash, .. }) => Cursor { next_seq, hash },
        None => Cursor::START,
    };
    if hello.epoch == epoch && cursor.is_some_and(|known| known.incarnation != hello.incarnation) {
        // Two stores of one epoch: hubs that did not know of each other gave it twice. A person decides.
        let why = "this store is not the one that the hub's copy knows, see `jikai-hub restore --status`";
        return Err(RefusalV1::Unavailable { why: why.into() });
    }
    if hello.epoch > epoch {
        check_has_slice(hello)?;
    }
    check_up(hello.up_head, up)?;
    if hello.epoch > epoch {
        meet_store(gate, hello).await?;
    }
    gate.links.connected(hello, up.next_seq, gate.sequencer.now_ms());
    tracing::info!(%node, up_next = up.next_seq, down_next = hello.down.next_seq, "a node is connected, to return its feed");
    let generation = gate.read(machine::generation).await;
    let hub_generation = generation.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
    let (head, down_head) = watch::channel(down_seq);
    let (over, newer) = (until_over(gate), gate.standstill.begin(node));
    tokio::spawn(async move {
        tokio::select! {
            () = over => {}
            () = newer.cancelled() => {}
            () = head.closed() => {}
        }
    });
    let welcome = Welcome { up, hub_generation, endpoints: Vec::new() };
    Ok(Admission { welcome, down_head, revocations: gate.sequencer.revocations() })
}

/// One that waits for its slice has no log, and was told nothing: what the store before it returns must not be given up for it.
fn check_has_slice(hello: &Hello) -> Result<(), RefusalV1> {
    match hello.down == Cursor::START {
        false => Ok(()),
        true => {
            let why = "this store took its node's place since the hub's copy was made, and has not received its slice: start the store \
                       before it, if that is there (README: a hub put back), or replace the node anew once the hub has recovered";
            Err(RefusalV1::Unavailable { why: why.into() })
        }
    }
}

/// A store that took the node's place since the copy is the node's: it holds the log from its beginning, and what it was told.
async fn meet_store(gate: &NodeGate, hello: &Hello) -> Result<(), RefusalV1> {
    let Hello { node, incarnation, epoch, .. } = *hello;
    match propose(gate, RecoveryCommand::MeetStore { node, incarnation, epoch }).await {
        Ok(_) => {
            tracing::warn!(%node, epoch, "a store came that took its node's place since the copy was made");
            Ok(())
        }
        Err(why) => Err(RefusalV1::Unavailable { why }),
    }
}

/// Waits until the recovery is over; then, or when the node greets anew, the session ends.
pub(super) async fn stand_still(gate: &NodeGate, node: NodeId) -> RefusalV1 {
    let newer = gate.standstill.of(node);
    tokio::select! {
        () = until_over(gate) => {}
        () = newer.cancelled() => {}
    }
    RefusalV1::Unavailable { why: "the hub was put back from a copy: greet it again once it has its feed back".into() }
}

fn until_over(gate: &NodeGate) -> impl Future<Output = ()> + Send + use<> {
    let (mut changes, pool) = (gate.sequencer.machines(), gate.pool.clone());
    async move {
        loop {
            changes.borrow_and_update();
            let on = pool.read(|store| RecoveryRow::is_on(store)).await;
            if !matches!(on, Ok(Ok(true))) || changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Where a node goes on returning. Once it has returned all, the answer waits a while for what is wanted next.
pub(super) async fn place(gate: &NodeGate, node: NodeId) -> Result<HubReply, String> {
    let mut changes = gate.sequencer.machines();
    let waited = tokio::time::sleep(PLACE_WAIT);
    tokio::pin!(waited);
    loop {
        changes.borrow_and_update();
        let place = gate.read(move |store| place_of(store, node)).await.map_err(|error| error.to_string())?;
        if !matches!(place, HubReply::FeedWanted { complete: true, .. }) {
            return Ok(place);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return Ok(place) },
            () = &mut waited => return Ok(place),
        }
    }
}

fn place_of(store: &rusqlite::Connection, node: NodeId) -> Result<HubReply, rusqlite::Error> {
    let Some(row) = RecoveryRow::read(store)?.filter(|row| row.state != RecoveryState::Over) else {
        return Ok(HubReply::FeedNotWanted);
    };
    if row.release.is_some_and(|release| release.node == node) {
        let cursor = NodeCursor::load(store, node)?;
        return Ok(HubReply::LogWanted { next_seq: cursor.map_or(1, |cursor| cursor.next_seq) });
    }
    let place = RecoveryNodeRow::place(store, node)?;
    let complete = row.state == RecoveryState::Merging || place.state == NodeReturn::Returned;
    Ok(HubReply::FeedWanted { generation: row.generation, next_seq: place.next_seq, complete })
}

/// Takes in a part of a node's log on which what it returned rests.
pub(super) async fn take_log(gate: &NodeGate, batch: NodeBatch) -> Result<HubReply, String> {
    let (node, count) = (batch.node, batch.events.len());
    if count > BATCH_EVENTS_MAX {
        return Err(format!("at most {BATCH_EVENTS_MAX} events are taken at once"));
    }
    match propose(gate, RecoveryCommand::ReturnLog(batch)).await? {
        Outcome::Ingested { next_seq, .. } => {
            tracing::debug!(%node, count, next_seq, "a node has sent a part of its log that the recovery needs");
            place(gate, node).await
        }
        other => Err(format!("unexpected outcome {other:?}")),
    }
}

pub(super) async fn take(gate: &NodeGate, run: FeedReturn) -> Result<HubReply, String> {
    let (node, count) = (run.node, run.events.len());
    match propose(gate, RecoveryCommand::Return(run)).await? {
        Outcome::Ingested { next_seq, .. } => {
            tracing::info!(%node, count, next_seq, "a node has returned a part of its feed");
            gate.read(move |store| place_of(store, node)).await.map_err(|error| error.to_string())
        }
        other => Err(format!("unexpected outcome {other:?}")),
    }
}

pub(super) async fn take_keys(
    gate: &NodeGate,
    node: NodeId,
    keys: Vec<(BatchNo, PlainKey)>,
) -> Result<HubReply, String> {
    if keys.len() > KEYS_MAX {
        return Err(format!("at most {KEYS_MAX} keys are taken at once"));
    }
    for (batch, key) in keys {
        let known = gate.read(move |store| {
            store.query_row("SELECT EXISTS (SELECT 1 FROM batch_key WHERE batch = ?1)", [batch.get()], |row| row.get(0))
        });
        if known.await.map_err(|error| error.to_string())? {
            continue;
        }
        let wrapped_key = gate.vault.wrap(batch, &BatchKey::from_bytes(key.0)).map_err(|error| error.to_string())?;
        propose(gate, RecoveryCommand::ReturnKey { batch, wrapped_key }).await?;
        tracing::info!(%node, %batch, "a node has returned the key of a batch");
    }
    place(gate, node).await
}

async fn propose(gate: &NodeGate, command: RecoveryCommand) -> Result<Outcome, String> {
    let outcome = gate.sequencer.propose(Actor::System, Command::Recovery(command)).await;
    match outcome.map_err(|error| unavailable(error).to_string())? {
        Outcome::Refused(refusal) => Err(refusal.to_string()),
        outcome => Ok(outcome),
    }
}
