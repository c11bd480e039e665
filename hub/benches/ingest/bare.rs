//! The bare loop: the rows that the machine writes, by prepared statements, without decoding, rules, checks or ledger.
//! Every pack, account and sum is written once a transaction, as the product does.

use std::collections::BTreeMap;

use anyhow::Result;
use jikai_hub::log::LogPosition;
use jikai_schema::event::EventKey;
use jikai_schema::ledger::{AccountId, AccountKind, TransferCode, TransferId};
use jikai_schema::projection::OutletDayKey;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, Transaction};

use crate::world::{Batch, Claim, NOW_MS, PRIZE_FEN, World, game};

/// What one transaction adds up before it writes.
#[derive(Default)]
struct Sums {
    packs: BTreeMap<i64, Vec<u8>>,
    accounts: BTreeMap<i64, (i64, i64)>,
    days: BTreeMap<i64, (i64, i64)>,
    cursors: BTreeMap<u16, u64>,
}

/// Writes some batches in one transaction.
pub fn commit(store: &mut Connection, world: &World, batches: &[Batch], position: LogPosition) -> Result<()> {
    let tx = store.transaction()?;
    let mut sums = Sums::default();
    for batch in batches {
        write_batch(&tx, world, batch, &mut sums)?;
    }
    sums.write(&tx, position.get() as i64)?;
    tx.commit()?;
    Ok(())
}

fn write_batch(tx: &Transaction<'_>, world: &World, batch: &Batch, sums: &mut Sums) -> Result<()> {
    let claims = &world.claims[batch.claims.clone()];
    let mut transfer = tx.prepare_cached("INSERT INTO transfer VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for claim in claims {
        let id = TransferId::new(EventKey { origin: claim.node, seq: claim.seq }, 0).key();
        let (fund, outlet) = accounts(claim);
        let code = TransferCode::Prize as i64;
        transfer.execute((id, fund, outlet, PRIZE_FEN, code, claim.ticket.key(), NOW_MS + claim.seq as i64, id, id))?;
        sums.add(claim, id, fund, outlet);
    }
    if let (Some(first), Some(last)) = (claims.first(), claims.last()) {
        let key = i64::from(first.node.get()) << 48 | first.seq as i64;
        tx.prepare_cached("INSERT INTO node_batch VALUES (?1, ?2, ?3, ?4)")?.execute((
            key,
            claims.len() as i64,
            [0u8; 32],
            &batch.raw,
        ))?;
        sums.cursors.insert(last.node.get(), last.seq + 1);
    }
    Ok(())
}

fn accounts(claim: &Claim) -> (i64, i64) {
    let fund = AccountId::game(AccountKind::PrizeFund, claim.node, game());
    (fund.key(), AccountId::outlet(claim.node, claim.outlet).key())
}

impl Sums {
    fn add(&mut self, claim: &Claim, transfer: i64, fund: i64, outlet: i64) {
        let entry =
            [&claim.ticket.number().to_be_bytes()[..], &claim.node.get().to_be_bytes(), &claim.seq.to_be_bytes()[2..]];
        self.packs.entry(claim.ticket.pack().key()).or_default().extend_from_slice(&entry.concat());
        for (account, amount) in [(fund, -PRIZE_FEN), (outlet, PRIZE_FEN)] {
            let sum = self.accounts.entry(account).or_default();
            *sum = (sum.0 + amount, transfer);
        }
        let day = TimeMs::from_ms(NOW_MS).business_day();
        let day = self.days.entry(OutletDayKey::new(day, claim.outlet, Some(game())).key()).or_default();
        *day = (day.0 + 1, day.1 + PRIZE_FEN);
    }

    fn write(&self, tx: &Transaction<'_>, position: i64) -> Result<()> {
        let mut pack = tx.prepare_cached("UPDATE pack SET claims = CAST(claims || ?2 AS BLOB) WHERE pack = ?1")?;
        for (id, entries) in &self.packs {
            pack.execute((id, entries))?;
        }
        let mut account = tx.prepare_cached(
            "UPDATE account SET balance_fen = balance_fen + ?2, last_node_transfer = ?3 WHERE account = ?1",
        )?;
        for (id, (amount, transfer)) in &self.accounts {
            account.execute((id, amount, transfer))?;
        }
        let mut day = tx.prepare_cached(
            "INSERT INTO outlet_day VALUES (?1, 0, 0, 0, 0, 0, 0, ?2, ?3, 0, 0, 0) ON CONFLICT DO UPDATE SET \
             claims = claims + excluded.claims, prize_fen = prize_fen + excluded.prize_fen",
        )?;
        for (key, (claims, prize_fen)) in &self.days {
            day.execute((key, claims, prize_fen))?;
        }
        let mut cursor = tx.prepare_cached("UPDATE node_cursor SET next_seq = ?2, hash = ?3 WHERE node = ?1")?;
        for (node, next_seq) in &self.cursors {
            cursor.execute((node, *next_seq as i64, [1u8; 32]))?;
        }
        tx.prepare_cached("UPDATE applied SET position = ?1, at_ms = ?2")?.execute((position, NOW_MS))?;
        Ok(())
    }
}
