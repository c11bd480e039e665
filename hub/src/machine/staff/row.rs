//! Rows of `staff` as the machine reads and writes them.

use jikai_schema::codec;
use jikai_schema::command::SessionTag;
use jikai_schema::staff::Grant;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension};

use crate::machine::StorageError;
use crate::staff::StaffSettings;

/// Largest encoding of a person's grants.
const GRANTS_BYTES_MAX: usize = 64 * 1024;

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StaffRow {
    /// Its login name.
    pub login: String,
    /// The person's name.
    pub name: String,
    /// Whether the person may log in.
    pub active: bool,
    /// What was granted.
    pub grants: Vec<Grant>,
    /// Argon2id in PHC form.
    pub password_hash: String,
    /// When it was set.
    pub password_set_at_ms: TimeMs,
    /// Whether it must be changed before anything else.
    pub password_temporary: bool,
    /// Failed logins since the last good one.
    pub failure_count: u32,
    /// No login before then.
    pub locked_until_ms: TimeMs,
    /// Secret of the second factor, encrypted.
    pub factor_sealed: Option<Vec<u8>>,
    /// Newest time step whose code was taken.
    pub factor_step: u64,
    /// Whether the person behind it has shown a code that another person handed over.
    pub confirmed: bool,
    /// Wrong codes behind a right password since the last good login, wherever they came from.
    pub code_failure_count: u32,
}

impl StaffRow {
    /// The account with this login name.
    pub fn read(store: &Connection, login: &str) -> Result<Option<Self>, StorageError> {
        let mut statement = store.prepare_cached("SELECT * FROM staff WHERE login = ?1")?;
        statement.query_row([login], |row| Ok(StaffRow::from_row(row))).optional()?.transpose()
    }

    /// Accounts behind a login name, in the order of the names.
    pub fn page(store: &Connection, after: &str, limit: usize) -> Result<Vec<Self>, StorageError> {
        let mut statement = store.prepare_cached("SELECT * FROM staff WHERE login > ?1 ORDER BY login LIMIT ?2")?;
        let mut rows = statement.query((after, limit as i64))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(StaffRow::from_row(row)?);
        }
        Ok(found)
    }

    /// Whether a person fits as maker and another one as checker. Accounts that are out of use count: who can put them out of
    /// use alone must not so switch off what needs two.
    pub fn two_persons(
        store: &Connection,
        maker: impl Fn(&StaffRow) -> bool,
        checker: impl Fn(&StaffRow) -> bool,
    ) -> Result<bool, StorageError> {
        let (mut makers, mut checkers, mut after) = (Vec::new(), Vec::new(), String::new());
        loop {
            let page = StaffRow::page(store, &after, 500)?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.login);
            for row in page {
                if maker(&row) {
                    makers.push(row.login.clone());
                }
                if checker(&row) {
                    checkers.push(row.login);
                }
            }
        }
        Ok(makers.iter().any(|maker| checkers.iter().any(|checker| checker != maker)))
    }

    /// Reads a row of `SELECT * FROM staff`.
    pub fn from_row(row: &rusqlite::Row<'_>) -> Result<Self, StorageError> {
        let grants: Vec<u8> = row.get(3)?;
        Ok(StaffRow {
            login: row.get(0)?,
            name: row.get(1)?,
            active: row.get(2)?,
            grants: codec::decode(&grants, GRANTS_BYTES_MAX)?,
            password_hash: row.get(4)?,
            password_set_at_ms: TimeMs::from_ms(row.get(5)?),
            password_temporary: row.get(6)?,
            failure_count: row.get(7)?,
            locked_until_ms: TimeMs::from_ms(row.get(8)?),
            factor_sealed: row.get(9)?,
            factor_step: row.get::<_, i64>(10)? as u64,
            confirmed: row.get(11)?,
            code_failure_count: row.get(12)?,
        })
    }

    /// Hashes of the passwords that may not come back: the one in force and those before it.
    pub fn password_hashes(&self, store: &Connection) -> Result<Vec<String>, StorageError> {
        let mut statement = store.prepare_cached("SELECT password_hash FROM staff_password WHERE login = ?1")?;
        let mut hashes = statement.query_map([&self.login], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        hashes.push(self.password_hash.clone());
        Ok(hashes)
    }

    /// Writes the row.
    pub(super) fn write(&self, store: &Connection) -> Result<(), StorageError> {
        let sql = "INSERT OR REPLACE INTO staff VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        store.prepare_cached(sql)?.execute((
            &self.login,
            &self.name,
            self.active,
            codec::encode(&self.grants, GRANTS_BYTES_MAX)?,
            &self.password_hash,
            self.password_set_at_ms.ms(),
            self.password_temporary,
            self.failure_count,
            self.locked_until_ms.ms(),
            &self.factor_sealed,
            self.factor_step as i64,
            self.confirmed,
            self.code_failure_count,
        ))?;
        Ok(())
    }
}

/// One open session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    /// Tag of its token.
    pub tag: SessionTag,
    /// Whose.
    pub login: String,
    /// Since when.
    pub opened_at_ms: TimeMs,
    /// When it was used last, to the minute.
    pub seen_at_ms: TimeMs,
    /// From where it was opened.
    pub address: String,
    /// Whether the person proved to be the one twice.
    pub proven_twice: bool,
}

impl SessionRow {
    /// The session of a tag.
    pub fn read(store: &Connection, tag: SessionTag) -> Result<Option<Self>, rusqlite::Error> {
        let mut statement = store.prepare_cached("SELECT * FROM staff_session WHERE tag = ?1")?;
        statement.query_row([tag.0], SessionRow::from_row).optional()
    }

    /// Sessions of a person, oldest first: a handful.
    pub fn of(store: &Connection, login: &str) -> Result<Vec<Self>, rusqlite::Error> {
        let sql = "SELECT * FROM staff_session WHERE login = ?1 ORDER BY opened_at_ms, tag";
        let mut statement = store.prepare_cached(sql)?;
        statement.query_map([login], SessionRow::from_row)?.collect()
    }

    /// When it ends if it is not used again.
    pub fn ends_at_ms(&self, settings: &StaffSettings) -> TimeMs {
        let idle_ms = self.seen_at_ms.ms().saturating_add(settings.session_idle_ms_max);
        TimeMs::from_ms(idle_ms.min(self.opened_at_ms.ms().saturating_add(settings.session_ms_max)))
    }

    fn from_row(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(SessionRow {
            tag: SessionTag(row.get(0)?),
            login: row.get(1)?,
            opened_at_ms: TimeMs::from_ms(row.get(2)?),
            seen_at_ms: TimeMs::from_ms(row.get(3)?),
            address: row.get(4)?,
            proven_twice: row.get(5)?,
        })
    }
}
