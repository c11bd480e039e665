//! Events: immutable facts, past tense. One enum a family, each in its file.
//!
//! **Append only.** Postcard stores a variant's position and no field names: variants are added at the end, fields
//! never change in place; a changed fact is a new variant. `golden` pins the bytes of every variant.

mod access;
mod actor;
mod change;
mod directory;
#[cfg(test)]
mod golden;
mod handoff;
mod hub;
mod kinds;
mod machine;
mod master;
mod money;
mod node;
mod pack;
mod personal;
mod secrets;
mod session;
mod staff;
mod ticket;
mod view;

use serde::{Deserialize, Serialize};

pub use access::AccessEvent;
pub use actor::{Actor, RequestId, RequestKey};
pub use change::{ChangeEvent, subject_view};
pub use directory::DirectoryEvent;
pub use handoff::{HandoffEvent, MOVED_REQUESTS_MAX, MovedRequest};
pub use hub::{HUB_LINKS_MAX, HubEvent, HubLink, LINK_WEIGHT_MAX, MachineState};
pub use kinds::{KINDS, kinds_like};
pub use machine::{CommandRun, MachineEvent};
pub use master::{BatchFacts, MasterEvent, OperatorRole, OutletStatus, PrizeLevel, SaleState, TerminalKind};
pub use money::MoneyEvent;
pub use node::NodeEvent;
pub use pack::{PackEvent, PackHold};
pub use personal::PersonalEvent;
pub use secrets::SecretsEvent;
pub use session::{SessionEvent, TokenTag};
pub use staff::{Proof, SessionNo, StaffEvent};
pub use ticket::TicketEvent;
pub use view::{BatchNames, EventView};

use crate::id::NodeId;
use crate::money::Money;
use crate::time::TimeMs;

/// Where a fact stands: the log that holds it and its place there. Also the key of rows that have no business id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventKey {
    /// The decider: a node, or the hub.
    pub origin: NodeId,
    /// Position in that log, from 1, without gaps.
    pub seq: u64,
}

/// A fact with who, when and in answer to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Log and position.
    pub key: EventKey,
    /// When it was decided; never goes back within a log. A node's grow; the hub's facts that were decided together share one.
    pub at_ms: TimeMs,
    /// Who caused it.
    pub actor: Actor,
    /// The request it answers; several events of one request stand next to each other.
    pub request: Option<RequestKey>,
    /// What happened.
    pub body: EventBody,
}

impl Event {
    /// Its version byte: that of the release that first knew its variant and its sort of actor.
    pub const fn since(&self) -> u8 {
        let (body, actor) = (self.body.since(), self.actor.since());
        if body > actor { body } else { actor }
    }
}

/// What happened, by family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventBody {
    /// Divisions, nodes, outlets, terminals, operators, games, batches.
    Master(MasterEvent),
    /// Packs: shipped, held, checked in, returned.
    Pack(PackEvent),
    /// Tickets: sold, claimed, wrong code.
    Ticket(TicketEvent),
    /// Money that moves without a pack or ticket.
    Money(MoneyEvent),
    /// Terminal sessions.
    Session(SessionEvent),
    /// The centre's staff.
    Staff(StaffEvent),
    /// Devices and persons of outlets, certificates of nodes.
    Access(AccessEvent),
    /// What one person proposed and another decided, and parameters.
    Change(ChangeEvent),
    /// Under which keys the secrets of the state lie.
    Secrets(SecretsEvent),
    /// Personal data: that it is kept or was read.
    Personal(PersonalEvent),
    /// What was done on the machines by command line.
    Machine(MachineEvent),
    /// The machines of the hub: where they are reached, which of them serve.
    Hub(HubEvent),
    /// Outlets that move from node to node.
    Handoff(HandoffEvent),
    /// Where terminals reach the nodes.
    Directory(DirectoryEvent),
    /// The stores of nodes: replaced, copied.
    Node(NodeEvent),
}

/// Who receives an event of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Audience {
    /// Every node.
    All,
    /// One node: the fact lies in its slice.
    Node(NodeId),
    /// Nobody but the hub.
    HubOnly,
}

impl EventBody {
    /// Whether the hub decides such facts (DESIGN §3: no fact has two writers). The others are the nodes'.
    pub fn is_written_by_hub(&self) -> bool {
        match self {
            EventBody::Master(_) | EventBody::Money(_) | EventBody::Staff(_) | EventBody::Hub(_) => true,
            EventBody::Access(_) | EventBody::Change(_) | EventBody::Secrets(_) => true,
            EventBody::Personal(_) | EventBody::Machine(MachineEvent::RunAtHub(_)) | EventBody::Directory(_) => true,
            EventBody::Machine(MachineEvent::RunAtNode(_)) => false,
            EventBody::Pack(PackEvent::Shipped { .. } | PackEvent::HoldChanged { .. }) => true,
            EventBody::Pack(PackEvent::CheckedIn { .. } | PackEvent::Returned { .. }) => false,
            EventBody::Node(_) => true,
            EventBody::Ticket(_) | EventBody::Session(_) => false,
            EventBody::Handoff(event) => event.is_written_by_hub(),
        }
    }

    /// The version byte of its variant: that of the release that first wrote it. A variant added after release 1 has its
    /// arm here and raises [`EVENT_VERSION`](crate::codec::EVENT_VERSION).
    const fn since(&self) -> u8 {
        match self {
            EventBody::Staff(StaffEvent::ConfirmationOffered { .. } | StaffEvent::Confirmed { .. }) => 2,
            EventBody::Node(_) => 4,
            EventBody::Hub(HubEvent::EventsLost { .. } | HubEvent::FeedRecovered { .. }) => 4,
            EventBody::Hub(_) => 3,
            EventBody::Handoff(_) => 4,
            EventBody::Ticket(TicketEvent::Scratched { .. } | TicketEvent::ImpossibleTicketPresented { .. }) => 3,
            EventBody::Directory(_) => 4,
            _ => 1,
        }
    }

    /// The money that the fact moves or names; `None` where it names none.
    pub fn amount(&self) -> Option<Money> {
        match self {
            EventBody::Pack(PackEvent::CheckedIn { charge, .. } | PackEvent::Returned { charge, .. }) => {
                Some(charge.face)
            }
            EventBody::Ticket(TicketEvent::Claimed { prize: amount, .. } | TicketEvent::Sold { price: amount, .. })
            | EventBody::Money(MoneyEvent::DepositCredited { amount, .. }) => Some(*amount),
            EventBody::Pack(_) | EventBody::Ticket(_) | EventBody::Master(_) | EventBody::Session(_) => None,
            EventBody::Staff(_) | EventBody::Access(_) | EventBody::Change(_) | EventBody::Secrets(_) => None,
            EventBody::Personal(_) | EventBody::Machine(_) | EventBody::Hub(_) | EventBody::Directory(_) => None,
            EventBody::Handoff(event) => event.amount(),
            EventBody::Node(_) => None,
        }
    }

    /// Who receives the event when the hub is its origin.
    pub fn audience(&self) -> Audience {
        match self {
            EventBody::Master(event) => event.audience(),
            EventBody::Access(event) => event.audience(),
            EventBody::Change(event) => event.audience(),
            EventBody::Secrets(event) => event.audience(),
            EventBody::Personal(event) => event.audience(),
            EventBody::Machine(event) => event.audience(),
            EventBody::Hub(event) => event.audience(),
            EventBody::Handoff(event) => event.audience(),
            EventBody::Directory(event) => event.audience(),
            EventBody::Node(event) => event.audience(),
            EventBody::Pack(PackEvent::Shipped { node, .. } | PackEvent::HoldChanged { node, .. }) => {
                Audience::Node(*node)
            }
            EventBody::Money(MoneyEvent::DepositCredited { node, .. }) => Audience::Node(*node),
            EventBody::Pack(_) | EventBody::Ticket(_) | EventBody::Session(_) | EventBody::Staff(_) => {
                Audience::HubOnly
            }
        }
    }
}
