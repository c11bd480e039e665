//! The prepared state, made by the product, and the claims that the nodes send.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use jikai_hub::log::LogPosition;
use jikai_hub::machine;
use jikai_hub::store;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::command::{Command, Deposit, NodeBatch, Outcome, Proposal};
use jikai_schema::event::{
    Actor, BatchFacts, Event, EventBody, EventKey, MasterEvent, OutletStatus, PackEvent, PrizeLevel, SaleState,
    TicketEvent,
};
use jikai_schema::id::{BatchNo, GameCode, NodeId, OutletId, PackId, PrefectureCode, TicketId};
use jikai_schema::money::{Money, RatePpm, SaleShares};
use jikai_schema::projection::Catalog;
use jikai_schema::seal::RECORD_BYTES;
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

pub const NODES: u16 = 11;
pub const BATCH_EVENTS: usize = 256;
pub const NOW_MS: i64 = 1_795_399_200_000;
pub const PRIZE_FEN: i64 = 1_000;
pub const TICKETS_PER_PACK: u16 = 5;
/// Commands in one transaction while the state is prepared.
const PREPARE_COMMANDS: usize = 64;

/// One claim, as the bare loop sees it.
#[derive(Clone, Copy)]
pub struct Claim {
    pub ticket: TicketId,
    pub outlet: OutletId,
    pub node: NodeId,
    pub seq: u64,
}

/// A node's batch: for the product as a command, for the bare loop as plain values.
pub struct Batch {
    pub command: Command,
    pub claims: std::ops::Range<usize>,
    pub raw: Vec<u8>,
}

pub struct World {
    pub state: PathBuf,
    pub pack_count: u32,
    pub outlet_count: u32,
    pub claims: Vec<Claim>,
    pub batches: Vec<Batch>,
}

/// A node's log while it is written.
struct NodeLog {
    node: NodeId,
    next_seq: u64,
    hash: ChainHash,
}

pub fn game() -> GameCode {
    "G0201".parse().expect("a game code")
}

pub fn proposal(command: Command) -> Proposal {
    Proposal { at_ms: TimeMs::from_ms(NOW_MS), actor: Actor::System, request: None, command }
}

fn node_of(outlet_index: u32) -> NodeId {
    NodeId::new((outlet_index % u32::from(NODES)) as u16 + 1).expect("a node id")
}

fn outlet(index: u32) -> OutletId {
    let prefecture = 1301 + index % u32::from(NODES);
    OutletId::new(prefecture * 10_000 + index / u32::from(NODES) + 1).expect("an outlet id")
}

fn shares() -> SaleShares {
    let rate = |ppm| RatePpm::new(ppm).expect("a rate");
    SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).expect("shares")
}

fn batch_no() -> BatchNo {
    BatchNo::new(1).expect("a batch number")
}

fn pack(number: u32) -> PackId {
    PackId::new(batch_no(), number).expect("a pack id")
}

impl World {
    pub fn prepare(dir: &Path, quick: bool) -> Result<Self> {
        let (pack_count, outlet_count, claim_count) =
            if quick { (20_000, 2_000, 64 * BATCH_EVENTS) } else { (200_000, 20_000, 512 * BATCH_EVENTS) };
        let mut connection = store::open(dir)?;
        let mut logs: Vec<NodeLog> = (1..=NODES)
            .map(|node| NodeLog { node: NodeId::new(node).expect("a node id"), next_seq: 1, hash: ChainHash::GENESIS })
            .collect();
        let mut commands = master_commands(outlet_count);
        commands.extend(stock_commands(pack_count, outlet_count));
        commands.extend(check_in_commands(&mut logs, pack_count, outlet_count));
        apply_all(&mut connection, commands)?;
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
        drop(connection);
        let mut world = World {
            state: dir.join(store::STATE_FILE),
            pack_count,
            outlet_count,
            claims: Vec::new(),
            batches: Vec::new(),
        };
        world.draw_claims(&mut logs, claim_count);
        Ok(world)
    }

    /// Draws tickets without replacement; a batch is full when a node has gathered enough.
    fn draw_claims(&mut self, logs: &mut [NodeLog], claim_count: usize) {
        let mut tickets: Vec<u32> = (0..self.pack_count * u32::from(TICKETS_PER_PACK)).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut gathered: Vec<Vec<(TicketId, OutletId)>> = vec![Vec::new(); logs.len()];
        let mut drawn = 0;
        while self.claims.len() < claim_count {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = drawn + (random % (tickets.len() - drawn) as u64) as usize;
            tickets.swap(drawn, at);
            let (number, ticket) =
                (tickets[drawn] / u32::from(TICKETS_PER_PACK), tickets[drawn] % u32::from(TICKETS_PER_PACK));
            drawn += 1;
            let index = number % self.outlet_count;
            let log = usize::from(node_of(index).get()) - 1;
            let ticket = pack(number + 1).ticket(ticket as u16).expect("a ticket id");
            gathered[log].push((ticket, outlet(index)));
            if gathered[log].len() == BATCH_EVENTS {
                self.close_batch(&mut logs[log], std::mem::take(&mut gathered[log]));
            }
        }
    }

    fn close_batch(&mut self, log: &mut NodeLog, claimed: Vec<(TicketId, OutletId)>) {
        let first = self.claims.len();
        for (seq, (ticket, outlet)) in (log.next_seq..).zip(&claimed) {
            self.claims.push(Claim { ticket: *ticket, outlet: *outlet, node: log.node, seq });
        }
        let prize = Money::from_fen(PRIZE_FEN);
        let body = |(ticket, outlet)| EventBody::Ticket(TicketEvent::Claimed { ticket, outlet, level: 1, prize });
        let batch = log.batch(claimed.into_iter().map(body).collect());
        let raw =
            batch.events.iter().flat_map(|event| [&(event.len() as u32).to_le_bytes()[..], event].concat()).collect();
        self.batches.push(Batch { command: Command::IngestEvents(batch), claims: first..self.claims.len(), raw });
    }
}

impl NodeLog {
    fn batch(&mut self, bodies: Vec<EventBody>) -> NodeBatch {
        let (first_seq, prev_hash, node) = (self.next_seq, self.hash, self.node);
        let mut events = Vec::with_capacity(bodies.len());
        for body in bodies {
            let key = EventKey { origin: node, seq: self.next_seq };
            let at_ms = TimeMs::from_ms(NOW_MS + self.next_seq as i64);
            let event = Event { key, at_ms, actor: Actor::System, request: None, body };
            let bytes = codec::encode_event(&event).expect("an event within its limit");
            (self.next_seq, self.hash) = (self.next_seq + 1, self.hash.next(&bytes));
            events.push(bytes);
        }
        NodeBatch { node, incarnation: [1; 16], first_seq, prev_hash, last_hash: self.hash, events }
    }
}

fn master_commands(outlet_count: u32) -> Vec<Command> {
    let mut definitions = Vec::new();
    let division = |code, parent| MasterEvent::DivisionDefined { code, name: format!("division {code}"), parent };
    for node in 1..=NODES {
        let prefecture = 1300 + node;
        let code = u32::from(prefecture);
        definitions.extend([
            division(code, 0),
            division(code * 100 + 1, code),
            division(code * 100_000 + 1_001, code * 100 + 1),
        ]);
        definitions.push(MasterEvent::NodeDefined {
            node: NodeId::new(node).expect("a node id"),
            name: format!("node {node}"),
            prefectures: vec![PrefectureCode::new(prefecture).expect("a prefecture code")],
        });
    }
    definitions.push(MasterEvent::GameDefined {
        game: game(),
        name: "game".into(),
        price: Money::from_fen(1_000),
        shares: shares(),
        outlet_limit: Money::from_fen(1_000_000),
        city_limit: Money::from_fen(5_000_000),
    });
    definitions.extend((0..outlet_count).map(|index| {
        let outlet = outlet(index);
        let township = u32::from(outlet.prefecture().get()) * 100_000 + 1_001;
        MasterEvent::OutletDefined {
            outlet,
            node: NodeId::HUB,
            township,
            name: format!("outlet {outlet}"),
            status: OutletStatus::Active,
        }
    }));
    let mut commands: Vec<Command> =
        definitions.chunks(512).map(|chunk| Command::DefineMaster(chunk.to_vec())).collect();
    let deposits: Vec<Deposit> = (0..outlet_count)
        .map(|index| Deposit {
            deposit: u64::from(index) + 1,
            outlet: outlet(index),
            amount: Money::from_fen(10_000_000),
        })
        .collect();
    commands.extend(deposits.chunks(512).map(|chunk| Command::CreditDeposits(chunk.to_vec())));
    commands
}

fn stock_commands(pack_count: u32, outlet_count: u32) -> Vec<Command> {
    let tickets = pack_count * u32::from(TICKETS_PER_PACK);
    let code = "26001".parse().expect("a batch code");
    let facts = BatchFacts {
        batch: batch_no(),
        game: game(),
        code,
        tickets_per_pack: TICKETS_PER_PACK,
        packs_per_case: 10,
        packs: pack_count,
        print_completed_on: "2026-01-15".parse().expect("a day"),
        package_hash: [1; 32],
        levels: vec![PrizeLevel { level: 1, amount: Money::from_fen(1_300), ticket_count: tickets / 2 }],
    };
    let mut commands =
        vec![Command::ReserveBatch { game: game(), code }, Command::ImportBatch { facts, wrapped_key: vec![0; 60] }];
    let records = vec![7; usize::from(TICKETS_PER_PACK) * RECORD_BYTES];
    let numbers: Vec<u32> = (1..=pack_count).collect();
    commands.extend(numbers.chunks(512).map(|chunk| {
        let packs = chunk.iter().map(|number| (*number, records.clone())).collect();
        Command::StockPacks { batch: batch_no(), packs }
    }));
    let approval = Some(("1".to_string(), "2026-01-15".parse().expect("a day")));
    commands.push(Command::ChangeSale { batch: batch_no(), state: SaleState::Open, approval });
    commands.extend((0..outlet_count).map(|index| {
        let packs = (index..pack_count).step_by(outlet_count as usize).map(|number| pack(number + 1)).collect();
        Command::ShipPacks { shipment: u64::from(index) + 1, outlet: outlet(index), packs }
    }));
    commands
}

fn check_in_commands(logs: &mut [NodeLog], pack_count: u32, outlet_count: u32) -> Vec<Command> {
    let charge = shares().charge(Money::from_fen(1_000 * i64::from(TICKETS_PER_PACK))).expect("a charge");
    let mut bodies: Vec<Vec<EventBody>> = vec![Vec::new(); logs.len()];
    for number in 0..pack_count {
        let index = number % outlet_count;
        let body = EventBody::Pack(PackEvent::CheckedIn { pack: pack(number + 1), outlet: outlet(index), charge });
        bodies[usize::from(node_of(index).get()) - 1].push(body);
    }
    let mut commands = Vec::new();
    for (log, bodies) in logs.iter_mut().zip(bodies) {
        commands.extend(bodies.chunks(512).map(|chunk| Command::IngestEvents(log.batch(chunk.to_vec()))));
    }
    commands
}

fn apply_all(connection: &mut Connection, commands: Vec<Command>) -> Result<()> {
    let (mut position, mut catalog) = (LogPosition::default(), Catalog::default());
    for entry in commands.chunks(PREPARE_COMMANDS) {
        position = position.next();
        let proposals = entry.iter().cloned().map(proposal).collect();
        let (outcomes, _) = machine::commit(connection, &mut catalog, &[(position, proposals)])?;
        let failed =
            |outcome: &Outcome| matches!(outcome, Outcome::Refused(_) | Outcome::Ingested { quarantined: 1.., .. });
        ensure!(!outcomes.iter().any(failed), "{outcomes:?}");
    }
    Ok(())
}
