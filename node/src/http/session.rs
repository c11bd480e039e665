//! `/v1/session`: who is logged in here, and what a screen may offer.

use axum::Json;
use axum::extract::State;
use jikai_schema::event::OperatorRole;
use jikai_schema::time::TimeMs;
use serde::Serialize;
use utoipa::ToSchema;

use super::caller::SignedIn;
use super::directory::DirectoryView;
use super::problem::Problem;
use crate::app::App;
use crate::decide::Caller;
use crate::query::outlet_name;
use crate::rights::permissions_of;

/// An open session.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionView {
    /// When the session ends at the latest. Unix ms.
    expires_at_ms: i64,
    /// The outlet.
    outlet_id: String,
    /// Its name.
    outlet_name: String,
    /// owner or clerk.
    operator_role: &'static str,
    /// What the person may do here: a screen offers nothing else.
    permissions: Vec<PermissionView>,
    /// All nodes, see `GET /v1/directory`; `null` until the centre has published them.
    directory: Option<DirectoryView>,
}

/// A verb and what it is done to, such as `pay` and `claims`.
#[derive(Serialize, ToSchema)]
pub(super) struct PermissionView {
    verb: &'static str,
    resource: &'static str,
}

impl SessionView {
    pub(super) fn of(app: &App, caller: &Caller, outlet_name: String, expires_at_ms: TimeMs) -> Self {
        let view = |(verb, resource): crate::rights::Permission| PermissionView {
            verb: verb.name(),
            resource: resource.name(),
        };
        SessionView {
            expires_at_ms: expires_at_ms.ms(),
            outlet_id: caller.outlet().to_string(),
            outlet_name,
            operator_role: if caller.role == OperatorRole::Owner { "owner" } else { "clerk" },
            permissions: permissions_of(caller.role).map(view).collect(),
            directory: app.directory.newest().map(|newest| DirectoryView::of(&newest)),
        }
    }
}

/// Whose session this is, and what may be done in it. Errors: 401.
#[utoipa::path(get, path = "/v1/session", responses((status = 200, body = SessionView), (status = 401, body = Problem)))]
pub(super) async fn show(State(app): State<App>, session: SignedIn) -> Result<Json<SessionView>, Problem> {
    let (caller, expires_at_ms) = (session.caller(), session.session.expires_at_ms);
    let outlet = caller.outlet();
    let name = app.pool.read(move |store| outlet_name(store, outlet)).await??;
    Ok(Json(SessionView::of(&app, &caller, name, expires_at_ms)))
}
