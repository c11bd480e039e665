//! A terminal that came to the wrong node is sent on.

use axum::http::StatusCode;
use jikai_schema::directory::addresses_in_use;
use jikai_schema::id::{NodeId, OutletId};
use rusqlite::{Connection, OptionalExtension};

use super::problem::Problem;
use crate::app::App;
use crate::decide::Refusal;
use crate::directory::Unreachable;

/// What this node knows by itself.
struct Known {
    /// The node that serves the outlet; `None` for one that is not in this slice, or not whole.
    node: Option<NodeId>,
    /// Its rows are coming.
    is_arriving: bool,
    /// The first node of the outlet's prefecture, this one if it is one of them.
    of_prefecture: Option<NodeId>,
}

/// Lets pass whose outlet is served here. Errors: 421 `outlet_moved`, `other_node` with `node` and `addresses`; 503 `node_unknown`,
/// `outlet_arriving`.
///
/// An outlet that there is not is answered as one of its prefecture that there is: who asks learns no more than the directory
/// tells.
pub(super) async fn check_here(app: &App, outlet: OutletId) -> Result<(), Problem> {
    let known = look(app, outlet).await?;
    if known.node.is_some() || known.is_arriving {
        return admit(app, known, None).await;
    }
    match app.whereabouts.of(app.hub.as_deref(), outlet, app.now_ms()).await {
        Ok(told) => admit(app, known, told).await,
        // As for an outlet that is here: otherwise the answer would tell which of its prefecture there are.
        Err(Unreachable) if known.of_prefecture.is_none_or(|node| node == app.node) => Ok(()),
        Err(Unreachable) => Err(node_unknown()),
    }
}

/// The same for an outlet that has a session somewhere, as its token says: it was most likely sent here by the node that it left. So the hub's
/// word must be of this moment, and is waited for where it cannot be had: 503 `outlet_arriving`.
pub(super) async fn check_served(app: &App, outlet: OutletId) -> Result<(), Problem> {
    let known = look(app, outlet).await?;
    if known.node.is_some() || known.is_arriving {
        return admit(app, known, None).await;
    }
    let told = app.whereabouts.of_now(app.hub.as_deref(), outlet, app.now_ms()).await;
    admit(app, known, told.map_err(|Unreachable| outlet_arriving())?).await
}

/// Sends on whose outlet moved to another node, or is on its way there: 421 `outlet_moved` with `node` and `addresses`. Where that node is
/// out of use by now, the outlet went on, and the hub tells where to; 503 `node_unknown` where it cannot be asked, `outlet_arriving` where
/// what it tells cannot be yet.
pub(super) async fn check_moved(app: &App, outlet: OutletId) -> Result<(), Problem> {
    let Some(last) = app.moved.find(outlet) else { return Ok(()) };
    if let Some(addresses) = in_use(app, last).await? {
        return Err(outlet_moved(last, addresses));
    }
    let told = app.whereabouts.of(app.hub.as_deref(), outlet, app.now_ms()).await;
    let Some(to) = told.map_err(|Unreachable| node_unknown())?.filter(|to| *to != app.node) else {
        return Err(outlet_arriving());
    };
    Err(sent_on(app, to, outlet_moved).await)
}

/// Sends on to a node, in these words. What the hub told a moment ago may be out of use already: then the outlet goes on to another.
async fn sent_on(app: &App, node: NodeId, in_words: fn(NodeId, Vec<String>) -> Problem) -> Problem {
    match in_use(app, node).await {
        Ok(addresses) => addresses.map_or_else(outlet_arriving, |addresses| in_words(node, addresses)),
        Err(problem) => problem,
    }
}

async fn in_use(app: &App, node: NodeId) -> Result<Option<Vec<String>>, Problem> {
    Ok(app.pool.read(move |store| addresses_in_use(store, node)).await??)
}

/// One that is coming back is on the list of those that left until it has arrived.
async fn look(app: &App, outlet: OutletId) -> Result<Known, Problem> {
    let here = app.node;
    let known = app.pool.read(move |store| known(store, outlet, here)).await??;
    if !known.is_arriving {
        check_moved(app, outlet).await?;
    }
    Ok(known)
}

/// By what this node knows, and else by what the hub told.
async fn admit(app: &App, known: Known, told: Option<NodeId>) -> Result<(), Problem> {
    if known.is_arriving || told == Some(app.node) {
        return Err(outlet_arriving());
    }
    match known.node.or(told).or(known.of_prefecture).filter(|node| *node != app.node) {
        None => Ok(()),
        Some(node) => Err(sent_on(app, node, Problem::other_node).await),
    }
}

fn known(store: &Connection, outlet: OutletId, here: NodeId) -> Result<Known, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM handoff WHERE outlet = ?1 AND node = to_node)";
    let is_arriving: bool = store.prepare_cached(sql)?.query_row([outlet.get()], |row| row.get(0))?;
    let mut statement = store.prepare_cached("SELECT node FROM outlet WHERE outlet = ?1")?;
    let node: Option<u16> = statement.query_row([outlet.get()], |row| row.get(0)).optional()?;
    let sql = "SELECT node FROM node WHERE instr(prefectures, ?1) > 0 ORDER BY node <> ?2, node LIMIT 1";
    let mut statement = store.prepare_cached(sql)?;
    let values = (outlet.prefecture().to_string(), here.get());
    let of_prefecture: Option<u16> = statement.query_row(values, |row| row.get(0)).optional()?;
    let id = |number: Option<u16>| number.and_then(|number| NodeId::new(number).ok());
    // One whose rows are coming is not here before it has arrived.
    Ok(Known { node: id(node).filter(|_| !is_arriving), is_arriving, of_prefecture: id(of_prefecture) })
}

fn outlet_moved(to: NodeId, addresses: Vec<String>) -> Problem {
    Problem::refused(&Refusal::OutletMoved(to), None).with_addresses(addresses)
}

fn node_unknown() -> Problem {
    let detail = "This outlet is not served here, and the centre cannot be asked which node serves it.";
    let hint = "Try the node that served the outlet last, or another one of the directory.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "node_unknown", detail, hint)
}

fn outlet_arriving() -> Problem {
    Problem::refused(&Refusal::OutletArriving, None)
}
