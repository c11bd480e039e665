//! Packs: shipped, held, checked in, returned.

use rusqlite::params;

use super::{OutletDayKey, PackRow, PackState, Projection, ProjectionError};
use crate::event::{Event, PackEvent};
use crate::id::{BatchNo, NodeId, OutletId, PackId};
use crate::ledger::{self, AccountId};
use crate::money::PackCharge;

impl Projection<'_> {
    pub(super) fn apply_pack(&mut self, event: &Event, body: &PackEvent) -> Result<(), ProjectionError> {
        match body {
            PackEvent::Shipped { pack, outlet, node, shipment, records } => {
                self.ship(event, *pack, *outlet, *node, *shipment, records)
            }
            PackEvent::HoldChanged { pack, hold, .. } => {
                self.pack_known(*pack)?.change().hold = *hold;
                Ok(())
            }
            PackEvent::CheckedIn { pack, outlet, charge } => self.check_in(event, *pack, *outlet, charge),
            PackEvent::Returned { pack, outlet, charge } => self.take_back(event, *pack, *outlet, charge),
        }
    }

    fn ship(
        &mut self,
        event: &Event,
        pack: PackId,
        outlet: OutletId,
        node: NodeId,
        shipment: u64,
        records: &[u8],
    ) -> Result<(), ProjectionError> {
        self.outlet_known(outlet)?;
        self.game_of(pack.batch())?;
        if self.pack(pack)?.is_some() {
            return Err(ProjectionError::Contradiction("the pack was already shipped"));
        }
        // The row is written at once: its seal refers to it.
        let row = PackRow::shipped(pack, node, outlet, shipment, event.at_ms);
        row.write(&self.statements)?;
        self.packs.remove(&pack);
        self.write("INSERT INTO pack_seal VALUES (?1, ?2)", params![pack.key(), records])
    }

    fn check_in(
        &mut self,
        event: &Event,
        pack: PackId,
        outlet: OutletId,
        charge: &PackCharge,
    ) -> Result<(), ProjectionError> {
        let game = self.game_of(pack.batch())?;
        let row = self.pack_known(pack)?;
        let node = row.node;
        if row.state != PackState::InTransit || row.outlet != outlet || node != event.key.origin || !charge.adds_up() {
            return Err(ProjectionError::Contradiction(
                "the pack was not on its way to this outlet, or its charge does not add up",
            ));
        }
        let is_list_price = self.list_charge(pack.batch())? == Some(*charge);
        let mut postings = ledger::check_in(node, outlet, game, charge);
        let shortfall = charge.face.checked_sub(self.account(AccountId::outlet(node, outlet))?.balance)?;
        if shortfall.is_positive() {
            postings.insert(0, ledger::from_suspense(node, outlet, shortfall));
        }
        self.check_postings(&postings)?;
        // After this point the event must succeed.
        self.post(event, pack.key(), &postings)?;
        if shortfall.is_positive() {
            self.raise_exception(event, node, "overdrawn", pack.key(), shortfall)?;
        }
        if !is_list_price && !shortfall.is_positive() {
            self.raise_exception(event, node, "charge_mismatch", pack.key(), charge.face)?;
        }
        let row = self.pack_known(pack)?.change();
        row.state = PackState::Active;
        row.checked_in_at_ms = Some(event.at_ms);
        row.charge = *charge;
        let day = self.outlet_day(OutletDayKey::new(event.at_ms.business_day(), outlet, Some(game)));
        day.packs_checked_in += 1;
        day.charge_fen += charge.face.fen();
        day.commission_fen += charge.commission.fen();
        day.suspense_fen += shortfall.fen().max(0);
        Ok(())
    }

    /// What checking in a pack of this batch costs by its game.
    fn list_charge(&mut self, batch: BatchNo) -> Result<Option<PackCharge>, ProjectionError> {
        let Some((game, tickets)) = self.batch(batch)?.map(|row| (row.game, i64::from(row.tickets_per_pack))) else {
            return Ok(None);
        };
        let Some(game) = self.game(game)? else { return Ok(None) };
        Ok(Some(game.shares.charge(game.price.checked_mul(tickets)?)?))
    }

    fn take_back(
        &mut self,
        event: &Event,
        pack: PackId,
        outlet: OutletId,
        charge: &PackCharge,
    ) -> Result<(), ProjectionError> {
        let game = self.game_of(pack.batch())?;
        let row = self.pack_known(pack)?;
        let node = row.node;
        if row.state != PackState::Active || row.outlet != outlet || node != event.key.origin || row.charge != *charge {
            return Err(ProjectionError::Contradiction(
                "the pack is not active at this outlet, or was charged otherwise",
            ));
        }
        let touched = row.is_touched();
        let postings = ledger::pack_return(node, outlet, game, charge);
        self.check_postings(&postings)?;
        // After this point the event must succeed.
        self.post(event, pack.key(), &postings)?;
        if touched {
            self.raise_exception(event, node, "returned_touched", pack.key(), charge.face)?;
        }
        self.pack_known(pack)?.change().state = PackState::Returned;
        let day = self.outlet_day(OutletDayKey::new(event.at_ms.business_day(), outlet, Some(game)));
        day.packs_returned += 1;
        day.return_fen += charge.face.fen();
        day.commission_fen -= charge.commission.fen();
        Ok(())
    }
}
