//! Packs: from the warehouse to an outlet, and holds.

use std::collections::BTreeSet;

use jikai_schema::command::{Outcome, Refusal};
use jikai_schema::event::{EventBody, OutletStatus, PackEvent, PackHold, SaleState};
use jikai_schema::id::{OutletId, PackId};
use rusqlite::OptionalExtension;

use super::error::Stop;
use super::{Machine, Stamp, exists_with_other, rule, unknown};

impl Machine<'_> {
    /// Checks: the numbers are possible; the outlet is known and may trade; the consignment goes to no other outlet;
    /// each pack, in order, lies in the warehouse or went out with this very consignment; its batch is not stopped.
    pub(super) fn ship_packs(
        &mut self,
        stamp: Stamp<'_>,
        shipment: u64,
        outlet: OutletId,
        packs: &[PackId],
    ) -> Result<Outcome, Stop> {
        let distinct: BTreeSet<&PackId> = packs.iter().collect();
        if i64::try_from(shipment).map_or(true, |number| number == 0) || distinct.len() != packs.len() {
            return Err(rule("invalid_shipment", "a consignment has a number above 0 and names each pack once").into());
        }
        let row = self.projection.outlet(outlet)?.ok_or_else(|| unknown("outlet", outlet))?;
        if row.status == OutletStatus::Suspended {
            return Err(rule("outlet_suspended", format!("outlet {outlet} is suspended")).into());
        }
        let goes_to = self.shipment_outlet(shipment)?;
        if goes_to.is_some_and(|other| other != outlet.get()) {
            return Err(exists_with_other("shipment", shipment).into());
        }
        let mut fresh = Vec::with_capacity(packs.len());
        for pack in packs {
            if self.check_shippable(*pack, shipment, outlet)? {
                fresh.push(*pack);
            }
        }
        // After this point the command must succeed.
        if goes_to.is_none() && !fresh.is_empty() {
            self.tx.prepare_cached("INSERT INTO shipment VALUES (?1, ?2)")?.execute((shipment as i64, outlet.get()))?;
        }
        let (events, existing) = (fresh.len() as u64, (packs.len() - fresh.len()) as u64);
        for pack in fresh {
            let records: Vec<u8> = self
                .tx
                .prepare_cached("DELETE FROM warehouse WHERE pack = ?1 RETURNING records")?
                .query_row([pack.key()], |row| row.get(0))?;
            let shipped = PackEvent::Shipped { pack, outlet, node: row.node, shipment, records };
            self.emit(stamp, EventBody::Pack(shipped))?;
        }
        Ok(Outcome::Done { events, existing })
    }

    fn shipment_outlet(&self, shipment: u64) -> Result<Option<u32>, Stop> {
        let sql = "SELECT outlet FROM shipment WHERE shipment = ?1";
        Ok(self.tx.prepare_cached(sql)?.query_row([shipment as i64], |row| row.get(0)).optional()?)
    }

    /// `false` for a pack that went out with this consignment before.
    fn check_shippable(&mut self, pack: PackId, shipment: u64, outlet: OutletId) -> Result<bool, Stop> {
        if let Some(shipped) = self.projection.pack(pack)? {
            return match shipped.shipment == shipment && shipped.outlet == outlet {
                true => Ok(false),
                false => Err(exists_with_other("pack", pack).into()),
            };
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM warehouse WHERE pack = ?1)";
        let stocked: bool = self.tx.prepare_cached(sql)?.query_row([pack.key()], |row| row.get(0))?;
        if !stocked {
            return Err(Refusal::PackNotInWarehouse { pack }.into());
        }
        if self.projection.batch(pack.batch())?.is_some_and(|batch| batch.sale_state == SaleState::Stopped) {
            return Err(rule("batch_stopped", format!("the sale of batch {} is stopped", pack.batch())).into());
        }
        Ok(true)
    }

    /// Checks: the pack was shipped; the hold is another one.
    pub(super) fn hold_pack(&mut self, stamp: Stamp<'_>, pack: PackId, hold: PackHold) -> Result<Outcome, Stop> {
        let row = self.projection.pack(pack)?.ok_or_else(|| unknown("pack", pack))?;
        if row.hold == hold {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        let node = row.node;
        // After this point the command must succeed.
        self.emit(stamp, EventBody::Pack(PackEvent::HoldChanged { pack, node, hold }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }
}
