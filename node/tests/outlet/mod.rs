//! A node's store with one outlet, its terminal, two people, a game with known codes, and packs on their way.

use std::path::Path;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use ed25519_dalek::SigningKey;
use jikai_node::decide::{Caller, Verb};
use jikai_node::keyring::Keyring;
use jikai_node::store::{self, StoreIdentity};
use jikai_node::writer::{Clock, DownBatch, Reply, Request, WriteError, Writer};
use jikai_schema::barcode::SecurityBarcode;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec::encode_event;
use jikai_schema::event::*;
use jikai_schema::id::*;
use jikai_schema::money::{Money, RatePpm, SaleShares};
use jikai_schema::seal::{self, BatchKey};
use jikai_schema::time::{BusinessDay, TimeMs};
use jikai_schema::vault::MasterKey;

/// 2026-11-23 in Shanghai.
pub const NOW_MS: i64 = 1_795_400_000_000;
/// Tickets 0, 1, 2 of every pack win levels 1, 2, 3; the others nothing.
pub const TICKETS: u16 = 10;
pub const PASSWORD: &str = "correct horse";
const KEY: BatchKey = BatchKey::from_bytes([7; 32]);

pub fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

pub fn outlet(number: u32) -> OutletId {
    OutletId::new(13_010_000 + number).unwrap()
}

pub fn terminal(number: u32) -> TerminalId {
    TerminalId::new(u64::from(outlet(number).get()) * 100 + 1).unwrap()
}

pub fn device_key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

pub fn owner(number: u32) -> Caller {
    let operator = OperatorId::new(terminal(number).get()).unwrap();
    Caller { terminal: terminal(number), operator, role: OperatorRole::Owner, address: None }
}

pub fn clerk(number: u32) -> Caller {
    let operator = OperatorId::new(terminal(number).get() + 1).unwrap();
    Caller { terminal: terminal(number), operator, role: OperatorRole::Clerk, address: None }
}

pub fn pack(number: u32) -> PackId {
    PackId::new(BatchNo::new(1).unwrap(), number).unwrap()
}

pub fn code(pack: u32, ticket: u16) -> String {
    let letter = char::from(b'A' + (ticket % 26) as u8);
    format!("J100126001{pack:07}{ticket:03}{}AG001", letter.to_string().repeat(16))
}

pub fn barcode(pack: u32, ticket: u16) -> SecurityBarcode {
    SecurityBarcode::parse(&code(pack, ticket)).unwrap()
}

/// A code of the right form that is not the ticket's.
pub fn wrong_code(pack: u32, ticket: u16, variant: char) -> String {
    format!("J100126001{pack:07}{ticket:03}{}AG001", format!("Z{variant}").repeat(8))
}

pub fn request(caller: Caller, key: &str, verb: Verb) -> Request {
    let body = format!("{verb:?}");
    Request::new(caller, RequestKey::of_terminal(caller.terminal, key, "test", body.as_bytes()), verb)
}

pub fn clock() -> Clock {
    Arc::new(|| TimeMs::from_ms(NOW_MS))
}

/// Makes the store's identity in an empty directory.
pub fn init(data: &Path) {
    let identity = StoreIdentity { environment: "test".into(), node: node(), incarnation: [1; 16], epoch: 1 };
    assert!(identity.create(&store::open(data).unwrap()).unwrap());
}

/// Opens the store, its keys and its writer.
pub fn start(data: &Path) -> (Writer, Arc<Keyring>) {
    let connection = store::open(data).unwrap();
    let keys = Arc::new(Keyring::load(&connection, MasterKey::from_bytes([1; 32])).unwrap());
    keys.keep(&connection, BatchNo::new(1).unwrap(), KEY).unwrap();
    let (writer, _thread) = Writer::start(connection, keys.clone(), clock()).unwrap();
    (writer, keys)
}

/// The hub's feed as it grows.
pub struct Feed {
    next_seq: u64,
    hash: ChainHash,
}

impl Feed {
    pub fn new() -> Self {
        Feed { next_seq: 1, hash: ChainHash::GENESIS }
    }

    /// Encodes events as the next run of the feed.
    pub fn batch(&mut self, bodies: Vec<EventBody>) -> DownBatch {
        let (first_seq, prev_hash) = (self.next_seq, self.hash);
        let mut events = Vec::new();
        for body in bodies {
            let key = EventKey { origin: NodeId::HUB, seq: self.next_seq };
            let at_ms = TimeMs::from_ms(NOW_MS - 1_000_000 + self.next_seq as i64);
            let bytes = encode_event(&Event { key, at_ms, actor: Actor::System, request: None, body }).unwrap();
            self.hash = self.hash.next(&bytes);
            self.next_seq += 1;
            events.push(bytes);
        }
        DownBatch { first_seq, prev_hash, last_hash: self.hash, events }
    }

    pub async fn send(&mut self, writer: &Writer, bodies: Vec<EventBody>) {
        let batch = self.batch(bodies);
        writer.apply_down(batch).await.unwrap();
    }
}

/// Everything a day at the counter needs: outlets 1 and 2, packs 1..=8 shipped to outlet 1 and 9 to outlet 2.
pub fn world() -> Vec<EventBody> {
    let mut bodies = game_and_batch();
    for number in [1, 2] {
        bodies.extend(outlet_bodies(number));
    }
    bodies.extend((1..=8).map(|number| shipped(number, 1)));
    bodies.push(shipped(9, 2));
    bodies.push(deposit(1, "1000.00"));
    bodies
}

pub fn master(event: MasterEvent) -> EventBody {
    EventBody::Master(event)
}

pub fn deposit(number: u64, yuan: &str) -> EventBody {
    deposit_of(1, number, yuan)
}

pub fn deposit_of(to: u32, number: u64, yuan: &str) -> EventBody {
    let amount = yuan.parse().unwrap();
    EventBody::Money(MoneyEvent::DepositCredited { deposit: number, outlet: outlet(to), node: node(), amount })
}

fn game_and_batch() -> Vec<EventBody> {
    let rate = |ppm| RatePpm::new(ppm).unwrap();
    let (game, batch) = ("J1001".parse().unwrap(), BatchNo::new(1).unwrap());
    let yuan = |text: &str| text.parse::<Money>().unwrap();
    let prizes = [(1, "60000.00"), (2, "20000.00"), (3, "50.00")];
    let levels = prizes.map(|(level, amount)| PrizeLevel { level, amount: yuan(amount), ticket_count: 100 });
    vec![
        master(MasterEvent::GameDefined {
            game,
            name: "渤海明珠".into(),
            price: yuan("10.00"),
            shares: SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap(),
            outlet_limit: yuan("10000.00"),
            city_limit: yuan("50000.00"),
        }),
        master(MasterEvent::BatchDefined(BatchFacts {
            batch,
            game,
            code: BatchCode::new(26_001).unwrap(),
            tickets_per_pack: TICKETS,
            packs_per_case: 10,
            packs: 100,
            print_completed_on: BusinessDay::from_number(9_500),
            package_hash: [0; 32],
            levels: levels.to_vec(),
        })),
        master(MasterEvent::BatchSaleChanged { batch, state: SaleState::Open }),
    ]
}

/// An outlet with a terminal, an owner and a clerk.
pub fn outlet_bodies(number: u32) -> Vec<EventBody> {
    let (outlet, node) = (outlet(number), node());
    let person = |caller: Caller, name: &str| {
        let (operator, role, name) = (caller.operator, caller.role, name.to_string());
        master(MasterEvent::OperatorDefined { operator, node, name, role, password_hash: password_hash() })
    };
    let public_key = device_key().verifying_key().to_bytes();
    let name = "站点".to_string();
    vec![
        master(MasterEvent::OutletDefined { outlet, node, township: 130_102_001, name, status: OutletStatus::Active }),
        master(MasterEvent::TerminalDefined {
            terminal: terminal(number),
            node,
            kind: TerminalKind::Dedicated,
            public_key,
        }),
        person(owner(number), "owner"),
        person(clerk(number), "clerk"),
    ]
}

fn password_hash() -> String {
    let params = Params::new(64, 1, 1, None).unwrap();
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    hasher.hash_password_with_salt(PASSWORD.as_bytes(), &[3; 16]).unwrap().to_string()
}

/// The record of a ticket with this prize level.
pub fn sealed(number: u32, ticket: u16, level: u8) -> [u8; seal::RECORD_BYTES] {
    seal::seal(&KEY, pack(number).ticket(ticket).unwrap(), &barcode(number, ticket).code, level)
}

pub fn shipped(number: u32, to: u32) -> EventBody {
    shipped_in(5, number, to)
}

pub fn shipped_in(shipment: u64, number: u32, to: u32) -> EventBody {
    let records = (0..TICKETS).flat_map(|ticket| {
        let level = if ticket < 3 { ticket as u8 + 1 } else { 0 };
        sealed(number, ticket, level)
    });
    let records = records.collect();
    EventBody::Pack(PackEvent::Shipped { pack: pack(number), outlet: outlet(to), node: node(), shipment, records })
}

/// The refusal's code, or `done`.
pub fn outcome(result: &Result<Reply, WriteError>) -> String {
    match result {
        Ok(_) => "done".into(),
        Err(WriteError::Refused(refusal)) => refusal.code().into(),
        Err(error) => error.to_string(),
    }
}
