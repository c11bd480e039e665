//! The projection: events in, rows out. The very same function runs at the nodes and at the hub.
//!
//! A [`Projection`] lives for one transaction. It keeps the pack, account and outlet-day rows that the transaction
//! touches in memory and writes each once, in key order, at [`Projection::flush`]: dirty pages, not SQL, are what a
//! commit costs. Reads go through it and see what earlier events of the transaction did. It never reads a clock.

mod access;
mod account_row;
mod catalog;
mod change;
mod directory;
mod handoff;
mod hub;
mod master;
mod money;
#[cfg(test)]
mod moved_outlet;
mod node;
mod outlet_day;
mod pack_row;
mod packs;
mod sessions;
mod tickets;
#[cfg(test)]
mod worked_example;

use std::collections::BTreeMap;
use std::rc::Rc;

use rusqlite::Connection;

pub use account_row::AccountRow;
pub use catalog::{BatchRow, Catalog, GameRow, OutletRow};
pub use handoff::HandoffRow;
pub use outlet_day::{OutletDay, OutletDayKey};
pub use pack_row::{ClaimEntry, PackRow, PackState};
pub use tickets::{LockRow, SealedTicket};

use crate::event::{Event, EventBody, EventKey};
use crate::id::PackId;
use crate::ledger::{AccountId, Posting, TransferId};
use crate::money::{Money, MoneyError};
use crate::store::Statements;
use crate::time::TimeMs;

/// A fact that cannot be written. [`ProjectionError::is_poison`] tells a bad fact from a failing store.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// The store failed: the transaction must be rolled back.
    #[error("the store failed: {0}")]
    Storage(#[from] rusqlite::Error),
    /// The fact names something that no earlier event defined. Nothing was written.
    #[error("the event refers to {kind} {key}, which is not known")]
    Unknown {
        /// Kind of the missing subject.
        kind: &'static str,
        /// Its key.
        key: i64,
    },
    /// The fact contradicts itself or the state in a way that no rule explains. Nothing was written.
    #[error("the event cannot be applied: {0}")]
    Contradiction(&'static str),
    /// The fact names a table or a column that only a newer build knows. Nothing was written. No fault of the fact: whoever skipped it
    /// would lack it for ever.
    #[error("the event brings `{name}`, which is not known here: upgrade this machine first")]
    TooNew {
        /// The table or column.
        name: String,
    },
    /// A sum left 63 bits. Nothing was written.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A row that this build did not write.
    #[error("row {key} of table {table} is damaged")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: i64,
    },
}

impl ProjectionError {
    /// Whether the event, not the store, is at fault: a receiver quarantines it and goes on.
    pub fn is_poison(&self) -> bool {
        matches!(self, ProjectionError::Unknown { .. } | ProjectionError::Contradiction(_) | ProjectionError::Money(_))
    }
}

/// Most money that one fact may name: 100 million yuan, far above any prize, pack or deposit. It keeps the sums per outlet,
/// game and day, which are added up unread, within 63 bits: 9 × 10⁸ facts of one row would be needed to leave them, ten
/// times the milliseconds of a day, and the stamps of a node's log grow by one at least. What the hub credits is bounded by the
/// checked balance of the bank's account. Fen.
pub const FACT_FEN_MAX: i64 = 10_000_000_000;

/// Rows of one transaction, read through and written once.
pub struct Projection<'store> {
    store: &'store Connection,
    statements: Rc<Statements<'store>>,
    packs: BTreeMap<PackId, Option<PackRow>>,
    accounts: BTreeMap<AccountId, AccountRow>,
    outlet_days: BTreeMap<OutletDayKey, OutletDay>,
    catalog: Catalog,
}

impl<'store> Projection<'store> {
    /// Starts over the rows of `store`: a transaction to write in, or a read-only connection to ask.
    pub fn new(store: &'store Connection) -> Self {
        Projection::with_catalog(store, Catalog::default())
    }

    /// Starts over the rows of `store` with what the last committed transaction on it knew of its master data.
    pub fn with_catalog(store: &'store Connection, catalog: Catalog) -> Self {
        Projection {
            store,
            statements: Rc::new(Statements::new(store)),
            packs: BTreeMap::new(),
            accounts: BTreeMap::new(),
            outlet_days: BTreeMap::new(),
            catalog,
        }
    }

    /// Applies one event. Each family reads and checks first; from its first write on it must succeed, so an error
    /// that [`ProjectionError::is_poison`] has changed nothing.
    pub fn apply(&mut self, event: &Event) -> Result<(), ProjectionError> {
        if event.body.is_written_by_hub() != event.key.origin.is_hub() {
            return Err(ProjectionError::Contradiction("a fact of this family has another writer"));
        }
        if event.body.amount().is_some_and(|amount| amount.fen() > FACT_FEN_MAX) {
            return Err(ProjectionError::Contradiction("no fact names more than 100000000.00 yuan"));
        }
        match &event.body {
            EventBody::Master(body) => self.apply_master(body),
            EventBody::Pack(body) => self.apply_pack(event, body),
            EventBody::Ticket(body) => self.apply_ticket(event, body),
            EventBody::Money(body) => self.apply_money(event, body),
            EventBody::Session(body) => self.apply_session(event, body),
            // Rows about staff and secrets are the hub's own; the fact itself is the trail.
            EventBody::Staff(_) | EventBody::Secrets(_) => Ok(()),
            EventBody::Personal(_) | EventBody::Machine(_) => Ok(()),
            EventBody::Access(body) => self.apply_access(body),
            EventBody::Change(body) => self.apply_change(event, body),
            EventBody::Hub(body) => self.apply_hub(body),
            EventBody::Handoff(body) => self.apply_handoff(event, body),
            EventBody::Directory(body) => self.apply_directory(body),
            EventBody::Node(body) => self.apply_node(event.at_ms, body),
        }
    }

    /// Writes every changed row once, in key order. The transaction may be committed after it; the catalog is true for the
    /// next one if it is.
    pub fn flush(mut self) -> Result<Catalog, ProjectionError> {
        self.write_gathered()?;
        Ok(self.catalog)
    }

    /// Writes what the transaction gathered, and forgets it.
    fn write_gathered(&mut self) -> Result<(), ProjectionError> {
        for pack in core::mem::take(&mut self.packs).values().flatten() {
            pack.write(&self.statements)?;
        }
        for (id, account) in core::mem::take(&mut self.accounts) {
            account.write(&self.statements, id)?;
        }
        for (key, day) in core::mem::take(&mut self.outlet_days) {
            day.add_to(&self.statements, key)?;
        }
        Ok(())
    }

    /// The account's row; an account that no transfer touched yet is empty.
    pub fn account(&mut self, id: AccountId) -> Result<&mut AccountRow, ProjectionError> {
        match self.accounts.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => {
                Ok(entry.insert(AccountRow::read(&self.statements, id)?))
            }
        }
    }

    /// The pack's row; `None` while it was not shipped into this slice.
    pub fn pack(&mut self, id: PackId) -> Result<Option<&mut PackRow>, ProjectionError> {
        let row = match self.packs.entry(id) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(PackRow::read(&self.statements, id)?),
        };
        Ok(row.as_mut())
    }

    /// The store it reads, for rows that it does not keep.
    pub fn store(&self) -> &'store Connection {
        self.store
    }

    /// The transaction's statements, for whoever writes beside the projection.
    pub fn statements(&self) -> &Rc<Statements<'store>> {
        &self.statements
    }

    fn pack_known(&mut self, id: PackId) -> Result<&mut PackRow, ProjectionError> {
        self.pack(id)?.ok_or(ProjectionError::Unknown { kind: "pack", key: id.key() })
    }

    fn outlet_day(&mut self, key: OutletDayKey) -> &mut OutletDay {
        self.outlet_days.entry(key).or_default()
    }

    /// Checks that the postings can be made without leaving 63 bits; changes nothing.
    fn check_postings(&mut self, postings: &[Posting]) -> Result<(), ProjectionError> {
        let volume = postings.iter().try_fold(Money::ZERO, |sum, posting| sum.checked_add(posting.amount))?;
        for posting in postings {
            for id in [posting.debit, posting.credit] {
                let balance = self.account(id)?.balance;
                balance.checked_add(volume)?;
                balance.checked_sub(volume)?;
            }
        }
        Ok(())
    }

    /// Writes checked postings: both balances and the transfer rows, chained to the accounts' earlier ones.
    fn post(&mut self, event: &Event, subject: i64, postings: &[Posting]) -> Result<(), ProjectionError> {
        for (index, posting) in postings.iter().enumerate() {
            let index = u8::try_from(index).map_err(|_| ProjectionError::Contradiction("more than 256 transfers"))?;
            self.post_one(event.key, TransferId::new(event.key, index), event.at_ms, subject, posting)?;
        }
        Ok(())
    }

    fn post_one(
        &mut self,
        event: EventKey,
        id: TransferId,
        at_ms: TimeMs,
        subject: i64,
        posting: &Posting,
    ) -> Result<(), ProjectionError> {
        let debit_prev = self.account(posting.debit)?.debit(posting.amount, event.origin, id)?;
        let credit_prev = self.account(posting.credit)?.credit(posting.amount, event.origin, id)?;
        self.statements.get("INSERT INTO transfer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute((
            id.key(),
            posting.debit.key(),
            posting.credit.key(),
            posting.amount.fen(),
            posting.code as i64,
            subject,
            at_ms.ms(),
            debit_prev,
            credit_prev,
        ))?;
        Ok(())
    }
}
