//! Personal data of outlets' owners: encrypted by the proposer, kept by outlet and field, its reading noted.

use jikai_schema::command::{Outcome, PersonalCommand};
use jikai_schema::event::{EventBody, PersonalEvent};
use jikai_schema::id::OutletId;
use jikai_schema::personal::PersonalField;
use rusqlite::{Connection, OptionalExtension};

use super::changes::check_reason;
use super::error::Stop;
use super::{Machine, Stamp, StorageError, rule, unknown};

/// Longest encrypted value: 30 characters and the cipher's own. Bytes.
const SEALED_BYTES_MAX: usize = 200;
/// Longest masked value. Bytes.
const MASKED_BYTES_MAX: usize = 60;

const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };

/// One kept field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalRow {
    /// Whose owner's.
    pub outlet: OutletId,
    /// Which.
    pub field: PersonalField,
    /// Encrypted.
    pub sealed: Vec<u8>,
    /// Masked.
    pub masked: String,
}

impl PersonalRow {
    /// The fields of an outlet's owner: three at most.
    pub fn of(store: &Connection, outlet: OutletId) -> Result<Vec<Self>, StorageError> {
        PersonalRow::query(store, "SELECT * FROM personal WHERE outlet = ?1 ORDER BY field", [outlet.get()])
    }

    /// All fields of all outlets.
    pub fn all(store: &Connection) -> Result<Vec<Self>, StorageError> {
        PersonalRow::query(store, "SELECT * FROM personal ORDER BY outlet, field", [])
    }

    fn query(store: &Connection, sql: &str, asked: impl rusqlite::Params) -> Result<Vec<Self>, StorageError> {
        let mut statement = store.prepare_cached(sql)?;
        let mut rows = statement.query(asked)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (outlet, field): (u32, i64) = (row.get(0)?, row.get(1)?);
            let damaged = || StorageError::Damaged { table: "personal", key: i64::from(outlet) };
            found.push(PersonalRow {
                outlet: OutletId::new(outlet).map_err(|_| damaged())?,
                field: PersonalField::from_number(field).ok_or_else(damaged)?,
                sealed: row.get(2)?,
                masked: row.get(3)?,
            });
        }
        Ok(found)
    }
}

impl Machine<'_> {
    pub(super) fn personal(&mut self, stamp: Stamp<'_>, command: &PersonalCommand) -> Result<Outcome, Stop> {
        match command {
            PersonalCommand::Keep { outlet, field, sealed, masked } => {
                self.keep_personal(stamp, *outlet, *field, sealed, masked)
            }
            PersonalCommand::Clear { outlet, field } => self.clear_personal(stamp, *outlet, *field),
            PersonalCommand::NoteReading { outlet, fields, reason, address } => {
                self.check_outlet(*outlet)?;
                check_reason(reason)?;
                if fields.is_empty() || fields.len() > PersonalField::ALL.len() {
                    return Err(rule("invalid_fields", "one to three fields are read").into());
                }
                // After this point the command must succeed.
                let (outlet, fields, reason, address) = (*outlet, fields.clone(), reason.clone(), *address);
                let read = PersonalEvent::Read { outlet, fields, reason, address };
                self.emit(stamp, EventBody::Personal(read))?;
                Ok(DONE)
            }
        }
    }

    /// Checks: the outlet is known → the value is encrypted, its mask possible.
    fn keep_personal(
        &mut self,
        stamp: Stamp<'_>,
        outlet: OutletId,
        field: PersonalField,
        sealed: &[u8],
        masked: &str,
    ) -> Result<Outcome, Stop> {
        self.check_outlet(outlet)?;
        let possible = masked.contains('*') && masked.len() <= MASKED_BYTES_MAX;
        if sealed.is_empty() || sealed.len() > SEALED_BYTES_MAX || !possible {
            return Err(rule("invalid_personal_data", "the value comes encrypted and masked").into());
        }
        // After this point the command must succeed.
        let before = self.masked(outlet, field)?;
        let insert = "INSERT OR REPLACE INTO personal VALUES (?1, ?2, ?3, ?4)";
        self.tx.prepare_cached(insert)?.execute((outlet.get(), field as i64, sealed, masked))?;
        let kept = PersonalEvent::Kept { outlet, field, before, after: masked.to_string() };
        self.emit(stamp, EventBody::Personal(kept))?;
        Ok(DONE)
    }

    /// Checks: the outlet is known. What is not kept stays so.
    fn clear_personal(&mut self, stamp: Stamp<'_>, outlet: OutletId, field: PersonalField) -> Result<Outcome, Stop> {
        self.check_outlet(outlet)?;
        let delete = "DELETE FROM personal WHERE outlet = ?1 AND field = ?2";
        if self.tx.prepare_cached(delete)?.execute((outlet.get(), field as i64))? == 0 {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        self.emit(stamp, EventBody::Personal(PersonalEvent::Cleared { outlet, field }))?;
        Ok(DONE)
    }

    fn check_outlet(&mut self, outlet: OutletId) -> Result<(), Stop> {
        self.projection.outlet(outlet)?.map(drop).ok_or_else(|| unknown("outlet", outlet).into())
    }

    fn masked(&self, outlet: OutletId, field: PersonalField) -> Result<Option<String>, StorageError> {
        let sql = "SELECT masked FROM personal WHERE outlet = ?1 AND field = ?2";
        let mut statement = self.tx.prepare_cached(sql)?;
        Ok(statement.query_row((outlet.get(), field as i64), |row| row.get(0)).optional()?)
    }
}
