//! `/v1/claims`: inquire and pay are two operations.

use axum::Json;
use axum::extract::State;
use jikai_schema::barcode::{BarcodeError, SecurityBarcode};
use jikai_schema::event::{BatchNames, EventBody, TicketEvent};
use jikai_schema::id::OutletId;
use jikai_schema::money::Money;
use jikai_schema::rules::{ClaimAnswer, Judgement};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{JsonBody, Mutation, SignedIn};
use super::packs::{first_at_ms, sum_of};
use super::problem::Problem;
use crate::app::{App, AskError};
use crate::decide::{Refusal, TICKETS_MAX, Verb, claim_hint};
use crate::writer::{Reply, Request, WriteError};

/// Codes from under the latex.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CodesBody {
    /// 1 to 20 codes of 41 characters: game 5, batch 5, pack 7, ticket 3, secret letters 16, mark 5, such as
    /// `G0201260010000123045ABCDEFGHIJKLMNOPQ1234`.
    codes: Vec<String>,
}

/// What a ticket won, or why it cannot be told.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct AnswerView {
    /// Printed name; none while its batch is not known.
    ticket: Option<String>,
    /// won, not_a_winner, go_to_city_centre, go_to_province_centre, already_paid_here, already_paid_elsewhere,
    /// pack_not_checked_in, foreign_ticket (another issuer's, also by its length or game), impossible_ticket (our batch, but no
    /// such pack or ticket was printed), unreadable, wrong_code, locked, pack_frozen, pack_stolen, pack_lost, pack_damaged,
    /// pack_returned, redemption_closed, try_later (the batch's data is on its way), not_decidable_here (a pack of another
    /// region) or manual_review (its record is damaged).
    answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    prize_yuan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<u8>,
    /// When it was paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_at_ms: Option<i64>,
    /// Where it was paid, masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    paid_at: Option<String>,
}

/// Answers in the order of the codes.
#[derive(Serialize, ToSchema)]
pub(super) struct AnswersView {
    answers: Vec<AnswerView>,
}

/// A ticket that was paid.
#[derive(Serialize, ToSchema)]
pub(super) struct PaidTicketView {
    ticket: String,
    level: u8,
    prize_yuan: String,
}

/// Tickets that were paid.
#[derive(Serialize, ToSchema)]
pub(super) struct PaidView {
    paid: Vec<PaidTicketView>,
    total_yuan: String,
    paid_at_ms: i64,
}

/// Tells what tickets won, without paying. A wrong code counts: five different ones lock a ticket. Errors: 401, 422.
#[utoipa::path(post, path = "/v1/claims/inquire", request_body = CodesBody, responses((status = 200, body = AnswersView), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn inquire(
    State(app): State<App>,
    session: SignedIn,
    JsonBody(body): JsonBody<CodesBody>,
) -> Result<Json<AnswersView>, Problem> {
    let caller = session.caller();
    let parsed = parse_codes(&body.codes)?;
    let codes: Vec<SecurityBarcode> = parsed.iter().filter_map(|code| code.ok()).collect();
    let key = app.fresh_key(&caller, "inquire");
    // Who asked about which ticket is a fact, on disk before the answer is told. It moves nothing, so no hub is waited for.
    let judgements = app.writer.ask(Request::new(caller, key, Verb::InquireClaims(codes))).await?.judgements;
    Ok(Json(AnswersView { answers: merge(&parsed, &judgements, &app.names(), caller.outlet()) }))
}

/// Pays tickets; all or none. Errors: 409 with the answer as `code` and all `answers`; 409 `named_twice`,
/// `outlet_suspended`; 422 `idempotency_key_reused`; 504 `ack_pending`.
#[utoipa::path(post, path = "/v1/claims/pay", request_body = CodesBody, params(("Idempotency-Key" = String, Header)), responses((status = 200, body = PaidView), (status = 409, body = Problem)))]
pub(super) async fn pay(State(app): State<App>, mutation: Mutation<CodesBody>) -> Result<Json<PaidView>, Problem> {
    let Mutation { caller, key, body } = mutation;
    let parsed = parse_codes(&body.codes)?;
    if let Some(error) = parsed.iter().find_map(|code| code.err()) {
        let (code, hint) = unread(&error);
        return Err(Problem::new(axum::http::StatusCode::CONFLICT, code, error.to_string(), hint));
    }
    let codes = parsed.iter().filter_map(|code| code.ok()).collect();
    let outcome = app.ask(Request::new(caller, key, Verb::PayClaims(codes)), paid_money).await;
    let reply = outcome.map_err(|error| match error {
        AskError::Write(WriteError::Refused(refusal @ Refusal::ClaimRefused { .. })) => {
            let Refusal::ClaimRefused { answers, .. } = &refusal else { return Problem::refused(&refusal, None) };
            let answers = merge(&parsed, answers, &app.names(), caller.outlet());
            Problem::refused(&refusal, Some(answers))
        }
        other => other.into(),
    })?;
    let names = app.names();
    let (mut paid, mut total) = (Vec::new(), Money::ZERO);
    for (ticket, level, prize) in claims(&reply) {
        total = total.checked_add(prize).map_err(|error| Problem::invalid("codes", error.to_string()))?;
        paid.push(PaidTicketView { ticket: names.ticket(ticket), level, prize_yuan: prize.to_string() });
    }
    Ok(Json(PaidView { paid, total_yuan: total.to_string(), paid_at_ms: first_at_ms(&reply) }))
}

fn parse_codes(texts: &[String]) -> Result<Vec<Result<SecurityBarcode, BarcodeError>>, Problem> {
    if texts.is_empty() || texts.len() > TICKETS_MAX {
        return Err(Problem::invalid("codes", format!("Give 1 to {TICKETS_MAX} codes.")));
    }
    Ok(texts.iter().map(|text| SecurityBarcode::parse(text)).collect())
}

/// The answer to a code that no profile explains, and what to do.
fn unread(error: &BarcodeError) -> (&'static str, &'static str) {
    if error.is_foreign() {
        (ClaimAnswer::ForeignTicket.code(), claim_hint(&ClaimAnswer::ForeignTicket))
    } else {
        ("unreadable", "Scan the code again; if it cannot be read, send the customer to the city's redemption centre.")
    }
}

fn claims(reply: &Reply) -> impl Iterator<Item = (jikai_schema::id::TicketId, u8, Money)> {
    reply.events.iter().filter_map(|event| match &event.body {
        EventBody::Ticket(TicketEvent::Claimed { ticket, level, prize, .. }) => Some((*ticket, *level, *prize)),
        _ => None,
    })
}

fn paid_money(reply: &Reply) -> Money {
    sum_of(claims(reply).map(|(_, _, prize)| prize))
}

/// Puts the answers of unreadable codes back in their places.
fn merge(
    parsed: &[Result<SecurityBarcode, BarcodeError>],
    judgements: &[Judgement],
    names: &BatchNames,
    here: OutletId,
) -> Vec<AnswerView> {
    let mut judged = judgements.iter();
    let view = |code: &Result<SecurityBarcode, BarcodeError>| match code {
        Ok(_) => judged.next().map_or_else(AnswerView::default, |judgement| answer_view(judgement, names, here)),
        Err(error) => AnswerView { answer: unread(error).0, ..AnswerView::default() },
    };
    parsed.iter().map(view).collect()
}

fn answer_view(judgement: &Judgement, names: &BatchNames, here: OutletId) -> AnswerView {
    let mut view = AnswerView {
        ticket: judgement.ticket.map(|ticket| names.ticket(ticket)),
        answer: judgement.answer.code(),
        ..AnswerView::default()
    };
    match judgement.answer {
        ClaimAnswer::Won { level, prize }
        | ClaimAnswer::GoToCityCentre { level, prize }
        | ClaimAnswer::GoToProvinceCentre { level, prize } => {
            view.level = Some(level);
            view.prize_yuan = Some(prize.to_string());
        }
        ClaimAnswer::AlreadyPaidHere { paid_at_ms } => {
            view.paid_at_ms = Some(paid_at_ms.ms());
            view.paid_at = Some(here.to_string());
        }
        ClaimAnswer::AlreadyPaidElsewhere { paid_at_ms, outlet } => {
            view.paid_at_ms = Some(paid_at_ms.ms());
            view.paid_at = Some(format!("{}****", outlet.prefecture()));
        }
        _ => {}
    }
    view
}
