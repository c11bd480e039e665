//! Commands of maker and checker.

use serde::{Deserialize, Serialize};

use super::Deposit;
use crate::event::{MasterEvent, PackHold, SaleState};
use crate::id::{BatchCode, BatchNo, GameCode, OutletClass, OutletId, PackId};
use crate::parameter::ParameterScope;
use crate::staff::Grant;
use crate::time::{BusinessDay, TimeMs};

/// What is to be done about a change. The actor of the proposal is who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeCommand {
    /// Propose a change, for another person to decide.
    Propose {
        /// What it does.
        subject: ChangeSubject,
        /// Why.
        reason: String,
    },
    /// Approve and apply it.
    Approve {
        /// Which.
        number: u32,
    },
    /// Refuse it.
    Refuse {
        /// Which.
        number: u32,
        /// Why.
        reason: String,
    },
    /// Take the own one back.
    Withdraw {
        /// Which.
        number: u32,
    },
}

/// What needs two persons. Append only: changes that wait are stored in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeSubject {
    /// Set a parameter.
    Parameter {
        /// Its key.
        key: String,
        /// Where.
        scope: ParameterScope,
        /// In its unit.
        value: i64,
        /// First instant; the approval, if that comes later.
        effective_from_ms: TimeMs,
    },
    /// Define a game: price, shares, limits.
    Game(MasterEvent),
    /// Open, pause or stop the sale of a batch.
    Sale {
        /// The batch.
        batch: BatchNo,
        /// The new state.
        state: SaleState,
        /// Approval number and day of the public notice; needed to open.
        approval: Option<(String, BusinessDay)>,
    },
    /// Announce the instant from which claims are refused.
    RedemptionEnd {
        /// The batch.
        batch: BatchNo,
        /// First instant without redemption.
        ends_at_ms: TimeMs,
    },
    /// Put a hold on a pack, or take it off.
    Hold {
        /// The pack.
        pack: PackId,
        /// The new hold.
        hold: PackHold,
    },
    /// Credit a deposit by hand.
    Deposit(Deposit),
    /// Replace what is granted to a person.
    Grants {
        /// To whom.
        login: String,
        /// All that is granted from then on.
        grants: Vec<Grant>,
    },
    /// Release a printer's package for import: each of the two persons has looked at the delivery.
    PrizeData {
        /// The game.
        game: GameCode,
        /// The printer's code of the batch.
        code: BatchCode,
        /// SHA-256 of the signed PACKAGE file.
        package_hash: [u8; 32],
    },
    /// Give an outlet a class, by which parameters may differ.
    OutletClass {
        /// The outlet.
        outlet: OutletId,
        /// Its class.
        class: OutletClass,
    },
}

impl ChangeSubject {
    /// The name of its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            ChangeSubject::Parameter { .. } => "parameter",
            ChangeSubject::Game(_) => "game",
            ChangeSubject::Sale { .. } => "sale",
            ChangeSubject::RedemptionEnd { .. } => "redemption_end",
            ChangeSubject::Hold { .. } => "hold",
            ChangeSubject::Deposit(_) => "deposit",
            ChangeSubject::Grants { .. } => "grants",
            ChangeSubject::PrizeData { .. } => "prize_data",
            ChangeSubject::OutletClass { .. } => "outlet_class",
        }
    }
}
