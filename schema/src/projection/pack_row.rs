//! Rows of `pack`: custody, money as charged, and what happened to the tickets inside.

use rusqlite::{Connection, OptionalExtension, Row};

use super::ProjectionError;
use crate::event::{EventKey, PackHold};
use crate::id::{NodeId, OutletId, PackId};
use crate::money::{Money, PackCharge};
use crate::store::Statements;
use crate::time::TimeMs;

/// Custody of a pack that was shipped to an outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackState {
    /// Shipped, not yet signed for.
    InTransit,
    /// Checked in, charged, on sale.
    Active,
    /// Every ticket was sold by scan.
    SoldOut,
    /// Sent back and refunded.
    Returned,
}

impl PackState {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            PackState::InTransit => "in_transit",
            PackState::Active => "active",
            PackState::SoldOut => "sold_out",
            PackState::Returned => "returned",
        }
    }

    /// Reads a stored number.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(PackState::InTransit),
            1 => Some(PackState::Active),
            2 => Some(PackState::SoldOut),
            3 => Some(PackState::Returned),
            _ => None,
        }
    }
}

impl PackHold {
    /// The name in interfaces; `None` without a hold.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            PackHold::None => None,
            PackHold::Frozen => Some("frozen"),
            PackHold::Stolen => Some("stolen"),
            PackHold::Lost => Some("lost"),
            PackHold::Damaged => Some("damaged"),
        }
    }

    /// Reads a stored number.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(PackHold::None),
            1 => Some(PackHold::Frozen),
            2 => Some(PackHold::Stolen),
            3 => Some(PackHold::Lost),
            4 => Some(PackHold::Damaged),
            _ => None,
        }
    }
}

/// The event that claimed a ticket of the pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimEntry {
    /// Printed ticket number.
    pub ticket: u16,
    /// The claim's event; its first transfer tells when, where and how much.
    pub event: EventKey,
}

/// Bytes of a claim entry in the row: ticket 2, origin 2, sequence 6.
const CLAIM_BYTES: usize = 10;

/// A pack in an outlet's slice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRow {
    /// Its id.
    pub pack: PackId,
    /// The node that serves the outlet.
    pub node: NodeId,
    /// Where it lies, or goes.
    pub outlet: OutletId,
    /// Its consignment.
    pub shipment: u64,
    /// When the hub sent it.
    pub shipped_at_ms: TimeMs,
    /// Put on by the hub.
    pub hold: PackHold,
    /// Custody.
    pub state: PackState,
    /// When it was checked in.
    pub checked_in_at_ms: Option<TimeMs>,
    /// What check-in charged; all zero before.
    pub charge: PackCharge,
    /// Tickets sold by scan.
    pub sold_count: u16,
    /// The first ticket whose right code was presented without a sale or prize of the pack; `None` until then.
    pub scratched_ticket: Option<u16>,
    sold_bits: Vec<u8>,
    claims: Vec<u8>,
    stored: bool,
    changed: bool,
}

/// A `SELECT` of all columns, in the order in which [`PackRow::from_row`] reads them.
macro_rules! select_pack {
    ($condition:literal) => {
        concat!(
            "SELECT pack, node, outlet, shipment, shipped_at_ms, hold, state, checked_in_at_ms, face_fen, prize_fund_fen, ",
            "welfare_fund_fen, commission_fen, sold_count, sold_bits, claims, scratched_ticket FROM pack WHERE ",
            $condition
        )
    };
}

impl PackRow {
    pub(super) fn shipped(pack: PackId, node: NodeId, outlet: OutletId, shipment: u64, at_ms: TimeMs) -> Self {
        let none = Money::ZERO;
        PackRow {
            pack,
            node,
            outlet,
            shipment,
            shipped_at_ms: at_ms,
            hold: PackHold::None,
            state: PackState::InTransit,
            checked_in_at_ms: None,
            charge: PackCharge { face: none, prize_fund: none, welfare_fund: none, issue_fee: none, commission: none },
            sold_count: 0,
            scratched_ticket: None,
            sold_bits: Vec::new(),
            claims: Vec::new(),
            stored: false,
            changed: true,
        }
    }

    /// The claim of a ticket, if it was paid.
    pub fn claim_of(&self, ticket: u16) -> Option<ClaimEntry> {
        let at = self.claim_position(ticket).ok()?;
        Some(read_claim(&self.claims[at * CLAIM_BYTES..]))
    }

    /// The claims of its tickets, ascending.
    pub fn claims(&self) -> impl Iterator<Item = ClaimEntry> {
        self.claims.chunks_exact(CLAIM_BYTES).map(read_claim)
    }

    /// Tickets of the pack that were paid.
    pub fn claim_count(&self) -> usize {
        self.claims.len() / CLAIM_BYTES
    }

    /// Whether a ticket of it is known to be sold, paid or scratched: such a pack does not go back. Selling needs no scan, so it
    /// is a code under the latex, presented rightly, that tells.
    pub fn is_touched(&self) -> bool {
        self.sold_count > 0 || self.claim_count() > 0 || self.scratched_ticket.is_some()
    }

    /// Whether a ticket was sold by scan.
    pub fn is_sold(&self, ticket: u16) -> bool {
        self.sold_bits.get(usize::from(ticket / 8)).is_some_and(|byte| byte >> (ticket % 8) & 1 == 1)
    }

    pub(super) fn record_claim(&mut self, ticket: u16, event: EventKey) {
        if let Err(at) = self.claim_position(ticket) {
            let mut entry = [0; CLAIM_BYTES];
            entry[..2].copy_from_slice(&ticket.to_be_bytes());
            entry[2..4].copy_from_slice(&event.origin.get().to_be_bytes());
            entry[4..].copy_from_slice(&event.seq.to_be_bytes()[2..]);
            self.claims.splice(at * CLAIM_BYTES..at * CLAIM_BYTES, entry);
            self.changed = true;
        }
    }

    pub(super) fn record_sale(&mut self, ticket: u16) {
        let byte = usize::from(ticket / 8);
        if self.sold_bits.len() <= byte {
            self.sold_bits.resize(byte + 1, 0);
        }
        self.sold_bits[byte] |= 1 << (ticket % 8);
        self.sold_count += 1;
        self.changed = true;
    }

    /// Remembers the first scratched ticket.
    pub(super) fn record_scratch(&mut self, ticket: u16) {
        if self.scratched_ticket.is_none() {
            self.scratched_ticket = Some(ticket);
            self.changed = true;
        }
    }

    pub(super) fn change(&mut self) -> &mut Self {
        self.changed = true;
        self
    }

    fn claim_position(&self, ticket: u16) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.claim_count());
        while low < high {
            let middle = (low + high) / 2;
            match read_claim(&self.claims[middle * CLAIM_BYTES..]).ticket.cmp(&ticket) {
                core::cmp::Ordering::Equal => return Ok(middle),
                core::cmp::Ordering::Less => low = middle + 1,
                core::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    pub(super) fn read(statements: &Statements<'_>, id: PackId) -> Result<Option<Self>, ProjectionError> {
        let mut statement = statements.get(select_pack!("pack = ?1"))?;
        let row = statement.query_row([id.key()], |row| Ok(PackRow::from_row(row))).optional()?;
        row.transpose()
    }

    /// Packs of an outlet in the order of their ids, from behind `after`, at most `limit`.
    pub fn of_outlet(
        store: &Connection,
        outlet: OutletId,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Self>, ProjectionError> {
        let mut statement = store.prepare_cached(select_pack!("outlet = ?1 AND pack > ?2 ORDER BY pack LIMIT ?3"))?;
        let mut rows = statement.query((outlet.get(), after, limit))?;
        let mut packs = Vec::new();
        while let Some(row) = rows.next()? {
            packs.push(PackRow::from_row(row)?);
        }
        Ok(packs)
    }

    fn from_row(row: &Row<'_>) -> Result<Self, ProjectionError> {
        let key: i64 = row.get(0)?;
        let damaged = || ProjectionError::Damaged { table: "pack", key };
        let fen = |at: usize| row.get(at).map(Money::from_fen);
        let (face, prize_fund, welfare_fund, commission) = (fen(8)?, fen(9)?, fen(10)?, fen(11)?);
        let issue_fee = face.checked_sub(prize_fund)?.checked_sub(welfare_fund)?;
        let claims: Vec<u8> = row.get(14)?;
        if !claims.len().is_multiple_of(CLAIM_BYTES) {
            return Err(damaged());
        }
        Ok(PackRow {
            pack: PackId::from_key(key).map_err(|_| damaged())?,
            node: NodeId::new(row.get(1)?).map_err(|_| damaged())?,
            outlet: OutletId::new(row.get(2)?).map_err(|_| damaged())?,
            shipment: row.get::<_, i64>(3)? as u64,
            shipped_at_ms: TimeMs::from_ms(row.get(4)?),
            hold: PackHold::from_number(row.get(5)?).ok_or_else(damaged)?,
            state: PackState::from_number(row.get(6)?).ok_or_else(damaged)?,
            checked_in_at_ms: row.get::<_, Option<i64>>(7)?.map(TimeMs::from_ms),
            charge: PackCharge { face, prize_fund, welfare_fund, issue_fee, commission },
            sold_count: row.get(12)?,
            scratched_ticket: row.get(15)?,
            sold_bits: row.get(13)?,
            claims,
            stored: true,
            changed: false,
        })
    }

    pub(super) fn write(&self, statements: &Statements<'_>) -> Result<(), ProjectionError> {
        if !self.changed {
            return Ok(());
        }
        if self.stored {
            let mut statement = statements.get(
                "UPDATE pack SET hold = ?2, state = ?3, checked_in_at_ms = ?4, face_fen = ?5, prize_fund_fen = ?6, \
                 welfare_fund_fen = ?7, commission_fen = ?8, sold_count = ?9, sold_bits = ?10, claims = ?11, scratched_ticket = ?12 \
                 WHERE pack = ?1",
            )?;
            statement.execute((
                self.pack.key(),
                self.hold as i64,
                self.state as i64,
                self.checked_in_at_ms.map(TimeMs::ms),
                self.charge.face.fen(),
                self.charge.prize_fund.fen(),
                self.charge.welfare_fund.fen(),
                self.charge.commission.fen(),
                self.sold_count,
                &self.sold_bits,
                &self.claims,
                self.scratched_ticket,
            ))?;
            return Ok(());
        }
        let mut statement = statements
            .get("INSERT INTO pack VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)")?;
        statement.execute(rusqlite::params![
            self.pack.key(),
            self.node.get(),
            self.outlet.get(),
            self.shipment as i64,
            self.shipped_at_ms.ms(),
            self.hold as i64,
            self.state as i64,
            self.checked_in_at_ms.map(TimeMs::ms),
            self.charge.face.fen(),
            self.charge.prize_fund.fen(),
            self.charge.welfare_fund.fen(),
            self.charge.commission.fen(),
            self.sold_count,
            &self.sold_bits,
            &self.claims,
            self.scratched_ticket,
        ])?;
        Ok(())
    }
}

fn read_claim(entry: &[u8]) -> ClaimEntry {
    let mut seq = [0; 8];
    seq[2..].copy_from_slice(&entry[4..CLAIM_BYTES]);
    let origin = NodeId::new(u16::from_be_bytes([entry[2], entry[3]]) & NodeId::MAX).expect("12 bits are a node id");
    ClaimEntry {
        ticket: u16::from_be_bytes([entry[0], entry[1]]),
        event: EventKey { origin, seq: u64::from_be_bytes(seq) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BatchNo;

    fn row() -> PackRow {
        let pack = PackId::new(BatchNo::new(1).unwrap(), 1).unwrap();
        PackRow::shipped(pack, NodeId::new(1).unwrap(), OutletId::new(13_010_001).unwrap(), 1, TimeMs::from_ms(0))
    }

    #[test]
    fn claims_are_found_by_ticket_whatever_order_they_came_in() {
        let event = |seq| EventKey { origin: NodeId::new(4095).unwrap(), seq };
        let (mut forward, mut backward) = (row(), row());
        for ticket in [0, 7, 300, 999] {
            forward.record_claim(ticket, event(u64::from(ticket) + (1 << 42)));
        }
        for ticket in [999, 300, 7, 0] {
            backward.record_claim(ticket, event(u64::from(ticket) + (1 << 42)));
        }
        assert_eq!(forward, backward);
        assert_eq!(forward.claim_of(300), Some(ClaimEntry { ticket: 300, event: event(300 + (1 << 42)) }));
        assert_eq!(forward.claim_of(8), None);
        assert_eq!(forward.claim_count(), 4);
    }

    #[test]
    fn a_sold_ticket_is_told_from_its_neighbours() {
        let mut pack = row();
        pack.record_sale(9);
        assert!(pack.is_sold(9) && !pack.is_sold(8) && !pack.is_sold(10) && !pack.is_sold(999));
        assert_eq!(pack.sold_count, 1);
    }
}
