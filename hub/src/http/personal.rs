//! `/v1/outlets/{outlet}/personal`: an owner's personal data, masked; in the clear only with a reason, which is noted.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jikai_schema::command::{Command, PersonalCommand};
use jikai_schema::id::OutletId;
use jikai_schema::personal::PersonalField;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::guard::{Caller, Peer};
use super::problem::Problem;
use super::terminals::{check_area, parse};
use crate::app::App;
use crate::machine::PersonalRow;

#[derive(Serialize, ToSchema)]
pub(super) struct PersonalFieldView {
    /// identity_number, phone or bank_account.
    field: &'static str,
    /// All but a few characters hidden.
    masked: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PersonalView {
    fields: Vec<PersonalFieldView>,
}

/// What is kept of an outlet's owner, masked. Errors: 404 `unknown_outlet`, also for one outside the caller's area.
#[utoipa::path(get, path = "/v1/outlets/{outlet}/personal", params(("outlet" = String, Path, description = "8 digits")),
    responses((status = 200, body = PersonalView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path(outlet): Path<String>,
) -> Result<Json<PersonalView>, Problem> {
    let outlet: OutletId = parse("outlet", &outlet)?;
    check_area(&app, &caller, outlet).await?;
    let rows = app.pool.read(move |store| PersonalRow::of(store, outlet)).await??;
    let view = |row: PersonalRow| PersonalFieldView { field: row.field.name(), masked: row.masked };
    Ok(Json(PersonalView { fields: rows.into_iter().map(view).collect() }))
}

/// A value to keep.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueBody {
    /// As the field's rules say.
    value: String,
}

/// Keeps a field, encrypted. Errors: 404 `unknown_outlet`; 422 `invalid_field`, `invalid_value`.
#[utoipa::path(put, path = "/v1/outlets/{outlet}/personal/{field}", request_body = ValueBody,
    params(("outlet" = String, Path), ("field" = String, Path, description = "identity_number, phone or bank_account")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn keep(
    State(app): State<App>,
    caller: Caller,
    Path((outlet, field)): Path<(String, String)>,
    Json(body): Json<ValueBody>,
) -> Result<StatusCode, Problem> {
    let (outlet, field, value) = (parse("outlet", &outlet)?, read_field(&field)?, Zeroizing::new(body.value));
    check_area(&app, &caller, outlet).await?;
    field.check(&value).map_err(|error| Problem::invalid("value", error.to_string()))?;
    let sealed = app.personal.seal(outlet, field, &value).map_err(|error| Problem::internal(&error))?;
    let masked = field.mask(&value);
    caller.ask(&app, Command::Personal(PersonalCommand::Keep { outlet, field, sealed, masked })).await
}

/// Forgets a field. Errors: 404 `unknown_outlet`; 422 `invalid_field`.
#[utoipa::path(delete, path = "/v1/outlets/{outlet}/personal/{field}",
    params(("outlet" = String, Path), ("field" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn clear(
    State(app): State<App>,
    caller: Caller,
    Path((outlet, field)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (outlet, field) = (parse("outlet", &outlet)?, read_field(&field)?);
    check_area(&app, &caller, outlet).await?;
    caller.ask(&app, Command::Personal(PersonalCommand::Clear { outlet, field })).await
}

/// Which fields are read, and what for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadingBody {
    /// identity_number, phone or bank_account; 1 to 3.
    fields: Vec<String>,
    /// 1 to 500 bytes on one line: stands in the trail.
    reason: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PersonalValueView {
    field: &'static str,
    value: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PersonalValuesView {
    fields: Vec<PersonalValueView>,
}

/// Reads fields in the clear; who, what, why and from where is in the trail before the answer. Errors: 404 `unknown_outlet`; 409
/// `invalid_reason`, `invalid_fields`; 422 `invalid_field`.
#[utoipa::path(post, path = "/v1/outlets/{outlet}/personal/reading", params(("outlet" = String, Path)), request_body = ReadingBody,
    responses((status = 200, body = PersonalValuesView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn read(
    State(app): State<App>,
    caller: Caller,
    Peer(address): Peer,
    Path(outlet): Path<String>,
    Json(body): Json<ReadingBody>,
) -> Result<Json<PersonalValuesView>, Problem> {
    let outlet: OutletId = parse("outlet", &outlet)?;
    let fields: Vec<PersonalField> = body.fields.iter().map(|field| read_field(field)).collect::<Result<_, _>>()?;
    check_area(&app, &caller, outlet).await?;
    let note = PersonalCommand::NoteReading { outlet, fields: fields.clone(), reason: body.reason, address };
    caller.ask(&app, Command::Personal(note)).await?;
    let rows = app.pool.read(move |store| PersonalRow::of(store, outlet)).await??;
    let mut values = Vec::new();
    for row in rows.into_iter().filter(|row| fields.contains(&row.field)) {
        let value = app.personal.open(outlet, row.field, &row.sealed).map_err(|error| Problem::internal(&error))?;
        values.push(PersonalValueView { field: row.field.name(), value: value.to_string() });
    }
    Ok(Json(PersonalValuesView { fields: values }))
}

fn read_field(text: &str) -> Result<PersonalField, Problem> {
    text.parse().map_err(|error: jikai_schema::personal::UnknownField| Problem::invalid("field", error.to_string()))
}
