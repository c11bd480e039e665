//! Everything that an intruder can do to one stored row must be found.

use std::path::Path;

use rusqlite::Connection;
use rusqlite::types::Value;

use super::{breaks, intruder, say, small_hub, verify_on};
use crate::audit::{Range, SignedHeads};

/// Bytes that are stored for the logs, and the key of their rows.
const BLOBS: [(&str, &str); 8] = [
    ("hub_log", "bytes"),
    ("hub_log", "hash"),
    ("down_feed", "hash"),
    ("node_batch", "bytes"),
    ("node_batch", "last_hash"),
    ("feed_head", "hash"),
    ("node_cursor", "hash"),
    ("quarantine", "bytes"),
];

/// Numbers that are stored for the logs.
const NUMBERS: [(&str, &str); 8] = [
    ("hub_log", "seq"),
    ("hub_log", "audience"),
    ("down_feed", "seq"),
    ("down_feed", "hub_seq"),
    ("node_batch", "node_batch"),
    ("node_batch", "event_count"),
    ("feed_head", "seq"),
    ("node_cursor", "next_seq"),
];

/// The mutations tried, and those found.
struct Count<'a> {
    data: &'a Path,
    tried: usize,
    found: usize,
}

impl Count<'_> {
    /// Makes a change, looks, and takes it back.
    fn attempt(&mut self, store: &mut Connection, what: &str, change: impl FnOnce(&Connection)) {
        let tx = store.transaction().unwrap();
        change(&tx);
        let chains = verify_on(self.data, &tx, &Range::default(), &SignedHeads::default());
        self.tried += 1;
        let found = !breaks(&chains).is_empty();
        assert!(found, "not found: {what}");
        self.found += usize::from(found);
    }
}

/// Every row's key, as SQL that finds it again.
fn rows(store: &Connection, table: &str) -> Vec<String> {
    let key = match table {
        "hub_log" => "'seq = ' || seq",
        "down_feed" | "quarantine" => "'node = ' || node || ' AND seq = ' || seq",
        "node_batch" => "'node_batch = ' || node_batch",
        _ => "'node = ' || node",
    };
    let mut statement = store.prepare(&format!("SELECT {key} FROM {table} ORDER BY 1")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

fn value(store: &Connection, table: &str, column: &str, row: &str) -> Value {
    store.query_row(&format!("SELECT {column} FROM {table} WHERE {row}"), [], |row| row.get(0)).unwrap()
}

fn set(store: &Connection, table: &str, column: &str, row: &str, value: Value) {
    let changed = store.execute(&format!("UPDATE {table} SET {column} = ?1 WHERE {row}"), [value]).unwrap();
    assert_eq!(changed, 1);
}

fn bytes(store: &Connection, table: &str, column: &str, row: &str) -> Vec<u8> {
    match value(store, table, column, row) {
        Value::Blob(bytes) => bytes,
        other => panic!("{other:?} is no blob"),
    }
}

/// The events of a batch.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut events = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (event, rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
        events.push(event.to_vec());
        bytes = rest;
    }
    events
}

fn join(events: &[Vec<u8>]) -> Vec<u8> {
    events.iter().flat_map(|event| [&(event.len() as u32).to_le_bytes()[..], event].concat()).collect()
}

#[test]
fn every_altered_byte_and_number_and_every_removed_or_swapped_event_is_found() {
    let data = small_hub();
    let mut store = intruder(data.path());
    let mut count = Count { data: data.path(), tried: 0, found: 0 };
    alter_bytes(&mut store, &mut count);
    alter_numbers(&mut store, &mut count);
    remove_and_swap_rows(&mut store, &mut count);
    change_batches(&mut store, &mut count);
    say(&format!("audit mutations found: {} of {}", count.found, count.tried));
    assert!(count.tried > 3_000 && count.found == count.tried);
}

/// Every byte of every blob, each with another bit pattern.
fn alter_bytes(store: &mut Connection, count: &mut Count<'_>) {
    let mut pattern = 1u8;
    for (table, column) in BLOBS {
        for row in rows(store, table) {
            let kept = bytes(store, table, column, &row);
            for at in 0..kept.len() {
                pattern = pattern.wrapping_mul(5).wrapping_add(2) | 1;
                let mut altered = kept.clone();
                altered[at] ^= pattern;
                let what = format!("byte {at} of {table}.{column} where {row} ^ {pattern:#x}");
                count.attempt(store, &what, |store| set(store, table, column, &row, Value::Blob(altered)));
            }
        }
    }
}

fn alter_numbers(store: &mut Connection, count: &mut Count<'_>) {
    for (table, column) in NUMBERS {
        for row in rows(store, table) {
            let Value::Integer(kept) = value(store, table, column, &row) else { panic!("{table}.{column}") };
            for altered in [kept + 100, kept - 100, kept + 3, i64::MAX, i64::MIN, -kept] {
                if altered == kept {
                    continue;
                }
                let taken = format!("SELECT count(*) FROM {table} WHERE {column} = {altered}");
                let taken: i64 = store.query_row(&taken, [], |row| row.get(0)).unwrap();
                let is_key = matches!(column, "seq" | "node_batch") && table != "feed_head";
                if is_key && taken > 0 {
                    continue;
                }
                let what = format!("{table}.{column} where {row}: {kept} became {altered}");
                count.attempt(store, &what, |store| set(store, table, column, &row, Value::Integer(altered)));
            }
        }
    }
}

fn remove_and_swap_rows(store: &mut Connection, count: &mut Count<'_>) {
    for table in ["hub_log", "down_feed", "node_batch", "feed_head", "node_cursor"] {
        for row in rows(store, table) {
            let change = format!("DELETE FROM {table} WHERE {row}");
            count.attempt(store, &change, |store| assert_eq!(store.execute(&change, []).unwrap(), 1));
        }
    }
    // With their hashes, and without.
    for (table, columns) in [
        ("hub_log", &["bytes"][..]),
        ("hub_log", &["bytes", "hash", "audience"]),
        ("down_feed", &["hub_seq"]),
        ("down_feed", &["hub_seq", "hash"]),
        ("node_batch", &["bytes", "event_count", "last_hash"]),
    ] {
        let rows = rows(store, table);
        for (at, one) in rows.iter().enumerate() {
            let other = &rows[(at + 1 + at * 7 % (rows.len() - 1)) % rows.len()];
            let of =
                |row: &str| -> Vec<Value> { columns.iter().map(|column| value(store, table, column, row)).collect() };
            let (ones, others) = (of(one), of(other));
            if ones == others || one == other {
                continue;
            }
            count.attempt(store, &format!("{table} {columns:?}: {one} swapped with {other}"), |store| {
                for (column, (a, b)) in columns.iter().zip(ones.into_iter().zip(others)) {
                    set(store, table, column, one, b);
                    set(store, table, column, other, a);
                }
            });
        }
    }
}

/// Inside the nodes' batches: removed, swapped, doubled, moved over the border of two events, with counts that fit.
fn change_batches(store: &mut Connection, count: &mut Count<'_>) {
    for row in rows(store, "node_batch") {
        let kept = split(&bytes(store, "node_batch", "bytes", &row));
        let mut changed = Vec::new();
        for at in 0..kept.len() {
            let mut removed = kept.clone();
            let event = removed.remove(at);
            changed.push(removed);
            let mut doubled = kept.clone();
            doubled.insert(at, event);
            changed.push(doubled);
            for other in at + 1..kept.len() {
                let mut swapped = kept.clone();
                swapped.swap(at, other);
                changed.push(swapped);
            }
            if at + 1 < kept.len() {
                let mut moved = kept.clone();
                let byte = moved[at + 1].remove(0);
                moved[at].push(byte);
                changed.push(moved);
            }
        }
        for events in changed {
            let what = format!("{} events instead of {} where {row}", events.len(), kept.len());
            count.attempt(store, &what, |store| {
                set(store, "node_batch", "bytes", &row, Value::Blob(join(&events)));
                set(store, "node_batch", "event_count", &row, Value::Integer(events.len() as i64));
            });
        }
    }
}
