//! `/v1/session`: log in, who am I, log out.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jikai_schema::command::{Command, Factor, Outcome, StaffCommand};
use jikai_schema::staff::check_login;
use jikai_schema::time::TimeMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::grants::{GrantView, PermissionView, permissions_now};
use super::guard::{COOKIE, Origin, SignedIn, check_same_site, unauthorized};
use super::problem::Problem;
use super::standing::Standing;
use crate::app::App;
use crate::machine::{CODE_FAILURES_MAX, LoginLock, SessionRow, StaffRow, StorageError};
use crate::staff::{Factors, SessionToken, TEMPORARY_PASSWORD_MS_MAX};

/// Longest password that is compared. Bytes.
const PASSWORD_BYTES_MAX: usize = 1_024;

/// What a member of staff logs in with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginBody {
    login: String,
    password: String,
    /// Six digits of the authenticator, or a recovery code; where a second factor is set up.
    code: Option<String>,
}

/// An open session.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionView {
    login: String,
    name: String,
    /// To be sent as the header `X-CSRF-Token` with everything that changes.
    csrf_token: Option<String>,
    /// What must be done before anything else: password_must_change, second_factor_missing, second_factor_unproven,
    /// confirmation_missing.
    missing: Vec<&'static str>,
    grants: Vec<GrantView>,
    /// What may be done now and where: a screen offers nothing else.
    permissions: Vec<PermissionView>,
    /// When the session ends if it is not used. Unix ms.
    ends_at_ms: i64,
    /// Whether an access of the vendor is open.
    support_is_open: bool,
}

impl SessionView {
    fn of(app: &App, standing: &Standing, csrf_token: Option<String>) -> Self {
        let row = &standing.row;
        let now_ms = app.sequencer.now_ms();
        SessionView {
            login: row.login.clone(),
            name: row.name.clone(),
            csrf_token,
            missing: standing.missing.iter().map(|missing| missing.code()).collect(),
            grants: row.grants.iter().map(GrantView::from).collect(),
            permissions: permissions_now(&row.grants, now_ms, standing.origin.address, standing.support_is_open),
            ends_at_ms: standing.session.ends_at_ms(&standing.settings).ms(),
            support_is_open: standing.support_is_open,
        }
    }
}

/// Opens a session of a member of staff; its token is in the cookie. Errors: 401 `login_failed` whatever was wrong or missing;
/// 503 `busy`.
#[utoipa::path(post, path = "/v1/session", request_body = LoginBody,
    responses((status = 200, body = SessionView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 422, body = Problem), (status = 429, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn open(
    State(app): State<App>,
    origin: Origin,
    headers: HeaderMap,
    Json(body): Json<LoginBody>,
) -> Result<Response, Problem> {
    check_same_site(&headers)?;
    let (login, password) = (body.login, Zeroizing::new(body.password));
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::invalid("password", "A password has at most 128 characters."));
    }
    let row = match check_login(&login) {
        Ok(()) => {
            app.pool
                .read({
                    let login = login.clone();
                    move |store| -> Result<_, StorageError> {
                        let lock = LoginLock::read(store, &login, origin.address)?.unwrap_or_default();
                        Ok(StaffRow::read(store, &login)?.map(|row| (row, lock)))
                    }
                })
                .await??
        }
        Err(_) => None,
    };
    let now_ms = app.sequencer.now_ms();
    // Where no account may log in, a comparison of the same cost is made: the answer tells nothing by its time.
    let usable = row.filter(|(row, lock)| lock.until_ms <= now_ms && may_log_in(row, now_ms)).map(|(row, _)| row);
    let hashes = usable.iter().map(|row| row.password_hash.clone()).collect();
    let fits = app.passwords.is_of(password, hashes).await?;
    let Some(row) = usable.filter(|_| fits) else { return Err(failed(&app, &login, origin).await?) };
    let Some(factor) = factor_of(&app, &row, body.code.as_deref().unwrap_or_default(), now_ms) else {
        return Err(code_failed(&app, &row.login, origin).await?);
    };
    let token = SessionToken::draw()?;
    let (by, tag) = (origin.by(&row.login), token.tag());
    let (login_name, seen_hash, address) = (row.login, row.password_hash, origin.address);
    let command = StaffCommand::OpenSession { login: login_name, seen_hash, tag, address, factor };
    if let Outcome::Refused(_) = app.sequencer.propose(by, Command::Staff(command)).await? {
        return Err(code_failed(&app, &login, origin).await?);
    }
    let gone = || unauthorized("session_expired", "The session has ended already.", "Log in again.");
    let standing = Standing::load(&app, tag, origin).await?.ok_or_else(gone)?;
    let mut response = Json(SessionView::of(&app, &standing, Some(token.csrf()))).into_response();
    let seconds = standing.settings.session_ms_max / 1_000;
    response.headers_mut().insert(header::SET_COOKIE, cookie(&token.text(), seconds)?);
    Ok(response)
}

/// What was shown besides the password; `None` where it does not suffice.
fn factor_of(app: &App, row: &StaffRow, code: &str, now_ms: TimeMs) -> Option<Factor> {
    let Some(sealed) = &row.factor_sealed else { return Some(Factor::None) };
    if Factors::looks_like_recovery(code) {
        return Some(Factor::RecoveryCode { hash: Factors::recovery_hash(code) });
    }
    app.factors.check(&row.login, sealed, code, now_ms).map(|step| Factor::OneTimeCode { step })
}

fn may_log_in(row: &StaffRow, now_ms: TimeMs) -> bool {
    let unused_ms = now_ms.ms() - row.password_set_at_ms.ms();
    let void = row.password_temporary && unused_ms > TEMPORARY_PASSWORD_MS_MAX;
    row.active && !void && row.code_failure_count < CODE_FAILURES_MAX
}

/// Notes a wrong, used or missing code behind a right password; the answer does not tell that the password was right.
async fn code_failed(app: &App, login: &str, origin: Origin) -> Result<Problem, Problem> {
    note_failed(app, origin, StaffCommand::NoteCodeFailure { login: login.to_string(), address: origin.address }).await
}

/// Notes a failed login.
async fn failed(app: &App, given: &str, origin: Origin) -> Result<Problem, Problem> {
    let given = given.chars().take(64).collect();
    note_failed(app, origin, StaffCommand::NoteFailure { given, address: origin.address }).await
}

/// The one answer to all failed logins.
async fn note_failed(app: &App, origin: Origin, command: StaffCommand) -> Result<Problem, Problem> {
    app.sequencer.propose(origin.by_nobody(), Command::Staff(command)).await?;
    metrics::counter!("jikai_logins_failed_total").increment(1);
    let hint = "Check name, password and code: six digits of the authenticator, or a recovery code, where a second factor is \
                set up; each code works once: wait for the next one. After five failures login waits, longer each time; an administrator can reset the password.";
    Ok(unauthorized("login_failed", "Name, password or code is not right.", hint))
}

fn cookie(token: &str, seconds: i64) -> Result<HeaderValue, Problem> {
    let text = format!("{COOKIE}={token}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict");
    let mut value = HeaderValue::from_str(&text).map_err(|error| Problem::internal(&error))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Who is logged in, what must be done first, and what may be done.
#[utoipa::path(get, path = "/v1/session", responses((status = 200, body = SessionView), (status = 401, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    SignedIn(standing): SignedIn,
    headers: HeaderMap,
) -> Json<SessionView> {
    let csrf = super::guard::session_token(&headers).map(|token| token.csrf());
    Json(SessionView::of(&app, &standing, csrf))
}

/// Ends the session.
#[utoipa::path(delete, path = "/v1/session",
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn close(State(app): State<App>, SignedIn(standing): SignedIn) -> Result<Response, Problem> {
    end(&app, &standing, &standing.session).await?;
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(header::SET_COOKIE, cookie("", 0)?);
    Ok(response)
}

/// Ends a session on behalf of a person.
pub(super) async fn end(app: &App, by: &Standing, session: &SessionRow) -> Result<(), Problem> {
    let command = Command::Staff(StaffCommand::EndSession { tag: session.tag });
    match app.sequencer.propose(by.by(), command).await? {
        Outcome::Refused(refusal) => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// A session in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionLine {
    /// 16 hex digits; opens nothing.
    session: String,
    opened_at_ms: i64,
    /// To the minute.
    seen_at_ms: i64,
    address: String,
    /// Whether the person proved to be the one twice.
    proven_twice: bool,
    /// Whether this request belongs to it.
    current: bool,
}

/// Open sessions of a person.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionsView {
    sessions: Vec<SessionLine>,
}

impl SessionsView {
    pub(super) fn of(rows: &[SessionRow], current: Option<&SessionRow>) -> Self {
        let line = |row: &SessionRow| SessionLine {
            session: number(row),
            opened_at_ms: row.opened_at_ms.ms(),
            seen_at_ms: row.seen_at_ms.ms(),
            address: row.address.clone(),
            proven_twice: row.proven_twice,
            current: current.is_some_and(|current| current.tag == row.tag),
        };
        SessionsView { sessions: rows.iter().map(line).collect() }
    }
}

/// The open sessions of a person.
pub(super) async fn sessions_of(app: &App, login: &str) -> Result<Vec<SessionRow>, Problem> {
    let login = login.to_string();
    Ok(app.pool.read(move |store| SessionRow::of(store, &login)).await??)
}

/// The session of this number, if the person has it.
pub(super) fn find<'a>(rows: &'a [SessionRow], wanted: &str) -> Option<&'a SessionRow> {
    rows.iter().find(|row| number(row) == wanted)
}

fn number(row: &SessionRow) -> String {
    hex::encode(crate::machine::session_no(&row.tag.0).0)
}
