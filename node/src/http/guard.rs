//! The one guard of all addresses: who asks, and what the address needs. What is not declared in [`crate::rights`] is
//! refused; that a right was missing is a fact in the log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::caller::SignedIn;
use super::problem::Problem;
use super::token::{self, Token, TokenError};
use super::wrong_node::{check_moved, check_served};
use crate::app::{App, Closed};
use crate::decide::{Caller, Refusal};
use crate::rights::{self, Needs, Permission, route_of};
use crate::session::{Session, Stored};

/// Lets a request pass that has what its address needs. Errors: 401 `session_required`, `session_expired`; 403
/// `wrong_environment`, `not_declared`, `local_only`, `owner_required`; 421 `outlet_moved`, `other_node`; 429 `rate_limited`,
/// `too_many_requests`; 503 `outlet_arriving`, `node_fenced`, `offline_too_long`.
pub(super) async fn guard(State(app): State<App>, request: Request<Body>, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let path = parts.extensions.get::<MatchedPath>();
    let route = path.and_then(|path| route_of(parts.method.as_str(), path.as_str())).ok_or_else(|| {
        tracing::error!(method = %parts.method, uri = %parts.uri.path(), "an address without a declared need was asked for");
        let detail = "What this address needs is not declared.";
        Problem::new(StatusCode::FORBIDDEN, "not_declared", detail, "Tell the vendor: this is a defect.")
    })?;
    let address = peer(&mut parts, &app).await?;
    match route.needs {
        Needs::Nothing => {}
        Needs::Allowance => check_allowance(&app, address)?,
        Needs::Machine => check_machine(address)?,
        Needs::Session => {
            let session = signed_in(&app, &parts.headers, address).await?;
            parts.extensions.insert(session);
        }
        Needs::May(permission) => {
            let session = signed_in(&app, &parts.headers, address).await?;
            check_right(&app, session.caller(), permission).await?;
            parts.extensions.insert(session);
        }
    }
    Ok(next.run(Request::from_parts(parts, body)).await)
}

/// The session of the request's token, within its terminal's allowance.
async fn signed_in(app: &App, headers: &HeaderMap, address: IpAddr) -> Result<SignedIn, Problem> {
    let session = match session_of(app, headers) {
        Ok(session) => session,
        // Who guesses at tokens uses up what the address may do without a session.
        Err(problem) => {
            check_allowance(app, address)?;
            let found = session_of_outlet(app, headers, problem).await;
            let is_refused = found.as_ref().is_err_and(|problem| problem.is_for_want_of_a_session());
            metrics::counter!("jikai_sessions_refused_total").increment(u64::from(is_refused));
            found?
        }
    };
    check_open(app)?;
    check_moved(app, session.caller.outlet()).await?;
    if !session.allow() {
        let hint = "Wait a second before the next request.";
        let detail = "This terminal asks too often.";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail, hint));
    }
    Ok(SignedIn { session, address })
}

/// The session of a token that nobody remembers: one that came with its outlet is in the store a moment before it is in memory. Refused as a
/// stranger's, as `unknown`, only where the token's outlet is here: elsewhere it may be good.
async fn session_of_outlet(app: &App, headers: &HeaderMap, unknown: Problem) -> Result<Arc<Session>, Problem> {
    let Ok(token) = token::read(headers, &app.config.environment) else { return Err(unknown) };
    // A store that must not serve may lack the session because another one took its place.
    check_open(app)?;
    if let Some(terminal) = token.terminal {
        check_served(app, terminal.outlet()).await?;
    }
    let (sessions, now_ms) = (app.sessions.clone(), app.now_ms());
    let found = app.pool.read(move |store| sessions.load_one(store, &token.tag, now_ms)).await?;
    match found.map_err(|error| Problem::internal(&error))? {
        Stored::Live(session) => check_session(app, token, session),
        Stored::Unsure => Err(Problem::refused(&Refusal::OutletArriving, None)),
        Stored::No => Err(unknown),
    }
}

fn session_of(app: &App, headers: &HeaderMap) -> Result<Arc<Session>, Problem> {
    let token = token::read(headers, &app.config.environment).map_err(|error| match error {
        TokenError::Missing => to_log_in("session_required", "No session was presented."),
        TokenError::WrongEnvironment => wrong_environment(app),
        TokenError::Malformed => of_none(),
    })?;
    check_session(app, token, app.sessions.find(&token.tag).ok_or_else(of_none)?)
}

fn check_session(app: &App, token: Token, session: Arc<Session>) -> Result<Arc<Session>, Problem> {
    if token.terminal.is_some_and(|terminal| terminal != session.caller.terminal) {
        return Err(of_none());
    }
    if app.now_ms() >= session.expires_at_ms {
        return Err(to_log_in("session_expired", "The session has ended."));
    }
    Ok(session)
}

/// Tells the same of what never was a token and of what is none any more: ended sessions are not kept.
fn of_none() -> Problem {
    to_log_in("session_expired", "This token is of no session.")
}

fn to_log_in(code: &str, detail: &str) -> Problem {
    let hint = "Log in at /v1/login and send the token as `Authorization: Bearer …`.";
    Problem::new(StatusCode::UNAUTHORIZED, code, detail, hint)
}

fn wrong_environment(app: &App) -> Problem {
    let environment = &app.config.environment;
    let detail = format!("This token is of another environment; this node is of `{environment}`.");
    let hint = "Connect the terminal to a node of its own environment: training never reaches a live node.";
    Problem::new(StatusCode::FORBIDDEN, "wrong_environment", detail, hint)
}

/// Refuses what the person may not do, and notes it.
async fn check_right(app: &App, caller: Caller, permission: Permission) -> Result<(), Problem> {
    if rights::may(caller.role, permission) {
        return Ok(());
    }
    app.note_refusal(caller, &rights::words(permission)).await?;
    Err(Problem::refused(&Refusal::OwnerRequired, None))
}

fn check_allowance(app: &App, address: IpAddr) -> Result<(), Problem> {
    if app.strangers.allow(address) {
        return Ok(());
    }
    let hint = "Wait a second before the next request.";
    let detail = "Too many requests without a session come from this address.";
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail, hint))
}

fn check_machine(address: IpAddr) -> Result<(), Problem> {
    if address.is_loopback() {
        return Ok(());
    }
    let hint = "Ask on the node's machine, or through a tunnel.";
    Err(Problem::new(StatusCode::FORBIDDEN, "local_only", "This is read on the machine itself only.", hint))
}

/// Refuses while the node is fenced, or was cut off from the hub too long.
pub(super) fn check_open(app: &App) -> Result<(), Problem> {
    let (code, detail, hint) = match app.closed() {
        None => return Ok(()),
        Some(Closed::Fenced) => (
            "node_fenced",
            "The centre does not accept this node's records any more.",
            "Connect to the node that serves this outlet now; tell the operator that this one is fenced.",
        ),
        Some(Closed::OfflineTooLong) => (
            "offline_too_long",
            "This node has not heard the centre for too long to know who may still work here.",
            "Tell the operator that this node's line to the centre is down; it works on as soon as the line is back.",
        ),
    };
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, hint))
}

/// The address that a request came from.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

impl FromRequestParts<App> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        peer(parts, app).await.map(Peer)
    }
}

async fn peer(parts: &mut Parts, app: &App) -> Result<IpAddr, Problem> {
    let found = ConnectInfo::<SocketAddr>::from_request_parts(parts, app).await;
    found.map(|info| info.0.ip().to_canonical()).map_err(|_| Problem::internal(&"no peer address"))
}
