//! The hub's reports against the auditor's own sums: whoever governs the lottery sees only the reports.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::findings::{Findings, Property};
use super::history::{Evidence, History};
use super::places::{Place, follow};
use super::record::{Fact, Pack};
use crate::amount::yuan_field;
use crate::client::Service;
use crate::printer::Pools;

/// Rows that are asked at once.
const PAGE_ROWS: usize = 1_000;
/// What each report is divided by.
const AXES: [Axis; 3] = [Axis::Prefecture, Axis::Outlet, Axis::Game];

/// What a report is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Axis {
    /// Four digits.
    Prefecture,
    /// Eight digits.
    Outlet,
    /// Five characters.
    Game,
}

/// What a figure counts, and so which property a difference violates.
#[derive(Clone, Copy)]
enum Unit {
    Fen,
    Packs,
    Tickets,
}

/// One figure of a report.
struct Column {
    report: &'static str,
    field: &'static str,
    unit: Unit,
}

const fn column(report: &'static str, field: &'static str, unit: Unit) -> Column {
    Column { report, field, unit }
}

/// All figures that are checked. Their places are those of [`Figures`].
const COLUMNS: [Column; 14] = [
    column("sales", "packs_checked_in", Unit::Packs),
    column("sales", "packs_returned", Unit::Packs),
    column("sales", "tickets_sold", Unit::Tickets),
    column("sales", "charge_yuan", Unit::Fen),
    column("sales", "commission_yuan", Unit::Fen),
    column("sales", "return_yuan", Unit::Fen),
    column("sales", "net_sales_yuan", Unit::Fen),
    column("claims", "claims", Unit::Tickets),
    column("claims", "prize_yuan", Unit::Fen),
    column("stock", "in_transit", Unit::Packs),
    column("stock", "active", Unit::Packs),
    column("stock", "sold_out", Unit::Packs),
    column("stock", "returned", Unit::Packs),
    column("stock", "face_yuan", Unit::Fen),
];

/// The figures of one key, in the order of the columns. Fen, packs or tickets.
pub type Figures = [i64; COLUMNS.len()];

/// Figures by key; the key `全省` holds the totals.
type Sums = BTreeMap<String, Figures>;

/// The key of the totals.
const TOTALS: &str = "全省";

/// What the hub reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HubReports {
    sums: BTreeMap<Axis, Sums>,
}

impl Axis {
    fn name(self) -> &'static str {
        match self {
            Axis::Prefecture => "prefecture",
            Axis::Outlet => "outlet",
            Axis::Game => "game",
        }
    }

    fn key(self, outlet: u32, game: u8, pools: &Pools) -> String {
        match self {
            Axis::Prefecture => (outlet / 10_000).to_string(),
            Axis::Outlet => outlet.to_string(),
            Axis::Game => pools.0[usize::from(game)].game.code.clone(),
        }
    }
}

impl HubReports {
    /// Asks the hub for all of them.
    pub(super) async fn fetch(hub: &mut Service) -> Result<Self> {
        let mut reports = HubReports::default();
        for axis in AXES {
            for report in ["sales", "claims", "stock"] {
                let mut after = String::new();
                loop {
                    let by = axis.name();
                    let path = format!("/v1/reports/{report}?by={by}&limit={PAGE_ROWS}{after}");
                    let page = hub.get_json(&path).await?;
                    let next = reports.take(report, axis, &page).with_context(|| format!("read GET {path}"))?;
                    let Some(next) = next else { break };
                    let following = format!("&after={next}");
                    ensure!(following != after, "GET {path} goes on behind {next} again and again");
                    after = following;
                }
            }
        }
        Ok(reports)
    }

    /// Takes in one page. Returns the key to go on behind.
    pub(super) fn take(&mut self, report: &str, axis: Axis, page: &Value) -> Result<Option<String>> {
        let sums = self.sums.entry(axis).or_default();
        for row in page["rows"].as_array().context("a report without rows")? {
            let key = row["key"].as_str().with_context(|| format!("a row without key: {row}"))?;
            read_row(report, row, sums.entry(key.to_owned()).or_default())?;
        }
        read_row(report, &page["totals"], sums.entry(TOTALS.to_owned()).or_default())?;
        match &page["next"] {
            Value::Null => Ok(None),
            Value::String(next) => Ok(Some(next.clone())),
            other => bail!("the key to go on behind is {other}"),
        }
    }
}

fn read_row(report: &str, row: &Value, figures: &mut Figures) -> Result<()> {
    for (column, figure) in COLUMNS.iter().zip(figures).filter(|(column, _)| column.report == report) {
        let told = match column.unit {
            Unit::Fen => yuan_field(row, column.field),
            Unit::Packs | Unit::Tickets => row[column.field].as_i64(),
        };
        *figure = told.with_context(|| format!("{} of the {report} report is missing in {row}", column.field))?;
    }
    Ok(())
}

/// One side's sums by an axis. Amounts come from the printed pools.
fn own_sums(axis: Axis, history: &History, places: &BTreeMap<Pack, Place>, pools: &Pools) -> Sums {
    let mut sums = Sums::from([(TOTALS.to_owned(), Figures::default())]);
    let mut add = |outlet: u32, game: u8, amounts: &[(&str, i64)]| {
        for key in [axis.key(outlet, game, pools), TOTALS.to_owned()] {
            let figures = sums.entry(key).or_default();
            for (name, amount) in amounts {
                let at = COLUMNS.iter().position(|column| format!("{}.{}", column.report, column.field) == *name);
                if let Some(at) = at {
                    figures[at] += amount;
                }
            }
        }
    };
    add_events(history, pools, &mut add);
    for (pack, place) in places {
        let game = &pools.0[usize::from(pack.game)].game;
        let state = format!("stock.{}", place.state);
        let is_sellable = matches!(place.state, "in_transit" | "active");
        let face_fen = if is_sellable { game.face_fen() } else { 0 };
        add(place.outlet, pack.game, &[(state.as_str(), 1), ("stock.face_yuan", face_fen)]);
    }
    sums
}

/// Everything that events add up to.
fn add_events(history: &History, pools: &Pools, add: &mut impl FnMut(u32, u8, &[(&str, i64)])) {
    for (_, record) in history.facts() {
        match &record.fact {
            Fact::CheckedIn { pack, outlet, .. } => {
                let game = &pools.0[usize::from(pack.game)].game;
                let (face_fen, commission_fen) = (game.face_fen(), game.commission_fen());
                let amounts = [
                    ("sales.packs_checked_in", 1),
                    ("sales.charge_yuan", face_fen),
                    ("sales.commission_yuan", commission_fen),
                    ("sales.net_sales_yuan", face_fen),
                ];
                add(*outlet, pack.game, &amounts);
            }
            Fact::Returned { pack, outlet, .. } => {
                let game = &pools.0[usize::from(pack.game)].game;
                let (face_fen, commission_fen) = (game.face_fen(), game.commission_fen());
                let amounts = [
                    ("sales.packs_returned", 1),
                    ("sales.return_yuan", face_fen),
                    ("sales.commission_yuan", -commission_fen),
                    ("sales.net_sales_yuan", -face_fen),
                ];
                add(*outlet, pack.game, &amounts);
            }
            Fact::Sold { ticket, outlet, .. } => add(*outlet, ticket.pack.game, &[("sales.tickets_sold", 1)]),
            Fact::Claimed { ticket, outlet, .. } => {
                let prize_fen = pools.0[usize::from(ticket.pack.game)].prize_fen(ticket.position());
                add(*outlet, ticket.pack.game, &[("claims.claims", 1), ("claims.prize_yuan", prize_fen)]);
            }
            _ => {}
        }
    }
}

/// Every figure of every report must be what one side's events make of it. What no row tells of is 0.
pub fn check_reports(evidence: &Evidence, history: &History, pools: &Pools, findings: &mut Findings) {
    // Packs that break the rules of their life are found by the book of packs, not here a second time.
    let places = follow(&evidence.hub_log, history, pools, &mut Findings::default()).into_iter().collect();
    let nothing = Sums::new();
    for axis in AXES {
        let own = own_sums(axis, history, &places, pools);
        let told = evidence.reports.sums.get(&axis).unwrap_or(&nothing);
        let mut keys: Vec<&String> = own.keys().chain(told.keys()).collect();
        keys.sort();
        keys.dedup();
        for key in keys {
            let figures = |sums: &Sums| sums.get(key).copied().unwrap_or_default();
            compare(axis, key, &figures(&own), &figures(told), &history.side, findings);
        }
    }
}

fn compare(axis: Axis, key: &str, own: &Figures, told: &Figures, side: &str, findings: &mut Findings) {
    for (column, (own, told)) in COLUMNS.iter().zip(own.iter().zip(told)).filter(|(_, (own, told))| own != told) {
        let (property, unit) = match column.unit {
            Unit::Fen => (Property::LedgerSum, "fen"),
            Unit::Packs => (Property::PacksMisplaced, "packs"),
            Unit::Tickets => (Property::SlicesDiffer, "tickets"),
        };
        let what = format!("{} of {told} {unit} is reported, the events make {own}", column.field);
        let subject = format!("{} report by {}, {key}", column.report, axis.name());
        findings.add_weighted(property, own.abs_diff(*told), subject, format!("hub's report and {side}"), what);
    }
}
