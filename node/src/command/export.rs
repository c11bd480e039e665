//! `digest` and `export`: beside a running node, on a read-only connection.

use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Context;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{BatchNames, EventView};
use jikai_schema::ledger::AccountId;
use jikai_schema::projection::PackState;
use rusqlite::Connection;

use super::ExportArgs;
use crate::store::{OwnLog, open_reader};

/// Events read in one run.
const RUN_EVENTS: usize = 4_096;

pub(super) fn digest(data: &Path) -> anyhow::Result<()> {
    let mut store = open(data)?;
    for table in jikai_schema::digest::digest(&mut store, None).context("digest the tables")? {
        println!("{table}");
    }
    Ok(())
}

pub(super) fn export(args: &ExportArgs) -> anyhow::Result<()> {
    let store = open(&args.data.data)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if args.what.events {
        export_events(&store, args.after, &mut out)?;
    } else if args.what.accounts {
        export_accounts(&store, &mut out)?;
    } else {
        export_packs(&store, &mut out)?;
    }
    out.flush().context("write the export")
}

fn open(data: &Path) -> anyhow::Result<Connection> {
    open_reader(data).with_context(|| format!("open the store in {}: is it a node's data directory?", data.display()))
}

fn export_events(store: &Connection, after: u64, out: &mut impl Write) -> anyhow::Result<()> {
    let log = OwnLog(store);
    let names = BatchNames::load(store)?;
    let missing = "the log does not hold the event before; choose another --after";
    let mut prev: ChainHash = log.hash_at(after)?.context(missing)?;
    let mut next_seq = after + 1;
    loop {
        let run = log.read(next_seq, RUN_EVENTS, usize::MAX)?;
        let Some(last) = run.last() else { return Ok(()) };
        next_seq = last.seq + 1;
        for stored in &run {
            let event = codec::decode_event(&stored.bytes).with_context(|| format!("read event {}", stored.seq))?;
            let mut view = EventView::new(&event, &stored.bytes, prev, &names);
            // What the store says, not what it should say: whoever reads it can check the chain.
            view.hash = stored.hash.to_string();
            prev = stored.hash;
            serde_json::to_writer(&mut *out, &view)?;
            writeln!(out)?;
        }
    }
}

fn export_accounts(store: &Connection, out: &mut impl Write) -> anyhow::Result<()> {
    let mut statement = store.prepare("SELECT account, balance_fen FROM account ORDER BY account")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let account = AccountId::from_key(row.get(0)?)?;
        let line = serde_json::json!({
            "account": account.to_string(), "node": account.node().get(), "kind": account.kind().name(),
            "balance_fen": row.get::<_, i64>(1)?,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn export_packs(store: &Connection, out: &mut impl Write) -> anyhow::Result<()> {
    let names = BatchNames::load(store)?;
    let mut statement = store.prepare("SELECT pack, outlet, state, sold_count, shipment FROM pack ORDER BY pack")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let pack = jikai_schema::id::PackId::from_key(row.get(0)?)?;
        let state = PackState::from_number(row.get(2)?).context("read the state of a pack")?;
        let line = serde_json::json!({
            "pack": names.pack(pack), "outlet": row.get::<_, u32>(1)?.to_string(), "state": state.name(),
            "tickets_sold": row.get::<_, i64>(3)?, "shipment_id": row.get::<_, i64>(4)?,
        });
        writeln!(out, "{line}")?;
    }
    Ok(())
}
