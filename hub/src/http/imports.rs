//! `/v1/imports`: lists as CSV, printed batches as directories in the hub's inbox.

use std::path::{Path as FilePath, PathBuf};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jikai_schema::staff::{Area, Grant};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::import::{self, Kind, printer};
use crate::machine::StaffRow;
use crate::rights::{Resource, Verb, permissions_of};

#[derive(Serialize, ToSchema)]
pub(super) struct ImportedView {
    kind: &'static str,
    /// Lines read.
    lines: u64,
    /// Events written.
    events: u64,
    /// Parts that were there already, equal.
    existing: u64,
    applied_index: u64,
}

/// Imports a list: CSV with the header of its kind. Errors: 422 `invalid_line` names line and column, nothing was
/// imported; 404 and 409 name the first line that the rules refuse, those before it are imported. Nothing further is proposed, but
/// up to 64 commands that were on their way may be done; of deposits none. 403 `two_persons_required` in production.
#[utoipa::path(post, path = "/v1/imports/lists/{kind}", params(("kind" = String, Path, description = "such as outlets")),
    request_body(content = String, content_type = "text/csv"),
    responses((status = 200, body = ImportedView), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(kind): Path<String>,
    body: Bytes,
) -> Result<Json<ImportedView>, Problem> {
    let Some(kind) = Kind::named(&kind) else {
        let known: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
        return Err(Problem::invalid("kind", format!("`{kind}` is none of {}", known.join(", "))));
    };
    check_persons(&app, &caller, kind).await?;
    let _one_at_a_time = app.importing.acquire().await;
    let (game, by) = (app.config.game, caller.by());
    let done = import::import(&app.sequencer, &app.pool, game, &by, kind, body.into()).await?;
    tracing::info!(kind = kind.name(), lines = done.lines, events = done.events, "a list was imported");
    Ok(Json(ImportedView {
        kind: kind.name(),
        lines: done.lines,
        events: done.events,
        existing: done.existing,
        applied_index: app.sequencer.applied().get(),
    }))
}

/// In production a list does not do alone what two persons of the centre can do together. Errors: 403
/// `two_persons_required`, which is noted.
async fn check_persons(app: &App, caller: &Caller, kind: Kind) -> Result<(), Problem> {
    let Some(resource) = two_persons_for(kind).filter(|_| app.config.environment == "production") else {
        return Ok(());
    };
    // Whoever asks for a hold needs the right where the pack lies; everything else is asked for and decided for the province.
    let reaches =
        move |grant: &Grant, verb| grant.area == Area::Province || (verb, resource) == (Verb::Ask, Resource::Holds);
    let may = move |row: &StaffRow, verb| {
        let gives = |grant: &Grant| permissions_of(grant.role).contains(&(verb, resource));
        row.grants.iter().any(|grant| reaches(grant, verb) && gives(grant))
    };
    let read = move |store: &mut Connection| {
        StaffRow::two_persons(store, |row| may(row, Verb::Ask), |row| may(row, Verb::Approve))
    };
    match app.pool.read(read).await?? {
        true => {
            let detail = format!("{} are changed by two persons: one proposes, another one decides.", kind.name());
            let hint = "Propose it: POST /v1/changes.";
            let problem = Problem::new(StatusCode::FORBIDDEN, "two_persons_required", detail, hint);
            let needed = format!("two persons for {}", resource.name());
            caller.refuse(app, &needed, problem).await
        }
        false => Ok(()),
    }
}

/// What a list changes that needs two persons.
const fn two_persons_for(kind: Kind) -> Option<Resource> {
    match kind {
        Kind::Games => Some(Resource::Games),
        Kind::Openings | Kind::RedemptionEnds => Some(Resource::Batches),
        Kind::Holds => Some(Resource::Holds),
        Kind::Deposits => Some(Resource::Deposits),
        Kind::Divisions | Kind::Townships | Kind::Outlets => None,
        Kind::Terminals | Kind::Operators | Kind::Shipments => None,
    }
}

/// A directory to import.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchBody {
    /// Absolute path inside the hub's inbox.
    directory: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BatchView {
    batch: u32,
    /// Such as `G0201-26001`.
    name: String,
    packs: u64,
    /// Packs that were there already.
    existing: u64,
    tickets: u64,
    applied_index: u64,
}

/// Imports a printer's directory from the inbox; afterwards the copy in the inbox is gone, imported or not.
#[utoipa::path(post, path = "/v1/imports/batches", request_body = BatchBody,
    responses((status = 200, body = BatchView), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn batch(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<BatchBody>,
) -> Result<Json<BatchView>, Problem> {
    let directory = inside(&app.inbox(), FilePath::new(&body.directory))?;
    let by = caller.by();
    let permit = app.importing.clone().acquire_owned().await.map_err(|error| Problem::internal(&error))?;
    // A task of its own: it goes on to its end, and clears up, if the caller hangs up.
    let importing = tokio::spawn({
        let (sequencer, pool, vault, printers) =
            (app.sequencer.clone(), app.pool.clone(), app.vault.clone(), app.printers.clone());
        async move {
            let imported = printer::import_batch(&sequencer, &pool, &vault, printers, &by, directory.clone()).await;
            // The directory holds every security code: it does not stay.
            if let Err(error) = tokio::fs::remove_dir_all(&directory).await {
                let directory = directory.display();
                tracing::error!(%error, %directory, "security codes stay in the inbox: remove them by hand");
            }
            drop(permit);
            imported
        }
    });
    let imported = importing.await.map_err(|error| Problem::internal(&error))?;
    let done = imported?;
    tracing::info!(batch = done.name, packs = done.packs, tickets = done.tickets, "a batch was imported");
    Ok(Json(BatchView {
        batch: done.batch.get(),
        name: done.name,
        packs: done.packs,
        existing: done.existing,
        tickets: done.tickets,
        applied_index: app.sequencer.applied().get(),
    }))
}

/// The directory with all links resolved, which must lie in the inbox.
fn inside(inbox: &FilePath, directory: &FilePath) -> Result<PathBuf, Problem> {
    let hint = "Use `jikai-hub import --data DIR batch PATH`, which brings the directory into the inbox.";
    let refuse = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_directory", detail, hint);
    let inbox = inbox.canonicalize().map_err(|error| refuse(format!("the inbox cannot be read: {error}")))?;
    let found = directory.canonicalize().map_err(|error| refuse(format!("{}: {error}", directory.display())))?;
    if found == inbox || !found.starts_with(&inbox) || !found.is_dir() {
        return Err(refuse(format!("{} is no directory in the hub's inbox", directory.display())));
    }
    Ok(found)
}
