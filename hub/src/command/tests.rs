use clap::{CommandFactory, Parser};
use serde_json::json;

use super::Cli;
use super::report::Table;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_command_line_is_the_one_of_the_contract() {
    Cli::command().debug_assert();
    for line in [
        "jikai-hub init --data d --environment production --listen 127.0.0.1:0 --sync-listen 0.0.0.0:7000 --printer-key a --printer-key b",
        "jikai-hub run --data d",
        "jikai-hub ca sign --data d --csr f --node 3 --out o",
        "jikai-hub ca show --data d",
        "jikai-hub ca list --data d",
        "jikai-hub ca revoke --data d --serial 0a --reason stolen",
        "jikai-hub terminal enrol --data d --terminal 1301000101 --kind phone --hours 48",
        "jikai-hub terminal revoke --data d --terminal 1301000101 --reason lost",
        "jikai-hub import --data d outlets outlets.csv",
        "jikai-hub import --data d redemption-ends ends.csv",
        "jikai-hub import --data d batch dir",
        "jikai-hub import --data d node --id 1 --name N --prefectures 1301,1302",
        "jikai-hub report --data d sales --by county --from 2026-11-01 --to 2026-11-02 --csv",
        "jikai-hub report --data d ledger --json",
        "jikai-hub digest --data d --node 3",
        "jikai-hub audit verify --data d --from 7 --to 2026-11-30 --checkpoints f --key k",
        "jikai-hub audit checkpoint --data d",
        "jikai-hub audit checkpoints --data d --export f",
        "jikai-hub audit key --data d",
        "jikai-hub audit renew-key --data d",
        "jikai-hub audit kinds",
        "jikai-hub keys list --data d",
        "jikai-hub keys rotate --data d",
        "jikai-hub keys rewrap --data d --new-master env:JIKAI_KEY",
        "jikai-hub init --data d --master-key credential:hub",
        "jikai-hub audit search --data d --person a --item G0201-26001-0000001 --amount-min 10.00 --limit 5",
        "jikai-hub import --data d node --id 12 --name N",
        "jikai-hub handoff plan --data d --fill 12 --json",
        "jikai-hub handoff start --data d --empty 3 --plan 0123456789abcdef --window 100 --no-wait",
        "jikai-hub handoff start --data d --outlet 13010001,13010002 --to 4",
        "jikai-hub audit export --data d --format csv --out f --from 2026-11-01T08:00:00+08:00",
    ] {
        parse(line).unwrap();
    }
    for line in [
        "jikai-hub",
        "jikai-hub init --data d --environment prod",
        "jikai-hub import --data d cakes cakes.csv",
        "jikai-hub import --data d node --id 1",
        "jikai-hub handoff plan --data d",
        "jikai-hub handoff start --data d --outlet 13010001",
        "jikai-hub handoff start --data d --fill 1 --empty 2",
        "jikai-hub handoff start --data d --fill 1 --to 2",
        "jikai-hub report --data d sales --by planet",
        "jikai-hub report --data d sales --csv --json",
        "jikai-hub audit verify --data d --from yesterday",
        "jikai-hub audit verify --data d --checkpoints f",
        "jikai-hub audit export --data d",
        "jikai-hub keys rewrap --data d",
        "jikai-hub keys rewrap --data d --new-master JIKAI_KEY",
        "jikai-hub audit search --data d --amount-min 0.001",
        "jikai-hub audit search --data d --request zz",
        "jikai-hub audit search --data d --item hello",
        "jikai-hub audit search --data d --kind nonsense",
        "jikai-hub audit search --data d --terminal 13010001",
        "jikai-hub audit search --data d --outlet 1301",
        "jikai-hub audit export --data d --format csv --address nowhere",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn a_hub_is_made_once_and_says_what_comes_next() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("hub");
    let init = |more: &str| parse(&format!("jikai-hub init --data {}{more}", dir.display())).unwrap().execute();
    assert!(format!("{:#}", init(" --administrator Root").unwrap_err()).contains("login name"));
    init("").unwrap();
    assert!(format!("{:#}", init("").unwrap_err()).contains("holds a hub already"));
    let digest = |more: &str| parse(&format!("jikai-hub digest --data {}{more}", dir.display())).unwrap().execute();
    digest("").unwrap();
    assert!(format!("{:#}", digest(" --node 3").unwrap_err()).contains("node 3 is not registered"));
    let idle = parse(&format!("jikai-hub report --data {} sales", dir.display())).unwrap().execute();
    assert!(format!("{:#}", idle.unwrap_err()).contains("jikai-hub run"));
}

#[test]
fn an_audit_needs_no_running_hub_and_fails_on_a_break() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("hub").display().to_string();
    let run = |line: &str| parse(&format!("jikai-hub {line} --data {dir}")).unwrap().execute();
    assert!(format!("{:#}", run("audit verify").unwrap_err()).contains("is --data the directory of a hub?"));
    run("init").unwrap();
    for line in ["audit key", "audit verify", "audit checkpoint", "audit checkpoints", "audit verify", "audit search"] {
        run(line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    }
    let (file, out) = (data.path().join("c.jsonl").display().to_string(), data.path().join("e.csv"));
    run(&format!("audit checkpoints --export {file}")).unwrap();
    let key =
        crate::audit::checkpoint::PublicKeys::load(&data.path().join("hub")).unwrap().to_string().trim().to_string();
    let exported = format!("audit verify --checkpoints {file} --key {key}");
    run(&exported).unwrap();
    let export = format!("audit export --format csv --out {}", out.display());
    run(&export).unwrap();
    assert!(format!("{:#}", run(&export).unwrap_err()).contains("a name that is not taken"));
    assert!(format!("{:#}", run("audit search --log 9").unwrap_err()).contains("there is no log 9"));
    run("audit search --log 0 --person nobody").unwrap();
    parse("jikai-hub audit kinds").unwrap().execute().unwrap();
    let store = rusqlite::Connection::open(data.path().join("hub/state.db")).unwrap();
    store.execute_batch("UPDATE feed_head SET seq = 5").unwrap();
    for line in ["audit verify", &exported] {
        assert!(format!("{:#}", run(line).unwrap_err()).contains("1 of 1 chains are broken"), "{line}");
    }
    std::fs::write(&file, "").unwrap();
    assert!(format!("{:#}", run(&exported).unwrap_err()).contains("no checkpoint"));
}

#[test]
fn a_report_is_printed_as_an_aligned_table_or_as_csv_without_formulas() {
    let report = json!({
        "by": "outlet",
        "rows": [
            { "key": "13010001", "name": "=开心", "claims": 2, "prize_yuan": "15.00" },
            { "key": "13010002", "name": "b", "claims": 10, "prize_yuan": "-5.00" },
        ],
        "totals": { "claims": 12, "prize_yuan": "10.00" },
    });
    let table = Table::of(&report);
    assert_eq!(
        table.text(),
        "key       name   claims  prize_yuan\n13010001  =开心       2       15.00\n\
         13010002  b          10       -5.00\ntotal                12       10.00\n"
    );
    assert_eq!(
        table.csv().unwrap(),
        "key,name,claims,prize_yuan\n13010001,'=开心,2,15.00\n13010002,b,10,-5.00\ntotal,,12,10.00\n"
    );
    let empty = json!({ "rows": [], "totals": { "claims": 0, "prize_yuan": "0.00" } });
    assert_eq!(Table::of(&empty).csv().unwrap(), "key,name,claims,prize_yuan\ntotal,,0,0.00\n");
    assert_eq!(Table::of(&empty).text(), "none\n");
    assert_eq!(Table::of(&json!({ "rows": [] })).text(), "none\n");
}
