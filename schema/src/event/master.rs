//! Master data: what the centre defines and every later fact refers to. Written by the hub.

use serde::{Deserialize, Serialize};

use super::Audience;
use crate::id::{BatchCode, BatchNo, GameCode, NodeId, OperatorId, OutletClass, OutletId, PrefectureCode, TerminalId};
use crate::money::{Money, SaleShares};
use crate::time::{BusinessDay, TimeMs};

/// Facts about divisions, nodes, outlets and what stands in them, games and batches. A later event about the same
/// subject replaces the earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasterEvent {
    /// A division of GB/T 2260: prefecture (4 digits), county (6) or township (9).
    DivisionDefined {
        /// 4, 6 or 9 digits.
        code: u32,
        /// Name in Chinese.
        name: String,
        /// The division above; 0 for a prefecture.
        parent: u32,
    },
    /// A regional node and the prefectures it serves.
    NodeDefined {
        /// Its number, from 1.
        node: NodeId,
        /// Display name.
        name: String,
        /// The prefectures whose outlets it serves.
        prefectures: Vec<PrefectureCode>,
    },
    /// An outlet and the node that serves it.
    OutletDefined {
        /// Its id.
        outlet: OutletId,
        /// The node that serves it.
        node: NodeId,
        /// Township it lies in, 9 digits.
        township: u32,
        /// Display name.
        name: String,
        /// Whether it may trade.
        status: OutletStatus,
    },
    /// A device of an outlet with its Ed25519 key.
    TerminalDefined {
        /// Its id.
        terminal: TerminalId,
        /// The node that serves its outlet.
        node: NodeId,
        /// What sort of device.
        kind: TerminalKind,
        /// Ed25519 public key, 32 bytes.
        public_key: [u8; 32],
    },
    /// A person who works at an outlet.
    OperatorDefined {
        /// Its id.
        operator: OperatorId,
        /// The node that serves its outlet.
        node: NodeId,
        /// Display name.
        name: String,
        /// What the person may do.
        role: OperatorRole,
        /// Argon2id hash as a PHC string.
        password_hash: String,
    },
    /// A game with its price and limits.
    GameDefined {
        /// Its code.
        game: GameCode,
        /// Display name.
        name: String,
        /// Price of one ticket. Fen, > 0.
        price: Money,
        /// Division of the sales.
        shares: SaleShares,
        /// Highest prize that an outlet pays. Fen.
        outlet_limit: Money,
        /// Highest prize that a city centre pays; above it the province. Fen.
        city_limit: Money,
    },
    /// An imported print run with its signed prize table.
    BatchDefined(BatchFacts),
    /// Selling of a batch was opened, paused or stopped.
    BatchSaleChanged {
        /// The batch.
        batch: BatchNo,
        /// The new state.
        state: SaleState,
    },
    /// The instant after which no prize of the batch is paid was announced.
    RedemptionEndAnnounced {
        /// The batch.
        batch: BatchNo,
        /// First instant at which claims are refused.
        ends_at_ms: TimeMs,
    },
    /// The class of an outlet, by which parameters may differ.
    OutletClassified {
        /// The outlet.
        outlet: OutletId,
        /// The node that serves it.
        node: NodeId,
        /// Its class.
        class: OutletClass,
    },
}

/// What the printer delivered, as signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFacts {
    /// Number given by the hub.
    pub batch: BatchNo,
    /// Game it was printed for.
    pub game: GameCode,
    /// Code given by the printer.
    pub code: BatchCode,
    /// Tickets in each pack, 1..=1000.
    pub tickets_per_pack: u16,
    /// Packs in each case.
    pub packs_per_case: u16,
    /// Packs printed; numbered from 1.
    pub packs: u32,
    /// Day the print run was completed; the age of a batch counts from here.
    pub print_completed_on: BusinessDay,
    /// SHA-256 of the signed PACKAGE file: the version of the prize table.
    pub package_hash: [u8; 32],
    /// Prize levels, ascending from 1.
    pub levels: Vec<PrizeLevel>,
}

/// One line of the printer's prize list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrizeLevel {
    /// 1 is the highest.
    pub level: u8,
    /// Prize of one ticket. Fen, > 0.
    pub amount: Money,
    /// Winning tickets printed. > 0.
    pub ticket_count: u32,
}

/// Whether an outlet may trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutletStatus {
    /// Trades.
    Active,
    /// May neither check in nor pay.
    Suspended,
}

/// The sort of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminalKind {
    /// Dedicated terminal.
    Dedicated,
    /// Scan gun.
    Gun,
    /// Phone app.
    Phone,
}

/// What an operator may do at the outlet (DOMAIN §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperatorRole {
    /// Everything of the outlet: also check in and return packs.
    Owner,
    /// Sell, inquire, pay within the limit.
    Clerk,
}

/// Whether packs of a batch may be put on sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaleState {
    /// Imported, never opened.
    Imported,
    /// On sale.
    Open,
    /// Paused; may be opened again.
    Paused,
    /// Stopped for good.
    Stopped,
}

impl MasterEvent {
    /// Who receives it: outlets and what stands in them only their own node, everything else every node.
    pub(super) fn audience(&self) -> Audience {
        match self {
            MasterEvent::OutletDefined { node, .. }
            | MasterEvent::OutletClassified { node, .. }
            | MasterEvent::TerminalDefined { node, .. }
            | MasterEvent::OperatorDefined { node, .. } => Audience::Node(*node),
            _ => Audience::All,
        }
    }
}
