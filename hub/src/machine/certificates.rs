//! Certificates of nodes: signed, met, renewed, superseded, revoked.
//!
//! A renewal leaves the older certificate good until the node was seen with the newer one: until then its answer may have been
//! lost. From then on the older one, and others that were given for it, open no session.

use jikai_schema::command::Outcome;
use jikai_schema::event::{AccessEvent, EventBody};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::access::{DONE, NOTHING, check_reason};
use super::error::Stop;
use super::{Machine, Stamp, StorageError, exists_with_other, rule, unknown};

/// Longest serial number, in hex digits: RFC 5280 allows 20 bytes.
const SERIAL_DIGITS_MAX: usize = 40;
/// Most renewals of a node within [`RENEWALS_WITHIN_MS`]. One is enough; a node that loses its keys may need some.
const RENEWALS_MAX: i64 = 16;
/// A day.
const RENEWALS_WITHIN_MS: i64 = 86_400_000;
/// Longest certificate that is kept. Bytes.
const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;

const COLUMNS: &str = "serial, node, not_after_ms, revoked, issued_at_ms, renews, superseded_by, \
    EXISTS (SELECT 1 FROM node_epoch e WHERE e.node = certificate.node AND e.replaced_at_ms > certificate.issued_at_ms)";

/// A certificate of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateRow {
    /// Serial number, hex.
    pub serial: String,
    /// Whose.
    pub node: u16,
    /// When it expires.
    pub not_after_ms: TimeMs,
    /// Why it opens no session any more.
    pub revoked: Option<String>,
    /// When it was recorded; not known of old ones.
    pub issued_at_ms: Option<TimeMs>,
    /// Serial number of the one that the node showed for it.
    pub renews: Option<String>,
    /// Serial number of the one that took its place.
    pub superseded_by: Option<String>,
    /// Whether it is of a store that another one took the place of: without that store it opens nothing.
    pub of_earlier_store: bool,
}

/// What certificate ?2 of node ?1 takes the place of: the one that was shown for it, and others that were given for that one.
const REPLACED: &str = "node = ?1 AND serial <> ?2 AND superseded_by IS NULL AND revoked IS NULL AND \
    (SELECT renews FROM certificate WHERE serial = ?2 AND node = ?1) IN (serial, renews)";

impl CertificateRow {
    /// The certificate of a serial number.
    pub fn read(store: &Connection, serial: &str) -> Result<Option<Self>, rusqlite::Error> {
        let mut statement = store.prepare_cached(&format!("SELECT {COLUMNS} FROM certificate WHERE serial = ?1"))?;
        statement.query_row([serial], CertificateRow::from_row).optional()
    }

    /// All certificates, by node and expiry: some a node.
    pub fn all(store: &Connection) -> Result<Vec<Self>, rusqlite::Error> {
        let sql = format!("SELECT {COLUMNS} FROM certificate ORDER BY node, not_after_ms, serial");
        let mut statement = store.prepare_cached(&sql)?;
        statement.query_map([], CertificateRow::from_row)?.collect()
    }

    /// What a request was answered with: the certificate, and itself in PEM.
    pub fn of_request(
        store: &Connection,
        node: NodeId,
        request_hash: &[u8; 32],
    ) -> Result<Option<(Self, String)>, rusqlite::Error> {
        let sql = format!("SELECT {COLUMNS}, certificate_pem FROM certificate WHERE node = ?1 AND request_hash = ?2");
        let mut statement = store.prepare_cached(&sql)?;
        let row = |row: &Row<'_>| Ok((CertificateRow::from_row(row)?, row.get(8)?));
        statement.query_row((node.get(), request_hash), row).optional()
    }

    /// When the good certificate of each node ends that lasts longest.
    pub fn newest_ends(store: &Connection) -> Result<Vec<(u16, TimeMs)>, rusqlite::Error> {
        let sql = "SELECT node, max(not_after_ms) FROM certificate WHERE revoked IS NULL AND superseded_by IS NULL \
            GROUP BY node ORDER BY node";
        let mut statement = store.prepare_cached(sql)?;
        statement.query_map([], |row| Ok((row.get(0)?, TimeMs::from_ms(row.get(1)?))))?.collect()
    }

    /// Whether something still opens sessions that this one takes the place of.
    pub fn replaces_some(store: &Connection, node: NodeId, serial: &str) -> Result<bool, rusqlite::Error> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM certificate WHERE {REPLACED})");
        store.prepare_cached(&sql)?.query_row((node.get(), serial), |row| row.get(0))
    }

    /// Whether all certificates of the node were revoked at once: then none is believed that nobody has recorded.
    pub fn is_fenced(store: &Connection, node: NodeId) -> Result<bool, rusqlite::Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM certificate_fence WHERE node = ?1)";
        store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0))
    }

    /// Whether it opens sessions, apart from its time.
    pub fn is_good(&self) -> bool {
        self.revoked.is_none() && self.superseded_by.is_none()
    }

    fn from_row(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(CertificateRow {
            serial: row.get(0)?,
            node: row.get(1)?,
            not_after_ms: TimeMs::from_ms(row.get(2)?),
            revoked: row.get(3)?,
            issued_at_ms: row.get::<_, Option<i64>>(4)?.map(TimeMs::from_ms),
            renews: row.get(5)?,
            superseded_by: row.get(6)?,
            of_earlier_store: row.get(7)?,
        })
    }
}

/// A certificate that was signed for a node which showed another one.
pub(super) struct Renewal<'a> {
    pub node: NodeId,
    pub renews: &'a str,
    pub request_hash: [u8; 32],
    pub serial: &'a str,
    pub not_after_ms: TimeMs,
    pub certificate_pem: &'a str,
}

impl Machine<'_> {
    /// Checks: the serial number is possible → no other certificate has it.
    pub(super) fn record_certificate(
        &mut self,
        stamp: Stamp<'_>,
        node: NodeId,
        serial: &str,
        not_after_ms: TimeMs,
    ) -> Result<Outcome, Stop> {
        check_serial(node, serial)?;
        match CertificateRow::read(self.tx, serial)? {
            Some(row) if (row.node, row.not_after_ms) == (node.get(), not_after_ms) => return Ok(NOTHING),
            Some(_) => return Err(exists_with_other("certificate", serial).into()),
            None => {}
        }
        // After this point the command must succeed.
        let insert = "INSERT INTO certificate (serial, node, not_after_ms, issued_at_ms) VALUES (?1, ?2, ?3, ?4)";
        self.tx.prepare_cached(insert)?.execute((serial, node.get(), not_after_ms.ms(), stamp.at_ms.ms()))?;
        let serial = serial.to_string();
        self.emit(stamp, EventBody::Access(AccessEvent::CertificateIssued { node, serial, not_after_ms }))?;
        Ok(DONE)
    }

    /// Checks: recorded already, or the node is not fenced → as for one that was signed. What the hub itself has signed since
    /// the node was fenced is recorded: what is not is older.
    pub(super) fn meet_certificate(
        &mut self,
        stamp: Stamp<'_>,
        node: NodeId,
        serial: &str,
        not_after_ms: TimeMs,
    ) -> Result<Outcome, Stop> {
        let known = CertificateRow::read(self.tx, serial)?.is_some();
        if !known && CertificateRow::is_fenced(self.tx, node)? {
            let text = format!("the certificates of node {node} were revoked, and this one is not known");
            return Err(rule("certificates_revoked", text).into());
        }
        self.record_certificate(stamp, node, serial, not_after_ms)
    }

    /// Checks: the serial number is possible → the same request was not answered yet → the certificate that was shown is the
    /// node's and good → no other certificate has the number → the node did not renew too often.
    pub(super) fn renew_certificate(&mut self, stamp: Stamp<'_>, renewal: &Renewal<'_>) -> Result<Outcome, Stop> {
        let Renewal { node, renews, serial, not_after_ms, .. } = *renewal;
        check_serial(node, serial)?;
        if renewal.certificate_pem.len() > CERTIFICATE_BYTES_MAX {
            return Err(rule("invalid_certificate", "the certificate is too long").into());
        }
        if CertificateRow::of_request(self.tx, node, &renewal.request_hash)?.is_some() {
            return Ok(NOTHING);
        }
        let shown = CertificateRow::read(self.tx, renews)?.filter(|row| row.node == node.get());
        if !shown.ok_or_else(|| unknown("certificate", shortened(renews)))?.is_good() {
            return Err(rule("certificate_not_good", "the certificate that was shown opens nothing any more").into());
        }
        if CertificateRow::read(self.tx, serial)?.is_some() {
            return Err(exists_with_other("certificate", serial).into());
        }
        let count = "SELECT count(*) FROM certificate WHERE node = ?1 AND renews IS NOT NULL AND issued_at_ms > ?2";
        let since_ms = stamp.at_ms.ms().saturating_sub(RENEWALS_WITHIN_MS);
        let lately: i64 = self.tx.prepare_cached(count)?.query_row((node.get(), since_ms), |row| row.get(0))?;
        if lately >= RENEWALS_MAX {
            return Err(rule("too_many_renewals", format!("a node renews at most {RENEWALS_MAX} times a day")).into());
        }
        // After this point the command must succeed.
        let insert = "INSERT INTO certificate \
            (serial, node, not_after_ms, issued_at_ms, renews, request_hash, certificate_pem) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (until_ms, at_ms, hash) = (not_after_ms.ms(), stamp.at_ms.ms(), renewal.request_hash);
        let row = params![serial, node.get(), until_ms, at_ms, renews, hash, renewal.certificate_pem];
        self.tx.prepare_cached(insert)?.execute(row)?;
        let (serial, renews) = (serial.to_string(), renews.to_string());
        self.emit(stamp, EventBody::Access(AccessEvent::CertificateRenewed { node, serial, not_after_ms, renews }))?;
        Ok(DONE)
    }

    /// Checks: the certificate in use is the node's, and good. Where it takes nobody's place nothing changes.
    pub(super) fn supersede(&mut self, stamp: Stamp<'_>, node: NodeId, serial: &str) -> Result<Outcome, Stop> {
        let used = CertificateRow::read(self.tx, serial)?.filter(|row| row.node == node.get());
        if !used.ok_or_else(|| unknown("certificate", shortened(serial)))?.is_good() {
            return Err(rule("certificate_not_good", "a certificate that opens nothing takes nobody's place").into());
        }
        let sql = format!("SELECT serial FROM certificate WHERE {REPLACED} ORDER BY serial");
        let replaced: Vec<String> = {
            let mut statement = self.tx.prepare_cached(&sql)?;
            statement.query_map((node.get(), serial), |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        if replaced.is_empty() {
            return Ok(NOTHING);
        }
        // After this point the command must succeed.
        let events = replaced.len() as u64;
        self.revoked = true;
        for old in replaced {
            let update = "UPDATE certificate SET superseded_by = ?2 WHERE serial = ?1";
            self.tx.prepare_cached(update)?.execute((&old, serial))?;
            let event = AccessEvent::CertificateSuperseded { node, serial: old, by: serial.to_string() };
            self.emit(stamp, EventBody::Access(event))?;
        }
        Ok(Outcome::Done { events, existing: 0 })
    }

    /// Checks: a reason is given → known. One that is revoked already stays so.
    pub(super) fn revoke_certificate(&mut self, stamp: Stamp<'_>, serial: &str, reason: &str) -> Result<Outcome, Stop> {
        check_reason(reason)?;
        let row = CertificateRow::read(self.tx, serial)?.ok_or_else(|| unknown("certificate", shortened(serial)))?;
        if row.revoked.is_some() {
            return Ok(NOTHING);
        }
        let node = NodeId::new(row.node).map_err(|_| StorageError::Damaged { table: "certificate", key: 0 })?;
        // After this point the command must succeed.
        let update = "UPDATE certificate SET revoked = ?2 WHERE serial = ?1";
        self.tx.prepare_cached(update)?.execute((serial, reason))?;
        self.revoked = true;
        let (serial, reason) = (row.serial, reason.to_string());
        self.emit(stamp, EventBody::Access(AccessEvent::CertificateRevoked { node, serial, reason }))?;
        Ok(DONE)
    }

    /// Checks: a reason is given → the node is registered, or has a certificate. Where all are revoked already nothing changes.
    pub(super) fn revoke_all_of(&mut self, stamp: Stamp<'_>, node: NodeId, reason: &str) -> Result<Outcome, Stop> {
        check_reason(reason)?;
        let known = "SELECT EXISTS (SELECT 1 FROM node WHERE node = ?1) \
            OR EXISTS (SELECT 1 FROM certificate WHERE node = ?1)";
        if !self.tx.prepare_cached(known)?.query_row([node.get()], |row| row.get::<_, bool>(0))? {
            return Err(unknown("node", node).into());
        }
        let count = "SELECT count(*) FROM certificate WHERE node = ?1 AND revoked IS NULL";
        let count: u32 = self.tx.prepare_cached(count)?.query_row([node.get()], |row| row.get(0))?;
        if count == 0 && CertificateRow::is_fenced(self.tx, node)? {
            return Ok(NOTHING);
        }
        // After this point the command must succeed.
        self.fence_certificates(stamp, node, reason)?;
        Ok(DONE)
    }

    /// Revokes all certificates of a node, and any that nobody has recorded. What it needs was checked.
    pub(super) fn fence_certificates(
        &mut self,
        stamp: Stamp<'_>,
        node: NodeId,
        reason: &str,
    ) -> Result<(), StorageError> {
        let update = "UPDATE certificate SET revoked = ?2 WHERE node = ?1 AND revoked IS NULL";
        let count = self.tx.prepare_cached(update)?.execute((node.get(), reason))? as u32;
        let fence = "INSERT OR REPLACE INTO certificate_fence VALUES (?1, ?2)";
        self.tx.prepare_cached(fence)?.execute((node.get(), reason))?;
        self.revoked = true;
        let reason = reason.to_string();
        self.emit(stamp, EventBody::Access(AccessEvent::NodeCertificatesRevoked { node, count, reason }))
    }
}

fn check_serial(node: NodeId, serial: &str) -> Result<(), Stop> {
    let digits = serial.bytes().all(|digit| digit.is_ascii_hexdigit());
    if node.is_hub() || serial.is_empty() || serial.len() > SERIAL_DIGITS_MAX || !digits {
        let text = "a node's certificate has a serial number of 1 to 40 hex digits";
        return Err(rule("invalid_certificate", text).into());
    }
    Ok(())
}

/// What somebody gave for a serial number, fit for a message.
fn shortened(serial: &str) -> String {
    let short: String = serial.chars().take(SERIAL_DIGITS_MAX).collect();
    short.escape_default().to_string()
}
