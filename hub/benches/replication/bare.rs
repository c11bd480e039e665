//! The log as it was before it was replicated: entries appended to a file of their own, flushed, then applied.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use jikai_hub::log::LogPosition;
use jikai_hub::{machine, store};
use jikai_schema::codec;
use jikai_schema::command::{ENTRY_BYTES_MAX, Outcome, decode_entry, encode_entry};
use jikai_schema::projection::Catalog;
use jikai_schema::store::{Durability, open_writer};
use rusqlite::Connection;

use crate::world::World;
use crate::{Contender, Entry, cpu, directory};

pub struct BareLog {
    log: Connection,
    state: Connection,
    catalog: Catalog,
    position: LogPosition,
    /// CPU time of its entries; it runs on the thread that asks.
    used: Duration,
}

impl BareLog {
    pub fn start(dir: &Path, world: &World) -> Result<Self> {
        let data = directory(dir, world, "bare")?;
        let log = open_writer(&data.join("commands.db"), Durability::Full)?;
        log.execute_batch("CREATE TABLE entry (position INTEGER PRIMARY KEY, bytes BLOB NOT NULL) STRICT")?;
        let (state, catalog, position) = (store::open(&data)?, Catalog::default(), LogPosition::default());
        Ok(BareLog { log, state, catalog, position, used: Duration::ZERO })
    }

    /// CPU time that its entries took.
    pub fn cpu(&self) -> Duration {
        self.used
    }

    fn append(&mut self, entry: &Entry) -> Result<Vec<Outcome>> {
        let bytes = encode_entry(entry)?;
        self.position = self.position.next();
        let mut insert = self.log.prepare_cached("INSERT INTO entry VALUES (?1, ?2)")?;
        insert.execute((self.position.get() as i64, &bytes))?;
        let proposals = decode_entry(&bytes)?;
        let (outcomes, _) = machine::commit(&mut self.state, &mut self.catalog, &[(self.position, proposals)])?;
        // As answers travel to whoever proposed them.
        let answer = codec::encode(&outcomes, ENTRY_BYTES_MAX)?;
        Ok(codec::decode(&answer, ENTRY_BYTES_MAX)?)
    }
}

impl Contender for BareLog {
    fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Outcome>> {
        let (mut outcomes, before) = (Vec::new(), cpu::of_this_thread());
        for entry in entries {
            outcomes.append(&mut self.append(entry)?);
        }
        self.used += cpu::of_this_thread().saturating_sub(before);
        Ok(outcomes)
    }

    fn settle(&mut self) -> Result<()> {
        Ok(())
    }
}
