//! A terminal that came to the wrong node is sent on.

use axum::http::StatusCode;
use jikai_schema::directory::addresses_of;
use jikai_schema::id::{NodeId, OutletId};
use rusqlite::{Connection, OptionalExtension};

use super::guard::check_moved;
use super::problem::Problem;
use crate::app::App;
use crate::directory::Unreachable;

/// What this node knows by itself.
struct Known {
    /// The node that serves the outlet; `None` for one that is not in this slice.
    node: Option<NodeId>,
    /// The first node of the outlet's prefecture, this one if it is one of them.
    of_prefecture: Option<NodeId>,
}

/// Lets pass whose outlet is served here. Errors: 421 `outlet_moved`, `other_node` with `node` and `addresses`; 503 `node_unknown`,
/// `outlet_arriving`.
///
/// An outlet that there is not is answered as one of its prefecture that there is: who asks learns no more than the directory
/// tells.
pub(super) async fn check_here(app: &App, outlet: OutletId) -> Result<(), Problem> {
    check_moved(app, outlet).await?;
    let here = app.node;
    let known = app.pool.read(move |store| known(store, outlet, here)).await??;
    let node = match known.node {
        Some(node) => Some(node),
        None => {
            let told = app.whereabouts.of(app.hub.as_deref(), outlet, app.now_ms()).await;
            let told = match told {
                Ok(told) => told,
                // As for an outlet that is here: otherwise the answer would tell which of its prefecture there are.
                Err(Unreachable) if known.of_prefecture.is_none_or(|node| node == here) => return Ok(()),
                Err(Unreachable) => return Err(node_unknown()),
            };
            if told == Some(here) {
                return Err(outlet_arriving());
            }
            told.or(known.of_prefecture)
        }
    };
    match node.filter(|node| *node != here) {
        None => Ok(()),
        Some(node) => {
            let addresses = app.pool.read(move |store| addresses_of(store, node)).await??;
            Err(Problem::other_node(node, addresses))
        }
    }
}

fn known(store: &Connection, outlet: OutletId, here: NodeId) -> Result<Known, rusqlite::Error> {
    // One whose rows are coming is not here before it has arrived.
    let sql =
        "SELECT node FROM outlet WHERE outlet = ?1 AND outlet NOT IN (SELECT outlet FROM handoff WHERE node = to_node)";
    let mut statement = store.prepare_cached(sql)?;
    let node: Option<u16> = statement.query_row([outlet.get()], |row| row.get(0)).optional()?;
    let sql = "SELECT node FROM node WHERE instr(prefectures, ?1) > 0 ORDER BY node <> ?2, node LIMIT 1";
    let mut statement = store.prepare_cached(sql)?;
    let values = (outlet.prefecture().to_string(), here.get());
    let of_prefecture: Option<u16> = statement.query_row(values, |row| row.get(0)).optional()?;
    let id = |number: Option<u16>| number.and_then(|number| NodeId::new(number).ok());
    Ok(Known { node: id(node), of_prefecture: id(of_prefecture) })
}

fn node_unknown() -> Problem {
    let detail = "This outlet is not served here, and the centre cannot be asked which node serves it.";
    let hint = "Try the node that served the outlet last, or another one of the directory.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "node_unknown", detail, hint)
}

fn outlet_arriving() -> Problem {
    let detail = "This outlet is on its way to this node.";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "outlet_arriving", detail, "Try again in a second.")
}
