//! Every address of the terminals' API as everybody: what is answered is what `walk.txt` says, and nothing of another outlet.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::collections::BTreeSet;
use std::fmt::Write;

use api::{Answer, Api, from_the_machine, problem};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use jikai_node::decide::Caller;
use jikai_node::http::guarded;
use jikai_node::rights::{Needs, ROUTES, Route, may, permissions_of, route_of, words};
use jikai_schema::event::{AccessEvent, EventBody, MasterEvent, OperatorRole, PackEvent};
use jikai_schema::id::{BatchCode, BatchNo, PackId};
use jikai_schema::seal::RECORD_BYTES;
use outlet::*;
use serde_json::{Value, json};
use tower::ServiceExt;

const SNAPSHOT: &str = include_str!("walk.txt");
/// The consignment of what is on its way to outlet 2.
const SHIPMENT: u64 = 777;
/// The number of outlet 2's deposit.
const DEPOSIT: u64 = 987_654;
/// The game of outlet 2 alone.
const GAME: &str = "J1777";

/// What belongs to an outlet: a pack on its way, one that is untouched, one that was sold from and paid for.
struct Things {
    shipment: u64,
    on_its_way: u32,
    untouched: u32,
    opened: u32,
}

const THINGS: [Things; 2] = [
    Things { shipment: 5, on_its_way: 3, untouched: 2, opened: 1 },
    Things { shipment: SHIPMENT, on_its_way: 21, untouched: 22, opened: 9 },
];

/// Who asks.
struct Asker {
    name: &'static str,
    /// Whose session it is, opened anew for each question.
    caller: Option<Caller>,
    /// The token of a session that has ended.
    ended: Option<String>,
    /// The outlet whose things the bodies name; never the own one.
    names: u32,
}

impl Asker {
    fn with_session(name: &'static str, caller: Caller, names: u32) -> Self {
        Asker { name, caller: Some(caller), ended: None, names }
    }

    fn without(name: &'static str, ended: Option<String>) -> Self {
        Asker { name, caller: None, ended, names: 1 }
    }

    async fn token(&self, api: &Api) -> Option<String> {
        match self.caller {
            Some(caller) => Some(api.token_of(caller).await),
            None => self.ended.clone(),
        }
    }
}

fn pack_name(number: u32) -> String {
    format!("J1001-26001-{number:07}")
}

/// What is sent to an address: good bodies that name things of this outlet, each with the code by which another outlet is
/// refused.
fn bodies(path: &str, of: u32) -> Vec<(Value, &'static str)> {
    let Things { shipment, on_its_way, untouched, opened } = &THINGS[of as usize - 1];
    let (terminal_id, signature) = (terminal(1).to_string(), STANDARD.encode([7; 64]));
    match path {
        "/v1/packs/receive" => vec![
            (json!({ "packs": [pack_name(*on_its_way)] }), "pack_not_yours"),
            (json!({ "shipment_id": shipment }), "shipment_unknown"),
        ],
        "/v1/packs/return" => vec![(json!({ "packs": [pack_name(*untouched)] }), "pack_not_yours")],
        "/v1/tickets/sell" => {
            vec![(json!({ "tickets": [format!("{}-001", pack_name(*opened))] }), "pack_not_yours")]
        }
        // Any outlet pays any ticket of the region, once.
        "/v1/claims/pay" => vec![(json!({ "codes": [code(*opened, 2)] }), "already_paid_elsewhere")],
        "/v1/claims/inquire" => vec![(json!({ "codes": [code(*opened, 2)] }), "")],
        "/v1/login/challenge" => vec![(json!({ "terminal_id": terminal_id }), "")],
        "/v1/login" => {
            let person = json!({ "terminal_id": terminal_id, "operator_id": terminal_id, "password": PASSWORD,
                "challenge": "made-up", "signature": signature });
            vec![(person, "")]
        }
        "/v1/enrolment" => {
            let (public_key, code) = (STANDARD.encode([7; 32]), "made-up");
            let device = json!({ "terminal_id": terminal_id, "code": code, "public_key": public_key,
                "signature": signature });
            vec![(device, "")]
        }
        _ => vec![(json!({}), "")],
    }
}

/// Further questions to an address, by which one might reach further than one may. `mark` is outlet 2's.
fn queries(path: &str, mark: &str) -> Vec<String> {
    match path {
        "/v1/packs" => {
            let before = pack(THINGS[1].opened).key() - 1;
            vec![String::new(), "?state=active&limit=200".into(), format!("?after={before}")]
        }
        "/v1/sales" => vec![String::new(), "?by=game".into(), "?by=day".into()],
        "/v1/account/entries" => vec![String::new(), "?limit=200".into(), format!("?before={mark}")],
        _ => vec![String::new()],
    }
}

async fn ask(api: &Api, method: &str, path: &str, token: Option<&str>, key: u32, body: &Value) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request = request.header("idempotency-key", format!("walk-{key:016}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    api.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// A game that only outlet 2 sells, and two packs of it.
fn game_of_outlet_2() -> Vec<EventBody> {
    let (game, batch) = (GAME.parse().unwrap(), BatchNo::new(2).unwrap());
    let mut facts = world();
    facts.truncate(3);
    for fact in &mut facts {
        match fact {
            EventBody::Master(MasterEvent::GameDefined { game: code, name, price, .. }) => {
                (*code, *name, *price) = (game, "邻站".to_string(), "7.00".parse().unwrap());
            }
            EventBody::Master(MasterEvent::BatchDefined(known)) => {
                (known.batch, known.game, known.code) = (batch, game, BatchCode::new(26_002).unwrap());
            }
            EventBody::Master(MasterEvent::BatchSaleChanged { batch: known, .. }) => *known = batch,
            other => panic!("{other:?}"),
        }
    }
    let records = vec![0; usize::from(TICKETS) * RECORD_BYTES];
    facts.extend([1, 2].map(|number| {
        let pack = PackId::new(batch, number).unwrap();
        let (outlet, node, shipment, records) = (outlet(2), node(), SHIPMENT, records.clone());
        EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment, records })
    }));
    facts
}

/// Two outlets at work: each has packs in every state, has sold a ticket and paid one.
async fn two_outlets() -> Api {
    let mut api = Api::open(1_000).await;
    let Things { shipment, on_its_way, untouched, .. } = THINGS[1];
    let mut facts = vec![deposit_of(2, DEPOSIT, "7777.77")];
    facts.extend([on_its_way, untouched].map(|number| shipped_in(shipment, number, 2)));
    facts.extend(game_of_outlet_2());
    api.hub(facts).await;
    for (number, Things { untouched, opened, .. }) in [(1, &THINGS[0]), (2, &THINGS[1])] {
        let token = api.token_of(owner(number)).await;
        let mut received = vec![pack_name(*untouched), pack_name(*opened)];
        received.extend((number == 2).then(|| format!("{GAME}-26002-0000001")));
        for (key, (path, body)) in [
            ("/v1/packs/receive", json!({ "packs": received })),
            ("/v1/tickets/sell", json!({ "tickets": [format!("{}-005", pack_name(*opened))] })),
            ("/v1/claims/pay", json!({ "codes": [code(*opened, 2)] })),
        ]
        .into_iter()
        .enumerate()
        {
            let key = format!("world-{number}-{key:010}");
            let answer = api.post(Some(&token), Some(&key), path, body.to_string()).await;
            assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        }
    }
    api
}

/// All that an outlet's owner sees of it.
async fn picture(api: &Api, number: u32) -> String {
    let token = api.token_of(owner(number)).await;
    let mut picture = String::new();
    for path in [
        "/v1/packs?limit=200",
        "/v1/stock",
        "/v1/sales",
        "/v1/sales?by=game",
        "/v1/account",
        "/v1/account/entries?limit=200",
    ] {
        let answer = api.get(&token, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
        writeln!(picture, "{path}: {}", answer.body).unwrap();
    }
    picture
}

/// Texts by which things of outlet 2 are known; its owner sees all of them.
async fn marks_of_outlet_2(api: &Api) -> Vec<String> {
    let token = api.token_of(owner(2)).await;
    let balance = api.get(&token, "/v1/account").await.body["balance_yuan"].to_string();
    let charged = api.get(&token, "/v1/sales").await.body["totals"]["charge_yuan"].to_string();
    let Things { on_its_way, untouched, opened, shipment } = THINGS[1];
    let mut marks = vec![
        balance,
        charged,
        GAME.into(),
        format!("\"{DEPOSIT}\""),
        format!("\"shipment_id\":{shipment}"),
        "7777.77".into(),
    ];
    marks.extend([on_its_way, untouched, opened].map(pack_name));
    let seen = picture(api, 2).await;
    for mark in &marks {
        assert!(seen.contains(mark), "{mark} tells nothing: {seen}");
    }
    marks.push(outlet(2).to_string());
    marks
}

async fn askers(api: &mut Api) -> Vec<Asker> {
    // Nobody logs in there again, which would end the session too.
    api.hub([outlet_bodies(3), outlet_bodies(4)].concat()).await;
    let logged_out = api.token_of(owner(4)).await;
    let answer = api.post(Some(&logged_out), None, "/v1/logout", "{}").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let revoked = api.token_of(owner(3)).await;
    assert_eq!(api.get(&revoked, "/v1/account").await.status, StatusCode::OK);
    let (terminal, node, reason) = (terminal(3), node(), "lost".to_string());
    api.hub(vec![EventBody::Access(AccessEvent::TerminalRevoked { terminal, node, reason })]).await;
    vec![
        Asker::without("nobody", None),
        Asker::with_session("clerk", clerk(1), 2),
        Asker::with_session("owner", owner(1), 2),
        Asker::with_session("owner_of_outlet_2", owner(2), 1),
        Asker::without("logged_out", Some(logged_out)),
        Asker::without("at_a_revoked_terminal", Some(revoked)),
    ]
}

/// Whether this is the answer to one who may not. A wrong password or code is nothing that anybody may not try.
fn is_refused(answer: &Answer) -> bool {
    let tried = ["login_failed", "enrolment_refused"];
    matches!(answer.status.as_u16(), 401 | 403) && !tried.iter().any(|code| answer.body["code"] == *code)
}

/// The walk of everybody through one address.
struct Walk {
    api: Api,
    askers: Vec<Asker>,
    /// Where outlet 2's statement goes on.
    mark: String,
    /// By which outlet 2's things are known.
    marks: Vec<String>,
    pairs: u32,
}

impl Walk {
    /// Who is admitted.
    async fn through(&mut self, route: &Route) -> String {
        let path = route.path.replace("{*rest}", "index.css");
        let mut admitted = Vec::new();
        for asker in &self.askers {
            let mut refused = false;
            for query in queries(&path, &self.mark) {
                for (body, code) in bodies(&path, asker.names) {
                    self.pairs += 1;
                    let token = asker.token(&self.api).await;
                    let asked = format!("{path}{query}");
                    let answer = ask(&self.api, route.method, &asked, token.as_deref(), self.pairs, &body).await;
                    refused = is_refused(&answer);
                    self.check(asker, route, &asked, &answer, code);
                }
            }
            if !refused {
                admitted.push(asker.name);
            }
        }
        let all = admitted.len() == self.askers.len();
        if all { "everybody".to_string() } else { admitted.join(" ") }
    }

    fn check(&self, asker: &Asker, route: &Route, asked: &str, answer: &Answer, code: &str) {
        let (status, refused) = (answer.status.as_u16(), is_refused(answer));
        let asked = format!("{} {asked} as {}: {status} {}", route.method, asker.name, answer.body);
        assert!(status < 500 || answer.body["code"] == "hub_unreachable", "{asked}");
        let forged_mark = answer.body["code"] == "invalid_page";
        assert!(refused || forged_mark || !matches!(status, 400 | 415 | 422), "no good question: {asked}");
        if let Needs::May(permission) = route.needs {
            let role = asker.caller.map(|caller| caller.role);
            let may = role.is_some_and(|role| may(role, permission));
            assert_eq!(!refused, may, "not the answer of the table: {asked}");
        }
        if asker.ended.is_some() && matches!(route.needs, Needs::May(_) | Needs::Session) {
            assert_eq!(problem(answer, 401), "session_expired", "{asked}");
        }
        if !refused && !code.is_empty() {
            assert_eq!(answer.body["code"], code, "{asked}");
        }
        // Whoever names a thing is told its name: what was not named is looked for.
        let known = if route.method == "GET" { self.marks.as_slice() } else { &self.marks[self.marks.len() - 1..] };
        if asker.caller.is_some_and(|caller| caller.outlet() == outlet(1)) {
            let text = answer.body.to_string();
            let leaked: Vec<&String> = known.iter().filter(|mark| text.contains(mark.as_str())).collect();
            assert!(leaked.is_empty(), "{leaked:?} of outlet 2: {asked}");
        }
    }
}

#[tokio::test]
async fn every_address_answers_exactly_those_whom_the_snapshot_names_and_nothing_of_another_outlet() {
    let mut api = two_outlets().await;
    let marks = marks_of_outlet_2(&api).await;
    let page = api.get(&api.token_of(owner(2)).await, "/v1/account/entries?limit=1").await;
    let mark = page.body["next"].as_str().unwrap().to_string();
    let askers = askers(&mut api).await;
    let before = [picture(&api, 1).await, picture(&api, 2).await];
    let mut walk = Walk { api, askers, mark, marks, pairs: 0 };
    let mut routes: Vec<&Route> = ROUTES.iter().collect();
    // Logging out comes last.
    routes.sort_by_key(|route| (route.path == "/v1/logout", route.path, route.method));
    let mut text = String::new();
    for route in routes {
        let admitted = walk.through(route).await;
        writeln!(text, "{} {}: {admitted}", route.method, route.path).unwrap();
    }
    let after = [picture(&walk.api, 1).await, picture(&walk.api, 2).await];
    assert_eq!(after, before, "the walk changed packs, sales or the account of an outlet");
    assert!(text == SNAPSHOT, "the rights changed; if that was meant, put this into walk.txt:\n{text}");
    // Written past the capture of the test harness: `make test` shows how much was checked.
    use std::io::Write;
    writeln!(std::io::stdout(), "node: route × role pairs checked: {}", walk.pairs).unwrap();
}

#[tokio::test]
async fn a_route_that_is_not_declared_is_refused_to_everybody_with_every_right() {
    let api = Api::open(1_000).await;
    let open = || async { "open" };
    let routes = Router::new()
        .route("/v1/everything", get(open))
        .route("/v1/stock", get(open).merge(post(open)))
        .route("/health/live", get(open).merge(post(open)));
    let router = guarded(routes, api.app.clone()).layer(from_the_machine());
    let token = api.token_of(owner(1)).await;
    let ask = async |method: &str, path: &str, token: Option<&str>| {
        let request = Request::builder().method(method).uri(path);
        let request =
            token.iter().fold(request, |request, token| request.header("authorization", format!("Bearer {token}")));
        let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    };
    for (method, path) in [("GET", "/v1/everything"), ("POST", "/v1/stock"), ("POST", "/health/live")] {
        assert!(route_of(method, path).is_none(), "{method} {path} is declared");
        for token in [None, Some(token.as_str()), Some("bm9uZQ")] {
            let (status, body) = ask(method, path, token).await;
            assert!(status == 403 && body.contains(r#""code":"not_declared""#), "{method} {path}: {status} {body}");
        }
    }
    // Beside them, what is declared is asked for what it needs and let through.
    assert_eq!(ask("GET", "/health/live", None).await, (200, "open".to_string()));
    assert_eq!(ask("GET", "/v1/stock", None).await.0, 401);
    assert_eq!(ask("GET", "/v1/stock", Some(&token)).await, (200, "open".to_string()));
}

#[tokio::test]
async fn the_openapi_document_and_the_declared_addresses_are_the_same() {
    let api = Api::open(1_000).await;
    let document = api.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.body;
    let declared = ROUTES.iter().filter(|route| !route.path.starts_with("/docs") && route.path != "/openapi.json");
    let declared: BTreeSet<String> = declared.map(|route| format!("{} {}", route.method, route.path)).collect();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods: Vec<String> = methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        methods.into_iter().map(move |method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    let documented: BTreeSet<String> = document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    assert_eq!(declared, documented);
}

#[tokio::test]
async fn a_session_tells_exactly_what_its_person_may() {
    let api = Api::open(1_000).await;
    for (operator, role) in [(clerk(1).operator, OperatorRole::Clerk), (owner(1).operator, OperatorRole::Owner)] {
        let token = api.token(operator).await;
        let session = api.get(&token, "/v1/session").await.body;
        let told: Vec<String> = session["permissions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|permission| {
                format!("{} {}", permission["verb"].as_str().unwrap(), permission["resource"].as_str().unwrap())
            })
            .collect();
        assert_eq!(told, permissions_of(role).map(words).collect::<Vec<_>>());
        assert_eq!(session["outlet_id"], "13010001");
    }
    assert_eq!(problem(&api.get("bm9uZQ", "/v1/session").await, 401), "session_expired");
}

#[tokio::test]
async fn who_names_another_outlet_in_a_question_is_refused_and_not_answered_about_the_own_one() {
    let api = Api::open(1_000).await;
    let token = api.token(owner(1).operator).await;
    for path in ["/v1/packs?outlet=13010002", "/v1/sales?by=day&outlet=13010002"] {
        assert_eq!(problem(&api.get(&token, path).await, 400), "malformed_request", "{path}");
    }
}
