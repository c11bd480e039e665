//! Inquire, pay, mistype.

use serde_json::{Value, json};

use super::{Actor, Answer, Change, Outcome, PackState, Ticket, Turnover, now_ms, text};
use crate::amount::{format_yuan, yuan_field};
use crate::client::{Call, Reply};
use crate::journal::{Item, Verb};

/// A ticket in the hands of a customer.
struct Presented {
    ticket: Ticket,
    /// Whose shelf it came from.
    shelf: usize,
    /// What may be answered, before the request was sent.
    before: Vec<&'static str>,
    /// What the scanner reads.
    barcode: String,
}

impl Actor {
    /// Inquires one to four tickets, sometimes one that is paid or not checked in yet; `None` without a customer.
    pub(super) async fn inquire(&mut self) -> Option<Outcome> {
        let wanted = 1 + self.dice.below(4);
        let with_paid = self.dice.chance(80);
        let with_travelling = self.dice.chance(40);
        let (fresh, mut others) = {
            let mut shelf = self.street.shelf(self.outlet);
            let fresh: Vec<Ticket> = (0..wanted).map_while(|_| shelf.take_open()).collect();
            let mut others: Vec<Ticket> = shelf.find_paid().filter(|_| with_paid).into_iter().collect();
            others.extend(with_travelling.then(|| shelf.take_travelling()).flatten());
            (fresh, others)
        };
        let fresh_count = fresh.len();
        let mut tickets = fresh;
        tickets.append(&mut others);
        if tickets.is_empty() {
            return None;
        }
        let presented: Vec<Presented> = tickets.into_iter().map(|ticket| self.present(ticket, self.outlet)).collect();
        let body = json!({ "codes": presented.iter().map(|one| one.barcode.as_str()).collect::<Vec<_>>() });
        let reply = match self.line.ask(&Call::post("/v1/claims/inquire", &body)).await {
            Ok(Answer { reply, .. }) if reply.status == 200 => reply,
            Ok(Answer { reply, .. }) => return Some(self.refusal("inquiry", &reply, &[])),
            Err(error) => return Some(self.contradiction(&format!("inquiry: {error:#}"))),
        };
        let verdicts = match self.read_answers(&presented, &reply.json()) {
            Ok(verdicts) => verdicts,
            Err(what) => return Some(self.contradiction(&format!("inquiry: {what}"))),
        };
        let mut shelf = self.street.shelf(self.outlet);
        for (one, verdict) in presented.iter().zip(verdicts).take(fresh_count) {
            if verdict == "won" {
                shelf.packs[one.ticket.pack].winners.push(one.ticket.at.ticket);
            }
        }
        Some(Outcome::Acked)
    }

    /// Pays: known winners, a ticket straight from the customer, one bought elsewhere, one that another outlet may pay
    /// at the same moment, or one that was paid before. `None` without a customer.
    pub(super) async fn pay(&mut self) -> Option<Outcome> {
        let luck = self.dice.below(1000);
        let neighbour = self.street.neighbour(self.node, self.outlet, &mut self.dice);
        let (shelf, tickets) = match (luck, neighbour) {
            (0..60, Some(neighbour)) => (neighbour, self.street.shelf(neighbour).take_winner().into_iter().collect()),
            (60..90, Some(neighbour)) => {
                (neighbour, self.street.shelf(neighbour).contest_winner().into_iter().collect())
            }
            (90..110, _) => (self.outlet, self.street.shelf(self.outlet).find_paid().into_iter().collect()),
            _ => (self.outlet, self.take_own()),
        };
        let (shelf, tickets): (usize, Vec<Ticket>) = match tickets.is_empty() {
            true => (self.outlet, self.take_own()),
            false => (shelf, tickets),
        };
        if tickets.is_empty() {
            return None;
        }
        let presented: Vec<Presented> = tickets.into_iter().map(|ticket| self.present(ticket, shelf)).collect();
        let body = json!({ "codes": presented.iter().map(|one| one.barcode.as_str()).collect::<Vec<_>>() });
        match self.mutate("/v1/claims/pay", &body).await {
            Ok((call, answer)) if answer.reply.status == 200 => Some(self.settle_paid(&presented, call, answer).await),
            Ok((_, answer)) => Some(self.settle_refused_payment(&presented, &answer.reply)),
            Err(error) => {
                for one in &presented {
                    let mut shelf = self.street.shelf(one.shelf);
                    shelf.packs[one.ticket.pack].contested.insert(one.ticket.at.ticket);
                }
                self.street.shelf(self.outlet).lose_count();
                Some(self.contradiction(&format!("payment: {error:#}")))
            }
        }
    }

    /// Up to three winners of this outlet, or one ticket that nobody has inquired.
    fn take_own(&mut self) -> Vec<Ticket> {
        let wanted = 1 + self.dice.index(3);
        let mut shelf = self.street.shelf(self.outlet);
        let winners: Vec<Ticket> = (0..wanted).map_while(|_| shelf.take_winner()).collect();
        match winners.is_empty() {
            true => shelf.take_open().into_iter().collect(),
            false => winners,
        }
    }

    async fn settle_paid(&mut self, presented: &[Presented], call: Call, answer: Answer) -> Outcome {
        let items = match self.read_paid(presented, &answer.reply) {
            Ok(items) => items,
            Err(what) => return self.contradiction(&format!("payment: {what}")),
        };
        let mut paid_before = None;
        let (at_ms, node) = (now_ms(), self.line.node());
        for one in presented {
            let mut shelf = self.street.shelf(one.shelf);
            let (pack, ticket) = (one.ticket.pack, one.ticket.at.ticket);
            shelf.recent.note(at_ms, node, Change::Paid { pack, ticket });
            if shelf.packs[one.ticket.pack].paid.insert(one.ticket.at.ticket, self.outlet).is_some() {
                paid_before = Some(one.barcode[..20].to_owned());
            }
        }
        {
            let (claims, prize_fen) = (items.len() as i64, items.iter().map(|item| item.amount_fen).sum());
            let mut shelf = self.street.shelf(self.outlet);
            shelf.post(prize_fen);
            shelf.turn_over(&Turnover { claims, prize_fen, ..Turnover::default() });
            shelf.recent.note(at_ms, node, Change::Turnover);
        }
        let outcome = self.acknowledge(Verb::Pay, call, answer, items).await;
        match paid_before {
            Some(ticket) => self.contradiction(&format!("ticket {ticket} was paid twice")),
            None => outcome,
        }
    }

    fn read_paid(&self, presented: &[Presented], reply: &Reply) -> Result<Vec<Item>, String> {
        let answer = reply.json();
        let lines = answer["paid"].as_array().ok_or("the reply lists no paid tickets")?;
        let mut total_fen = 0;
        let mut items = Vec::new();
        for (one, line) in presented.iter().zip(lines) {
            let pool = &self.street.pools.0[one.ticket.game];
            let (subject, prize_fen) = (pool.ticket_id(one.ticket.at), pool.prize_fen(one.ticket.at));
            let is_right = line["ticket"] == subject.as_str()
                && line["level"] == pool.level(one.ticket.at)
                && yuan_field(line, "prize_yuan") == Some(prize_fen)
                && (one.before.is_empty() || one.before.contains(&"won"));
            if !is_right || prize_fen == 0 {
                return Err(format!("{subject} wins {}, the reply is {}", format_yuan(prize_fen), text(reply)));
            }
            total_fen += prize_fen;
            items.push(Item { subject, amount_fen: prize_fen });
        }
        if lines.len() != presented.len() || yuan_field(&answer, "total_yuan") != Some(total_fen) {
            return Err(format!(
                "{} tickets win {}, the reply is {}",
                presented.len(),
                format_yuan(total_fen),
                text(reply)
            ));
        }
        Ok(items)
    }

    /// All or nothing: the refusal must name an answer that is right, and the other winners are still to be paid.
    fn settle_refused_payment(&mut self, presented: &[Presented], reply: &Reply) -> Outcome {
        let problem = reply.json();
        let verdicts = match self.read_answers(presented, &problem) {
            Ok(verdicts) => verdicts,
            Err(what) => {
                return self.contradiction(&format!("payment: {what}; the reply is {} {}", reply.status, text(reply)));
            }
        };
        for (one, verdict) in presented.iter().zip(&verdicts) {
            if *verdict == "won" && one.shelf == self.outlet {
                self.street.shelf(self.outlet).packs[one.ticket.pack].winners.push(one.ticket.at.ticket);
            }
        }
        match problem["code"].as_str() {
            Some(code) if reply.status == 409 && code != "won" && verdicts.iter().any(|verdict| verdict == code) => {
                Outcome::Refused(code.to_owned())
            }
            _ => self.contradiction(&format!("payment was answered with {}: {}", reply.status, text(reply))),
        }
    }

    /// Inquires with one wrong letter, at most once for any ticket.
    pub(super) async fn mistype(&mut self) -> Option<Outcome> {
        let letter = self.dice.index(16);
        let ticket = {
            let mut shelf = self.street.shelf(self.outlet);
            let pack = shelf.packs.iter().position(|pack| pack.state == PackState::Active)?;
            let candidates = &shelf.packs[pack];
            let fresh = |ticket: &&u16| !candidates.mistyped.contains(ticket) && !candidates.contested.contains(ticket);
            let ticket = *candidates.open.iter().find(fresh)?;
            shelf.packs[pack].mistyped.insert(ticket);
            shelf.ticket(pack, ticket)
        };
        let barcode = self.street.pools.0[ticket.game].mistyped_barcode(ticket.at, letter);
        let reply = match self.line.ask(&Call::post("/v1/claims/inquire", &json!({ "codes": [barcode] }))).await {
            Ok(Answer { reply, .. }) => reply,
            Err(error) => return Some(self.contradiction(&format!("mistyped inquiry: {error:#}"))),
        };
        let answer = reply.json();
        match (reply.status, answer["answers"][0]["answer"].as_str()) {
            (200, Some("wrong_code")) => Some(Outcome::Acked),
            _ => Some(self.contradiction(&format!(
                "a mistyped code was answered with {}: {}",
                reply.status,
                text(&reply)
            ))),
        }
    }

    fn present(&self, ticket: Ticket, shelf: usize) -> Presented {
        let before = self.street.shelf(shelf).expected(ticket, self.outlet, &self.street.pools);
        Presented { ticket, shelf, before, barcode: self.street.pools.0[ticket.game].security_barcode(ticket.at) }
    }

    /// Reads the verdicts and demands that each agrees with what is known of its ticket.
    fn read_answers(&self, presented: &[Presented], answer: &Value) -> Result<Vec<String>, String> {
        let lines = answer["answers"].as_array().ok_or("the reply lists no answers")?;
        if lines.len() != presented.len() {
            return Err(format!("{} codes were answered with {} answers", presented.len(), lines.len()));
        }
        presented.iter().zip(lines).map(|(one, line)| self.read_answer(one, line)).collect()
    }

    fn read_answer(&self, one: &Presented, line: &Value) -> Result<String, String> {
        let pool = &self.street.pools.0[one.ticket.game];
        let verdict = line["answer"].as_str().ok_or("an answer without a verdict")?;
        let after = self.street.shelf(one.shelf).expected(one.ticket, self.outlet, &self.street.pools);
        let is_elsewhere = one.shelf != self.outlet && matches!(verdict, "not_decidable_here" | "try_later");
        let is_open = one.before.is_empty() || after.is_empty() || (self.street.outlets_move && is_elsewhere);
        let id = pool.ticket_id(one.ticket.at);
        if !is_open && !one.before.contains(&verdict) && !after.contains(&verdict) {
            return Err(format!("{id} was answered with {line}, expected {:?}", one.before));
        }
        let prize_fen = pool.prize_fen(one.ticket.at);
        let names_prize = line.get("prize_yuan").is_some_and(|prize| !prize.is_null());
        let prize_is_wrong = names_prize && yuan_field(line, "prize_yuan") != Some(prize_fen);
        if prize_is_wrong || (verdict == "won" && (!names_prize || line["level"] != pool.level(one.ticket.at))) {
            return Err(format!("{id} wins {}, the answer is {line}", format_yuan(prize_fen)));
        }
        match line["ticket"].as_str() {
            Some(told) if told != id => Err(format!("{id} was answered as {told}")),
            _ => Ok(verdict.to_owned()),
        }
    }
}
