//! A client of the running hub: its address from `endpoints.json`, its token from `admin.token`, its own CA.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use jikai_sync::identity::{HUB_NAME, client_only_trust};
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::config::{CONFIG_FILE, Config};
use crate::identity::IdentityFiles;

/// Where a running hub can be reached; written when it is ready.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Endpoints {
    pub(super) http: SocketAddr,
    pub(super) sync: SocketAddr,
}

/// File with the [`Endpoints`].
pub(super) const ENDPOINTS_FILE: &str = "endpoints.json";

/// Asks the hub whose data directory this is.
pub(super) struct Client {
    data: PathBuf,
    address: SocketAddr,
    token: Zeroizing<String>,
    tls: TlsConnector,
}

impl Client {
    pub(super) fn open(data: &Path) -> anyhow::Result<Self> {
        let files = IdentityFiles::new(data);
        let path = data.join(ENDPOINTS_FILE);
        let not_running = || {
            format!(
                "read {}: the hub is not running; start it: jikai-hub run --data {}",
                path.display(),
                data.display()
            )
        };
        if !data.join(CONFIG_FILE).exists() {
            bail!(
                "{} is no hub's data directory: it has no {CONFIG_FILE}; name the right one with --data",
                data.display()
            );
        }
        if Config::load(data).is_ok_and(|config| config.voter_only) {
            bail!(
                "{} is of a machine that only votes, which answers no questions: ask at another machine",
                data.display()
            );
        }
        let text = std::fs::read_to_string(&path).with_context(not_running)?;
        let endpoints: Endpoints = serde_json::from_str(&text).with_context(not_running)?;
        let trust = client_only_trust(&files.authority_pem()?)?;
        let data = data.to_owned();
        Ok(Client { data, address: endpoints.http, token: files.token()?, tls: TlsConnector::from(Arc::new(trust)) })
    }

    /// `GET`, answered with JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, None).await
    }

    /// `POST` of a body of this type, answered with JSON.
    pub(super) async fn post(&self, path: &str, kind: &'static str, body: Vec<u8>) -> anyhow::Result<Value> {
        self.send(Method::POST, path, Some((kind, body))).await
    }

    /// The same of JSON.
    pub(super) async fn post_json(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.post(path, "application/json", body.to_string().into_bytes()).await
    }

    /// `PUT` without a body.
    pub(super) async fn put(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::PUT, path, None).await
    }

    /// `DELETE`.
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::DELETE, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&'static str, Vec<u8>)>) -> anyhow::Result<Value> {
        let address = self.address;
        let hint = || {
            format!(
                "connect to the hub at {address}: is it running? start it: jikai-hub run --data {}",
                self.data.display()
            )
        };
        let stream = TcpStream::connect(address).await.with_context(hint)?;
        let name = ServerName::try_from(HUB_NAME).context("name the hub")?;
        let stream = self.tls.connect(name, stream).await.with_context(hint)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, HUB_NAME);
        request = request.header(AUTHORIZATION, format!("Bearer {}", self.token.as_str()));
        let body = body.map(|(kind, body)| {
            request = std::mem::take(&mut request).header(CONTENT_TYPE, kind);
            Bytes::from(body)
        });
        let request = request.body(Full::new(body.unwrap_or_default())).context("build the request")?;
        let response = sender.send_request(request).await.context("ask the hub")?;
        let status = response.status();
        let bytes = response.into_body().collect().await.context("read the hub's answer")?.to_bytes();
        driving.abort();
        read_answer(status, &bytes)
    }
}

fn read_answer(status: StatusCode, bytes: &[u8]) -> anyhow::Result<Value> {
    if status == StatusCode::NO_CONTENT {
        return Ok(Value::Null);
    }
    let value: Value =
        serde_json::from_slice(bytes).with_context(|| format!("the hub answered {status} without JSON"))?;
    if status.is_success() {
        return Ok(value);
    }
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_string();
    bail!("{} ({})\n  {}", text("detail"), text("code"), text("hint"))
}

/// Runs a client's work to its end.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?.block_on(work)
}

/// Runs a member of the cluster to its end: it has threads of its own, and tasks that must go on while others wait.
pub(super) fn run_to_end<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?.block_on(work)
}
