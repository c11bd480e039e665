//! Selling by scan.

use std::collections::BTreeSet;

use jikai_schema::barcode::TicketRef;
use jikai_schema::event::{EventBody, PackHold, SaleState, TicketEvent};
use jikai_schema::id::TicketId;
use jikai_schema::money::Money;
use jikai_schema::projection::{PackState, Projection, ProjectionError};

use super::{Asked, Caller, DecideError, Decision, Refusal, check_outlet_active, pack_id};

/// Checks: outlet active → each ticket once → pack at this outlet → ticket printed → no hold → not sold, not
/// paid → checked in, not returned → batch on sale.
pub(super) fn sell(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    printed: &[TicketRef],
) -> Result<Decision, DecideError> {
    let caller = asked.caller;
    check_outlet_active(projection, asked)?;
    let mut events = Vec::with_capacity(printed.len());
    let mut seen = BTreeSet::new();
    for ticket in printed {
        let (id, price) = check_sellable(projection, caller, ticket)?;
        if !seen.insert(id) {
            return Err(Refusal::NamedTwice(ticket.to_string()).into());
        }
        events.push(EventBody::Ticket(TicketEvent::Sold { ticket: id, outlet: caller.outlet(), price }));
    }
    Ok(Decision::all(asked.request, events))
}

fn check_sellable(
    projection: &mut Projection<'_>,
    caller: &Caller,
    printed: &TicketRef,
) -> Result<(TicketId, Money), DecideError> {
    let name = printed.pack.to_string();
    let not_yours = || DecideError::from(Refusal::PackNotYours(name.clone()));
    let id = pack_id(projection, &printed.pack)?.ok_or_else(not_yours)?;
    let batch = projection.batch(id.batch())?.ok_or_else(not_yours)?;
    let (game, tickets_per_pack, sale_state) = (batch.game, batch.tickets_per_pack, batch.sale_state);
    let unknown = ProjectionError::Unknown { kind: "game", key: i64::from(game.packed()) };
    let price = projection.game(game)?.ok_or(unknown)?.price;
    let row = projection.pack(id)?.filter(|row| row.outlet == caller.outlet()).ok_or_else(not_yours)?;
    let missing = Refusal::TicketUnknown { pack: name.clone(), ticket: printed.ticket };
    if printed.ticket >= tickets_per_pack {
        return Err(missing.into());
    }
    let ticket = id.ticket(printed.ticket).map_err(|_| missing)?;
    if let (true, Some(hold)) = (row.hold != PackHold::None, row.hold.name()) {
        return Err(Refusal::PackHeld { pack: name, hold }.into());
    }
    if row.is_sold(printed.ticket) {
        return Err(Refusal::TicketAlreadySold(printed.to_string()).into());
    }
    if row.claim_of(printed.ticket).is_some() {
        return Err(Refusal::TicketAlreadyPaid(printed.to_string()).into());
    }
    match row.state {
        PackState::Active => {}
        PackState::InTransit => return Err(Refusal::PackNotCheckedIn(name).into()),
        PackState::SoldOut => return Err(Refusal::PackSoldOut(name).into()),
        PackState::Returned => return Err(Refusal::PackReturned(name).into()),
    }
    if sale_state != SaleState::Open {
        return Err(Refusal::BatchNotOnSale { pack: name, state: sale_state }.into());
    }
    Ok((ticket, price))
}
