//! The statement of an account adds up line by line, whatever the page size, and takes no mark it did not hand out.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each test binary uses its part of the outlet")]
mod outlet;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jikai_node::decide::{Caller, PackSelection, Verb};
use jikai_node::keyring::Keyring;
use jikai_node::query::{Cursor, QueryError, StatementLine, statement};
use jikai_node::store;
use jikai_node::writer::Writer;
use jikai_schema::barcode::parse_pack;
use jikai_schema::event::{EventBody, MoneyEvent};
use jikai_schema::ledger::{AccountId, TransferCode};
use jikai_schema::money::Money;
use jikai_schema::projection::Projection;
use jikai_schema::time::TimeMs;
use outlet::*;
use rusqlite::Connection;
use tempfile::TempDir;

struct Books {
    data: TempDir,
    store: Connection,
    keys: Arc<Keyring>,
    writer: Writer,
    feed: Feed,
    now_ms: Arc<AtomicI64>,
    keys_used: u32,
}

impl Books {
    /// A day whose events of node and hub lie between each other in time. The feed's events are stamped about 1,000 s
    /// before [`NOW_MS`]; the node begins before them and goes on after them.
    async fn open() -> Books {
        let data = tempfile::tempdir().unwrap();
        init(data.path());
        let (first_writer, keys) = start(data.path());
        let mut feed = Feed::new();
        feed.send(&first_writer, world()).await;
        drop(first_writer);
        let now_ms = Arc::new(AtomicI64::new(NOW_MS - 2_000_000));
        let writer = writer(data.path(), keys.clone(), now_ms.clone());
        let store = store::open_reader(data.path()).unwrap();
        Books { data, store, keys, writer, feed, now_ms, keys_used: 0 }
    }

    fn restart(&mut self) {
        self.writer = writer(self.data.path(), self.keys.clone(), self.now_ms.clone());
    }

    async fn done(&mut self, caller: Caller, verb: Verb) {
        self.keys_used += 1;
        let asked = request(caller, &format!("key-{:013}", self.keys_used), verb);
        assert_eq!(outcome(&self.writer.ask(asked).await), "done");
    }

    async fn receive(&mut self, numbers: &[u32]) {
        self.done(owner(1), Verb::ReceivePacks(PackSelection::Packs(refs(numbers)))).await;
    }

    async fn day(&mut self) {
        self.receive(&[1, 2]).await;
        self.now_ms.store(NOW_MS, Ordering::SeqCst);
        self.feed.send(&self.writer, vec![deposit(2, "0.01"), deposit(3, "250.00")]).await;
        self.receive(&[3, 4]).await;
        self.done(clerk(1), Verb::PayClaims(vec![barcode(1, 2), barcode(3, 2)])).await;
        self.done(owner(1), Verb::ReturnPacks(refs(&[4]))).await;
    }

    fn pages(&self, rows: usize) -> Vec<StatementLine> {
        let (mut lines, mut before) = (Vec::new(), None);
        loop {
            let page = statement(&self.store, account(1), before, rows).unwrap();
            assert!(page.lines.len() <= rows);
            lines.extend(page.lines);
            let Some(next) = page.next else { return lines };
            // A mark survives its text form, as a terminal keeps it.
            before = Some(next.to_string().parse().unwrap());
        }
    }

    fn refuses(&self, mark: &str) -> bool {
        let cursor = mark.parse::<Cursor>();
        let page = cursor.and_then(|cursor| statement(&self.store, account(1), Some(cursor), 200));
        matches!(page, Err(QueryError::BadCursor(_)))
    }
}

fn writer(data: &Path, keys: Arc<Keyring>, now_ms: Arc<AtomicI64>) -> Writer {
    let clock = Arc::new(move || TimeMs::from_ms(now_ms.load(Ordering::SeqCst)));
    Writer::start(store::open(data).unwrap(), keys, clock).unwrap().0
}

fn account(number: u32) -> AccountId {
    AccountId::outlet(node(), outlet(number))
}

fn refs(numbers: &[u32]) -> Vec<jikai_schema::barcode::PackRef> {
    numbers.iter().map(|number| parse_pack(&format!("J1001-26001-{number:07}")).unwrap()).collect()
}

#[tokio::test]
async fn each_balance_is_the_one_before_plus_the_amount_from_zero_to_the_present() {
    let mut books = Books::open().await;
    books.day().await;
    let lines = books.pages(200);
    assert_eq!(lines[0].balance, Projection::new(&books.store).account(account(1)).unwrap().balance);
    for pair in lines.windows(2) {
        assert_eq!(pair[1].balance.checked_add(pair[0].amount), Ok(pair[0].balance));
        assert!(pair[0].balance >= Money::ZERO, "no line is on credit");
    }
    let oldest = lines.last().unwrap();
    assert_eq!(oldest.balance, oldest.amount, "the account began at zero");
    // 1000.00 + 250.01 deposits − 4 × (100.00 − 8.00) + 2 × 50.00 prizes + 92.00 for the returned pack
    assert_eq!(lines[0].balance.to_string(), "1074.01");
    assert_eq!(lines.len(), 3 + 4 * 2 + 2 + 2);
}

#[tokio::test]
async fn every_page_size_gives_the_same_lines() {
    let mut books = Books::open().await;
    books.day().await;
    let whole = books.pages(200);
    for rows in 1..=whole.len() + 1 {
        assert_eq!(books.pages(rows), whole, "{rows} lines a page");
    }
}

#[tokio::test]
async fn lines_are_merged_by_time_also_where_the_nodes_clock_is_behind_the_hubs() {
    let mut books = Books::open().await;
    books.day().await;
    let codes: Vec<TransferCode> = books.pages(4).iter().map(|line| line.code).collect();
    use TransferCode::*;
    let after = [CommissionReturn, Return, Prize, Prize, Commission, Charge, Commission, Charge];
    // The node's clock stood behind the hub's, and the first two packs were stamped a millisecond each behind the first deposit:
    // the next two deposits have the same stamps.
    let before = [Commission, Charge, Deposit, Commission, Charge, Deposit, Deposit];
    assert_eq!(codes[..after.len()], after);
    assert_eq!(codes[after.len()..], before);
}

#[tokio::test]
async fn with_the_hubs_clock_ahead_and_a_restart_a_deposit_stands_before_what_it_paid_for_and_no_line_is_below_zero() {
    let mut books = Books::open().await;
    books.receive(&[1, 2]).await;
    books.feed.send(&books.writer, vec![deposit_of(2, 2, "100.00")]).await;
    // The stamp that the hub gave is remembered with its feed.
    books.restart();
    books.done(owner(2), Verb::ReceivePacks(PackSelection::Packs(refs(&[9])))).await;
    books.done(clerk(2), Verb::PayClaims(vec![barcode(1, 2), barcode(2, 2)])).await;
    let lines = statement(&books.store, account(2), None, 200).unwrap().lines;
    let shown: Vec<(TransferCode, String)> = lines.iter().map(|line| (line.code, line.balance.to_string())).collect();
    use TransferCode::*;
    let expected = [(Prize, "108.00"), (Prize, "58.00"), (Commission, "8.00"), (Charge, "0.00"), (Deposit, "100.00")];
    assert_eq!(shown, expected.map(|(code, balance)| (code, balance.to_string())));
}

#[tokio::test]
async fn lines_that_arrive_between_two_pages_do_not_shift_the_older_ones() {
    let mut books = Books::open().await;
    books.day().await;
    let whole = books.pages(200);
    let first = statement(&books.store, account(1), None, 5).unwrap();
    books.receive(&[5]).await;
    books.feed.send(&books.writer, vec![deposit(4, "1.00")]).await;
    let rest = statement(&books.store, account(1), first.next, 200).unwrap();
    assert_eq!([first.lines, rest.lines].concat(), whole);
}

#[tokio::test]
async fn an_account_without_lines_has_an_empty_last_page() {
    let books = Books::open().await;
    let page = statement(&books.store, account(2), None, 50).unwrap();
    assert!(page.lines.is_empty() && page.next.is_none());
}

#[tokio::test]
async fn a_mark_that_was_not_handed_out_is_refused() {
    let mut books = Books::open().await;
    books.day().await;
    books.feed.send(&books.writer, vec![to_outlet_two()]).await;
    let other = Projection::new(&books.store).account(account(2)).unwrap().last_hub_transfer;
    let own = Projection::new(&books.store).account(account(1)).unwrap().last_node_transfer;
    assert!(!books.refuses(&format!("{own}.0.100")));
    assert!(books.refuses(&format!("0.{other}.100")), "a transfer of another outlet");
    assert!(books.refuses(&format!("{}.0.100", own + 1)), "a transfer that is not there");
    assert!(books.refuses(&format!("-{own}.0.100")));
    for balance_fen in [i64::MIN, i64::MAX] {
        assert!(books.refuses(&format!("{own}.0.{balance_fen}")), "a balance that no account can have");
    }
    for text in ["", ".", "1", "1.2", "a.b.c", "1.2.3.4", "9223372036854775808.0.0", "1.2.0x3"] {
        assert!(books.refuses(text), "{text}");
    }
}

fn to_outlet_two() -> EventBody {
    let amount = Money::from_fen(500);
    EventBody::Money(MoneyEvent::DepositCredited { deposit: 9, outlet: outlet(2), node: node(), amount })
}
