//! Commands: what the hub is asked to do, imperative. Whoever proposes one has filled in time, ids and random draws;
//! applying it reads no clock. Append only, like events.

mod access;
mod change;
mod cluster;
mod directory;
mod handoff;
mod node;
mod outcome;
mod personal;
mod recovery;
mod secrets;
mod staff;

use serde::{Deserialize, Serialize};

pub use access::AccessCommand;
pub use change::{ChangeCommand, ChangeSubject};
pub use cluster::ClusterCommand;
pub use directory::DirectoryCommand;
pub use handoff::{HandoffCommand, MOVES_MAX, OutletMove, WINDOW_MAX};
pub use node::NodeCommand;
pub use outcome::{Outcome, Refusal};
pub use personal::PersonalCommand;
pub use recovery::{FeedReturn, RecoveryCommand};
pub use secrets::{Reseal, ResealedFactor, ResealedKey, ResealedPersonal};
pub use staff::{Factor, NewStaff, SessionTag, StaffCommand};

use crate::chain::ChainHash;
use crate::codec::{self, CodecError};
use crate::event::{Actor, BatchFacts, CommandRun, MasterEvent, PackHold, RequestId, RequestKey, SaleState};
use crate::id::{BatchCode, BatchNo, GameCode, NodeId, OutletId, PackId};
use crate::money::Money;
use crate::time::{BusinessDay, TimeMs};

/// Largest encoded command: a batch of events at its limit, or a chunk of an import.
pub const COMMAND_BYTES_MAX: usize = 1 << 20;

/// A command with who proposed it and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Stamped by the proposer; the machine clamps it to grow.
    pub at_ms: TimeMs,
    /// On whose behalf.
    pub actor: Actor,
    /// The request that led to it, where there was one.
    pub request: Option<RequestKey>,
    /// What to do.
    pub command: Command,
}

/// On whose behalf something is proposed, and in answer to which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// The request; `None` for what the system does by itself.
    pub request: Option<RequestId>,
}

impl From<Actor> for By {
    fn from(actor: Actor) -> Self {
        By { actor, request: None }
    }
}

/// What the hub is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Take in events that a node decided. They are facts: never refused for what they say.
    IngestEvents(NodeBatch),
    /// Define master data (divisions, nodes, outlets, terminals, operators, games). Equal definitions are skipped.
    DefineMaster(Vec<MasterEvent>),
    /// Register a printed batch. The number in the facts is ignored: the machine gives it.
    ImportBatch {
        /// What the printer signed.
        facts: BatchFacts,
        /// The batch key, encrypted under the hub's keys and bound to `facts.batch`.
        wrapped_key: Vec<u8>,
    },
    /// Put sealed packs of an imported batch into the warehouse.
    StockPacks {
        /// The batch.
        batch: BatchNo,
        /// Pack number and one sealed record per ticket.
        packs: Vec<(u32, Vec<u8>)>,
    },
    /// Open, pause or stop the sale of a batch.
    ChangeSale {
        /// The batch.
        batch: BatchNo,
        /// The new state.
        state: SaleState,
        /// Needed to open: the approval number, and the day of the public notice, at least ten days ago.
        approval: Option<(String, BusinessDay)>,
    },
    /// Announce the instant from which claims are refused.
    AnnounceRedemptionEnd {
        /// The batch.
        batch: BatchNo,
        /// First instant without redemption.
        ends_at_ms: TimeMs,
    },
    /// Ship packs from the warehouse to an outlet.
    ShipPacks {
        /// The consignment's number.
        shipment: u64,
        /// Where to.
        outlet: OutletId,
        /// Which packs.
        packs: Vec<PackId>,
    },
    /// Put a hold on a pack, or take it off.
    HoldPack {
        /// The pack.
        pack: PackId,
        /// The new hold.
        hold: PackHold,
    },
    /// Credit deposits that arrived.
    CreditDeposits(Vec<Deposit>),
    /// Reserve the next batch number for an import, so that its key can be bound to it.
    ReserveBatch {
        /// The game.
        game: GameCode,
        /// The printer's code.
        code: BatchCode,
    },
    /// Accounts, rights and sessions of the centre's staff.
    Staff(StaffCommand),
    /// Devices and persons of outlets, certificates of nodes.
    Access(AccessCommand),
    /// What one person proposes and another decides.
    Change(ChangeCommand),
    /// Bring secrets of the state under a newer version of the keys.
    Reseal(Reseal),
    /// Personal data of outlets\' owners.
    Personal(PersonalCommand),
    /// Note a command that was run on a machine of the hub.
    NoteMachineCommand(CommandRun),
    /// The machines of the hub.
    Cluster(ClusterCommand),
    /// Outlets that move from node to node.
    Handoff(HandoffCommand),
    /// Where terminals reach the nodes.
    Directory(DirectoryCommand),
    /// The stores of nodes.
    Node(NodeCommand),
    /// Getting back from the nodes what a copy of the hub lacks.
    Recovery(RecoveryCommand),
}

/// One deposit to credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deposit {
    /// Its own number, unique for ever.
    pub deposit: u64,
    /// Whose account.
    pub outlet: OutletId,
    /// Fen, > 0.
    pub amount: Money,
}

/// A verified run of a node's log. The proposer has checked the chain from `prev_hash` to `last_hash`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeBatch {
    /// Whose log.
    pub node: NodeId,
    /// Identity of the store that wrote it.
    pub incarnation: [u8; 16],
    /// Position of the first event.
    pub first_seq: u64,
    /// Chain before the first event.
    pub prev_hash: ChainHash,
    /// Chain after the last event.
    pub last_hash: ChainHash,
    /// The events' bytes as the node hashed them, at most 512.
    pub events: Vec<Vec<u8>>,
}

/// Encodes a log entry: the proposals that were committed together.
pub fn encode_entry(proposals: &[Proposal]) -> Result<Vec<u8>, CodecError> {
    codec::encode(&proposals, ENTRY_BYTES_MAX)
}

/// Decodes a log entry.
pub fn decode_entry(bytes: &[u8]) -> Result<Vec<Proposal>, CodecError> {
    codec::decode(bytes, ENTRY_BYTES_MAX)
}

/// Largest log entry: many commands share one, so that one fsync serves them all.
pub const ENTRY_BYTES_MAX: usize = 8 << 20;
