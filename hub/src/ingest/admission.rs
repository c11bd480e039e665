//! Whether a node's session may open.

use std::time::Duration;

use jikai_schema::chain::ChainHash;
use jikai_schema::command::{AccessCommand, Command, NodeBatch, NodeCommand, Outcome, Refusal};
use jikai_schema::event::{Actor, MachineState};
use jikai_schema::id::NodeId;
use jikai_schema::store::SCHEMA_VERSION;
use jikai_sync::identity::Certified;
use jikai_sync::transport::Admission;
use jikai_sync::wire::{Cursor, Hello, Mark, RefusalV1, Welcome};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{NodeGate, as_session_refusal, recovery, unavailable};
use crate::machine::{
    self, CertificateRow, EpochRow, MachineRow, NodeCursor, NodeReturn, RECOVERING, RecoveryNodeRow, RetiredRow,
};

/// Longest time for this machine to hold what others had answered: well within the node's patience with a greeting.
const CATCH_UP_WAIT: Duration = Duration::from_secs(5);
/// How long another machine of the hub may take to note that the older run is at work there: three looks of 400 ms and a command.
const OBJECTION_WAIT: Duration = Duration::from_secs(3);
/// Time between two tries while nobody leads.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(50);

/// What the hub knows of the node.
struct Known {
    cursor: Option<NodeCursor>,
    /// Of the node's present store.
    epoch: u32,
    down_head_seq: u64,
    down_hash: Option<ChainHash>,
    /// Whether the last recovery did without what it had received.
    left_out: bool,
}

/// Checks, in this order: environment, schema version, registration, epoch, store, both logs. The first contact of a
/// node registers its store.
pub(super) async fn admit(gate: &NodeGate, hello: Hello) -> Result<Admission, RefusalV1> {
    let node = hello.node;
    if hello.environment != gate.environment {
        return Err(RefusalV1::WrongEnvironment { ours: gate.environment.clone(), theirs: hello.environment });
    }
    if hello.schema_version > SCHEMA_VERSION {
        return Err(RefusalV1::SchemaTooNew { ours: SCHEMA_VERSION, theirs: hello.schema_version });
    }
    if let Some(agreement) = gate.sequencer.yielding() {
        let why = format!("the state of this machine differs from the leader's at entry {}", agreement.index);
        return Err(RefusalV1::Unavailable { why });
    }
    if recovery::is_on(gate).await? {
        return recovery::admit(gate, &hello).await;
    }
    let (known, down_head) = match meet(gate, &hello).await {
        Ok((Some(up), down_head)) if up.next_seq == hello.up_head.next_seq => (Some(up), down_head),
        Err(refusal) if !may_pass(&refusal) => return Err(refusal),
        // Another machine of the hub may have told the node what this one has not applied yet, or have acknowledged more of its
        // log: a node takes a hub that welcomes it further back for one that has lost events.
        Ok(_) | Err(_) => {
            catch_up(gate).await?;
            meet(gate, &hello).await?
        }
    };
    let up = match known {
        Some(up) => up,
        None => register(gate, node, hello.incarnation).await?,
    };
    check_up(hello.up_head, up)?;
    let down = hello.down;
    // An event that it cannot read stops its feed in front of it, not the session: its outlets' facts are taken in.
    gate.readers.told(node, hello.event_version, hello.schema_version);
    gate.links.connected(&hello, up.next_seq, gate.sequencer.now_ms());
    tracing::info!(%node, up_next = up.next_seq, down_next = down.next_seq, "a node is connected");
    // A node that has met a later one refuses this machine: it was left behind.
    let hub_generation = gate.read(machine::generation).await;
    let hub_generation = hub_generation.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
    let welcome = Welcome { up, hub_generation, endpoints: Vec::new() };
    Ok(Admission { welcome, down_head, revocations: gate.sequencer.revocations() })
}

/// Waits until this machine holds what any machine had answered before. Where nobody leads, an election may be on its way: a node
/// that was turned away at once would not come back for longer than that takes.
async fn catch_up(gate: &NodeGate) -> Result<(), RefusalV1> {
    let until = Instant::now() + CATCH_UP_WAIT;
    loop {
        let caught_up = tokio::time::timeout_at(until, gate.sequencer.catch_up()).await;
        match caught_up {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) if Instant::now() + CATCH_UP_PAUSE < until => tokio::time::sleep(CATCH_UP_PAUSE).await,
            Ok(Err(error)) => return Err(unavailable(error)),
            Err(_) => return Err(RefusalV1::Unavailable { why: "this machine is too far behind".into() }),
        }
    }
}

/// Checks a node by what this machine knows of it: how far its log was taken in (`None` before its first contact), and its feed.
async fn meet(gate: &NodeGate, hello: &Hello) -> Result<(Option<Cursor>, watch::Receiver<u64>), RefusalV1> {
    let (node, down) = (hello.node, hello.down);
    let down_head = gate.sequencer.heads().watch(node).ok_or(RefusalV1::UnknownNode { node })?;
    let known = gate.read(move |store| known(store, node, down.next_seq)).await;
    let known = known.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
    check_epoch(hello, known.epoch, known.down_head_seq)?;
    check_down(down, &known).map_err(|behind| if known.left_out { RefusalV1::LeftOut { node } } else { behind })?;
    let Some(NodeCursor { incarnation, next_seq, hash }) = known.cursor else { return Ok((None, down_head)) };
    if incarnation != hello.incarnation {
        return Err(RefusalV1::Incarnation { node });
    }
    let up = Cursor { next_seq, hash };
    check_up(hello.up_head, up)?;
    Ok((Some(up), down_head))
}

/// Whether a refusal rests on what this machine knows of the node, so that a newer state may see it otherwise.
fn may_pass(refusal: &RefusalV1) -> bool {
    matches!(
        refusal,
        RefusalV1::UnknownNode { .. }
            | RefusalV1::HubBehind { .. }
            | RefusalV1::LeftOut { .. }
            | RefusalV1::Incarnation { .. }
            | RefusalV1::Rewound { .. }
            | RefusalV1::Fork { .. }
    )
}

/// A store of an earlier epoch was replaced. One of a later epoch than is known here has met a hub that knew more.
fn check_epoch(hello: &Hello, epoch: u32, down_head_seq: u64) -> Result<(), RefusalV1> {
    if hello.epoch < epoch {
        return Err(RefusalV1::Fenced { node: hello.node, ours: epoch, theirs: hello.epoch });
    }
    if hello.epoch > epoch {
        return Err(RefusalV1::HubBehind { ours: down_head_seq, theirs: hello.down.next_seq });
    }
    Ok(())
}

/// Whether an admitted store is still the node's.
pub(super) async fn check_store(gate: &NodeGate, hello: &Hello) -> Result<(), RefusalV1> {
    let node = hello.node;
    let read = gate.read(move |store| Ok((EpochRow::newest(store, node)?, NodeCursor::load(store, node)?))).await;
    let (epoch, cursor) = read.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
    check_epoch(hello, epoch, 0)?;
    match cursor {
        Some(cursor) if cursor.incarnation != hello.incarnation => Err(RefusalV1::Incarnation { node }),
        _ => Ok(()),
    }
}

/// The run of an admitted store follows the one that is known, or it is on a copy: that is remembered, and told.
pub(super) async fn begin_run(gate: &NodeGate, hello: &Hello, mark: Mark) -> Result<(), RefusalV1> {
    // Nothing is written meanwhile; behind the recovery the node greets anew.
    if recovery::is_on(gate).await? {
        return Ok(());
    }
    let (node, Mark { run, after, .. }) = (hello.node, mark);
    let known = gate.read(move |store| Ok((machine::admitted_run(store, node)?, others_serve(store)?))).await;
    let (known, others_serve) = known.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
    if known == Some(run) {
        return Ok(());
    }
    let incarnation = hello.incarnation;
    if known.is_some() && others_serve {
        ask_for_run(gate, node, mark, NodeCommand::ClaimRun { node, incarnation, after, run }).await?;
        tokio::time::sleep(OBJECTION_WAIT).await;
    }
    ask_for_run(gate, node, mark, NodeCommand::BeginRun { node, incarnation, after, run }).await
}

async fn ask_for_run(gate: &NodeGate, node: NodeId, mark: Mark, command: NodeCommand) -> Result<(), RefusalV1> {
    match gate.sequencer.propose(Actor::System, Command::Node(command)).await.map_err(unavailable)? {
        Outcome::Refused(Refusal::Rule { code, .. }) if code == "store_cloned" => {
            note_clone(gate, node, mark.run).await;
            Err(RefusalV1::Cloned { node })
        }
        Outcome::Refused(refusal) => Err(as_session_refusal(node, refusal)),
        _ => Ok(()),
    }
}

/// Whether another machine of the hub may have a session of the node.
fn others_serve(store: &Connection) -> Result<bool, rusqlite::Error> {
    let machines = MachineRow::list(store)?;
    Ok(machines.iter().filter(|row| !row.voter_only && row.state == Some(MachineState::Serving)).count() > 1)
}

/// The run that wants to take the place of this session's, if there is one.
pub(super) async fn claimant(gate: &NodeGate, node: NodeId, mark: Mark) -> Option<[u8; 16]> {
    let read =
        gate.read(move |store| Ok((machine::admitted_run(store, node)?, machine::claimed_run(store, node)?))).await;
    let (admitted, claimed) = read.ok()?;
    claimed.filter(|claimed| admitted == Some(mark.run) && *claimed != mark.run)
}

/// Remembers that a run is on a copy. Where that cannot be written now, the copy is refused all the same, and comes again.
pub(super) async fn note_clone(gate: &NodeGate, node: NodeId, run: [u8; 16]) {
    tracing::error!(%node, hint = RefusalV1::Cloned { node }.hint(), "a copy of a node's store was refused");
    metrics::counter!("jikai_clones_refused_total").increment(1);
    let note = Command::Node(NodeCommand::NoteClone { node, run });
    match gate.sequencer.propose(Actor::System, note).await {
        Ok(Outcome::Refused(refusal)) => tracing::warn!(%node, %refusal, "the copy was not noted"),
        Ok(_) => {}
        Err(error) => tracing::warn!(%node, %error, "the copy could not be noted"),
    }
}

/// A certificate of a node that was taken out of use, that was revoked, or whose newer one is in use, opens no session. One that is not known here (signed before
/// certificates were remembered, or while the hub stood still) is remembered now, so that it can be revoked; unless all of the
/// node's were.
pub(super) async fn check_certificate(gate: &NodeGate, certified: &Certified) -> Result<(), RefusalV1> {
    let (node, serial) = (certified.node, certified.serial.clone());
    let read =
        gate.read(move |store| Ok((RetiredRow::is_retired(store, node)?, CertificateRow::read(store, &serial)?)));
    let (is_retired, row) = read.await.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
    if is_retired {
        return Err(RefusalV1::Retired { node });
    }
    match row {
        Some(row) if row.revoked.is_some() => Err(RefusalV1::Revoked { node: certified.node }),
        Some(row) if row.superseded_by.is_some() => Err(RefusalV1::Renewed { node: certified.node }),
        Some(_) => Ok(()),
        None => {
            let Certified { node, serial, not_after_ms, .. } = certified.clone();
            let command = Command::Access(AccessCommand::MeetCertificate { node, serial, not_after_ms });
            match gate.sequencer.propose(Actor::System, command).await.map_err(unavailable)? {
                Outcome::Refused(Refusal::Rule { code, .. }) if code == "certificates_revoked" => {
                    Err(RefusalV1::Revoked { node })
                }
                // It may have been recorded after the copy was made; the next session records it.
                Outcome::Refused(refusal) if refusal.code() == RECOVERING => Ok(()),
                Outcome::Refused(refusal) => Err(as_session_refusal(node, refusal)),
                _ => Ok(()),
            }
        }
    }
}

fn known(store: &Connection, node: NodeId, down_next_seq: u64) -> Result<Known, rusqlite::Error> {
    let head: Option<i64> = store
        .prepare_cached("SELECT seq FROM feed_head WHERE node = ?1")?
        .query_row([node.get()], |row| row.get(0))
        .optional()?;
    let down_hash = match down_next_seq {
        0 => None,
        1 => Some(ChainHash::GENESIS),
        next_seq => store
            .prepare_cached("SELECT hash FROM down_feed WHERE node = ?1 AND seq = ?2")?
            .query_row((node.get(), next_seq as i64 - 1), |row| row.get(0).map(ChainHash::from_bytes))
            .optional()?,
    };
    let (cursor, epoch) = (NodeCursor::load(store, node)?, EpochRow::newest(store, node)?);
    let place = RecoveryNodeRow::place(store, node)?;
    let left_out = matches!(place.state, NodeReturn::LeftOut | NodeReturn::Differs);
    Ok(Known { cursor, epoch, down_head_seq: head.unwrap_or(0) as u64, down_hash, left_out })
}

/// The node's place in its feed must be one of the feed's history. Where it is not, the hub lacks what it once told: no fault
/// of the node, which is not fenced for it.
fn check_down(down: Cursor, known: &Known) -> Result<(), RefusalV1> {
    if down.next_seq > known.down_head_seq + 1 || known.down_hash != Some(down.hash) {
        return Err(RefusalV1::HubBehind { ours: known.down_head_seq, theirs: down.next_seq });
    }
    Ok(())
}

/// The node's log must not be shorter than what was taken in of it.
pub(super) fn check_up(up_head: Cursor, up: Cursor) -> Result<(), RefusalV1> {
    if up_head.next_seq < up.next_seq {
        return Err(RefusalV1::Rewound { ours: up.next_seq, theirs: up_head.next_seq });
    }
    if up_head.next_seq == up.next_seq && up_head.hash != up.hash {
        return Err(RefusalV1::Fork { at: up.next_seq });
    }
    Ok(())
}

/// An empty batch registers the store, on every replica.
async fn register(gate: &NodeGate, node: NodeId, incarnation: [u8; 16]) -> Result<Cursor, RefusalV1> {
    let (first_seq, genesis) = (1, ChainHash::GENESIS);
    let batch = NodeBatch { node, incarnation, first_seq, prev_hash: genesis, last_hash: genesis, events: Vec::new() };
    match gate.sequencer.propose(Actor::System, Command::IngestEvents(batch)).await.map_err(unavailable)? {
        Outcome::Ingested { next_seq, hash, .. } => {
            tracing::info!(%node, "the store of a node is registered");
            Ok(Cursor { next_seq, hash })
        }
        Outcome::Refused(refusal) => Err(as_session_refusal(node, refusal)),
        other => Err(RefusalV1::Unavailable { why: format!("unexpected outcome {other:?}") }),
    }
}
