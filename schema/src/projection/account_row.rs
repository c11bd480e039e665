//! Rows of `account`.

use rusqlite::OptionalExtension;

use super::ProjectionError;
use crate::id::NodeId;
use crate::ledger::{AccountId, TransferId};
use crate::money::{Money, MoneyError};
use crate::store::Statements;

/// Balance of an account and the heads of its two chains of transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AccountRow {
    /// Credits less debits. Fen.
    pub balance: Money,
    /// Key of the newest transfer that the account's node made; 0 for none.
    pub last_node_transfer: i64,
    /// Key of the newest transfer that the hub made; 0 for none.
    pub last_hub_transfer: i64,
    /// Whether a transfer touched it since it was read: only asked rows are not written.
    changed: bool,
}

impl AccountRow {
    pub(super) fn read(statements: &Statements<'_>, id: AccountId) -> Result<Self, ProjectionError> {
        let row = statements
            .get("SELECT balance_fen, last_node_transfer, last_hub_transfer FROM account WHERE account = ?1")?
            .query_row([id.key()], |row| {
                let balance = Money::from_fen(row.get(0)?);
                Ok(AccountRow {
                    balance,
                    last_node_transfer: row.get(1)?,
                    last_hub_transfer: row.get(2)?,
                    changed: false,
                })
            })
            .optional()?;
        Ok(row.unwrap_or_default())
    }

    pub(super) fn write(&self, statements: &Statements<'_>, id: AccountId) -> Result<(), ProjectionError> {
        if self.changed {
            statements
                .get(
                    "INSERT INTO account VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET balance_fen = excluded.balance_fen, \
                     last_node_transfer = excluded.last_node_transfer, last_hub_transfer = excluded.last_hub_transfer",
                )?
                .execute((id.key(), self.balance.fen(), self.last_node_transfer, self.last_hub_transfer))?;
        }
        Ok(())
    }

    pub(super) fn debit(&mut self, amount: Money, origin: NodeId, transfer: TransferId) -> Result<i64, MoneyError> {
        self.balance = self.balance.checked_sub(amount)?;
        Ok(self.chain(origin, transfer))
    }

    pub(super) fn credit(&mut self, amount: Money, origin: NodeId, transfer: TransferId) -> Result<i64, MoneyError> {
        self.balance = self.balance.checked_add(amount)?;
        Ok(self.chain(origin, transfer))
    }

    /// Makes `transfer` the newest of its writer's chain; gives the one before.
    fn chain(&mut self, origin: NodeId, transfer: TransferId) -> i64 {
        self.changed = true;
        let last = if origin.is_hub() { &mut self.last_hub_transfer } else { &mut self.last_node_transfer };
        core::mem::replace(last, transfer.key())
    }
}
