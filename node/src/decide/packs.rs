//! Receiving (sign and check in) and returning packs.

use std::collections::BTreeSet;

use jikai_schema::barcode::PackRef;
use jikai_schema::event::{EventBody, PackEvent, SaleState};
use jikai_schema::id::PackId;
use jikai_schema::ledger::AccountId;
use jikai_schema::money::{Money, PackCharge};
use jikai_schema::projection::{PackRow, PackState, Projection, ProjectionError};
use jikai_schema::time::TimeMs;

use super::{Asked, Caller, DecideError, Decision, PACKS_MAX, PackSelection, Refusal, check_outlet_active, pack_id};

/// A pack is not put on sale when its print run was completed more than so many calendar months ago.
const BATCH_AGE_MONTHS_MAX: i32 = 60;

/// Checks: outlet active → packs known and shipped here, each once → no hold → in transit → batch on sale and
/// young enough → the account holds the face value, pack by pack.
pub(super) fn receive(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    selection: &PackSelection,
) -> Result<Decision, DecideError> {
    let caller = asked.caller;
    check_outlet_active(projection, asked)?;
    let packs = match selection {
        PackSelection::Shipment(shipment) => shipment_in_transit(projection, caller, *shipment)?,
        PackSelection::Packs(printed) => named_packs(projection, caller, printed)?,
    };
    let mut events = Vec::with_capacity(packs.len());
    let (mut face_sum, mut commission_sum) = (Money::ZERO, Money::ZERO);
    let available = projection.account(AccountId::outlet(asked.node, caller.outlet()))?.balance;
    for (pack, name) in packs {
        let charge = check_receivable(projection, pack, &name, asked.now_ms)?;
        let held = available.checked_add(commission_sum).map_err(ProjectionError::from)?;
        face_sum = face_sum.checked_add(charge.face).map_err(ProjectionError::from)?;
        if held < face_sum {
            return Err(Refusal::InsufficientBalance { available, needed: face_sum }.into());
        }
        commission_sum = commission_sum.checked_add(charge.commission).map_err(ProjectionError::from)?;
        events.push(EventBody::Pack(PackEvent::CheckedIn { pack, outlet: caller.outlet(), charge }));
    }
    Ok(Decision::all(asked.request, events))
}

/// Checks: outlet served here → packs known and shipped here, each once → no hold → on sale → untouched. A
/// suspended outlet may send packs back: that is how its stock comes in.
pub(super) fn give_back(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    printed: &[PackRef],
) -> Result<Decision, DecideError> {
    let caller = asked.caller;
    match check_outlet_active(projection, asked) {
        Err(DecideError::Refused(Refusal::OutletSuspended)) => {}
        other => other?,
    }
    let packs = named_packs(projection, caller, printed)?;
    let mut events = Vec::with_capacity(packs.len());
    for (pack, name) in packs {
        let row = shipped(projection, pack, &name)?;
        match row.state {
            PackState::InTransit => return Err(Refusal::PackNotCheckedIn(name).into()),
            PackState::Returned => return Err(Refusal::PackReturned(name).into()),
            PackState::SoldOut => return Err(Refusal::PackSoldOut(name).into()),
            PackState::Active if row.is_touched() => return Err(Refusal::PackTouched(name).into()),
            PackState::Active => {}
        }
        let charge = row.charge;
        events.push(EventBody::Pack(PackEvent::Returned { pack, outlet: caller.outlet(), charge }));
    }
    Ok(Decision::all(asked.request, events))
}

fn check_receivable(
    projection: &mut Projection<'_>,
    pack: PackId,
    name: &str,
    now_ms: TimeMs,
) -> Result<PackCharge, DecideError> {
    match shipped(projection, pack, name)?.state {
        PackState::InTransit => {}
        PackState::Active => return Err(Refusal::PackAlreadyCheckedIn(name.to_string()).into()),
        PackState::SoldOut => return Err(Refusal::PackSoldOut(name.to_string()).into()),
        PackState::Returned => return Err(Refusal::PackReturned(name.to_string()).into()),
    }
    let unknown = ProjectionError::Unknown { kind: "batch", key: i64::from(pack.batch().get()) };
    let batch = projection.batch(pack.batch())?.ok_or(unknown)?;
    if batch.sale_state != SaleState::Open {
        return Err(Refusal::BatchNotOnSale { pack: name.to_string(), state: batch.sale_state }.into());
    }
    if now_ms.business_day() > batch.print_completed_on.plus_months(BATCH_AGE_MONTHS_MAX) {
        return Err(Refusal::BatchTooOld(name.to_string()).into());
    }
    let (game, tickets) = (batch.game, i64::from(batch.tickets_per_pack));
    let unknown = ProjectionError::Unknown { kind: "game", key: i64::from(game.packed()) };
    let game = projection.game(game)?.ok_or(unknown)?;
    let face = game.price.checked_mul(tickets).map_err(ProjectionError::from)?;
    Ok(game.shares.charge(face).map_err(ProjectionError::from)?)
}

/// The row of a pack that has no hold.
fn shipped<'row>(projection: &'row mut Projection<'_>, pack: PackId, name: &str) -> Result<&'row PackRow, DecideError> {
    let row = projection.pack(pack)?.ok_or_else(|| Refusal::PackNotYours(name.to_string()))?;
    match row.hold.name() {
        None => Ok(row),
        Some(hold) => Err(Refusal::PackHeld { pack: name.to_string(), hold }.into()),
    }
}

fn named_packs(
    projection: &mut Projection<'_>,
    caller: &Caller,
    printed: &[PackRef],
) -> Result<Vec<(PackId, String)>, DecideError> {
    let mut packs = Vec::with_capacity(printed.len());
    let mut seen = BTreeSet::new();
    for pack in printed {
        let name = pack.to_string();
        let id = pack_id(projection, pack)?.ok_or_else(|| Refusal::PackNotYours(name.clone()))?;
        if !seen.insert(id) {
            return Err(Refusal::NamedTwice(name).into());
        }
        match projection.pack(id)? {
            Some(row) if row.outlet == caller.outlet() => packs.push((id, name)),
            _ => return Err(Refusal::PackNotYours(name).into()),
        }
    }
    Ok(packs)
}

fn shipment_in_transit(
    projection: &mut Projection<'_>,
    caller: &Caller,
    shipment: u64,
) -> Result<Vec<(PackId, String)>, DecideError> {
    let store = projection.store();
    let mut statement = store
        .prepare_cached("SELECT pack FROM pack WHERE outlet = ?1 AND shipment = ?2 ORDER BY pack")
        .map_err(ProjectionError::from)?;
    let mut rows = statement.query((caller.outlet().get(), shipment as i64)).map_err(ProjectionError::from)?;
    let mut packs = Vec::new();
    // A larger consignment is checked in by asking again: what is checked in already is passed over.
    while packs.len() < PACKS_MAX
        && let Some(row) = rows.next().map_err(ProjectionError::from)?
    {
        let key = row.get(0).map_err(ProjectionError::from)?;
        let id = PackId::from_key(key).map_err(|_| ProjectionError::Damaged { table: "pack", key })?;
        let in_transit = projection.pack(id)?.is_some_and(|row| row.state == PackState::InTransit);
        if in_transit && let Some(batch) = projection.batch(id.batch())? {
            let name = PackRef { game: batch.game, batch: batch.code, pack: id.number() }.to_string();
            packs.push((id, name));
        }
    }
    if packs.is_empty() { Err(Refusal::ShipmentUnknown(shipment).into()) } else { Ok(packs) }
}
