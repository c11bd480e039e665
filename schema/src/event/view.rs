//! Events as other programs read them: text ids, decimal-free fen, a `kind`.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::Serialize;

use super::{Actor, Audience, Event, EventBody, MasterEvent, MoneyEvent, PackEvent, SessionEvent, TicketEvent};
use crate::chain::ChainHash;
use crate::id::{BatchCode, BatchNo, GameCode, PackId, TicketId};

/// The printed names of batches, by which packs and tickets are written out.
#[derive(Debug, Default, Clone)]
pub struct BatchNames(BTreeMap<BatchNo, (GameCode, BatchCode)>);

impl BatchNames {
    /// Reads all batches of a store.
    pub fn load(store: &Connection) -> Result<Self, rusqlite::Error> {
        let mut statement = store.prepare_cached("SELECT batch, game, code FROM batch ORDER BY batch")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut names = BTreeMap::new();
        for row in rows {
            let (batch, game, code): (u32, u32, u32) = row?;
            if let (Ok(batch), Ok(game), Ok(code)) =
                (BatchNo::new(batch), GameCode::from_packed(game), BatchCode::new(code))
            {
                names.insert(batch, (game, code));
            }
        }
        Ok(BatchNames(names))
    }

    /// `G0201-26001-0000123`; the bare numbers while the batch is not known.
    pub fn pack(&self, pack: PackId) -> String {
        match self.0.get(&pack.batch()) {
            Some((game, code)) => format!("{game}-{code}-{:07}", pack.number()),
            None => pack.to_string(),
        }
    }

    /// `G0201-26001`; nothing while the batch is not known.
    pub fn batch(&self, batch: BatchNo) -> Option<String> {
        self.0.get(&batch).map(|(game, code)| format!("{game}-{code}"))
    }

    /// The batch of a printed name.
    pub fn batch_of(&self, name: &str) -> Option<BatchNo> {
        self.0.iter().find(|(_, (game, code))| format!("{game}-{code}") == name).map(|(batch, _)| *batch)
    }

    /// `G0201-26001-0000123-045`.
    pub fn ticket(&self, ticket: TicketId) -> String {
        format!("{}-{:03}", self.pack(ticket.pack()), ticket.number())
    }
}

/// One line of an exported log.
#[derive(Debug, Serialize)]
pub struct EventView {
    /// The log: a node's number, 0 for the hub.
    pub origin: u16,
    /// Position in the log.
    pub seq: u64,
    /// When it was decided.
    pub at_ms: i64,
    /// Who caused it.
    pub actor: serde_json::Value,
    /// The request it answers, in hex.
    pub request: Option<String>,
    /// Who receives it; only for events of the hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Chain before it, in hex.
    pub prev: String,
    /// Chain after it, in hex.
    pub hash: String,
    /// The hashed bytes, in base64.
    pub bytes: String,
    /// What happened.
    pub event: serde_json::Value,
}

impl EventView {
    /// Writes out one event with its place in the chain.
    pub fn new(event: &Event, bytes: &[u8], prev: ChainHash, names: &BatchNames) -> Self {
        use base64::Engine;
        let audience = event.key.origin.is_hub().then(|| match event.body.audience() {
            Audience::All => "all".to_string(),
            Audience::Node(node) => format!("node/{node}"),
            Audience::HubOnly => "hub".to_string(),
        });
        EventView {
            origin: event.key.origin.get(),
            seq: event.key.seq,
            at_ms: event.at_ms.ms(),
            actor: actor(&event.actor),
            request: event.request.map(|request| hex::encode(request.id)),
            audience,
            prev: prev.to_string(),
            hash: prev.next(bytes).to_string(),
            bytes: base64::engine::general_purpose::STANDARD.encode(bytes),
            event: body(&event.body, names),
        }
    }
}

fn actor(actor: &Actor) -> serde_json::Value {
    let mut view = match (actor.login(), actor.terminal()) {
        (Some(login), _) => serde_json::json!({ "staff": login }),
        (None, Some((terminal, operator))) => serde_json::json!({
            "terminal": terminal.to_string(),
            "operator": operator.to_string(),
            "outlet": terminal.outlet().to_string(),
        }),
        (None, None) => return "system".into(),
    };
    if let Some(address) = actor.address() {
        view["address"] = address.to_string().into();
    }
    view
}

fn body(body: &EventBody, names: &BatchNames) -> serde_json::Value {
    match body {
        EventBody::Master(event) => master(event),
        EventBody::Pack(event) => pack(event, names),
        EventBody::Ticket(event) => ticket(event, names),
        EventBody::Money(MoneyEvent::DepositCredited { deposit, outlet, node, amount }) => serde_json::json!({
            "kind": "deposit_credited", "deposit": deposit, "outlet": outlet.to_string(), "node": node.get(),
            "amount_fen": amount.fen(),
        }),
        EventBody::Session(SessionEvent::Opened { terminal, operator, expires_at_ms, .. }) => serde_json::json!({
            "kind": "session_opened", "terminal": terminal.to_string(), "operator": operator.to_string(),
            "expires_at_ms": expires_at_ms.ms(),
        }),
        EventBody::Session(SessionEvent::Closed { terminal }) => {
            serde_json::json!({ "kind": "session_closed", "terminal": terminal.to_string() })
        }
        EventBody::Session(SessionEvent::LoginFailed { terminal, operator, failures }) => serde_json::json!({
            "kind": "login_failed", "terminal": terminal.to_string(), "operator": operator.to_string(),
            "failures": failures,
        }),
        EventBody::Session(SessionEvent::RightRefused { terminal, operator, request }) => serde_json::json!({
            "kind": "right_refused", "terminal": terminal.to_string(), "operator": operator.to_string(),
            "request": request,
        }),
        EventBody::Staff(event) => event.view(),
        EventBody::Access(event) => event.view(),
        EventBody::Change(event) => event.view(names),
        EventBody::Secrets(event) => event.view(),
        EventBody::Personal(event) => event.view(),
        EventBody::Machine(event) => event.view(),
        EventBody::Hub(event) => event.view(),
        EventBody::Handoff(event) => event.view(),
        EventBody::Directory(event) => event.view(),
        EventBody::Node(event) => event.view(),
    }
}

fn master(event: &MasterEvent) -> serde_json::Value {
    use serde_json::json;
    match event {
        MasterEvent::DivisionDefined { code, name, parent } => {
            json!({ "kind": "division_defined", "code": code, "name": name, "parent": parent })
        }
        MasterEvent::NodeDefined { node, name, prefectures } => {
            let prefectures: Vec<_> = prefectures.iter().map(|code| code.to_string()).collect();
            json!({ "kind": "node_defined", "node": node.get(), "name": name, "prefectures": prefectures })
        }
        MasterEvent::OutletDefined { outlet, node, township, name, status } => json!({
            "kind": "outlet_defined", "outlet": outlet.to_string(), "node": node.get(), "township": township,
            "name": name, "active": *status == super::OutletStatus::Active,
        }),
        MasterEvent::TerminalDefined { terminal, node, public_key, .. } => json!({
            "kind": "terminal_defined", "terminal": terminal.to_string(), "node": node.get(),
            "public_key": hex::encode(public_key),
        }),
        MasterEvent::OperatorDefined { operator, node, name, role, .. } => json!({
            "kind": "operator_defined", "operator": operator.to_string(), "node": node.get(), "name": name,
            "role": if *role == super::OperatorRole::Owner { "owner" } else { "clerk" },
        }),
        MasterEvent::GameDefined { game, name, price, outlet_limit, city_limit, .. } => json!({
            "kind": "game_defined", "game": game.to_string(), "name": name, "price_fen": price.fen(),
            "outlet_limit_fen": outlet_limit.fen(), "city_limit_fen": city_limit.fen(),
        }),
        MasterEvent::BatchDefined(facts) => json!({
            "kind": "batch_defined", "batch": facts.batch.get(), "game": facts.game.to_string(),
            "code": facts.code.to_string(), "packs": facts.packs, "tickets_per_pack": facts.tickets_per_pack,
            "package_hash": hex::encode(facts.package_hash),
        }),
        MasterEvent::BatchSaleChanged { batch, state } => {
            json!({ "kind": "batch_sale_changed", "batch": batch.get(), "state": state.name() })
        }
        MasterEvent::OutletClassified { outlet, node, class } => json!({
            "kind": "outlet_classified", "outlet": outlet.to_string(), "node": node.get(), "class": class.get(),
        }),
        MasterEvent::RedemptionEndAnnounced { batch, ends_at_ms } => {
            json!({ "kind": "redemption_end_announced", "batch": batch.get(), "ends_at_ms": ends_at_ms.ms() })
        }
    }
}

fn pack(event: &PackEvent, names: &BatchNames) -> serde_json::Value {
    use serde_json::json;
    let moved = |kind: &str, pack: &PackId, outlet: &crate::id::OutletId, charge: &crate::money::PackCharge| {
        json!({
            "kind": kind, "pack": names.pack(*pack), "outlet": outlet.to_string(), "face_fen": charge.face.fen(),
            "prize_fund_fen": charge.prize_fund.fen(), "welfare_fund_fen": charge.welfare_fund.fen(),
            "issue_fee_fen": charge.issue_fee.fen(), "commission_fen": charge.commission.fen(),
        })
    };
    match event {
        PackEvent::Shipped { pack, outlet, node, shipment, .. } => json!({
            "kind": "pack_shipped", "pack": names.pack(*pack), "outlet": outlet.to_string(), "node": node.get(),
            "shipment": shipment,
        }),
        PackEvent::HoldChanged { pack, node, hold } => json!({
            "kind": "pack_hold_changed", "pack": names.pack(*pack), "node": node.get(), "hold": hold.name(),
        }),
        PackEvent::CheckedIn { pack, outlet, charge } => moved("pack_checked_in", pack, outlet, charge),
        PackEvent::Returned { pack, outlet, charge } => moved("pack_returned", pack, outlet, charge),
    }
}

fn ticket(event: &TicketEvent, names: &BatchNames) -> serde_json::Value {
    use serde_json::json;
    match event {
        TicketEvent::Sold { ticket, outlet, price } => json!({
            "kind": "ticket_sold", "ticket": names.ticket(*ticket), "outlet": outlet.to_string(), "price_fen": price.fen(),
        }),
        TicketEvent::Claimed { ticket, outlet, level, prize } => json!({
            "kind": "ticket_claimed", "ticket": names.ticket(*ticket), "outlet": outlet.to_string(), "level": level,
            "prize_fen": prize.fen(),
        }),
        TicketEvent::WrongCodePresented { ticket, outlet, locks } => json!({
            "kind": "wrong_code_presented", "ticket": names.ticket(*ticket), "outlet": outlet.to_string(), "locks": locks,
        }),
        TicketEvent::Inquired { outlet, tickets } => json!({
            "kind": "tickets_inquired", "outlet": outlet.to_string(),
            "tickets": tickets.iter().map(|ticket| names.ticket(*ticket)).collect::<Vec<_>>(),
        }),
        TicketEvent::Scratched { ticket, outlet } => json!({
            "kind": "ticket_scratched", "ticket": names.ticket(*ticket), "outlet": outlet.to_string(),
        }),
        TicketEvent::ImpossibleTicketPresented { ticket, outlet } => json!({
            "kind": "impossible_ticket_presented", "ticket": names.ticket(*ticket), "outlet": outlet.to_string(),
        }),
    }
}
