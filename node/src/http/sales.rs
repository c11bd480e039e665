//! `/v1/sales`.

use axum::Json;
use axum::extract::{Query, State};
use jikai_schema::money::Money;
use jikai_schema::projection::OutletDay;
use jikai_schema::time::BusinessDay;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::SignedIn;
use super::problem::Problem;
use crate::app::App;
use crate::query::{SALES_DAYS_MAX, SalesBy, sales_of};

/// Which sales.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SalesQuery {
    /// First business day, `2026-11-23`; today without it.
    from: Option<String>,
    /// Last business day, included; today without it. At most 92 days.
    to: Option<String>,
    /// day or game; day without it.
    by: Option<String>,
}

/// Sums of a day or game.
#[derive(Serialize, ToSchema)]
pub(super) struct SalesRowView {
    /// The day, or the game's code; `total` in totals.
    key: String,
    packs_checked_in: i64,
    packs_returned: i64,
    tickets_sold: i64,
    charge_yuan: String,
    commission_yuan: String,
    return_yuan: String,
    claims: i64,
    prize_yuan: String,
}

/// Sales of the outlet.
#[derive(Serialize, ToSchema)]
pub(super) struct SalesView {
    rows: Vec<SalesRowView>,
    totals: SalesRowView,
}

/// Sums the outlet's sales. Errors: 401, 422 `invalid_day`, `invalid_period`, `invalid_by`.
#[utoipa::path(get, path = "/v1/sales", params(SalesQuery), responses((status = 200, body = SalesView), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn sales(
    State(app): State<App>,
    session: SignedIn,
    Query(query): Query<SalesQuery>,
) -> Result<Json<SalesView>, Problem> {
    let today = app.now_ms().business_day();
    let to = parse_day(query.to.as_deref(), today)?;
    let from = parse_day(query.from.as_deref(), to)?;
    if from > to || to.number() - from.number() >= SALES_DAYS_MAX {
        return Err(Problem::invalid(
            "period",
            format!("A period begins before it ends and has at most {SALES_DAYS_MAX} days."),
        ));
    }
    let by = match query.by.as_deref() {
        None | Some("day") => SalesBy::Day,
        Some("game") => SalesBy::Game,
        Some(other) => return Err(Problem::invalid("by", format!("`{other}` is not day or game."))),
    };
    let outlet = session.caller().outlet();
    let lines = app.pool.read(move |store| sales_of(store, outlet, from, to, by)).await??;
    let mut totals = OutletDay::default();
    for line in &lines {
        totals.add(&line.sums);
    }
    let rows = lines.into_iter().map(|line| row_view(line.key, &line.sums)).collect();
    Ok(Json(SalesView { rows, totals: row_view("total".into(), &totals) }))
}

fn parse_day(text: Option<&str>, default: BusinessDay) -> Result<BusinessDay, Problem> {
    let Some(text) = text else { return Ok(default) };
    text.parse().map_err(|error: jikai_schema::time::DayError| Problem::invalid("day", error.to_string()))
}

fn row_view(key: String, sums: &OutletDay) -> SalesRowView {
    let yuan = |amount_fen| Money::from_fen(amount_fen).to_string();
    SalesRowView {
        key,
        packs_checked_in: sums.packs_checked_in,
        packs_returned: sums.packs_returned,
        tickets_sold: sums.tickets_sold,
        charge_yuan: yuan(sums.charge_fen),
        commission_yuan: yuan(sums.commission_fen),
        return_yuan: yuan(sums.return_fen),
        claims: sums.claims,
        prize_yuan: yuan(sums.prize_fen),
    }
}
