//! Members of staff, as their browsers work.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::Hub;
use crate::https::{Answer, Request, Server};

/// A person who is logged in.
#[derive(Clone)]
pub struct Person {
    /// The login name.
    pub login: String,
    /// The password that the person chose.
    pub password: String,
    /// The cookie of the session.
    pub cookie: String,
    /// What a page of ours sends along with changes.
    pub csrf: String,
    /// The secret of the second factor, base32.
    pub secret: String,
    /// The one-time code of the last login.
    pub used_code: String,
    server: Server,
}

impl Person {
    fn new(hub: &Hub, login: &str, one_time_password: &str) -> Person {
        let (cookie, csrf, secret, used_code) = Default::default();
        let (login, password) = (login.to_string(), one_time_password.to_string());
        Person { login, password, cookie, csrf, secret, used_code, server: hub.server.clone() }
    }

    /// A request with the person's session.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).header("cookie", &self.cookie).header("x-csrf-token", &self.csrf)
    }

    /// What the person may read at this address.
    ///
    /// # Panics
    /// When it is not given.
    pub fn get(&self, path: &str) -> Value {
        accepted(&self.server.ask(&self.request("GET", path)), path)
    }

    /// Does what the person may.
    ///
    /// # Panics
    /// When it is refused.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        accepted(&self.server.ask(&self.request(method, path).json(body)), path)
    }

    /// The request by which the person logs in.
    pub fn login_request(&self, code: Option<&str>) -> Request {
        let body = json!({ "login": self.login, "password": self.password, "code": code });
        Request::new("POST", "/v1/session").json(&body)
    }

    fn log_in(&mut self, code: Option<&str>) {
        let answer = self.server.ask(&self.login_request(code));
        let session = accepted(&answer, "/v1/session");
        let cookie = answer.header("set-cookie").and_then(|cookie| cookie.split(';').next());
        self.cookie = cookie.expect("a session comes with a cookie").to_string();
        self.csrf = session["csrf_token"].as_str().expect("a session has a token").to_string();
    }

    /// Chooses a password, sets the second factor up and logs in with both.
    fn move_in(&mut self) {
        self.log_in(None);
        let chosen = format!("violet-{}-mountain-7", self.login.len());
        let change = json!({ "old_password": self.password, "new_password": chosen });
        self.send("PUT", "/v1/own/password", &change);
        self.password = chosen;
        let offer = self.send("POST", "/v1/own/second-factor/offer", &json!({}));
        self.secret = offer["secret"].as_str().expect("an offer has a secret").to_string();
        let set = json!({ "offer": offer["offer"], "code": self.code(0) });
        self.send("PUT", "/v1/own/second-factor", &set);
        // The step of the first code is used up: the next one is accepted already.
        self.used_code = self.code(30);
        self.log_in(Some(&self.used_code.clone()));
    }

    /// Shows the code by which the person is known.
    fn confirm(&self, code: &str) {
        self.send("PUT", "/v1/own/confirmation", &json!({ "code": code }));
    }

    /// The one-time code that an authenticator shows whose clock is ahead by so many seconds.
    ///
    /// # Panics
    /// When the clock of the machine stands before 1970.
    pub fn code(&self, ahead_s: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let secret = totp_rs::Secret::try_from_base32(&self.secret).expect("the secret is base32");
        let totp = totp_rs::Builder::new().with_secret(secret).build().expect("the secret is long enough");
        totp.generate(now.checked_add_signed(ahead_s).expect("a time after 1970")).to_string()
    }
}

/// The administrators of accounts and of rights.
pub(super) fn administrators(hub: &Hub) -> (Person, Person) {
    let mut system = Person::new(hub, "admin", &hub.one_time_password);
    system.move_in();
    let mut security = Person::new(hub, "guard", &created(&system, "guard"));
    system.send("POST", "/v1/staff/guard/first-security-administrator", &json!({}));
    security.move_in();
    let words = hub.command(&["staff", "confirm"], &["--login", "guard"]);
    let code = words.lines().nth(1).unwrap_or_default().trim().to_string();
    security.confirm(&code);
    (system, security)
}

/// One more member of staff with roles in the whole province.
pub(super) fn colleague(hub: &Hub, system: &Person, security: &Person, login: &str, roles: &[&str]) -> Person {
    let mut person = Person::new(hub, login, &created(system, login));
    let grant = |role: &&str| json!({ "role": role, "area": { "kind": "province" } });
    let grants: Vec<Value> = roles.iter().map(grant).collect();
    security.send("PUT", &format!("/v1/staff/{login}/grants"), &json!({ "seen": [], "grants": grants }));
    person.move_in();
    let offered = security.send("POST", &format!("/v1/staff/{login}/confirmation"), &json!({}));
    person.confirm(offered["code"].as_str().expect("a code is offered"));
    person
}

fn created(system: &Person, login: &str) -> String {
    let made = system.send("POST", "/v1/staff", &json!({ "login": login, "name": "王芳" }));
    made["one_time_password"].as_str().expect("a new account has a password").to_string()
}

fn accepted(answer: &Answer, path: &str) -> Value {
    assert!(answer.status < 300, "{path}: {} {}", answer.status, answer.json());
    answer.json()
}
