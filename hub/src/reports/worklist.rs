//! What waits for a person: facts that broke a rule or locked a ticket, and events that could not be applied.

use jikai_schema::event::{BatchNames, EventKey};
use jikai_schema::id::{NodeId, OutletId, PackId, TicketId};
use jikai_schema::money::Money;
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

use super::{Page, ReportError, at_once, cut};
use crate::rights::Scope;

/// A fact that broke a rule: it was applied, its excess taken from suspense. Or one that locked a ticket, of amount 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionLine {
    /// The fact.
    pub event: EventKey,
    /// When it was decided.
    pub at_ms: TimeMs,
    /// The node whose outlet it concerns.
    pub node: NodeId,
    /// Which rule: `overdrawn`, `charge_mismatch`, `returned_touched`, `paid_twice`, `unlisted_prize` or `ticket_locked`.
    pub kind: String,
    /// The outlet that holds the pack; `None` where the pack is not known.
    pub outlet: Option<OutletId>,
    /// Pack or ticket as printed.
    pub subject: String,
    /// What it is about. Fen.
    pub amount: Money,
}

/// An event of a node that could not be applied: its bytes are kept as they were hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuarantineLine {
    /// The event's place in its node's log.
    pub event: EventKey,
    /// Why it could not be applied.
    pub reason: String,
    /// Its length. Bytes.
    pub event_bytes: u64,
}

/// Kinds of exceptions that name a ticket; the others name a pack.
const OF_TICKETS: &str = "kind IN ('paid_twice', 'unlisted_prize', 'ticket_locked')";

/// Exceptions behind `after` (`origin:seq`) of packs at outlets within a scope, by origin and position.
pub fn exceptions(
    store: &mut Connection,
    after: Option<&str>,
    limit: usize,
    scope: &Scope,
) -> Result<Page<ExceptionLine, ()>, ReportError> {
    let (origin, seq) = place(after)?;
    at_once(store, |store, applied| {
        let names = BatchNames::load(store)?;
        let within = Scope::condition("pack.outlet", "?3");
        let sql = format!(
            "SELECT origin, seq, at_ms, exception.node, kind, subject, amount_fen, pack.outlet, {OF_TICKETS} \
             FROM exception LEFT JOIN pack ON pack.pack = CASE WHEN {OF_TICKETS} THEN subject >> 10 ELSE subject END \
             WHERE (origin, seq) > (?1, ?2) AND {within} ORDER BY origin, seq LIMIT ?4"
        );
        let mut statement = store.prepare_cached(&sql)?;
        let mut found = statement.query((origin, seq, scope.filter_json(), limit as i64 + 1))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let (Ok(origin), Ok(node)) = (NodeId::new(row.get(0)?), NodeId::new(row.get(3)?)) else { continue };
            let subject: i64 = row.get(5)?;
            let printed = match row.get(8)? {
                true => TicketId::from_key(subject).map(|ticket| names.ticket(ticket)),
                false => PackId::from_key(subject).map(|pack| names.pack(pack)),
            };
            rows.push(ExceptionLine {
                event: EventKey { origin, seq: row.get::<_, i64>(1)? as u64 },
                at_ms: TimeMs::from_ms(row.get(2)?),
                node,
                kind: row.get(4)?,
                outlet: row.get::<_, Option<u32>>(7)?.and_then(|outlet| OutletId::new(outlet).ok()),
                subject: printed.unwrap_or_else(|_| subject.to_string()),
                amount: Money::from_fen(row.get(6)?),
            });
        }
        let next = cut(&mut rows, limit, |line| key(line.event));
        Ok(Page { rows, totals: (), applied, next })
    })
}

/// Events in quarantine behind `after` (`node:seq`), by node and position.
pub fn quarantine(
    store: &mut Connection,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<QuarantineLine, ()>, ReportError> {
    let (node, seq) = place(after)?;
    at_once(store, |store, applied| {
        let sql = "SELECT node, seq, reason, length(bytes) FROM quarantine WHERE (node, seq) > (?1, ?2) \
                   ORDER BY node, seq LIMIT ?3";
        let mut statement = store.prepare_cached(sql)?;
        let mut found = statement.query((node, seq, limit as i64 + 1))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let Ok(origin) = NodeId::new(row.get(0)?) else { continue };
            rows.push(QuarantineLine {
                event: EventKey { origin, seq: row.get::<_, i64>(1)? as u64 },
                reason: row.get(2)?,
                event_bytes: row.get::<_, i64>(3)? as u64,
            });
        }
        let next = cut(&mut rows, limit, |line| key(line.event));
        Ok(Page { rows, totals: (), applied, next })
    })
}

fn key(event: EventKey) -> String {
    format!("{}:{}", event.origin.get(), event.seq)
}

/// The place behind which a page begins.
fn place(after: Option<&str>) -> Result<(i64, i64), ReportError> {
    let Some(text) = after else { return Ok((-1, -1)) };
    let parts = text.split_once(':').and_then(|(log, seq)| Some((log.parse().ok()?, seq.parse().ok()?)));
    parts.ok_or_else(|| ReportError::BadCursor(text.chars().take(40).collect()))
}
