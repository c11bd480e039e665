//! The auditor's own ledger: folds events into accounts by the rules of money, and compares.

use std::collections::BTreeMap;

use super::findings::{Findings, Property};
use super::history::{Balances, History, in_order};
use super::record::{Fact, Record};
use crate::printer::Pools;

/// Balances that the events make, kept apart from everything exported.
struct Books<'a> {
    pools: &'a Pools,
    balances: Balances,
    node_by_outlet: BTreeMap<u32, u16>,
}

/// Folds one side's history and compares it with the balances that this side exports.
///
/// The hub's credits are posted first, for a deposit may be stamped later than it was spent only by the hub's clock; so a
/// balance below zero is found unless a later deposit covers it.
pub fn check_books(hub_log: &[Record], history: &History, pools: &Pools, findings: &mut Findings) {
    let mut books = Books { pools, balances: Balances::new(), node_by_outlet: BTreeMap::new() };
    for record in hub_log {
        books.post_hub(&record.fact);
    }
    for (node, record) in in_order(hub_log, history) {
        match record.fact {
            Fact::Moved { outlet, from, to, amount_fen } => books.move_outlet(outlet, (from, to), amount_fen),
            _ => books.post_node(node, record, &history.side, findings),
        }
    }
    books.compare(history, findings);
}

impl Books<'_> {
    fn post_hub(&mut self, fact: &Fact) {
        match *fact {
            Fact::Deposited { outlet, node, amount_fen, .. } => {
                self.node_by_outlet.entry(outlet).or_insert(node);
                self.transfer(format!("bank_clearing/{node}/0"), format!("outlet/{node}/{outlet}"), amount_fen);
            }
            Fact::Shipped { outlet, node, .. } => {
                self.node_by_outlet.entry(outlet).or_insert(node);
            }
            _ => {}
        }
    }

    /// The balance goes along by one transfer at each node.
    fn move_outlet(&mut self, outlet: u32, (from, to): (u16, u16), amount_fen: i64) {
        self.node_by_outlet.insert(outlet, to);
        self.transfer(format!("outlet/{from}/{outlet}"), format!("handoff/{from}/0"), amount_fen);
        self.transfer(format!("handoff/{to}/0"), format!("outlet/{to}/{outlet}"), amount_fen);
    }

    fn post_node(&mut self, node: u16, record: &Record, side: &str, findings: &mut Findings) {
        let subject = || format!("event {node}/{}", record.seq);
        let outlet = match &record.fact {
            Fact::CheckedIn { pack, outlet, shares_fen } => {
                self.check_shares(pack.game, shares_fen, &subject(), side, findings);
                self.post_sale(node, pack.game, *outlet, 1);
                *outlet
            }
            Fact::Returned { pack, outlet, shares_fen } => {
                self.check_shares(pack.game, shares_fen, &subject(), side, findings);
                self.post_sale(node, pack.game, *outlet, -1);
                *outlet
            }
            Fact::Claimed { ticket, outlet, level, prize_fen } => {
                let pool = &self.pools.0[usize::from(ticket.pack.game)];
                let (printed_level, printed_fen) = (pool.level(ticket.position()), pool.prize_fen(ticket.position()));
                if (printed_level, printed_fen) != (*level, *prize_fen) {
                    let what = format!(
                        "level {level} with {prize_fen} fen, printed was level {printed_level} with {printed_fen} fen"
                    );
                    let off_fen = (printed_fen - prize_fen).unsigned_abs().max(1);
                    findings.add_weighted(Property::LedgerSum, off_fen, ticket.id(self.pools), side, what);
                }
                let game = &pool.game.code;
                self.transfer(format!("prize_fund/{node}/{game}"), format!("outlet/{node}/{outlet}"), printed_fen);
                *outlet
            }
            _ => return,
        };
        let account = format!("outlet/{node}/{outlet}");
        let balance_fen = self.balances.get(&account).copied().unwrap_or(0);
        if balance_fen < 0 {
            findings.add(Property::AccountsOverdrawn, account, side, format!("{balance_fen} fen after {}", subject()));
        }
        if self.node_by_outlet.get(&outlet).is_some_and(|&home| home != node) {
            let what = format!("{} moved money of an outlet of another node", subject());
            findings.add(Property::AccountsOverdrawn, format!("outlet {outlet}"), side, what);
        }
    }

    /// Charge, split and commission of one pack; exactly reversed for a return.
    fn post_sale(&mut self, node: u16, game: u8, outlet: u32, sign: i64) {
        let game = &self.pools.0[usize::from(game)].game;
        let account = |kind: &str| format!("{kind}/{node}/{}", game.code);
        let outlet = format!("outlet/{node}/{outlet}");
        let sales = account("sales_clearing");
        let movements = [
            (outlet.clone(), sales.clone(), game.face_fen()),
            (sales.clone(), account("prize_fund"), game.prize_fund_fen()),
            (sales.clone(), account("welfare_fund"), game.welfare_fund_fen()),
            (sales, account("issue_fee"), game.issue_fee_fen()),
            (account("issue_fee"), outlet, game.commission_fen()),
        ];
        for (from, to, amount_fen) in movements {
            self.transfer(from, to, amount_fen * sign);
        }
    }

    fn transfer(&mut self, from: String, to: String, amount_fen: i64) {
        *self.balances.entry(from).or_default() -= amount_fen;
        *self.balances.entry(to).or_default() += amount_fen;
    }

    fn check_shares(&self, game: u8, shares_fen: &[i64; 5], subject: &str, side: &str, findings: &mut Findings) {
        let game = &self.pools.0[usize::from(game)].game;
        let expected = [
            game.face_fen(),
            game.prize_fund_fen(),
            game.welfare_fund_fen(),
            game.issue_fee_fen(),
            game.commission_fen(),
        ];
        if *shares_fen != expected {
            let off_fen: u64 = shares_fen.iter().zip(expected).map(|(told, right)| (told - right).unsigned_abs()).sum();
            let what = format!("a pack moves {shares_fen:?} fen instead of {expected:?}");
            findings.add_weighted(Property::LedgerSum, off_fen, subject, side, what);
        }
    }

    /// Own balances against exported ones, account by account; both must sum to zero.
    fn compare(&self, history: &History, findings: &mut Findings) {
        let side = &history.side;
        let sum_fen: i64 = history.balances.values().sum();
        if sum_fen != 0 {
            let what = format!("the balances sum to {sum_fen} fen");
            findings.add_weighted(Property::LedgerSum, sum_fen.unsigned_abs(), "ledger", side, what);
        }
        let mut accounts: Vec<&String> = self.balances.keys().chain(history.balances.keys()).collect();
        accounts.sort();
        accounts.dedup();
        for account in accounts {
            let own_fen = self.balances.get(account).copied().unwrap_or(0);
            let told_fen = history.balances.get(account).copied().unwrap_or(0);
            if own_fen != told_fen {
                let what = format!("{told_fen} fen are told, the events make {own_fen}");
                findings.add_weighted(Property::LedgerSum, own_fen.abs_diff(told_fen), account, side, what);
            }
            if account.starts_with("outlet/") && told_fen < 0 {
                findings.add(Property::AccountsOverdrawn, account, side, format!("{told_fen} fen at the end"));
            }
        }
    }
}
