//! Terminals against a fake node: an honest one passes, each fault is survived, each lie is found.

mod fake_node;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;

use super::*;
use crate::client::{Endpoint, trust};
use crate::journal::{JournalWriter, read_journal};
use crate::printer::Pools;
use crate::seed::Seed;
use crate::world::{Plan, World, password, terminal_key};
use fake_node::{FakeNode, Fault};

const SEED: u64 = 5;

#[derive(Parser)]
struct Usual {
    #[command(flatten)]
    mix: Mix,
}

/// A day of a few terminals, played operation by operation.
struct Day {
    node: Arc<FakeNode>,
    world: Arc<World>,
    street: Arc<Street>,
    tally: Arc<Tally>,
    actors: Vec<Actor>,
    writer: JournalWriter,
    folder: tempfile::TempDir,
}

async fn begin(fault: Fault, mix: Mix) -> Day {
    let plan = Plan { seed: Seed(SEED), terminal_count: 22, node_count: 1, game_codes: vec!["G0201".to_owned()] };
    let world = Arc::new(World::make(&plan).unwrap());
    let pools = Arc::new(Pools::print(plan.seed, &world.games).unwrap());
    let (node, address, certificate) = FakeNode::start(world.clone(), pools.clone(), fault).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, certificate).unwrap();
    let tls = trust(&ca).unwrap();
    let (journal, writer) = Journal::create(&folder.path().join("day.jsonl")).unwrap();
    let tally = Arc::new(Tally::new().unwrap());
    let street = Arc::new(Street::new(&world, pools, 0..world.terminals.len(), false));
    let mix = Arc::new(mix);
    let actor = |terminal: &crate::world::Terminal| {
        let outlet = &world.outlets[terminal.outlet];
        let credentials = Credentials {
            terminal_id: terminal.id.clone(),
            operator_id: terminal.operator_id.clone(),
            password: password(plan.seed, &terminal.operator_id),
            key: terminal_key(plan.seed, &terminal.id),
            outlet_id: outlet.id.clone(),
            role: terminal.role.as_str(),
        };
        let endpoint = Endpoint::of_node(1, address, tls.clone()).unwrap();
        Actor {
            line: Line::new(Way::new(1, endpoint), credentials, tally.clone(), plan.seed.dice("line", &terminal.id)),
            street: street.clone(),
            outlet: terminal.outlet,
            node: 1,
            role: terminal.role,
            journal: journal.clone(),
            tally: tally.clone(),
            mix: mix.clone(),
            dice: plan.seed.dice("day", &terminal.id),
            run_id: Arc::from("test"),
            serial: 0,
            echo: None,
            newest: None,
        }
    };
    let actors = world.terminals.iter().map(actor).collect();
    Day { node, world, street, tally, actors, writer, folder }
}

fn usual() -> Mix {
    Usual::parse_from(["test"]).mix
}

impl Day {
    /// Each terminal does `count` things in turn.
    async fn play(&mut self, count: usize) {
        for _ in 0..count {
            for actor in &mut self.actors {
                if actor.dice.chance(actor.mix.drop_connection) {
                    actor.line.drop_connection();
                }
                let doing = actor.mix.draw(&mut actor.dice);
                let outcome = actor.perform(doing).await;
                actor.tally.count(outcome, Duration::from_millis(1));
                actor.repeat_on_purpose().await;
            }
        }
    }

    fn failed(&self) -> u64 {
        read(&self.tally.failed)
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[tokio::test]
async fn an_honest_node_passes_and_every_mutation_is_in_the_journal() {
    let mut day = begin(Fault::None, Mix { resend: 100, drop_connection: 20, ..usual() }).await;
    day.play(150).await;
    assert_eq!(day.failed(), 0, "seed {SEED}: {:#?}", day.tally.failures());
    assert!(day.tally.acked.load(Ordering::Relaxed) > 2_000);
    for (index, outlet) in day.world.outlets.iter().enumerate() {
        assert_eq!(day.street.shelf(index).balance_fen, Some(day.node.balance_fen(&outlet.id)), "outlet {}", outlet.id);
    }
    assert!(day.node.connections.load(Ordering::Relaxed) > 22, "no connection was ever dropped");
    let Day { node, actors, writer, folder, .. } = day;
    drop(actors);
    let written = tokio::task::spawn_blocking(|| writer.finish()).await.unwrap().unwrap();
    assert_eq!(written, node.applied.load(Ordering::Relaxed));
    let journal = read_journal(&folder.path().join("day.jsonl")).unwrap();
    for verb in [Verb::Receive, Verb::Return, Verb::Sell, Verb::Pay] {
        assert!(journal.iter().any(|entry| entry.verb == verb), "seed {SEED}: no {verb:?} in the journal");
    }
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_again_and_nothing_is_done_twice() {
    let mut day = begin(Fault::LosesEveryReply(9), usual()).await;
    day.play(10).await;
    assert_eq!(day.failed(), 0, "seed {SEED}: {:#?}", day.tally.failures());
    let (unanswered, resolved) = (read(&day.tally.unanswered), read(&day.tally.resolved));
    assert!(unanswered > 0 && resolved > 0 && resolved <= unanswered, "{unanswered} unanswered, {resolved} resolved");
}

#[tokio::test]
async fn a_key_that_was_forgotten_with_its_reply_is_a_failure() {
    let mut day = begin(Fault::ForgetsWhatItLost(9), usual()).await;
    day.play(10).await;
    assert!(day.failed() > 0, "seed {SEED}: what was done twice or refused was believed");
}

#[tokio::test]
async fn behind_an_outage_the_newest_reply_is_asked_for_again_and_must_be_the_same() {
    let mut whole = begin(Fault::DiesEvery(9), Mix { resend: 0, ..usual() }).await;
    whole.play(10).await;
    assert_eq!(whole.failed(), 0, "seed {SEED}: {:#?}", whole.tally.failures());
    assert!(read(&whole.tally.confirmed) > 0 && read(&whole.tally.unanswered) > 0);
    let mut forgetful = begin(Fault::DiesForgettingEvery(9), Mix { resend: 0, ..usual() }).await;
    forgetful.play(10).await;
    let failures = forgetful.tally.failures();
    assert!(failures.iter().any(|failure| failure.contains("repeat of")), "seed {SEED}: {failures:#?}");
}

#[tokio::test]
async fn a_node_that_was_killed_while_a_terminal_was_idle_must_remember_its_newest_reply_too() {
    let mut whole = begin(Fault::RestartsEvery(9), Mix { resend: 0, ..usual() }).await;
    whole.play(10).await;
    assert_eq!(whole.failed(), 0, "seed {SEED}: {:#?}", whole.tally.failures());
    assert!(read(&whole.tally.confirmed) > 0, "seed {SEED}: nothing was asked for again");
    let mut forgetful = begin(Fault::RestartsForgettingEvery(9), Mix { resend: 0, ..usual() }).await;
    forgetful.play(10).await;
    let failures = forgetful.tally.failures();
    assert!(failures.iter().any(|failure| failure.contains("repeat of")), "seed {SEED}: {failures:#?}");
}

#[tokio::test]
async fn a_session_at_its_end_is_opened_again_and_one_lost_before_it_is_a_failure() {
    let mut over = begin(Fault::ExpiresSessionsEvery(50), usual()).await;
    over.play(10).await;
    assert_eq!(over.failed(), 0, "seed {SEED}: {:#?}", over.tally.failures());
    let mut lost = begin(Fault::EndsSessionsEvery(50), usual()).await;
    lost.play(10).await;
    let failures = lost.tally.failures();
    assert!(failures.iter().any(|failure| failure.contains("lost before its end")), "seed {SEED}: {failures:#?}");
}

#[tokio::test]
async fn a_busy_node_is_asked_again() {
    let mut day = begin(Fault::IsBusyEvery(40), usual()).await;
    day.play(5).await;
    assert_eq!(day.failed(), 0, "seed {SEED}: {:#?}", day.tally.failures());
}

#[tokio::test]
async fn every_lie_is_found() {
    let lies = [
        Fault::PaysTooMuch,
        Fault::RepeatsDifferently,
        Fault::DeniesWinners,
        Fault::MiscountsMoney,
        Fault::MiscountsSales,
        Fault::MiscountsRows,
    ];
    for lie in lies {
        let mut day = begin(lie, Mix { resend: 500, ..usual() }).await;
        day.play(60).await;
        assert!(day.failed() > 0, "seed {SEED}: {lie:?} was not found");
    }
}
