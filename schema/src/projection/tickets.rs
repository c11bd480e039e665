//! Tickets: sold, claimed, scratched, wrong codes.

use rusqlite::{OptionalExtension, params};

use super::{OutletDayKey, PackState, Projection, ProjectionError};
use crate::event::{Event, TicketEvent};
use crate::id::{NodeId, OutletId, TicketId};
use crate::ledger;
use crate::money::Money;
use crate::rules::OUTLET_PRIZE_FEN_MAX;
use crate::seal;
use crate::time::TimeMs;

/// What wrong codes did to a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockRow {
    /// Different wrong codes presented so far.
    pub wrong_code_count: u32,
    /// When the ticket was locked, if it is.
    pub locked_at_ms: Option<TimeMs>,
}

/// What a claim needs to know of a ticket besides its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedTicket {
    /// Its record.
    pub record: [u8; seal::RECORD_BYTES],
    /// Whether wrong codes have locked it.
    pub locked: bool,
}

impl Projection<'_> {
    /// Wrong codes presented for a ticket; `None` when there were none.
    pub fn lock(&self, ticket: TicketId) -> Result<Option<LockRow>, ProjectionError> {
        let row = self
            .statements
            .get("SELECT wrong_code_count, locked_at_ms FROM ticket_lock WHERE ticket = ?1")?
            .query_row([ticket.key()], |row| {
                let locked_at_ms = row.get::<_, Option<i64>>(1)?.map(TimeMs::from_ms);
                Ok(LockRow { wrong_code_count: row.get(0)?, locked_at_ms })
            })
            .optional()?;
        Ok(row)
    }

    /// The sealed record of a ticket, and whether wrong codes have locked it; `None` when its pack is not here or has no such
    /// ticket.
    pub fn sealed(&self, ticket: TicketId) -> Result<Option<SealedTicket>, ProjectionError> {
        let start = i64::from(ticket.number()) * seal::RECORD_BYTES as i64 + 1;
        let found: Option<(Vec<u8>, bool)> = self
            .statements
            .get(
                "SELECT substr(records, ?2, ?3), \
                 EXISTS (SELECT 1 FROM ticket_lock WHERE ticket = ?4 AND locked_at_ms IS NOT NULL) \
                 FROM pack_seal WHERE pack = ?1",
            )?
            .query_row((ticket.pack().key(), start, seal::RECORD_BYTES as i64, ticket.key()), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let Some((record, locked)) = found else { return Ok(None) };
        Ok(record.try_into().ok().map(|record| SealedTicket { record, locked }))
    }

    pub(super) fn apply_ticket(&mut self, event: &Event, body: &TicketEvent) -> Result<(), ProjectionError> {
        match body {
            TicketEvent::Sold { ticket, outlet, .. } => self.sell(event, *ticket, *outlet),
            TicketEvent::Claimed { ticket, outlet, level, prize } => {
                let listed = self.is_listed(event.key.origin, *ticket, *level, *prize)?;
                self.claim(event, *ticket, *outlet, *prize, listed)
            }
            // The fact itself is the trail: it is found by the audit's search.
            TicketEvent::Inquired { .. } | TicketEvent::ImpossibleTicketPresented { .. } => Ok(()),
            TicketEvent::Scratched { ticket, .. } => {
                let row = self.pack_known(ticket.pack())?;
                if row.node != event.key.origin {
                    return Err(ProjectionError::Contradiction("the ticket's pack is at another node's outlet"));
                }
                row.record_scratch(ticket.number());
                Ok(())
            }
            TicketEvent::WrongCodePresented { ticket, locks, .. } => self.note_wrong_code(event, *ticket, *locks),
        }
    }

    /// Somebody must hear of a ticket that was locked: its holder will come to the centre, or somebody guesses.
    fn note_wrong_code(&mut self, event: &Event, ticket: TicketId, locks: bool) -> Result<(), ProjectionError> {
        let node = self.pack_known(ticket.pack())?.node;
        let was_locked = self.lock(ticket)?.is_some_and(|lock| lock.locked_at_ms.is_some());
        // After this point the event must succeed.
        self.write(
            "INSERT INTO ticket_lock VALUES (?1, 1, ?2) ON CONFLICT DO UPDATE SET \
             wrong_code_count = wrong_code_count + 1, locked_at_ms = coalesce(locked_at_ms, excluded.locked_at_ms)",
            params![ticket.key(), locks.then_some(event.at_ms.ms())],
        )?;
        if locks && !was_locked {
            self.raise_exception(event, node, "ticket_locked", ticket.key(), Money::ZERO)?;
        }
        Ok(())
    }

    fn sell(&mut self, event: &Event, ticket: TicketId, outlet: OutletId) -> Result<(), ProjectionError> {
        let batch = ticket.pack().batch();
        let game = self.game_of(batch)?;
        let tickets_per_pack = self.batch(batch)?.map_or(0, |row| row.tickets_per_pack);
        let row = self.pack_known(ticket.pack())?;
        if row.node != event.key.origin || row.outlet != outlet {
            return Err(ProjectionError::Contradiction("the ticket's pack is not at this outlet"));
        }
        if row.is_sold(ticket.number()) || ticket.number() >= tickets_per_pack {
            return Err(ProjectionError::Contradiction("the ticket was already sold, or its pack has no such ticket"));
        }
        // After this point the event must succeed.
        row.record_sale(ticket.number());
        if row.sold_count == tickets_per_pack && row.state == PackState::Active {
            row.state = PackState::SoldOut;
        }
        self.outlet_day(OutletDayKey::new(event.at_ms.business_day(), outlet, Some(game))).tickets_sold += 1;
        Ok(())
    }

    /// Whether the signed list has this prize at this level, the decider's pack this ticket, on sale, and an outlet may pay so
    /// much: above it tax is due, which only the centre withholds.
    fn is_listed(
        &mut self,
        origin: NodeId,
        ticket: TicketId,
        level: u8,
        prize: Money,
    ) -> Result<bool, ProjectionError> {
        let batch = self.batch(ticket.pack().batch())?;
        let known = batch.is_some_and(|row| row.prize(level) == Some(prize) && ticket.number() < row.tickets_per_pack);
        let row = self.pack_known(ticket.pack())?;
        let on_sale = matches!(row.state, PackState::Active | PackState::SoldOut);
        Ok(known && row.node == origin && on_sale && prize.fen() <= OUTLET_PRIZE_FEN_MAX)
    }

    /// A claim has happened: cash was paid. One that breaks a rule (paid before, not a prize of the signed list or more than an
    /// outlet pays, its pack not on sale) is still credited, from suspense, and put on the worklist: no prize fund pays what nobody won.
    fn claim(
        &mut self,
        event: &Event,
        ticket: TicketId,
        outlet: OutletId,
        prize: Money,
        listed: bool,
    ) -> Result<(), ProjectionError> {
        let game = self.game_of(ticket.pack().batch())?;
        let node = self.outlet_known(outlet)?.node;
        let paid_before = self.pack_known(ticket.pack())?.claim_of(ticket.number()).is_some();
        if !prize.is_positive() || node != event.key.origin {
            return Err(ProjectionError::Contradiction("a claim without a prize, or at another node's outlet"));
        }
        let posting = if paid_before || !listed {
            ledger::from_suspense(node, outlet, prize)
        } else {
            ledger::prize(node, outlet, game, prize)
        };
        self.check_postings(&[posting])?;
        // After this point the event must succeed.
        self.post(event, ticket.key(), &[posting])?;
        let day = self.outlet_day(OutletDayKey::new(event.at_ms.business_day(), outlet, Some(game)));
        if paid_before {
            day.suspense_fen += prize.fen();
            return self.raise_exception(event, node, "paid_twice", ticket.key(), prize);
        }
        day.claims += 1;
        if listed {
            day.prize_fen += prize.fen();
        } else {
            day.suspense_fen += prize.fen();
            self.raise_exception(event, node, "unlisted_prize", ticket.key(), prize)?;
        }
        self.pack_known(ticket.pack())?.record_claim(ticket.number(), event.key);
        Ok(())
    }

    pub(super) fn raise_exception(
        &mut self,
        event: &Event,
        node: NodeId,
        kind: &'static str,
        subject: i64,
        amount: Money,
    ) -> Result<(), ProjectionError> {
        self.write(
            "INSERT INTO exception VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                event.key.origin.get(),
                event.key.seq as i64,
                node.get(),
                kind,
                subject,
                amount.fen(),
                event.at_ms.ms()
            ],
        )
    }
}
