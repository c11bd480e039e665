//! One log, read page by page.

use std::collections::VecDeque;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{BatchNames, ChangeEvent, Event, EventBody, EventView, subject_view};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use super::filter::{Filter, amounts, parts, person};
use crate::audit::range::first_not;
use crate::audit::{AuditError, hub_log, node_log};
use crate::machine::NodeHistory;

/// Events of a page.
const PAGE_EVENTS: usize = 1_024;
/// What an event may be about, the narrowest first.
const SUBJECTS: [&str; 12] =
    ["ticket", "pack", "login", "deposit", "batch", "operator", "code", "node", "request", "game", "parameter", "key"];
/// Bytes after which a page ends.
const PAGE_BYTES: usize = 1 << 20;

/// An event that fits, without its bytes: what is sealed or hashed in them is not shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The log: 0 for the hub, else the node.
    pub log: u16,
    /// Position in it.
    pub seq: u64,
    /// When it was decided.
    pub at_ms: TimeMs,
    /// Who did it; empty for the system itself.
    pub person: String,
    /// Terminal, where there was one.
    pub terminal: String,
    /// Outlet, where there is one.
    pub outlet: String,
    /// Kind of event.
    pub kind: String,
    /// Ticket, pack or other subject.
    pub subject: String,
    /// Largest amount.
    pub amount_fen: Option<i64>,
    /// All that the event says.
    pub event: Value,
    /// The address that it was asked from; empty for what no person at the centre asked for.
    pub address: String,
    /// The request that it answers, hex.
    pub request: String,
    /// The chain after it, hex.
    pub hash: String,
}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ms, self.log, self.seq).cmp(&(other.at_ms, other.log, other.seq))
    }
}

/// A log while it is read.
pub(super) struct Source<'store> {
    store: &'store Connection,
    log: NodeId,
    after: u64,
    page: VecDeque<(u64, ChainHash, Vec<u8>)>,
    ended: bool,
}

impl<'store> Source<'store> {
    /// Every log that the filter wants, at the beginning of its period.
    pub fn all(store: &'store Connection, filter: &Filter) -> Result<Vec<Self>, AuditError> {
        let mut statement = store.prepare(
            "SELECT 0, seq FROM feed_head WHERE node = 0 UNION ALL SELECT node, next_seq - 1 FROM node_cursor ORDER BY 1",
        )?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let mut sources = Vec::new();
        for row in rows {
            let (number, end) = row?;
            let Some(log) = u16::try_from(number).ok().and_then(|number| NodeId::new(number).ok()) else { continue };
            if filter.log.is_some_and(|wanted| wanted != log.get()) {
                continue;
            }
            let mut stamp = |seq| match log.is_hub() {
                true => hub_log::stamp(store, seq),
                false => node_log::stamp(store, number, seq),
            };
            let first = first_not(end.max(0) as u64, &mut stamp, |at| filter.is_before(at))?;
            sources.push(Source { store, log, after: first - 1, page: VecDeque::new(), ended: false });
        }
        Ok(sources)
    }

    /// The next event that fits. What cannot be read is passed over: `audit verify` and the quarantine tell of it.
    pub fn next(&mut self, filter: &Filter, names: &BatchNames) -> Result<Option<Found>, AuditError> {
        while !self.ended {
            if self.page.is_empty() && !self.read_page()? {
                break;
            }
            let Some((seq, hash, bytes)) = self.page.pop_front() else { break };
            let Ok(event) = codec::decode_event(&bytes) else { continue };
            if filter.is_behind(event.at_ms) {
                self.ended = true;
            } else if !filter.is_before(event.at_ms) {
                // Its bytes are not shown: none are written out.
                let mut view = EventView::new(&event, &[], hash, names).event;
                self.add_proposal(&event, &mut view, names)?;
                if filter.fits(&event, &view) {
                    return Ok(Some(found(self.log, seq, hash, &event, view)));
                }
            }
        }
        Ok(None)
    }

    /// A decision tells what was decided: the proposal's subject, by its number.
    fn add_proposal(&self, event: &Event, view: &mut Value, names: &BatchNames) -> Result<(), AuditError> {
        let number = match &event.body {
            EventBody::Change(ChangeEvent::Approved { number, .. })
            | EventBody::Change(ChangeEvent::Refused { number, .. })
            | EventBody::Change(ChangeEvent::Withdrawn { number }) => *number,
            _ => return Ok(()),
        };
        let mut proposal = self.store.prepare_cached("SELECT kind, before, after FROM change WHERE number = ?1")?;
        let texts = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
        let found: Option<(String, String, String)> = proposal.query_row([number], texts).optional()?;
        if let Some((kind, before, after)) = found {
            let (before, after) = (subject_view(&before, names), subject_view(&after, names));
            view["change"] = serde_json::json!({ "of": kind, "before": before, "after": after });
        }
        Ok(())
    }

    fn read_page(&mut self) -> Result<bool, AuditError> {
        if self.log.is_hub() {
            self.read_hub_page()?;
        } else {
            let events = NodeHistory::new(self.store, self.log).events_after(self.after, PAGE_EVENTS, PAGE_BYTES)?;
            self.page.extend(events.into_iter().map(|event| (event.seq, event.prev.next(&event.bytes), event.bytes)));
        }
        if let Some((seq, ..)) = self.page.back() {
            self.after = *seq;
        }
        Ok(!self.page.is_empty())
    }

    fn read_hub_page(&mut self) -> Result<(), AuditError> {
        let sql = "SELECT seq, hash, bytes FROM hub_log WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.store.prepare_cached(sql)?;
        let mut rows = statement.query((self.after.min(i64::MAX as u64) as i64, PAGE_EVENTS as i64))?;
        let mut bytes_read = 0;
        while let Some(row) = rows.next()?
            && bytes_read < PAGE_BYTES
        {
            let bytes: Vec<u8> = row.get(2)?;
            bytes_read += bytes.len();
            self.page.push_back((row.get::<_, i64>(0)?.max(0) as u64, hub_log::hash_of(row, 1)?, bytes));
        }
        Ok(())
    }
}

fn found(log: NodeId, seq: u64, hash: ChainHash, event: &Event, view: Value) -> Found {
    let acting = event.actor.terminal().map(|(terminal, _)| terminal);
    let or = |first: String, other: Option<String>| if first.is_empty() { other.unwrap_or_default() } else { first };
    Found {
        log: log.get(),
        seq,
        at_ms: event.at_ms,
        person: person(&event.actor).unwrap_or_default(),
        terminal: or(text(&view, "terminal"), acting.map(|terminal| terminal.to_string())),
        outlet: or(text(&view, "outlet"), acting.map(|terminal| terminal.outlet().to_string())),
        kind: text(&view, "kind"),
        subject: SUBJECTS.iter().map(|name| text(&view, name)).find(|text| !text.is_empty()).unwrap_or_default(),
        amount_fen: amounts(&view).max(),
        address: or(text(&view, "address"), event.actor.address().map(|address| address.to_string())),
        request: event.request.map(|request| hex::encode(request.id)).unwrap_or_default(),
        hash: hash.to_string(),
        event: view,
    }
}

/// What an event says under a name, of itself or of what it is about; empty where it says nothing.
fn text(view: &Value, name: &str) -> String {
    let said = parts(view).map(|part| &part[name]).find(|value| !value.is_null());
    match said {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
