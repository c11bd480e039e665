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
        "jikai-hub import --data d outlets outlets.csv",
        "jikai-hub import --data d redemption-ends ends.csv",
        "jikai-hub import --data d batch dir",
        "jikai-hub import --data d node --id 1 --name N --prefectures 1301,1302",
        "jikai-hub report --data d sales --by county --from 2026-11-01 --to 2026-11-02 --csv",
        "jikai-hub report --data d ledger --json",
        "jikai-hub digest --data d --node 3",
    ] {
        parse(line).unwrap();
    }
    for line in [
        "jikai-hub",
        "jikai-hub init --data d --environment prod",
        "jikai-hub import --data d cakes cakes.csv",
        "jikai-hub import --data d node --id 1 --name N",
        "jikai-hub report --data d sales --by planet",
        "jikai-hub report --data d sales --csv --json",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

#[test]
fn a_hub_is_made_once_and_says_what_comes_next() {
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().join("hub");
    let init = |more: &str| parse(&format!("jikai-hub init --data {}{more}", dir.display())).unwrap().execute();
    assert!(format!("{:#}", init(" --listen 0.0.0.0:1").unwrap_err()).contains("loopback"));
    init("").unwrap();
    assert!(format!("{:#}", init("").unwrap_err()).contains("holds a hub already"));
    parse(&format!("jikai-hub digest --data {} --node 3", dir.display())).unwrap().execute().unwrap();
    let idle = parse(&format!("jikai-hub report --data {} sales", dir.display())).unwrap().execute();
    assert!(format!("{:#}", idle.unwrap_err()).contains("jikai-hub run"));
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
}
