//! The product's side: a real store, real events, the real writer.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jikai_node::decide::{Caller, Verb};
use jikai_node::keyring::Keyring;
use jikai_node::store::{self, StoreIdentity};
use jikai_node::writer::{Core, Request};
use jikai_schema::barcode::SecurityBarcode;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec::encode_event;
use jikai_schema::event::*;
use jikai_schema::id::*;
use jikai_schema::money::{Money, RatePpm, SaleShares};
use jikai_schema::seal::{self, BatchKey};
use jikai_schema::time::{BusinessDay, TimeMs};
use jikai_schema::vault::MasterKey;
use rusqlite::Connection;

/// How much is measured.
pub(crate) struct Scale {
    pub(crate) outlets: u32,
    pub(crate) packs: u32,
    /// Divides the operations.
    pub(crate) divisor: usize,
}

impl Scale {
    /// 1 M tickets in 200 k packs at 20 k outlets.
    pub(crate) const FULL: Scale = Scale { outlets: 20_000, packs: 200_000, divisor: 1 };
    /// The same shape, small.
    pub(crate) const QUICK: Scale = Scale { outlets: 2_000, packs: 20_000, divisor: 10 };
}

/// Tickets in each pack of the bench.
pub(crate) const TICKETS_PER_PACK: u16 = 5;
const KEY: BatchKey = BatchKey::from_bytes([7; 32]);

pub(crate) fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

pub(crate) fn game() -> GameCode {
    "J1001".parse().unwrap()
}

pub(crate) fn outlet(number: u32) -> OutletId {
    OutletId::new(13_010_000 + number).unwrap()
}

pub(crate) fn pack(number: u32) -> PackId {
    PackId::new(BatchNo::new(1).unwrap(), number + 1).unwrap()
}

/// Visits the tickets in an order without locality, each once: a multiplier that shares no factor with the count.
pub(crate) struct Tickets {
    at: u64,
    count: u64,
}

impl Tickets {
    pub(crate) fn new(packs: u32) -> Self {
        Tickets { at: 0, count: u64::from(packs) * u64::from(TICKETS_PER_PACK) }
    }

    pub(crate) fn next(&mut self) -> (u32, u16) {
        assert!(self.at < self.count, "the rounds are too long: every ticket was claimed");
        let ticket = self.at.wrapping_mul(7_368_787) % self.count;
        self.at += 1;
        ((ticket / u64::from(TICKETS_PER_PACK)) as u32, (ticket % u64::from(TICKETS_PER_PACK)) as u16)
    }
}

/// The 16 letters of a ticket of the bench.
fn letters(pack: u32, ticket: u16) -> String {
    let mut number = u64::from(pack) * 1_000 + u64::from(ticket);
    let mut letters = ['A'; 16];
    for letter in letters.iter_mut().rev() {
        *letter = char::from(b'A' + (number % 26) as u8);
        number /= 26;
    }
    letters.iter().collect()
}

/// A store that the writer works on.
pub(crate) struct World {
    core: Core,
    tickets: Tickets,
    outlets: u32,
    requests: u64,
}

/// A directory of this run, removed with it.
pub(crate) fn directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("jikai-bench-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

impl World {
    pub(crate) fn create(scale: &Scale, name: &str) -> World {
        let directory = directory(name);
        let store = prepare(scale, &directory);
        let master = MasterKey::from_bytes([1; 32]);
        let keys = Arc::new(Keyring::load(&store, master).unwrap());
        keys.keep(&store, BatchNo::new(1).unwrap(), KEY).unwrap();
        let clock = AtomicI64::new(1_790_000_000_000);
        let clock = Arc::new(move || TimeMs::from_ms(clock.fetch_add(1, Ordering::Relaxed)));
        let core = Core::new(store, keys, clock).unwrap();
        World { core, tickets: Tickets::new(scale.packs), outlets: scale.outlets, requests: 0 }
    }

    /// Requests as the HTTP side would hand them over.
    pub(crate) fn requests(&mut self, operations: usize) -> Vec<Request> {
        (0..operations).map(|_| self.request()).collect()
    }

    /// Claims the tickets of the requests in one transaction.
    pub(crate) fn claim(&mut self, requests: &[Request]) {
        let replies = self.core.commit(&requests.iter().collect::<Vec<_>>()).unwrap();
        assert!(replies.iter().all(Result::is_ok), "a claim of the bench was refused");
    }

    /// Splits the cost of a claim: the same work without fsync shows what the fsync costs; hashing is timed alone.
    pub(crate) fn shares(&mut self, batch: usize, per_second: f64, operations: usize) -> String {
        self.core.store().pragma_update(None, "synchronous", "OFF").unwrap();
        let before = self.core.times();
        let operations = operations.next_multiple_of(batch);
        let requests = self.requests(operations);
        let started = Instant::now();
        requests.chunks(batch).for_each(|run| self.claim(run));
        let times = self.core.times();
        self.core.store().pragma_update(None, "synchronous", "FULL").unwrap();
        let per_op_us = |time: Duration| time.as_secs_f64() * 1e6 / operations as f64;
        let total_us = 1e6 / per_second;
        let sql_us = per_op_us(times.work - before.work);
        let wal_us = per_op_us(times.commit - before.commit);
        let fsync_us = (total_us - per_op_us(started.elapsed())).max(0.0);
        let hash_us = hash_us();
        let share = |part_us: f64| part_us * 100.0 / total_us;
        format!(
            "SQL and rules {:.0} %, WAL pages {:.0} %, fsync {:.0} %, hashing {:.1} %",
            share(sql_us - hash_us),
            share(wal_us),
            share(fsync_us),
            share(hash_us)
        )
    }

    fn request(&mut self) -> Request {
        let (pack_number, ticket) = self.tickets.next();
        let text = format!("J100126001{:07}{ticket:03}{}AA000", pack_number + 1, letters(pack_number, ticket));
        let outlet = outlet(pack_number % self.outlets);
        let terminal = TerminalId::new(u64::from(outlet.get()) * 100 + 1).unwrap();
        let operator = OperatorId::new(terminal.get()).unwrap();
        self.requests += 1;
        let key = RequestKey::of_terminal(terminal, &format!("bench-{:020}", self.requests), "pay", text.as_bytes());
        let caller = Caller { terminal, operator, role: OperatorRole::Owner, address: None };
        Request::new(caller, key, Verb::PayClaims(vec![SecurityBarcode::parse(&text).unwrap()]))
    }
}

/// Time of chaining one event of usual length.
fn hash_us() -> f64 {
    let bytes = [7; 90];
    let started = Instant::now();
    let head = (0..100_000).fold(ChainHash::GENESIS, |head, _| head.next(&bytes));
    std::hint::black_box(head);
    started.elapsed().as_secs_f64() * 1e6 / 100_000.0
}

/// Writes outlets, packs and money by the same projection that runs in production.
fn prepare(scale: &Scale, directory: &std::path::Path) -> Connection {
    let mut store = store::open(directory).unwrap();
    let identity = StoreIdentity { environment: "test".into(), node: node(), incarnation: [1; 16], epoch: 1 };
    identity.create(&store).unwrap();
    let mut seq = 0;
    let mut bodies = masters();
    bodies.extend((0..scale.outlets).map(outlet_body));
    bodies.extend((0..scale.outlets).map(deposit));
    bodies.extend((0..scale.packs).map(|number| shipped(number, scale.outlets)));
    for run in bodies.chunks(20_000) {
        apply(&mut store, NodeId::HUB, &mut seq, run);
    }
    let mut seq = 0;
    let charge = shares().charge(Money::from_fen(5_000)).unwrap();
    let checked_in: Vec<_> = (0..scale.packs)
        .map(|number| {
            EventBody::Pack(PackEvent::CheckedIn { pack: pack(number), outlet: outlet(number % scale.outlets), charge })
        })
        .collect();
    for run in checked_in.chunks(20_000) {
        apply(&mut store, node(), &mut seq, run);
    }
    store.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    store
}

fn apply(store: &mut Connection, origin: NodeId, seq: &mut u64, bodies: &[EventBody]) {
    let transaction = store.transaction().unwrap();
    let mut projection = jikai_schema::projection::Projection::new(&transaction);
    let mut hash = ChainHash::GENESIS;
    for body in bodies {
        *seq += 1;
        let at_ms = TimeMs::from_ms(1_780_000_000_000 + *seq as i64);
        let event = Event {
            key: EventKey { origin, seq: *seq },
            at_ms,
            actor: Actor::System,
            request: None,
            body: body.clone(),
        };
        projection.apply(&event).unwrap();
        if !origin.is_hub() {
            let bytes = encode_event(&event).unwrap();
            hash = hash.next(&bytes);
            let row = (*seq as i64, &bytes, hash.as_bytes());
            transaction.prepare_cached("INSERT INTO own_log VALUES (?1, ?2, ?3)").unwrap().execute(row).unwrap();
        }
    }
    projection.flush().unwrap();
    transaction.commit().unwrap();
}

fn shares() -> SaleShares {
    let rate = |ppm| RatePpm::new(ppm).unwrap();
    SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap()
}

fn masters() -> Vec<EventBody> {
    let fen = Money::from_fen;
    let game_defined = MasterEvent::GameDefined {
        game: game(),
        name: "x".into(),
        price: fen(1_000),
        shares: shares(),
        outlet_limit: fen(1_000_000),
        city_limit: fen(5_000_000),
    };
    let batch = BatchFacts {
        batch: BatchNo::new(1).unwrap(),
        game: game(),
        code: BatchCode::new(26_001).unwrap(),
        tickets_per_pack: TICKETS_PER_PACK,
        packs_per_case: 20,
        packs: 9_000_000,
        print_completed_on: BusinessDay::from_number(9_700),
        package_hash: [0; 32],
        levels: vec![PrizeLevel { level: 1, amount: fen(1_000), ticket_count: 1 }],
    };
    vec![EventBody::Master(game_defined), EventBody::Master(MasterEvent::BatchDefined(batch))]
}

fn outlet_body(number: u32) -> EventBody {
    let (outlet, node, name) = (outlet(number), node(), "x".to_string());
    EventBody::Master(MasterEvent::OutletDefined {
        outlet,
        node,
        township: 130_102_001,
        name,
        status: OutletStatus::Active,
    })
}

fn deposit(number: u32) -> EventBody {
    let (deposit, amount) = (u64::from(number) + 1, Money::from_fen(10_000_000));
    EventBody::Money(MoneyEvent::DepositCredited { deposit, outlet: outlet(number), node: node(), amount })
}

fn shipped(number: u32, outlets: u32) -> EventBody {
    let records = (0..TICKETS_PER_PACK).flat_map(|ticket| {
        let code = format!("J100126001{:07}{ticket:03}{}AA000", number + 1, letters(number, ticket));
        let code = SecurityBarcode::parse(&code).unwrap().code;
        seal::seal(&KEY, pack(number).ticket(ticket).unwrap(), &code, 1)
    });
    let (pack, outlet, node) = (pack(number), outlet(number % outlets), node());
    EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment: 1, records: records.collect() })
}
