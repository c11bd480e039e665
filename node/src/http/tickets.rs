//! `/v1/tickets`.

use axum::Json;
use axum::extract::State;
use jikai_schema::barcode::parse_ticket;
use jikai_schema::event::{EventBody, TicketEvent};
use jikai_schema::money::Money;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::Mutation;
use super::packs::first_at_ms;
use super::problem::Problem;
use crate::app::App;
use crate::decide::{TICKETS_MAX, Verb};
use crate::writer::Request;

/// Which tickets are sold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SellBody {
    /// At most 20: printed names such as `G0201-26001-0000123-045`, or logistics codes of 29 characters: game 5, batch 5, lot
    /// 6, pack 7, ticket 3, tickets of the pack 3, such as `G0201260010000010000123045300`.
    tickets: Vec<String>,
}

/// A ticket that was sold.
#[derive(Serialize, ToSchema)]
pub(super) struct SoldTicketView {
    ticket: String,
    price_yuan: String,
}

/// Tickets that were sold.
#[derive(Serialize, ToSchema)]
pub(super) struct SoldView {
    tickets: Vec<SoldTicketView>,
    total_yuan: String,
    sold_at_ms: i64,
}

/// Sells tickets by scan; all or none. Selling without scan is possible too: the pack was paid for at check-in.
/// Errors: 409 `pack_not_yours`, `pack_not_checked_in`, `pack_returned`, `pack_held`, `batch_not_on_sale`, `ticket_unknown`,
/// `ticket_already_sold`, `ticket_already_paid`, `named_twice`, `outlet_suspended`.
#[utoipa::path(post, path = "/v1/tickets/sell", request_body = SellBody, params(("Idempotency-Key" = String, Header)), responses((status = 200, body = SoldView), (status = 409, body = Problem)))]
pub(super) async fn sell(State(app): State<App>, mutation: Mutation<SellBody>) -> Result<Json<SoldView>, Problem> {
    let Mutation { caller, key, body } = mutation;
    if body.tickets.is_empty() || body.tickets.len() > TICKETS_MAX {
        return Err(Problem::invalid("tickets", format!("Name 1 to {TICKETS_MAX} tickets.")));
    }
    let parsed = body.tickets.iter().map(|text| parse_ticket(text));
    let tickets = parsed.collect::<Result<_, _>>().map_err(|error| Problem::invalid("ticket", error.to_string()))?;
    let reply = app.ask(Request::new(caller, key, Verb::SellTickets(tickets)), |_| Money::ZERO).await?;
    let names = app.names();
    let (mut tickets, mut total) = (Vec::new(), Money::ZERO);
    for event in &reply.events {
        if let EventBody::Ticket(TicketEvent::Sold { ticket, price, .. }) = &event.body {
            total = total.checked_add(*price).map_err(|error| Problem::invalid("tickets", error.to_string()))?;
            tickets.push(SoldTicketView { ticket: names.ticket(*ticket), price_yuan: price.to_string() });
        }
    }
    Ok(Json(SoldView { tickets, total_yuan: total.to_string(), sold_at_ms: first_at_ms(&reply) }))
}
