//! A patient client for one server: keeps a connection, opens it again when it broke. For health, reports and audit.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Call, Connection, Endpoint, Reply};

/// Tries before a look-up is given up.
const TRIES_MAX: u32 = 4;

/// One server, asked again and again.
pub struct Service {
    endpoint: Endpoint,
    token: Option<String>,
    limit: Duration,
    connection: Option<Connection>,
}

impl Service {
    /// A service at `endpoint`; each try may take `limit`.
    pub fn new(endpoint: Endpoint, token: Option<String>, limit: Duration) -> Self {
        Service { endpoint, token, limit, connection: None }
    }

    /// One try, without repeating.
    pub async fn once(&mut self, path: &str) -> Result<Reply> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(&self.endpoint, self.limit).await.map_err(|lost| lost.error)?);
        }
        let connection = self.connection.as_mut().context("no connection")?;
        let reply = connection.exchange(&Call::get(path), self.token.as_deref(), self.limit).await;
        if reply.is_err() {
            self.connection = None;
        }
        reply.map_err(|lost| lost.error).with_context(|| format!("GET {path}"))
    }

    /// A look-up that must be answered with 200.
    pub async fn get(&mut self, path: &str) -> Result<Reply> {
        let mut pause = Duration::from_millis(50);
        for attempt in 1..=TRIES_MAX {
            match self.once(path).await {
                Ok(reply) if reply.status == 200 => return Ok(reply),
                Ok(reply) if attempt == TRIES_MAX || reply.status < 429 => {
                    bail!("GET {path} was answered with {}: {}", reply.status, String::from_utf8_lossy(&reply.body));
                }
                Err(error) if attempt == TRIES_MAX => return Err(error),
                _ => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 4;
        }
        bail!("GET {path} was not answered in {TRIES_MAX} tries")
    }

    /// The same, as a JSON object.
    pub async fn get_json(&mut self, path: &str) -> Result<Value> {
        let reply = self.get(path).await?;
        let value = reply.json();
        ensure!(value.is_object(), "GET {path} did not answer with a JSON object");
        Ok(value)
    }
}
