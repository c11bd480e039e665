//! `/v1/enrolment`: a device binds its key to the terminal number of its one-time code.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jikai_schema::id::{IdError, TerminalId};
use jikai_schema::peer::{Enrolment, HubReply, NodeRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::caller::JsonBody;
use super::problem::Problem;
use crate::app::App;

/// Longest code. Bytes.
const CODE_BYTES_MAX: usize = 64;

/// What a device shows.
#[derive(Deserialize, ToSchema)]
pub(super) struct EnrolmentBody {
    /// 10 digits.
    terminal_id: String,
    /// The one-time code of the market manager.
    code: String,
    /// Base64 of the Ed25519 public key, 32 bytes. The device made the key; it never leaves it.
    public_key: String,
    /// Base64 of the signature over `jikai-enrol-v1\n{terminal_id}\n{code}\n{public key in hex}`.
    signature: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct EnrolledView {
    terminal_id: String,
    outlet_id: String,
    /// Hex of the Ed25519 public key that signs directories: the device keeps it, and believes no other. `null` until the centre
    /// has published one.
    directory_key: Option<String>,
}

/// Enrols a device; it can log in as soon as its definition has come from the centre, a moment later. Errors: 403
/// `enrolment_refused` whatever was wrong; 422 invalid values; 503 `hub_unreachable`: codes are decided at the centre.
#[utoipa::path(post, path = "/v1/enrolment", request_body = EnrolmentBody,
    responses((status = 200, body = EnrolledView), (status = 403, body = Problem), (status = 422, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn enrol(
    State(app): State<App>,
    JsonBody(body): JsonBody<EnrolmentBody>,
) -> Result<Json<EnrolledView>, Problem> {
    let enrolment = read(body)?;
    let terminal = enrolment.terminal;
    if !enrolment.is_signed() {
        return Err(refused());
    }
    let request =
        NodeRequest::Enrol(enrolment).encode().map_err(|error| Problem::invalid("code", error.to_string()))?;
    let requester = app.hub.as_ref().ok_or_else(unreachable)?;
    let reply = requester.ask(request).await.map_err(|_| unreachable())?;
    match HubReply::decode(&reply) {
        Ok(HubReply::Enrolled) => {
            let (terminal_id, outlet_id) = (terminal.to_string(), terminal.outlet().to_string());
            let directory_key = app.directory.key();
            Ok(Json(EnrolledView { terminal_id, outlet_id, directory_key }))
        }
        Ok(HubReply::NotEnrolled) => Err(refused()),
        _ => Err(unreachable()),
    }
}

fn read(body: EnrolmentBody) -> Result<Enrolment, Problem> {
    let terminal: TerminalId =
        body.terminal_id.parse().map_err(|error: IdError| Problem::invalid("terminal_id", error.to_string()))?;
    if body.code.is_empty() || body.code.len() > CODE_BYTES_MAX {
        return Err(Problem::invalid("code", "A code has 1 to 64 letters."));
    }
    let public_key = STANDARD.decode(&body.public_key).ok().and_then(|bytes| bytes.try_into().ok());
    let signature = STANDARD.decode(&body.signature).ok().filter(|bytes| bytes.len() == 64);
    Ok(Enrolment {
        terminal,
        code: body.code,
        public_key: public_key.ok_or_else(|| Problem::invalid("public_key", "A key is 32 bytes in base64."))?,
        signature: signature.ok_or_else(|| Problem::invalid("signature", "A signature is 64 bytes in base64."))?,
    })
}

fn refused() -> Problem {
    let hint = "Check number and code; after five wrong codes ask your market manager for a new one.";
    let detail = "This code does not enrol this terminal here.";
    Problem::new(StatusCode::FORBIDDEN, "enrolment_refused", detail, hint)
}

fn unreachable() -> Problem {
    let detail = "The centre cannot be reached; it decides about codes.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "hub_unreachable", detail, "Try again when the line is back.")
}
