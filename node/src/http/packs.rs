//! `/v1/packs`.

use axum::Json;
use axum::extract::{Query, State};
use jikai_schema::barcode::{PackRef, parse_pack};
use jikai_schema::event::{Event, EventBody, PackEvent};
use jikai_schema::money::{Money, PackCharge};
use jikai_schema::projection::PackState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::{Mutation, SignedIn};
use super::page_rows;
use super::problem::Problem;
use crate::app::App;
use crate::decide::{PACKS_MAX, PackSelection, Verb};
use crate::query::{PackLine, packs_of};
use crate::writer::{Reply, Request};

/// Which packs to list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// in_transit, active, sold_out or returned; all without it.
    state: Option<String>,
    /// Mark of the page before.
    after: Option<String>,
    /// Rows, 1..=200; 50 without it.
    limit: Option<u32>,
}

/// A pack of the outlet.
#[derive(Serialize, ToSchema)]
pub(super) struct PackView {
    /// Printed name, `G0201-26001-0000123`.
    pack: String,
    game_code: String,
    batch: String,
    /// in_transit, active, sold_out or returned.
    state: &'static str,
    /// frozen, stolen, lost or damaged.
    hold: Option<&'static str>,
    /// Price × tickets.
    face_yuan: String,
    tickets: u16,
    /// Tickets sold by scan.
    tickets_sold: u16,
    shipment_id: u64,
    shipped_at_ms: i64,
    checked_in_at_ms: Option<i64>,
}

/// A page of packs.
#[derive(Serialize, ToSchema)]
pub(super) struct PacksView {
    packs: Vec<PackView>,
    /// Mark of the next page.
    next: Option<String>,
}

/// Which packs to receive: a consignment or named packs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiveBody {
    /// A whole consignment.
    shipment_id: Option<u64>,
    /// Printed names or logistics codes, at most 256.
    packs: Option<Vec<String>>,
}

/// Which packs to send back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReturnBody {
    /// Printed names or logistics codes, at most 256.
    packs: Vec<String>,
}

/// A pack that was charged or refunded.
#[derive(Serialize, ToSchema)]
pub(super) struct MovedPackView {
    pack: String,
    face_yuan: String,
    commission_yuan: String,
}

/// Packs that were checked in.
#[derive(Serialize, ToSchema)]
pub(super) struct ReceivedView {
    packs: Vec<MovedPackView>,
    /// Face value charged.
    charge_yuan: String,
    /// Commission credited.
    commission_yuan: String,
    received_at_ms: i64,
}

/// Packs that were sent back.
#[derive(Serialize, ToSchema)]
pub(super) struct ReturnedView {
    packs: Vec<MovedPackView>,
    /// Face value refunded.
    refund_yuan: String,
    /// Commission taken back.
    commission_yuan: String,
    returned_at_ms: i64,
}

/// Lists the outlet's packs. Errors: 401, 422.
#[utoipa::path(get, path = "/v1/packs", params(ListQuery), responses((status = 200, body = PacksView), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    session: SignedIn,
    Query(query): Query<ListQuery>,
) -> Result<Json<PacksView>, Problem> {
    let state = query.state.as_deref().map(parse_state).transpose()?;
    let (outlet, limit) = (session.caller().outlet(), page_rows(query.limit));
    let mark =
        |text: &str| text.parse::<i64>().map_err(|_| Problem::invalid("page", format!("`{text}` is not a page mark.")));
    let after = query.after.as_deref().map(mark).transpose()?.unwrap_or(0);
    let (lines, next) = app.pool.read(move |store| packs_of(store, outlet, state, after, limit)).await??;
    let next = next.map(|mark| mark.to_string());
    Ok(Json(PacksView { packs: lines.into_iter().map(PackView::from).collect(), next }))
}

/// Signs for packs and checks them in: the outlet is charged, commission is credited, the packs are on sale. Owner only.
/// Errors: 403 `owner_required`, 404 `shipment_unknown`, 409 `insufficient_balance`, `pack_not_yours`,
/// `pack_already_checked_in`, `pack_sold_out`, `pack_returned`, `batch_not_on_sale`, `batch_too_old`, `pack_held`, `named_twice`,
/// `outlet_suspended`.
#[utoipa::path(post, path = "/v1/packs/receive", request_body = ReceiveBody, params(("Idempotency-Key" = String, Header)), responses((status = 200, body = ReceivedView), (status = 409, body = Problem)))]
pub(super) async fn receive(
    State(app): State<App>,
    mutation: Mutation<ReceiveBody>,
) -> Result<Json<ReceivedView>, Problem> {
    let Mutation { caller, key, body } = mutation;
    let selection = match (body.shipment_id, body.packs) {
        (Some(shipment), None) => PackSelection::Shipment(shipment),
        (None, Some(packs)) => PackSelection::Packs(parse_packs(&packs)?),
        _ => return Err(Problem::invalid("body", "Give either shipment_id or packs.")),
    };
    let reply = app.ask(Request::new(caller, key, Verb::ReceivePacks(selection)), moved_money).await?;
    let (packs, face, commission) = moved_packs(&app, &reply)?;
    let received_at_ms = first_at_ms(&reply);
    Ok(Json(ReceivedView {
        packs,
        charge_yuan: face.to_string(),
        commission_yuan: commission.to_string(),
        received_at_ms,
    }))
}

/// Sends untouched packs back: charge and commission are reversed. Owner only. Errors: 403 `owner_required`,
/// 409 `pack_not_yours`, `pack_not_checked_in`, `pack_sold_out`, `pack_returned`, `pack_touched` (a ticket was sold, paid or
/// scratched), `pack_held`, `named_twice`.
#[utoipa::path(post, path = "/v1/packs/return", request_body = ReturnBody, params(("Idempotency-Key" = String, Header)), responses((status = 200, body = ReturnedView), (status = 409, body = Problem)))]
pub(super) async fn give_back(
    State(app): State<App>,
    mutation: Mutation<ReturnBody>,
) -> Result<Json<ReturnedView>, Problem> {
    let Mutation { caller, key, body } = mutation;
    let verb = Verb::ReturnPacks(parse_packs(&body.packs)?);
    let reply = app.ask(Request::new(caller, key, verb), moved_money).await?;
    let (packs, face, commission) = moved_packs(&app, &reply)?;
    let returned_at_ms = first_at_ms(&reply);
    Ok(Json(ReturnedView {
        packs,
        refund_yuan: face.to_string(),
        commission_yuan: commission.to_string(),
        returned_at_ms,
    }))
}

fn parse_state(text: &str) -> Result<PackState, Problem> {
    let states = (0..).map_while(PackState::from_number);
    let found = states.into_iter().find(|state| state.name() == text);
    found.ok_or_else(|| Problem::invalid("state", format!("`{text}` is not in_transit, active, sold_out or returned.")))
}

fn parse_packs(texts: &[String]) -> Result<Vec<PackRef>, Problem> {
    if texts.is_empty() || texts.len() > PACKS_MAX {
        return Err(Problem::invalid("packs", format!("Name 1 to {PACKS_MAX} packs.")));
    }
    texts.iter().map(|text| parse_pack(text).map_err(|error| Problem::invalid("pack", error.to_string()))).collect()
}

fn charges(events: &[Event]) -> impl Iterator<Item = (jikai_schema::id::PackId, &PackCharge)> {
    events.iter().filter_map(|event| match &event.body {
        EventBody::Pack(PackEvent::CheckedIn { pack, charge, .. } | PackEvent::Returned { pack, charge, .. }) => {
            Some((*pack, charge))
        }
        _ => None,
    })
}

/// The reply is a function of the events alone: a repeat renders the same one.
fn moved_packs(app: &App, reply: &Reply) -> Result<(Vec<MovedPackView>, Money, Money), Problem> {
    let names = app.names();
    let overflow = |error: jikai_schema::money::MoneyError| Problem::invalid("packs", error.to_string());
    let (mut packs, mut face, mut commission) = (Vec::new(), Money::ZERO, Money::ZERO);
    for (pack, charge) in charges(&reply.events) {
        face = face.checked_add(charge.face).map_err(overflow)?;
        commission = commission.checked_add(charge.commission).map_err(overflow)?;
        packs.push(MovedPackView {
            pack: names.pack(pack),
            face_yuan: charge.face.to_string(),
            commission_yuan: charge.commission.to_string(),
        });
    }
    Ok((packs, face, commission))
}

/// The money of one request; all there is where a sum leaves 63 bits.
pub(super) fn sum_of(mut amounts: impl Iterator<Item = Money>) -> Money {
    amounts.try_fold(Money::ZERO, |sum, amount| sum.checked_add(amount)).unwrap_or(Money::from_fen(i64::MAX))
}

fn moved_money(reply: &Reply) -> Money {
    sum_of(charges(&reply.events).map(|(_, charge)| charge.face))
}

/// When the first event of a reply was decided.
pub(super) fn first_at_ms(reply: &Reply) -> i64 {
    reply.events.first().map_or(0, |event| event.at_ms.ms())
}

impl From<PackLine> for PackView {
    fn from(line: PackLine) -> Self {
        PackView {
            pack: line.name,
            game_code: line.game,
            batch: line.batch,
            state: line.row.state.name(),
            hold: line.row.hold.name(),
            face_yuan: line.face.to_string(),
            tickets: line.tickets,
            tickets_sold: line.row.sold_count,
            shipment_id: line.row.shipment,
            shipped_at_ms: line.row.shipped_at_ms.ms(),
            checked_in_at_ms: line.row.checked_in_at_ms.map(|at| at.ms()),
        }
    }
}
