//! Deposits.

use std::collections::BTreeMap;

use jikai_schema::command::{Deposit, Outcome, Refusal};
use jikai_schema::event::{EventBody, MoneyEvent};
use jikai_schema::id::NodeId;
use jikai_schema::ledger::AccountId;
use jikai_schema::money::Money;
use rusqlite::OptionalExtension;

use super::error::Stop;
use super::{Machine, Stamp, exists_with_other, rule, unknown};

/// Largest deposit: 10 million yuan; a larger one is a typing error.
const DEPOSIT_FEN_MAX: i64 = 1_000_000_000;

impl Machine<'_> {
    /// Checks each deposit, in order: number and amount are possible; the outlet is known; the number was not credited
    /// with another amount or to another outlet; the balances have room for it.
    pub(super) fn credit_deposits(&mut self, stamp: Stamp<'_>, deposits: &[Deposit]) -> Result<Outcome, Stop> {
        let mut fresh: BTreeMap<u64, (Deposit, NodeId)> = BTreeMap::new();
        let mut order = Vec::with_capacity(deposits.len());
        let total = deposits.iter().try_fold(Money::ZERO, |sum, deposit| sum.checked_add(deposit.amount));
        let total = total.map_err(|_| rule("amount_too_large", "the deposits do not fit"))?;
        for deposit in deposits {
            let Deposit { deposit: number, outlet, amount } = *deposit;
            check_deposit(deposit)?;
            let row = self.projection.outlet(outlet)?.ok_or_else(|| unknown("outlet", outlet))?;
            let known = match fresh.get(&number) {
                Some((other, _)) => Some((other.outlet.get(), other.amount.fen())),
                None => self.credited(number)?,
            };
            match known {
                Some(same) if same == (outlet.get(), amount.fen()) => continue,
                Some(_) => return Err(exists_with_other("deposit", number).into()),
                None => {}
            }
            for account in [AccountId::outlet(row.node, outlet), AccountId::bank_clearing(row.node)] {
                let balance = self.projection.account(account)?.balance;
                if balance.checked_add(total).is_err() || balance.checked_sub(total).is_err() {
                    return Err(rule("amount_too_large", format!("account {account} has no room")).into());
                }
            }
            fresh.insert(number, (*deposit, row.node));
            order.push(number);
        }
        // After this point the command must succeed.
        let (events, existing) = (order.len() as u64, (deposits.len() - order.len()) as u64);
        for number in order {
            let (Deposit { deposit, outlet, amount }, node) = fresh[&number];
            self.emit(stamp, EventBody::Money(MoneyEvent::DepositCredited { deposit, outlet, node, amount }))?;
        }
        Ok(Outcome::Done { events, existing })
    }

    fn credited(&self, number: u64) -> Result<Option<(u32, i64)>, Stop> {
        let sql = "SELECT outlet, amount_fen FROM deposit WHERE deposit = ?1";
        let row = self.tx.prepare_cached(sql)?.query_row([number as i64], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(row.optional()?)
    }
}

/// Refuses a deposit whose number or amount is impossible.
pub(super) fn check_deposit(deposit: &Deposit) -> Result<(), Refusal> {
    if i64::try_from(deposit.deposit).map_or(true, |number| number == 0) {
        return Err(rule("invalid_deposit", "a deposit has a number above 0"));
    }
    if !deposit.amount.is_positive() || deposit.amount.fen() > DEPOSIT_FEN_MAX {
        let text = format!("deposit {}: an amount is above 0 and at most 10000000.00 yuan", deposit.deposit);
        return Err(rule("invalid_amount", text));
    }
    Ok(())
}
