//! Who did what, where, when: events of all logs that fit a filter, in the order of time, read as a stream.

mod filter;
mod source;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BinaryHeap;
use std::path::Path;

use jikai_schema::event::BatchNames;
use rusqlite::Connection;

use super::AuditError;
use crate::store::open_reader;

pub use filter::{Filter, FilterError};
pub use source::Found;
pub use write::{Format, Writer};

use source::Source;

/// Gives every event that fits to `take`, oldest first, until it says `false`; gives how many. Logs are merged by time,
/// each is held a page at a time.
pub fn search(
    data: &Path,
    filter: &Filter,
    mut take: impl FnMut(&Found) -> Result<bool, AuditError>,
) -> Result<u64, AuditError> {
    let mut store = open_reader(data)?;
    let transaction = store.transaction()?;
    let store: &Connection = &transaction;
    let names = BatchNames::load(store)?;
    let mut sources = Source::all(store, filter)?;
    // The oldest first; of equal times the hub's, then by node.
    let mut heads = BinaryHeap::new();
    for (at, source) in sources.iter_mut().enumerate() {
        if let Some(found) = source.next(filter, &names)? {
            heads.push(std::cmp::Reverse((found.at_ms, at, found)));
        }
    }
    let mut count = 0;
    while let Some(std::cmp::Reverse((_, at, found))) = heads.pop() {
        count += 1;
        if !take(&found)? {
            break;
        }
        if let Some(found) = sources[at].next(filter, &names)? {
            heads.push(std::cmp::Reverse((found.at_ms, at, found)));
        }
    }
    Ok(count)
}
