//! The steps of a handoff, and how each is held while somebody is killed.
//!
//! A step is what is durable where. It is held by halting (SIGSTOP) whoever would take the next one, or by holding the database that
//! it would write to; nothing in the product knows of it.

use jikai_tests::process::wait_until;
use jikai_tests::stores::{Held, Store};

use super::scene::{Role, Scene};

/// In their order. What follows one another within one entry of the hub's log (`hand_over` in hub/src/machine/handoff.rs: the word of the
/// old node, requests and rows for the new one, arrival, leave, the next order) or one transaction of a node (`release` in
/// node/src/writer/batch.rs: requests listed and the outlet released) is one step: a kill falls before it or behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Ordered,
    OrderAtOldNode,
    Released,
    InLogOfHub,
    Moved,
    RowsAtNewNode,
    LeftFirst,
    ArrivedFirst,
    Cancelled,
    Returned,
}

/// A step that is held.
pub struct Hold {
    pub held: Vec<Held>,
    pub paused: Vec<Role>,
}

impl Step {
    pub const ALL: [Step; 10] = [
        Step::Ordered,
        Step::OrderAtOldNode,
        Step::Released,
        Step::InLogOfHub,
        Step::Moved,
        Step::RowsAtNewNode,
        Step::LeftFirst,
        Step::ArrivedFirst,
        Step::Cancelled,
        Step::Returned,
    ];

    /// Those that can be held where the hub has three machines. The others need a hub that stops at one entry, or loses what it was sent: of
    /// three machines the others go on.
    pub const OF_THREE_MACHINES: [Step; 7] = [
        Step::Ordered,
        Step::OrderAtOldNode,
        Step::Released,
        Step::Moved,
        Step::RowsAtNewNode,
        Step::LeftFirst,
        Step::ArrivedFirst,
    ];

    pub fn words(self) -> &'static str {
        match self {
            Step::Ordered => "ordered at the hub, the old node has not heard",
            Step::OrderAtOldNode => "ordered at the old node, not released",
            Step::Released => "requests listed and released at the old node, the hub has not heard",
            Step::InLogOfHub => "release in the hub's log, not in its state",
            Step::Moved => "requests and rows moved, arrived, left at the hub; no node has heard",
            Step::RowsAtNewNode => "rows at the new node, not arrived",
            Step::LeftFirst => "left at the old node, not arrived at the new one",
            Step::ArrivedFirst => "arrived at the new node, not left at the old one",
            Step::Cancelled => "released at the old node, cancelled at the hub",
            Step::Returned => "returned at the hub, the old node has not heard",
        }
    }

    /// Whether the order was taken back.
    pub fn is_taken_back(self) -> bool {
        matches!(self, Step::Cancelled | Step::Returned)
    }

    /// Whether the hub takes something in while the step is held.
    pub fn hub_works(self) -> bool {
        !matches!(self, Step::Released | Step::InLogOfHub | Step::RowsAtNewNode)
    }

    /// Who answers the outlet's session while the step is held; a halted node answers nobody.
    pub fn serving(self) -> Option<Role> {
        match self {
            Step::OrderAtOldNode => Some(Role::OldNode),
            Step::ArrivedFirst => Some(Role::NewNode),
            _ => None,
        }
    }

    /// Orders the outlet away and holds it at this step. `None` where everybody was faster: then the outlet arrives.
    pub fn reach(self, scene: &mut Scene) -> Option<Hold> {
        match self {
            Step::Ordered => {
                scene.pause(Role::OldNode);
                scene.order();
                assert_eq!(scene.running.hub.get("/v1/handoffs")["under_way"][0]["state"], "ordered");
                assert_eq!(scene.store(Role::OldNode).number("SELECT count(*) FROM handoff"), 0);
                Some(Hold { held: Vec::new(), paused: vec![Role::OldNode] })
            }
            Step::OrderAtOldNode => Some(Hold { held: vec![order_at_old_node(scene)?], paused: Vec::new() }),
            Step::Released => {
                released(scene)?;
                Some(Hold { held: Vec::new(), paused: vec![Role::Hub] })
            }
            Step::InLogOfHub => in_log_of_hub(scene),
            Step::Moved => {
                released(scene)?;
                let old = scene.store(Role::OldNode).hold();
                scene.pause(Role::NewNode);
                scene.resume(Role::Hub);
                wait_until_moved_at_hub(scene);
                assert_eq!(scene.store(Role::NewNode).number(&outlet_rows(scene)), 0);
                Some(Hold { held: vec![old], paused: vec![Role::NewNode] })
            }
            Step::RowsAtNewNode => rows_at_new_node(scene),
            Step::LeftFirst => {
                scene.pause(Role::NewNode);
                scene.order();
                let left = scene.store(Role::OldNode);
                wait_until("the leave of the old node", || left.number(&outlet_rows(scene)) == 0);
                assert_eq!(scene.store(Role::NewNode).number(&outlet_rows(scene)), 0);
                Some(Hold { held: Vec::new(), paused: vec![Role::NewNode] })
            }
            Step::ArrivedFirst => {
                released(scene)?;
                let old = scene.store(Role::OldNode).hold();
                scene.resume(Role::Hub);
                let new = scene.store(Role::NewNode);
                let arrived = balance_at(scene, Role::NewNode);
                wait_until("the arrival", || new.number(&arrived) > 0);
                assert_eq!(scene.store(Role::OldNode).number(&outlet_rows(scene)), 1);
                Some(Hold { held: vec![old], paused: Vec::new() })
            }
            Step::Cancelled => cancelled(scene),
            Step::Returned => {
                cancelled(scene)?;
                let (node, old) = (scene.number(Role::OldNode), scene.store(Role::OldNode));
                let released = old.number("SELECT max(seq) FROM own_log");
                let held = old.hold();
                scene.resume(Role::OldNode);
                let hub = scene.store(Role::Hub);
                let taken_in = format!("SELECT next_seq > {released} FROM node_cursor WHERE node = {node}");
                wait_until("the release at the hub", || hub.number(&taken_in) == 1);
                Some(Hold { held: vec![held], paused: Vec::new() })
            }
        }
    }
}

fn outlet_rows(scene: &Scene) -> String {
    format!("SELECT count(*) FROM outlet WHERE outlet = {}", scene.outlet())
}

/// 1 once the outlet was let go of.
fn release(scene: &Scene) -> String {
    format!("SELECT released FROM handoff WHERE outlet = {}", scene.outlet())
}

fn balance_at(scene: &Scene, role: Role) -> String {
    format!("SELECT balance_fen FROM account WHERE account = {}", scene.account(role))
}

/// The order is in the old node's store, and the store is held before the release is written.
fn order_at_old_node(scene: &mut Scene) -> Option<Held> {
    let (outlet, old) = (scene.outlet(), scene.store(Role::OldNode));
    scene.order();
    old.hold_where(
        &format!("SELECT count(*) FROM handoff WHERE outlet = {outlet} AND released = 0"),
        &format!(
            "SELECT (SELECT count(*) FROM handoff WHERE outlet = {outlet} AND released = 1) \
             + (SELECT count(*) = 0 FROM outlet WHERE outlet = {outlet})"
        ),
    )
}

/// The release is in the old node's log; the hub is halted.
fn released(scene: &mut Scene) -> Option<()> {
    let held = order_at_old_node(scene)?;
    scene.pause(Role::Hub);
    drop(held);
    let (released, old) = (release(scene), scene.store(Role::OldNode));
    wait_until("the release at the old node", || old.number(&released) == 1);
    let at_hub = scene.store(Role::Hub).number(&released);
    assert_eq!(at_hub, 0, "the hub has heard of it");
    Some(())
}

/// The hub's log holds the release; its state is held, so that it cannot apply it. Where an entry of somebody else's (a job's) came
/// first, the release waits behind that one.
fn in_log_of_hub(scene: &mut Scene) -> Option<Hold> {
    let old = order_at_old_node(scene)?;
    let (released, store) = (release(scene), scene.store(Role::OldNode));
    let state = scene.store(Role::Hub).hold();
    drop(old);
    wait_until("the release at the old node", || store.number(&released) == 1);
    let event: String = store.newest_event().iter().map(|byte| format!("{byte:02x}")).collect();
    let log = Store::of_hub_log(&scene.running.hub.data);
    let applied = scene.store(Role::Hub).number("SELECT log_index FROM replicated");
    let of_release = format!("SELECT count(*) FROM entry WHERE instr(payload, x'{event}') > 0");
    let newer = format!("SELECT count(*) FROM entry WHERE log_index > {applied}");
    let mut is_in_log = false;
    wait_until("an entry in the hub's log", || {
        let is_newer = log.number(&newer) > 0;
        is_in_log = is_newer && log.number(&of_release) == 1;
        is_newer
    });
    assert_eq!(scene.store(Role::Hub).number(&released), 0, "the hub has applied it");
    is_in_log.then(|| Hold { held: vec![state], paused: Vec::new() })
}

fn wait_until_moved_at_hub(scene: &Scene) {
    let (hub, outlet, to) = (scene.store(Role::Hub), scene.outlet(), scene.number(Role::NewNode));
    let moved = format!("SELECT node = {to} FROM outlet WHERE outlet = {outlet}");
    wait_until("the move at the hub", || hub.number(&moved) == 1);
}

/// Some of the rows are at the new node, in one of its transactions; the arrival comes with a later one.
fn rows_at_new_node(scene: &mut Scene) -> Option<Hold> {
    scene.order();
    let (rows, balance) = (outlet_rows(scene), balance_at(scene, Role::NewNode));
    let is_so = format!("SELECT ({rows}) AND coalesce(({balance}), 0) = 0");
    let held = scene.store(Role::NewNode).hold_where(&is_so, &format!("SELECT coalesce(({balance}), 0) > 0"))?;
    scene.pause(Role::Hub);
    let new = scene.number(Role::NewNode);
    wait_until("the new node to serve nobody", || !scene.serves(new));
    // The arrival may lie in its memory already; it dies with it.
    scene.pause(Role::NewNode);
    Some(Hold { held: vec![held], paused: vec![Role::Hub, Role::NewNode] })
}

/// The release is in the old node's log, and the hub, which lost it on the way, has taken the order back.
fn cancelled(scene: &mut Scene) -> Option<Hold> {
    released(scene)?;
    scene.pause(Role::OldNode);
    // With it goes what it was sent and has not read.
    scene.kill(Role::Hub, true);
    scene.restart(Role::Hub);
    scene.cancel();
    Some(Hold { held: Vec::new(), paused: vec![Role::OldNode] })
}
