//! A whole suffix rewritten with hashes that fit: only what was signed before can tell.

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use rusqlite::{Connection, OptionalExtension};

use super::{breaks, heads_of, intruder, say, small_hub, verify_on};
use crate::audit::{Range, SignedHeads};

/// Recomputes every hash and head, as one could who may write the state.
pub(in crate::audit) fn recompute_all(store: &Connection) {
    recompute(
        store,
        0,
        "SELECT seq, bytes FROM hub_log WHERE ?1 = 0 ORDER BY seq",
        "UPDATE hub_log SET hash = ?3 WHERE seq = ?2 AND ?1 = 0",
    );
    let mut statement = store.prepare("SELECT node FROM feed_head WHERE node > 0 ORDER BY node").unwrap();
    let nodes: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    for node in nodes {
        let rows = "SELECT f.seq, h.bytes FROM down_feed f JOIN hub_log h ON h.seq = f.hub_seq WHERE f.node = ?1 ORDER BY f.seq";
        recompute(store, node, rows, "UPDATE down_feed SET hash = ?3 WHERE node = ?1 AND seq = ?2");
    }
}

fn recompute(store: &Connection, node: i64, rows: &str, update: &str) {
    let mut statement = store.prepare(rows).unwrap();
    let rows: Vec<(i64, Vec<u8>)> =
        statement.query_map([node], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().collect::<Result<_, _>>().unwrap();
    let mut hash = ChainHash::GENESIS;
    for (seq, bytes) in &rows {
        hash = hash.next(bytes);
        store.execute(update, (node, seq, hash.as_bytes())).unwrap();
    }
    let head = "UPDATE feed_head SET seq = ?2, hash = ?3 WHERE node = ?1";
    store.execute(head, (node, rows.last().map_or(0, |row| row.0), hash.as_bytes())).unwrap();
}

/// Alters the name of a division or outlet by a letter, so that the event still reads well; `false` for other events.
fn forge(store: &Connection, seq: i64) -> bool {
    let bytes: Option<Vec<u8>> =
        store.query_row("SELECT bytes FROM hub_log WHERE seq = ?1", [seq], |row| row.get(0)).optional().unwrap();
    let Some(mut bytes) = bytes else { return false };
    let Some(at) = bytes.windows(4).position(|four| four == b"isio" || four == b"utle") else { return false };
    bytes[at] = b'o';
    codec::decode_event(&bytes).unwrap();
    store.execute("UPDATE hub_log SET bytes = ?2 WHERE seq = ?1", (seq, bytes)).unwrap();
    true
}

#[test]
fn a_suffix_rewritten_with_fitting_hashes_is_found_by_what_was_signed_and_by_nothing_else() {
    let data = small_hub();
    let mut store = intruder(data.path());
    let (whole, none) = (Range::default(), SignedHeads::default());
    let signed = heads_of(&verify_on(data.path(), &store, &whole, &none));
    let (mut tried, mut found) = (0, 0);
    for seq in 1..=30 {
        let tx = store.transaction().unwrap();
        if !forge(&tx, seq) {
            continue;
        }
        recompute_all(&tx);
        assert_eq!(breaks(&verify_on(data.path(), &tx, &whole, &none)), Vec::<String>::new(), "the forgery fits");
        let texts = breaks(&verify_on(data.path(), &tx, &whole, &signed));
        tried += 1;
        found += usize::from(texts.iter().any(|text| text.contains("checkpoint 1 signed")));
    }
    say(&format!("audit rewrites found by checkpoints: {found} of {tried}"));
    assert!(tried >= 8 && found == tried);
}

#[test]
fn an_end_cut_off_with_its_heads_is_found_by_what_was_signed_and_by_nothing_else() {
    let data = small_hub();
    let mut store = intruder(data.path());
    let (whole, none) = (Range::default(), SignedHeads::default());
    let signed = heads_of(&verify_on(data.path(), &store, &whole, &none));
    let tx = store.transaction().unwrap();
    tx.execute_batch(
        "DELETE FROM down_feed WHERE hub_seq > 12; DELETE FROM hub_log WHERE seq > 12; \
         DELETE FROM feed_head WHERE node = 3; DELETE FROM down_feed WHERE node = 3; \
         DELETE FROM node_batch WHERE node_batch >= 2 << 48; DELETE FROM node_cursor WHERE node = 2; \
         DELETE FROM quarantine",
    )
    .unwrap();
    recompute_all(&tx);
    assert_eq!(breaks(&verify_on(data.path(), &tx, &whole, &none)), Vec::<String>::new(), "the cut fits");
    let texts = breaks(&verify_on(data.path(), &tx, &whole, &signed));
    assert!(
        texts.iter().any(|text| text.starts_with("log of the hub, event ") && text.contains("was cut off")),
        "{texts:?}"
    );
    assert!(texts.iter().any(|text| text.starts_with("log of node 2, event ")), "{texts:?}");
}
