//! A hub's state with packs on sale, and the claims that nodes report on them.

use jikai_hub::store;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec::encode_event;
use jikai_schema::command::NodeBatch;
use jikai_schema::event::*;
use jikai_schema::id::*;
use jikai_schema::money::{Money, RatePpm, SaleShares};
use jikai_schema::projection::Projection;
use jikai_schema::time::{BusinessDay, TimeMs};
use rusqlite::Connection;

/// Events in one batch of a node.
pub(crate) const BATCH_EVENTS: usize = 256;
const NODES: u32 = 11;
const TICKETS_PER_PACK: u32 = 5;

/// How much is measured.
pub(crate) struct Scale {
    pub(crate) packs: u32,
    pub(crate) outlets: u32,
    pub(crate) rounds: usize,
    events: usize,
}

impl Scale {
    pub(crate) const FULL: Scale = Scale { packs: 200_000, outlets: 20_000, rounds: 5, events: 57_344 };
    pub(crate) const QUICK: Scale = Scale { packs: 40_000, outlets: 2_000, rounds: 3, events: 16_384 };

    /// Transactions of one round.
    pub(crate) fn transactions(&self, batches: usize) -> usize {
        (self.events / (batches * BATCH_EVENTS)).max(1)
    }
}

pub(crate) fn game() -> GameCode {
    "J1001".parse().unwrap()
}

fn node_of(pack: u32) -> NodeId {
    NodeId::new((pack % NODES + 1) as u16).unwrap()
}

fn outlet_of(pack: u32, outlets: u32) -> OutletId {
    let serial = (pack / NODES) % (outlets / NODES);
    OutletId::new((1_301 + pack % NODES) * 10_000 + serial).unwrap()
}

fn pack_id(pack: u32) -> PackId {
    PackId::new(BatchNo::new(1).unwrap(), pack + 1).unwrap()
}

/// Writes outlets, packs on sale and money by the projection, as the commands would have.
pub(crate) fn prepare(scale: &Scale, name: &str) -> Connection {
    let directory = std::env::temp_dir().join(format!("jikai-bench-hub-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut connection = store::open(&directory).unwrap();
    for node in 1..=NODES {
        let zero = ChainHash::GENESIS;
        connection.execute("INSERT INTO feed_head VALUES (?1, 0, ?2)", (node, zero.as_bytes())).unwrap();
        connection
            .execute("INSERT INTO node_cursor VALUES (?1, ?2, ?3, ?4)", (node, [1u8; 16], 1_000_001, zero.as_bytes()))
            .unwrap();
    }
    let rate = |ppm| RatePpm::new(ppm).unwrap();
    let shares = SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap();
    let charge = shares.charge(Money::from_fen(5_000)).unwrap();
    let mut hub_seq = 0;
    apply(&mut connection, &mut hub_seq, masters(shares));
    for first in (0..scale.packs).step_by(10_000) {
        let packs = || first..(first + 10_000).min(scale.packs);
        let mut bodies = Vec::new();
        for pack in packs() {
            let (node, outlet) = (node_of(pack), outlet_of(pack, scale.outlets));
            if pack / NODES < scale.outlets / NODES {
                let name = "x".to_string();
                let status = OutletStatus::Active;
                bodies.push(EventBody::Master(MasterEvent::OutletDefined { outlet, node, township: 1, name, status }));
                let (deposit, amount) = (u64::from(pack) + 1, Money::from_fen(10_000_000));
                bodies.push(EventBody::Money(MoneyEvent::DepositCredited { deposit, outlet, node, amount }));
            }
            let records = vec![0; TICKETS_PER_PACK as usize * jikai_schema::seal::RECORD_BYTES];
            bodies.push(EventBody::Pack(PackEvent::Shipped {
                pack: pack_id(pack),
                outlet,
                node,
                shipment: 1,
                records,
            }));
        }
        apply(&mut connection, &mut hub_seq, bodies);
        check_in(&mut connection, packs(), scale.outlets, charge);
    }
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    connection
}

fn masters(shares: SaleShares) -> Vec<EventBody> {
    let fen = Money::from_fen;
    let (price, outlet_limit, city_limit) = (fen(1_000), fen(1_000_000), fen(5_000_000));
    let batch = BatchFacts {
        batch: BatchNo::new(1).unwrap(),
        game: game(),
        code: BatchCode::new(26_001).unwrap(),
        tickets_per_pack: TICKETS_PER_PACK as u16,
        packs_per_case: 20,
        packs: 9_000_000,
        print_completed_on: BusinessDay::from_number(9_700),
        package_hash: [0; 32],
        levels: vec![PrizeLevel { level: 1, amount: fen(1_000), ticket_count: 1 }],
    };
    vec![
        EventBody::Master(MasterEvent::GameDefined {
            game: game(),
            name: "x".into(),
            price,
            shares,
            outlet_limit,
            city_limit,
        }),
        EventBody::Master(MasterEvent::BatchDefined(batch)),
    ]
}

fn event(key: EventKey, body: EventBody) -> Event {
    let at_ms = TimeMs::from_ms(1_790_000_000_000 + key.seq as i64 % 1_000_000);
    Event { key, at_ms, actor: Actor::System, request: None, body }
}

fn apply(store: &mut Connection, seq: &mut u64, bodies: Vec<EventBody>) {
    let transaction = store.transaction().unwrap();
    let mut projection = Projection::new(&transaction);
    for body in bodies {
        *seq += 1;
        projection.apply(&event(EventKey { origin: NodeId::HUB, seq: *seq }, body)).unwrap();
    }
    projection.flush().unwrap();
    transaction.commit().unwrap();
}

fn check_in(
    store: &mut Connection,
    packs: std::ops::Range<u32>,
    outlets: u32,
    charge: jikai_schema::money::PackCharge,
) {
    let transaction = store.transaction().unwrap();
    let mut projection = Projection::new(&transaction);
    for pack in packs {
        let key = EventKey { origin: node_of(pack), seq: u64::from(pack) + 1 };
        let body = PackEvent::CheckedIn { pack: pack_id(pack), outlet: outlet_of(pack, outlets), charge };
        projection.apply(&event(key, EventBody::Pack(body))).unwrap();
    }
    projection.flush().unwrap();
    transaction.commit().unwrap();
}

/// Claims of all tickets in an order without locality, reported by the nodes in turn.
pub(crate) struct Claims {
    at: u64,
    tickets: u64,
    outlets: u32,
    node: u32,
    next: Vec<(u64, ChainHash)>,
}

impl Claims {
    pub(crate) fn new(scale: &Scale) -> Self {
        let tickets = u64::from(scale.packs / NODES) * u64::from(TICKETS_PER_PACK);
        let next = vec![(1_000_001, ChainHash::GENESIS); NODES as usize];
        Claims { at: 0, tickets, outlets: scale.outlets, node: 0, next }
    }

    /// The next batches, each of another node.
    pub(crate) fn batches(&mut self, count: usize) -> Vec<NodeBatch> {
        (0..count).map(|_| self.batch()).collect()
    }

    fn batch(&mut self) -> NodeBatch {
        self.node = (self.node + 1) % NODES;
        if self.node == 0 {
            self.at += BATCH_EVENTS as u64;
        }
        let (first_seq, prev_hash) = self.next[self.node as usize];
        let mut hash = prev_hash;
        let events: Vec<Vec<u8>> = (0..BATCH_EVENTS as u64)
            .map(|offset| {
                let bytes = encode_event(&self.claim(first_seq + offset, self.at + offset)).unwrap();
                hash = hash.next(&bytes);
                bytes
            })
            .collect();
        self.next[self.node as usize] = (first_seq + BATCH_EVENTS as u64, hash);
        let node = NodeId::new(self.node as u16 + 1).unwrap();
        NodeBatch { node, incarnation: [1; 16], first_seq, prev_hash, last_hash: hash, events }
    }

    fn claim(&self, seq: u64, at: u64) -> Event {
        assert!(at < self.tickets, "the rounds are too long: every ticket was claimed");
        let ticket = at.wrapping_mul(7_368_787) % self.tickets;
        let pack = (ticket / u64::from(TICKETS_PER_PACK)) as u32 * NODES + self.node;
        let number = (ticket % u64::from(TICKETS_PER_PACK)) as u16;
        let outlet = outlet_of(pack, self.outlets);
        let (ticket, prize) = (pack_id(pack).ticket(number).unwrap(), Money::from_fen(1_000));
        let body = EventBody::Ticket(TicketEvent::Claimed { ticket, outlet, level: 1, prize });
        event(EventKey { origin: node_of(pack), seq }, body)
    }
}
