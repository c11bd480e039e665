//! `report`: a client of the running hub.

use std::io::Write;

use anyhow::Context;
use clap::ValueEnum;
use jikai_schema::money::Money;
use serde_json::{Map, Value};

use super::client::{Client, block_on};
use super::{ReportArgs, ReportName};

/// Rows that are asked for at once.
const PAGE_ROWS: usize = 1_000;

pub(super) fn report(args: &ReportArgs) -> anyhow::Result<()> {
    let client = Client::open(&args.data.data)?;
    let report = block_on(fetch(&client, args))?;
    let mut out = std::io::stdout().lock();
    if args.json {
        writeln!(out, "{report:#}").context("print the report")?;
        return Ok(());
    }
    let table = Table::of(&report);
    let text = if args.csv { table.csv()? } else { table.text() };
    out.write_all(text.as_bytes()).context("print the report")
}

/// Figures in the order in which people read them; JSON objects have none.
const COLUMNS: [&str; 28] = [
    "origin",
    "node",
    "seq",
    "at_ms",
    "kind",
    "outlet",
    "subject",
    "amount_yuan",
    "packs_checked_in",
    "packs_returned",
    "tickets_sold",
    "charge_yuan",
    "commission_yuan",
    "return_yuan",
    "net_sales_yuan",
    "claims",
    "prize_yuan",
    "deposits",
    "deposit_yuan",
    "suspense_yuan",
    "in_transit",
    "active",
    "sold_out",
    "returned",
    "face_yuan",
    "accounts",
    "change_yuan",
    "balance_yuan",
];

/// Fetches all pages into one report.
async fn fetch(client: &Client, args: &ReportArgs) -> anyhow::Result<Value> {
    let name = args.report.to_possible_value().map(|value| value.get_name().to_string()).unwrap_or_default();
    let ledger = args.report == ReportName::Ledger;
    let by = args.by.as_deref().unwrap_or(if ledger { "kind" } else { "prefecture" });
    anyhow::ensure!(
        ledger || by != "kind",
        "--by kind belongs to the ledger; take prefecture, county, outlet, game or day"
    );
    let worklist = matches!(args.report, ReportName::Exceptions | ReportName::Quarantine);
    let divided = args.by.is_some() || args.from.is_some() || args.to.is_some();
    anyhow::ensure!(!worklist || !divided, "{name} is a list: leave out --by, --from and --to");
    let mut address = match worklist {
        true => format!("/v1/{name}?limit={PAGE_ROWS}"),
        false => format!("/v1/reports/{name}?by={by}&limit={PAGE_ROWS}"),
    };
    for (key, value) in [("from", &args.from), ("to", &args.to)] {
        if let Some(value) = value {
            let plain = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            anyhow::ensure!(plain, "--{key} `{value}` is not a day such as 2026-11-23");
            address.push_str(&format!("&{key}={value}"));
        }
    }
    let mut report = client.get(&address).await?;
    while let Some(after) = report["next"].as_str().map(str::to_string) {
        let mut page = client.get(&format!("{address}&after={after}")).await?;
        if let (Some(rows), Some(more)) = (report["rows"].as_array_mut(), page["rows"].as_array_mut()) {
            rows.append(more);
        }
        report["next"] = page["next"].take();
    }
    Ok(report)
}

/// A report as rows of text.
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// `None` for a list, which has nothing to add up.
    totals: Option<Vec<String>>,
}

impl Table {
    pub(super) fn of(report: &Value) -> Self {
        let none = Map::new();
        let totals = report["totals"].as_object().unwrap_or(&none);
        let rows = report["rows"].as_array().map_or(&[][..], Vec::as_slice);
        let figures = rows.first().and_then(Value::as_object).unwrap_or(totals);
        let is_list = report.get("totals").is_none();
        let mut header = if is_list { Vec::new() } else { vec!["key".to_string(), "name".to_string()] };
        let position = |column: &str| COLUMNS.iter().position(|known| *known == column).unwrap_or(COLUMNS.len());
        let mut columns: Vec<String> = figures.keys().filter(|key| *key != "key" && *key != "name").cloned().collect();
        columns.sort_by_key(|column| position(column));
        header.append(&mut columns);
        let cells = |row: &Value| header.iter().map(|column| plain(&row[column.as_str()])).collect();
        let mut total_cells: Vec<String> =
            header.iter().map(|column| totals.get(column).map(plain).unwrap_or_default()).collect();
        if let Some(first) = total_cells.first_mut() {
            *first = "total".to_string();
        }
        let totals = (!is_list).then_some(total_cells);
        Table { rows: rows.iter().map(cells).collect(), header, totals }
    }

    pub(super) fn csv(&self) -> anyhow::Result<String> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in std::iter::once(&self.header).chain(&self.rows).chain(&self.totals) {
            writer.write_record(row.iter().map(|cell| unformula(cell)))?;
        }
        String::from_utf8(writer.into_inner().context("write CSV")?).context("write CSV")
    }

    pub(super) fn text(&self) -> String {
        if self.rows.is_empty() {
            return "none\n".to_string();
        }
        let all = || std::iter::once(&self.header).chain(&self.rows).chain(&self.totals);
        let widths: Vec<usize> =
            (0..self.header.len()).map(|at| all().map(|row| width(&row[at])).max().unwrap_or(0)).collect();
        let mut text = String::new();
        for row in all() {
            for (at, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[at] - width(cell));
                let (before, after) = if at < 2 { ("", padding.as_str()) } else { (padding.as_str(), "") };
                text.push_str(&format!("{before}{cell}{after}  "));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A name that a spreadsheet would take for a formula is quoted; negative numbers are left alone.
fn unformula(cell: &str) -> String {
    let number = cell.parse::<Money>().is_ok();
    if cell.starts_with(['=', '+', '-', '@']) && !number { format!("'{cell}") } else { cell.to_string() }
}

/// Columns on a terminal: Chinese characters take two.
fn width(text: &str) -> usize {
    text.chars().map(|letter| if (0x2e80..=0xffe6).contains(&u32::from(letter)) { 2 } else { 1 }).sum()
}
