//! Decisions: a request in, events or a refusal out. Nothing is written here.
//!
//! Each verb reads, checks in a documented order, and only then makes its events; from there on the projection must
//! succeed. A refused request leaves no trace but its count, except where the refusal is itself a fact (a wrong code).

mod claims;
mod packs;
mod refusal;
mod sessions;
mod tickets;

use std::net::IpAddr;

use jikai_schema::barcode::{PackRef, SecurityBarcode, TicketRef};
use jikai_schema::event::{Actor, EventBody, OperatorRole, RequestKey, TokenTag};
use jikai_schema::id::{NodeId, OperatorId, OutletId, PackId, TerminalId};
use jikai_schema::projection::{Projection, ProjectionError};
use jikai_schema::rules::{BatchKeys, Judgement};
use jikai_schema::time::TimeMs;

use crate::rights::{self, Permission, Resource};
use crate::session::Ground;

pub use refusal::{Refusal, claim_hint};

/// Most packs that one request may name or a shipment may hold.
pub const PACKS_MAX: usize = 256;
/// Most tickets that one request may name.
pub const TICKETS_MAX: usize = 20;

/// Who asks: a proven terminal and the person logged in at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// The device.
    pub terminal: TerminalId,
    /// The person.
    pub operator: OperatorId,
    /// What the person may do.
    pub role: OperatorRole,
    /// The address that the request came from; `None` where it came over no network.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// The outlet that both belong to.
    pub fn outlet(&self) -> OutletId {
        self.terminal.outlet()
    }

    /// The actor of the events.
    pub fn actor(&self) -> Actor {
        let (terminal, operator) = (self.terminal, self.operator);
        match self.address {
            Some(address) => Actor::TerminalAt { terminal, operator, address },
            None => Actor::Terminal { terminal, operator },
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Open a session: key and password were proven before.
    OpenSession {
        /// Tag of the token that will be handed out.
        token: TokenTag,
        /// When it ends at the latest.
        expires_at_ms: TimeMs,
        /// What was proven.
        ground: Ground,
    },
    /// Note a wrong password.
    NoteLoginFailure {
        /// Wrong passwords in a row.
        failures: u32,
    },
    /// Note that somebody asked for what only the owner may do.
    NoteRefusal {
        /// The right that was missing, such as `receive packs`.
        request: String,
    },
    /// Close the terminal's session.
    CloseSession,
    /// Sign for packs and check them in.
    ReceivePacks(PackSelection),
    /// Send untouched packs back.
    ReturnPacks(Vec<PackRef>),
    /// Sell tickets by scan.
    SellTickets(Vec<TicketRef>),
    /// Tell what the tickets won; note who asked, and wrong codes. Changes nothing else.
    InquireClaims(Vec<SecurityBarcode>),
    /// Pay all of the tickets, or none.
    PayClaims(Vec<SecurityBarcode>),
}

impl Verb {
    /// The right that it needs; `None` for what belongs to having a session, or to losing one.
    pub const fn needs(&self) -> Option<Permission> {
        match self {
            Verb::OpenSession { .. } | Verb::NoteLoginFailure { .. } => None,
            Verb::NoteRefusal { .. } | Verb::CloseSession => None,
            Verb::ReceivePacks(_) => Some((rights::Verb::Receive, Resource::Packs)),
            Verb::ReturnPacks(_) => Some((rights::Verb::Return, Resource::Packs)),
            Verb::SellTickets(_) => Some((rights::Verb::Sell, Resource::Tickets)),
            Verb::InquireClaims(_) => Some((rights::Verb::Inquire, Resource::Claims)),
            Verb::PayClaims(_) => Some((rights::Verb::Pay, Resource::Claims)),
        }
    }
}

/// Which packs are received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackSelection {
    /// All packs of a consignment that are still on their way.
    Shipment(u64),
    /// These.
    Packs(Vec<PackRef>),
}

/// What was decided: events with the request that each answers, and the reply where it is not in the events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Facts to write, in order.
    pub events: Vec<(EventBody, RequestKey)>,
    /// The judgements of an inquiry, in the order of its codes.
    pub judgements: Vec<Judgement>,
    /// A refusal whose facts are nevertheless written.
    pub refusal: Option<Refusal>,
}

impl Decision {
    fn all(request: RequestKey, bodies: impl IntoIterator<Item = EventBody>) -> Self {
        let events = bodies.into_iter().map(|body| (body, request)).collect();
        Decision { events, ..Decision::default() }
    }
}

/// A decision that could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] ProjectionError),
}

/// Which requests were answered before.
pub trait AnsweredRequests {
    /// Whether events of this very request are in the log.
    fn is_answered(&self, request: &RequestKey) -> Result<bool, ProjectionError>;
}

/// A request with all that its decision may look at besides the rows.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// This node.
    pub node: NodeId,
    /// Who asks.
    pub caller: &'a Caller,
    /// The request that the events will answer.
    pub request: RequestKey,
    /// Stamp of the first event.
    pub now_ms: TimeMs,
    /// Decrypted batch keys.
    pub keys: &'a dyn BatchKeys,
    /// Earlier requests.
    pub answered: &'a dyn AnsweredRequests,
}

/// Decides one request over the rows that `projection` sees. The person's right is asked first, whoever let the request in.
pub fn decide(projection: &mut Projection<'_>, asked: &Asked<'_>, verb: &Verb) -> Result<Decision, DecideError> {
    if verb.needs().is_some_and(|permission| !rights::may(asked.caller.role, permission)) {
        return Err(Refusal::OwnerRequired.into());
    }
    check_outlet_here(projection, asked)?;
    match verb {
        Verb::OpenSession { token, expires_at_ms, ground } => {
            sessions::open(projection, asked, *token, *expires_at_ms, ground)
        }
        Verb::NoteLoginFailure { failures } => Ok(sessions::note_failure(asked, *failures)),
        Verb::NoteRefusal { request } => sessions::note_refusal(asked, request),
        Verb::CloseSession => Ok(sessions::close(asked)),
        Verb::ReceivePacks(selection) => packs::receive(projection, asked, selection),
        Verb::ReturnPacks(packs) => packs::give_back(projection, asked, packs),
        Verb::SellTickets(tickets) => tickets::sell(projection, asked, tickets),
        Verb::InquireClaims(codes) => claims::inquire(projection, asked, codes),
        Verb::PayClaims(codes) => claims::pay(projection, asked, codes),
    }
}

/// Refuses an outlet that was let go of: from then on another node decides for it, and nobody until all of it has arrived there.
fn check_outlet_here(projection: &mut Projection<'_>, asked: &Asked<'_>) -> Result<(), DecideError> {
    let outlet = asked.caller.outlet();
    if let Some(way) = projection.handoff(outlet)?.filter(|way| way.released) {
        return Err(if way.is_arriving() { Refusal::OutletArriving } else { Refusal::OutletMoved(way.to) }.into());
    }
    if projection.outlet(outlet)?.is_none()
        && let Some(to) = projection.moved_to(outlet, asked.node)?
    {
        return Err(Refusal::OutletMoved(to).into());
    }
    Ok(())
}

/// Refuses an outlet that another node serves, or that may not trade.
fn check_outlet_active(projection: &mut Projection<'_>, asked: &Asked<'_>) -> Result<(), DecideError> {
    use jikai_schema::event::OutletStatus;
    match projection.outlet(asked.caller.outlet())? {
        Some(row) if row.node != asked.node => Err(Refusal::OutletElsewhere.into()),
        None => Err(Refusal::OutletElsewhere.into()),
        Some(row) if row.status == OutletStatus::Active => Ok(()),
        Some(_) => Err(Refusal::OutletSuspended.into()),
    }
}

/// The id of a printed pack; `None` for a batch that was not issued to this province.
fn pack_id(projection: &mut Projection<'_>, printed: &PackRef) -> Result<Option<PackId>, DecideError> {
    let batch = projection.batch_no(printed.game, printed.batch)?;
    Ok(batch.and_then(|batch| PackId::new(batch, printed.pack).ok()))
}
