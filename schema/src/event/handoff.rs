//! The move of an outlet from one node to another.
//!
//! ```text
//! hub: Ordered ─▶ old node: RequestsListed*, Released ─▶ hub: RequestsMoved*, RowsMoved*, Arrived ─▶ new node
//!                                                            └▶ Left ─▶ old node
//! ```
//!
//! The old node owns the outlet until `Released` is in its log, nobody until `Arrived` is in the hub's, then the new node. Every step
//! is a fact in a log, so whoever dies in between goes on from its own.

use serde::{Deserialize, Serialize};

use super::Audience;
use crate::id::{NodeId, OutletId};
use crate::money::Money;
use crate::outlet_rows::RowSet;

/// Most requests in one event: 18 bytes each, far within an event's limit.
pub const MOVED_REQUESTS_MAX: usize = 1_000;

/// Where the events that answered a request of an outlet lie, so that a repeat is known at its new node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedRequest {
    /// The request's [index key](super::RequestKey::index_key).
    pub index: i64,
    /// The log that holds its events.
    pub origin: NodeId,
    /// Position of the first of them.
    pub seq: u64,
}

/// Facts about a handoff; `handoff` is its number, given by the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandoffEvent {
    /// The hub asks the node that serves the outlet to let go of it.
    Ordered {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who serves it.
        from: NodeId,
        /// Who shall.
        to: NodeId,
    },
    /// The hub takes that back, if the node has not let go yet.
    Cancelled {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who serves it.
        from: NodeId,
    },
    /// The old node tells which requests of the outlet were answered, up to [`MOVED_REQUESTS_MAX`] at a time.
    RequestsListed {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// They.
        requests: Vec<MovedRequest>,
    },
    /// The old node decides nothing for the outlet any more. Its last word about it.
    Released {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who shall serve it.
        to: NodeId,
    },
    /// Rows of the outlet's slice, on their way to the new node.
    RowsMoved {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who shall serve it.
        to: NodeId,
        /// The rows, in the order in which they may be written.
        rows: Vec<RowSet>,
    },
    /// Answered requests, on their way to the new node.
    RequestsMoved {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who shall serve it.
        to: NodeId,
        /// They.
        requests: Vec<MovedRequest>,
    },
    /// All of it is there: from now on the new node decides for the outlet.
    Arrived {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who served it.
        from: NodeId,
        /// Who serves it.
        to: NodeId,
        /// The balance that it brought along. Fen, ≥ 0.
        balance: Money,
    },
    /// The old node forgets the outlet's rows; where the outlet is now it keeps.
    Left {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who served it.
        from: NodeId,
        /// Who serves it.
        to: NodeId,
        /// The balance that went with it. Fen, ≥ 0.
        balance: Money,
    },
    /// The outlet was let go of for nobody (the handoff was cancelled meanwhile): the node that served it serves it again.
    Returned {
        /// Number of the handoff.
        handoff: u64,
        /// The outlet.
        outlet: OutletId,
        /// Who serves it.
        node: NodeId,
    },
}

impl HandoffEvent {
    /// Whether the hub decides it; the others are the old node's.
    pub(super) const fn is_written_by_hub(&self) -> bool {
        !matches!(self, HandoffEvent::RequestsListed { .. } | HandoffEvent::Released { .. })
    }

    /// The outlet that moves.
    pub const fn outlet(&self) -> OutletId {
        match self {
            HandoffEvent::Ordered { outlet, .. }
            | HandoffEvent::Cancelled { outlet, .. }
            | HandoffEvent::RequestsListed { outlet, .. }
            | HandoffEvent::Released { outlet, .. }
            | HandoffEvent::RowsMoved { outlet, .. }
            | HandoffEvent::RequestsMoved { outlet, .. }
            | HandoffEvent::Arrived { outlet, .. }
            | HandoffEvent::Left { outlet, .. }
            | HandoffEvent::Returned { outlet, .. } => *outlet,
        }
    }

    pub(super) fn audience(&self) -> Audience {
        match self {
            HandoffEvent::Ordered { from, .. }
            | HandoffEvent::Cancelled { from, .. }
            | HandoffEvent::Left { from, .. } => Audience::Node(*from),
            HandoffEvent::RowsMoved { to, .. }
            | HandoffEvent::RequestsMoved { to, .. }
            | HandoffEvent::Arrived { to, .. } => Audience::Node(*to),
            HandoffEvent::Returned { node, .. } => Audience::Node(*node),
            HandoffEvent::RequestsListed { .. } | HandoffEvent::Released { .. } => Audience::HubOnly,
        }
    }

    pub(super) fn amount(&self) -> Option<Money> {
        match self {
            HandoffEvent::Arrived { balance, .. } | HandoffEvent::Left { balance, .. } => Some(*balance),
            _ => None,
        }
    }

    /// As other programs read it. Rows are not shown: they are the outlet's master data, packs and sums once more.
    pub(super) fn view(&self) -> serde_json::Value {
        let view = |kind: &str, handoff: &u64, more: serde_json::Value| {
            let mut view = serde_json::json!({ "kind": kind, "handoff": handoff, "outlet": self.outlet().to_string() });
            if let (Some(view), serde_json::Value::Object(more)) = (view.as_object_mut(), more) {
                view.extend(more);
            }
            view
        };
        let moves = |from: &NodeId, to: &NodeId, balance: &Money| serde_json::json!({ "from_node": from.get(), "to_node": to.get(), "amount_fen": balance.fen() });
        match self {
            HandoffEvent::Ordered { handoff, from, to, .. } => {
                view("handoff_ordered", handoff, serde_json::json!({ "from_node": from.get(), "to_node": to.get() }))
            }
            HandoffEvent::Cancelled { handoff, from, .. } => {
                view("handoff_cancelled", handoff, serde_json::json!({ "from_node": from.get() }))
            }
            HandoffEvent::RequestsListed { handoff, requests, .. } => {
                view("outlet_requests_listed", handoff, serde_json::json!({ "requests": requests.len() }))
            }
            HandoffEvent::Released { handoff, to, .. } => {
                view("outlet_released", handoff, serde_json::json!({ "to_node": to.get() }))
            }
            HandoffEvent::RowsMoved { handoff, to, rows, .. } => view(
                "outlet_rows_moved",
                handoff,
                serde_json::json!({ "to_node": to.get(), "rows": rows.iter().map(RowSet::count).sum::<usize>() }),
            ),
            HandoffEvent::RequestsMoved { handoff, to, requests, .. } => {
                let more = serde_json::json!({ "to_node": to.get(), "requests": requests.len() });
                view("outlet_requests_moved", handoff, more)
            }
            HandoffEvent::Arrived { handoff, from, to, balance, .. } => {
                view("outlet_arrived", handoff, moves(from, to, balance))
            }
            HandoffEvent::Left { handoff, from, to, balance, .. } => {
                view("outlet_left", handoff, moves(from, to, balance))
            }
            HandoffEvent::Returned { handoff, node, .. } => {
                view("outlet_taken_back", handoff, serde_json::json!({ "node": node.get() }))
            }
        }
    }
}
