mod mutations;
mod ranges;
mod rewriting;

pub(in crate::audit) use rewriting::recompute_all;

use std::path::Path;
use std::sync::Arc;

use jikai_schema::chain::ChainHash;
use jikai_schema::command::{Command, Outcome};
use rusqlite::Connection;
use tempfile::TempDir;

use super::chain::{ChainName, SignedHead, VerifiedChain};
use super::{Range, SignedHeads, hub_log, node_log};
use crate::province::*;
use crate::store::STATE_FILE;

/// A small hub with everything in it: two nodes, three feeds, one of them opened late and one event in quarantine.
pub(in crate::audit) fn small_hub() -> Arc<TempDir> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let hub = Running::set_up().await;
        let (mut first, mut second) = (NodeLog::new(1), NodeLog::new(2));
        let sales = (4..8).map(|ticket| sell(1, ticket, 13_010_001));
        let commands = vec![
            Command::IngestEvents(first.batch(vec![check_in(1, 13_010_001), claim(1, 3, 13_010_001, "10.00")])),
            Command::IngestEvents(second.batch(vec![check_in(3, 13_020_001), sell(3, 1, 13_020_001)])),
            Command::IngestEvents(first.batch(sales.collect())),
            Command::IngestEvents(second.raw_batch(vec![vec![1, 0xff, 0xff], vec![1, 0xfe]])),
            Command::DefineMaster(vec![define_division(1303, 0), define_node(3, &[1303])]),
            ship(3, 13_010_002, 4..=5),
        ];
        for command in commands {
            let outcome = hub.ask(command).await;
            assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
        hub.stop().await
    })
}

/// A connection that may do what the machine never does.
pub(in crate::audit) fn intruder(data: &Path) -> Connection {
    let store = Connection::open(data.join(STATE_FILE)).unwrap();
    store.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").unwrap();
    store
}

/// Verifies what a connection sees, also what is not committed.
pub(super) fn verify_on(data: &Path, store: &Connection, range: &Range, signed: &SignedHeads) -> Vec<VerifiedChain> {
    let mut chains = hub_log::verify(store, range, signed).unwrap();
    for node in node_log::nodes(store, signed).unwrap() {
        chains.push(node_log::verify(data, store, node, range, signed).unwrap());
    }
    chains
}

pub(super) fn breaks(chains: &[VerifiedChain]) -> Vec<String> {
    chains.iter().filter_map(|chain| chain.broken.as_ref()).map(ToString::to_string).collect()
}

/// Prints a line that `make test` shows though the test passes: only the macros are captured.
pub(super) fn say(line: &str) {
    use std::io::Write;
    writeln!(std::io::stdout(), "{line}").unwrap();
}

/// The heads as a checkpoint would sign them.
pub(super) fn heads_of(chains: &[VerifiedChain]) -> SignedHeads {
    let mut signed = SignedHeads::default();
    for chain in chains {
        signed.add(chain.name, SignedHead { checkpoint: 1, seq: chain.seq, hash: chain.hash });
    }
    signed
}

/// A hub whose chains are whole verifies, and every chain is there.
#[test]
fn a_whole_hub_verifies_and_all_its_chains_are_walked() {
    let data = small_hub();
    let report = super::verify(data.path(), &Range::default(), &SignedHeads::default()).unwrap();
    assert_eq!(breaks(&report.chains), Vec::<String>::new());
    let names: Vec<ChainName> = report.chains.iter().map(|chain| chain.name).collect();
    use ChainName::{Feed, Hub, Node};
    assert_eq!(names, [Hub, Feed(1), Feed(2), Feed(3), Node(1), Node(2)]);
    assert!(report.chains.iter().all(|chain| chain.events > 0 && chain.hash != ChainHash::GENESIS));
    let signed = heads_of(&report.chains);
    let again = super::verify(data.path(), &Range::default(), &signed).unwrap();
    assert_eq!((breaks(&again.chains).len(), again.signed()), (0, 6));
}
