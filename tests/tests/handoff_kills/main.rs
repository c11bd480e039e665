//! Real processes: kill -9 of the old node, the new node and the hub at each step of a handoff. Whoever dies, one node owns the outlet
//! afterwards, nothing is lost and nothing is counted twice.

mod processes;
mod scene;
mod steps;

use jikai_tests::process::wait_until;
use scene::{Role, Scene};
use steps::{Hold, Step};

/// A step that others may be too fast for is tried so often. Each try moves the outlet.
const TRIES_MAX: usize = 20;

#[test]
fn every_victim_at_every_step_leaves_one_owner_and_nothing_is_lost_or_doubled() {
    let mut scene = Scene::start();
    for step in Step::ALL {
        for victim in Role::ALL {
            strike(&mut scene, step, victim);
        }
    }
    // With three machines another one takes over from the leader that is killed.
    scene.grow_hub();
    for step in Step::OF_THREE_MACHINES {
        strike(&mut scene, step, Role::Hub);
    }
}

/// One case: the outlet works before, while it moves and somebody dies, and afterwards.
fn strike(scene: &mut Scene, step: Step, victim: Role) {
    let began = std::time::Instant::now();
    scene.case += 1;
    scene.sell();
    let (hold, tries) = reach(scene, step);
    assert_serving(scene, step, &hold);
    // Nobody knows what became of it: the node may answer, or die without a word.
    let (request, old) = (scene.receive_of_case(), scene.node(scene.number(Role::OldNode)).server.clone());
    let bytes = request.bytes();
    let asked = std::thread::spawn(move || old.exchange(&bytes));
    if step.hub_works() {
        scene.deposit_of_case();
    }
    let Hold { held, mut paused } = hold;
    scene.kill(victim, paused.contains(&Role::Hub));
    drop(held);
    paused.retain(|role| *role != victim);
    let hub_is_away = paused.contains(&Role::Hub);
    if hub_is_away {
        // Whoever starts again finds the step as it was: the hub is silent.
        scene.restart(victim);
        assert_serving(scene, step, &Hold { held: Vec::new(), paused: paused.clone() });
    }
    paused.iter().for_each(|role| scene.resume(*role));
    if !hub_is_away {
        scene.restart(victim);
    }
    if !step.hub_works() {
        scene.deposit_of_case();
    }
    let _ = asked.join().expect("it was sent");
    let answer = scene.send_until_done(&request);
    scene.settle();
    if !step.is_taken_back() {
        scene.owner = scene.number(Role::NewNode);
    }
    wait_until("the session at the owner", || scene.serves(scene.owner));
    assert_eq!(scene.send_until_done(&request), answer, "a repeated key gets the same answer");
    scene.count_received(&answer);
    scene.sell();
    scene.settle();
    scene.assert_all_is_right();
    let (words, took_ms, owner) = (step.words(), began.elapsed().as_millis(), scene.owner);
    let fen = scene.work.balance_fen;
    let victim = scene.name_of(victim);
    println!("{words} × {victim}: owner node {owner}, {fen} fen, held at try {tries}, {took_ms} ms");
}

/// Orders the outlet away and holds it at the step.
fn reach(scene: &mut Scene, step: Step) -> (Hold, usize) {
    for tries in 1..=TRIES_MAX {
        if let Some(hold) = step.reach(scene) {
            return (hold, tries);
        }
        scene.settle();
        scene.owner = scene.number(Role::NewNode);
        wait_until("the session at the owner", || scene.serves(scene.owner));
    }
    panic!("`{}` could not be held", step.words());
}

/// At no moment more than one node serves the outlet, and none that the step does not allow.
fn assert_serving(scene: &Scene, step: Step, hold: &Hold) {
    let asked = [Role::OldNode, Role::NewNode].into_iter().filter(|role| !hold.paused.contains(role));
    for role in asked {
        let wanted = step.serving() == Some(role);
        wait_until(&format!("{step:?}: {} to answer as it must", role.words()), || {
            scene.serves(scene.number(role)) == wanted
        });
    }
}
