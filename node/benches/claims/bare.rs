//! The bare loop: the same rows written with prepared statements and no product code around them.
//!
//! Per claim one row appended to `own_log` (90 bytes and a hash) and one to `transfer`; once per transaction the pack row with its
//! claim entry, the outlet's and the fund's account, and the outlet's day. Same store, same settings, same order of tickets.

use std::collections::BTreeMap;

use jikai_schema::ledger::{AccountId, AccountKind};
use jikai_schema::projection::OutletDayKey;
use jikai_schema::time::BusinessDay;
use rusqlite::Connection;

use crate::world::{Scale, Tickets, World, directory, game, node, outlet, pack};

/// A store and the loop's place in it.
pub(crate) struct Bare {
    store: Connection,
    tickets: Tickets,
    outlets: u32,
    seq: i64,
}

/// Rows written once per transaction.
#[derive(Default)]
struct Once {
    packs: BTreeMap<i64, Vec<u8>>,
    accounts: BTreeMap<i64, i64>,
    days: BTreeMap<i64, i64>,
}

impl Bare {
    pub(crate) fn create(scale: &Scale) -> Bare {
        // The same preparation, then the loop takes the store over.
        drop(World::create(scale, "bare"));
        let store = jikai_node::store::open(&directory("bare")).unwrap();
        let seq = store.query_row("SELECT max(seq) FROM own_log", [], |row| row.get(0)).unwrap();
        Bare { store, tickets: Tickets::new(scale.packs), outlets: scale.outlets, seq }
    }

    /// Claims so many tickets in one transaction.
    pub(crate) fn claim(&mut self, batch: usize) {
        let transaction = self.store.transaction().unwrap();
        let mut once = Once::default();
        for _ in 0..batch {
            self.seq += 1;
            let (pack_number, ticket) = self.tickets.next();
            claim(&transaction, &mut once, self.seq, pack_number, ticket, pack_number % self.outlets);
        }
        write_once(&transaction, &once);
        transaction.commit().unwrap();
    }
}

fn claim(store: &Connection, once: &mut Once, seq: i64, pack_number: u32, ticket: u16, outlet_number: u32) {
    let pack_key = pack(pack_number).key();
    let claims = once.packs.entry(pack_key).or_insert_with(|| {
        let mut select = store.prepare_cached("SELECT claims FROM pack WHERE pack = ?1").unwrap();
        select.query_row([pack_key], |row| row.get(0)).unwrap()
    });
    claims.extend_from_slice(&[(ticket >> 8) as u8, ticket as u8, 0, 1, 0, 0, 0, 0, 0, 0]);
    let account = AccountId::outlet(node(), outlet(outlet_number)).key();
    let fund = AccountId::game(AccountKind::PrizeFund, node(), game()).key();
    let mut append = store.prepare_cached("INSERT INTO own_log VALUES (?1, ?2, ?3)").unwrap();
    append.execute((seq, [7u8; 90].as_slice(), [7u8; 32].as_slice())).unwrap();
    let mut transfer = store.prepare_cached("INSERT INTO transfer VALUES (?1, ?2, ?3, 1000, 6, ?4, ?5, 1, 1)").unwrap();
    transfer
        .execute((1i64 << 51 | seq << 8, fund, account, pack_key << 10 | i64::from(ticket), 1_790_000_000_000 + seq))
        .unwrap();
    for key in [account, fund] {
        let balance = once.accounts.entry(key).or_insert_with(|| {
            let mut select = store.prepare_cached("SELECT balance_fen FROM account WHERE account = ?1").unwrap();
            select.query_row([key], |row| row.get(0)).unwrap()
        });
        *balance += 1_000;
    }
    let day = OutletDayKey::new(BusinessDay::from_number(9_800), outlet(outlet_number), Some(game())).key();
    *once.days.entry(day).or_default() += 1_000;
}

fn write_once(store: &Connection, once: &Once) {
    let mut update = store.prepare_cached("UPDATE pack SET claims = ?2 WHERE pack = ?1").unwrap();
    for (key, claims) in &once.packs {
        update.execute((key, claims)).unwrap();
    }
    let mut update = store.prepare_cached("UPDATE account SET balance_fen = ?2 WHERE account = ?1").unwrap();
    for (key, balance) in &once.accounts {
        update.execute((key, balance)).unwrap();
    }
    let upsert = "INSERT INTO outlet_day VALUES (?1, 0, 0, 0, 0, 0, 0, 1, ?2, 0, 0, 0) \
                  ON CONFLICT DO UPDATE SET claims = claims + 1, prize_fen = prize_fen + excluded.prize_fen";
    let mut upsert = store.prepare_cached(upsert).unwrap();
    for (key, prize_fen) in &once.days {
        upsert.execute((key, prize_fen)).unwrap();
    }
}
