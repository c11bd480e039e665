//! Moves of outlets that the copy does not know. What the hub made of a release rests on the old node's log up to it, so the merge
//! stops there until that much of the log is in: each fact is projected on the tables on which it was made.

use jikai_schema::codec;
use jikai_schema::command::{NodeBatch, Outcome};
use jikai_schema::event::{Event, EventBody, HandoffEvent};
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::ledger::AccountId;
use jikai_schema::money::Money;
use jikai_schema::outlet_rows;

use super::{NodeReturn, RecoveryNodeRow, RecoveryRow};
use crate::machine::error::Stop;
use crate::machine::handoff::outlet_of;
use crate::machine::{Machine, Stamp, StorageError, rule};

/// The place in a node's log up to which the merge needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AwaitedRelease {
    /// Whose log.
    pub node: NodeId,
    /// The handoff that it released.
    pub handoff: u64,
}

/// A move that came back in part.
struct Half {
    handoff: u64,
    outlet: OutletId,
    from: NodeId,
    to: NodeId,
    balance: Money,
    arrived: bool,
}

impl Machine<'_> {
    /// The release on which a fact rests, unless it is in; `None` also where its node was left out, whose log will not come.
    pub(super) fn rests_on(&self, body: &EventBody) -> Result<Option<AwaitedRelease>, StorageError> {
        let EventBody::Handoff(event) = body else { return Ok(None) };
        let (handoff, outlet, from) =
            match event {
                HandoffEvent::RequestsMoved { handoff, outlet, .. }
                | HandoffEvent::RowsMoved { handoff, outlet, .. } => (*handoff, *outlet, None),
                HandoffEvent::Arrived { handoff, outlet, from, .. }
                | HandoffEvent::Left { handoff, outlet, from, .. } => (*handoff, *outlet, Some(*from)),
                HandoffEvent::Returned { handoff, outlet, node } => (*handoff, *outlet, Some(*node)),
                _ => return Ok(None),
            };
        let way = self.projection.handoff(outlet)?.filter(|way| way.handoff == handoff);
        if way.is_some_and(|way| way.released) {
            return Ok(None);
        }
        let Some(node) = way.map(|way| way.node).or(from) else { return Ok(None) };
        let nodes = RecoveryNodeRow::list(self.tx)?;
        let will_come = nodes.iter().any(|row| row.node == node && row.state == NodeReturn::Returned);
        Ok(will_come.then_some(AwaitedRelease { node, handoff }))
    }

    /// Takes in a node's log up to the release that is awaited; what lies behind it rests on facts that are not back yet. Checks
    /// what taking in a batch checks, and that this log is awaited.
    pub(super) fn take_log(&mut self, stamp: Stamp<'_>, row: &RecoveryRow, batch: &NodeBatch) -> Result<Outcome, Stop> {
        let Some(release) = row.release.filter(|release| release.node == batch.node) else {
            return Err(rule("log_not_awaited", format!("the log of node {} is not awaited now", batch.node)).into());
        };
        let found = batch.events.iter().position(|bytes| is_release(bytes, release.handoff));
        let count = found.map_or(batch.events.len(), |place| place + 1);
        let events = batch.events[..count].to_vec();
        let last_hash = events.iter().fold(batch.prev_hash, |hash, bytes| hash.next(bytes));
        let outcome = self.ingest_events(stamp.at_ms, &NodeBatch { last_hash, events, ..batch.clone() })?;
        if found.is_some() {
            self.tx.execute("UPDATE recovery SET awaited_node = NULL, awaited_handoff = NULL", [])?;
        }
        Ok(outcome)
    }

    /// What must be so before a fact that came back is projected: an outlet that left without having arrived, as far as is known,
    /// belongs to its new node, or its rows would go with the leave.
    pub(super) fn before_handoff(&mut self, event: &Event) -> Result<(), StorageError> {
        let EventBody::Handoff(HandoffEvent::Left { outlet, from, to, .. }) = event.body else {
            return Ok(());
        };
        if self.projection.outlet(outlet)?.is_none_or(|row| row.node != from) {
            return Ok(());
        }
        self.projection.settle()?;
        for rows in outlet_rows::export(self.tx, outlet)? {
            self.projection.keep_rows(outlet, to, &rows)?;
        }
        Ok(())
    }

    /// Remembers how much of a move came back, and that its number is taken.
    pub(super) fn follow_up_handoff(&mut self, event: &HandoffEvent) -> Result<(), StorageError> {
        match event {
            HandoffEvent::Ordered { handoff, outlet, .. } => {
                let pace = "UPDATE handoff_pace SET last_handoff = max(last_handoff, ?1)";
                self.tx.prepare_cached(pace)?.execute([*handoff as i64])?;
                let delete = "DELETE FROM handoff_waiting WHERE outlet = ?1";
                self.tx.prepare_cached(delete)?.execute([outlet.get()])?;
                Ok(())
            }
            HandoffEvent::Arrived { handoff, outlet, from, to, balance } => {
                self.forget_requests(*outlet)?;
                self.forget_redefined(*outlet)?;
                self.note_half((*handoff, *outlet), (*from, *to, *balance), false)
            }
            HandoffEvent::Left { handoff, outlet, from, to, balance } => {
                self.note_half((*handoff, *outlet), (*from, *to, *balance), true)
            }
            HandoffEvent::Returned { outlet, .. } => self.forget_requests(*outlet),
            HandoffEvent::Cancelled { outlet, .. } => self.forget_redefined(*outlet),
            _ => Ok(()),
        }
    }

    fn note_half(
        &self,
        (handoff, outlet): (u64, OutletId),
        (from, to, balance): (NodeId, NodeId, Money),
        is_leave: bool,
    ) -> Result<(), StorageError> {
        let insert = "INSERT INTO recovery_handoff VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET \
                      arrived = max(arrived, excluded.arrived), leave = max(leave, excluded.leave)";
        let row = (handoff as i64, outlet.get(), from.get(), to.get(), balance.fen(), !is_leave, is_leave);
        self.tx.prepare_cached(insert)?.execute(row)?;
        Ok(())
    }

    /// Tells each node the part of a move that it had not received: the rows and the arrival, the leave, or all of it.
    pub(super) fn complete_handoffs(&mut self, stamp: Stamp<'_>) -> Result<(), StorageError> {
        for half in self.halves()? {
            if half.arrived {
                self.late_leave(stamp, &half)?;
            } else {
                let Half { handoff, outlet, from, to, balance, .. } = half;
                self.move_rows(stamp, (handoff, outlet), to)?;
                let arrived = HandoffEvent::Arrived { handoff, outlet, from, to, balance };
                self.emit(stamp, EventBody::Handoff(arrived))?;
            }
        }
        self.tx.execute("DELETE FROM recovery_handoff", [])?;
        for outlet in self.outlets_of("SELECT outlet FROM handoff WHERE released = 1 ORDER BY outlet")? {
            let outlet = outlet_of(outlet)?;
            let Some(way) = self.projection.handoff(outlet)? else { continue };
            match way.is_arriving() {
                false => self.hand_over(stamp, (way.handoff, outlet), (way.node, way.to))?,
                true => self.bring_over(stamp, (way.handoff, outlet), way.to)?,
            }
        }
        let of_none = "DELETE FROM handoff_redefined WHERE outlet NOT IN (SELECT outlet FROM handoff)";
        self.tx.execute(of_none, [])?;
        self.start_waiting(stamp)
    }

    /// Tells a node the leave that it had not received. What the account does not hold, for what brought it there went down with a node
    /// that was left out, stays visible between the two transfers of the move. An outlet that is the node's again by a later move keeps
    /// its rows here: the node forgets its old ones, and is told the new ones next.
    fn late_leave(&mut self, stamp: Stamp<'_>, half: &Half) -> Result<(), StorageError> {
        let &Half { handoff, outlet, from, to, balance, .. } = half;
        self.projection.settle()?;
        let held = self.projection.account(AccountId::outlet(from, outlet))?.balance;
        let left = HandoffEvent::Left { handoff, outlet, from, to, balance: balance.min(held).max(Money::ZERO) };
        let is_back = self.projection.outlet(outlet)?.is_some_and(|row| row.node == from);
        let rows = if is_back { outlet_rows::export(self.tx, outlet)? } else { Vec::new() };
        self.emit(stamp, EventBody::Handoff(left))?;
        for rows in rows {
            self.projection.keep_rows(outlet, from, &rows)?;
        }
        Ok(())
    }

    /// Lets an outlet arrive whose rows came back and whose old node, which was left out, cannot say that it released it: from the node
    /// that has its money.
    fn bring_over(
        &mut self,
        stamp: Stamp<'_>,
        (handoff, outlet): (u64, OutletId),
        to: NodeId,
    ) -> Result<(), StorageError> {
        let mut from = None;
        for node in self.feeds.nodes().filter(|node| *node != to).collect::<Vec<_>>() {
            let balance = self.projection.account(AccountId::outlet(node, outlet))?.balance;
            if balance > Money::ZERO {
                from = Some((node, balance));
            }
        }
        self.tell_redefined(stamp, outlet, to)?;
        let (node, balance) = from.unwrap_or((to, Money::ZERO));
        let arrived = HandoffEvent::Arrived { handoff, outlet, from: node, to, balance };
        self.emit(stamp, EventBody::Handoff(arrived))?;
        match from {
            None => Ok(()),
            Some((from, balance)) => {
                self.emit(stamp, EventBody::Handoff(HandoffEvent::Left { handoff, outlet, from, to, balance }))
            }
        }
    }

    fn halves(&self) -> Result<Vec<Half>, StorageError> {
        let sql = "SELECT handoff, outlet, from_node, to_node, balance_fen, arrived FROM recovery_handoff \
                   WHERE arrived + leave < 2 ORDER BY handoff";
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut halves = Vec::new();
        while let Some(row) = rows.next()? {
            let handoff: i64 = row.get(0)?;
            let damaged = |_| StorageError::Damaged { table: "recovery_handoff", key: handoff };
            halves.push(Half {
                handoff: handoff as u64,
                outlet: OutletId::new(row.get(1)?).map_err(damaged)?,
                from: NodeId::new(row.get(2)?).map_err(damaged)?,
                to: NodeId::new(row.get(3)?).map_err(damaged)?,
                balance: Money::from_fen(row.get(4)?),
                arrived: row.get(5)?,
            });
        }
        Ok(halves)
    }
}

fn is_release(bytes: &[u8], handoff: u64) -> bool {
    codec::decode_event(bytes).is_ok_and(
        |event| matches!(event.body, EventBody::Handoff(HandoffEvent::Released { handoff: released, .. }) if released == handoff),
    )
}
