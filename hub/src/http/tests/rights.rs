//! Rights in areas: what lies outside is not shown, not even counted.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use jikai_schema::command::{Command, Factor, NewStaff, Outcome, SessionTag, StaffCommand};
use jikai_schema::event::Actor;
use jikai_schema::id::{OutletId, PrefectureCode};
use jikai_schema::staff::{Area, Grant, Role};
use jikai_schema::time::TimeMs;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::decisions::{ask, code};
use super::{app, router, worked};
use crate::province::Running;
use crate::staff::SessionToken;

const HASHES: [&str; 2] = ["$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$b3RoZXI"];

/// How far a person has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// With a password that was given.
    OneTimePassword,
    /// Without second factor.
    NoFactor,
    /// Wholly.
    Yes,
}

/// Opens a session of a new person with these grants, without the slow proofs.
pub(super) async fn signed_in(hub: &Running, login: &str, grants: Vec<Grant>, settled: Settled) -> SessionToken {
    let token = SessionToken::draw().unwrap();
    let own = |command: StaffCommand| (Actor::Staff(login.to_string()), command);
    let (name, text) = (login.to_string(), |text: &str| text.to_string());
    let [first, second] = HASHES.map(str::to_string);
    let new = NewStaff { login: name.clone(), name: text("名"), password_hash: first.clone() };
    let mut commands = vec![(Actor::System, StaffCommand::Create(new))];
    commands.push((Actor::System, StaffCommand::SetGrants { login: name.clone(), seen: Vec::new(), grants }));
    let mut seen_hash = first.clone();
    if settled != Settled::OneTimePassword {
        let change =
            StaffCommand::ChangePassword { login: name.clone(), seen_hash: first, password_hash: second.clone() };
        commands.push(own(change));
        seen_hash = second;
    }
    let mut factor = Factor::None;
    if settled == Settled::Yes {
        let set = StaffCommand::SetSecondFactor { login: name.clone(), sealed: vec![1], step: 1, recovery: Vec::new() };
        commands.push(own(set));
        let (code_hash, expires_at_ms) = ([7; 32], TimeMs::from_ms(hub.sequencer.now_ms().ms() + 3_600_000));
        let offer = StaffCommand::OfferConfirmation { login: name.clone(), code_hash, expires_at_ms };
        commands.push((Actor::System, offer));
        commands.push(own(StaffCommand::Confirm { login: name.clone(), code_hash }));
        factor = Factor::OneTimeCode { step: 2 };
    }
    let (tag, address): (SessionTag, _) = (token.tag(), [127, 0, 0, 1].into());
    commands.push(own(StaffCommand::OpenSession { login: name, seen_hash, tag, address, factor }));
    for (actor, command) in commands {
        let outcome = hub.sequencer.propose(actor, Command::Staff(command)).await.unwrap();
        assert!(matches!(outcome, Outcome::Done { .. }), "{login}: {outcome:?}");
    }
    token
}

pub(super) fn cookie(token: &SessionToken) -> String {
    format!("__Host-jikai={}", *token.text())
}

async fn get(router: &Router, token: &SessionToken, path: &str) -> (u16, Value) {
    let request = Request::get(path).header(header::COOKIE, cookie(token)).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

fn prefecture(code: u16) -> Area {
    Area::Prefecture(PrefectureCode::new(code).unwrap())
}

#[tokio::test]
async fn a_report_shows_only_the_area_and_its_totals_are_those_of_the_area() {
    let hub = worked().await;
    let router = router(app(&hub));
    let in_area = |role, area| vec![Grant { area, ..Grant::everywhere(role) }];
    let here = signed_in(&hub, "here", in_area(Role::FinanceMaker, prefecture(1301)), Settled::Yes).await;
    let there = signed_in(&hub, "there", in_area(Role::FinanceMaker, prefecture(1302)), Settled::Yes).await;
    let all = signed_in(&hub, "all", in_area(Role::FinanceMaker, Area::Province), Settled::Yes).await;
    for path in [
        "/v1/reports/sales?by=prefecture",
        "/v1/reports/sales?by=day",
        "/v1/reports/claims?by=game",
        "/v1/reports/ledger?by=day",
    ] {
        let (whole, part, none) =
            (get(&router, &all, path).await, get(&router, &here, path).await, get(&router, &there, path).await);
        assert_eq!((whole.0, part.0, none.0), (200, 200, 200), "{path}");
        assert_ne!(none.1["totals"], part.1["totals"], "{path}");
        if !path.contains("ledger") {
            assert_eq!(whole.1["totals"], part.1["totals"], "{path}: everything happened in 1301");
            assert_eq!(none.1["rows"], json!([]), "{path}");
        }
    }
    let (_, accounts) = get(&router, &there, "/v1/accounts").await;
    let names = accounts["accounts"].as_array().unwrap();
    assert!(names.iter().all(|line| line["account"].as_str().unwrap().contains("/1302")), "{accounts}");
    assert_eq!(get(&router, &here, "/v1/reports/ledger").await.1["code"], "outside_area");
    assert_eq!(get(&router, &all, "/v1/reports/ledger").await.0, 200);
}

#[tokio::test]
async fn a_right_for_some_outlets_or_a_county_reaches_no_further() {
    let hub = worked().await;
    let router = router(app(&hub));
    let manager = |area| vec![Grant { area, ..Grant::everywhere(Role::MarketManager) }];
    let outlets = |id| Area::Outlets(vec![OutletId::new(id).unwrap()]);
    let keys = async |token: &SessionToken| {
        let (_, stock) = get(&router, token, "/v1/reports/stock?by=outlet").await;
        let rows = stock["rows"].as_array().unwrap().clone();
        rows.iter().map(|row| row["key"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let all = signed_in(&hub, "all", manager(Area::Province), Settled::Yes).await;
    let one = signed_in(&hub, "one", manager(outlets(13_010_001)), Settled::Yes).await;
    let other = signed_in(&hub, "other", manager(outlets(13_010_009)), Settled::Yes).await;
    let county = signed_in(&hub, "county", manager(Area::County(130_102)), Settled::Yes).await;
    assert!(keys(&all).await.len() > 1);
    assert_eq!(keys(&one).await, ["13010001"]);
    assert!(keys(&other).await.is_empty());
    assert!(
        keys(&county).await.contains(&"13010001".to_string()) && keys(&county).await.len() < keys(&all).await.len()
    );
}

#[tokio::test]
async fn a_hold_is_asked_for_where_that_right_reaches_whatever_else_the_person_may_ask_for_elsewhere() {
    let hub = worked().await;
    let router = router(app(&hub));
    let at = |role, area| Grant { area, ..Grant::everywhere(role) };
    let hold = |pack: u32| {
        let subject = json!({ "kind": "hold", "pack": format!("G0201-26001-{pack:07}"), "hold": "lost" });
        json!({ "subject": subject, "reason": "order 7" })
    };
    for (login, elsewhere) in [("wei", Area::Province), ("ming", prefecture(1302))] {
        let grants = vec![at(Role::FinanceMaker, elsewhere), at(Role::MarketManager, prefecture(1301))];
        let both = signed_in(&hub, login, grants, Settled::Yes).await;
        assert_eq!(ask(&router, &both, "POST", "/v1/changes", hold(1)).await.0, 200, "{login}");
        let outside = ask(&router, &both, "POST", "/v1/changes", hold(3)).await;
        assert_eq!(code(&outside), (404, "unknown_pack"), "{login}");
    }
    let finance = signed_in(&hub, "finance", vec![at(Role::FinanceMaker, prefecture(1302))], Settled::Yes).await;
    let refused = ask(&router, &finance, "POST", "/v1/changes", hold(3)).await;
    assert_eq!(code(&refused), (403, "not_permitted"), "a right to ask for something is none to ask for a hold");
}
