//! Events a second through ingest and apply, rollups included, beside a bare loop of the same row writes in the same run.
//!
//! `cargo bench -p jikai-hub` (`-- --quick` for a small state). Eleven nodes report claims of random tickets in batches of 256
//! events; a transaction takes one, eight or 32 batches. Product and bare loop take turns on two equal states.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod state;

use std::collections::BTreeMap;
use std::time::Instant;

use jikai_hub::log::LogPosition;
use jikai_hub::machine::Machine;
use jikai_schema::codec::decode_event;
use jikai_schema::command::{Command, NodeBatch, Proposal};
use jikai_schema::event::{Actor, EventBody, TicketEvent};
use jikai_schema::ledger::{AccountId, AccountKind, TransferId};
use jikai_schema::projection::OutletDayKey;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, TransactionBehavior};
use state::{BATCH_EVENTS, Claims, Scale, game, prepare};

// As in the product's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let scale = if quick { Scale::QUICK } else { Scale::FULL };
    println!("ingest and apply, state synchronous=NORMAL: {} packs, {} outlets, 11 nodes", scale.packs, scale.outlets);
    let (mut product, mut bare) = (prepare(&scale, "product"), prepare(&scale, "bare"));
    let (mut claims, mut same_claims) = (Claims::new(&scale), Claims::new(&scale));
    let mut position = LogPosition::default();
    println!(
        "{:>10} {:>32} {:>32} {:>7}",
        "events/tx", "product events/s [min-max]", "bare events/s [min-max]", "ratio"
    );
    let mut met = true;
    for batches in [1, 8, 32] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            let run: Vec<Vec<NodeBatch>> = (0..scale.transactions(batches)).map(|_| claims.batches(batches)).collect();
            ours.push(per_second(&run, |batches| apply(&mut product, &mut position, batches)));
            let run: Vec<Vec<NodeBatch>> =
                (0..scale.transactions(batches)).map(|_| same_claims.batches(batches)).collect();
            theirs.push(per_second(&run, |batches| apply_bare(&mut bare, batches)));
        }
        let (ours, theirs) = (Spread::of(ours), Spread::of(theirs));
        let ratio = ours.median / theirs.median;
        met &= batches == 1 || ratio >= 0.6;
        println!("{:>10} {ours:>32} {theirs:>32} {:>6.0}%", batches * BATCH_EVENTS, ratio * 100.0);
    }
    println!(
        "goal: at least 60 % of the bare loop from 2,048 events a transaction on: {}",
        if met { "met" } else { "NOT met" }
    );
}

fn per_second(run: &[Vec<NodeBatch>], mut apply: impl FnMut(&[NodeBatch])) -> f64 {
    let events: usize = run.iter().flatten().map(|batch| batch.events.len()).sum();
    let started = Instant::now();
    run.iter().for_each(|batches| apply(batches));
    events as f64 / started.elapsed().as_secs_f64()
}

/// The product: the machine over one transaction.
fn apply(store: &mut Connection, position: &mut LogPosition, batches: &[NodeBatch]) {
    let transaction = store.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let mut machine = Machine::begin(&transaction).unwrap();
    *position = position.next();
    for batch in batches {
        let command = Command::IngestEvents(batch.clone());
        let proposal = Proposal { at_ms: TimeMs::from_ms(1_790_000_000_000), actor: Actor::System, command };
        let outcome = machine.apply(*position, &proposal).unwrap();
        let taken = matches!(outcome, jikai_schema::command::Outcome::Ingested { quarantined: 0, .. });
        assert!(taken, "a batch of the bench was not taken in: {outcome:?}");
    }
    machine.finish().unwrap();
    transaction.commit().unwrap();
}

/// Rows that the bare loop writes once a transaction.
#[derive(Default)]
struct Once {
    packs: BTreeMap<i64, Vec<u8>>,
    accounts: BTreeMap<i64, i64>,
    days: BTreeMap<i64, (i64, i64)>,
}

/// The bare loop: decode, then the same rows with prepared statements and nothing around them.
fn apply_bare(store: &mut Connection, batches: &[NodeBatch]) {
    let transaction = store.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let mut once = Once::default();
    for batch in batches {
        for bytes in &batch.events {
            claim_bare(&transaction, &mut once, bytes);
        }
        let key = i64::from(batch.node.get()) << 48 | batch.first_seq as i64;
        let raw = batch.events.concat();
        let mut insert = transaction.prepare_cached("INSERT INTO node_batch VALUES (?1, ?2, ?3, ?4)").unwrap();
        insert.execute((key, batch.events.len() as i64, batch.last_hash.as_bytes(), raw)).unwrap();
        let mut cursor =
            transaction.prepare_cached("UPDATE node_cursor SET next_seq = ?2, hash = ?3 WHERE node = ?1").unwrap();
        let next_seq = batch.first_seq + batch.events.len() as u64;
        cursor.execute((batch.node.get(), next_seq as i64, batch.last_hash.as_bytes())).unwrap();
    }
    write_once(&transaction, &once);
    transaction.commit().unwrap();
}

fn claim_bare(store: &Connection, once: &mut Once, bytes: &[u8]) {
    let event = decode_event(bytes).unwrap();
    let EventBody::Ticket(TicketEvent::Claimed { ticket, outlet, prize, .. }) = event.body else { return };
    let (node, pack) = (event.key.origin, ticket.pack().key());
    let claims = once.packs.entry(pack).or_insert_with(|| {
        let mut select = store.prepare_cached("SELECT claims FROM pack WHERE pack = ?1").unwrap();
        select.query_row([pack], |row| row.get(0)).unwrap()
    });
    claims.extend_from_slice(&[0, ticket.number() as u8, 0, 1, 0, 0, 0, 0, 0, 0]);
    let accounts = [AccountId::game(AccountKind::PrizeFund, node, game()).key(), AccountId::outlet(node, outlet).key()];
    let mut insert = store.prepare_cached("INSERT INTO transfer VALUES (?1, ?2, ?3, ?4, 6, ?5, ?6, 1, 1)").unwrap();
    let key = TransferId::new(event.key, 0).key();
    insert.execute((key, accounts[0], accounts[1], prize.fen(), ticket.key(), event.at_ms.ms())).unwrap();
    for (account, amount) in accounts.into_iter().zip([-prize.fen(), prize.fen()]) {
        let balance = once.accounts.entry(account).or_insert_with(|| {
            let mut select = store.prepare_cached("SELECT balance_fen FROM account WHERE account = ?1").unwrap();
            select.query_row([account], |row| row.get(0)).unwrap()
        });
        *balance += amount;
    }
    let day = once.days.entry(OutletDayKey::new(event.at_ms.business_day(), outlet, Some(game())).key()).or_default();
    *day = (day.0 + 1, day.1 + prize.fen());
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
    let upsert = "INSERT INTO outlet_day VALUES (?1, 0, 0, 0, 0, 0, 0, ?2, ?3, 0, 0) ON CONFLICT DO UPDATE SET \
                  claims = claims + excluded.claims, prize_fen = prize_fen + excluded.prize_fen";
    let mut upsert = store.prepare_cached(upsert).unwrap();
    for (key, (claims, prize_fen)) in &once.days {
        upsert.execute((key, claims, prize_fen)).unwrap();
    }
}

/// Median, minimum and maximum.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Spread { median: values[values.len() / 2], least: values[0], most: values[values.len() - 1] }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("{:.0} [{:.0}-{:.0}]", self.median, self.least, self.most))
    }
}
