//! Batch keys: encrypted in the state, opened only to seal a batch and to hand them to a node. Never logged.

use jikai_schema::codec;
use jikai_schema::command::{FeedReturn, NodeBatch};
use jikai_schema::crypto::KeyRing;
use jikai_schema::id::{BatchNo, NodeId};
use jikai_schema::peer::{HubReply, KEYS_MAX, NodeRequest, PAST_EVENTS_MAX, PlainKey};
use jikai_schema::seal::BatchKey;
use jikai_schema::vault::{VaultError, unwrap, wrap};
use jikai_sync::identity::Certified;
use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::{Connection, OptionalExtension};
use zeroize::Zeroizing;

use super::NodeGate;
use crate::machine::{NodeCursor, NodeHistory, RecoveryRow, StorageError};

/// Bytes of past events in one answer; a little less than fits.
const PAST_BYTES_MAX: usize = 96 * 1024;

/// The key-encryption keys of this machine.
pub struct KeyVault {
    keys: KeyRing,
}

/// A key that cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The state failed.
    #[error("the batch keys cannot be read: {0}")]
    Storage(#[from] rusqlite::Error),
    /// Wrapped under other keys.
    #[error("batch {0}: {1}; restore secrets/ of this machine")]
    Vault(BatchNo, VaultError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl KeyVault {
    /// Wraps and opens batch keys with these keys.
    pub fn new(keys: impl Into<KeyRing>) -> Self {
        KeyVault { keys: keys.into() }
    }

    /// A fresh key for a batch, with its wrapped form.
    pub fn make(&self, batch: BatchNo) -> Result<Vec<u8>, KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(key.as_mut()).map_err(|_| KeyError::Random)?;
        self.wrap(batch, &BatchKey::from_bytes(*key))
    }

    /// The wrapped form of a key.
    pub fn wrap(&self, batch: BatchNo, key: &BatchKey) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; 12];
        SysRng.try_fill_bytes(&mut nonce).map_err(|_| KeyError::Random)?;
        Ok(wrap(&self.keys, batch, key, nonce))
    }

    /// The key of an imported batch; `None` for one that was not imported.
    pub fn read(&self, state: &Connection, batch: BatchNo) -> Result<Option<BatchKey>, KeyError> {
        let wrapped: Option<Vec<u8>> = state
            .prepare_cached("SELECT wrapped FROM batch_key WHERE batch = ?1")?
            .query_row([batch.get()], |row| row.get(0))
            .optional()?;
        let Some(wrapped) = wrapped else { return Ok(None) };
        unwrap(&self.keys, batch, &wrapped).map(Some).map_err(|error| KeyError::Vault(batch, error))
    }
}

/// Answers a request of a node that the connection has authenticated by this certificate.
pub(super) async fn answer(gate: &NodeGate, certified: &Certified, request: Vec<u8>) -> Vec<u8> {
    let node = certified.node;
    let reply = match NodeRequest::decode(&request) {
        Ok(NodeRequest::BatchKeys { batches }) if batches.len() <= KEYS_MAX => keys_of(gate, node, batches).await,
        Ok(NodeRequest::BatchKeys { .. }) => Err(format!("at most {KEYS_MAX} keys are given at once")),
        Ok(NodeRequest::Enrol(enrolment)) => super::enrolment::enrol(gate, node, enrolment).await,
        Ok(NodeRequest::PastEvents { origin, seq, events_max }) => {
            past_events(gate, node, (origin, seq, events_max)).await
        }
        Ok(NodeRequest::RenewCertificate { request_pem }) => super::renewal::renew(gate, certified, request_pem).await,
        Ok(NodeRequest::Reached { addresses }) => super::directory::reached(gate, node, addresses).await,
        Ok(NodeRequest::WhereIs { outlet }) => super::directory::where_is(gate, node, outlet).await,
        Ok(NodeRequest::OpenSlice) => super::slices::open(gate, node, false).await,
        Ok(NodeRequest::OpenSliceWithFeed) => super::slices::open(gate, node, true).await,
        Ok(NodeRequest::SlicePart { transfer, part }) => super::slices::part(gate, node, transfer, part).await,
        Ok(NodeRequest::FeedPlace) => super::recovery::place(gate, node).await,
        Ok(NodeRequest::ReturnFeed { incarnation, generation, first_seq, events, end_seq, end_hash }) => {
            let run = FeedReturn { node, incarnation, generation, first_seq, events, end_seq, end_hash };
            super::recovery::take(gate, run).await
        }
        Ok(NodeRequest::ReturnLog { incarnation, first_seq, prev_hash, events }) => {
            let last_hash = events.iter().fold(prev_hash, |hash, bytes| hash.next(bytes));
            let batch = NodeBatch { node, incarnation, first_seq, prev_hash, last_hash, events };
            super::recovery::take_log(gate, batch).await
        }
        Ok(NodeRequest::ReturnKeys { keys }) => super::recovery::take_keys(gate, node, keys).await,
        Err(error) => Err(format!("the request cannot be read: {error}")),
    };
    let reply = reply.unwrap_or_else(|reason| {
        tracing::warn!(%node, reason, "a request of a node was refused");
        HubReply::Refused(reason)
    });
    reply.encode().unwrap_or_default()
}

/// Events of another node's log, as long as they are of outlets that the asking node serves. Refused where the hub does not have them
/// (again) yet: none would be taken for "never answered".
async fn past_events(gate: &NodeGate, node: NodeId, asked: (NodeId, u64, u16)) -> Result<HubReply, String> {
    let (origin, seq, events_max) = asked;
    if seq == 0 || events_max == 0 || events_max > PAST_EVENTS_MAX {
        return Err(format!("1 to {PAST_EVENTS_MAX} events are given at once, from 1 on"));
    }
    let read = move |state: &mut Connection| -> Result<Option<Vec<Vec<u8>>>, StorageError> {
        let known = NodeCursor::load(state, origin)?.map_or(1, |cursor| cursor.next_seq);
        if known <= seq || RecoveryRow::is_on(state)? {
            return Ok(None);
        }
        let past = NodeHistory::new(state, origin).events_after(seq - 1, usize::from(events_max), PAST_BYTES_MAX)?;
        let mut given = Vec::new();
        for event in past {
            if !is_of_outlet_of(state, node, &event.bytes)? {
                break;
            }
            given.push(event.bytes);
        }
        Ok(Some(given))
    };
    let events = gate.pool.read(read).await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
    let events = events.ok_or_else(|| format!("the hub does not have event {seq} of node {origin} yet"))?;
    Ok(HubReply::PastEvents(events))
}

fn is_of_outlet_of(state: &Connection, node: NodeId, bytes: &[u8]) -> Result<bool, rusqlite::Error> {
    let Ok(event) = codec::decode_event(bytes) else { return Ok(false) };
    let Some((terminal, _)) = event.actor.terminal() else { return Ok(false) };
    let sql = "SELECT EXISTS (SELECT 1 FROM outlet WHERE outlet = ?1 AND node = ?2)";
    state.prepare_cached(sql)?.query_row((terminal.outlet().get(), node.get()), |row| row.get(0))
}

/// Keys of those batches that are imported; every node is told of every batch, and may be sent packs of it.
async fn keys_of(gate: &NodeGate, node: NodeId, batches: Vec<BatchNo>) -> Result<HubReply, String> {
    let vault = gate.vault.clone();
    let read = move |state: &mut Connection| -> Result<Vec<(BatchNo, PlainKey)>, KeyError> {
        let mut keys = Vec::new();
        for batch in batches {
            if let Some(key) = vault.read(state, batch)? {
                keys.push((batch, PlainKey(*key.as_bytes())));
            }
        }
        Ok(keys)
    };
    let keys = gate.pool.read(read).await.map_err(|error| error.to_string())?.map_err(|error| {
        tracing::error!(%error, "a batch key cannot be opened");
        "the hub cannot open its batch keys".to_string()
    })?;
    tracing::info!(%node, keys = keys.len(), "a node was given batch keys");
    Ok(HubReply::BatchKeys(keys))
}
