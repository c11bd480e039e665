//! Inquiring and paying: two separate operations, over the rule that node and hub share.

use std::collections::BTreeSet;

use jikai_schema::barcode::SecurityBarcode;
use jikai_schema::event::{EventBody, RequestKey, TicketEvent};
use jikai_schema::projection::Projection;
use jikai_schema::rules::{ClaimAnswer, Judgement, WRONG_CODES_MAX, judge};

use super::{Asked, DecideError, Decision, Refusal, check_outlet_active};

/// Tells what each ticket won and notes the wrong codes.
pub(super) fn inquire(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    codes: &[SecurityBarcode],
) -> Result<Decision, DecideError> {
    let judgements = judge_all(projection, asked, codes)?;
    let events = wrong_codes(projection, asked, &judgements)?;
    Ok(Decision { events, judgements, refusal: None })
}

/// Pays all tickets or none. Checks: outlet active → each ticket once → every ticket is [`ClaimAnswer::Won`].
pub(super) fn pay(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    codes: &[SecurityBarcode],
) -> Result<Decision, DecideError> {
    let caller = asked.caller;
    check_outlet_active(projection, asked)?;
    let judgements = judge_all(projection, asked, codes)?;
    let mut seen = BTreeSet::new();
    let mut events = Vec::with_capacity(codes.len());
    for (at, judgement) in judgements.iter().enumerate() {
        let (ClaimAnswer::Won { level, prize }, Some(ticket)) = (judgement.answer, judgement.ticket) else {
            let events = wrong_codes(projection, asked, &judgements)?;
            let refusal = Some(Refusal::ClaimRefused { at, answers: judgements.clone() });
            return Ok(Decision { events, judgements, refusal });
        };
        if !seen.insert(ticket) {
            return Err(Refusal::NamedTwice(codes[at].ticket.to_string()).into());
        }
        events.push(EventBody::Ticket(TicketEvent::Claimed { ticket, outlet: caller.outlet(), level, prize }));
    }
    Ok(Decision::all(asked.request, events))
}

fn judge_all(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    codes: &[SecurityBarcode],
) -> Result<Vec<Judgement>, DecideError> {
    let here = asked.caller.outlet();
    let judged = codes.iter().map(|code| judge(projection, asked.keys, here, code, asked.now_ms));
    Ok(judged.collect::<Result<_, _>>()?)
}

/// A wrong code is a fact. It answers a request of its own, named by the code's tag: the same mistake, by whichever
/// key or terminal, is written once.
fn wrong_codes(
    projection: &Projection<'_>,
    asked: &Asked<'_>,
    judgements: &[Judgement],
) -> Result<Vec<(EventBody, RequestKey)>, DecideError> {
    let mut events: Vec<(EventBody, RequestKey)> = Vec::new();
    for judgement in judgements {
        let (Some(ticket), Some(tag)) = (judgement.ticket, judgement.wrong_code_tag) else { continue };
        let request = RequestKey { id: tag, body_hash: [0; 8] };
        if events.iter().any(|(_, earlier)| *earlier == request) || asked.answered.is_answered(&request)? {
            continue;
        }
        let here = events.iter().filter(|(body, _)| is_wrong_code_of(body, ticket)).count() as u32;
        let count = projection.lock(ticket)?.map_or(0, |lock| lock.wrong_code_count) + here + 1;
        let locks = count >= WRONG_CODES_MAX;
        let presented = TicketEvent::WrongCodePresented { ticket, outlet: asked.caller.outlet(), locks };
        events.push((EventBody::Ticket(presented), request));
    }
    Ok(events)
}

fn is_wrong_code_of(body: &EventBody, of: jikai_schema::id::TicketId) -> bool {
    matches!(body, EventBody::Ticket(TicketEvent::WrongCodePresented { ticket, .. }) if *ticket == of)
}
