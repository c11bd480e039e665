use std::path::Path;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use jikai_schema::barcode::SecurityCode;
use jikai_schema::event::Actor;
use jikai_schema::seal;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{BatchImported, PrinterError, import_batch};
use crate::province::*;

/// The files of a printed batch before they are written: each test spoils one thing.
struct Draft {
    package: Vec<(&'static str, String)>,
    map: String,
    reward: String,
    codes: String,
}

/// Pack, ticket and level of the winners: the prize list of [`facts`].
const WINNERS: [(u32, u16, u8); 5] = [(1, 3, 3), (2, 0, 2), (2, 9, 1), (7, 5, 2), (10, 9, 3)];

fn letters(pack: u32, ticket: u16) -> String {
    let hash = Sha256::digest(format!("{pack}-{ticket}"));
    hash.iter().take(16).map(|byte| char::from(b'A' + byte % 26)).collect()
}

impl Draft {
    fn good() -> Self {
        let value = |text: &str| text.to_string();
        let package = vec![
            ("format", value("jikai-printer/1")),
            ("game_code", value("G0201")),
            ("game_name", value("燕赵红")),
            ("batch", value("26001")),
            ("price_yuan", value("2")),
            ("tickets_per_pack", value("10")),
            ("packs_per_case", value("2")),
            ("cases", value("5")),
            ("packs", value("10")),
            ("tickets", value("100")),
            ("pool", value("1")),
            ("printer", value("模拟印刷厂")),
            ("print_completed_on", value("2026-01-15")),
        ];
        let map = "1\tAG001\t100\t1\n2\tAG002\t10\t2\n3\tAG003\t5\t2\n".to_string();
        let line = |(pack, ticket, level): (u32, u16, u8)| {
            format!("{pack:07}\t{ticket:03}\t{}AG00{level}\n", letters(pack, ticket))
        };
        let reward = WINNERS.into_iter().map(line).collect();
        let code = |pack: u32| {
            (0..TICKETS_PER_PACK).map(move |ticket| format!("{pack:07}{ticket:03}{}\n", letters(pack, ticket)))
        };
        let codes = (1..=PACKS).flat_map(code).collect();
        Draft { package, map, reward, codes }
    }

    fn set(&mut self, key: &str, value: &str) {
        for (found, text) in &mut self.package {
            if *found == key {
                *text = value.to_string();
            }
        }
    }

    /// PACKAGE with the hashes of the files as they are.
    fn package_text(&self) -> String {
        let map_reward = hex::encode(Sha256::new().chain_update(&self.map).chain_update(&self.reward).finalize());
        let codes = hex::encode(Sha256::digest(&self.codes));
        let lines: String = self.package.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        format!("{lines}sha256_map_reward={map_reward}\nsha256_codes={codes}\n")
    }

    fn write(&self, package: &str) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let signature = hex::encode(printer().sign(package.as_bytes()).to_bytes());
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("PACKAGE", package);
        write("SIGNATURE", &signature);
        write("MAP", &self.map);
        write("REWARD", &self.reward);
        write("CODES", &self.codes);
        dir
    }
}

fn printer() -> SigningKey {
    SigningKey::from_bytes(&[42; 32])
}

async fn hub() -> Running {
    let hub = Running::empty().await;
    hub.ask(set_up().remove(0)).await;
    hub
}

async fn import(hub: &Running, dir: &Path) -> Result<BatchImported, PrinterError> {
    let trusted = Arc::new(vec![printer().verifying_key()]);
    import_batch(&hub.sequencer, &hub.pool, &hub.vault, trusted, &Actor::System.into(), dir.to_owned()).await
}

/// What is said of a directory that one change has spoiled; nothing was imported.
async fn spoiled(change: impl FnOnce(&mut Draft)) -> String {
    let mut draft = Draft::good();
    change(&mut draft);
    refused(draft.write(&draft.package_text())).await
}

async fn refused(dir: TempDir) -> String {
    let hub = hub().await;
    let before = hub.sequencer.applied();
    let error = import(&hub, dir.path()).await.unwrap_err();
    assert_eq!(hub.sequencer.applied(), before, "nothing was changed");
    error.to_string()
}

#[tokio::test]
async fn a_good_directory_is_sealed_and_opens_with_the_printed_codes_only() {
    let hub = hub().await;
    let draft = Draft::good();
    let dir = draft.write(&draft.package_text());
    let done = import(&hub, dir.path()).await.unwrap();
    assert_eq!((done.name.as_str(), done.packs, done.existing, done.tickets), ("G0201-26001", 10, 0, 100));
    let vault = hub.vault.clone();
    let (key, records) = hub
        .pool
        .read(move |store| {
            let key = vault.read(store, batch()).unwrap().unwrap();
            let mut statement = store.prepare("SELECT records FROM warehouse ORDER BY pack").unwrap();
            let records: Vec<Vec<u8>> =
                statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
            (key, records)
        })
        .await
        .unwrap();
    for number in 1..=PACKS {
        for ticket in 0..TICKETS_PER_PACK {
            let id = pack(number).ticket(ticket).unwrap();
            let record = seal::record_of(&records[number as usize - 1], id).unwrap();
            let won =
                WINNERS.iter().find(|winner| (winner.0, winner.1) == (number, ticket)).map_or(0, |winner| winner.2);
            let code = SecurityCode::new(&letters(number, ticket)).unwrap();
            assert_eq!(seal::open(&key, id, &code, record), Ok(won));
            let other = SecurityCode::new(&letters(number, ticket + 1)).unwrap();
            assert!(seal::open(&key, id, &other, record).is_err());
        }
    }
}

#[tokio::test]
async fn importing_again_keeps_key_and_records_and_goes_on_where_it_stopped() {
    let hub = hub().await;
    let draft = Draft::good();
    let dir = draft.write(&draft.package_text());
    import(&hub, dir.path()).await.unwrap();
    hub.ask(open_sale()).await;
    hub.ask(ship(1, 13_010_001, 4..=5)).await;
    let again = import(&hub, dir.path()).await.unwrap();
    assert_eq!((again.packs, again.existing), (10, 10));
    let mut other = Draft::good();
    other.set("printer", "another");
    let other = other.write(&other.package_text());
    assert!(
        matches!(import(&hub, other.path()).await, Err(PrinterError::Refused(refusal)) if refusal.code() == "exists_with_other")
    );
}

#[tokio::test]
async fn a_package_that_was_altered_or_signed_by_somebody_else_is_refused() {
    let draft = Draft::good();
    let text = draft.package_text();
    let dir = draft.write(&text);
    std::fs::write(dir.path().join("PACKAGE"), text.replace("cases=5", "cases=6")).unwrap();
    assert!(refused(dir).await.contains("no trusted printer has signed"));
    let dir = draft.write(&text);
    let stranger = SigningKey::from_bytes(&[1; 32]).sign(text.as_bytes());
    std::fs::write(dir.path().join("SIGNATURE"), hex::encode(stranger.to_bytes())).unwrap();
    assert!(refused(dir).await.contains("no trusted printer has signed"));
    let dir = draft.write(&text);
    std::fs::write(dir.path().join("SIGNATURE"), "junk").unwrap();
    assert!(refused(dir).await.contains("SIGNATURE"));
    let (hub, dir) = (hub().await, draft.write(&text));
    let system = Actor::System.into();
    let nobody = import_batch(&hub.sequencer, &hub.pool, &hub.vault, Arc::default(), &system, dir.path().to_owned());
    assert!(nobody.await.unwrap_err().to_string().contains("printer_keys"));
}

#[tokio::test]
async fn a_package_needs_its_fifteen_lines_in_order() {
    let draft = Draft::good();
    let text = draft.package_text();
    let check = async |package: String, says: &str| {
        let error = refused(draft.write(&package)).await;
        assert!(error.contains(says), "{error}");
    };
    check(text.replace("pool=1\n", ""), "14 lines").await;
    check(format!("{text}more=1\n"), "16 lines").await;
    check(text.replace("cases=5\npacks=10\n", "packs=10\ncases=5\n"), "line 8: must be cases").await;
    check(text.replace("jikai-printer/1", "jikai-printer/2"), "line 1").await;
    check(text.replace("pool=1", "pool=2"), "line 11").await;
    check(text.replace("2026-01-15", "15.1.2026"), "line 13").await;
    check(text.replace("G0201", "X0201"), "line 2").await;
    check(text.trim_end().to_string(), "lines").await;
}

#[tokio::test]
async fn sizes_must_multiply() {
    assert!(spoiled(|draft| draft.set("cases", "6")).await.contains("cases × packs_per_case"));
    assert!(spoiled(|draft| draft.set("tickets", "101")).await.contains("packs × tickets_per_pack"));
    assert!(spoiled(|draft| draft.set("tickets_per_pack", "0")).await.contains("tickets_per_pack is from"));
    assert!(spoiled(|draft| draft.set("price_yuan", "0")).await.contains("price_yuan"));
}

#[tokio::test]
async fn every_file_must_have_the_hash_that_was_signed() {
    for (file, says) in [("MAP", "MAP and REWARD"), ("REWARD", "MAP and REWARD"), ("CODES", "CODES")] {
        let draft = Draft::good();
        let dir = draft.write(&draft.package_text());
        let path = dir.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(
            &path,
            text.replacen("0000010", "0000001", 1).replacen("AG001", "AG009", 1).replacen('A', "B", 1),
        )
        .unwrap();
        let error = refused(dir).await;
        assert!(error.contains(says), "{file}: {error}");
    }
}

#[tokio::test]
async fn the_prize_list_must_take_65_percent_and_agree_with_the_winners() {
    assert!(spoiled(|draft| draft.map = draft.map.replace("\t100\t", "\t101\t")).await.contains("65 %"));
    let swapped = |draft: &mut Draft| draft.map = "1\tAG001\t100\t1\n2\tAG002\t10\t1\n3\tAG003\t5\t4\n".into();
    assert!(spoiled(swapped).await.contains("REWARD"));
    assert!(spoiled(|draft| draft.map = draft.map.replace("AG003", "AG002")).await.contains("another level"));
    assert!(spoiled(|draft| draft.map = draft.map.replace("3\tAG003", "4\tAG003")).await.contains("ascend from 1"));
    let first_line_gone = |draft: &mut Draft| draft.reward = draft.reward.split_once('\n').unwrap().1.into();
    assert!(spoiled(first_line_gone).await.contains("REWARD: has 4 lines"));
    assert!(
        spoiled(|draft| draft.reward = draft.reward.replacen("AG003", "AG002", 1))
            .await
            .contains("level 2 has 3 lines")
    );
    assert!(spoiled(|draft| draft.reward = draft.reward.replacen("AG003", "AG009", 1)).await.contains("no such mark"));
}

#[tokio::test]
async fn winners_stand_once_in_order_with_codes_of_their_own() {
    let doubled = |draft: &mut Draft| {
        let lines: Vec<&str> = draft.reward.lines().collect();
        draft.reward = [lines[0], lines[1], lines[1], lines[3], lines[4]].map(|line| format!("{line}\n")).concat();
    };
    assert!(spoiled(doubled).await.contains("REWARD line 3: positions do not ascend"));
    let same_code = |draft: &mut Draft| {
        let (first, second) = (letters(1, 3), letters(2, 0));
        draft.reward = draft.reward.replace(&second, &first);
        draft.codes = draft.codes.replace(&second, &first);
    };
    assert!(spoiled(same_code).await.contains("a code stands on two winning tickets"));
    let beyond = |draft: &mut Draft| draft.reward = draft.reward.replace("0000010\t009", "0000011\t009");
    assert!(spoiled(beyond).await.contains("no such ticket"));
    let other_code = |draft: &mut Draft| draft.reward = draft.reward.replace(&letters(7, 5), &"Q".repeat(16));
    assert!(spoiled(other_code).await.contains("REWARD has another code"));
}

#[tokio::test]
async fn codes_name_every_ticket_in_order() {
    let short = |draft: &mut Draft| draft.codes.truncate(draft.codes.len() - 27);
    assert!(spoiled(short).await.contains("CODES: has"));
    let order = |draft: &mut Draft| draft.codes = draft.codes.replacen("0000001001", "0000001002", 1);
    assert!(spoiled(order).await.contains("CODES line 2"));
    let small = |draft: &mut Draft| {
        let code = letters(1, 1);
        draft.codes = draft.codes.replacen(&code, &code.to_lowercase(), 1);
    };
    assert!(spoiled(small).await.contains("16 letters"));
}

#[tokio::test]
async fn a_missing_file_a_link_and_another_price_are_refused() {
    let draft = Draft::good();
    let dir = draft.write(&draft.package_text());
    std::fs::remove_file(dir.path().join("CODES")).unwrap();
    assert!(refused(dir).await.starts_with("CODES"));
    let dir = draft.write(&draft.package_text());
    std::fs::rename(dir.path().join("MAP"), dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), dir.path().join("MAP")).unwrap();
    assert!(refused(dir).await.contains("not a regular file"));
    let dearer = |draft: &mut Draft| {
        draft.set("price_yuan", "4");
        draft.map = "1\tAG001\t200\t1\n2\tAG002\t20\t2\n3\tAG003\t10\t2\n".into();
    };
    assert!(spoiled(dearer).await.contains("costs 2.00"));
    assert!(spoiled(|draft| draft.set("game_code", "J1001")).await.contains("not known"));
}
