//! Money that moves without a pack or a ticket.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, OutletId};
use crate::money::Money;

/// Facts about money, decided by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MoneyEvent {
    /// A deposit of the outlet arrived and was credited.
    DepositCredited {
        /// The deposit's own number, unique for ever.
        deposit: u64,
        /// Whose account.
        outlet: OutletId,
        /// The node that serves the outlet.
        node: NodeId,
        /// Fen, > 0.
        amount: Money,
    },
}
