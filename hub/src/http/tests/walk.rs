//! Every address as everybody: what is answered is what `walk.txt` says, nothing is answered that is not declared, and
//! who may only act in prefecture 1302 gets nothing of 1301.

use std::collections::BTreeSet;
use std::fmt::Write;

use axum::Router;
use axum::body::to_bytes;
use jikai_schema::command::{ChangeCommand, Command, Outcome, StaffCommand};
use jikai_schema::event::Actor;
use jikai_schema::id::PrefectureCode;
use jikai_schema::staff::{Area, Grant, Role};
use serde_json::Value;
use tower::ServiceExt;

use super::questions::{KINDS, Question, Who, questions, subject};
use super::rights::{Settled, signed_in};
use super::{app, router, worked};
use crate::http::subjects::SubjectBody;
use crate::identity::IdentityFiles;
use crate::province::{NodeLog, Running, check_in, claim, secrets_in};
use crate::rights::{Needs, ROUTES, Reach};

const SNAPSHOT: &str = include_str!("walk.txt");

/// The status and the body of an answer.
async fn ask(router: &Router, question: &Question, who: &Who, serial: u32) -> (u16, Value) {
    let response = router.clone().oneshot(question.request(who, serial)).await.unwrap();
    let status = response.status().as_u16();
    assert!(status < 500, "{} answered {status}", question.name());
    let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Each prefecture has sold, paid twice by mistake and knows its people; of each kind two changes wait, and so does an access
/// of the vendor.
async fn eventful() -> Running {
    let hub = Running::set_up().await;
    for (number, pack, outlet) in [(1, 1, 13_010_001), (2, 3, 13_020_001)] {
        let facts = vec![check_in(pack, outlet), claim(pack, 0, outlet, "10.00"), claim(pack, 0, outlet, "10.00")];
        hub.ask(Command::IngestEvents(NodeLog::new(number).batch(facts))).await;
    }
    IdentityFiles::new(hub.data.path()).create(&secrets_in(hub.data.path()), "test", &[]).unwrap();
    for login in ["somebody", "changed"] {
        signed_in(&hub, login, Vec::new(), Settled::Yes).await;
    }
    let vendor = || vec![Grant::everywhere(Role::VendorSupport)];
    signed_in(&hub, "vendor", vendor(), Settled::Yes).await;
    for kind in [KINDS, KINDS].concat() {
        let body: SubjectBody = serde_json::from_value(subject(kind)).unwrap();
        let subject = hub.pool.read(move |store| body.read(store)).await.unwrap();
        let propose = ChangeCommand::Propose { subject: subject.ok().unwrap(), reason: "order 7".into() };
        done(&hub, "maker", Command::Change(propose)).await;
    }
    hub
}

async fn done(hub: &Running, login: &str, command: Command) {
    let outcome = hub.sequencer.propose(Actor::Staff(login.into()), command).await.unwrap();
    assert!(matches!(outcome, Outcome::Done { .. } | Outcome::Change { .. }), "{login}: {outcome:?}");
}

async fn open_access(hub: &Running, login: &str) {
    let ask = |login: &str| StaffCommand::AskSupport { login: login.into(), reason: "case 7".into(), minutes: 480 };
    done(hub, "maker", Command::Staff(ask(login))).await;
    done(hub, "checker", Command::Staff(StaffCommand::ApproveSupport { number: 1 })).await;
    done(hub, "maker", Command::Staff(ask("vendor"))).await;
}

/// Everybody who asks: each role in the whole province and in 1302 only, and those who have not come so far.
async fn people(hub: &Running) -> Vec<(String, Who)> {
    let elsewhere = Area::Prefecture(PrefectureCode::new(1302).unwrap());
    let mut people = vec![("nobody".to_string(), Who::Nobody), ("console".to_string(), Who::Console)];
    for role in Role::ALL {
        let (here, there) = (role.name().replace('_', "-"), format!("{}.1302", role.name().replace('_', "-")));
        let grant = Grant::everywhere(role);
        let part = Grant { area: elsewhere.clone(), ..grant.clone() };
        people.push((role.name().into(), Who::Staff(signed_in(hub, &here, vec![grant], Settled::Yes).await)));
        people.push((
            format!("{}@1302", role.name()),
            Who::Staff(signed_in(hub, &there, vec![part], Settled::Yes).await),
        ));
    }
    let auditor = || vec![Grant::everywhere(Role::AuditAdministrator)];
    let fresh = signed_in(hub, "fresh", auditor(), Settled::OneTimePassword).await;
    people.push(("with_one_time_password".into(), Who::Staff(fresh)));
    let unproven = signed_in(hub, "unproven", auditor(), Settled::NoFactor).await;
    people.push(("without_second_factor".into(), Who::Staff(unproven)));
    people.push(("without_rights".into(), Who::Staff(signed_in(hub, "idle", Vec::new(), Settled::Yes).await)));
    let let_in = signed_in(hub, "guest", vec![Grant::everywhere(Role::VendorSupport)], Settled::Yes).await;
    open_access(hub, "guest").await;
    people.push(("vendor_with_access".into(), Who::Staff(let_in)));
    people
}

/// Whether this is the answer to one who may not. A password that is wrong is nothing that anybody may not try.
fn is_refused(status: u16, body: &Value) -> bool {
    matches!(status, 401 | 403) && body["code"] != "login_failed" && body["code"] != "old_password_wrong"
}

#[tokio::test]
async fn every_address_answers_exactly_those_whom_the_snapshot_names_and_in_1302_nothing_of_1301() {
    let hub = eventful().await;
    let router = router(app(&hub));
    let people = people(&hub).await;
    let (mut text, mut pairs) = (String::new(), 0);
    for question in questions() {
        let (route, name) = (question.route, question.name());
        let mut admitted = Vec::new();
        for (person, who) in &people {
            pairs += 1;
            let (status, body) = ask(&router, &question, who, pairs).await;
            if is_refused(status, &body) {
                continue;
            }
            if admitted.is_empty() {
                let class = if status < 400 { 200 } else { status };
                assert_eq!(class, question.first_answer(), "{name} as {person}: is the question a good one? {body}");
            }
            admitted.push(person.as_str());
            if person.ends_with("@1302") && matches!(route.needs, Needs::May(_)) {
                assert_eq!(route.reach, Reach::Area, "{name} answers a part of the province");
                check_outside(&question, &format!("{name} as {person}"), status, &body);
            }
        }
        let sessions = people.len() - 2;
        let admitted = match admitted.len() {
            all if all == people.len() => "everybody".to_string(),
            all if all == sessions && !admitted.contains(&"nobody") && !admitted.contains(&"console") => {
                "every session".to_string()
            }
            _ => admitted.join(" "),
        };
        writeln!(text, "{name}: {admitted}").unwrap();
    }
    assert!(text == SNAPSHOT, "the rights changed; if that was meant, put this into walk.txt:\n{text}");
    // Written past the capture of the test harness: `make test` shows how much was checked.
    let line = format!("hub: route × role pairs checked: {pairs}\n");
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
}

/// What one may get whose right ends in 1302: of 1301 nothing, of 1302 all.
fn check_outside(question: &Question, asked: &str, status: u16, body: &Value) {
    let code = body["code"].as_str().unwrap_or_default();
    match (question.route.method, question.route.path) {
        ("GET", path) if path.starts_with("/v1/reports/") => {
            assert_eq!(status, 200, "{asked}");
            check_report(asked, body);
        }
        ("GET", "/v1/accounts" | "/v1/exceptions") => {
            let rows = body["accounts"].as_array().or(body["rows"].as_array()).unwrap();
            assert!(!rows.is_empty(), "{asked}: nothing of the own area: {body}");
            let within = |row: &Value| row.to_string().contains("13020001");
            assert!(rows.iter().all(within), "{asked}: rows of another area: {body}");
        }
        // Those of others concern the province; nothing was asked for yet by who asks here.
        ("GET", "/v1/changes") => assert_eq!((status, &body["changes"]), (200, &Value::from(Vec::<Value>::new()))),
        ("DELETE", "/v1/changes/{number}") => assert_eq!((status, code), (409, "not_own_change"), "{asked}"),
        ("POST", "/v1/changes") if question.about == "hold in 1302" => assert_eq!(status, 200, "{asked}"),
        ("POST", "/v1/changes") => assert_eq!((status, code), (404, "unknown_pack"), "{asked}"),
        _ => assert_eq!((status, code), (404, "unknown_outlet"), "{asked}"),
    }
}

/// A report by prefecture has the row of 1302, and its totals are that row's figures.
fn check_report(asked: &str, body: &Value) {
    let rows = body["rows"].as_array().unwrap();
    assert!(rows.len() == 1 && rows[0]["key"] == "1302", "{asked}: not the rows of the area: {body}");
    let mut figures = rows[0].as_object().unwrap().clone();
    figures.retain(|name, _| name != "key" && name != "name");
    assert_eq!(Value::Object(figures), body["totals"], "{asked}: totals of another area: {body}");
}

#[tokio::test]
async fn the_openapi_document_and_the_declared_addresses_are_the_same() {
    let hub = worked().await;
    let declared = ROUTES.iter().filter(|route| !route.path.starts_with("/docs") && route.path != "/openapi.json");
    let declared: BTreeSet<String> = declared.map(|route| format!("{} {}", route.method, route.path)).collect();
    let openapi = questions().into_iter().find(|question| question.route.path == "/openapi.json").unwrap();
    let (_, document) = ask(&router(app(&hub)), &openapi, &Who::Nobody, 0).await;
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(declared, documented);
}
