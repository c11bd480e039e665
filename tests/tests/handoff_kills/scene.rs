//! Two nodes and a hub, an outlet that moves to and fro between them and works meanwhile, and what must hold of it.

use std::path::Path;

use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::ledger::AccountId;
use jikai_tests::https::{Answer, Outcome, Request};
use jikai_tests::machines::free_peer_address;
use jikai_tests::process::{done, wait_until};
use jikai_tests::running::{Node, Running};
use jikai_tests::stores::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::processes::HubOf;

/// First of the packs that are shipped for the cases; the world has dealt lower ones.
const PACK_FIRST: u32 = 101;
/// Packs, one a case. Their records make the outlet's rows go to the new node in several transactions (64 KiB each).
const PACKS: u32 = 40;

/// Who is killed, halted or asked, by its part in the handoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    OldNode,
    NewNode,
    Hub,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::OldNode, Role::NewNode, Role::Hub];

    pub fn words(self) -> &'static str {
        match self {
            Role::OldNode => "old node",
            Role::NewNode => "new node",
            Role::Hub => "hub",
        }
    }
}

/// What the outlet has done, to be found again wherever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub balance_fen: i64,
    pub packs_received: u64,
    pub tickets_sold: u64,
}

pub struct Scene {
    pub running: Running,
    pub second: Node,
    /// 1 or 2.
    pub owner: u16,
    pub case: u32,
    /// What must be found.
    pub work: Work,
    ticket: u64,
    /// `G0201-26001-`
    batch: String,
    folder: TempDir,
    /// Its machines.
    pub hub: HubOf,
}

impl Scene {
    pub fn start() -> Scene {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        // The packs of a whole batch are taken in within the patience, also on a busy machine.
        let peer = format!("\"{}\"", free_peer_address());
        let running = Running::start_with("test", &[("peer_listen", &peer)]);
        running.hub.command(&["import"], &["node", "--id", "2", "--name", "节点2"]);
        let more = [("strangers_per_second", "1000000"), ("terminal_requests_per_second", "1000000")];
        let second = Node::start_as(&folder.path().join("node2"), &running.hub, 2, &more);
        running.hub.await_node(2);
        let packs = running.terminal.ask("GET", "/v1/packs").json();
        let name = packs["packs"][0]["pack"].as_str().unwrap_or_else(|| panic!("{packs}"));
        let batch = name[..name.rfind('-').expect("a pack has a number") + 1].to_string();
        let work = Work { balance_fen: 0, packs_received: 0, tickets_sold: 0 };
        let mut scene = Scene { running, second, owner: 1, case: 0, work, ticket: 0, batch, folder, hub: HubOf::One };
        scene.ship();
        scene.deposit(3_000_000);
        wait_until("the deposit", || scene.balance_at(1) >= 3_000_000);
        scene.work.balance_fen = scene.balance_at(1);
        let first = scene.receive_of_case();
        wait_until("the first pack", || scene.ask(1, &first).is_some_and(|answer| answer.status == 200));
        scene.count_received(&scene.ask(1, &first).expect("it answers").json());
        scene
    }

    fn ship(&self) {
        let (game, batch) = self.batch.trim_end_matches('-').split_once('-').expect("game and batch");
        let (first, last) = (PACK_FIRST, PACK_FIRST + PACKS - 1);
        let line = format!("9001,{},{game},{batch},{first},{last}", self.running.terminal.outlet());
        self.import("shipments", "shipment_id,outlet_id,game_code,batch,first_pack,last_pack", &line);
    }

    /// A deposit of the bank, told to the hub.
    fn deposit(&mut self, fen: i64) {
        let (id, outlet) = (900_000 + self.case, self.running.terminal.outlet());
        let line = format!("{id},{outlet},{}.{:02}", fen / 100, fen % 100);
        self.import("deposits", "deposit_id,outlet_id,amount_yuan", &line);
        self.work.balance_fen += fen;
    }

    /// The deposit of this case, of an amount of its own.
    pub fn deposit_of_case(&mut self) {
        self.deposit(100 + i64::from(self.case));
    }

    fn import(&self, kind: &str, header: &str, line: &str) {
        let file = self.folder.path().join(format!("{kind}-{}.csv", self.case));
        std::fs::write(&file, format!("{header}\n{line}\n")).expect("the folder takes files");
        let file = file.to_str().expect("paths of tests are text");
        done("jikai-hub", &["import", "--data", text(&self.running.hub.data), kind, file]);
    }

    pub fn outlet(&self) -> u32 {
        self.running.terminal.outlet().parse().expect("an outlet has a number")
    }

    /// The number of the node that plays this part.
    pub fn number(&self, role: Role) -> u16 {
        match role {
            Role::OldNode => self.owner,
            Role::NewNode => 3 - self.owner,
            Role::Hub => 0,
        }
    }

    /// The victim as the listing names it.
    pub fn name_of(&self, victim: Role) -> &'static str {
        match (victim, &self.hub) {
            (Role::Hub, HubOf::Three { .. }) => "leader of three machines of the hub",
            _ => victim.words(),
        }
    }

    pub fn node(&self, number: u16) -> &Node {
        if number == 1 { &self.running.node } else { &self.second }
    }

    pub fn store(&self, role: Role) -> Store {
        match role {
            Role::Hub => Store::of_hub(&self.running.hub.data),
            _ => Store::of_node(&self.node(self.number(role)).data),
        }
    }

    /// The key of the outlet's account at the node of this part.
    pub fn account(&self, role: Role) -> i64 {
        let node = NodeId::new(self.number(role)).expect("1 or 2");
        AccountId::outlet(node, OutletId::new(self.outlet()).expect("it is one")).key()
    }

    /// What a node answers; nothing where it is dead.
    pub fn ask(&self, node: u16, request: &Request) -> Option<Answer> {
        match self.node(node).server.exchange(&request.bytes()) {
            Outcome::Answered(answer) => Some(answer),
            Outcome::Closed => None,
        }
    }

    /// Whether a node answers the outlet's session.
    pub fn serves(&self, node: u16) -> bool {
        let request = self.running.terminal.request("GET", "/v1/account");
        self.ask(node, &request).is_some_and(|answer| answer.status == 200)
    }

    pub fn order(&self) {
        let moves =
            json!({ "moves": [{ "outlet": self.running.terminal.outlet(), "to": self.number(Role::NewNode) }] });
        let request = self.running.hub.as_machine("POST", "/v1/handoffs").json(&moves);
        let answer = self.running.hub.server.ask(&request);
        assert_eq!((answer.status, answer.json()["moves"].as_u64()), (200, Some(1)), "{}", answer.json());
    }

    pub fn cancel(&self) {
        let answer = self.running.hub.server.ask(&self.running.hub.as_machine("DELETE", "/v1/handoffs"));
        assert_eq!((answer.status, answer.json()["moves"].as_u64()), (200, Some(1)), "{}", answer.json());
    }

    /// Sells the next ticket of the first pack at the node that serves the outlet.
    pub fn sell(&mut self) {
        self.ticket += 1;
        let ticket = format!("{}{:07}-{:03}", self.batch, PACK_FIRST, self.ticket);
        let request = self.running.terminal.mutation("/v1/tickets/sell", &format!("sold-ticket-{:06}", self.ticket));
        let request = request.json(&json!({ "tickets": [ticket] }));
        let answer = self.ask(self.owner, &request).expect("the owner works");
        assert_eq!(answer.status, 200, "{}", answer.json());
        self.work.tickets_sold += 1;
    }

    /// The operation of this case: a pack is received, paid for, and its commission credited, under a key of its own.
    pub fn receive_of_case(&self) -> Request {
        let (pack, key) = (PACK_FIRST + self.case, format!("received-in-case-{:04}", self.case));
        let packs = json!({ "packs": [format!("{}{pack:07}", self.batch)] });
        self.running.terminal.mutation("/v1/packs/receive", &key).json(&packs)
    }

    /// Sends it to whichever node takes it, as a terminal does that was sent on or got no answer.
    pub fn send_until_done(&self, request: &Request) -> Value {
        let mut done = None;
        wait_until("an answer to the repeated key", || {
            for answer in [1, 2].into_iter().filter_map(|node| self.ask(node, request)) {
                match (answer.status, answer.json()["code"].as_str()) {
                    (200, _) => done = Some(answer.json()),
                    (421, Some("outlet_moved" | "other_node")) | (503, _) => {}
                    _ => panic!("{}", answer.json()),
                }
            }
            done.is_some()
        });
        done.expect("it was waited for")
    }

    pub fn count_received(&mut self, answer: &Value) {
        assert_eq!(answer["packs"].as_array().map(Vec::len), Some(1), "{answer}");
        self.work.balance_fen += fen(&answer["commission_yuan"]) - fen(&answer["charge_yuan"]);
        self.work.packs_received += 1;
    }

    fn balance_at(&self, node: u16) -> i64 {
        let answer = self.ask(node, &self.running.terminal.request("GET", "/v1/account")).expect("the node works");
        assert_eq!(answer.status, 200, "{}", answer.json());
        fen(&answer.json()["balance_yuan"])
    }

    fn work_at(&self, node: u16) -> Work {
        let answer = self.ask(node, &self.running.terminal.request("GET", "/v1/packs?limit=200"));
        let packs = answer.expect("the node works").json();
        let packs = packs["packs"].as_array().unwrap_or_else(|| panic!("{packs}"));
        Work {
            balance_fen: self.balance_at(node),
            packs_received: packs.iter().filter(|pack| pack["state"] == "active").count() as u64,
            tickets_sold: packs.iter().filter_map(|pack| pack["tickets_sold"].as_u64()).sum(),
        }
    }

    /// Nothing is on its way, hub and nodes have heard all of each other.
    pub fn settle(&self) {
        wait_until("the end of the handoff", || {
            let view = self.running.hub.get("/v1/handoffs");
            view["waiting"] == 0 && view["under_way"] == json!([])
        });
        [1, 2].into_iter().for_each(|number| self.running.settle_with(self.node(number)));
    }

    /// One node serves the outlet, with all that it did; the other sends it on; hub and nodes agree; nothing is left over.
    pub fn assert_all_is_right(&self) {
        let (owner, other) = (self.owner, 3 - self.owner);
        wait_until("the session at the owner", || self.serves(owner));
        // Also one that started since the leave, and knows the token no more: its terminal stands in it.
        let account = self.running.terminal.request("GET", "/v1/account");
        let sent_on = self.ask(other, &account).expect("it works").json();
        assert_eq!((&sent_on["code"], &sent_on["node"]), (&json!("outlet_moved"), &json!(owner)), "{sent_on}");
        assert_eq!(self.work_at(owner), self.work);
        let hub = Store::of_hub(&self.running.hub.data);
        let outlet = self.outlet();
        assert_eq!(hub.number(&format!("SELECT node FROM outlet WHERE outlet = {outlet}")), i64::from(owner));
        assert_eq!(hub.number("SELECT sum(balance_fen) FROM account"), 0, "the ledger");
        let left_over = "SELECT (SELECT count(*) FROM quarantine) + (SELECT count(*) FROM exception) \
                         + (SELECT count(*) FROM handoff_request) + (SELECT count(*) FROM handoff)";
        assert_eq!(hub.number(left_over), 0, "quarantine, exceptions, requests and handoffs at the hub");
        self.assert_machines_agree();
        for number in [1, 2] {
            let data = &self.node(number).data;
            let left_over = "SELECT (SELECT count(*) FROM quarantine) + (SELECT count(*) FROM handoff)";
            assert_eq!(Store::of_node(data).number(left_over), 0, "quarantine and handoffs at node {number}");
            // The directory follows restarted nodes a moment later.
            wait_until("equal slices", || {
                let slice = self.running.hub.command(&["digest"], &["--node", &number.to_string()]);
                slice == done("jikai-node", &["digest", "--data", text(data)])
            });
        }
    }
}

fn fen(yuan: &Value) -> i64 {
    let text = yuan.as_str().unwrap_or_else(|| panic!("{yuan} is no amount"));
    text.replace('.', "").parse().unwrap_or_else(|_| panic!("{yuan} is no amount"))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}
