//! Packs: custody and money at check-in and return.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, OutletId, PackId};
use crate::money::PackCharge;

/// Facts about one pack each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackEvent {
    /// The hub sent the pack to an outlet, with its sealed records, which from now on lie in the outlet's slice.
    Shipped {
        /// The pack.
        pack: PackId,
        /// Where it goes.
        outlet: OutletId,
        /// The node that serves the outlet.
        node: NodeId,
        /// The consignment; an outlet may check in all of it at once.
        shipment: u64,
        /// One sealed record per ticket, see [`crate::seal`].
        records: Vec<u8>,
    },
    /// The hub put a hold on the pack, or took it off.
    HoldChanged {
        /// The pack.
        pack: PackId,
        /// The node that serves its outlet.
        node: NodeId,
        /// The new hold.
        hold: PackHold,
    },
    /// The outlet signed for the pack, took it over and was charged: it is on sale.
    CheckedIn {
        /// The pack.
        pack: PackId,
        /// The outlet.
        outlet: OutletId,
        /// What was charged and credited.
        charge: PackCharge,
    },
    /// The outlet sent the untouched pack back: charge and commission are reversed.
    Returned {
        /// The pack.
        pack: PackId,
        /// The outlet.
        outlet: OutletId,
        /// What check-in had moved, now reversed.
        charge: PackCharge,
    },
}

/// Why a pack may neither be sold nor paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PackHold {
    /// No hold.
    None,
    /// Frozen until something is cleared up.
    Frozen,
    /// Reported stolen.
    Stolen,
    /// Reported lost.
    Lost,
    /// Damaged.
    Damaged,
}
