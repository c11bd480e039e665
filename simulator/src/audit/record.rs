//! One line of an exported log, read without any code of the system.

use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::findings::{Findings, Property};
use crate::printer::{Pools, Position};

/// A pack, by game and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pack {
    /// Index of the game.
    pub game: u8,
    /// Its number.
    pub number: u32,
}

/// A ticket of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    /// Its pack.
    pub pack: Pack,
    /// From 0.
    pub number: u16,
}

/// What a line says, as far as the auditor cares.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the sentence of a variant tells its fields")]
pub enum Fact {
    /// A pack was sent to an outlet of a node.
    Shipped { pack: Pack, outlet: u32, node: u16 },
    /// An outlet came to another node with its balance.
    Moved { handoff: u64, outlet: u32, from: u16, to: u16, amount_fen: i64 },
    /// A node let go of an outlet.
    Released { handoff: u64, outlet: u32 },
    /// Money was paid in.
    Deposited { deposit: u64, outlet: u32, node: u16, amount_fen: i64 },
    /// A pack was checked in. Fen: face, prize fund, welfare fund, issue fee, commission.
    CheckedIn { pack: Pack, outlet: u32, shares_fen: [i64; 5] },
    /// A pack was sent back.
    Returned { pack: Pack, outlet: u32, shares_fen: [i64; 5] },
    /// A ticket was sold.
    Sold { ticket: Ticket, outlet: u32, price_fen: i64 },
    /// A prize was paid.
    Claimed { ticket: Ticket, outlet: u32, level: u8, prize_fen: i64 },
    /// The code under a ticket's latex was presented, before anything else of its pack.
    Scratched { ticket: Ticket },
    /// It names a pack or ticket that was never printed.
    Unprinted(String),
    /// A command was run on the machine.
    MachineCommand,
    /// Nothing about packs, tickets or money.
    Other,
}

/// A line, reduced to what the checks need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Position in its log.
    pub seq: u64,
    /// Chain after it.
    pub hash: [u8; 32],
    /// Fingerprint of everything readable in the line; equal lines have equal ones.
    pub print: u64,
    /// The request that it answers.
    pub request: Option<[u8; 16]>,
    /// What it says.
    pub fact: Fact,
}

#[derive(Deserialize)]
struct Line {
    origin: u16,
    seq: u64,
    /// Missing where the bytes could not be read.
    at_ms: Option<i64>,
    prev: String,
    hash: String,
    bytes: String,
    event: Value,
    #[serde(default)]
    actor: Value,
    #[serde(default)]
    request: Option<String>,
}

/// Reads the lines of one log in order, and follows its chain.
pub struct LogReader<'a> {
    pools: &'a Pools,
    origin: u16,
    source: String,
    head: [u8; 32],
    records: Vec<Record>,
}

impl<'a> LogReader<'a> {
    /// A reader at the beginning of the log of `origin`, as held by `source`.
    pub fn new(pools: &'a Pools, origin: u16, source: String) -> Self {
        LogReader { pools, origin, source, head: [0; 32], records: Vec::new() }
    }

    /// Position of the last line read; 0 before the first.
    pub fn last_seq(&self) -> u64 {
        self.records.last().map_or(0, |record| record.seq)
    }

    /// Reads one line. A line of another log is skipped: a node may also export what it received.
    pub fn read(&mut self, text: &[u8], findings: &mut Findings) -> Result<()> {
        let line: Line = serde_json::from_slice(text)
            .with_context(|| format!("read an event of log {} exported by {}", self.origin, self.source))?;
        if line.origin != self.origin {
            return Ok(());
        }
        let subject = format!("event {}/{}", line.origin, line.seq);
        if line.seq != self.last_seq() + 1 {
            let what = format!("follows on event {}", self.last_seq());
            findings.add(Property::ChainBreaks, &subject, &self.source, what);
        }
        let hash = self.follow_chain(&line, &subject, findings);
        let mut print = DefaultHasher::new();
        (line.at_ms, line.event.to_string(), line.actor.to_string(), &line.request).hash(&mut print);
        let fact = read_fact(&line.event, self.pools)
            .with_context(|| format!("read {subject} exported by {}: {}", self.source, line.event))?;
        if line.at_ms.is_none() || line.event["kind"] == "unreadable" {
            let what = "its bytes could not be read by the side that exported it";
            findings.add(Property::ChainBreaks, &subject, &self.source, what);
        }
        if let Fact::Unprinted(id) = &fact {
            findings.add(Property::PacksMisplaced, id, &self.source, format!("{subject} names what was never printed"));
        }
        let request = line.request.as_deref().and_then(|hex_text| hex::decode(hex_text).ok()?.try_into().ok());
        self.records.push(Record { seq: line.seq, hash, print: print.finish(), request, fact });
        Ok(())
    }

    fn follow_chain(&mut self, line: &Line, subject: &str, findings: &mut Findings) -> [u8; 32] {
        let mut breaks = |what: &str| findings.add(Property::ChainBreaks, subject, &self.source, what);
        if line.prev != hex::encode(self.head) {
            breaks("does not hang on the event before it");
        }
        let computed: [u8; 32] = match STANDARD.decode(&line.bytes) {
            Ok(bytes) => Sha256::new().chain_update(self.head).chain_update(bytes).finalize().into(),
            Err(_) => {
                breaks("its bytes are not base64");
                [0; 32]
            }
        };
        if line.hash != hex::encode(computed) {
            breaks("its hash is not SHA-256 over the chain before it and its bytes");
        }
        // Goes on from what the log claims, so that one break is counted once.
        let claimed = hex::decode(&line.hash).ok().and_then(|bytes| bytes.try_into().ok());
        self.head = claimed.unwrap_or(computed);
        self.head
    }

    /// The whole log.
    pub fn finish(self) -> Vec<Record> {
        self.records
    }
}

pub(super) fn read_fact(event: &Value, pools: &Pools) -> Result<Fact> {
    let kind = event["kind"].as_str().context("an event without a kind")?;
    let fact = match kind {
        "pack_shipped" => pack_of(event, pools)?
            .map(|pack| Ok(Fact::Shipped { pack, outlet: outlet_of(event)?, node: number_of(event, "node")? as u16 })),
        "deposit_credited" => Ok(Ok(Fact::Deposited {
            deposit: number_of(event, "deposit")? as u64,
            outlet: outlet_of(event)?,
            node: number_of(event, "node")? as u16,
            amount_fen: number_of(event, "amount_fen")?,
        })),
        "outlet_released" => {
            Ok(Ok(Fact::Released { handoff: number_of(event, "handoff")? as u64, outlet: outlet_of(event)? }))
        }
        "outlet_arrived" => Ok(Ok(Fact::Moved {
            handoff: number_of(event, "handoff")? as u64,
            outlet: outlet_of(event)?,
            from: number_of(event, "from_node")? as u16,
            to: number_of(event, "to_node")? as u16,
            amount_fen: number_of(event, "amount_fen")?,
        })),
        "pack_checked_in" => pack_of(event, pools)?
            .map(|pack| Ok(Fact::CheckedIn { pack, outlet: outlet_of(event)?, shares_fen: shares_of(event)? })),
        "pack_returned" => pack_of(event, pools)?
            .map(|pack| Ok(Fact::Returned { pack, outlet: outlet_of(event)?, shares_fen: shares_of(event)? })),
        "ticket_sold" => ticket_of(event, pools)?.map(|ticket| {
            Ok(Fact::Sold { ticket, outlet: outlet_of(event)?, price_fen: number_of(event, "price_fen")? })
        }),
        "ticket_claimed" => ticket_of(event, pools)?.map(|ticket| {
            let (level, prize_fen) = (number_of(event, "level")? as u8, number_of(event, "prize_fen")?);
            Ok(Fact::Claimed { ticket, outlet: outlet_of(event)?, level, prize_fen })
        }),
        "ticket_scratched" => ticket_of(event, pools)?.map(|ticket| Ok(Fact::Scratched { ticket })),
        "machine_command_run" => return Ok(Fact::MachineCommand),
        _ => return Ok(Fact::Other),
    };
    fact.unwrap_or_else(|unprinted| Ok(Fact::Unprinted(unprinted)))
}

/// The pack of an event; inside, the id that was never printed.
fn pack_of(event: &Value, pools: &Pools) -> Result<Result<Pack, String>> {
    let id = event["pack"].as_str().context("an event about a pack without its id")?;
    Ok(find_pack(pools, id).ok_or_else(|| id.to_owned()))
}

fn ticket_of(event: &Value, pools: &Pools) -> Result<Result<Ticket, String>> {
    let id = event["ticket"].as_str().context("an event about a ticket without its id")?;
    Ok(find_ticket(pools, id).ok_or_else(|| id.to_owned()))
}

fn outlet_of(event: &Value) -> Result<u32> {
    let id = event["outlet"].as_str().context("an event without its outlet")?;
    id.parse().with_context(|| format!("read the outlet {id}"))
}

fn number_of(event: &Value, name: &str) -> Result<i64> {
    event[name].as_i64().with_context(|| format!("an event without a number {name}"))
}

fn shares_of(event: &Value) -> Result<[i64; 5]> {
    Ok([
        number_of(event, "face_fen")?,
        number_of(event, "prize_fund_fen")?,
        number_of(event, "welfare_fund_fen")?,
        number_of(event, "issue_fee_fen")?,
        number_of(event, "commission_fen")?,
    ])
}

/// A printed pack by its id.
pub fn find_pack(pools: &Pools, id: &str) -> Option<Pack> {
    let (pool, number) = pools.find_pack(id)?;
    let game = pools.0.iter().position(|other| other.game.code == pool.game.code)?;
    Some(Pack { game: u8::try_from(game).ok()?, number })
}

/// A printed ticket by its id.
pub fn find_ticket(pools: &Pools, id: &str) -> Option<Ticket> {
    let (pack_id, _) = id.rsplit_once('-')?;
    let (_, at) = pools.find_ticket(id)?;
    Some(Ticket { pack: find_pack(pools, pack_id)?, number: at.ticket })
}

impl Pack {
    /// Its id.
    pub fn id(self, pools: &Pools) -> String {
        pools.0[usize::from(self.game)].pack_id(self.number)
    }
}

impl Fact {
    /// The outlet that a node decided it for; `None` where it is of no outlet.
    pub fn outlet(&self) -> Option<u32> {
        match self {
            Fact::CheckedIn { outlet, .. }
            | Fact::Returned { outlet, .. }
            | Fact::Sold { outlet, .. }
            | Fact::Claimed { outlet, .. }
            | Fact::Released { outlet, .. } => Some(*outlet),
            _ => None,
        }
    }

    /// The pack that it is about.
    pub fn pack(&self) -> Option<Pack> {
        match self {
            Fact::CheckedIn { pack, .. } | Fact::Returned { pack, .. } => Some(*pack),
            Fact::Sold { ticket, .. } | Fact::Claimed { ticket, .. } | Fact::Scratched { ticket } => Some(ticket.pack),
            _ => None,
        }
    }
}

impl Ticket {
    /// Its id.
    pub fn id(self, pools: &Pools) -> String {
        pools.0[usize::from(self.pack.game)].ticket_id(self.position())
    }

    /// Where it was printed.
    pub fn position(self) -> Position {
        Position { pack: self.pack.number, ticket: self.number }
    }
}
