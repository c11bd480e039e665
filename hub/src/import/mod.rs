//! Files into commands: CSV lists, and the printer's directories.
//!
//! A file is read and checked as a whole before the first command is proposed, so that a typing error changes nothing.
//! Then its rows go in chunks; what the machine refuses is found again row by row, so that the error names the line.
//! Importing a file again is harmless: equal rows are counted as existing.

mod catalog;
mod chunks;
mod master;
pub mod printer;
mod stock;
mod table;
#[cfg(test)]
mod tests;

use jikai_schema::command::{By, Command, Deposit, Refusal};
use jikai_schema::event::MasterEvent;

use crate::config::GameParameters;
use crate::sequencer::{ProposeError, Sequencer};
use crate::store::{PoolError, ReadPool};

pub use printer::printer_keys;
pub use table::LineError;

use catalog::Catalog;

/// The lists that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// code,name,prefecture_code,prefecture_name,townships
    Divisions,
    /// code,name,county_code
    Townships,
    /// game_code,game_name,price_yuan,tickets_per_pack,packs_per_case,tickets_per_pool,prize_level,prize_yuan,prize_count
    Games,
    /// outlet_id,name,township_code
    Outlets,
    /// terminal_id,outlet_id,kind,public_key_hex
    Terminals,
    /// operator_id,outlet_id,name,role,password_hash
    Operators,
    /// shipment_id,outlet_id,game_code,batch,first_pack,last_pack
    Shipments,
    /// deposit_id,outlet_id,amount_yuan
    Deposits,
    /// game_code,batch,approval_number,notice_day
    Openings,
    /// pack,hold
    Holds,
    /// game_code,batch,ends_at
    RedemptionEnds,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 11] = [
        Kind::Divisions,
        Kind::Townships,
        Kind::Games,
        Kind::Outlets,
        Kind::Terminals,
        Kind::Operators,
        Kind::Shipments,
        Kind::Deposits,
        Kind::Openings,
        Kind::Holds,
        Kind::RedemptionEnds,
    ];

    /// The name in addresses and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Divisions => "divisions",
            Kind::Townships => "townships",
            Kind::Games => "games",
            Kind::Outlets => "outlets",
            Kind::Terminals => "terminals",
            Kind::Operators => "operators",
            Kind::Shipments => "shipments",
            Kind::Deposits => "deposits",
            Kind::Openings => "openings",
            Kind::Holds => "holds",
            Kind::RedemptionEnds => "redemption-ends",
        }
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The columns of its header line.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            Kind::Divisions => &["code", "name", "prefecture_code", "prefecture_name", "townships"],
            Kind::Townships => &["code", "name", "county_code"],
            Kind::Games => &[
                "game_code",
                "game_name",
                "price_yuan",
                "tickets_per_pack",
                "packs_per_case",
                "tickets_per_pool",
                "prize_level",
                "prize_yuan",
                "prize_count",
            ],
            Kind::Outlets => &["outlet_id", "name", "township_code"],
            Kind::Terminals => &["terminal_id", "outlet_id", "kind", "public_key_hex"],
            Kind::Operators => &["operator_id", "outlet_id", "name", "role", "password_hash"],
            Kind::Shipments => &["shipment_id", "outlet_id", "game_code", "batch", "first_pack", "last_pack"],
            Kind::Deposits => &["deposit_id", "outlet_id", "amount_yuan"],
            Kind::Openings => &["game_code", "batch", "approval_number", "notice_day"],
            Kind::Holds => &["pack", "hold"],
            Kind::RedemptionEnds => &["game_code", "batch", "ends_at"],
        }
    }
}

/// What a row asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Master(Box<MasterEvent>),
    Deposit(Deposit),
    Command(Box<Command>),
}

/// A piece with the line it stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    line: u64,
    piece: Piece,
}

/// What an import did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// Lines read.
    pub lines: u64,
    /// Events written.
    pub events: u64,
    /// Parts that were there already, equal.
    pub existing: u64,
}

/// Why an import ended.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A line that cannot be read. Nothing was imported.
    #[error(transparent)]
    Line(#[from] LineError),
    /// A line that the rules refuse; those before it are imported.
    #[error("line {line}: {refusal}")]
    Refused {
        /// Which.
        line: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The hub could not take it.
    #[error("line {line}: {source}")]
    Propose {
        /// First line that was not imported.
        line: u64,
        /// Why.
        source: ProposeError,
    },
    /// The state could not be read.
    #[error("the state could not be read: {0}")]
    Store(String),
}

impl From<PoolError> for ImportError {
    fn from(error: PoolError) -> Self {
        ImportError::Store(error.to_string())
    }
}

impl From<rusqlite::Error> for ImportError {
    fn from(error: rusqlite::Error) -> Self {
        ImportError::Store(error.to_string())
    }
}

/// Imports one list.
pub async fn import(
    sequencer: &Sequencer,
    pool: &ReadPool,
    game: GameParameters,
    by: &By,
    kind: Kind,
    bytes: Vec<u8>,
) -> Result<Imported, ImportError> {
    let rows = pool.read(move |store| -> Result<_, ImportError> {
        let catalog = Catalog::load(store)?;
        Ok(parse(kind, &bytes, &catalog, game)?)
    });
    let (rows, lines) = rows.await??;
    let done = chunks::propose_all(sequencer, by, rows).await?;
    Ok(Imported { lines, ..done })
}

/// Reads a whole list; gives its pieces and how many lines it has.
fn parse(kind: Kind, bytes: &[u8], catalog: &Catalog, game: GameParameters) -> Result<(Vec<Row>, u64), LineError> {
    let lines = table::read(kind.columns(), bytes)?;
    let line_count = lines.len() as u64;
    let rows = match kind {
        Kind::Divisions => master::divisions(&lines),
        Kind::Townships => master::townships(&lines),
        Kind::Games => master::games(&lines, game),
        Kind::Outlets => master::outlets(&lines),
        Kind::Terminals => master::terminals(&lines),
        Kind::Operators => master::operators(&lines),
        Kind::Shipments => stock::shipments(&lines, catalog),
        Kind::Deposits => stock::deposits(&lines),
        Kind::Openings => stock::openings(&lines, catalog),
        Kind::Holds => stock::holds(&lines, catalog),
        Kind::RedemptionEnds => stock::redemption_ends(&lines, catalog),
    };
    Ok((rows?, line_count))
}
