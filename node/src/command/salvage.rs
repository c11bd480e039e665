//! `salvage`: what the old disk of a replaced node holds alone.
//!
//! The disk is never written to: the store is copied aside, with its WAL, and the copy is read. Every event of the log is checked
//! against its chain first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{BatchNames, Event, EventView};
use jikai_schema::time::TimeMs;
use jikai_sync::identity::create_private_dir;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::DataArg;
use crate::store::{OwnLog, STORE_FILE, StoreIdentity};

/// Events read in one run.
const RUN_EVENTS: usize = 4_096;
/// Beijing time is ahead of UTC by so much, all year. Seconds.
const BEIJING_S: i64 = 8 * 3_600;

#[derive(Debug, Args)]
pub(super) struct SalvageArgs {
    #[command(flatten)]
    pub(super) data: DataArg,
    #[command(flatten)]
    known: KnownAtHub,
    /// Chain behind that event at the hub, hex: proves that both are the same log.
    #[arg(long, requires = "hub_seq")]
    hub_hash: Option<String>,
    /// Where the copy of the store is put meanwhile [default: the system's folder for temporary files].
    #[arg(long)]
    work: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct KnownAtHub {
    /// The last event of the store that the hub has.
    #[arg(long)]
    hub_seq: Option<u64>,
    /// What `jikai-hub node show --json` printed.
    #[arg(long)]
    report: Option<PathBuf>,
}

/// What is needed of the hub's words about the node.
#[derive(Deserialize)]
struct NodeReport {
    node: u16,
    epoch: u32,
    up_next: u64,
    replacements: Vec<Replacement>,
}

#[derive(Deserialize)]
struct Replacement {
    epoch: u32,
    next_seq: u64,
    hash: String,
}

/// An event that never reached the hub.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Lost {
    seq: u64,
    at_ms: i64,
    /// Beijing time.
    at: String,
    kind: String,
    outlet: Option<String>,
    terminal: Option<String>,
    operator: Option<String>,
    /// The request that it answered, hex: whoever kept what was acknowledged finds it by this, also where it was repeated since.
    request: Option<String>,
    amount_fen: Option<i64>,
    event: serde_json::Value,
}

/// Events of a kind, or of an outlet.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
struct Sum {
    events: u64,
    amount_fen: i64,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    node: u16,
    environment: String,
    epoch: u32,
    /// The last event that the hub has.
    hub_seq: u64,
    /// The last event of the store whose chain is good.
    head_seq: u64,
    /// The first event that does not follow from the one before, if any: nothing behind it can be believed.
    damaged_at_seq: Option<u64>,
    lost: Vec<Lost>,
    by_kind: BTreeMap<String, Sum>,
    by_outlet: BTreeMap<String, Sum>,
}

pub(super) fn salvage(args: &SalvageArgs) -> anyhow::Result<()> {
    let copy = Copied::make(&args.data.data, args.work.as_deref())?;
    let store = Connection::open(copy.0.join(STORE_FILE)).context("open the copy of the store")?;
    let identity = StoreIdentity::load(&store).context("read whose store it is")?;
    let identity = identity.context("the store has no identity: it was never a node's")?;
    let (hub_seq, hub_hash) = known_at_hub(args, &identity)?;
    let findings = read(&store, &identity, hub_seq, hub_hash)?;
    match args.json {
        true => println!("{}", serde_json::to_string_pretty(&findings)?),
        false => print!("{}", text(&findings)),
    }
    Ok(())
}

/// A copy of a store, removed in the end.
struct Copied(PathBuf);

impl Copied {
    fn make(data: &Path, work: Option<&Path>) -> anyhow::Result<Self> {
        let folder = work.map_or_else(std::env::temp_dir, Path::to_owned);
        let copied = Copied(folder.join(format!("jikai-salvage-{}", uuid::Uuid::new_v4())));
        create_private_dir(&copied.0)?;
        // Without the index of the WAL (`-shm`): it is made anew from what the WAL itself says.
        for (name, is_needed) in [(STORE_FILE.to_owned(), true), (format!("{STORE_FILE}-wal"), false)] {
            let from = data.join(&name);
            if is_needed || from.exists() {
                std::fs::copy(&from, copied.0.join(&name)).with_context(|| format!("copy {}", from.display()))?;
            }
        }
        Ok(copied)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The last event of this store that the hub has, and the chain behind it where that is known.
fn known_at_hub(args: &SalvageArgs, identity: &StoreIdentity) -> anyhow::Result<(u64, Option<ChainHash>)> {
    if let Some(hub_seq) = args.known.hub_seq {
        return Ok((hub_seq, args.hub_hash.as_deref().map(read_hash).transpose()?));
    }
    let path = args.known.report.as_deref().context("say --hub-seq or --report")?;
    let report = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let report: NodeReport = serde_json::from_str(&report)
        .with_context(|| format!("{} is not what `jikai-hub node show --json` prints", path.display()))?;
    let node = identity.node.get();
    ensure!(report.node == node, "the report is about node {}, the store is node {node}'s", report.node);
    if report.epoch == identity.epoch {
        return Ok((report.up_next.saturating_sub(1), None));
    }
    // Where the store that came next began: whatever this one wrote from there on, the hub has not.
    let next = report.replacements.iter().find(|row| row.epoch == identity.epoch + 1);
    let next = next.with_context(|| format!("the report knows no store behind epoch {}", identity.epoch))?;
    Ok((next.next_seq.saturating_sub(1), Some(read_hash(&next.hash)?)))
}

fn read_hash(text: &str) -> anyhow::Result<ChainHash> {
    let bytes = hex::decode(text.trim()).ok().and_then(|bytes| ChainHash::from_slice(&bytes));
    bytes.context("a chain is 64 hex digits")
}

/// Reads the whole log, checks it, and gathers what lies behind `hub_seq`.
fn read(
    store: &Connection,
    identity: &StoreIdentity,
    hub_seq: u64,
    hub_hash: Option<ChainHash>,
) -> anyhow::Result<Findings> {
    let (log, names) = (OwnLog(store), BatchNames::load(store).context("read the names of batches")?);
    let mut findings = Findings {
        node: identity.node.get(),
        environment: identity.environment.clone(),
        epoch: identity.epoch,
        hub_seq,
        head_seq: 0,
        damaged_at_seq: None,
        lost: Vec::new(),
        by_kind: BTreeMap::new(),
        by_outlet: BTreeMap::new(),
    };
    let mut hash = ChainHash::GENESIS;
    'log: loop {
        let run = log.read(findings.head_seq + 1, RUN_EVENTS, usize::MAX).context("read the log")?;
        if run.is_empty() {
            break;
        }
        for stored in run {
            let (seq, prev) = (findings.head_seq + 1, hash);
            let event = codec::decode_event(&stored.bytes);
            hash = prev.next(&stored.bytes);
            let Some(event) = event.ok().filter(|_| (stored.seq, stored.hash) == (seq, hash)) else {
                findings.damaged_at_seq = Some(seq);
                break 'log;
            };
            findings.head_seq = seq;
            if seq == hub_seq && hub_hash.is_some_and(|hub_hash| hub_hash != hash) {
                bail!("event {seq} has another chain here than at the hub: this is not the store that was replaced");
            }
            if seq > hub_seq {
                findings.add(lost(&event, &EventView::new(&event, &[], prev, &names)));
            }
        }
    }
    Ok(findings)
}

impl Findings {
    fn add(&mut self, lost: Lost) {
        let outlet = lost.outlet.clone().unwrap_or_default();
        for sum in [self.by_kind.entry(lost.kind.clone()).or_default(), self.by_outlet.entry(outlet).or_default()] {
            sum.events += 1;
            sum.amount_fen = sum.amount_fen.saturating_add(lost.amount_fen.unwrap_or(0));
        }
        self.lost.push(lost);
    }
}

fn lost(event: &Event, view: &EventView) -> Lost {
    let acting = event.actor.terminal();
    let said = view.event["outlet"].as_str().map(str::to_owned);
    Lost {
        seq: event.key.seq,
        at_ms: event.at_ms.ms(),
        at: beijing(event.at_ms),
        kind: view.event["kind"].as_str().unwrap_or_default().to_owned(),
        outlet: said.or_else(|| acting.map(|(terminal, _)| terminal.outlet().to_string())),
        terminal: acting.map(|(terminal, _)| terminal.to_string()),
        operator: acting.map(|(_, operator)| operator.to_string()),
        request: view.request.clone(),
        amount_fen: event.body.amount().map(|amount| amount.fen()),
        event: view.event.clone(),
    }
}

fn beijing(at_ms: TimeMs) -> String {
    let second = (at_ms.ms().div_euclid(1_000) + BEIJING_S).rem_euclid(86_400);
    format!("{} {:02}:{:02}:{:02}", at_ms.business_day(), second / 3_600, second / 60 % 60, second % 60)
}

fn yuan(amount_fen: i64) -> String {
    jikai_schema::money::Money::from_fen(amount_fen).to_string()
}

/// For people: Chinese first, then English.
fn text(findings: &Findings) -> String {
    use core::fmt::Write;
    let Findings { node, epoch, hub_seq, head_seq, lost, .. } = findings;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "节点 {node}(第 {epoch} 代存储)旧盘核查 / What the old store of node {node}, epoch {epoch}, holds alone"
    );
    match findings.damaged_at_seq {
        None => {
            let _ = writeln!(out, "哈希链完整:1 至 {head_seq} / The chain is whole: events 1 to {head_seq}");
        }
        Some(seq) => {
            let _ = writeln!(
                out,
                "哈希链在第 {seq} 条处损坏,其后不可采信 / THE CHAIN IS BROKEN at event {seq}: nothing behind it can be believed"
            );
        }
    }
    let _ = writeln!(out, "中心已收到至第 {hub_seq} 条 / The hub has events up to {hub_seq}");
    if head_seq < hub_seq {
        let _ = writeln!(out, "此副本早于中心所有 / This copy is older than what the hub has");
    }
    let _ = writeln!(out, "未到达中心:{} 条 / Never reached the hub: {} events", lost.len(), lost.len());
    for event in lost {
        let amount = event.amount_fen.map_or(String::new(), |amount_fen| format!("{} 元/yuan", yuan(amount_fen)));
        let (name, outlet) = (kind_in_chinese(&event.kind), event.outlet.as_deref().unwrap_or("-"));
        let _ = writeln!(out, "{:>8}  {}  {outlet:<8}  {name} / {}  {amount}", event.seq, event.at, event.kind);
    }
    for (kind, sum) in &findings.by_kind {
        let name = kind_in_chinese(kind);
        let _ = writeln!(out, "合计 / sum: {name} / {kind}: {} × , {} 元/yuan", sum.events, yuan(sum.amount_fen));
    }
    for (outlet, sum) in findings.by_outlet.iter().filter(|(outlet, _)| !outlet.is_empty()) {
        let _ = writeln!(out, "网点 / outlet {outlet}: {} × , {} 元/yuan", sum.events, yuan(sum.amount_fen));
    }
    out
}

fn kind_in_chinese(kind: &str) -> &'static str {
    match kind {
        "pack_checked_in" => "整本登记",
        "pack_returned" => "整本退回",
        "ticket_sold" => "售票",
        "ticket_claimed" => "兑奖",
        "ticket_scratched" => "刮开",
        "tickets_inquired" => "查询",
        "wrong_code_presented" => "保安码错误",
        "impossible_ticket_presented" => "不存在的票",
        "session_opened" => "登录",
        "session_closed" => "退出",
        "login_failed" => "登录失败",
        "right_refused" | "access_refused" => "无权操作",
        "machine_command_run" => "维护命令",
        _ => "其他",
    }
}

#[cfg(test)]
mod tests {
    use jikai_schema::event::{Actor, EventBody, EventKey, TicketEvent};
    use jikai_schema::id::{BatchNo, NodeId, OutletId, PackId};
    use jikai_schema::money::Money;
    use jikai_schema::store::Statements;

    use super::*;
    use crate::store::{LogHead, append, open};

    /// A store with sales of 2.00 yuan, and the chain behind each.
    fn store(data: &Path, sales: u64) -> (StoreIdentity, Vec<ChainHash>) {
        let store = open(data).unwrap();
        let node = NodeId::new(1).unwrap();
        let identity = StoreIdentity { environment: "test".into(), node, incarnation: [1; 16], epoch: 1 };
        identity.create(&store).unwrap();
        let mut head = LogHead { seq: 0, hash: ChainHash::GENESIS, at_ms: TimeMs::from_ms(0) };
        let mut chain = vec![head.hash];
        for seq in 1..=sales {
            let pack = PackId::new(BatchNo::new(1).unwrap(), 1).unwrap();
            let (ticket, outlet) = (pack.ticket(seq as u16).unwrap(), OutletId::new(13_010_001).unwrap());
            let event = Event {
                key: EventKey { origin: node, seq },
                at_ms: TimeMs::from_ms(seq as i64),
                actor: Actor::System,
                request: None,
                body: EventBody::Ticket(TicketEvent::Sold { ticket, outlet, price: Money::from_fen(200) }),
            };
            let bytes = codec::encode_event(&event).unwrap();
            head = append(&Statements::new(&store), &head, &event, &bytes).unwrap();
            chain.push(head.hash);
        }
        (identity, chain)
    }

    fn read_copy(data: &Path, identity: &StoreIdentity, hub_seq: u64, hash: ChainHash) -> anyhow::Result<Findings> {
        let copy = Copied::make(data, Some(data))?;
        read(&Connection::open(copy.0.join(STORE_FILE))?, identity, hub_seq, Some(hash))
    }

    #[test]
    fn exactly_what_lies_behind_the_hubs_place_is_listed_and_summed() {
        let data = tempfile::tempdir().unwrap();
        let (identity, chain) = store(data.path(), 5);
        let found = read_copy(data.path(), &identity, 3, chain[3]).unwrap();
        assert_eq!(found.lost.iter().map(|lost| lost.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(found.by_kind["ticket_sold"], Sum { events: 2, amount_fen: 400 });
        assert_eq!(found.by_outlet["13010001"], Sum { events: 2, amount_fen: 400 });
        assert_eq!((found.head_seq, found.damaged_at_seq), (5, None));
        let text = text(&found);
        assert!(text.contains("未到达中心:2 条") && text.contains("售票 / ticket_sold  2.00"), "{text}");
        let nothing = read_copy(data.path(), &identity, 5, chain[5]).unwrap();
        assert!(nothing.lost.is_empty());
        assert_eq!(
            std::fs::read_dir(data.path()).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(),
            0
        );
    }

    #[test]
    fn another_history_is_refused_and_a_broken_chain_is_told() {
        let data = tempfile::tempdir().unwrap();
        let (identity, chain) = store(data.path(), 5);
        let other = read_copy(data.path(), &identity, 3, chain[2]).unwrap_err();
        assert!(other.to_string().contains("another chain"), "{other}");
        let damage = "UPDATE own_log SET bytes = (SELECT bytes FROM own_log WHERE seq = 1) WHERE seq = 4";
        open(data.path()).unwrap().execute(damage, []).unwrap();
        let found = read_copy(data.path(), &identity, 2, chain[2]).unwrap();
        assert_eq!((found.head_seq, found.damaged_at_seq, found.lost.len()), (3, Some(4), 1));
        assert!(text(&found).contains("BROKEN at event 4"));
    }

    #[test]
    fn the_time_is_beijings() {
        assert_eq!(beijing(TimeMs::from_ms(1_790_000_000_000)), "2026-09-21 22:13:20");
    }
}
