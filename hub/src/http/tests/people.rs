//! Staff as they log in and work, through the API alone.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use jikai_schema::command::{Command, Outcome, StaffCommand};
use jikai_schema::event::Actor;
use jikai_schema::staff::{Grant, Role};
use jikai_schema::time::TimeMs;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::super::Allowances;
use super::{TOKEN, app, router};
use crate::app::App;
use crate::province::{NOW_MS, Running};
use crate::staff::code_of;

/// A browser of one person: keeps the cookie, sends the token that a page of ours would.
pub(super) struct Browser {
    router: Router,
    cookie: String,
    csrf: String,
}

pub(super) type Answer = (u16, Value);

impl Browser {
    pub(super) fn new(app: App) -> Self {
        Browser { router: router(app), cookie: String::new(), csrf: String::new() }
    }

    /// Another person at another machine.
    pub(super) fn other(&self) -> Self {
        Browser { router: self.router.clone(), cookie: String::new(), csrf: String::new() }
    }

    /// The same person, asking another machine of the hub.
    pub(super) fn at(&self, app: App) -> Self {
        Browser { router: router(app), cookie: self.cookie.clone(), csrf: self.csrf.clone() }
    }

    pub(super) async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header(header::COOKIE, format!("a=b; {}", self.cookie));
        if !self.csrf.is_empty() {
            request = request.header("x-csrf-token", &self.csrf);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        if let Some(cookie) = response.headers().get(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            for part in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
                assert!(cookie.contains(part), "{cookie}");
            }
            self.cookie = cookie.split(';').next().unwrap().to_string();
        }
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let value: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if let Some(csrf) = value["csrf_token"].as_str() {
            self.csrf = csrf.to_string();
        }
        (status, value)
    }

    pub(super) async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub(super) async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub(super) async fn put(&mut self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub(super) async fn delete(&mut self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    /// Shows the code by which the person is known.
    pub(super) async fn confirm(&mut self, offered: &Answer) -> Answer {
        self.put("/v1/own/confirmation", json!({ "code": offered.1["code"] })).await
    }

    pub(super) async fn log_in(&mut self, login: &str, password: &str, code: Option<&str>) -> Answer {
        self.post("/v1/session", json!({ "login": login, "password": password, "code": code })).await
    }

    /// Changes the one-time password, sets the second factor up and logs in with it; gives the recovery codes.
    pub(super) async fn settle(&mut self, login: &str, one_time: &str, password: &str) -> Vec<String> {
        assert_eq!(self.log_in(login, one_time, None).await.0, 200);
        let change = json!({ "old_password": one_time, "new_password": password });
        assert_eq!(self.put("/v1/own/password", change).await.0, 204);
        let (_, offer) = self.post("/v1/own/second-factor/offer", json!({})).await;
        let code = |after_ms| code_of(offer["secret"].as_str().unwrap(), TimeMs::from_ms(NOW_MS + after_ms));
        let set = json!({ "offer": offer["offer"], "code": code(0) });
        let (status, recovery) = self.put("/v1/own/second-factor", set).await;
        assert_eq!(status, 200, "{recovery}");
        assert_eq!(self.log_in(login, password, Some(&code(30_000))).await.0, 200);
        recovery["recovery_codes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_string()).collect()
    }
}

/// The answer to the machine's own token.
async fn as_machine(browser: &Browser, path: &str) -> Answer {
    let request = Request::post(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    let response = browser.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap_or(Value::Null))
}

fn refused(answer: &Answer) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

pub(super) const ROOT_PASSWORD: &str = "one-time-of-root";

/// A hub with its first administrator `root`.
pub(super) async fn first(hub: &Running) -> Browser {
    let app = app(hub);
    let password_hash = app.passwords.hash_blocking(ROOT_PASSWORD).unwrap();
    let staff = jikai_schema::command::NewStaff { login: "root".into(), name: "王芳".into(), password_hash };
    let command = StaffCommand::CreateFirst(staff, Grant::everywhere(Role::SystemAdministrator));
    let outcome = hub.sequencer.propose(Actor::System, Command::Staff(command)).await.unwrap();
    assert!(matches!(outcome, Outcome::Done { .. }), "{outcome:?}");
    Browser::new(app)
}

const PASSWORDS: [&str; 3] = ["violet-mountain-7", "Spring-in-Hebei-26", "quiet-lantern-42"];

#[tokio::test]
async fn the_first_administrator_changes_the_password_sets_a_factor_up_and_makes_the_others() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    let (status, session) = root.log_in("root", ROOT_PASSWORD, None).await;
    assert_eq!((status, &session["missing"]), (200, &json!(["password_must_change", "second_factor_missing"])));
    assert_eq!(refused(&root.get("/v1/staff").await), (403, "password_must_change"));
    root.settle("root", ROOT_PASSWORD, PASSWORDS[0]).await;
    let (status, session) = root.get("/v1/session").await;
    assert_eq!((status, &session["missing"], &session["login"]), (200, &json!([]), &json!("root")));
    let (status, made) = root.post("/v1/staff", json!({ "login": "guard", "name": "李伟" })).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(root.post("/v1/staff/guard/first-security-administrator", json!({})).await.0, 204);
    root.post("/v1/staff", json!({ "login": "second", "name": "张敏" })).await;
    let again = root.post("/v1/staff/second/first-security-administrator", json!({})).await;
    assert_eq!(refused(&again), (409, "security_administrator_exists"));
    let mut guard = root.other();
    guard.settle("guard", made["one_time_password"].as_str().unwrap(), PASSWORDS[1]).await;
    assert_eq!(refused(&guard.get("/v1/staff").await), (403, "confirmation_missing"));
    let offered = as_machine(&root, "/v1/staff/guard/confirmation").await;
    assert_eq!(refused(&root.confirm(&offered).await), (409, "confirmation_refused"), "it is guard's");
    let guess = (200, json!({ "code": "abcd-efgh-jkmn-2345" }));
    assert_eq!(refused(&guard.confirm(&guess).await), (409, "confirmation_refused"));
    assert_eq!(guard.confirm(&offered).await.0, 204);
    assert_eq!(refused(&guard.confirm(&offered).await), (409, "confirmation_refused"), "a code is good once");
    let again = as_machine(&root, "/v1/staff/second/confirmation").await;
    assert_eq!(refused(&again), (409, "security_administrator_exists"), "guard confirms the others");
    assert_eq!(refused(&root.post("/v1/staff/second/confirmation", json!({})).await), (403, "not_permitted"));
    assert_eq!(guard.post("/v1/staff/second/confirmation", json!({})).await.0, 200);
    let area = json!({ "kind": "prefecture", "code": 1301 });
    let grants = json!([{ "role": "market_manager", "area": area, "hours": "08:00-18:00" }]);
    let (status, text) = guard.put("/v1/staff/second/grants", json!({ "seen": [], "grants": grants })).await;
    assert_eq!(status, 204, "{text}");
    assert_eq!(guard.get("/v1/staff/second/grants").await.1["grants"][0]["hours"], "08:00-18:00");
    let own = guard.put("/v1/staff/guard/grants", json!({ "seen": [], "grants": grants })).await;
    assert_eq!(refused(&own), (409, "own_account"));
    assert_eq!(refused(&guard.post("/v1/staff", json!({ "login": "x", "name": "y" })).await), (403, "not_permitted"));
    assert_eq!(refused(&root.get("/v1/staff/second/grants").await), (403, "not_permitted"));
}

#[tokio::test]
async fn a_failed_login_tells_nothing_and_five_lock_the_account_for_the_right_password_too() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    let wrong = root.log_in("root", "not-the-password", None).await;
    for other in ["nobody", "", "Root", "root'--", "../root", "ro\u{200b}ot"] {
        assert_eq!(root.log_in(other, "not-the-password", None).await, wrong, "{other}");
    }
    assert_eq!(refused(&wrong), (401, "login_failed"));
    for _ in 0..4 {
        root.log_in("root", "not-the-password", None).await;
    }
    assert_eq!(root.log_in("root", ROOT_PASSWORD, None).await, wrong);
    assert_eq!(refused(&root.log_in("root", &"x".repeat(2_000), None).await).0, 413, "above the body's limit");
    let events = hub.pool.read(|store| crate::reports::hub_events(store, 0, 100)).await.unwrap().unwrap();
    let text = String::from_utf8(events).unwrap();
    assert!(text.contains("staff_login_failed") && text.contains("nobody") && !text.contains("not-the-password"));
}

#[tokio::test]
async fn an_account_with_a_second_factor_needs_a_fresh_code_or_a_recovery_code() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    let codes = root.settle("root", ROOT_PASSWORD, PASSWORDS[0]).await;
    let mut other = root.other();
    let wrong = other.log_in("root", "not-the-password", None).await;
    assert_eq!(other.log_in("root", PASSWORDS[0], None).await, wrong, "that the password is right is not told");
    assert_eq!(refused(&other.log_in("root", PASSWORDS[0], Some("000000")).await), (401, "login_failed"));
    assert_eq!(other.log_in("root", PASSWORDS[0], Some(&codes[0])).await.0, 200);
    assert_eq!(refused(&other.log_in("root", PASSWORDS[0], Some(&codes[0])).await), (401, "login_failed"));
    assert_eq!(refused(&other.log_in("root", PASSWORDS[1], Some(&codes[1])).await), (401, "login_failed"));
    assert_eq!(other.log_in("root", PASSWORDS[0], Some(&codes[1])).await.0, 200, "a wrong password used no code up");
    let (_, offer) = other.post("/v1/own/second-factor/offer", json!({})).await;
    let code = code_of(offer["secret"].as_str().unwrap(), TimeMs::from_ms(NOW_MS));
    let again = other.put("/v1/own/second-factor", json!({ "offer": offer["offer"], "code": code })).await;
    assert_eq!(refused(&again), (409, "second_factor_exists"));
}

#[tokio::test]
async fn a_password_is_long_new_and_changed_only_by_who_knows_the_old_one() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    root.log_in("root", ROOT_PASSWORD, None).await;
    let change = |old: &str, new: &str| json!({ "old_password": old, "new_password": new });
    for weak in ["short", "aaaaaaaaaaaaaaaa", "root-root-123456"] {
        assert_eq!(
            refused(&root.put("/v1/own/password", change(ROOT_PASSWORD, weak)).await),
            (422, "invalid_password")
        );
    }
    let same = root.put("/v1/own/password", change(ROOT_PASSWORD, ROOT_PASSWORD)).await;
    assert_eq!(refused(&same), (422, "invalid_password"), "it contains the name");
    let wrong = root.put("/v1/own/password", change("not-the-password", PASSWORDS[0])).await;
    assert_eq!(refused(&wrong), (403, "old_password_wrong"));
    let mut elsewhere = root.other();
    elsewhere.log_in("root", ROOT_PASSWORD, None).await;
    assert_eq!(root.put("/v1/own/password", change(ROOT_PASSWORD, PASSWORDS[0])).await.0, 204);
    assert_eq!(refused(&elsewhere.get("/v1/session").await), (401, "session_expired"), "the other sessions end");
    assert_eq!(root.put("/v1/own/password", change(PASSWORDS[0], PASSWORDS[1])).await.0, 204);
    let back = root.put("/v1/own/password", change(PASSWORDS[1], PASSWORDS[0])).await;
    assert_eq!(refused(&back), (409, "password_used_before"));
}

#[tokio::test]
async fn the_fifth_wrong_old_password_from_one_place_ends_the_session_whatever_happens_elsewhere() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    root.log_in("root", ROOT_PASSWORD, None).await;
    let guess = json!({ "old_password": "not-the-password", "new_password": PASSWORDS[0] });
    for tried in 1..=5 {
        assert_eq!(refused(&root.put("/v1/own/password", guess.clone()).await), (403, "old_password_wrong"));
        // What fails at another place neither ends this session nor makes room for more guesses.
        let elsewhere = StaffCommand::NoteFailure { given: "root".into(), address: [10, 9, 8, 7].into() };
        hub.sequencer.propose(Actor::System, Command::Staff(elsewhere)).await.unwrap();
        assert_eq!(root.get("/v1/session").await.0, if tried < 5 { 200 } else { 401 }, "after {tried}");
    }
}

#[tokio::test]
async fn ten_wrong_codes_behind_the_right_password_close_the_account_until_it_is_reset() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    let codes = root.settle("root", ROOT_PASSWORD, PASSWORDS[0]).await;
    for _ in 0..9 {
        // Past the wait of one place, as from ever new places.
        let note = StaffCommand::NoteCodeFailure { login: "root".into(), address: [10, 0, 0, 1].into() };
        hub.sequencer.propose(Actor::System, Command::Staff(note)).await.unwrap();
    }
    let mut other = root.other();
    assert_eq!(refused(&other.log_in("root", PASSWORDS[0], Some("000000")).await), (401, "login_failed"));
    assert_eq!(refused(&other.log_in("root", PASSWORDS[0], Some(&codes[0])).await), (401, "login_failed"), "the tenth");
    let reset = StaffCommand::ResetPassword {
        login: "root".into(),
        password_hash: app(&hub).passwords.hash_blocking(PASSWORDS[1]).unwrap(),
    };
    hub.sequencer.propose(Actor::System, Command::Staff(reset)).await.unwrap();
    assert_eq!(other.log_in("root", PASSWORDS[1], Some(&codes[0])).await.0, 200);
}

#[tokio::test]
async fn sessions_end_by_logout_by_others_by_age_and_by_not_being_used() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    let mut elsewhere = root.other();
    for browser in [&mut root, &mut elsewhere] {
        assert_eq!(browser.log_in("root", ROOT_PASSWORD, None).await.0, 200);
    }
    let (_, list) = root.get("/v1/own/sessions").await;
    let sessions = list["sessions"].as_array().unwrap();
    assert_eq!(sessions.iter().map(|session| session["current"].as_bool().unwrap()).collect::<Vec<_>>(), [true, false]);
    let other = format!("/v1/own/sessions/{}", sessions[1]["session"].as_str().unwrap());
    assert_eq!(root.delete(&other).await.0, 204);
    assert_eq!(refused(&root.delete(&other).await), (404, "no_such_session"));
    assert_eq!(elsewhere.get("/v1/session").await.0, 401);
    let kept = root.cookie.clone();
    assert_eq!(root.delete("/v1/session").await.0, 204);
    assert_eq!(root.cookie, "__Host-jikai=");
    root.cookie = kept;
    assert_eq!(refused(&root.get("/v1/session").await), (401, "session_expired"), "the token itself is void");
    for (step_ms, steps) in [(15 * 60_000 - 1_000, 50), (15 * 60_000, 1)] {
        root.log_in("root", ROOT_PASSWORD, None).await;
        let mut used = 0;
        while root.get("/v1/session").await.0 == 200 {
            hub.pass(step_ms);
            used += 1;
        }
        // Used every quarter of an hour it ends after ten hours, unused after one quarter.
        assert_eq!(used, if steps == 1 { 1 } else { 41 });
    }
}

#[tokio::test]
async fn one_account_has_one_allowance_in_all_its_sessions_and_others_have_theirs() {
    let hub = Running::empty().await;
    let one_a_second = Arc::new(Allowances::new(NonZeroU32::MIN));
    let mut root = first(&hub).await;
    root.router = router(App { accounts: one_a_second.clone(), ..app(&hub) });
    let mut elsewhere = root.other();
    for browser in [&mut root, &mut elsewhere] {
        assert_eq!(browser.log_in("root", ROOT_PASSWORD, None).await.0, 200);
    }
    assert_eq!(root.get("/v1/session").await.0, 200);
    let mut answer = elsewhere.get("/v1/session").await;
    for _ in 0..1_000 {
        if answer.0 != 200 {
            break;
        }
        answer = elsewhere.get("/v1/session").await;
    }
    assert_eq!(refused(&answer), (429, "too_many_requests"));
    assert!(one_a_second.allow_account("wei"), "another account");
}

#[tokio::test]
async fn what_changes_needs_the_token_of_our_own_page_and_no_cookie_of_another_name() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    root.log_in("root", ROOT_PASSWORD, None).await;
    let csrf = std::mem::take(&mut root.csrf);
    assert_eq!(refused(&root.post("/v1/own/second-factor/offer", json!({})).await), (403, "csrf_token_invalid"));
    root.csrf = format!("{}0", &csrf[..csrf.len() - 1]);
    if root.csrf != csrf {
        assert_eq!(refused(&root.post("/v1/own/second-factor/offer", json!({})).await), (403, "csrf_token_invalid"));
    }
    root.csrf = csrf;
    assert_eq!(root.post("/v1/own/second-factor/offer", json!({})).await.0, 200);
    let request = Request::post("/v1/session").header("sec-fetch-site", "cross-site");
    let body = json!({ "login": "root", "password": ROOT_PASSWORD }).to_string();
    let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).unwrap();
    assert_eq!(root.router.clone().oneshot(request).await.unwrap().status(), StatusCode::FORBIDDEN);
    root.cookie = root.cookie.replace("__Host-jikai", "jikai");
    assert_eq!(refused(&root.get("/v1/session").await), (401, "session_required"));
}

#[tokio::test]
async fn the_vendor_enters_only_while_an_access_is_open_and_leaves_a_line_for_each_step() {
    let hub = Running::empty().await;
    let mut root = first(&hub).await;
    root.settle("root", ROOT_PASSWORD, PASSWORDS[0]).await;
    let (_, guard_made) = root.post("/v1/staff", json!({ "login": "guard", "name": "李伟" })).await;
    let (_, vendor_made) = root.post("/v1/staff", json!({ "login": "vendor", "name": "Support" })).await;
    root.post("/v1/staff/guard/first-security-administrator", json!({})).await;
    let (mut guard, mut vendor) = (root.other(), root.other());
    guard.settle("guard", guard_made["one_time_password"].as_str().unwrap(), PASSWORDS[1]).await;
    let offered = as_machine(&root, "/v1/staff/guard/confirmation").await;
    assert_eq!(guard.confirm(&offered).await.0, 204);
    let grants = json!([{ "role": "vendor_support", "area": { "kind": "province" } }]);
    assert_eq!(guard.put("/v1/staff/vendor/grants", json!({ "seen": [], "grants": grants })).await.0, 204);
    vendor.settle("vendor", vendor_made["one_time_password"].as_str().unwrap(), PASSWORDS[2]).await;
    let offered = guard.post("/v1/staff/vendor/confirmation", json!({})).await;
    assert_eq!(vendor.confirm(&offered).await.0, 204);
    assert_eq!(refused(&vendor.get("/v1/nodes").await), (403, "not_permitted"), "no access is open");
    let ask = |login: &str, minutes: u16| json!({ "login": login, "reason": "slow reports", "minutes": minutes });
    assert_eq!(refused(&root.post("/v1/support", ask("guard", 60)).await), (409, "not_vendor"));
    assert_eq!(refused(&root.post("/v1/support", ask("vendor", 481)).await), (409, "invalid_minutes"));
    assert_eq!(root.post("/v1/support", ask("vendor", 60)).await.0, 204);
    assert_eq!(refused(&root.post("/v1/support/1/approval", json!({})).await), (403, "not_permitted"));
    assert_eq!(vendor.get("/v1/nodes").await.0, 403, "not approved yet");
    assert_eq!(guard.post("/v1/support/1/approval", json!({})).await.0, 204);
    assert_eq!(refused(&guard.post("/v1/support/1/approval", json!({})).await), (409, "not_waiting"));
    for path in ["/v1/nodes", "/v1/nodes", "/metrics"] {
        assert_eq!(vendor.get(path).await.0, 200, "{path}");
    }
    for business in ["/v1/reports/sales", "/v1/reports/ledger", "/v1/staff", "/v1/events"] {
        assert_eq!(refused(&vendor.get(business).await), (403, "not_permitted"), "{business}");
    }
    assert_eq!(root.delete("/v1/support/1").await.0, 204);
    assert_eq!(vendor.get("/v1/nodes").await.0, 401, "the session ended with the access");
    let events = hub.pool.read(|store| crate::reports::hub_events(store, 0, 200)).await.unwrap().unwrap();
    let text = String::from_utf8(events).unwrap();
    let steps = text.lines().filter(|line| line.contains("sensitive_read") && line.contains("vendor")).count();
    assert_eq!(steps, 3, "each step, also the same one twice");
}
