use jikai_schema::command::{ClusterCommand, Command, Outcome};
use jikai_schema::event::{HubLink, MachineState};
use jikai_schema::id::MachineNo;
use jikai_schema::time::TimeMs;

use crate::machine::{LeaseRow, MachineRow, generation};
use crate::province::*;

fn machine(number: u16) -> MachineNo {
    MachineNo::new(number).unwrap()
}

fn link(name: &str, address: &str, weight: u16) -> HubLink {
    HubLink { name: name.into(), address: address.parse().unwrap(), weight }
}

fn announce(number: u16, links: Vec<HubLink>) -> Command {
    let http = Some("10.0.0.1:8443".parse().unwrap());
    Command::Cluster(ClusterCommand::Announce { machine: machine(number), http, voter_only: false, links })
}

fn telecom(number: u16) -> Command {
    announce(number, vec![link("telecom", &format!("10.0.0.{number}:7400"), 10)])
}

fn invite() -> Command {
    Command::Cluster(ClusterCommand::Invite { voter_only: false })
}

fn drain(number: u16, draining: bool) -> Command {
    Command::Cluster(ClusterCommand::Drain { machine: machine(number), draining })
}

fn retire(number: u16) -> Command {
    Command::Cluster(ClusterCommand::Retire { machine: machine(number) })
}

fn take_lease(number: u16, run: u8, after: u64) -> Command {
    Command::Cluster(ClusterCommand::TakeLease { machine: machine(number), run: [run; 16], after })
}

fn state_of(hub: &Hub, number: u16) -> Option<MachineState> {
    MachineRow::list(&hub.state).unwrap().into_iter().find(|row| row.machine == number).unwrap().state
}

const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };
const EXISTING: Outcome = Outcome::Done { events: 0, existing: 1 };

#[test]
fn machines_get_numbers_that_are_never_given_again() {
    let mut hub = Hub::empty();
    assert_eq!(hub.ask(telecom(1)), DONE);
    assert_eq!(hub.ask(invite()), Outcome::Invited { machine: machine(2) });
    assert_eq!(hub.ask(telecom(2)), DONE);
    assert_eq!(hub.ask(retire(2)), DONE);
    assert_eq!(hub.ask(retire(2)), EXISTING);
    assert_eq!(hub.ask(invite()), Outcome::Invited { machine: machine(3) });
    assert_eq!(hub.refuse(telecom(2)).code(), "machine_retired");
    assert_eq!(hub.refuse(telecom(4)).code(), "unknown");
    assert_eq!(hub.refuse(retire(1)).code(), "last_machine", "the third has not run yet");
}

#[test]
fn where_a_machine_is_reached_is_told_once_and_replaced_as_a_whole() {
    let mut hub = Hub::set_up();
    let fed = |hub: &Hub| hub.count("SELECT count(*) FROM down_feed WHERE node = 1");
    let before = fed(&hub);
    let two = vec![link("unicom", "10.1.0.1:7400", 30), link("telecom", "10.0.0.1:7400", 10)];
    assert_eq!(hub.ask(announce(1, two.clone())), DONE);
    assert_eq!(hub.ask(announce(1, two.into_iter().rev().collect())), EXISTING, "their order means nothing");
    assert_eq!(hub.ask(announce(1, vec![link("unicom", "10.1.0.1:7400", 30)])), DONE);
    assert_eq!(hub.count("SELECT count(*) FROM hub_link"), 1);
    assert_eq!(fed(&hub), before + 2, "every node is told");
}

#[test]
fn links_that_nobody_can_use_are_refused() {
    let mut hub = Hub::empty();
    let bad = [
        link("", "10.0.0.1:7400", 1),
        link("a name that is longer than thirty-two bytes", "10.0.0.1:7400", 1),
        link("telecom", "10.0.0.1:7400", 0),
        link("telecom", "10.0.0.1:7400", 1_001),
        link("telecom", "0.0.0.0:7400", 1),
        link("telecom", "10.0.0.1:0", 1),
    ];
    for link in bad {
        assert_eq!(hub.refuse(announce(1, vec![link.clone()])).code(), "invalid_link", "{link:?}");
    }
    let twice = vec![link("telecom", "10.0.0.1:7400", 1), link("telecom", "10.0.0.2:7400", 1)];
    assert_eq!(hub.refuse(announce(1, twice)).code(), "invalid_link");
    let many = (0..9).map(|number| link(&number.to_string(), "10.0.0.1:7400", 1)).collect();
    assert_eq!(hub.refuse(announce(1, many)).code(), "too_many_links");
}

#[test]
fn a_machine_drains_and_comes_back_but_not_from_retirement() {
    let mut hub = Hub::empty();
    assert_eq!(hub.refuse(drain(1, true)).code(), "machine_not_announced");
    hub.ask(telecom(1));
    assert_eq!(hub.refuse(drain(1, true)).code(), "last_machine", "its nodes would have nowhere to go");
    hub.ask(invite());
    hub.ask(telecom(2));
    assert_eq!(hub.ask(drain(1, true)), DONE);
    assert_eq!(hub.ask(drain(1, true)), EXISTING);
    assert_eq!(hub.refuse(drain(2, true)).code(), "last_machine");
    assert_eq!(hub.refuse(retire(2)).code(), "last_machine");
    assert_eq!(state_of(&hub, 1), Some(MachineState::Draining));
    assert_eq!(hub.ask(telecom(1)), EXISTING, "a restart does not take it back");
    assert_eq!(state_of(&hub, 1), Some(MachineState::Draining));
    assert_eq!(hub.ask(drain(1, false)), DONE);
    hub.ask(retire(1));
    assert_eq!(hub.refuse(drain(1, false)).code(), "machine_retired");
}

#[test]
fn whoever_slept_takes_no_lease_and_its_results_are_refused() {
    let mut hub = Hub::empty();
    hub.ask(telecom(1));
    hub.ask(invite());
    hub.ask(telecom(2));
    let note = |fence, answers| Command::Cluster(ClusterCommand::NoteMachine { fence, machine: machine(1), answers });
    assert_eq!(hub.refuse(note(0, false)).code(), "lease_lost", "nobody holds one yet");
    assert_eq!(hub.ask(take_lease(1, 7, 0)), Outcome::Leased { fence: 1 });
    assert_eq!(hub.ask(take_lease(1, 7, 0)), Outcome::Leased { fence: 1 }, "the same run, asked again");
    assert_eq!(hub.ask(take_lease(2, 8, 1)), Outcome::Leased { fence: 2 });
    assert_eq!(hub.refuse(take_lease(1, 7, 1)).code(), "lease_lost");
    assert_eq!(hub.refuse(note(1, false)).code(), "lease_lost");
    assert_eq!(hub.ask(note(2, false)), DONE);
    assert_eq!(hub.ask(note(2, false)), EXISTING);
    assert_eq!(hub.ask(note(2, true)), DONE);
    assert_eq!(hub.ask(take_lease(2, 9, 2)), Outcome::Leased { fence: 3 }, "a restart is another run");
    assert_eq!(LeaseRow::read(&hub.state).unwrap().map(|lease| lease.fence), Some(3));
}

#[test]
fn a_machine_that_takes_over_alone_raises_the_generation_and_retires_the_others() {
    let mut hub = Hub::empty();
    hub.ask(telecom(1));
    hub.ask(invite());
    hub.ask(telecom(2));
    let said_at_ms = TimeMs::from_ms(NOW_MS);
    let raise = Command::Cluster(ClusterCommand::RaiseGeneration { machine: machine(2), said_at_ms });
    assert_eq!(generation(&hub.state).unwrap(), 1);
    assert_eq!(hub.ask(raise), DONE);
    assert_eq!(generation(&hub.state).unwrap(), 2);
    assert_eq!(state_of(&hub, 1), Some(MachineState::Retired));
    assert_eq!(state_of(&hub, 2), Some(MachineState::Serving));
}
