//! The terminal's line to its node: log in, stay logged in, repeat with the same key until answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::json;

use super::tally::Tally;
use crate::client::{Call, Connection, Endpoint, Reply};
use crate::seed::Dice;

/// One try may take this long.
const TRY_LIMIT: Duration = Duration::from_secs(10);
/// Tries of one operation.
const TRIES_MAX: u32 = 6;
/// First pause before a repeat; doubles each time, with jitter.
const PAUSE_FIRST_MS: u64 = 100;
/// Longest pause that a server may ask for.
const PAUSE_MAX_S: u64 = 5;

/// How a device proves itself.
pub struct Credentials {
    /// Ten digits.
    pub terminal_id: String,
    /// Ten digits.
    pub operator_id: String,
    /// Of the operator.
    pub password: String,
    /// Of the device.
    pub key: SigningKey,
    /// Eight digits; the node must name the same outlet.
    pub outlet_id: String,
    /// The node must name the same role.
    pub role: &'static str,
}

/// One terminal's connection and session.
pub struct Line {
    endpoint: Endpoint,
    credentials: Credentials,
    connection: Option<Connection>,
    token: Option<String>,
    tally: Arc<Tally>,
    dice: Dice,
}

impl Line {
    /// A line that is not connected yet.
    pub fn new(endpoint: Endpoint, credentials: Credentials, tally: Arc<Tally>, dice: Dice) -> Self {
        Line { endpoint, credentials, connection: None, token: None, tally, dice }
    }

    /// Who stands at this end.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Loses the connection; the session stays. The next request opens a new one.
    pub fn drop_connection(&mut self) {
        if self.connection.take().is_some() {
            self.tally.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Connects, if needed, and logs in, if needed.
    pub async fn ensure_session(&mut self) -> Result<()> {
        if self.connection.is_none() {
            let connection = Connection::open(&self.endpoint, TRY_LIMIT).await.map_err(|error| error.0)?;
            self.connection = Some(connection);
            self.tally.connected.fetch_add(1, Ordering::Relaxed);
        }
        if self.token.is_none() {
            self.token = Some(self.log_in().await?);
        }
        Ok(())
    }

    async fn log_in(&mut self) -> Result<String> {
        let terminal_id = self.credentials.terminal_id.clone();
        let reply = self.once(&Call::post("/v1/login/challenge", &json!({ "terminal_id": terminal_id }))).await?;
        ensure!(
            reply.status == 200,
            "{terminal_id}: the challenge was refused with {}: {}",
            reply.status,
            text(&reply)
        );
        let answer = reply.json();
        let challenge = answer["challenge"].as_str().context("the reply has no challenge")?;
        let operator_id = &self.credentials.operator_id;
        let proof = format!("jikai-login-v1\n{terminal_id}\n{operator_id}\n{challenge}");
        let body = json!({
            "terminal_id": terminal_id,
            "operator_id": operator_id,
            "password": self.credentials.password,
            "challenge": challenge,
            "signature": STANDARD.encode(self.credentials.key.sign(proof.as_bytes()).to_bytes()),
        });
        let reply = self.once(&Call::post("/v1/login", &body)).await?;
        ensure!(reply.status == 200, "{terminal_id}: the login was refused with {}: {}", reply.status, text(&reply));
        let answer = reply.json();
        let (outlet, role) = (&answer["outlet_id"], &answer["operator_role"]);
        ensure!(outlet == &self.credentials.outlet_id, "{terminal_id}: logged in at outlet {outlet}");
        ensure!(role == self.credentials.role, "{terminal_id}: logged in as {role}");
        Ok(answer["token"].as_str().context("the reply has no token")?.to_owned())
    }

    /// One try on the open connection.
    async fn once(&mut self, call: &Call) -> Result<Reply> {
        let connection = self.connection.as_mut().context("not connected")?;
        let reply = connection.exchange(call, self.token.as_deref(), TRY_LIMIT).await;
        reply.map_err(|error| {
            self.drop_connection();
            error.0
        })
    }

    /// Sends a request until it is answered, always with the same key. An error means: nobody knows what became of it.
    pub async fn ask(&mut self, call: &Call) -> Result<Reply> {
        let mut pause_ms = PAUSE_FIRST_MS;
        let mut last = anyhow!("never tried");
        for _ in 0..TRIES_MAX {
            match self.attempt(call).await {
                Ok(reply) if reply.status == 401 => {
                    self.token = None;
                    last = anyhow!("{} was answered with 401: {}", call.path, text(&reply));
                    continue;
                }
                Ok(reply) if matches!(reply.status, 429 | 503 | 504) => {
                    last = anyhow!("{} was answered with {}: {}", call.path, reply.status, text(&reply));
                    pause_ms = pause_ms.max(reply.retry_after_s.unwrap_or(0).min(PAUSE_MAX_S) * 1000);
                }
                Ok(reply) => return Ok(reply),
                Err(error) => last = error,
            }
            let jitter_ms = self.dice.below(pause_ms / 2 + 1);
            tokio::time::sleep(Duration::from_millis(pause_ms + jitter_ms)).await;
            pause_ms = (pause_ms * 2).min(PAUSE_MAX_S * 1000);
        }
        bail!("not resolved in {TRIES_MAX} tries: {last:#}")
    }

    async fn attempt(&mut self, call: &Call) -> Result<Reply> {
        self.ensure_session().await?;
        self.once(call).await
    }
}

/// The beginning of a body, for messages.
pub fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).chars().take(300).collect()
}
