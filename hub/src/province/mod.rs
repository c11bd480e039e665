//! A province small enough to be read: two nodes, three outlets, one game, one printed batch of ten packs. For tests.

mod machines;
#[path = "../../tests/raft/support/relay.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod relay;
mod running;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::command::{Command, Deposit, NodeBatch, Outcome, Proposal, Refusal};
use jikai_schema::event::{
    Actor, BatchFacts, Event, EventBody, EventKey, MasterEvent, OperatorRole, OutletStatus, PackEvent, PrizeLevel,
    SaleState, TerminalKind, TicketEvent,
};
use jikai_schema::id::{
    BatchCode, BatchNo, GameCode, NodeId, OperatorId, OutletId, PackId, PrefectureCode, TerminalId,
};
use jikai_schema::money::{Money, RatePpm, SaleShares};
use jikai_schema::projection::Catalog;
use jikai_schema::seal::RECORD_BYTES;
use jikai_schema::time::{BusinessDay, TimeMs};
use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::log::LogPosition;
use crate::machine;
use crate::store;

pub use machines::{LONG, Machines};
pub use running::{Running, secrets_in};

/// 2026-11-23 10:00 in Shanghai.
pub const NOW_MS: i64 = 1_795_399_200_000;
pub const TICKETS_PER_PACK: u16 = 10;
pub const PACKS: u32 = 10;

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub fn outlet(id: u32) -> OutletId {
    OutletId::new(id).unwrap()
}

pub fn game() -> GameCode {
    "G0201".parse().unwrap()
}

pub fn code() -> BatchCode {
    "26001".parse().unwrap()
}

pub fn batch() -> BatchNo {
    BatchNo::new(1).unwrap()
}

pub fn pack(number: u32) -> PackId {
    PackId::new(batch(), number).unwrap()
}

pub fn yuan(text: &str) -> Money {
    text.parse().unwrap()
}

pub fn shares() -> SaleShares {
    let rate = |ppm| RatePpm::new(ppm).unwrap();
    SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap()
}

pub fn define_node(number: u16, prefectures: &[u16]) -> MasterEvent {
    let prefectures = prefectures.iter().map(|code| PrefectureCode::new(*code).unwrap()).collect();
    MasterEvent::NodeDefined { node: node(number), name: format!("node {number}"), prefectures }
}

pub fn define_division(code: u32, parent: u32) -> MasterEvent {
    MasterEvent::DivisionDefined { code, name: format!("division {code}"), parent }
}

pub fn define_outlet(id: u32, township: u32) -> MasterEvent {
    let (outlet, name) = (outlet(id), format!("outlet {id}"));
    MasterEvent::OutletDefined { outlet, node: NodeId::HUB, township, name, status: OutletStatus::Active }
}

pub fn define_terminal(id: u64) -> MasterEvent {
    let terminal = TerminalId::new(id).unwrap();
    MasterEvent::TerminalDefined { terminal, node: NodeId::HUB, kind: TerminalKind::Gun, public_key: [7; 32] }
}

pub fn define_operator(id: u64) -> MasterEvent {
    MasterEvent::OperatorDefined {
        operator: OperatorId::new(id).unwrap(),
        node: NodeId::HUB,
        name: "张三".into(),
        role: OperatorRole::Owner,
        password_hash: "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA".into(),
    }
}

pub fn define_game() -> MasterEvent {
    MasterEvent::GameDefined {
        game: game(),
        name: "燕赵红".into(),
        price: yuan("2.00"),
        shares: shares(),
        outlet_limit: yuan("10000.00"),
        city_limit: yuan("50000.00"),
    }
}

/// 100 tickets of 2 yuan: the prizes take exactly 130 yuan.
pub fn facts() -> BatchFacts {
    let level = |level, amount, ticket_count| PrizeLevel { level, amount: yuan(amount), ticket_count };
    BatchFacts {
        batch: batch(),
        game: game(),
        code: code(),
        tickets_per_pack: TICKETS_PER_PACK,
        packs_per_case: 2,
        packs: PACKS,
        print_completed_on: "2026-01-15".parse().unwrap(),
        package_hash: [5; 32],
        levels: vec![level(1, "100.00", 1), level(2, "10.00", 2), level(3, "5.00", 2)],
    }
}

pub fn records(number: u32) -> Vec<u8> {
    vec![number as u8; usize::from(TICKETS_PER_PACK) * RECORD_BYTES]
}

pub fn stock(numbers: std::ops::RangeInclusive<u32>) -> Command {
    Command::StockPacks { batch: batch(), packs: numbers.map(|number| (number, records(number))).collect() }
}

pub fn open_sale() -> Command {
    let approval = Some(("财彩[2026]1".to_string(), "2026-11-13".parse::<BusinessDay>().unwrap()));
    Command::ChangeSale { batch: batch(), state: SaleState::Open, approval }
}

pub fn ship(shipment: u64, to: u32, numbers: std::ops::RangeInclusive<u32>) -> Command {
    Command::ShipPacks { shipment, outlet: outlet(to), packs: numbers.map(pack).collect() }
}

pub fn deposit(number: u64, to: u32, amount: &str) -> Deposit {
    Deposit { deposit: number, outlet: outlet(to), amount: yuan(amount) }
}

/// Divisions, nodes, outlets, people and the game.
pub fn master_data() -> Vec<MasterEvent> {
    vec![
        define_division(1301, 0),
        define_division(130_102, 1301),
        define_division(130_102_001, 130_102),
        define_division(1302, 0),
        define_division(130_202, 1302),
        define_division(130_202_001, 130_202),
        define_node(1, &[1301]),
        define_node(2, &[1302]),
        define_outlet(13_010_001, 130_102_001),
        define_outlet(13_010_002, 130_102_001),
        define_outlet(13_020_001, 130_202_001),
        define_terminal(1_301_000_101),
        define_operator(1_301_000_101),
        define_game(),
    ]
}

/// Commands that bring the province to life: afterwards packs 1 and 2 are on their way to 13010001, 3 to 13020001.
pub fn set_up() -> Vec<Command> {
    vec![
        Command::DefineMaster(master_data()),
        Command::ReserveBatch { game: game(), code: code() },
        Command::ImportBatch { facts: facts(), wrapped_key: vec![9; 60] },
        stock(1..=PACKS),
        open_sale(),
        ship(1, 13_010_001, 1..=2),
        ship(2, 13_020_001, 3..=3),
        Command::CreditDeposits(vec![deposit(1, 13_010_001, "1000.00"), deposit(2, 13_020_001, "500.00")]),
    ]
}

pub fn proposal(at_ms: i64, command: Command) -> Proposal {
    Proposal { at_ms: TimeMs::from_ms(at_ms), actor: Actor::System, request: None, command }
}

/// A node's log, as its decider would write it.
pub struct NodeLog {
    pub node: NodeId,
    pub incarnation: [u8; 16],
    pub next_seq: u64,
    pub hash: ChainHash,
}

impl NodeLog {
    pub fn new(number: u16) -> Self {
        NodeLog { node: node(number), incarnation: [number as u8; 16], next_seq: 1, hash: ChainHash::GENESIS }
    }

    /// A batch of these facts, which moves the log on.
    pub fn batch(&mut self, bodies: Vec<EventBody>) -> NodeBatch {
        let first_seq = self.next_seq;
        let encode = |(seq, body)| {
            let key = EventKey { origin: self.node, seq };
            let at_ms = TimeMs::from_ms(NOW_MS + seq as i64);
            codec::encode_event(&Event { key, at_ms, actor: Actor::System, request: None, body }).unwrap()
        };
        let events = (first_seq..).zip(bodies).map(encode).collect();
        self.raw_batch(events)
    }

    /// A batch of these bytes, whatever they are.
    pub fn raw_batch(&mut self, events: Vec<Vec<u8>>) -> NodeBatch {
        let (first_seq, prev_hash) = (self.next_seq, self.hash);
        self.hash = events.iter().fold(self.hash, |hash, bytes| hash.next(bytes));
        self.next_seq += events.len() as u64;
        let (node, incarnation) = (self.node, self.incarnation);
        NodeBatch { node, incarnation, first_seq, prev_hash, last_hash: self.hash, events }
    }
}

pub fn check_in(number: u32, at: u32) -> EventBody {
    let charge = shares().charge(yuan("20.00")).unwrap();
    EventBody::Pack(PackEvent::CheckedIn { pack: pack(number), outlet: outlet(at), charge })
}

pub fn claim(number: u32, ticket: u16, at: u32, prize: &str) -> EventBody {
    let ticket = pack(number).ticket(ticket).unwrap();
    EventBody::Ticket(TicketEvent::Claimed { ticket, outlet: outlet(at), level: 2, prize: yuan(prize) })
}

/// The wrong code that locks a ticket.
pub fn locking_code(number: u32, ticket: u16, at: u32) -> EventBody {
    let ticket = pack(number).ticket(ticket).unwrap();
    EventBody::Ticket(TicketEvent::WrongCodePresented { ticket, outlet: outlet(at), locks: true })
}

pub fn sell(number: u32, ticket: u16, at: u32) -> EventBody {
    let ticket = pack(number).ticket(ticket).unwrap();
    EventBody::Ticket(TicketEvent::Sold { ticket, outlet: outlet(at), price: yuan("2.00") })
}

/// A machine on a state in memory, one command a transaction. When it is dropped, all that it was asked is applied to an empty state in
/// one transaction, as a machine of the hub does that catches up: every table must be the same.
pub struct Hub {
    pub state: Connection,
    pub position: u64,
    asked: Vec<(LogPosition, Vec<Proposal>)>,
    outcomes: Vec<Outcome>,
    is_of_its_log: bool,
}

impl Drop for Hub {
    fn drop(&mut self) {
        if std::thread::panicking() || !self.is_of_its_log {
            return;
        }
        let mut at_once = Connection::open_in_memory().unwrap();
        at_once.pragma_update(None, "foreign_keys", true).unwrap();
        store::prepare(&mut at_once).unwrap();
        let (outcomes, _) = machine::commit(&mut at_once, &mut Catalog::default(), &self.asked).unwrap();
        assert_eq!(outcomes, self.outcomes, "applied in one transaction the answers differ");
        let differing = tables_of(&self.state).into_iter().filter(|table| {
            let digest = |state| digest_of_tables(state, [table.as_str()]);
            digest(&at_once) != digest(&self.state)
        });
        let differing: Vec<String> = differing.collect();
        assert!(differing.is_empty(), "applied in one transaction these tables differ: {differing:?}");
    }
}

impl Hub {
    pub fn empty() -> Self {
        let mut state = Connection::open_in_memory().unwrap();
        state.pragma_update(None, "foreign_keys", true).unwrap();
        store::prepare(&mut state).unwrap();
        Hub { state, position: 0, asked: Vec::new(), outcomes: Vec::new(), is_of_its_log: true }
    }

    pub fn set_up() -> Self {
        let mut hub = Hub::empty();
        for command in set_up() {
            let outcome = hub.ask(command.clone());
            assert!(!matches!(outcome, Outcome::Refused(_)), "{command:?}: {outcome:?}");
        }
        hub
    }

    pub fn ask_at(&mut self, at_ms: i64, command: Command) -> Outcome {
        self.ask_as(Actor::System, at_ms, command)
    }

    pub fn ask_as(&mut self, actor: Actor, at_ms: i64, command: Command) -> Outcome {
        self.propose(Proposal { actor, ..proposal(at_ms, command) })
    }

    /// For a test that writes to the state beside `propose`.
    pub fn meddle(&mut self) -> &mut Connection {
        self.is_of_its_log = false;
        &mut self.state
    }

    pub fn propose(&mut self, proposal: Proposal) -> Outcome {
        self.position += 1;
        let tx = self.state.transaction().unwrap();
        let at = LogPosition::new(self.position);
        let outcome = machine::apply(&tx, at, &proposal).unwrap();
        tx.commit().unwrap();
        self.asked.push((at, vec![proposal]));
        self.outcomes.push(outcome.clone());
        outcome
    }

    pub fn ask(&mut self, command: Command) -> Outcome {
        self.ask_at(NOW_MS, command)
    }

    /// Asks for what must be refused, and checks that it changed nothing but the applied position.
    pub fn refuse(&mut self, command: Command) -> Refusal {
        let before = digest_of(&self.state, "applied");
        match self.ask(command.clone()) {
            Outcome::Refused(refusal) => {
                assert_eq!(
                    digest_of(&self.state, "applied"),
                    before,
                    "a refused command changed something: {command:?}"
                );
                refusal
            }
            other => panic!("{command:?} was not refused: {other:?}"),
        }
    }

    pub fn count(&self, sql: &str) -> i64 {
        self.state.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

/// SHA-256 over every table but one, whatever tables there are.
pub fn digest_of(state: &Connection, except: &str) -> [u8; 32] {
    let tables = tables_of(state);
    digest_of_tables(state, tables.iter().map(String::as_str).filter(|table| *table != except))
}

fn tables_of(state: &Connection) -> Vec<String> {
    let mut tables = state.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn digest_of_tables<'a>(state: &Connection, tables: impl IntoIterator<Item = &'a str>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for table in tables {
        hasher.update(table);
        let columns = state.prepare(&format!("SELECT * FROM {table}")).unwrap().column_count();
        let order = (1..=columns.min(2)).map(|column| column.to_string()).collect::<Vec<_>>().join(", ");
        let mut statement = state.prepare(&format!("SELECT * FROM {table} ORDER BY {order}")).unwrap();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                hasher.update(format!("{:?};", row.get_ref(column).unwrap()));
            }
        }
    }
    hasher.finalize().into()
}
