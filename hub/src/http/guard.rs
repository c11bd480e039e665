//! The one guard of all addresses: who asks, what the address needs, where the person may do that. What is not declared in
//! [`crate::rights`] is refused; refusals and sensitive reads are facts in the log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::Response;
use jikai_schema::command::{By, Command, Outcome, Refusal, SessionTag, StaffCommand};
use jikai_schema::crypto::equal;
use jikai_schema::event::{Actor, RequestId};
use jikai_schema::staff::Grant;
use jikai_sync::https::CallerAddress;

use super::problem::Problem;
use super::standing::Standing;
use crate::app::App;
use crate::machines::OwnState;
use crate::rights::{
    CONSOLE, Needs, Permission, Reach, Resource, Route, Scope, Verb, route_of, scope_of, whole_permissions,
};
use crate::staff::SessionToken;

/// Name of the cookie that holds the session's token. The prefix makes browsers insist on `Secure` and `Path=/`.
pub(super) const COOKIE: &str = "__Host-jikai";
/// Header that a page of ours sends with everything that changes.
pub(super) const CSRF_HEADER: &str = "x-csrf-token";
/// Refusals of the machine that are about persons: who tried what takes another one, or who acts for the own good.
const ABOUT_PERSONS: [&str; 9] = [
    "same_person",
    "own_account",
    "not_own_account",
    "not_own_change",
    "not_a_person",
    "two_persons_required",
    "maker_out_of_use",
    "security_administrator_decides",
    "confirmation_refused",
];
/// How long a request waits for a session that is not known here.
const CATCH_UP_WAIT: Duration = Duration::from_secs(2);
/// On whose behalf the machine's token acts. No login name has an `@`.
const CONSOLE_NAME: &str = "@console";

/// Who may do what this address does, and where.
#[derive(Clone)]
pub(super) struct Caller {
    name: Arc<str>,
    /// What is asked for, and from where: for the trail.
    request: Arc<str>,
    origin: Origin,
    scope: Scope,
    /// All that the caller may do now in the whole province.
    whole: Arc<[Permission]>,
    /// What is granted to the caller, and whether an access of the vendor is open; nothing to the machine.
    granted: Arc<(Vec<Grant>, bool)>,
}

impl Caller {
    /// On whose behalf commands are proposed.
    pub(super) fn by(&self) -> By {
        self.origin.by(&self.name)
    }

    /// Proposes on behalf of the caller. What the machine refuses is told, and noted where it is about persons.
    pub(super) async fn propose(&self, app: &App, command: Command) -> Result<Outcome, Problem> {
        match app.sequencer.propose(self.by(), command).await? {
            Outcome::Refused(refusal) => {
                note_rule(app, &self.name, &self.request, self.origin, &refusal).await?;
                Err(refusal.into())
            }
            outcome => Ok(outcome),
        }
    }

    /// The same, of what is answered by nothing but that it was done.
    pub(super) async fn ask(&self, app: &App, command: Command) -> Result<StatusCode, Problem> {
        self.propose(app, command).await.map(|_| StatusCode::NO_CONTENT)
    }

    /// Whether this is the caller.
    pub(super) fn is(&self, login: &str) -> bool {
        *self.name == *login
    }

    /// Whether the caller may do something in the whole province.
    pub(super) fn may(&self, verb: Verb, resource: Resource) -> bool {
        self.whole.contains(&(verb, resource))
    }

    /// Whether changes of a resource are the caller's business: to propose, to decide, or to audit.
    pub(super) fn concerns(&self, resource: Resource) -> bool {
        self.may(Verb::Ask, resource) || self.may(Verb::Approve, resource) || self.may(Verb::See, Resource::Trail)
    }

    /// Refuses what the caller may not do in the whole province, and notes it. Errors: 403 `not_permitted`.
    pub(super) async fn check(&self, app: &App, verb: Verb, resource: Resource) -> Result<(), Problem> {
        if self.may(verb, resource) {
            return Ok(());
        }
        let needed = format!("{} {}", verb.name(), resource.name());
        let detail = format!("You may not do this. Needed: {needed}.");
        self.refuse(app, &needed, forbidden("not_permitted", detail, "A security administrator grants rights.")).await
    }

    /// Notes a refusal, once a minute for each person and request, and gives the problem.
    pub(super) async fn refuse<T>(&self, app: &App, needed: &str, problem: Problem) -> Result<T, Problem> {
        note_refusal(app, &self.name, &self.request, self.origin, needed).await?;
        Err(problem)
    }

    /// Where the caller may do something else now; `None` if nowhere.
    pub(super) fn scope_for(&self, app: &App, verb: Verb, resource: Resource) -> Option<Scope> {
        if self.may(verb, resource) {
            return Some(Scope::Everywhere);
        }
        let (grants, support_is_open) = &*self.granted;
        scope_of(grants, (verb, resource), app.sequencer.now_ms(), self.origin.address, *support_is_open)
    }

    /// Where the caller may do this.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| Problem::internal(&"a handler asks for a caller without a guard"))
    }
}

/// A member of staff with an open session, whatever the person may do.
#[derive(Clone)]
pub(super) struct SignedIn(pub(super) Arc<Standing>);

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get().cloned();
        found.ok_or_else(|| Problem::internal(&"a handler asks for a session without a guard"))
    }
}

/// Which request, and from where.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// Drawn when it arrived.
    pub(super) request: RequestId,
    /// The address that it came from.
    pub(super) address: IpAddr,
}

impl Origin {
    /// A member of staff as the proposer.
    pub(super) fn by(self, login: &str) -> By {
        let actor = Actor::StaffAt { login: login.to_string(), address: self.address };
        By { actor, request: Some(self.request) }
    }

    /// The system as the proposer: who asked has not proved who it is.
    pub(super) fn by_nobody(self) -> By {
        By { actor: Actor::System, request: Some(self.request) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Peer(address) = Peer::from_request_parts(parts, state).await?;
        let request = parts.extensions.get::<RequestId>().copied();
        Ok(Origin { request: request.ok_or_else(|| Problem::internal(&"a request without an id"))?, address })
    }
}

/// The address that a request came from; behind a front door that of whoever is behind it.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if let Some(CallerAddress(caller)) = parts.extensions.get() {
            return Ok(Peer(caller.ip().to_canonical()));
        }
        let found = ConnectInfo::<SocketAddr>::from_request_parts(parts, state).await;
        found.map(|info| Peer(info.0.ip().to_canonical())).map_err(|_| Problem::internal(&"no peer address"))
    }
}

/// Lets a request pass that has what its address needs. Errors: 401 `session_required`, `session_expired`,
/// `token_invalid`; 429 `too_many_requests`; 403 `not_declared`, `not_permitted`, `outside_area`, `password_must_change`, `second_factor_missing`,
/// `second_factor_unproven`, `csrf_token_invalid`.
pub(super) async fn guard(State(app): State<App>, request: Request<Body>, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let path = parts.extensions.get::<MatchedPath>().map(|path| path.as_str().to_string()).unwrap_or_default();
    let route = route_of(parts.method.as_str(), &path).ok_or_else(|| {
        tracing::error!(method = %parts.method, path, "an address without a declared need was asked for");
        forbidden("not_declared", "What this address needs is not declared.", "Tell the vendor: this is a defect.")
    })?;
    let origin = Origin::from_request_parts(&mut parts, &app).await?;
    match route.needs {
        // What only reads costs nothing; a login costs a hash.
        Needs::Nothing if parts.method == Method::POST && !app.strangers.allow(origin.address) => {
            return Err(too_many_requests());
        }
        Needs::Nothing => {}
        Needs::Session => {
            let standing = signed_in(&app, origin, &parts.method, &parts.headers).await?;
            parts.extensions.insert(SignedIn(standing));
        }
        Needs::May(permission) => {
            let request = format!("{} {}", parts.method, parts.uri.path());
            let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            let asked = Asked { app: &app, route, permission, request, query, origin };
            let caller = asked.admit(&parts).await?;
            parts.extensions.insert(caller);
        }
    }
    let (version, serves) = (parts.version, *app.own_state.borrow() == OwnState::Serving);
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if !serves && version < Version::HTTP_2 {
        // The next request on a new connection, which the front door gives to another machine.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A request for something that needs a permission.
struct Asked<'a> {
    app: &'a App,
    route: &'static Route,
    permission: Permission,
    request: String,
    /// With its question mark; empty where there is none.
    query: String,
    origin: Origin,
}

/// The machine's token is good on the machine itself: not for whoever comes through a front door, whatever address that names.
fn came_through_a_door(parts: &Parts) -> bool {
    parts.extensions.get::<CallerAddress>().is_some()
}

impl Asked<'_> {
    async fn admit(&self, parts: &Parts) -> Result<Caller, Problem> {
        let caller = match parts.headers.contains_key(header::AUTHORIZATION) {
            true => self.admit_console(parts).await?,
            false => self.admit_staff(&parts.method, &parts.headers).await?,
        };
        if self.route.sensitive {
            self.note(&caller.name, false).await?;
        }
        Ok(caller)
    }

    /// The machine's token is good from the machine itself only.
    async fn admit_console(&self, parts: &Parts) -> Result<Caller, Problem> {
        let value = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let is_here = self.origin.address.is_loopback() && !came_through_a_door(parts);
        if !is_here || !self.app.token.is_of(token.trim()) {
            metrics::counter!("jikai_tokens_refused_total").increment(1);
            note_stranger(self.app, &self.request, self.origin, "the machine's token").await?;
            let hint = "Use the token in admin.token of the hub's data directory, on the hub's machine.";
            return Err(unauthorized("token_invalid", "This is not the machine's token.", hint));
        }
        if !CONSOLE.contains(&self.permission) {
            let problem = self.not_permitted("The machine's token does not reach this.", "Log in as a person who may.");
            return self.refuse(CONSOLE_NAME, problem).await;
        }
        let request = self.request.as_str().into();
        let origin = self.origin;
        Ok(Caller {
            name: CONSOLE_NAME.into(),
            request,
            origin,
            scope: Scope::Everywhere,
            whole: CONSOLE.into(),
            granted: Arc::default(),
        })
    }

    async fn admit_staff(&self, method: &Method, headers: &HeaderMap) -> Result<Caller, Problem> {
        let standing = signed_in(self.app, self.origin, method, headers).await?;
        let row = &standing.row;
        if let Some(missing) = standing.missing.first() {
            let problem = forbidden(missing.code(), missing.sentence(), missing.hint());
            return self.refuse(&row.login, problem).await;
        }
        let now_ms = self.app.sequencer.now_ms();
        let scope = scope_of(&row.grants, self.permission, now_ms, self.origin.address, standing.support_is_open);
        let Some(scope) = scope else {
            let text = "You may not do this, or not at this hour or from this address.";
            return self.refuse(&row.login, self.not_permitted(text, "A security administrator grants rights.")).await;
        };
        if self.route.reach == Reach::Province && !scope.is_everywhere() {
            let text = "This concerns the whole province, your right only a part of it.";
            let problem = forbidden("outside_area", text, "Ask somebody whose right reaches the province.");
            return self.refuse(&row.login, problem).await;
        }
        if standing.is_vendor() {
            self.note(&row.login, true).await?;
        }
        let whole = whole_permissions(&row.grants, now_ms, self.origin.address, standing.support_is_open);
        let (name, request) = (row.login.as_str().into(), self.request.as_str().into());
        let granted = Arc::new((row.grants.clone(), standing.support_is_open));
        Ok(Caller { name, request, origin: self.origin, scope, whole: whole.into(), granted })
    }

    fn not_permitted(&self, detail: &str, hint: &str) -> Problem {
        forbidden("not_permitted", format!("{detail} Needed: {}.", self.needed()), hint)
    }

    fn needed(&self) -> String {
        format!("{} {}", self.permission.0.name(), self.permission.1.name())
    }

    /// Notes a refusal and gives the problem.
    async fn refuse<T>(&self, name: &str, problem: Problem) -> Result<T, Problem> {
        note_refusal(self.app, name, &self.request, self.origin, &self.needed()).await?;
        Err(problem)
    }

    /// Notes a read: each one of the vendor's, others once a minute for each person and thing.
    async fn note(&self, name: &str, each: bool) -> Result<(), Problem> {
        let (note, now_ms) = (format!("reading {name} {}", self.request), self.app.sequencer.now_ms());
        if each || self.app.notes.is_due(&note, now_ms) {
            let request = format!("{}{}", self.request, self.query);
            let address = self.origin.address;
            let fact = Command::Staff(StaffCommand::NoteReading { request, address });
            self.app.sequencer.propose(self.origin.by(name), fact).await?;
            self.app.notes.written(note, now_ms);
        }
        Ok(())
    }
}

/// Notes that a person (by name) was refused a request, once a minute for each person and request.
async fn note_refusal(app: &App, name: &str, request: &str, origin: Origin, needed: &str) -> Result<(), Problem> {
    write_refusal(app, (name, request), origin.by(name), (needed, origin.address)).await
}

/// Notes that the machine refused what takes another person.
pub(super) async fn note_rule(
    app: &App,
    name: &str,
    request: &str,
    origin: Origin,
    refusal: &Refusal,
) -> Result<(), Problem> {
    match ABOUT_PERSONS.contains(&refusal.code()) {
        true => note_refusal(app, name, request, origin, refusal.code()).await,
        false => Ok(()),
    }
}

/// Notes that somebody was refused who has not proved who it is, once a minute for each address and request.
async fn note_stranger(app: &App, request: &str, origin: Origin, needed: &str) -> Result<(), Problem> {
    let address = origin.address.to_string();
    write_refusal(app, (&address, request), origin.by_nobody(), (needed, origin.address)).await
}

async fn write_refusal(
    app: &App,
    (who, request): (&str, &str),
    by: By,
    (needed, address): (&str, IpAddr),
) -> Result<(), Problem> {
    metrics::counter!("jikai_requests_refused_total").increment(1);
    let (note, now_ms) = (format!("refusal {who} {request} {needed}"), app.sequencer.now_ms());
    if app.notes.is_due(&note, now_ms) {
        let (request, needed) = (request.to_string(), needed.to_string());
        let refused = Command::Staff(StaffCommand::NoteRefusal { request, needed, address });
        app.sequencer.propose(by, refused).await?;
        app.notes.written(note, now_ms);
    }
    Ok(())
}

/// The person of the session in the request's cookie.
async fn signed_in(app: &App, origin: Origin, method: &Method, headers: &HeaderMap) -> Result<Arc<Standing>, Problem> {
    let hint = "Log in: POST /v1/session.";
    let required = || unauthorized("session_required", "This address needs a session of a member of staff.", hint);
    let token = session_token(headers).ok_or_else(required)?;
    let expired = || unauthorized("session_expired", "The session has ended.", hint);
    let standing = match Standing::load(app, token.tag(), origin).await? {
        Some(standing) => standing,
        // Who guesses at tokens uses up what the address may do without a session.
        None if !app.strangers.allow(origin.address) => return Err(too_many_requests()),
        None => look_again(app, token.tag(), origin).await?.ok_or_else(expired)?,
    };
    if !app.accounts.allow_account(&standing.row.login) {
        let detail = "Too many requests come from this account.";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail, "Wait some seconds."));
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let login = &standing.row.login;
        let refused = |problem: Problem| async move {
            note_refusal(app, login, &format!("{method} of another page"), origin, "this session's page").await?;
            Err(problem)
        };
        if let Err(problem) = check_same_site(headers) {
            return refused(problem).await;
        }
        let sent = headers.get(CSRF_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
        if !equal(sent, token.csrf().as_bytes()) {
            let hint = "Send `csrf_token` of GET /v1/session as the header X-CSRF-Token.";
            let detail = "The header X-CSRF-Token is missing or not this session's.";
            return refused(forbidden("csrf_token_invalid", detail, hint)).await;
        }
    }
    standing.keep_open(app).await?;
    Ok(Arc::new(standing))
}

/// The session of a login that another machine has answered and this one has not applied yet. Where nothing newer can be had in time,
/// what this machine knows counts.
async fn look_again(app: &App, tag: SessionTag, origin: Origin) -> Result<Option<Standing>, Problem> {
    match tokio::time::timeout(CATCH_UP_WAIT, app.sequencer.catch_up()).await {
        Ok(Ok(())) => Standing::load(app, tag, origin).await,
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// The token in the cookie.
pub(super) fn session_token(headers: &HeaderMap) -> Option<SessionToken> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).and_then(|(_, token)| SessionToken::parse(token))
}

/// Refuses what a browser says another site's page sent.
pub(super) fn check_same_site(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get("sec-fetch-site").map(|value| value.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(forbidden("other_site", "A page of another site sent this.", "Open the console itself.")),
    }
}

fn too_many_requests() -> Problem {
    let hint = "Wait some seconds before the next request.";
    let detail = "Too many requests without a session come from this address.";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail, hint)
}

fn forbidden(code: &str, detail: impl Into<String>, hint: &str) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, code, detail, hint)
}

pub(super) fn unauthorized(code: &str, detail: &str, hint: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, code, detail, hint)
}
