//! What was found, as text, CSV or JSON lines.

use std::io::Write;

use jikai_schema::money::Money;
use jikai_schema::time::TimeMs;
use serde_json::json;

use super::Found;
use crate::audit::AuditError;

/// Asia/Shanghai is UTC+8.
const SHANGHAI_OFFSET_MS: i64 = 8 * 60 * 60 * 1000;
/// Tells Excel that the file is UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

const HEADER: [&str; 13] = [
    "time",
    "log",
    "position",
    "person",
    "terminal",
    "outlet",
    "kind",
    "subject",
    "amount_yuan",
    "details",
    "address",
    "request",
    "hash",
];

/// Form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for a person at a terminal.
    Text,
    /// UTF-8 with byte order mark and header line; no cell can be taken for a formula.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

/// Writes events one by one.
pub struct Writer<W: Write> {
    out: W,
    format: Format,
}

impl<W: Write> Writer<W> {
    /// Begins a result; CSV gets its header.
    pub fn begin(mut out: W, format: Format) -> Result<Self, AuditError> {
        if format == Format::Csv {
            out.write_all(BYTE_ORDER_MARK)?;
            write_csv(&mut out, &HEADER.map(str::to_string))?;
        }
        Ok(Writer { out, format })
    }

    /// Writes one event.
    pub fn write(&mut self, found: &Found) -> Result<(), AuditError> {
        let log = if found.log == 0 { "hub".to_string() } else { format!("node {}", found.log) };
        let amount = found.amount_fen.map(|fen| Money::from_fen(fen).to_string()).unwrap_or_default();
        match self.format {
            Format::Text => writeln!(
                self.out,
                "{}  {log} {}  {}  {}  {}  {}",
                time(found.at_ms),
                found.seq,
                or_dash(&found.person),
                or_dash(&found.outlet),
                found.kind,
                visible(&found.event.to_string()),
            )?,
            Format::Csv => {
                let cells = [
                    time(found.at_ms),
                    log,
                    found.seq.to_string(),
                    found.person.clone(),
                    found.terminal.clone(),
                    found.outlet.clone(),
                    found.kind.clone(),
                    found.subject.clone(),
                    amount,
                    found.event.to_string(),
                    found.address.clone(),
                    found.request.clone(),
                    found.hash.clone(),
                ];
                write_csv(&mut self.out, &cells)?;
            }
            Format::JsonLines => {
                let line = json!({
                    "time": time(found.at_ms), "at_ms": found.at_ms.ms(), "origin": found.log, "seq": found.seq,
                    "person": found.person, "terminal": found.terminal, "outlet": found.outlet,
                    "address": found.address,                    "request": found.request, "hash": found.hash, "event": found.event,
                });
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(())
    }

    /// Ends the result: everything is handed on.
    pub fn finish(mut self) -> Result<W, AuditError> {
        self.out.flush()?;
        Ok(self.out)
    }
}

fn write_csv(out: &mut impl Write, cells: &[String]) -> Result<(), AuditError> {
    let mut line = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    line.write_record(cells.iter().map(|cell| harmless(cell))).map_err(std::io::Error::other)?;
    let line = line.into_inner().map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(out.write_all(&line)?)
}

/// A cell that a spreadsheet would take for a formula is quoted.
fn harmless(cell: &str) -> String {
    match cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) {
        true => format!("'{cell}"),
        false => cell.to_string(),
    }
}

/// Names that were typed in may hold what a terminal obeys.
fn visible(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_string() } else { visible(text) }
}

/// `2026-11-23T10:00:00.000+08:00`.
fn time(at: TimeMs) -> String {
    let ms = at.ms().saturating_add(SHANGHAI_OFFSET_MS).rem_euclid(86_400_000);
    let (second, ms) = (ms / 1000, ms % 1000);
    format!("{}T{:02}:{:02}:{:02}.{ms:03}+08:00", at.business_day(), second / 3600, second / 60 % 60, second % 60)
}
