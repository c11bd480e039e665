//! Inquiring and paying: two separate operations, over the rule that node and hub share.

use std::collections::BTreeSet;

use jikai_schema::barcode::SecurityBarcode;
use jikai_schema::event::{EventBody, RequestKey, TicketEvent};
use jikai_schema::id::TicketId;
use jikai_schema::projection::Projection;
use jikai_schema::rules::{ClaimAnswer, Judgement, WRONG_CODES_MAX, judge};

use super::{Asked, DecideError, Decision, Refusal, check_outlet_active};

/// Tells what each ticket won, and notes who asked about which, wrong and impossible codes, and packs that are now touched.
pub(super) fn inquire(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    codes: &[SecurityBarcode],
) -> Result<Decision, DecideError> {
    let Judged { judgements, facts: mut events } = judge_all(projection, asked, codes)?;
    let tickets: Vec<TicketId> = judgements.iter().filter_map(|judgement| judgement.ticket).collect();
    if !tickets.is_empty() {
        let inquired = TicketEvent::Inquired { outlet: asked.caller.outlet(), tickets };
        events.push((EventBody::Ticket(inquired), asked.request));
    }
    Ok(Decision { events, judgements, refusal: None })
}

/// Pays all tickets or none. Checks: outlet active → each ticket once → every ticket is [`ClaimAnswer::Won`]. What is refused
/// leaves the facts that an inquiry would leave, but for who asked.
pub(super) fn pay(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    codes: &[SecurityBarcode],
) -> Result<Decision, DecideError> {
    let caller = asked.caller;
    check_outlet_active(projection, asked)?;
    let Judged { judgements, facts } = judge_all(projection, asked, codes)?;
    let mut seen = BTreeSet::new();
    let mut events = Vec::with_capacity(codes.len());
    for (at, judgement) in judgements.iter().enumerate() {
        let (ClaimAnswer::Won { level, prize }, Some(ticket)) = (judgement.answer, judgement.ticket) else {
            let refusal = Some(Refusal::ClaimRefused { at, answers: judgements.clone() });
            return Ok(Decision { events: facts, judgements, refusal });
        };
        if !seen.insert(ticket) {
            let refusal = Some(Refusal::NamedTwice(codes[at].ticket.to_string()));
            return Ok(Decision { events: facts, judgements, refusal });
        }
        events.push(EventBody::Ticket(TicketEvent::Claimed { ticket, outlet: caller.outlet(), level, prize }));
    }
    Ok(Decision::all(asked.request, events))
}

/// What became of the codes of one request.
struct Judged {
    judgements: Vec<Judgement>,
    /// Facts about the presented codes, each with a request of its own that it answers: whichever key or terminal leads to it, it
    /// is written once.
    facts: Vec<(EventBody, RequestKey)>,
}

/// Judges the codes one after the other: one that locks a ticket locks it for those behind it too.
fn judge_all(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    codes: &[SecurityBarcode],
) -> Result<Judged, DecideError> {
    let here = asked.caller.outlet();
    let mut judged = Judged { judgements: Vec::with_capacity(codes.len()), facts: Vec::new() };
    for code in codes {
        let mut judgement = judge(projection, asked.keys, here, code, asked.now_ms)?;
        if let Some(ticket) = judgement.ticket
            && judged.facts.iter().any(|(body, _)| is_wrong_code(body, ticket) == Some(true))
        {
            judgement = Judgement { ticket: Some(ticket), answer: ClaimAnswer::Locked, wrong_code_tag: None };
        }
        judged.note(projection, asked, &judgement)?;
        judged.judgements.push(judgement);
    }
    Ok(judged)
}

impl Judged {
    fn note(
        &mut self,
        projection: &mut Projection<'_>,
        asked: &Asked<'_>,
        judgement: &Judgement,
    ) -> Result<(), DecideError> {
        let Some(ticket) = judgement.ticket else { return Ok(()) };
        let outlet = asked.caller.outlet();
        match judgement.answer {
            ClaimAnswer::ImpossibleTicket => {
                let request = RequestKey::of_fact("impossible", ticket.key());
                self.note_once(asked, TicketEvent::ImpossibleTicketPresented { ticket, outlet }, request)
            }
            ClaimAnswer::WrongCode => self.note_wrong_code(projection, asked, judgement),
            answer if answer.is_of_right_code() => {
                if answer == ClaimAnswer::ManualReview {
                    tracing::error!(ticket = ticket.key(), "the sealed record of a ticket is damaged");
                }
                if projection.pack(ticket.pack())?.is_none_or(|row| row.is_touched()) {
                    return Ok(());
                }
                let request = RequestKey::of_fact("scratched", ticket.pack().key());
                self.note_once(asked, TicketEvent::Scratched { ticket, outlet }, request)
            }
            _ => Ok(()),
        }
    }

    /// A wrong code is a fact, named by the code's tag: the same mistake counts once.
    fn note_wrong_code(
        &mut self,
        projection: &Projection<'_>,
        asked: &Asked<'_>,
        judgement: &Judgement,
    ) -> Result<(), DecideError> {
        let (Some(ticket), Some(tag)) = (judgement.ticket, judgement.wrong_code_tag) else { return Ok(()) };
        let here = self.facts.iter().filter(|(body, _)| is_wrong_code(body, ticket).is_some()).count() as u32;
        let count = projection.lock(ticket)?.map_or(0, |lock| lock.wrong_code_count) + here + 1;
        let locks = count >= WRONG_CODES_MAX;
        let presented = TicketEvent::WrongCodePresented { ticket, outlet: asked.caller.outlet(), locks };
        self.note_once(asked, presented, RequestKey { id: tag, body_hash: [0; 8] })
    }

    fn note_once(&mut self, asked: &Asked<'_>, fact: TicketEvent, request: RequestKey) -> Result<(), DecideError> {
        if self.facts.iter().any(|(_, earlier)| *earlier == request) || asked.answered.is_answered(&request)? {
            return Ok(());
        }
        self.facts.push((EventBody::Ticket(fact), request));
        Ok(())
    }
}

/// For a wrong code of this ticket: whether it locks it.
fn is_wrong_code(body: &EventBody, of: TicketId) -> Option<bool> {
    match body {
        EventBody::Ticket(TicketEvent::WrongCodePresented { ticket, locks, .. }) if *ticket == of => Some(*locks),
        _ => None,
    }
}
