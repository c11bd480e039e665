//! Look-ups. Where the outlet works alone, their figures are known to the fen.

use serde_json::Value;

use super::turnover::days_around;
use super::{Actor, Answer, Outcome, PackState, Turnover, now_ms, text};
use crate::amount::{format_yuan, yuan_field};
use crate::client::{Call, Reply};

/// Lines of a statement that are read at once.
const STATEMENT_LINES: usize = 20;

impl Actor {
    /// Stock by game; the packs must be those that the outlet knows.
    pub(super) async fn look_at_stock(&mut self) -> Outcome {
        let reply = match self.look("/v1/stock").await {
            Ok(reply) => reply,
            Err(outcome) => return outcome,
        };
        let answer = reply.json();
        let Some(games) = answer["games"].as_array() else {
            return self.contradiction(&format!("stock without games: {}", text(&reply)));
        };
        let total = |name: &str| games.iter().filter_map(|game| game[name].as_u64()).sum::<u64>() as usize;
        let (known, certain) = {
            let shelf = self.street.shelf(self.outlet);
            let known = [PackState::InTransit, PackState::Active, PackState::Returned].map(|state| shelf.count(state));
            (known, shelf.is_alone && shelf.count(PackState::Unsure) == 0)
        };
        let told = [total("in_transit"), total("active") + total("sold_out"), total("returned")];
        match certain && told != known {
            true => self
                .contradiction(&format!("stock (in transit, on sale, returned) is {known:?}, the reply says {told:?}")),
            false => Outcome::Acked,
        }
    }

    /// The list of packs, sometimes of one state.
    pub(super) async fn list_packs(&mut self) -> Outcome {
        const PATHS: [&str; 3] =
            ["/v1/packs?limit=20", "/v1/packs?state=in_transit&limit=20", "/v1/packs?state=active&limit=20"];
        let path = PATHS[self.dice.index(PATHS.len())];
        let reply = match self.look(path).await {
            Ok(reply) => reply,
            Err(outcome) => return outcome,
        };
        let answer = reply.json();
        let Some(packs) = answer["packs"].as_array() else {
            return self.contradiction(&format!("a list of packs without packs: {}", text(&reply)));
        };
        let shelf = self.street.shelf(self.outlet);
        let pools = &self.street.pools;
        let own: Vec<String> =
            shelf.packs.iter().map(|pack| pools.0[pack.consigned.game].pack_id(pack.consigned.pack)).collect();
        drop(shelf);
        let foreign = packs.iter().find(|pack| !own.iter().any(|id| pack["pack"] == id.as_str()));
        match foreign {
            Some(pack) => self.contradiction(&format!("{path} lists {pack}, which was not sent here")),
            None => Outcome::Acked,
        }
    }

    /// The balance.
    pub(super) async fn look_at_account(&mut self) -> Outcome {
        let reply = match self.look("/v1/account").await {
            Ok(reply) => reply,
            Err(outcome) => return outcome,
        };
        let answer = reply.json();
        let amounts = (yuan_field(&answer, "balance_yuan"), yuan_field(&answer, "available_yuan"));
        let (Some(balance_fen), Some(available_fen)) = amounts else {
            return self.contradiction(&format!("an account without amounts: {}", text(&reply)));
        };
        // A node that holds nothing for orders may leave the field out.
        let held_fen = yuan_field(&answer, "held_yuan").unwrap_or(0);
        let known_fen = self.street.shelf(self.outlet).certain_balance_fen();
        if known_fen.is_some_and(|known_fen| known_fen != balance_fen) {
            let known = known_fen.map(format_yuan);
            return self
                .contradiction(&format!("the balance is {known:?}, the reply says {}", format_yuan(balance_fen)));
        }
        match balance_fen - held_fen == available_fen && available_fen >= 0 {
            true => Outcome::Acked,
            false => self.contradiction(&format!("an account that does not add up: {}", text(&reply))),
        }
    }

    /// The statement, newest line first; each balance must follow from the one below it.
    pub(super) async fn read_statement(&mut self) -> Outcome {
        let reply = match self.look(&format!("/v1/account/entries?limit={STATEMENT_LINES}")).await {
            Ok(reply) => reply,
            Err(outcome) => return outcome,
        };
        let answer = reply.json();
        let lines: Option<Vec<(i64, i64)>> = answer["entries"].as_array().and_then(|lines| {
            lines
                .iter()
                .map(|line| Some((yuan_field(line, "amount_yuan")?, yuan_field(line, "balance_yuan")?)))
                .collect()
        });
        let Some(lines) = lines else {
            return self.contradiction(&format!("an unreadable statement: {}", text(&reply)));
        };
        let breaks = lines.windows(2).any(|pair| pair[1].1 + pair[0].0 != pair[0].1);
        let known_fen = self.street.shelf(self.outlet).certain_balance_fen();
        let is_stale = matches!((known_fen, lines.first()), (Some(known_fen), Some(first)) if first.1 != known_fen);
        match breaks || is_stale {
            true => {
                self.contradiction(&format!("a statement that does not add up to {known_fen:?} fen: {}", text(&reply)))
            }
            false => Outcome::Acked,
        }
    }

    /// Sales of the run: rows must add up to the totals, and the totals to what the outlet did, where it works alone.
    pub(super) async fn look_at_sales(&mut self) -> Outcome {
        let by = if self.dice.chance(500) { "day" } else { "game" };
        let (from, to) = days_around(now_ms());
        let reply = match self.look(&format!("/v1/sales?by={by}&from={from}&to={to}")).await {
            Ok(reply) => reply,
            Err(outcome) => return outcome,
        };
        let answer = reply.json();
        let rows: Option<Vec<Turnover>> =
            answer["rows"].as_array().and_then(|rows| rows.iter().map(Turnover::read).collect());
        let (Some(rows), Some(totals)) = (rows, Turnover::read(&answer["totals"])) else {
            return self.contradiction(&format!("unreadable sales: {}", text(&reply)));
        };
        let mut sum = Turnover::default();
        rows.iter().for_each(|row| sum.add(row));
        let known = self.street.shelf(self.outlet).certain_turnover();
        match sum != totals || known.is_some_and(|known| known != totals) {
            true => self.contradiction(&format!("sales are {known:?}, rows make {sum:?}, the totals {totals:?}")),
            false => Outcome::Acked,
        }
    }

    async fn look(&mut self, path: &str) -> Result<Reply, Outcome> {
        match self.line.ask(&Call::get(path)).await {
            Ok(Answer { reply, .. }) if reply.status == 200 && reply.json() != Value::Null => Ok(reply),
            Ok(Answer { reply, .. }) => Err(self.refusal(path, &reply, &[])),
            Err(error) => Err(self.contradiction(&format!("{path}: {error:#}"))),
        }
    }
}
