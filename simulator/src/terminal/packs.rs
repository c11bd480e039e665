//! Check in and send back.

use serde_json::{Value, json};

use super::{Actor, Change, Outcome, PackState, Turnover, now_ms};
use crate::amount::yuan_field;
use crate::client::Reply;
use crate::journal::{Item, Verb};
use crate::printer::Position;
use crate::world::Role;

impl Actor {
    /// Checks in the next consignment; `None` when nothing travels or the operator may not.
    pub(super) async fn receive(&mut self) -> Option<Outcome> {
        if self.role != Role::Owner {
            return None;
        }
        let (shipment, taken, is_whole) = self.street.shelf(self.outlet).begin_receive()?;
        let body = match is_whole && self.dice.chance(700) {
            true => json!({ "shipment_id": shipment }),
            false => json!({ "packs": self.pack_names(&taken) }),
        };
        let face_fen: i64 = taken.iter().map(|&pack| self.charge(pack).0).sum();
        let (call, answer) = match self.mutate("/v1/packs/receive", &body).await {
            Ok(answered) => answered,
            Err(error) => {
                self.street.shelf(self.outlet).lose_count();
                return Some(self.contradiction(&format!("check-in: {error:#}")));
            }
        };
        if answer.reply.status != 200 {
            return Some(self.settle_refused_receive(&taken, &answer.reply, face_fen));
        }
        let items = match self.read_moved(&taken, &answer.reply, "charge_yuan") {
            Ok(items) => items,
            Err(what) => return Some(self.contradiction(&format!("check-in: {what}"))),
        };
        let commission_fen: i64 = taken.iter().map(|&pack| self.charge(pack).1).sum();
        let is_overdrawn = {
            let mut shelf = self.street.shelf(self.outlet);
            shelf.settle(&taken, PackState::Active);
            shelf.post(commission_fen - face_fen);
            let packs_checked_in = taken.len() as i64;
            shelf.turn_over(&Turnover {
                packs_checked_in,
                charge_fen: face_fen,
                commission_fen,
                ..Turnover::default()
            });
            shelf.is_broke = false;
            shelf.recent.note(now_ms(), self.line.node(), Change::Packs(taken.clone()));
            shelf.certain_balance_fen().is_some_and(|balance_fen| balance_fen < 0)
        };
        let outcome = self.acknowledge(Verb::Receive, call, answer, items).await;
        match is_overdrawn {
            true => Some(self.contradiction("check-in was allowed without the money for it")),
            false => Some(outcome),
        }
    }

    fn settle_refused_receive(&mut self, taken: &[usize], reply: &Reply, face_fen: i64) -> Outcome {
        let balance_fen = {
            let mut shelf = self.street.shelf(self.outlet);
            shelf.settle(taken, PackState::InTransit);
            shelf.is_broke = true;
            shelf.certain_balance_fen()
        };
        if balance_fen.is_some_and(|balance_fen| balance_fen >= face_fen) {
            return self.contradiction(&format!(
                "check-in of {face_fen} fen with {balance_fen:?} fen was refused: {}",
                super::text(reply)
            ));
        }
        self.refusal("check-in", reply, &["insufficient_balance"])
    }

    /// Sends an untouched pack back; `None` when there is none or the operator may not.
    pub(super) async fn give_back(&mut self) -> Option<Outcome> {
        if self.role != Role::Owner {
            return None;
        }
        let taken = [self.street.shelf(self.outlet).begin_return()?];
        let body = json!({ "packs": self.pack_names(&taken) });
        let (call, answer) = match self.mutate("/v1/packs/return", &body).await {
            Ok(answered) => answered,
            Err(error) => {
                self.street.shelf(self.outlet).lose_count();
                return Some(self.contradiction(&format!("return: {error:#}")));
            }
        };
        if answer.reply.status != 200 {
            return Some(self.refusal("return", &answer.reply, &[]));
        }
        let items = match self.read_moved(&taken, &answer.reply, "refund_yuan") {
            Ok(items) => items,
            Err(what) => return Some(self.contradiction(&format!("return: {what}"))),
        };
        let (face_fen, commission_fen) = self.charge(taken[0]);
        {
            let mut shelf = self.street.shelf(self.outlet);
            shelf.settle(&taken, PackState::Returned);
            shelf.post(face_fen - commission_fen);
            let (return_fen, commission_fen) = (face_fen, -commission_fen);
            shelf.turn_over(&Turnover { packs_returned: 1, return_fen, commission_fen, ..Turnover::default() });
            shelf.recent.note(now_ms(), self.line.node(), Change::Packs(taken.to_vec()));
        }
        Some(self.acknowledge(Verb::Return, call, answer, items).await)
    }

    /// Packs as the terminal names them: by id or by the logistics code on the pack's label.
    fn pack_names(&mut self, packs: &[usize]) -> Vec<String> {
        let by_label = self.dice.chance(500);
        let shelf = self.street.shelf(self.outlet);
        let name = |&index: &usize| {
            let consigned = shelf.packs[index].consigned;
            let pool = &self.street.pools.0[consigned.game];
            match by_label {
                true => pool.logistics_barcode(Position { pack: consigned.pack, ticket: 0 }),
                false => pool.pack_id(consigned.pack),
            }
        };
        packs.iter().map(name).collect()
    }

    /// Face value and commission of a pack. Fen.
    fn charge(&self, pack: usize) -> (i64, i64) {
        let game = &self.street.pools.0[self.street.shelf(self.outlet).packs[pack].consigned.game].game;
        (game.face_fen(), game.commission_fen())
    }

    /// Reads the packs of a reply and demands that they are exactly `packs`, with the right amounts.
    fn read_moved(&self, packs: &[usize], reply: &Reply, total_name: &str) -> Result<Vec<Item>, String> {
        let answer = reply.json();
        let mut expected: Vec<(String, i64, i64)> = Vec::new();
        for &pack in packs {
            let (face_fen, commission_fen) = self.charge(pack);
            let consigned = self.street.shelf(self.outlet).packs[pack].consigned;
            expected.push((self.street.pools.0[consigned.game].pack_id(consigned.pack), face_fen, commission_fen));
        }
        let mut told = Vec::new();
        for line in answer["packs"].as_array().ok_or("the reply lists no packs")? {
            told.push(read_pack(line).ok_or_else(|| format!("unreadable pack {line}"))?);
        }
        expected.sort();
        told.sort();
        let totals = [yuan_field(&answer, total_name), yuan_field(&answer, "commission_yuan")];
        let sums = [expected.iter().map(|pack| pack.1).sum(), expected.iter().map(|pack| pack.2).sum()];
        if told != expected || totals != sums.map(Some) {
            return Err(format!("expected {expected:?} with totals {sums:?}, the reply is {}", super::text(reply)));
        }
        Ok(told.into_iter().map(|(subject, amount_fen, _)| Item { subject, amount_fen }).collect())
    }
}

fn read_pack(line: &Value) -> Option<(String, i64, i64)> {
    Some((line["pack"].as_str()?.to_owned(), yuan_field(line, "face_yuan")?, yuan_field(line, "commission_yuan")?))
}
