//! Digests of all tables of the state: of the projection, and of the hub's own. Machines of the hub compare them.

use jikai_schema::digest::{KeyedTable, TableDigest, digest_whole, projection_tables};
use jikai_schema::store::MIGRATIONS;
use rusqlite::Connection;

use super::HUB_MIGRATIONS;

/// Version of both sets of tables: what two builds digest can be compared only where it is the same.
pub const TABLES_VERSION: [u32; 2] = [MIGRATIONS.len() as u32, HUB_MIGRATIONS.len() as u32];

const fn table(name: &'static str, order: &'static str) -> KeyedTable {
    KeyedTable { name, order }
}

/// All tables of the hub alone. None is left out: whatever lies in them comes from the log. (`component_version`, which says up to
/// where a build moved the tables, is compared as [`TABLES_VERSION`].)
const TABLES: &[KeyedTable] = &[
    table("hub_log", "seq"),
    table("down_feed", "node, seq"),
    table("feed_head", "node"),
    table("node_cursor", "node"),
    table("node_batch", "node_batch"),
    table("warehouse", "pack"),
    table("batch_key", "batch"),
    table("batch_reservation", "batch"),
    table("sale_approval", "batch"),
    table("shipment", "shipment"),
    table("quarantine", "node, seq"),
    table("applied", "one"),
    table("staff", "login"),
    table("staff_password", "login, set_at_ms"),
    table("staff_recovery", "login, hash"),
    table("staff_session", "tag"),
    table("staff_support", "number"),
    table("staff_confirmation", "login"),
    table("enrolment", "terminal"),
    table("certificate", "serial"),
    table("certificate_fence", "node"),
    table("change", "number"),
    table("prize_release", "game, code, package_hash"),
    table("personal", "outlet, field"),
    table("machine_command", "id"),
    table("login_lock", "login, place"),
    table("answered", "request"),
    table("replicated", "only_row"),
    table("machine_number", "machine"),
    table("lease", "only_row"),
    table("generation", "only_row"),
    table("handoff_waiting", "outlet"),
    table("handoff_request", "outlet, request"),
    table("handoff_redefined", "outlet, kind, id"),
    table("handoff_pace", "only_row"),
    table("node_epoch", "node, epoch"),
    table("node_run", "node"),
    table("node_claim", "node"),
    table("node_clone", "node, run"),
    table("recovery", "only_row"),
    table("recovery_node", "node"),
    table("recovery_event", "hub_seq, node"),
    table("recovery_handoff", "handoff, outlet"),
];

/// Digests every table whole, as `state` sees them now: in one read transaction if the caller opened one.
pub fn digest_all(state: &Connection) -> Result<Vec<TableDigest>, rusqlite::Error> {
    digest_whole(state, projection_tables().chain(TABLES.iter().copied()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::province::Hub;

    #[test]
    fn every_table_of_the_state_has_a_digest() {
        let hub = Hub::set_up();
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'component_version'";
        let mut statement = hub.state.prepare(sql).unwrap();
        let there: BTreeSet<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let digests = digest_all(&hub.state).unwrap();
        let digested: BTreeSet<String> = digests.iter().map(|digest| digest.table.to_owned()).collect();
        assert_eq!(digested, there);
        assert_eq!(digests.len(), there.len(), "a table is named twice");
    }

    #[test]
    fn the_order_of_each_table_is_its_key() {
        let hub = Hub::empty();
        for table in projection_tables().chain(TABLES.iter().copied()) {
            let sql = "SELECT group_concat(name, ', ') FROM (SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk)";
            let key: String = hub.state.query_row(sql, [table.name], |row| row.get(0)).unwrap();
            assert_eq!(table.order, key, "of table {}", table.name);
        }
    }
}
