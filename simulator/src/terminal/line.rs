//! The terminal's line to its node: log in, stay logged in, repeat with the same key until answered.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::json;

use super::moves::Interrupted;
use super::now_ms;
use super::patience::{Patience, TRIES_MAX, is_moving, is_of_no_use, told_pause};
use super::tally::Tally;
use super::way::Way;
use crate::client::{Call, Connection, Endpoint, Reply, TransportError};
use crate::seed::Dice;

/// One try may take this long: longer than a node waits for the hub before it says that it has stored an operation.
const TRY_LIMIT: Duration = Duration::from_secs(12);
/// How far the clocks of terminal and node may differ.
const CLOCK_SLACK_MS: i64 = 2_000;
/// Pause before another node is asked, to which the terminal was sent.
const MOVE_PAUSE_MS: u64 = 50;
/// How long a node that is asked where to go may take.
const ASK_LIMIT: Duration = Duration::from_secs(3);

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

/// What a login gave.
struct Session {
    token: String,
    /// Until then the node must know the token. Unix ms.
    expires_at_ms: i64,
}

impl Session {
    fn is_over(&self, now_ms: i64) -> bool {
        now_ms + CLOCK_SLACK_MS >= self.expires_at_ms
    }
}

/// What became of a request, and what it took.
#[derive(Debug)]
pub struct Answer {
    /// The reply.
    pub reply: Reply,
    /// Whether an earlier try was sent and not answered: the reply tells of a request that may have come twice.
    pub was_in_doubt: bool,
    /// Nodes that may have done it before, and did not say so: what they did, the one that replied tells again.
    pub perhaps_done_at: Vec<u16>,
}

/// One terminal's connection and session.
pub struct Line {
    way: Way,
    credentials: Credentials,
    connection: Option<Connection>,
    session: Option<Session>,
    /// Connections that were lost, not dropped on purpose.
    outages: u64,
    /// How long a node that takes no connection is waited for, beyond the usual tries.
    away_max: Duration,
    /// Whether the last request was answered.
    answered: bool,
    /// When the newest try began, or the first of those in a row that were lost.
    tried_at: Instant,
    /// Whether the newest try was lost.
    is_lost: bool,
    /// The request that is under way met a move of its outlet.
    interrupted: Option<Interrupted>,
    tally: Arc<Tally>,
    dice: Dice,
}

impl Line {
    /// A line that is not connected yet.
    pub fn new(way: Way, credentials: Credentials, tally: Arc<Tally>, dice: Dice) -> Self {
        Line {
            way,
            credentials,
            connection: None,
            session: None,
            outages: 0,
            away_max: Duration::ZERO,
            answered: false,
            tried_at: Instant::now(),
            is_lost: false,
            interrupted: None,
            tally,
            dice,
        }
    }

    /// The same, which waits so long for a node that takes no connection.
    pub fn waiting_for(self, away_max: Duration) -> Self {
        Line { away_max, ..self }
    }

    /// Whether the last request was answered.
    pub fn was_answered(&self) -> bool {
        self.answered
    }

    /// Who stands at this end.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// The node that serves the outlet, as far as is known.
    pub fn node(&self) -> u16 {
        self.way.node()
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
            let opened = Connection::open(self.way.endpoint(), TRY_LIMIT).await;
            self.way.note(opened.is_ok());
            self.connection = Some(opened.map_err(|lost| lost.error)?);
            self.tally.connected.fetch_add(1, Ordering::Relaxed);
        }
        if self.session.is_none() {
            self.session = Some(self.log_in().await?);
        }
        Ok(())
    }

    /// Drops a connection that the node has closed; what is left of the count is open. It counts as an outage: the node may have been
    /// killed.
    pub fn notice_closed(&mut self) {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_open()) {
            self.outages += 1;
            self.drop_connection();
        }
    }

    /// Connections that broke under a request so far.
    pub fn outages(&self) -> u64 {
        self.outages
    }

    async fn log_in(&mut self) -> Result<Session> {
        let terminal_id = self.credentials.terminal_id.clone();
        let reply = self.once(&challenge_of(&terminal_id)).await.map_err(|lost| lost.error)?;
        if is_moving(&reply) {
            self.meet_move();
        }
        if is_of_no_use(&reply) {
            self.way.give_up();
        }
        if reply.status == 421 && self.follow(&reply) {
            bail!("{terminal_id} was sent on: {}", text(&reply));
        }
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
        let reply = self.once(&Call::post("/v1/login", &body)).await.map_err(|lost| lost.error)?;
        ensure!(reply.status == 200, "{terminal_id}: the login was refused with {}: {}", reply.status, text(&reply));
        let answer = reply.json();
        let (outlet, role) = (&answer["outlet_id"], &answer["operator_role"]);
        ensure!(outlet == &self.credentials.outlet_id, "{terminal_id}: logged in at outlet {outlet}");
        ensure!(role == self.credentials.role, "{terminal_id}: logged in as {role}");
        self.way.learn(&answer["directory"])?;
        let token = answer["token"].as_str().context("the reply has no token")?.to_owned();
        let expires_at_ms = answer["expires_at_ms"].as_i64().context("the reply does not say when the session ends")?;
        Ok(Session { token, expires_at_ms })
    }

    /// One try on the open connection.
    async fn once(&mut self, call: &Call) -> Result<Reply, TransportError> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(TransportError { error: anyhow!("not connected"), was_sent: false });
        };
        let token = self.session.as_ref().map(|session| session.token.as_str());
        let reply = connection.exchange(call, token, TRY_LIMIT).await;
        if reply.is_err() {
            self.outages += 1;
            self.drop_connection();
        }
        reply
    }

    /// Sends a request until it is answered, always with the same key. An error means: nobody knows what became of it, or
    /// the node forgot a session that has not ended.
    pub async fn ask(&mut self, call: &Call) -> Result<Answer> {
        self.is_lost = false;
        let answer = self.ask_until_answered(call).await;
        self.interrupted = None;
        answer
    }

    async fn ask_until_answered(&mut self, call: &Call) -> Result<Answer> {
        let (mut patience, mut last) = (Patience::new(self.tally.clone()), None);
        let (mut was_in_doubt, mut perhaps_done_at) = (false, Vec::new());
        self.answered = false;
        while patience.begins_try() {
            match self.attempt(call).await {
                Ok(reply) if reply.status == 401 => {
                    last = Some(self.lose_session(call, &reply)?);
                    continue;
                }
                Ok(reply) if patience.is_sent_on(&reply) => {
                    last = Some(self.go_on_elsewhere(call, &reply).await?);
                    continue;
                }
                // It is asked for with its key.
                Ok(reply) if patience.awaits_hub(&reply) => {
                    note_node(&mut perhaps_done_at, self.node());
                    last = Some(anyhow!("{} waits for the hub: {}", call.path, text(&reply)));
                }
                Ok(reply) if patience.awaits_outlet(&reply) => {
                    last = Some(anyhow!("{} waits for its outlet: {}", call.path, text(&reply)));
                }
                Ok(reply) if patience.is_put_off(&reply) => {
                    last = Some(anyhow!("{} was answered with {}: {}", call.path, reply.status, text(&reply)));
                    if is_of_no_use(&reply) && self.leave().await {
                        patience.pause_anew();
                    }
                }
                Ok(reply) => {
                    self.tally.resolved.fetch_add(u64::from(was_in_doubt), Ordering::Relaxed);
                    self.notice(&reply).await;
                    self.answered = true;
                    return Ok(Answer { reply, was_in_doubt, perhaps_done_at });
                }
                Err(lost) => {
                    if lost.was_sent && call.key.is_some() {
                        was_in_doubt = true;
                        note_node(&mut perhaps_done_at, self.node());
                        self.tally.unanswered.fetch_add(1, Ordering::Relaxed);
                    }
                    if self.way.is_missed() {
                        patience.miss(self.away_max);
                    }
                    last = Some(lost.error);
                    if patience.loses_pause() || self.fall_back().await {
                        patience.pause_anew();
                    }
                }
            }
            patience.rest(&mut self.dice).await;
        }
        let last = last.unwrap_or_else(|| anyhow!("never tried"));
        bail!("not resolved in {TRIES_MAX} tries: {last:#}")
    }

    /// Goes where the node sends the terminal; why, should that be the last that is heard.
    async fn go_on_elsewhere(&mut self, call: &Call, reply: &Reply) -> Result<anyhow::Error> {
        let before = self.node();
        ensure!(self.follow(reply), "{} was sent on to nowhere: {}", call.path, text(reply));
        // Another node may be asked at once; the same one said how long it wants to be left alone.
        let told = told_pause(reply);
        let is_other = self.node() != before;
        tokio::time::sleep(if is_other { Duration::from_millis(MOVE_PAUSE_MS) } else { told }).await;
        Ok(anyhow!("{} was sent on: {}", call.path, text(reply)))
    }

    /// A session that has reached its end is opened again; one that has not must have survived whatever happened to the
    /// connection or the node, so that its loss is an error.
    fn lose_session(&mut self, call: &Call, reply: &Reply) -> Result<anyhow::Error> {
        let session = self.session.take().context("a request without a session was sent")?;
        let what = anyhow!("{} was answered with 401: {}", call.path, text(reply));
        ensure!(session.is_over(now_ms()), "the session was lost before its end: {what:#}");
        Ok(what)
    }

    /// Goes where a node sends the terminal, with its session and its keys; `false` where that cannot be understood.
    fn follow(&mut self, reply: &Reply) -> bool {
        let Some(is_other) = self.way.follow(reply) else { return false };
        self.meet_move();
        if is_other {
            self.tally.redirects.fetch_add(1, Ordering::Relaxed);
            self.drop_connection();
        }
        true
    }

    /// Asks other nodes of the directory where to go, once the own one has not answered for a while; whether one told.
    async fn fall_back(&mut self) -> bool {
        for (node, endpoint) in self.way.others(Instant::now(), &mut self.dice) {
            self.tally.fall_backs.fetch_add(1, Ordering::Relaxed);
            match ask_where(&endpoint, &self.credentials.terminal_id).await {
                Ok(reply) if reply.status == 421 && self.follow(&reply) => return true,
                Ok(reply) if reply.status == 200 => {
                    self.meet_move();
                    self.drop_connection();
                    self.way.go(node, endpoint);
                    return true;
                }
                // It does not answer either, or cannot tell now.
                Ok(_) | Err(_) => {}
            }
        }
        false
    }

    /// The node is of no use, as it says itself: others are asked, and where one tells, the connection is left.
    async fn leave(&mut self) -> bool {
        self.way.give_up();
        let is_told = self.fall_back().await;
        if is_told {
            self.drop_connection();
        }
        is_told
    }

    /// Fetches the directory when an answer told of a newer one. A bad one is a failure; a lost one comes with the next notice or
    /// login.
    async fn notice(&mut self, reply: &Reply) {
        let Some(version) = reply.directory_version else { return };
        if !self.way.directory().is_some_and(|directory| directory.is_to_be_fetched(version)) {
            return;
        }
        if let Ok(reply) = self.once(&Call::get("/v1/directory")).await
            && reply.status == 200
            && let Err(error) = self.way.learn(&reply.json())
        {
            self.tally.fail(format!("the directory of node {}: {error:#}", self.way.node()));
        }
    }

    /// A login has no key and is no part of the request: when it is lost, the request was not sent.
    async fn attempt(&mut self, call: &Call) -> Result<Reply, TransportError> {
        if !self.is_lost {
            self.tried_at = Instant::now();
        }
        // A node that ended meanwhile has closed it: what is sent there would be in doubt for nothing.
        self.notice_closed();
        let reply = match self.ensure_session().await {
            Ok(()) => self.once(call).await,
            Err(error) => Err(TransportError { error, was_sent: false }),
        };
        self.is_lost = reply.is_err();
        if reply.as_ref().is_ok_and(is_moving) {
            self.meet_move();
        }
        reply
    }

    /// The outlet of the request moves, or has moved: it has been waiting since its try began that met this, or since nobody answered
    /// before.
    fn meet_move(&mut self) {
        let (outlet, since) = (&self.credentials.outlet_id, self.tried_at);
        self.interrupted.get_or_insert_with(|| Interrupted::begin(&self.tally, outlet, since));
    }
}

fn challenge_of(terminal_id: &str) -> Call {
    Call::post("/v1/login/challenge", &json!({ "terminal_id": terminal_id }))
}

/// Asks a node where a terminal belongs: it answers with a challenge, or sends it on.
async fn ask_where(endpoint: &Endpoint, terminal_id: &str) -> Result<Reply, TransportError> {
    let mut connection = Connection::open(endpoint, ASK_LIMIT).await?;
    connection.exchange(&challenge_of(terminal_id), None, ASK_LIMIT).await
}

fn note_node(nodes: &mut Vec<u16>, node: u16) {
    if !nodes.contains(&node) {
        nodes.push(node);
    }
}

/// The beginning of a body, for messages.
pub fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).chars().take(300).collect()
}
