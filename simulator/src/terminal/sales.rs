//! Selling by scan.

use serde_json::json;

use super::{Actor, Change, Outcome, Ticket, Turnover, now_ms, text};
use crate::amount::yuan_field;
use crate::client::Reply;
use crate::journal::{Item, Verb};

impl Actor {
    /// Sells one to five tickets; `None` when no pack is on sale.
    pub(super) async fn sell(&mut self) -> Option<Outcome> {
        let wanted = 1 + self.dice.below(5) as u16;
        let tickets = self.street.shelf(self.outlet).begin_sale(wanted, &self.street.pools)?;
        let by_scan = self.dice.chance(700);
        let name = |ticket: &Ticket| {
            let pool = &self.street.pools.0[ticket.game];
            match by_scan {
                true => pool.logistics_barcode(ticket.at),
                false => pool.ticket_id(ticket.at),
            }
        };
        let body = json!({ "tickets": tickets.iter().map(name).collect::<Vec<_>>() });
        let (call, answer) = match self.mutate("/v1/tickets/sell", &body).await {
            Ok(answered) => answered,
            Err(error) => {
                self.street.shelf(self.outlet).turnover = None;
                return Some(self.contradiction(&format!("sale: {error:#}")));
            }
        };
        if answer.reply.status != 200 {
            return Some(self.refusal("sale", &answer.reply, &[]));
        }
        let items = match self.read_sold(&tickets, &answer.reply) {
            Ok(items) => items,
            Err(what) => return Some(self.contradiction(&format!("sale: {what}"))),
        };
        {
            let mut shelf = self.street.shelf(self.outlet);
            for ticket in &tickets {
                shelf.packs[ticket.pack].open.push(ticket.at.ticket);
            }
            shelf.turn_over(&Turnover { tickets_sold: tickets.len() as i64, ..Turnover::default() });
            shelf.recent.note(now_ms(), self.line.node(), Change::Turnover);
        }
        Some(self.acknowledge(Verb::Sell, call, answer, items).await)
    }

    fn read_sold(&self, tickets: &[Ticket], reply: &Reply) -> Result<Vec<Item>, String> {
        let answer = reply.json();
        let lines = answer["tickets"].as_array().ok_or("the reply lists no tickets")?;
        let mut told: Vec<(String, Option<i64>)> = lines
            .iter()
            .map(|line| (line["ticket"].as_str().unwrap_or_default().to_owned(), yuan_field(line, "price_yuan")))
            .collect();
        told.sort();
        let mut expected = Vec::new();
        let mut total_fen = 0;
        for ticket in tickets {
            let pool = &self.street.pools.0[ticket.game];
            expected.push((pool.ticket_id(ticket.at), Some(pool.game.price_fen())));
            total_fen += pool.game.price_fen();
        }
        expected.sort();
        if told != expected || yuan_field(&answer, "total_yuan") != Some(total_fen) {
            return Err(format!("expected {expected:?}, the reply is {}", text(reply)));
        }
        Ok(expected.into_iter().map(|(subject, price)| Item { subject, amount_fen: price.unwrap_or(0) }).collect())
    }
}
