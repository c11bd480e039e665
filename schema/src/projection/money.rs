//! Deposits.

use rusqlite::params;

use super::{OutletDayKey, Projection, ProjectionError};
use crate::event::{Event, MoneyEvent};
use crate::ledger;

impl Projection<'_> {
    pub(super) fn apply_money(&mut self, event: &Event, body: &MoneyEvent) -> Result<(), ProjectionError> {
        match body {
            MoneyEvent::DepositCredited { deposit, outlet, node, amount } => {
                self.outlet_known(*outlet)?;
                if !amount.is_positive() {
                    return Err(ProjectionError::Contradiction("a deposit of nothing"));
                }
                let posting = ledger::deposit(*node, *outlet, *amount);
                self.check_postings(&[posting])?;
                // After this point the event must succeed.
                self.post(event, *deposit as i64, &[posting])?;
                let day = self.outlet_day(OutletDayKey::new(event.at_ms.business_day(), *outlet, None));
                day.deposits += 1;
                day.deposit_fen += amount.fen();
                self.write(
                    "INSERT INTO deposit VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![*deposit as i64, outlet.get(), node.get(), amount.fen(), event.at_ms.ms()],
                )
            }
        }
    }
}
