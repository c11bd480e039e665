//! A terminal, enrolled by a one-time code, and its owner.

use std::cell::RefCell;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};

use super::{Hub, Node, Person, word_behind};
use crate::https::{Answer, Request, Server};
use crate::process::wait_until;

/// The secret of the device's key: a test's terminal guards nothing.
const KEY: [u8; 32] = [7; 32];

/// A device at an outlet whose owner is logged in.
pub struct Terminal {
    /// Ten digits.
    pub id: String,
    /// Ten digits.
    pub operator: String,
    /// The owner's password.
    pub password: String,
    token: RefCell<String>,
    server: Server,
}

impl Terminal {
    /// Enrols the device of this number, two digits, at an outlet, makes the person of this number its owner, and logs in.
    pub(super) fn enrol(hub: &Hub, node: &Node, manager: &Person, outlet: &str, number: u8) -> Terminal {
        let (id, operator) = (format!("{outlet}{number}"), format!("{outlet}{number}"));
        let words = hub.command(&["terminal", "enrol"], &["--terminal", &id, "--kind", "dedicated"]);
        let code = word_behind(&words, "shown only now:");
        let key = hex::encode(SigningKey::from_bytes(&KEY).verifying_key().to_bytes());
        let body = json!({
            "terminal_id": id, "code": code, "public_key": STANDARD.encode(SigningKey::from_bytes(&KEY).verifying_key()),
            "signature": signed(&format!("jikai-enrol-v1\n{id}\n{code}\n{key}")),
        });
        let enrol = Request::new("POST", "/v1/enrolment").json(&body);
        // The node may not be connected yet.
        wait_until("the enrolment", || node.server.ask(&enrol).status == 200);
        let defined =
            manager.send("PUT", &format!("/v1/operators/{operator}"), &json!({ "name": "李伟", "role": "owner" }));
        let password = defined["password"].as_str().expect("a new operator has a password").to_string();
        let terminal = Terminal { id, operator, password, token: RefCell::default(), server: node.server.clone() };
        wait_until("the first login", || terminal.log_in().status == 200);
        terminal
    }

    /// Its outlet.
    pub fn outlet(&self) -> &str {
        &self.id[..8]
    }

    /// The API of its node.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// What the node answers to the session that was opened last.
    pub fn ask(&self, method: &str, path: &str) -> Answer {
        self.server.ask(&self.request(method, path))
    }

    /// A fresh challenge.
    pub fn challenge(&self) -> String {
        let body = json!({ "terminal_id": self.id });
        let answer = self.server.ask(&Request::new("POST", "/v1/login/challenge").json(&body)).json();
        answer["challenge"].as_str().unwrap_or_default().to_string()
    }

    /// What the terminal sends to log in with this challenge.
    pub fn login_body(&self, challenge: &str) -> Value {
        let Terminal { id, operator, password, .. } = self;
        let signature = signed(&format!("jikai-login-v1\n{id}\n{operator}\n{challenge}"));
        json!({
            "terminal_id": id, "operator_id": operator, "password": password, "challenge": challenge,
            "signature": signature,
        })
    }

    /// Logs in; the session before ends.
    pub fn log_in(&self) -> Answer {
        self.log_in_with(&self.challenge())
    }

    /// Logs in with a challenge that was handed out.
    pub fn log_in_with(&self, challenge: &str) -> Answer {
        let body = self.login_body(challenge);
        let answer = self.server.ask(&Request::new("POST", "/v1/login").json(&body));
        if let Some(token) = answer.json()["token"].as_str() {
            self.token.replace(token.to_string());
        }
        answer
    }

    /// The token of the session.
    pub fn token(&self) -> String {
        self.token.borrow().clone()
    }

    /// A request with the session.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).header("authorization", format!("Bearer {}", self.token()))
    }

    /// A request that changes something, under a key of its own.
    pub fn mutation(&self, path: &str, key: &str) -> Request {
        self.request("POST", path).header("idempotency-key", key)
    }
}

/// The device's signature over a text, base64.
fn signed(text: &str) -> String {
    STANDARD.encode(SigningKey::from_bytes(&KEY).sign(text.as_bytes()).to_bytes())
}
