//! What lists refer to by their printed names.

use std::collections::BTreeMap;

use jikai_schema::barcode::parse_pack;
use jikai_schema::id::{BatchCode, BatchNo, GameCode, PackId};
use rusqlite::Connection;

use super::table::{Line, LineError};

/// The imported batches by game and code.
#[derive(Default)]
pub(super) struct Catalog(BTreeMap<(GameCode, BatchCode), BatchNo>);

impl Catalog {
    pub(super) fn load(store: &Connection) -> Result<Self, rusqlite::Error> {
        let mut statement = store.prepare_cached("SELECT batch, game, code FROM batch ORDER BY batch")?;
        let mut rows = statement.query([])?;
        let mut batches = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (batch, game, code) = (row.get(0)?, row.get(1)?, row.get(2)?);
            if let (Ok(batch), Ok(game), Ok(code)) =
                (BatchNo::new(batch), GameCode::from_packed(game), BatchCode::new(code))
            {
                batches.insert((game, code), batch);
            }
        }
        Ok(Catalog(batches))
    }

    /// The batch that the columns `game_code` and `batch` name.
    pub(super) fn batch(&self, line: &Line) -> Result<BatchNo, LineError> {
        let (game, code): (GameCode, BatchCode) = (line.value("game_code")?, line.value("batch")?);
        let batch = self.0.get(&(game, code)).copied();
        batch.ok_or_else(|| {
            line.refuse("batch", format!("batch {game}-{code} is not imported: import its directory first"))
        })
    }

    /// The pack that the column `pack` names, such as `G0201-26001-0000123`.
    pub(super) fn pack(&self, line: &Line) -> Result<PackId, LineError> {
        let named = parse_pack(line.text("pack")?).map_err(|error| line.refuse("pack", error))?;
        let batch = self.0.get(&(named.game, named.batch)).copied();
        let batch = batch.ok_or_else(|| line.refuse("pack", format!("the batch of {named} is not imported")))?;
        PackId::new(batch, named.pack).map_err(|error| line.refuse("pack", error))
    }
}
