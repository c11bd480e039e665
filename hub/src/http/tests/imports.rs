//! Lists that go round the second person are refused in production, once two persons could do it together.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use jikai_schema::id::PrefectureCode;
use jikai_schema::staff::{Area, Grant, Role};
use serde_json::Value;
use tower::ServiceExt;

use super::rights::{Settled, signed_in};
use super::{app, router, with_token};
use crate::app::App;
use crate::config::Config;
use crate::import::Kind;
use crate::province::Running;

/// Lists that two persons do otherwise: a good row of each, and who asks and who decides.
const LISTS: [(Kind, &str, Role, Role); 5] = [
    (Kind::Games, "J1001,乐翻天,10,50,5,100,1,650,1", Role::ParameterMaker, Role::ParameterChecker),
    (Kind::Openings, "G0201,26001,财彩[2026]1,2026-11-13", Role::IssueClerk, Role::ParameterChecker),
    (Kind::RedemptionEnds, "G0201,26001,2027-03-03T00:00:00+08:00", Role::ParameterMaker, Role::ParameterChecker),
    (Kind::Holds, "G0201-26001-0000001,stolen", Role::MarketManager, Role::IssueClerk),
    (Kind::Deposits, "9,13010001,5.00", Role::FinanceMaker, Role::FinanceChecker),
];

fn hub_in(hub: &Running, environment: &str) -> Router {
    let app = app(hub);
    let config = Config { environment: environment.into(), ..Config::clone(&app.config) };
    router(App { config: Arc::new(config), ..app })
}

/// The status and the code of the answer to a list with this row.
async fn import(router: &Router, kind: Kind, row: &str) -> (u16, String) {
    let body = format!("{}\n{row}\n", kind.columns().join(","));
    let request = with_token("POST", &format!("/v1/imports/lists/{}", kind.name()), "text/csv", body);
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    (status, answer["code"].as_str().unwrap_or_default().to_string())
}

fn refused() -> (u16, String) {
    (403, "two_persons_required".to_string())
}

fn done() -> (u16, String) {
    (200, String::new())
}

fn in_1301(role: Role) -> Vec<Grant> {
    let area = Area::Prefecture(PrefectureCode::new(1301).unwrap());
    vec![Grant { area, ..Grant::everywhere(role) }]
}

#[tokio::test]
async fn in_production_a_list_is_refused_as_soon_as_one_person_may_ask_and_another_decide_and_elsewhere_never() {
    for (kind, row, maker, checker) in LISTS {
        let hub = Running::set_up().await;
        let (production, test) = (hub_in(&hub, "production"), hub_in(&hub, "test"));
        assert_eq!(import(&production, kind, row).await, done(), "{kind:?}: nobody could do it otherwise");
        signed_in(&hub, "maker", vec![Grant::everywhere(maker)], Settled::Yes).await;
        assert_eq!(import(&production, kind, row).await, done(), "{kind:?}: one person alone cannot do it");
        signed_in(&hub, "checker", vec![Grant::everywhere(checker)], Settled::Yes).await;
        assert_eq!(import(&production, kind, row).await, refused(), "{kind:?}");
        for environment in ["test", "training"] {
            assert_eq!(import(&hub_in(&hub, environment), kind, row).await, done(), "{kind:?} in {environment}");
        }
        let outlets = "13010008,开心小站,130102001";
        assert_eq!(import(&production, Kind::Outlets, outlets).await, done(), "beside {kind:?}: a list of one person");
        drop((production, test));
    }
}

#[tokio::test]
async fn makers_of_holds_count_wherever_they_may_ask_for_them_and_all_others_only_for_the_whole_province() {
    for (kind, row, maker, checker) in LISTS {
        let hub = Running::set_up().await;
        let production = hub_in(&hub, "production");
        signed_in(&hub, "maker", in_1301(maker), Settled::Yes).await;
        signed_in(&hub, "checker", in_1301(checker), Settled::Yes).await;
        assert_eq!(
            import(&production, kind, row).await,
            done(),
            "{kind:?}: the checker decides nothing for the province"
        );
        signed_in(&hub, "checker-of-all", vec![Grant::everywhere(checker)], Settled::Yes).await;
        let expected = if kind == Kind::Holds { refused() } else { done() };
        assert_eq!(import(&production, kind, row).await, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn a_list_that_needs_two_persons_leaves_a_line_in_the_trail_and_changes_nothing() {
    let hub = Running::set_up().await;
    let production = hub_in(&hub, "production");
    signed_in(&hub, "maker", in_1301(Role::MarketManager), Settled::Yes).await;
    signed_in(&hub, "checker", vec![Grant::everywhere(Role::IssueClerk)], Settled::Yes).await;
    for _ in 0..3 {
        assert_eq!(import(&production, Kind::Holds, "G0201-26001-0000001,stolen").await, refused());
    }
    let log = Request::get("/v1/events?limit=1000").header("authorization", format!("Bearer {}", super::TOKEN));
    let log = production.clone().oneshot(log.body(Body::empty()).unwrap()).await.unwrap();
    let text = String::from_utf8(to_bytes(log.into_body(), 16 << 20).await.unwrap().to_vec()).unwrap();
    let noted: Vec<&str> = text.lines().filter(|line| line.contains("access_refused")).collect();
    assert_eq!(noted.len(), 1, "once a minute for each request: {noted:?}");
    for part in ["POST /v1/imports/lists/holds", "two persons for holds", "@console", "127.0.0.1"] {
        assert!(noted[0].contains(part), "{part} in {}", noted[0]);
    }
    assert!(!text.contains("stolen"), "no pack is held");
}
