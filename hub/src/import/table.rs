//! CSV lines with a fixed header; errors name line and column.

use std::fmt::Display;
use std::str::FromStr;

use csv::{ReaderBuilder, StringRecord};

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct LineError {
    /// Line in the file, from 1.
    pub line: u64,
    /// Name of the column, or what else is meant.
    pub column: String,
    /// What is wrong.
    pub problem: String,
}

impl LineError {
    pub(super) fn new(line: u64, column: &str, problem: impl Display) -> Self {
        LineError { line, column: column.to_string(), problem: problem.to_string() }
    }
}

/// One line under its header.
pub(super) struct Line {
    pub(super) number: u64,
    columns: &'static [&'static str],
    record: StringRecord,
}

impl Line {
    /// The text of a column, without spaces around it.
    pub(super) fn text(&self, column: &str) -> Result<&str, LineError> {
        let at = self.columns.iter().position(|name| *name == column);
        let text = at.and_then(|at| self.record.get(at)).unwrap_or_default().trim();
        if text.is_empty() { Err(self.refuse(column, "is empty")) } else { Ok(text) }
    }

    /// The value of a column.
    pub(super) fn value<T>(&self, column: &str) -> Result<T, LineError>
    where
        T: FromStr,
        T::Err: Display,
    {
        let text = self.text(column)?;
        let shown: String = text.chars().take(40).collect();
        text.parse().map_err(|error: T::Err| {
            let error = error.to_string();
            let problem = if error.contains(&shown) { error } else { format!("`{shown}`: {error}") };
            self.refuse(column, problem)
        })
    }

    pub(super) fn refuse(&self, column: &str, problem: impl Display) -> LineError {
        LineError::new(self.number, column, problem)
    }
}

/// Reads all lines; the header must be exactly this one.
pub(super) fn read(columns: &'static [&'static str], bytes: &[u8]) -> Result<Vec<Line>, LineError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().has_headers(true).flexible(true).from_reader(bytes);
    let header = reader.headers().map_err(|error| LineError::new(1, "header", error))?;
    if !header.iter().map(str::trim).eq(columns.iter().copied()) {
        return Err(LineError::new(1, "header", format!("the first line must be {}", columns.join(","))));
    }
    let mut lines = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(0, csv::Position::line);
            LineError::new(line, "all", error)
        })?;
        let number = record.position().map_or(0, csv::Position::line);
        if record.len() != columns.len() {
            let problem = format!("{} columns, expected {}", record.len(), columns.len());
            return Err(LineError::new(number, "all", problem));
        }
        lines.push(Line { number, columns, record });
    }
    Ok(lines)
}
