//! Outlets that move from node to node. The same facts lead to the same rows wherever they arrive: the hub gets all of them, the old
//! node the order and the leave, the new node the rows and the arrival.

use rusqlite::{OptionalExtension, params};

use super::{Projection, ProjectionError};
use crate::event::{Event, HandoffEvent};
use crate::id::{NodeId, OutletId};
use crate::ledger;
use crate::money::Money;
use crate::outlet_rows::{self, RowSet};

/// An outlet on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandoffRow {
    /// Number of the handoff.
    pub handoff: u64,
    /// Who serves it, or did until it was released; at the node to which it comes, that one: see [`HandoffRow::is_arriving`].
    pub node: NodeId,
    /// Who shall.
    pub to: NodeId,
    /// Whether the node decides nothing for it any more.
    pub released: bool,
}

impl HandoffRow {
    /// Whether this is the mark of the new node: rows of the outlet are there, and it has not arrived yet.
    pub fn is_arriving(&self) -> bool {
        self.node == self.to
    }
}

impl Projection<'_> {
    pub(super) fn apply_handoff(&mut self, event: &Event, body: &HandoffEvent) -> Result<(), ProjectionError> {
        match body {
            HandoffEvent::Ordered { handoff, outlet, from, to } => {
                self.outlet_known(*outlet)?;
                self.note_handoff(*outlet, HandoffRow { handoff: *handoff, node: *from, to: *to, released: false })
            }
            HandoffEvent::Cancelled { handoff, outlet, .. } => self.write(
                "DELETE FROM handoff WHERE outlet = ?1 AND handoff = ?2 AND released = 0",
                params![outlet.get(), *handoff as i64],
            ),
            HandoffEvent::Released { handoff, outlet, to } => {
                if self.outlet_known(*outlet)?.node != event.key.origin {
                    return Err(ProjectionError::Contradiction(
                        "an outlet was released by a node that does not serve it",
                    ));
                }
                let row = HandoffRow { handoff: *handoff, node: event.key.origin, to: *to, released: true };
                self.note_handoff(*outlet, row)
            }
            HandoffEvent::RowsMoved { handoff, outlet, to, rows } => {
                self.take_rows(*outlet, *to, rows)?;
                // Rows come in several transactions, and whoever dies starts again between two of them: nobody decides for the outlet
                // until the last has come. The hub has the row of the release.
                let values = params![outlet.get(), *handoff as i64, to.get()];
                self.write("INSERT INTO handoff VALUES (?1, ?2, ?3, ?3, 1) ON CONFLICT DO NOTHING", values)
            }
            HandoffEvent::Arrived { outlet, to, balance, .. } => {
                self.outlet_known(*outlet)?;
                let mark = "DELETE FROM handoff WHERE outlet = ?1 AND node = ?2 AND to_node = ?2";
                self.write(mark, params![outlet.get(), to.get()])?;
                self.write(
                    "DELETE FROM outlet_moved WHERE outlet = ?1 AND node = ?2",
                    params![outlet.get(), to.get()],
                )?;
                self.post_positive(event, *outlet, *balance, ledger::handoff_in(*to, *outlet, *balance))
            }
            HandoffEvent::Left { handoff, outlet, from, to, balance } => {
                self.leave(event, (*handoff, *outlet), (*from, *to), *balance)
            }
            // A later order stays, should the word come twice.
            HandoffEvent::Returned { handoff, outlet, .. } => {
                let delete = "DELETE FROM handoff WHERE outlet = ?1 AND handoff = ?2";
                self.write(delete, params![outlet.get(), *handoff as i64])
            }
            // The new node's index of requests and the hub's list are their own; the fact itself is the trail.
            HandoffEvent::RequestsListed { .. } | HandoffEvent::RequestsMoved { .. } => Ok(()),
        }
    }

    /// The outlet's way, if it is on one.
    pub fn handoff(&self, outlet: OutletId) -> Result<Option<HandoffRow>, ProjectionError> {
        let row = self
            .statements
            .get("SELECT handoff, node, to_node, released FROM handoff WHERE outlet = ?1")?
            .query_row([outlet.get()], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, u16>(1)?, row.get::<_, u16>(2)?, row.get(3)?))
            })
            .optional()?;
        let damaged = |_| ProjectionError::Damaged { table: "handoff", key: i64::from(outlet.get()) };
        row.map(|(handoff, node, to, released)| {
            let (node, to) = (NodeId::new(node).map_err(damaged)?, NodeId::new(to).map_err(damaged)?);
            Ok(HandoffRow { handoff: handoff as u64, node, to, released })
        })
        .transpose()
    }

    /// Where the outlet went that `node` served before.
    pub fn moved_to(&self, outlet: OutletId, node: NodeId) -> Result<Option<NodeId>, ProjectionError> {
        let to: Option<u16> = self
            .statements
            .get("SELECT to_node FROM outlet_moved WHERE outlet = ?1 AND node = ?2")?
            .query_row((outlet.get(), node.get()), |row| row.get(0))
            .optional()?;
        Ok(to.and_then(|to| NodeId::new(to).ok()))
    }

    /// A later order stays: the release of one that was taken back comes to the hub behind it, from a node that had not heard of either.
    /// That node serves again from the later order on, and so the hub's row and its own are the same.
    fn note_handoff(&self, outlet: OutletId, row: HandoffRow) -> Result<(), ProjectionError> {
        self.write(
            "INSERT INTO handoff VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET handoff = excluded.handoff, \
             node = excluded.node, to_node = excluded.to_node, released = excluded.released \
             WHERE handoff.handoff <= excluded.handoff",
            params![outlet.get(), row.handoff as i64, row.node.get(), row.to.get(), row.released],
        )
    }

    /// Writes rows of an outlet that was brought back out of its turn: no fact is told by it.
    ///
    /// # Errors
    /// As those rows in an event.
    pub fn keep_rows(&mut self, outlet: OutletId, node: NodeId, rows: &[RowSet]) -> Result<(), ProjectionError> {
        self.take_rows(outlet, node, rows)
    }

    fn take_rows(&mut self, outlet: OutletId, to: NodeId, rows: &[RowSet]) -> Result<(), ProjectionError> {
        self.settle()?;
        // All are checked before the first is written.
        outlet_rows::check(self.store, outlet, rows)?;
        rows.iter().try_for_each(|set| set.write(self.store, outlet, to))
    }

    fn leave(
        &mut self,
        event: &Event,
        (handoff, outlet): (u64, OutletId),
        (from, to): (NodeId, NodeId),
        balance: Money,
    ) -> Result<(), ProjectionError> {
        let is_here = self.outlet_known(outlet)?.node == from;
        self.post_positive(event, outlet, balance, ledger::handoff_out(from, outlet, balance))?;
        self.settle()?;
        // A later order stays, should the word come late.
        self.write("DELETE FROM handoff WHERE outlet = ?1 AND handoff <= ?2", params![outlet.get(), handoff as i64])?;
        self.write(
            "INSERT INTO outlet_moved VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET to_node = excluded.to_node, at_ms = excluded.at_ms",
            params![outlet.get(), from.get(), to.get(), event.at_ms.ms()],
        )?;
        // At the hub the rows are the new node's by now.
        if is_here {
            outlet_rows::forget(self.store, outlet)?;
        }
        Ok(())
    }

    /// Posts a transfer of an amount that may be nothing.
    fn post_positive(
        &mut self,
        event: &Event,
        outlet: OutletId,
        balance: Money,
        posting: ledger::Posting,
    ) -> Result<(), ProjectionError> {
        if balance < Money::ZERO {
            return Err(ProjectionError::Contradiction("an outlet moves with less than nothing"));
        }
        if balance == Money::ZERO {
            return Ok(());
        }
        self.check_postings(&[posting])?;
        self.post(event, i64::from(outlet.get()), &[posting])
    }

    /// Writes what is kept in memory, and forgets it: rows are about to be read or written beside it.
    pub fn settle(&mut self) -> Result<(), ProjectionError> {
        self.write_gathered()?;
        self.forget_catalog();
        Ok(())
    }
}
