use jikai_schema::command::{Command, Proposal, Reseal, ResealedKey};
use jikai_schema::projection::Catalog;

use crate::log::LogPosition;
use crate::machine::{StorageError, apply, commit};
use crate::province::*;

/// A log with everything in it: set-up, both nodes' work, repeats and refusals.
fn whole_log() -> Vec<Proposal> {
    let mut commands = set_up();
    let (mut first, mut second) = (NodeLog::new(1), NodeLog::new(2));
    let one = first.batch(vec![check_in(1, 13_010_001), claim(1, 3, 13_010_001, "10.00"), sell(1, 4, 13_010_001)]);
    let resealed = ResealedKey { batch: batch(), before: vec![9; 60], after: vec![8; 60] };
    commands.extend([
        Command::IngestEvents(one.clone()),
        Command::IngestEvents(second.batch(vec![check_in(3, 13_020_001), check_in(9, 13_020_001)])),
        Command::CreditDeposits(vec![deposit(5, 13_010_001, "70.00")]),
        Command::IngestEvents(first.batch(vec![check_in(2, 13_010_001), claim(1, 3, 13_010_001, "10.00")])),
        Command::IngestEvents(one),
        Command::DefineMaster(vec![define_node(3, &[1303]), define_division(1303, 0)]),
        ship(3, 13_010_002, 4..=5),
        ship(3, 13_010_001, 6..=6),
        Command::HoldPack { pack: pack(1), hold: jikai_schema::event::PackHold::Frozen },
        Command::IngestEvents(second.raw_batch(vec![vec![1, 0xff, 0xff]])),
        stock(3..=4),
        Command::Reseal(Reseal {
            key_version: 2,
            batch_keys: vec![resealed],
            factors: Vec::new(),
            personal: Vec::new(),
        }),
    ]);
    // The clock of the proposer stands still, goes back and jumps.
    let clock = [NOW_MS, NOW_MS - 5_000, NOW_MS + 86_400_000].into_iter().cycle();
    commands.into_iter().zip(clock).map(|(command, at_ms)| proposal(at_ms, command)).collect()
}

/// Applies the log in transactions of so many entries, with what each knew of master data handed on; gives all outcomes and
/// the digest of all tables.
fn replay(log: &[Proposal], entries_per_transaction: usize) -> (Vec<String>, [u8; 32]) {
    let mut hub = Hub::empty();
    let (mut outcomes, mut catalog) = (Vec::new(), Catalog::default());
    let entries: Vec<_> = (1..).map(LogPosition::new).zip(log.iter().map(|proposal| vec![proposal.clone()])).collect();
    for chunk in entries.chunks(entries_per_transaction) {
        let (more, _) = commit(hub.meddle(), &mut catalog, chunk).unwrap();
        outcomes.extend(more.iter().map(|outcome| format!("{outcome:?}")));
    }
    (outcomes, digest_of(&hub.state, ""))
}

#[test]
fn the_same_log_gives_the_same_tables_however_it_is_cut_into_transactions() {
    let log = whole_log();
    let (outcomes, digest) = replay(&log, 1);
    for entries_per_transaction in [2, 3, 7, log.len()] {
        let (other_outcomes, other_digest) = replay(&log, entries_per_transaction);
        assert_eq!(other_outcomes, outcomes, "{entries_per_transaction} entries a transaction");
        assert_eq!(other_digest, digest, "{entries_per_transaction} entries a transaction");
    }
    assert!(outcomes.iter().any(|outcome| outcome.starts_with("Refused")));
    assert!(outcomes.iter().any(|outcome| outcome.contains("quarantined: 1")));
}

#[test]
fn event_times_do_not_go_back_though_the_proposers_clock_does() {
    let mut hub = Hub::empty();
    for proposal in whole_log() {
        hub.propose(proposal);
    }
    let mut statement = hub.state.prepare("SELECT bytes FROM hub_log ORDER BY seq").unwrap();
    let stamps: Vec<i64> = statement
        .query_map([], |row| row.get::<_, Vec<u8>>(0))
        .unwrap()
        .map(|bytes| jikai_schema::codec::decode_event(&bytes.unwrap()).unwrap().at_ms.ms())
        .collect();
    assert!(stamps.windows(2).all(|pair| pair[0] <= pair[1]));
}

#[test]
fn an_entry_out_of_order_stops_the_replica() {
    let mut hub = Hub::empty();
    let tx = hub.state.transaction().unwrap();
    let proposal = proposal(NOW_MS, Command::DefineMaster(Vec::new()));
    assert!(matches!(apply(&tx, LogPosition::new(2), &proposal), Err(StorageError::OutOfOrder { .. })));
    apply(&tx, LogPosition::new(1), &proposal).unwrap();
    apply(&tx, LogPosition::new(2), &proposal).unwrap();
    assert!(matches!(apply(&tx, LogPosition::new(1), &proposal), Err(StorageError::OutOfOrder { .. })));
}
