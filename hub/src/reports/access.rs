//! Devices and persons of an outlet.

use jikai_schema::crypto::{Suite, hash};
use jikai_schema::event::{OperatorRole, TerminalKind};
use jikai_schema::id::{OperatorId, OutletId, PackId, TerminalId};
use rusqlite::Connection;

use crate::rights::Scope;

/// One device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TerminalLine {
    /// Its number.
    pub terminal: TerminalId,
    /// What sort.
    pub kind: TerminalKind,
    /// First 16 hex digits of the hash of its public key: tells devices apart.
    pub key: String,
    /// Why it is out of use.
    pub revoked: Option<String>,
}

/// One person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorLine {
    /// The number.
    pub operator: OperatorId,
    /// Display name.
    pub name: String,
    /// What the person may do.
    pub role: OperatorRole,
    /// Whether the person may log in.
    pub active: bool,
}

/// Whether an outlet exists within a scope.
pub fn outlet_is_within(store: &Connection, outlet: OutletId, scope: &Scope) -> Result<bool, rusqlite::Error> {
    let within = Scope::condition("listed.outlet", "?2");
    let sql = format!("SELECT EXISTS (SELECT 1 FROM outlet AS listed WHERE listed.outlet = ?1 AND {within})");
    store.prepare_cached(&sql)?.query_row((outlet.get(), scope.filter_json()), |row| row.get(0))
}

/// Whether a pack lies at an outlet within a scope.
pub fn pack_is_within(store: &Connection, pack: PackId, scope: &Scope) -> Result<bool, rusqlite::Error> {
    let within = Scope::condition("pack.outlet", "?2");
    let sql = format!("SELECT EXISTS (SELECT 1 FROM pack WHERE pack.pack = ?1 AND {within})");
    store.prepare_cached(&sql)?.query_row((pack.key(), scope.filter_json()), |row| row.get(0))
}

/// The devices of an outlet: at most a hundred, for the number has two digits.
pub fn terminals_of(store: &Connection, outlet: OutletId) -> Result<Vec<TerminalLine>, rusqlite::Error> {
    let sql = "SELECT terminal, kind, public_key, reason FROM terminal LEFT JOIN terminal_revoked USING (terminal) \
               WHERE outlet = ?1 ORDER BY terminal";
    let mut statement = store.prepare_cached(sql)?;
    let mut rows = statement.query([outlet.get()])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let key: [u8; 32] = row.get(2)?;
        let kind = match row.get::<_, i64>(1)? {
            0 => TerminalKind::Dedicated,
            1 => TerminalKind::Gun,
            _ => TerminalKind::Phone,
        };
        if let Ok(terminal) = TerminalId::new(row.get::<_, i64>(0)? as u64) {
            let key = hex::encode(&hash(Suite::configured(), &[&key])[..8]);
            lines.push(TerminalLine { terminal, kind, key, revoked: row.get(3)? });
        }
    }
    Ok(lines)
}

/// The persons of an outlet: at most a hundred.
pub fn operators_of(store: &Connection, outlet: OutletId) -> Result<Vec<OperatorLine>, rusqlite::Error> {
    let sql = "SELECT operator, name, role, operator NOT IN (SELECT operator FROM operator_disabled) FROM operator \
               WHERE outlet = ?1 ORDER BY operator";
    let mut statement = store.prepare_cached(sql)?;
    let mut rows = statement.query([outlet.get()])?;
    let mut lines = Vec::new();
    while let Some(row) = rows.next()? {
        let role = if row.get::<_, i64>(2)? == 0 { OperatorRole::Owner } else { OperatorRole::Clerk };
        if let Ok(operator) = OperatorId::new(row.get::<_, i64>(0)? as u64) {
            lines.push(OperatorLine { operator, name: row.get(1)?, role, active: row.get(3)? });
        }
    }
    Ok(lines)
}
