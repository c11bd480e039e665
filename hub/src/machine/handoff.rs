//! Outlets that move from node to node (`schema::event::HandoffEvent`).
//!
//! Those that are to move wait in `handoff_waiting`; as many as the window lets are on their way (`handoff`). A node's word that it
//! let go of one leads, in the same entry of the log, to the rows for the new node, the leave of the old one, and the next order: no
//! job is needed, and whoever dies goes on from its log.

use std::collections::BTreeSet;

use jikai_schema::command::{HandoffCommand, MOVES_MAX, Outcome, OutletMove, WINDOW_MAX};
use jikai_schema::event::{Actor, Event, EventBody, HandoffEvent, MOVED_REQUESTS_MAX, MasterEvent, MovedRequest};
use jikai_schema::id::{NodeId, OperatorId, OutletId, TerminalId};
use jikai_schema::ledger::AccountId;
use jikai_schema::outlet_rows;
use jikai_schema::time::TimeMs;

use super::error::Stop;
use super::subject::Subject;
use super::{Machine, Stamp, StorageError, rule, unknown};

/// Kinds in `handoff_redefined`.
const DEVICE: i64 = 1;
const PERSON: i64 = 2;

impl Machine<'_> {
    pub(super) fn handoff(&mut self, stamp: Stamp<'_>, command: &HandoffCommand) -> Result<Outcome, Stop> {
        match command {
            HandoffCommand::Move { moves, window } => self.order_moves(stamp, moves, *window),
            HandoffCommand::Cancel { outlets } => self.cancel_moves(stamp, outlets),
        }
    }

    /// Checks: the window and the count are possible; no outlet twice; every outlet is known and on no way yet; every node is registered.
    fn order_moves(&mut self, stamp: Stamp<'_>, moves: &[OutletMove], window: u16) -> Result<Outcome, Stop> {
        if window == 0 || window > WINDOW_MAX {
            return Err(rule("invalid_window", format!("1 to {WINDOW_MAX} outlets may be on their way at once")).into());
        }
        if moves.is_empty() || moves.len() > MOVES_MAX {
            return Err(rule("invalid_moves", format!("one order moves 1 to {MOVES_MAX} outlets")).into());
        }
        let mut seen = BTreeSet::new();
        let mut fresh = Vec::new();
        for OutletMove { outlet, to } in moves {
            if !seen.insert(*outlet) {
                return Err(rule("outlet_twice", format!("outlet {outlet} is named twice")).into());
            }
            let row = self.projection.outlet(*outlet)?.ok_or_else(|| unknown("outlet", outlet))?;
            if !self.feeds.is_registered(*to) {
                return Err(unknown("node", to).into());
            }
            if self.projection.handoff(*outlet)?.is_some_and(|way| way.to != *to) {
                return Err(rule("outlet_on_its_way", format!("outlet {outlet} is on its way to another node")).into());
            }
            if row.node != *to && self.projection.handoff(*outlet)?.is_none() {
                fresh.push((*outlet, *to));
            }
        }
        // After this point the command must succeed.
        self.tx.prepare_cached("UPDATE handoff_pace SET window = ?1")?.execute([window])?;
        let mut insert = self.tx.prepare_cached(
            "INSERT INTO handoff_waiting VALUES (?1, ?2) ON CONFLICT DO UPDATE SET to_node = excluded.to_node",
        )?;
        for (outlet, to) in &fresh {
            insert.execute((outlet.get(), to.get()))?;
        }
        drop(insert);
        self.start_waiting(stamp)?;
        Ok(Outcome::Done { events: fresh.len() as u64, existing: (moves.len() - fresh.len()) as u64 })
    }

    /// Outlets that are on no way are no error: they may have arrived meanwhile.
    fn cancel_moves(&mut self, stamp: Stamp<'_>, outlets: &[OutletId]) -> Result<Outcome, Stop> {
        if outlets.len() > MOVES_MAX {
            return Err(rule("invalid_moves", format!("at most {MOVES_MAX} outlets are named")).into());
        }
        let named: BTreeSet<u32> = outlets.iter().map(|outlet| outlet.get()).collect();
        let is_meant = |outlet: &u32| named.is_empty() || named.contains(outlet);
        let waiting = self.outlets_of("SELECT outlet FROM handoff_waiting ORDER BY outlet")?;
        let ordered = self.outlets_of("SELECT outlet FROM handoff WHERE released = 0 ORDER BY outlet")?;
        // After this point the command must succeed.
        let mut cancelled = 0;
        for outlet in waiting.into_iter().filter(is_meant) {
            cancelled += self.tx.prepare_cached("DELETE FROM handoff_waiting WHERE outlet = ?1")?.execute([outlet])?;
        }
        for outlet in ordered.into_iter().filter(is_meant) {
            let outlet = outlet_of(outlet)?;
            if let Some(way) = self.projection.handoff(outlet)? {
                let event = HandoffEvent::Cancelled { handoff: way.handoff, outlet, from: way.node };
                self.emit(stamp, EventBody::Handoff(event))?;
                self.forget_redefined(outlet)?;
                cancelled += 1;
            }
        }
        self.start_waiting(stamp)?;
        Ok(Outcome::Done { events: cancelled as u64, existing: 0 })
    }

    /// Goes on with what a node said of a handoff. What it said was applied before; `is_awaited`: see [`Machine::is_awaited`].
    pub(super) fn follow_handoff(
        &mut self,
        event: &Event,
        is_awaited: bool,
        at_ms: TimeMs,
    ) -> Result<(), StorageError> {
        let EventBody::Handoff(body) = &event.body else { return Ok(()) };
        let stamp = Stamp { at_ms, actor: &Actor::System, request: None };
        match body {
            HandoffEvent::RequestsListed { outlet, requests, .. } => self.keep_requests(*outlet, requests),
            HandoffEvent::Released { handoff, outlet, to } => {
                let from = event.key.origin;
                if self.is_recovering()? {
                    // What was made of it comes back, or is made at the end.
                    return Ok(());
                }
                if is_awaited {
                    self.hand_over(stamp, (*handoff, *outlet), (from, *to))?;
                } else {
                    self.forget_requests(*outlet)?;
                    let returned = HandoffEvent::Returned { handoff: *handoff, outlet: *outlet, node: from };
                    self.emit(stamp, EventBody::Handoff(returned))?;
                }
                self.start_waiting(stamp)
            }
            _ => Ok(()),
        }
    }

    /// Whether a fact is the answer to an order that stands; asked before the fact is applied. Nobody waits for it once the order was
    /// taken back.
    pub(super) fn is_awaited(&self, event: &Event) -> Result<bool, StorageError> {
        let EventBody::Handoff(HandoffEvent::Released { handoff, outlet, to }) = &event.body else { return Ok(false) };
        let way = self.projection.handoff(*outlet)?;
        Ok(way.is_some_and(|way| (way.handoff, way.node, way.to) == (*handoff, event.key.origin, *to)))
    }

    /// Moves the outlet: rows, requests and balance to the new node, then the leave of the old one.
    pub(super) fn hand_over(
        &mut self,
        stamp: Stamp<'_>,
        (handoff, outlet): (u64, OutletId),
        (from, to): (NodeId, NodeId),
    ) -> Result<(), StorageError> {
        self.move_rows(stamp, (handoff, outlet), to)?;
        let balance = self.projection.account(AccountId::outlet(from, outlet))?.balance;
        let arrived = HandoffEvent::Arrived { handoff, outlet, from, to, balance };
        self.emit(stamp, EventBody::Handoff(arrived))?;
        self.forget_redefined(outlet)?;
        self.emit(stamp, EventBody::Handoff(HandoffEvent::Left { handoff, outlet, from, to, balance }))
    }

    /// Notes what is defined anew of an outlet on its way: its old node is told, and lets nobody in any more who logged in before; the new
    /// one, which gets the open sessions with the rows, is told as well.
    pub(super) fn note_redefined(&mut self, body: &EventBody) -> Result<(), StorageError> {
        let (outlet, kind, id) = match body {
            EventBody::Master(MasterEvent::TerminalDefined { terminal, .. }) => {
                (terminal.outlet(), DEVICE, terminal.get())
            }
            EventBody::Master(MasterEvent::OperatorDefined { operator, .. }) => {
                (operator.outlet(), PERSON, operator.get())
            }
            _ => return Ok(()),
        };
        let sql = "INSERT OR IGNORE INTO handoff_redefined \
                   SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM handoff WHERE outlet = ?1)";
        self.tx.prepare_cached(sql)?.execute((outlet.get(), kind, id as i64))?;
        Ok(())
    }

    /// What was defined anew meanwhile and is in use: sessions of what is out of use do not live anywhere.
    fn redefined_of(&self, outlet: OutletId) -> Result<Vec<Subject>, StorageError> {
        let sql = "SELECT kind, id FROM handoff_redefined WHERE outlet = ?1 ORDER BY kind, id";
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut rows = statement.query([outlet.get()])?;
        let mut redefined = Vec::new();
        while let Some(row) = rows.next()? {
            let (kind, id): (i64, i64) = (row.get(0)?, row.get(1)?);
            let damaged = |_| StorageError::Damaged { table: "handoff_redefined", key: id };
            if kind == DEVICE {
                let terminal = TerminalId::new(id as u64).map_err(damaged)?;
                redefined.extend((!self.projection.is_revoked(terminal)?).then_some(Subject::Terminal(terminal)));
            } else {
                let operator = OperatorId::new(id as u64).map_err(damaged)?;
                redefined.extend((!self.projection.is_disabled(operator)?).then_some(Subject::Operator(operator)));
            }
        }
        Ok(redefined)
    }

    /// Tells the new node what the outlet asked and has, and who of it was defined anew on the way.
    pub(super) fn move_rows(
        &mut self,
        stamp: Stamp<'_>,
        (handoff, outlet): (u64, OutletId),
        to: NodeId,
    ) -> Result<(), StorageError> {
        self.projection.settle()?;
        // Requests first: once the new node has the rows, it must know what was answered.
        let requests = self.requests_of(outlet)?;
        for requests in requests.chunks(MOVED_REQUESTS_MAX) {
            let requests = requests.to_vec();
            self.emit(stamp, EventBody::Handoff(HandoffEvent::RequestsMoved { handoff, outlet, to, requests }))?;
        }
        for rows in outlet_rows::export(self.tx, outlet)? {
            self.emit(stamp, EventBody::Handoff(HandoffEvent::RowsMoved { handoff, outlet, to, rows }))?;
        }
        self.tell_redefined(stamp, outlet, to)?;
        self.forget_requests(outlet)
    }

    /// Tells the new node who was defined anew on the way. Before the arrival: nobody is served there by a session that ends with it.
    pub(super) fn tell_redefined(
        &mut self,
        stamp: Stamp<'_>,
        outlet: OutletId,
        to: NodeId,
    ) -> Result<(), StorageError> {
        for subject in self.redefined_of(outlet)? {
            if let Some(definition) = self.defined(subject)? {
                self.emit(stamp, EventBody::Master(told_to(definition, to)))?;
            }
        }
        Ok(())
    }

    /// Orders those that wait, as many as the window lets.
    pub(super) fn start_waiting(&mut self, stamp: Stamp<'_>) -> Result<(), StorageError> {
        let (mut last, window): (i64, i64) = self
            .tx
            .prepare_cached("SELECT last_handoff, window FROM handoff_pace")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let under_way: i64 = self.tx.prepare_cached("SELECT count(*) FROM handoff")?.query_row([], |row| row.get(0))?;
        let room = (window - under_way).max(0);
        let sql = "SELECT outlet, to_node FROM handoff_waiting ORDER BY outlet LIMIT ?1";
        let mut statement = self.tx.prepare_cached(sql)?;
        let rows = statement.query_map([room], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, u16>(1)?)))?;
        let next = rows.collect::<Result<Vec<_>, _>>()?;
        drop(statement);
        for (outlet, to) in next {
            self.tx.prepare_cached("DELETE FROM handoff_waiting WHERE outlet = ?1")?.execute([outlet])?;
            let outlet = outlet_of(outlet)?;
            let damaged = |_| StorageError::Damaged { table: "handoff_waiting", key: i64::from(outlet.get()) };
            let to = NodeId::new(to).map_err(damaged)?;
            let Some(row) = self.projection.outlet(outlet)? else { continue };
            if row.node == to {
                continue;
            }
            last += 1;
            let ordered = HandoffEvent::Ordered { handoff: last as u64, outlet, from: row.node, to };
            self.emit(stamp, EventBody::Handoff(ordered))?;
        }
        self.tx.prepare_cached("UPDATE handoff_pace SET last_handoff = ?1")?.execute([last])?;
        Ok(())
    }

    fn keep_requests(&mut self, outlet: OutletId, requests: &[MovedRequest]) -> Result<(), StorageError> {
        let mut insert = self.tx.prepare_cached("INSERT OR REPLACE INTO handoff_request VALUES (?1, ?2, ?3, ?4)")?;
        for request in requests {
            insert.execute((outlet.get(), request.index, request.origin.get(), request.seq as i64))?;
        }
        Ok(())
    }

    fn requests_of(&self, outlet: OutletId) -> Result<Vec<MovedRequest>, StorageError> {
        let sql = "SELECT request, origin, seq FROM handoff_request WHERE outlet = ?1 ORDER BY request";
        let mut statement = self.tx.prepare_cached(sql)?;
        let mut rows = statement.query([outlet.get()])?;
        let mut requests = Vec::new();
        while let Some(row) = rows.next()? {
            let damaged = |_| StorageError::Damaged { table: "handoff_request", key: i64::from(outlet.get()) };
            let origin = NodeId::new(row.get(1)?).map_err(damaged)?;
            requests.push(MovedRequest { index: row.get(0)?, origin, seq: row.get::<_, i64>(2)? as u64 });
        }
        Ok(requests)
    }

    pub(super) fn forget_requests(&mut self, outlet: OutletId) -> Result<(), StorageError> {
        self.tx.prepare_cached("DELETE FROM handoff_request WHERE outlet = ?1")?.execute([outlet.get()])?;
        Ok(())
    }

    /// Not with the requests: those of a release that came too late are forgotten while another order stands.
    pub(super) fn forget_redefined(&mut self, outlet: OutletId) -> Result<(), StorageError> {
        self.tx.prepare_cached("DELETE FROM handoff_redefined WHERE outlet = ?1")?.execute([outlet.get()])?;
        Ok(())
    }

    pub(super) fn outlets_of(&self, sql: &str) -> Result<Vec<u32>, StorageError> {
        let mut statement = self.tx.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// The same definition in the feed of this node.
fn told_to(definition: MasterEvent, node: NodeId) -> MasterEvent {
    match definition {
        MasterEvent::TerminalDefined { terminal, kind, public_key, .. } => {
            MasterEvent::TerminalDefined { terminal, node, kind, public_key }
        }
        MasterEvent::OperatorDefined { operator, name, role, password_hash, .. } => {
            MasterEvent::OperatorDefined { operator, node, name, role, password_hash }
        }
        other => other,
    }
}

pub(super) fn outlet_of(key: u32) -> Result<OutletId, StorageError> {
    OutletId::new(key).map_err(|_| StorageError::Damaged { table: "handoff", key: i64::from(key) })
}
