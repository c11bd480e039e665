//! Stores that took a node's place since the copy was made.

use jikai_schema::chain::ChainHash;
use jikai_schema::command::{Outcome, Refusal};
use jikai_schema::event::{EventBody, NodeEvent};
use jikai_schema::id::NodeId;

use super::{NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState, recovering};
use crate::machine::access::NOTHING;
use crate::machine::error::Stop;
use crate::machine::nodes::EPOCH_FIRST;
use crate::machine::{EpochRow, Machine, NodeCursor, Stamp};

/// By how much an epoch may be later than the last one that a hub is known to have given: nobody replaces a node so often between two
/// copies. The word of a stolen store must not use up all of them.
const EPOCHS_SKIPPED_MAX: u32 = 1_000;
/// The reason of a replacement of which the hub itself knows nothing any more.
const REPLACED_SINCE: &str =
    "replaced before the hub was put back from a copy; of the log before, the hub may have had more";

impl Machine<'_> {
    /// Takes a store for its node's: its epoch is later than the copy knows, and only a hub gives one. Checks: nodes are still awaited
    /// → the epoch is a later one, and not beyond reason. What the store before it returned stays; the later one may have more.
    pub(super) fn meet_store(
        &mut self,
        stamp: Stamp<'_>,
        row: &RecoveryRow,
        (node, incarnation, epoch): (NodeId, [u8; 16], u32),
    ) -> Result<Outcome, Stop> {
        if row.state != RecoveryState::Awaiting {
            return Err(recovering().into());
        }
        let known = self.cursor(node)?;
        let newest = EpochRow::newest(self.tx, node)?;
        let given = "SELECT max(epoch) FROM node_epoch WHERE node = ?1 AND reason <> ?2";
        let given: Option<u32> =
            self.tx.prepare_cached(given)?.query_row((node.get(), REPLACED_SINCE), |row| row.get(0))?;
        let latest = given.unwrap_or(EPOCH_FIRST).saturating_add(EPOCHS_SKIPPED_MAX);
        if epoch == newest && known.is_none_or(|known| known.incarnation == incarnation) {
            return Ok(NOTHING);
        }
        if epoch <= newest || epoch > latest || node.is_hub() {
            return Err(Refusal::Incarnation { node }.into());
        }
        // After this point the command must succeed.
        let (next_seq, hash) = known.map_or((1, ChainHash::GENESIS), |known| (known.next_seq, known.hash));
        if known.is_some() {
            self.cursors.insert(node, Some(NodeCursor { incarnation, next_seq, hash }));
        }
        let met = EpochRow {
            node: node.get(),
            epoch,
            next_seq,
            hash,
            replaced_at_ms: stamp.at_ms,
            reason: REPLACED_SINCE.to_owned(),
        };
        met.insert(self.tx)?;
        self.forget_runs(node)?;
        let mut place = RecoveryNodeRow::place(self.tx, node)?;
        if place.state == NodeReturn::Returned {
            let newest = "SELECT coalesce(max(hub_seq), 0) FROM recovery_event WHERE node = ?1";
            let newest: i64 = self.tx.prepare_cached(newest)?.query_row([node.get()], |row| row.get(0))?;
            (place.state, place.proven_seq) = (NodeReturn::Awaited, newest as u64);
        }
        RecoveryNodeRow { met_epoch: Some(epoch), ..place }.save(self.tx)?;
        Ok(Outcome::Done { events: 0, existing: 0 })
    }

    /// Tells of the stores that were met, now that the log grows again. Of a node that nobody returned there is none: one that is added
    /// under its number begins anew.
    pub(super) fn tell_met_stores(&mut self, stamp: Stamp<'_>, nodes: &[RecoveryNodeRow]) -> Result<(), Stop> {
        let is_met = |row: &EpochRow| {
            nodes.iter().any(|place| place.node.get() == row.node && place.met_epoch == Some(row.epoch))
        };
        let met: Vec<EpochRow> = EpochRow::all(self.tx)?.into_iter().filter(is_met).collect();
        for EpochRow { node, epoch, next_seq, hash, reason, .. } in met {
            let node = super::node_of(node)?;
            if self.feeds.nodes().all(|known| known != node) {
                self.tx.prepare_cached("DELETE FROM node_epoch WHERE node = ?1")?.execute([node.get()])?;
                continue;
            }
            self.emit(stamp, EventBody::Node(NodeEvent::Replaced { node, epoch, next_seq, hash, reason }))?;
        }
        Ok(())
    }
}
