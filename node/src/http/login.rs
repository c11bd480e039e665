//! `/v1/login`, `/v1/logout`.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jikai_schema::id::{OperatorId, OutletClass, TerminalId};
use jikai_schema::parameter::{Parameter, Place};
use jikai_schema::projection::{Projection, ProjectionError};
use jikai_schema::time::TimeMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::{JsonBody, SignedIn};
use super::guard::{Peer, check_open};
use super::problem::Problem;
use super::session::SessionView;
use super::token;
use super::wrong_node::{check_here, check_moved};
use crate::app::App;
use crate::decide::{Caller, Refusal, Verb};
use crate::query::QueryError;
use crate::session::{Credentials, Ended, Ground, LoginError, load_secrets, prove_device, prove_person};
use crate::writer::Request;

/// Ask for a challenge.
#[derive(Deserialize, ToSchema)]
pub(super) struct ChallengeBody {
    /// 10 digits.
    terminal_id: String,
}

/// A challenge to sign.
#[derive(Serialize, ToSchema)]
pub(super) struct ChallengeView {
    /// Text to sign, see `POST /v1/login`.
    challenge: String,
    /// When it can no longer be answered. Unix ms.
    expires_at_ms: i64,
}

/// The proofs of terminal and operator.
#[derive(Deserialize, ToSchema)]
pub(super) struct LoginBody {
    /// 10 digits.
    terminal_id: String,
    /// 10 digits; of the same outlet.
    operator_id: String,
    /// The operator's password, at most 128 characters.
    password: String,
    /// As handed out.
    challenge: String,
    /// Base64 of the Ed25519 signature over `jikai-login-v1\n{terminal_id}\n{operator_id}\n{challenge}`.
    signature: String,
}

/// A session that was opened.
#[derive(Serialize, ToSchema)]
pub(super) struct LoginView {
    /// Send it as `Authorization: Bearer …`.
    token: String,
    #[serde(flatten)]
    session: SessionView,
}

/// Hands out a challenge for the terminal to sign. Errors: 421 `other_node`, `outlet_moved` with `node` and `addresses`: go there; 422 invalid id; 503
/// `node_unknown`, `outlet_arriving`.
#[utoipa::path(post, path = "/v1/login/challenge", request_body = ChallengeBody, responses((status = 200, body = ChallengeView), (status = 421, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn challenge(
    State(app): State<App>,
    JsonBody(body): JsonBody<ChallengeBody>,
) -> Result<Json<ChallengeView>, Problem> {
    let terminal: TerminalId = parse_id("terminal_id", &body.terminal_id)?;
    check_here(&app, terminal.outlet()).await?;
    // An unknown terminal gets a challenge too: the answer does not tell which terminals exist.
    let (challenge, expires_at_ms) = app.challenges.issue(terminal, app.now_ms());
    Ok(Json(ChallengeView { challenge, expires_at_ms: expires_at_ms.ms() }))
}

/// Opens a session: the terminal proves its key, the operator the password. Ends the terminal's earlier session.
/// Errors: 401 `login_failed`; 403 `terminal_revoked`, `operator_disabled`; 421 `other_node`, `outlet_moved`; 409 `outlet_suspended`, `login_outdated`; 422 invalid
/// values; 429 `too_many_failures`; 503 `offline_too_long`, `node_fenced`, `node_unknown`, `outlet_arriving`, `busy`.
#[utoipa::path(post, path = "/v1/login", request_body = LoginBody, responses((status = 200, body = LoginView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem), (status = 421, body = Problem), (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn login(
    State(app): State<App>,
    Peer(address): Peer,
    JsonBody(body): JsonBody<LoginBody>,
) -> Result<Json<LoginView>, Problem> {
    check_open(&app)?;
    let credentials = credentials(body)?;
    check_moved(&app, credentials.terminal.outlet()).await?;
    // What has begun is finished also when the terminal hangs up: a guess must be counted, a session that is open be known.
    tokio::spawn(prove(app, credentials, address)).await.unwrap_or_else(|error| Err(Problem::internal(&error)))
}

async fn prove(app: App, credentials: Credentials, address: IpAddr) -> Result<Json<LoginView>, Problem> {
    let (terminal, operator) = (credentials.terminal, credentials.operator);
    let challenge = app.challenges.read(terminal, &credentials.challenge, app.now_ms()).ok_or_else(login_failed)?;
    let secrets = app.pool.read(move |store| load_secrets(store, terminal, operator)).await??;
    let Some(secrets) = secrets else {
        check_here(&app, terminal.outlet()).await?;
        return Err(login_failed());
    };
    // Only who holds the device's key takes a challenge back, may guess, or learns that there is something to wait for.
    prove_device(&credentials, &secrets).map_err(|_| login_failed())?;
    if !app.challenges.redeem(challenge, app.now_ms()) {
        return Err(login_failed());
    }
    let guess = app.guesses.begin(operator, app.now_ms()).map_err(too_many_failures)?;
    let room = app.hashing.room().await.ok_or_else(too_many_logins)?;
    let (ground, role, outlet_name) = (secrets.ground(), secrets.role, secrets.outlet_name.clone());
    let proven = tokio::task::spawn_blocking(move || prove_person(&credentials, &secrets)).await;
    drop(room);
    let caller = Caller { terminal, operator, role, address: Some(address) };
    if proven.unwrap_or(Err(LoginError)).is_err() {
        let failures = guess.failed(app.now_ms());
        let key = app.fresh_key(&caller, "note");
        app.writer.ask(Request::new(caller, key, Verb::NoteLoginFailure { failures })).await?;
        return Err(login_failed());
    }
    guess.succeeded();
    let (token, expires_at_ms) = open_session(&app, caller, ground).await?;
    Ok(Json(LoginView { token, session: SessionView::of(&app, &caller, outlet_name, expires_at_ms) }))
}

/// Ends the session. Errors: 401.
#[utoipa::path(post, path = "/v1/logout", responses((status = 204), (status = 401, body = Problem)))]
pub(super) async fn logout(State(app): State<App>, session: SignedIn) -> Result<StatusCode, Problem> {
    let caller = session.caller();
    let closing = async move {
        let key = app.fresh_key(&caller, "logout");
        app.writer.ask(Request::new(caller, key, Verb::CloseSession)).await?;
        app.sessions.close(caller.terminal);
        Ok(StatusCode::NO_CONTENT)
    };
    // Also when the terminal hangs up: a token whose session is closed must not go on working.
    tokio::spawn(closing).await.unwrap_or_else(|error| Err(Problem::internal(&error)))
}

/// A session is open once it is on disk here, whatever `ack` says: it moves no money, and a terminal must be able to log in
/// while the hub is away.
async fn open_session(app: &App, caller: Caller, ground: Ground) -> Result<(String, TimeMs), Problem> {
    let (token, tag) = token::issue(&app.config.environment, caller.terminal);
    let (now_ms, outlet) = (app.now_ms(), caller.outlet());
    let minutes = app.pool.read(move |store| -> Result<i64, ProjectionError> {
        let mut projection = Projection::new(store);
        let class = projection.outlet(outlet)?.map_or(OutletClass::FIRST, |row| row.class);
        projection.parameter(Parameter::TerminalSession, &Place::outlet(outlet, class), now_ms)
    });
    let minutes = minutes.await?.map_err(QueryError::from)?;
    let expires_at_ms = TimeMs::from_ms(now_ms.ms() + minutes * 60_000);
    let verb = Verb::OpenSession { token: tag, expires_at_ms, ground };
    app.writer.ask(Request::new(caller, app.fresh_key(&caller, "login"), verb)).await?;
    app.sessions.open(tag, caller, expires_at_ms);
    // A fact of the hub that was committed in between found nothing to end in memory, and of two logins at once the later one may be heard of
    // first; the store knows.
    if !app.pool.read(move |store| Ended::spares(store, caller.terminal, &tag)).await?? {
        app.sessions.close_token(&tag);
        return Err(Problem::refused(&Refusal::LoginOutdated, None));
    }
    Ok((token, expires_at_ms))
}

fn credentials(body: LoginBody) -> Result<Credentials, Problem> {
    if body.password.chars().count() > 128 {
        return Err(Problem::invalid("password", "A password has at most 128 characters."));
    }
    let signature = STANDARD.decode(&body.signature).ok().and_then(|bytes| bytes.try_into().ok());
    Ok(Credentials {
        terminal: parse_id("terminal_id", &body.terminal_id)?,
        operator: parse_id::<OperatorId>("operator_id", &body.operator_id)?,
        password: zeroize::Zeroizing::new(body.password),
        challenge: body.challenge,
        signature: signature.ok_or_else(|| Problem::invalid("signature", "A signature is 64 bytes in base64."))?,
    })
}

fn parse_id<T: std::str::FromStr<Err = jikai_schema::id::IdError>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: jikai_schema::id::IdError| Problem::invalid(what, error.to_string()))
}

fn too_many_failures(wait_ms: i64) -> Problem {
    let detail = format!("Too many wrong passwords: {} seconds are left to wait.", wait_ms.div_euclid(1_000) + 1);
    let hint = "Wait, then type the password with care; the market manager can set it anew.";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", detail, hint)
}

fn too_many_logins() -> Problem {
    let hint = "Try again in some seconds with a new challenge.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many persons log in at this moment.", hint)
}

fn login_failed() -> Problem {
    let hint = "Check the operator number and password, then log in again with a new challenge.";
    Problem::new(StatusCode::UNAUTHORIZED, "login_failed", LoginError.to_string(), hint)
}
