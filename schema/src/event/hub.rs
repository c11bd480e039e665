//! Facts about the machines of the hub: where they are reached, which of them serve. Written by the hub.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Audience;
use crate::id::{MachineNo, NodeId};
use crate::time::TimeMs;

/// Most links of one machine.
pub const HUB_LINKS_MAX: usize = 8;
/// Greatest weight of a link.
pub const LINK_WEIGHT_MAX: u16 = 1_000;

/// A way to a machine of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubLink {
    /// The carrier's name, the same on every machine: `telecom`, `unicom`. 1 to 32 bytes.
    pub name: String,
    /// Where nodes connect (QUIC).
    pub address: SocketAddr,
    /// Its share among the links, 1 to [`LINK_WEIGHT_MAX`].
    pub weight: u16,
}

/// Whether a machine is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineState {
    /// Nodes and people may use it.
    Serving,
    /// Whoever uses it goes to another one.
    Draining,
    /// It was removed, for ever.
    Retired,
}

/// Facts about the machines of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubEvent {
    /// A number was given to a machine that is about to join.
    MachineInvited {
        /// Its number.
        machine: MachineNo,
        /// Whether it is to vote only.
        voter_only: bool,
    },
    /// A machine told where it is reached. Replaces what it told before.
    MachineDefined {
        /// Which.
        machine: MachineNo,
        /// Where the centre's API listens; `None` for one that serves nobody.
        http: Option<SocketAddr>,
        /// Whether it only votes, and serves nobody.
        voter_only: bool,
        /// Where nodes reach it, by name; empty where they must know it by themselves.
        links: Vec<HubLink>,
    },
    /// A machine is to be used, or no longer.
    MachineStateChanged {
        /// Which.
        machine: MachineNo,
        /// From now on.
        state: MachineState,
    },
    /// The jobs of the hub, of which every result must bear the new fence, are done by this machine.
    LeaseTaken {
        /// Which.
        machine: MachineNo,
    },
    /// A machine has not answered the leader for a while.
    MachineLost {
        /// Which.
        machine: MachineNo,
    },
    /// A machine that was lost answers again.
    MachineReturned {
        /// Which.
        machine: MachineNo,
    },
    /// A person had a machine take over without the consent of the others: what they hold beside its log is void.
    GenerationRaised {
        /// The generation from now on.
        generation: u32,
        /// Which machine took over.
        machine: MachineNo,
    },
    /// A hub that was put back from a copy lacks its own events from this one on: no node had received them. One stands at each of
    /// their places, so that the others keep theirs.
    EventsLost {
        /// Its own position.
        from_seq: u64,
        /// The last one in a row.
        to_seq: u64,
    },
    /// A hub that was put back from a copy has got back from its nodes what they had received.
    FeedRecovered {
        /// When a person said that it was put back. UTC, milliseconds.
        began_at_ms: TimeMs,
        /// Events that came back.
        recovered: u64,
        /// Events that nobody had.
        lost: u64,
        /// Events that nodes had received differently: what most of them had was taken.
        conflicts: u64,
        /// Nodes that were not waited for.
        left_out: Vec<NodeId>,
    },
}

impl MachineState {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            MachineState::Serving => "serving",
            MachineState::Draining => "draining",
            MachineState::Retired => "retired",
        }
    }

    /// As tables hold it.
    pub const fn code(self) -> i64 {
        match self {
            MachineState::Serving => 1,
            MachineState::Draining => 2,
            MachineState::Retired => 3,
        }
    }

    /// From a table; `None` for a number that is no state.
    pub const fn from_code(code: i64) -> Option<Self> {
        match code {
            1 => Some(MachineState::Serving),
            2 => Some(MachineState::Draining),
            3 => Some(MachineState::Retired),
            _ => None,
        }
    }
}

impl HubEvent {
    /// Nodes must know where the hub is; the rest is the hub's own business.
    pub(super) fn audience(&self) -> Audience {
        match self {
            HubEvent::MachineDefined { .. } | HubEvent::MachineStateChanged { .. } => Audience::All,
            HubEvent::MachineInvited { .. }
            | HubEvent::LeaseTaken { .. }
            | HubEvent::MachineLost { .. }
            | HubEvent::MachineReturned { .. }
            | HubEvent::GenerationRaised { .. }
            | HubEvent::EventsLost { .. }
            | HubEvent::FeedRecovered { .. } => Audience::HubOnly,
        }
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        match self {
            HubEvent::MachineInvited { machine, voter_only } => {
                serde_json::json!({"kind": "hub_machine_invited", "machine": machine, "voter_only": voter_only})
            }
            HubEvent::MachineDefined { machine, http, voter_only, links } => serde_json::json!({
                "kind": "hub_machine_defined", "machine": machine, "http": http, "voter_only": voter_only,
                "links": links.iter().map(|link| serde_json::json!({
                    "name": link.name, "address": link.address, "weight": link.weight,
                })).collect::<Vec<_>>(),
            }),
            HubEvent::MachineStateChanged { machine, state } => {
                serde_json::json!({"kind": "hub_machine_state_changed", "machine": machine, "state": state.name()})
            }
            HubEvent::LeaseTaken { machine } => serde_json::json!({"kind": "hub_lease_taken", "machine": machine}),
            HubEvent::MachineLost { machine } => serde_json::json!({"kind": "hub_machine_lost", "machine": machine}),
            HubEvent::MachineReturned { machine } => {
                serde_json::json!({"kind": "hub_machine_returned", "machine": machine})
            }
            HubEvent::GenerationRaised { generation, machine } => {
                serde_json::json!({"kind": "hub_generation_raised", "generation": generation, "machine": machine})
            }
            HubEvent::EventsLost { from_seq, to_seq } => {
                serde_json::json!({"kind": "hub_events_lost", "from_seq": from_seq, "to_seq": to_seq})
            }
            HubEvent::FeedRecovered { began_at_ms, recovered, lost, conflicts, left_out } => serde_json::json!({
                "kind": "hub_feed_recovered", "began_at_ms": began_at_ms.ms(), "recovered": recovered, "lost": lost,
                "conflicts": conflicts, "left_out": left_out.iter().map(|node| node.get()).collect::<Vec<_>>(),
            }),
        }
    }
}
