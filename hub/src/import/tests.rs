use jikai_schema::event::Actor;

use super::{ImportError, Imported, Kind, import};
use crate::config::GameParameters;
use crate::province::*;

async fn run(hub: &Running, kind: Kind, rows: &str) -> Result<Imported, ImportError> {
    let text = format!("{}\n{rows}", kind.columns().join(","));
    import(&hub.sequencer, &hub.pool, GameParameters::DEMO, &Actor::System.into(), kind, text.into_bytes()).await
}

/// Imports good rows twice: the second time they are there already.
async fn good(hub: &Running, kind: Kind, rows: &str, events: u64) {
    let lines = rows.lines().count() as u64;
    let done = run(hub, kind, rows).await.unwrap();
    assert_eq!((done.lines, done.events), (lines, events), "{kind:?}");
    let again = run(hub, kind, rows).await.unwrap();
    assert_eq!((again.lines, again.events), (lines, 0), "{kind:?} again");
}

/// A bad row is named with its line and column, and nothing is imported.
async fn bad(hub: &Running, kind: Kind, rows: &str, line: u64, column: &str) {
    let before = hub.sequencer.applied();
    match run(hub, kind, rows).await {
        Err(ImportError::Line(error)) => {
            assert_eq!((error.line, error.column.as_str()), (line, column), "{kind:?} {rows}: {error}");
        }
        other => panic!("{kind:?} {rows}: {other:?}"),
    }
    assert_eq!(hub.sequencer.applied(), before);
}

async fn refused(hub: &Running, kind: Kind, rows: &str, line: u64, code: &str) {
    match run(hub, kind, rows).await {
        Err(ImportError::Refused { line: found, refusal }) => assert_eq!((found, refusal.code()), (line, code)),
        other => panic!("{kind:?} {rows}: {other:?}"),
    }
}

#[tokio::test]
async fn lists_of_divisions_and_townships() {
    let hub = Running::empty().await;
    good(
        &hub,
        Kind::Divisions,
        "130102,长安区,1301,石家庄市,16\n130104,桥西区,1301,石家庄市,17\n130202,路南区,1302,唐山市,9\n",
        5,
    )
    .await;
    bad(
        &hub,
        Kind::Divisions,
        "130102,长安区,1301,石家庄市,16\n130104,桥西区,13x1,石家庄市,17\n",
        3,
        "prefecture_code",
    )
    .await;
    bad(&hub, Kind::Divisions, "130102,,1301,石家庄市,16\n", 2, "name").await;
    good(&hub, Kind::Townships, "130102001,建北街道,130102\n", 1).await;
    bad(&hub, Kind::Townships, "130102001,建北街道\n", 2, "all").await;
    refused(&hub, Kind::Townships, "130102002,青园街道,130102\n130999001,无,130999\n", 3, "unknown").await;
}

#[tokio::test]
async fn lists_of_games_with_whole_prize_lists() {
    let hub = Running::empty().await;
    let first = "G0201,燕赵红,2,10,2,100,1,100,1\nG0201,燕赵红,2,10,2,100,2,10,2\nG0201,燕赵红,2,10,2,100,3,5,2\n";
    let second = "J1001,乐翻天,10,50,5,100,1,650,1\n";
    good(&hub, Kind::Games, &format!("{first}{second}"), 2).await;
    bad(&hub, Kind::Games, &first.replace(",3,5,2", ",3,5,3"), 2, "prize_yuan").await;
    bad(&hub, Kind::Games, &first.replace(",3,5,2", ",4,5,2"), 4, "prize_level").await;
    bad(&hub, Kind::Games, &first.replacen("燕赵红", "燕", 1), 3, "game_name").await;
    bad(
        &hub,
        Kind::Games,
        &first.replace(",100,1,100,1", ",105,1,100,1").replace(",100,", ",105,"),
        2,
        "tickets_per_pool",
    )
    .await;
    bad(&hub, Kind::Games, &format!("{first}{second}{first}"), 6, "game_code").await;
    bad(&hub, Kind::Games, "X0201,燕赵红,2,10,2,100,1,130,1\n", 2, "game_code").await;
    bad(&hub, Kind::Games, "G0201,燕赵红,2.001,10,2,100,1,130,1\n", 2, "price_yuan").await;
}

#[tokio::test]
async fn lists_of_outlets_terminals_and_operators() {
    let hub = Running::set_up().await;
    let key = hex::encode(ed25519_dalek::SigningKey::from_bytes(&[1; 32]).verifying_key().to_bytes());
    good(&hub, Kind::Outlets, "13010008,开心小站,130102001\n13020008,好运,130202001\n", 2).await;
    bad(&hub, Kind::Outlets, "1301000,开心小站,130102001\n", 2, "outlet_id").await;
    refused(&hub, Kind::Outlets, "13010009,a,130102001\n13990001,b,130102001\n", 3, "outlet_outside_prefecture").await;
    good(&hub, Kind::Terminals, &format!("1301000801,13010008,gun,{key}\n"), 1).await;
    bad(&hub, Kind::Terminals, &format!("1301000801,13010001,gun,{key}\n"), 2, "outlet_id").await;
    bad(&hub, Kind::Terminals, &format!("1301000801,13010008,fax,{key}\n"), 2, "kind").await;
    bad(&hub, Kind::Terminals, "1301000801,13010008,gun,abcd\n", 2, "public_key_hex").await;
    let hash = "\"$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$aGFzaA\"";
    good(&hub, Kind::Operators, &format!("1301000801,13010008,李四,owner,{hash}\n"), 1).await;
    bad(&hub, Kind::Operators, &format!("1301000801,13010008,李四,boss,{hash}\n"), 2, "role").await;
    bad(&hub, Kind::Operators, "1301000801,13010008,李四,clerk,hunter2\n", 2, "password_hash").await;
    refused(&hub, Kind::Operators, &format!("1301777701,13017777,李四,clerk,{hash}\n"), 2, "unknown").await;
}

#[tokio::test]
async fn lists_of_shipments_take_whole_consignments() {
    let hub = Running::set_up().await;
    good(
        &hub,
        Kind::Shipments,
        "7,13010002,G0201,26001,4,4\n7,13010002,G0201,26001,5,6\n8,13010001,G0201,26001,7,7\n",
        4,
    )
    .await;
    bad(&hub, Kind::Shipments, "9,13010002,G0201,26001,8,8\n9,13010001,G0201,26001,9,9\n", 3, "outlet_id").await;
    bad(&hub, Kind::Shipments, "9,13010002,G0201,26009,8,8\n", 2, "batch").await;
    bad(&hub, Kind::Shipments, "9,13010002,G0201,26001,8,7\n", 2, "last_pack").await;
    bad(&hub, Kind::Shipments, "9,13010002,G0201,26001,0,7\n", 2, "first_pack").await;
    refused(&hub, Kind::Shipments, "9,13010002,G0201,26001,8,8\n10,13010002,G0201,26001,1,1\n", 3, "exists_with_other")
        .await;
    refused(&hub, Kind::Shipments, "11,13010002,G0201,26001,11,11\n", 2, "pack_not_in_warehouse").await;
}

#[tokio::test]
async fn lists_of_deposits() {
    let hub = Running::set_up().await;
    good(&hub, Kind::Deposits, "50,13010001,100.00\n51,13020001,7\n", 2).await;
    bad(&hub, Kind::Deposits, "52,13010001,100.001\n", 2, "amount_yuan").await;
    bad(&hub, Kind::Deposits, "52,13010001,-5\n", 2, "amount_yuan").await;
    bad(&hub, Kind::Deposits, "x,13010001,5\n", 2, "deposit_id").await;
    refused(&hub, Kind::Deposits, "53,13010001,5.00\n50,13010001,100.01\n54,13010001,5.00\n", 3, "exists_with_other")
        .await;
    let count = hub.pool.read(|store| {
        store.query_row("SELECT count(*) FROM deposit WHERE deposit > 49", [], |row| row.get::<_, i64>(0))
    });
    assert_eq!(count.await.unwrap().unwrap(), 3, "those before the refused line are credited, those behind are not");
}

#[tokio::test]
async fn lists_of_openings_holds_and_ends_of_redemption() {
    let hub = Running::empty().await;
    for command in set_up().into_iter().filter(|command| *command != open_sale()) {
        hub.ask(command).await;
    }
    good(&hub, Kind::Openings, "G0201,26001,财彩[2026]1,2026-11-13\n", 1).await;
    bad(&hub, Kind::Openings, "G0201,26001,财彩[2026]1,13.11.2026\n", 2, "notice_day").await;
    bad(&hub, Kind::Openings, "G0201,26001,,2026-11-13\n", 2, "approval_number").await;
    good(&hub, Kind::Holds, "G0201-26001-0000001,stolen\n", 1).await;
    bad(&hub, Kind::Holds, "G0201-26001-0000001,gone\n", 2, "hold").await;
    bad(&hub, Kind::Holds, "G0201-26002-0000001,none\n", 2, "pack").await;
    refused(&hub, Kind::Holds, "G0201-26001-0000009,frozen\n", 2, "unknown").await;
    good(&hub, Kind::RedemptionEnds, "G0201,26001,2027-03-03T00:00:00+08:00\n", 1).await;
    bad(&hub, Kind::RedemptionEnds, "G0201,26001,2027-03-03\n", 2, "ends_at").await;
    refused(&hub, Kind::RedemptionEnds, "G0201,26001,2027-03-02T00:00:00+08:00\n", 2, "redemption_end_earlier").await;
}

#[tokio::test]
async fn a_wrong_header_is_refused_and_a_byte_order_mark_is_not() {
    let hub = Running::set_up().await;
    let system = Actor::System.into();
    let send = |text: &str| {
        let bytes = text.as_bytes().to_vec();
        import(&hub.sequencer, &hub.pool, GameParameters::DEMO, &system, Kind::Deposits, bytes)
    };
    for header in ["", "deposit_id,outlet_id\n", "outlet_id,deposit_id,amount_yuan\n"] {
        assert!(matches!(send(header).await, Err(ImportError::Line(error)) if error.column == "header"));
    }
    let done = send("\u{feff}deposit_id,outlet_id,amount_yuan\r\n60,13010001,5.00\r\n").await.unwrap();
    assert_eq!(done.events, 1);
    assert!(send("deposit_id,outlet_id,amount_yuan\n").await.is_ok(), "an empty list is a list");
}

#[test]
fn every_kind_has_its_name_back() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
    }
    assert_eq!(Kind::named("batch"), None);
}
