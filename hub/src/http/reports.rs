//! `/v1/reports` and `/v1/accounts`.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use jikai_schema::money::Money;
use jikai_schema::projection::OutletDay;
use jikai_schema::time::BusinessDay;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::guard::Caller;
use super::page_rows;
use super::problem::Problem;
use crate::app::App;
use crate::reports::{self, Axis, MovementLine, Movements, Page, RollupLine, StockCount, Sums};

/// Which part of a report.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportParams {
    /// prefecture (default), county, outlet, game or day.
    by: Option<String>,
    /// First business day, such as 2026-11-23.
    from: Option<String>,
    /// Last business day.
    to: Option<String>,
    /// Most rows, at most 1000.
    limit: Option<usize>,
    /// Only keys behind this one: `next` of the page before.
    after: Option<String>,
}

impl ReportParams {
    fn query(self, caller: &Caller) -> Result<reports::Query, Problem> {
        let by = self.by.as_deref().unwrap_or("prefecture");
        let by = Axis::named(by).ok_or_else(|| {
            Problem::invalid("by", format!("`{by}` is none of prefecture, county, outlet, game, day"))
        })?;
        let day = |text: Option<String>, otherwise: u16| match text {
            Some(text) => text.parse::<BusinessDay>().map_err(|error| Problem::invalid("day", error.to_string())),
            None => Ok(BusinessDay::from_number(otherwise)),
        };
        let (from, to) = (day(self.from, 0)?, day(self.to, u16::MAX)?);
        if to < from {
            return Err(Problem::invalid("day", format!("{to} is before {from}")));
        }
        let (limit, scope) = (page_rows(self.limit), caller.scope().clone());
        Ok(reports::Query { by, from, to, limit, after: self.after, scope })
    }
}

/// A report: rows by key, totals over all rows.
#[derive(Serialize, ToSchema)]
pub(super) struct ReportView<Row, Totals> {
    by: &'static str,
    rows: Vec<Row>,
    totals: Totals,
    /// Place up to which the command log was applied.
    applied_index: u64,
    next: Option<String>,
}

/// Key and name in front of the figures of a row.
#[derive(Serialize, ToSchema)]
pub(super) struct RowView<Figures> {
    key: String,
    name: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SalesView {
    packs_checked_in: i64,
    packs_returned: i64,
    tickets_sold: i64,
    charge_yuan: String,
    /// Less what returns took back.
    commission_yuan: String,
    return_yuan: String,
    /// Charges less returns.
    net_sales_yuan: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ClaimsView {
    claims: i64,
    prize_yuan: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DepositsView {
    deposits: i64,
    deposit_yuan: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StockView {
    in_transit: i64,
    active: i64,
    sold_out: i64,
    returned: i64,
    /// Face value of what is on its way or on sale.
    face_yuan: String,
}

/// By kind: balances of accounts; their total must be 0.00. By anything else: what moved the outlets' money.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum LedgerView {
    Balances {
        accounts: i64,
        balance_yuan: String,
    },
    Movements {
        charge_yuan: String,
        /// Less what returns took back.
        commission_yuan: String,
        return_yuan: String,
        prize_yuan: String,
        deposit_yuan: String,
        /// From suspense: what facts that broke a rule gave the outlets.
        suspense_yuan: String,
        /// Deposits, commissions, returns, prizes and money from suspense, less charges.
        change_yuan: String,
        /// Prepaid balances now; only by place.
        #[serde(skip_serializing_if = "Option::is_none")]
        balance_yuan: Option<String>,
    },
}

impl From<&Movements> for LedgerView {
    fn from(movements: &Movements) -> Self {
        let Movements { sums, change, balance } = movements;
        LedgerView::Movements {
            charge_yuan: yuan(sums.charge_fen),
            commission_yuan: yuan(sums.commission_fen),
            return_yuan: yuan(sums.return_fen),
            prize_yuan: yuan(sums.prize_fen),
            deposit_yuan: yuan(sums.deposit_fen),
            suspense_yuan: yuan(sums.suspense_fen),
            change_yuan: change.to_string(),
            balance_yuan: balance.map(|balance| balance.to_string()),
        }
    }
}

fn yuan(fen: i64) -> String {
    Money::from_fen(fen).to_string()
}

impl From<&OutletDay> for SalesView {
    fn from(sums: &OutletDay) -> Self {
        SalesView {
            packs_checked_in: sums.packs_checked_in,
            packs_returned: sums.packs_returned,
            tickets_sold: sums.tickets_sold,
            charge_yuan: yuan(sums.charge_fen),
            commission_yuan: yuan(sums.commission_fen),
            return_yuan: yuan(sums.return_fen),
            net_sales_yuan: yuan(sums.charge_fen.saturating_sub(sums.return_fen)),
        }
    }
}

impl From<&OutletDay> for ClaimsView {
    fn from(sums: &OutletDay) -> Self {
        ClaimsView { claims: sums.claims, prize_yuan: yuan(sums.prize_fen) }
    }
}

impl From<&OutletDay> for DepositsView {
    fn from(sums: &OutletDay) -> Self {
        DepositsView { deposits: sums.deposits, deposit_yuan: yuan(sums.deposit_fen) }
    }
}

impl From<&StockCount> for StockView {
    fn from(count: &StockCount) -> Self {
        StockView {
            in_transit: count.in_transit,
            active: count.active,
            sold_out: count.sold_out,
            returned: count.returned,
            face_yuan: yuan(count.face_fen),
        }
    }
}

type Report<Figures> = Result<Json<ReportView<RowView<Figures>, Figures>>, Problem>;

async fn rollup<Figures: for<'a> From<&'a OutletDay>>(
    app: App,
    caller: Caller,
    sums: Sums,
    params: ReportParams,
) -> Report<Figures> {
    let query = params.query(&caller)?;
    let by = query.by.name();
    let page = app.pool.read(move |store| reports::rollup(store, sums, &query)).await??;
    let Page { rows, totals, applied, next } = page;
    let row = |RollupLine { key, name, sums }| RowView { key, name, figures: Figures::from(&sums) };
    let rows = rows.into_iter().map(row).collect();
    Ok(Json(ReportView { by, rows, totals: Figures::from(&totals), applied_index: applied.get(), next }))
}

/// Sales: packs checked in and returned, charges, commissions, tickets sold by scan.
#[utoipa::path(get, path = "/v1/reports/sales", params(ReportParams),
    responses((status = 401, body = Problem), (status = 403, body = Problem), (status = 200, body = ReportView<RowView<SalesView>, SalesView>), (status = 422, body = Problem)))]
pub(super) async fn sales(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<ReportParams>,
) -> Report<SalesView> {
    rollup(app, caller, Sums::OfGames, params).await
}

/// Claims: tickets paid and prizes.
#[utoipa::path(get, path = "/v1/reports/claims", params(ReportParams),
    responses((status = 401, body = Problem), (status = 403, body = Problem), (status = 200, body = ReportView<RowView<ClaimsView>, ClaimsView>), (status = 422, body = Problem)))]
pub(super) async fn claims(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<ReportParams>,
) -> Report<ClaimsView> {
    rollup(app, caller, Sums::OfGames, params).await
}

/// Deposits credited.
#[utoipa::path(get, path = "/v1/reports/deposits", params(ReportParams),
    responses((status = 401, body = Problem), (status = 403, body = Problem), (status = 200, body = ReportView<RowView<DepositsView>, DepositsView>), (status = 422, body = Problem)))]
pub(super) async fn deposits(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<ReportParams>,
) -> Report<DepositsView> {
    rollup(app, caller, Sums::OfMoney, params).await
}

/// Stock at the outlets, as it is now.
#[utoipa::path(get, path = "/v1/reports/stock", params(ReportParams),
    responses((status = 401, body = Problem), (status = 403, body = Problem), (status = 200, body = ReportView<RowView<StockView>, StockView>), (status = 422, body = Problem)))]
pub(super) async fn stock(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<ReportParams>,
) -> Report<StockView> {
    let query = params.query(&caller)?;
    let by = query.by.name();
    let Page { rows, totals, applied, next } = app.pool.read(move |store| reports::stock(store, &query)).await??;
    let row = |line: reports::StockLine| RowView { key: line.key, name: line.name, figures: (&line.count).into() };
    let rows = rows.into_iter().map(row).collect();
    Ok(Json(ReportView { by, rows, totals: (&totals).into(), applied_index: applied.get(), next }))
}

/// The ledger: by `kind` (the default), balances of accounts as they are now; by prefecture, county, outlet, game or day,
/// what moved the outlets' money.
#[utoipa::path(get, path = "/v1/reports/ledger", params(ReportParams),
    responses((status = 401, body = Problem), (status = 403, body = Problem), (status = 200, body = ReportView<RowView<LedgerView>, LedgerView>), (status = 422, body = Problem)))]
pub(super) async fn ledger(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<ReportParams>,
) -> Report<LedgerView> {
    if params.by.as_deref().is_none_or(|by| by == "kind") {
        return balances(app, &caller).await;
    }
    let query = params.query(&caller)?;
    let by = query.by.name();
    let Page { rows, totals, applied, next } = app.pool.read(move |store| reports::movements(store, &query)).await??;
    let row = |line: MovementLine| RowView { key: line.key, name: line.name, figures: (&line.movements).into() };
    let rows = rows.into_iter().map(row).collect();
    Ok(Json(ReportView { by, rows, totals: (&totals).into(), applied_index: applied.get(), next }))
}

async fn balances(app: App, caller: &Caller) -> Report<LedgerView> {
    if !caller.scope().is_everywhere() {
        let hint = "Divide it by prefecture, county or outlet.";
        let text = "Balances by kind of account are those of the whole province.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "outside_area", text, hint));
    }
    let Page { rows, totals, applied, next } = app.pool.read(reports::ledger).await??;
    let accounts = rows.iter().map(|line| line.accounts).sum();
    let row = |line: reports::LedgerLine| {
        let name = line.kind.name().to_string();
        let figures = LedgerView::Balances { accounts: line.accounts, balance_yuan: line.balance.to_string() };
        RowView { key: name.clone(), name, figures }
    };
    let rows = rows.into_iter().map(row).collect();
    let totals = LedgerView::Balances { accounts, balance_yuan: totals.to_string() };
    Ok(Json(ReportView { by: "kind", rows, totals, applied_index: applied.get(), next }))
}

/// Page of accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountParams {
    /// Most accounts, at most 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AccountView {
    /// Such as `outlet/1/13010001`.
    account: String,
    node: u16,
    kind: &'static str,
    balance_fen: i64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AccountsView {
    accounts: Vec<AccountView>,
    applied_index: u64,
    next: Option<String>,
}

/// All accounts with their balances.
#[utoipa::path(get, path = "/v1/accounts", params(AccountParams),
    responses((status = 200, body = AccountsView), (status = 422, body = Problem)))]
pub(super) async fn accounts(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<AccountParams>,
) -> Result<Json<AccountsView>, Problem> {
    let limit = page_rows(params.limit);
    let page =
        app.pool.read(move |store| reports::accounts(store, params.after.as_deref(), limit, caller.scope())).await??;
    let view = |line: reports::AccountLine| AccountView {
        account: line.account.to_string(),
        node: line.account.node().get(),
        kind: line.account.kind().name(),
        balance_fen: line.balance.fen(),
    };
    let accounts = page.rows.into_iter().map(view).collect();
    Ok(Json(AccountsView { accounts, applied_index: page.applied.get(), next: page.next }))
}
