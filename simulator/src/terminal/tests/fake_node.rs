//! A node small enough to trust: it keeps the rules in memory, over real TLS and HTTP/1.1, and lies when asked to.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::locked;
use crate::amount::format_yuan;
use crate::printer::{Pools, Position};
use crate::world::{World, deposit_yuan, terminal_key};

/// How the node misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not at all.
    None,
    /// Every n-th mutation is done, but the connection dies before the reply.
    LosesEveryReply(u64),
    /// The same, and the node forgets what it was asked and answered.
    ForgetsWhatItLost(u64),
    /// Every n-th mutation is not done, for the connection dies: a node that is killed.
    DiesEvery(u64),
    /// The same, and the replies from before are forgotten.
    DiesForgettingEvery(u64),
    /// Behind every n-th reply to a mutation the connection ends: a node that is killed between two requests.
    RestartsEvery(u64),
    /// The same, and all replies are forgotten.
    RestartsForgettingEvery(u64),
    /// Every n-th request ends all sessions before their time.
    EndsSessionsEvery(u64),
    /// Sessions are over at once, and every n-th request ends them all.
    ExpiresSessionsEvery(u64),
    /// Every n-th request is answered with 503.
    IsBusyEvery(u64),
    /// Prizes are one fen too high.
    PaysTooMuch,
    /// A repeat is answered with another time.
    RepeatsDifferently,
    /// Losers win nothing, and winners neither.
    DeniesWinners,
    /// One ticket too many is reported sold, in the totals as in the row.
    MiscountsSales,
    /// The rows of the sales do not add up to the totals.
    MiscountsRows,
    /// Balances are one fen too low.
    MiscountsMoney,
}

/// A ticket's prize level, prize in fen and pack.
struct Ticket {
    id: String,
    pack: String,
    level: u8,
    prize_fen: i64,
}

struct PackRow {
    outlet: String,
    shipment: u64,
    state: &'static str,
    sold: BTreeSet<String>,
    face_fen: i64,
    commission_fen: i64,
    price_fen: i64,
}

#[derive(Default)]
struct State {
    sessions: HashMap<String, String>,
    packs: HashMap<String, PackRow>,
    balances_fen: HashMap<String, i64>,
    paid: HashMap<String, String>,
    /// Prizes paid at each outlet. Fen.
    prizes_fen: HashMap<String, i64>,
    replies: HashMap<String, (u16, Value)>,
}

/// The node.
pub(super) struct FakeNode {
    world: Arc<World>,
    pools: Arc<Pools>,
    fault: Fault,
    state: Mutex<State>,
    requests: AtomicU64,
    /// The connection ends behind the reply that is being sent.
    restarts: AtomicBool,
    /// Mutations that changed something, not counting repeats.
    pub(super) applied: AtomicU64,
    /// Connections accepted.
    pub(super) connections: AtomicU64,
}

struct Request {
    path: String,
    token: Option<String>,
    key: Option<String>,
    body: Value,
}

impl FakeNode {
    /// Starts it. Returns its address and certificate.
    pub(super) async fn start(
        world: Arc<World>,
        pools: Arc<Pools>,
        fault: Fault,
    ) -> (Arc<FakeNode>, SocketAddr, String) {
        let names = world.nodes.iter().map(|node| format!("node-{}.jikai", node.id)).collect::<Vec<_>>();
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        let certificate = CertificateDer::from(issued.cert.der().to_vec());
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State::filled(&world, &pools));
        let (requests, restarts, applied, connections) = Default::default();
        let node = Arc::new(FakeNode { world, pools, fault, state, requests, restarts, applied, connections });
        let (served, acceptor) = (node.clone(), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                served.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(served.clone(), acceptor.clone(), stream));
            }
        });
        (node, address, issued.cert.pem())
    }

    /// The balance of an outlet. Fen.
    pub(super) fn balance_fen(&self, outlet: &str) -> i64 {
        locked(&self.state).balances_fen[outlet]
    }

    /// `None` loses the reply.
    fn answer(&self, request: &Request) -> Option<(u16, Value)> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let mut state = locked(&self.state);
        match request.path.as_str() {
            "/v1/login/challenge" => return Some((200, json!({ "challenge": "Y2hhbGxlbmdl", "expires_at_ms": 1 }))),
            "/v1/login" => return Some(self.log_in(&mut state, &request.body)),
            _ => {}
        }
        match self.fault {
            Fault::EndsSessionsEvery(n) | Fault::ExpiresSessionsEvery(n) if number.is_multiple_of(n) => {
                state.sessions.clear()
            }
            Fault::IsBusyEvery(n) if number.is_multiple_of(n) => return Some((503, json!({ "code": "busy" }))),
            _ => {}
        }
        let terminal = request.token.as_ref().and_then(|token| state.sessions.get(token)).cloned();
        let Some(terminal) = terminal else { return Some((401, json!({ "code": "session_required" }))) };
        let outlet = terminal[..8].to_owned();
        let Some(key) = &request.key else { return Some(self.look(&mut state, &outlet, request)) };
        let key = format!("{terminal}/{key}");
        if let Some((status, mut reply)) = state.replies.get(&key).cloned() {
            if self.fault == Fault::RepeatsDifferently {
                reply["sold_at_ms"] = json!(number);
            }
            return Some((status, reply));
        }
        match self.fault {
            Fault::DiesEvery(n) if number.is_multiple_of(n) => return None,
            Fault::DiesForgettingEvery(n) if number.is_multiple_of(n) => {
                state.replies.clear();
                return None;
            }
            _ => {}
        }
        let reply = self.mutate(&mut state, &outlet, request);
        if reply.0 == 200 {
            self.applied.fetch_add(1, Ordering::Relaxed);
            state.replies.insert(key.clone(), reply.clone());
        }
        match self.fault {
            Fault::ForgetsWhatItLost(n) if number.is_multiple_of(n) => {
                state.replies.remove(&key);
                None
            }
            Fault::LosesEveryReply(n) if number.is_multiple_of(n) => None,
            Fault::RestartsEvery(n) | Fault::RestartsForgettingEvery(n) if number.is_multiple_of(n) => {
                if let Fault::RestartsForgettingEvery(_) = self.fault {
                    state.replies.clear();
                }
                self.restarts.store(true, Ordering::Relaxed);
                Some(reply)
            }
            _ => Some(reply),
        }
    }

    fn log_in(&self, state: &mut State, body: &Value) -> (u16, Value) {
        use base64::Engine;
        use ed25519_dalek::Signature;
        let (terminal, operator) = (body["terminal_id"].as_str().unwrap(), body["operator_id"].as_str().unwrap());
        let known = self.world.terminals.iter().find(|known| known.id == terminal).unwrap();
        let signature = base64::engine::general_purpose::STANDARD.decode(body["signature"].as_str().unwrap()).unwrap();
        let proof = format!("jikai-login-v1\n{terminal}\n{operator}\n{}", body["challenge"].as_str().unwrap());
        let key = terminal_key(self.world.plan.seed, terminal).verifying_key();
        key.verify_strict(proof.as_bytes(), &Signature::from_slice(&signature).unwrap()).unwrap();
        assert_eq!(body["password"], crate::world::password(self.world.plan.seed, operator));
        let token = format!("token-{terminal}-{}", self.requests.load(Ordering::Relaxed));
        state.sessions.insert(token.clone(), terminal.to_owned());
        let shift_ms = if matches!(self.fault, Fault::ExpiresSessionsEvery(_)) { 0 } else { 60_000 };
        (
            200,
            json!({ "token": token, "outlet_id": terminal[..8], "operator_role": known.role.as_str(),
                    "expires_at_ms": super::super::now_ms() + shift_ms }),
        )
    }

    fn mutate(&self, state: &mut State, outlet: &str, request: &Request) -> (u16, Value) {
        match request.path.as_str() {
            "/v1/packs/receive" => state.receive(outlet, &request.body),
            "/v1/packs/return" => state.give_back(outlet, &request.body),
            "/v1/tickets/sell" => self.sell(state, &request.body),
            "/v1/claims/pay" => self.pay(state, outlet, &request.body),
            _ => (404, json!({ "code": "not_found" })),
        }
    }

    fn sell(&self, state: &mut State, body: &Value) -> (u16, Value) {
        let (mut tickets, mut total_fen) = (Vec::new(), 0);
        for name in texts(&body["tickets"]) {
            let ticket = self.find(&name);
            let pack = state.packs.get_mut(&ticket.pack).unwrap();
            if pack.state != "active" || !pack.sold.insert(ticket.id.clone()) {
                return (409, json!({ "code": "ticket_already_sold" }));
            }
            total_fen += pack.price_fen;
            tickets.push(json!({ "ticket": ticket.id, "price_yuan": format_yuan(pack.price_fen) }));
        }
        (200, json!({ "tickets": tickets, "total_yuan": format_yuan(total_fen), "sold_at_ms": 1 }))
    }

    fn pay(&self, state: &mut State, outlet: &str, body: &Value) -> (u16, Value) {
        let codes = texts(&body["codes"]);
        let answers: Vec<Value> = codes.iter().map(|code| self.judge(state, outlet, code)).collect();
        if let Some(refused) = answers.iter().find(|answer| answer["answer"] != "won") {
            return (409, json!({ "code": refused["answer"], "answers": answers }));
        }
        let (mut paid, mut total_fen) = (Vec::new(), 0);
        for code in &codes {
            let ticket = self.find(code);
            let prize_fen = ticket.prize_fen + i64::from(self.fault == Fault::PaysTooMuch);
            total_fen += prize_fen;
            paid.push(json!({ "ticket": ticket.id, "level": ticket.level, "prize_yuan": format_yuan(prize_fen) }));
            state.paid.insert(ticket.id, outlet.to_owned());
            *state.prizes_fen.entry(outlet.to_owned()).or_default() += prize_fen;
            *state.balances_fen.get_mut(outlet).unwrap() += prize_fen;
        }
        (200, json!({ "paid": paid, "total_yuan": format_yuan(total_fen), "paid_at_ms": 1 }))
    }

    fn judge(&self, state: &State, outlet: &str, code: &str) -> Value {
        let ticket = self.find(code);
        let (pool, at) = self.pools.find_ticket(&ticket.id).unwrap();
        let pack = &state.packs[&ticket.pack];
        let answer = match state.paid.get(&ticket.id) {
            _ if pool.security_barcode(at) != code => "wrong_code",
            _ if pack.state == "in_transit" => "pack_not_checked_in",
            _ if pack.state == "returned" => "pack_returned",
            Some(payer) if payer == outlet => "already_paid_here",
            Some(_) => "already_paid_elsewhere",
            None if ticket.level == 0 || self.fault == Fault::DeniesWinners => "not_a_winner",
            None if ticket.prize_fen > 1_000_000 => "go_to_city_centre",
            None => "won",
        };
        match answer {
            "won" => json!({ "ticket": ticket.id, "answer": answer, "level": ticket.level,
                             "prize_yuan": format_yuan(ticket.prize_fen) }),
            _ => json!({ "ticket": ticket.id, "answer": answer }),
        }
    }

    /// A ticket by id, logistics code or security code.
    fn find(&self, text: &str) -> Ticket {
        let (pool, at) = match text.len() {
            29 | 41 => {
                let pool = self.pools.by_code(&text[..5]).unwrap();
                let from = if text.len() == 29 { 16 } else { 10 };
                let digits = &text[from..from + 10];
                (pool, Position { pack: digits[..7].parse().unwrap(), ticket: digits[7..].parse().unwrap() })
            }
            _ => self.pools.find_ticket(text).unwrap(),
        };
        let (id, pack) = (pool.ticket_id(at), pool.pack_id(at.pack));
        Ticket { id, pack, level: pool.level(at), prize_fen: pool.prize_fen(at) }
    }

    fn look(&self, state: &mut State, outlet: &str, request: &Request) -> (u16, Value) {
        let own = || state.packs.iter().filter(|(_, pack)| pack.outlet == outlet);
        let count = |wanted: &str| own().filter(|(_, pack)| pack.state == wanted).count();
        let path = request.path.split('?').next().unwrap();
        let body = match path {
            "/v1/claims/inquire" => {
                let answers = texts(&request.body["codes"])
                    .iter()
                    .map(|code| self.judge(state, outlet, code))
                    .collect::<Vec<_>>();
                json!({ "answers": answers })
            }
            "/v1/stock" => json!({ "games": [{ "in_transit": count("in_transit"), "active": count("active"),
                                               "sold_out": 0, "returned": count("returned") }] }),
            "/v1/packs" => json!({ "packs": own().map(|(id, _)| json!({ "pack": id })).collect::<Vec<_>>() }),
            "/v1/account" => {
                let balance_fen = state.balances_fen[outlet] - i64::from(self.fault == Fault::MiscountsMoney);
                let text = format_yuan(balance_fen);
                json!({ "balance_yuan": text, "held_yuan": "0.00", "available_yuan": text })
            }
            "/v1/account/entries" => json!({ "entries": [] }),
            "/v1/sales" => state.sales(outlet, self.fault),
            _ => return (404, json!({ "code": "not_found" })),
        };
        (200, body)
    }
}

impl State {
    fn filled(world: &World, pools: &Pools) -> State {
        let mut state = State::default();
        for (index, outlet) in world.outlets.iter().enumerate() {
            state.balances_fen.insert(outlet.id.clone(), i64::from(deposit_yuan(world, index)) * 100);
            for consigned in world.stock.of_outlet(index) {
                let pool = &pools.0[consigned.game];
                let row = PackRow {
                    outlet: outlet.id.clone(),
                    shipment: consigned.shipment,
                    state: "in_transit",
                    sold: BTreeSet::new(),
                    face_fen: pool.game.face_fen(),
                    commission_fen: pool.game.commission_fen(),
                    price_fen: pool.game.price_fen(),
                };
                state.packs.insert(pool.pack_id(consigned.pack), row);
            }
        }
        state
    }

    fn sales(&self, outlet: &str, fault: Fault) -> Value {
        let own: Vec<&PackRow> = self.packs.values().filter(|pack| pack.outlet == outlet).collect();
        let was_in = |pack: &&&PackRow| pack.state != "in_transit";
        let is_back = |pack: &&&PackRow| pack.state == "returned";
        let sum = |wanted: &dyn Fn(&&&PackRow) -> bool, amount: &dyn Fn(&PackRow) -> i64| -> i64 {
            own.iter().filter(wanted).map(|pack| amount(pack)).sum()
        };
        let commission_fen = sum(&was_in, &|pack| pack.commission_fen) - sum(&is_back, &|pack| pack.commission_fen);
        let tickets_sold = sum(&was_in, &|pack| pack.sold.len() as i64);
        let row = |tickets_sold: i64| {
            json!({ "packs_checked_in": sum(&was_in, &|_| 1), "packs_returned": sum(&is_back, &|_| 1),
                    "tickets_sold": tickets_sold, "charge_yuan": format_yuan(sum(&was_in, &|pack| pack.face_fen)),
                    "commission_yuan": format_yuan(commission_fen),
                    "return_yuan": format_yuan(sum(&is_back, &|pack| pack.face_fen)),
                    "claims": self.paid.values().filter(|payer| *payer == outlet).count(),
                    "prize_yuan": format_yuan(self.prizes_fen.get(outlet).copied().unwrap_or(0)) })
        };
        let too_many = i64::from(fault == Fault::MiscountsSales);
        let in_rows = i64::from(fault == Fault::MiscountsRows);
        json!({ "rows": [row(tickets_sold + too_many + in_rows)], "totals": row(tickets_sold + too_many) })
    }

    fn receive(&mut self, outlet: &str, body: &Value) -> (u16, Value) {
        let named: Vec<String> = texts(&body["packs"]).iter().map(|name| pack_id(name)).collect();
        let shipment = body["shipment_id"].as_u64();
        let is_meant = |id: &String, pack: &PackRow| named.contains(id) || shipment == Some(pack.shipment);
        let taken: Vec<String> =
            self.packs.iter().filter(|(id, pack)| is_meant(id, pack)).map(|(id, _)| id.clone()).collect();
        let face_fen: i64 = taken.iter().map(|id| self.packs[id].face_fen).sum();
        if self.balances_fen[outlet] < face_fen {
            return (409, json!({ "code": "insufficient_balance" }));
        }
        self.move_packs(outlet, &taken, "in_transit", "active", 1, "charge_yuan")
    }

    fn give_back(&mut self, outlet: &str, body: &Value) -> (u16, Value) {
        let taken: Vec<String> = texts(&body["packs"]).iter().map(|name| pack_id(name)).collect();
        self.move_packs(outlet, &taken, "active", "returned", -1, "refund_yuan")
    }

    fn move_packs(
        &mut self,
        outlet: &str,
        taken: &[String],
        from: &str,
        to: &'static str,
        sign: i64,
        total: &str,
    ) -> (u16, Value) {
        let (mut lines, mut face_fen, mut commission_fen) = (Vec::new(), 0, 0);
        for id in taken {
            let pack = self.packs.get_mut(id).unwrap();
            assert_eq!((pack.outlet.as_str(), pack.state, pack.sold.len()), (outlet, from, 0), "{id}");
            pack.state = to;
            face_fen += pack.face_fen;
            commission_fen += pack.commission_fen;
            lines.push(json!({ "pack": id, "face_yuan": format_yuan(pack.face_fen),
                               "commission_yuan": format_yuan(pack.commission_fen) }));
        }
        *self.balances_fen.get_mut(outlet).unwrap() -= sign * (face_fen - commission_fen);
        (200, json!({ "packs": lines, total: format_yuan(face_fen), "commission_yuan": format_yuan(commission_fen) }))
    }
}

/// A pack by id or label.
fn pack_id(name: &str) -> String {
    match name.len() {
        29 => format!("{}-{}-{}", &name[..5], &name[5..10], &name[16..23]),
        _ => name.to_owned(),
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().map(|list| list.iter().map(|text| text.as_str().unwrap().to_owned()).collect()).unwrap_or_default()
}

async fn serve(node: Arc<FakeNode>, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let Some((status, body)) = node.answer(&request) else { return };
        let body = body.to_string();
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        let is_written = stream.write_all((head + &body).as_bytes()).await.is_ok();
        if !is_written || node.restarts.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}

async fn read_request(stream: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> Option<Request> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
            };
            let length: usize = header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if rest.len() >= length {
                let body = serde_json::from_str(&rest[..length]).unwrap_or(Value::Null);
                let token = header("authorization").and_then(|text| text.strip_prefix("Bearer ").map(str::to_owned));
                let path = head.split_whitespace().nth(1)?.to_owned();
                buffer.drain(..head.len() + 4 + length);
                return Some(Request { path, token, key: header("idempotency-key"), body });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
