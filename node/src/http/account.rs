//! `/v1/account`.

use axum::Json;
use axum::extract::{Query, State};
use jikai_schema::event::BatchNames;
use jikai_schema::id::{NodeId, OutletId, PackId, TicketId};
use jikai_schema::ledger::{AccountId, TransferCode};
use jikai_schema::projection::Projection;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::caller::SignedIn;
use super::page_rows;
use super::problem::Problem;
use crate::app::App;
use crate::query::{Cursor, StatementLine, statement};

/// The outlet's prepaid account.
#[derive(Serialize, ToSchema)]
pub(super) struct AccountView {
    balance_yuan: String,
    /// What check-ins may use. Nothing is held yet: orders, which hold money, come later.
    available_yuan: String,
}

/// Which lines of the statement.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct EntriesQuery {
    /// Mark of the page before; from the newest line without it.
    before: Option<String>,
    /// Lines, 1..=200; 50 without it.
    limit: Option<u32>,
}

/// A line of the statement.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryView {
    /// The transfer: log, position, index.
    entry_id: String,
    at_ms: i64,
    /// charge, commission, prize, deposit, return, commission_return or suspense.
    code: &'static str,
    /// Added, or below zero taken.
    amount_yuan: String,
    /// Balance after it.
    balance_yuan: String,
    /// Pack, ticket or deposit.
    subject: String,
}

/// A page of the statement, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct EntriesView {
    entries: Vec<EntryView>,
    /// Mark of the next, older page.
    next: Option<String>,
}

/// The balance. Errors: 401.
#[utoipa::path(get, path = "/v1/account", responses((status = 200, body = AccountView), (status = 401, body = Problem)))]
pub(super) async fn balance(State(app): State<App>, session: SignedIn) -> Result<Json<AccountView>, Problem> {
    let account = account_of(app.node, session.caller().outlet());
    let row = app.pool.read(move |store| Projection::new(store).account(account).map(|row| *row)).await?;
    let balance_yuan = row.map_err(crate::query::QueryError::from)?.balance.to_string();
    Ok(Json(AccountView { available_yuan: balance_yuan.clone(), balance_yuan }))
}

/// The statement, newest first; each line's balance is the one before it plus its amount. The owner's: it shows deposits.
/// Errors: 401, 403 `owner_required`, 422 `invalid_page`.
#[utoipa::path(get, path = "/v1/account/entries", params(EntriesQuery), responses((status = 200, body = EntriesView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn entries(
    State(app): State<App>,
    session: SignedIn,
    Query(query): Query<EntriesQuery>,
) -> Result<Json<EntriesView>, Problem> {
    let caller = session.caller();
    let account = account_of(app.node, caller.outlet());
    let before = query.before.as_deref().map(str::parse::<Cursor>).transpose()?;
    let limit = page_rows(query.limit) as usize;
    let page = app.pool.read(move |store| statement(store, account, before, limit)).await??;
    let names = app.names();
    let entries = page.lines.iter().map(|line| entry_view(line, &names)).collect();
    Ok(Json(EntriesView { entries, next: page.next.map(|cursor| cursor.to_string()) }))
}

fn account_of(node: NodeId, outlet: OutletId) -> AccountId {
    AccountId::outlet(node, outlet)
}

fn entry_view(line: &StatementLine, names: &BatchNames) -> EntryView {
    let event = line.transfer.event();
    EntryView {
        entry_id: format!("{}-{}-{}", event.origin, event.seq, line.transfer.key() & 0xff),
        at_ms: line.at_ms.ms(),
        code: line.code.name(),
        amount_yuan: line.amount.to_string(),
        balance_yuan: line.balance.to_string(),
        subject: subject(line, names),
    }
}

fn subject(line: &StatementLine, names: &BatchNames) -> String {
    let pack = || PackId::from_key(line.subject).map(|pack| names.pack(pack));
    let ticket = || TicketId::from_key(line.subject).map(|ticket| names.ticket(ticket));
    let name = match line.code {
        TransferCode::Prize => ticket(),
        TransferCode::Deposit => return line.subject.to_string(),
        TransferCode::Suspense => ticket().or_else(|_| pack()),
        _ => pack(),
    };
    name.unwrap_or_else(|_| line.subject.to_string())
}
