//! `/v1/own`: what a person does to the own account: password, second factor, sessions.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jikai_schema::command::{Command, Outcome, StaffCommand};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::guard::{SignedIn, note_rule};
use super::problem::Problem;
use super::session::{SessionsView, end, find, sessions_of};
use super::standing::{Missing, Standing};
use crate::app::App;
use crate::machine::{FAILURES_FREE, LoginLock};
use crate::staff::{ConfirmationCode, FactorError, Factors, Passwords};

/// Longest code that is looked at. Bytes.
const CODE_BYTES_MAX: usize = 64;

/// The own open sessions.
#[utoipa::path(get, path = "/v1/own/sessions",
    responses((status = 200, body = SessionsView), (status = 401, body = Problem)))]
pub(super) async fn sessions(
    State(app): State<App>,
    SignedIn(standing): SignedIn,
) -> Result<Json<SessionsView>, Problem> {
    let rows = sessions_of(&app, &standing.row.login).await?;
    Ok(Json(SessionsView::of(&rows, Some(&standing.session))))
}

/// Ends one of the own sessions. Errors: 404 `no_such_session`.
#[utoipa::path(delete, path = "/v1/own/sessions/{session}", params(("session" = String, Path, description = "16 hex digits")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn end_session(
    State(app): State<App>,
    SignedIn(standing): SignedIn,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    let rows = sessions_of(&app, &standing.row.login).await?;
    end(&app, &standing, find(&rows, &session).ok_or_else(no_such_session)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn no_such_session() -> Problem {
    let hint = "List the sessions again: it may have ended.";
    Problem::new(StatusCode::NOT_FOUND, "no_such_session", "This person has no such open session.", hint)
}

/// A new password in place of the old one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordBody {
    old_password: String,
    new_password: String,
}

/// Changes the own password; the other sessions end. Errors: 403 `old_password_wrong`; 409 `password_used_before`;
/// 422 `invalid_password`.
#[utoipa::path(put, path = "/v1/own/password", request_body = PasswordBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn password(
    State(app): State<App>,
    SignedIn(standing): SignedIn,
    Json(body): Json<PasswordBody>,
) -> Result<StatusCode, Problem> {
    let (old, new) = (Zeroizing::new(body.old_password), Zeroizing::new(body.new_password));
    let row = &standing.row;
    if let Some(fault) = Passwords::fault(&new, &row.login, standing.settings.password_characters_min) {
        return Err(Problem::invalid("password", format!("{fault}.")));
    }
    let locked = lock_at(&app, row.login.clone(), standing.origin.address).await?.until_ms > app.sequencer.now_ms();
    if locked || !app.passwords.is_of(old, vec![row.password_hash.clone()]).await? {
        return Err(wrong_password(&app, &standing).await?);
    }
    let hashes = app
        .pool
        .read({
            let row = row.clone();
            move |store| row.password_hashes(store)
        })
        .await??;
    if app.passwords.is_of(new.clone(), hashes).await? {
        let hint = "Choose one that was not among the last five.";
        let detail = "This password was used before.";
        return Err(Problem::new(StatusCode::CONFLICT, "password_used_before", detail, hint));
    }
    let password_hash = app.passwords.hash(new).await?;
    let (login, seen_hash) = (row.login.clone(), row.password_hash.clone());
    propose(&app, &standing, StaffCommand::ChangePassword { login, seen_hash, password_hash }).await?;
    let rows = sessions_of(&app, &row.login).await?;
    for other in rows.iter().filter(|other| other.tag != standing.session.tag) {
        end(&app, &standing, other).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A wrong old password counts like a failed login from the same place, and the fifth in a row ends the session: it may be a
/// stolen one.
async fn wrong_password(app: &App, standing: &Standing) -> Result<Problem, Problem> {
    let (login, address) = (standing.row.login.clone(), standing.origin.address);
    let command = StaffCommand::NoteFailure { given: login.clone(), address };
    app.sequencer.propose(standing.origin.by_nobody(), Command::Staff(command)).await?;
    if lock_at(app, login, address).await?.failures >= FAILURES_FREE {
        end(app, standing, &standing.session).await?;
    }
    let hint = "Type the password with which you logged in.";
    Ok(Problem::new(StatusCode::FORBIDDEN, "old_password_wrong", "The old password is not right.", hint))
}

/// Failures in a row of an account from one place.
async fn lock_at(app: &App, login: String, address: IpAddr) -> Result<LoginLock, Problem> {
    Ok(app.pool.read(move |store| LoginLock::read(store, &login, address)).await??.unwrap_or_default())
}

/// A second factor to set up. Shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct OfferView {
    /// Base32, to be typed into an authenticator.
    secret: String,
    /// The same as an address, to be drawn as a code.
    address: String,
    /// To be sent back with the first code, within ten minutes.
    offer: String,
}

/// Offers a new second factor. Nothing is set up until its first code comes back.
#[utoipa::path(post, path = "/v1/own/second-factor/offer",
    responses((status = 200, body = OfferView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn offer_factor(
    State(app): State<App>,
    SignedIn(standing): SignedIn,
) -> Result<Json<OfferView>, Problem> {
    let offer = app.factors.offer(&standing.row.login, app.sequencer.now_ms())?;
    Ok(Json(OfferView { secret: offer.secret.to_string(), address: offer.address.to_string(), offer: offer.offer }))
}

/// The offer with its first code.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FactorBody {
    offer: String,
    /// Six digits.
    code: String,
}

/// Codes for when the authenticator is lost, each good once. Shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryView {
    recovery_codes: Vec<String>,
}

/// Sets the second factor up; log in again with its next code. Errors: 409 `second_factor_exists`; 422 `invalid_offer`,
/// `invalid_code`.
#[utoipa::path(put, path = "/v1/own/second-factor", request_body = FactorBody,
    responses((status = 200, body = RecoveryView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set_factor(
    State(app): State<App>,
    SignedIn(standing): SignedIn,
    Json(body): Json<FactorBody>,
) -> Result<Json<RecoveryView>, Problem> {
    let login = standing.row.login.clone();
    let (sealed, step) = app.factors.accept(&login, &body.offer, &body.code, app.sequencer.now_ms())?;
    let codes = Factors::recovery_codes()?;
    let recovery = codes.iter().map(|code| Factors::recovery_hash(code)).collect();
    propose(&app, &standing, StaffCommand::SetSecondFactor { login, sealed, step, recovery }).await?;
    Ok(Json(RecoveryView { recovery_codes: codes.iter().map(|code| code.to_string()).collect() }))
}

/// The code by which a security administrator knows the person.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfirmationBody {
    /// As it was handed over.
    code: String,
}

/// Confirms that the person behind the account is the one it was made for. Errors: 403 `second_factor_unproven`; 409
/// `confirmation_refused`, `second_factor_missing`.
#[utoipa::path(put, path = "/v1/own/confirmation", request_body = ConfirmationBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn confirm(
    State(app): State<App>,
    SignedIn(standing): SignedIn,
    Json(body): Json<ConfirmationBody>,
) -> Result<StatusCode, Problem> {
    if body.code.len() > CODE_BYTES_MAX {
        return Err(Problem::invalid("code", "A code has 16 letters in four groups."));
    }
    if !standing.session.proven_twice {
        let proof = Missing::Proof;
        return Err(Problem::new(StatusCode::FORBIDDEN, proof.code(), proof.sentence(), proof.hint()));
    }
    let login = standing.row.login.clone();
    let code_hash = ConfirmationCode::hash(&login, &body.code);
    propose(&app, &standing, StaffCommand::Confirm { login, code_hash }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn propose(app: &App, standing: &Standing, command: StaffCommand) -> Result<(), Problem> {
    match app.sequencer.propose(standing.by(), Command::Staff(command)).await? {
        Outcome::Refused(refusal) => {
            note_rule(app, &standing.row.login, "of the own account", standing.origin, &refusal).await?;
            Err(refusal.into())
        }
        _ => Ok(()),
    }
}

impl From<FactorError> for Problem {
    fn from(error: FactorError) -> Self {
        match error {
            FactorError::Offer => Problem::invalid("offer", error.to_string()),
            FactorError::Code => Problem::invalid("code", error.to_string()),
            FactorError::Random => Problem::internal(&error),
        }
    }
}
