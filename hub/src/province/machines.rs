//! Several machines of one hub on this computer, each behind a relay, with real states.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jikai_schema::command::{Command, Outcome};
use jikai_schema::event::Actor;
use tempfile::TempDir;

use super::relay::Relay;
use super::{Running, set_up};
use crate::log::LogPosition;
use crate::raft::settings::Settings;

/// Upper bound of every wait: only a failure reaches it.
pub const LONG: Duration = Duration::from_secs(30);

/// Machines 1 to n, all voters, and others that wait.
pub struct Machines {
    settings: Settings,
    relays: BTreeMap<u16, Relay>,
    running: BTreeMap<u16, Running>,
}

impl Machines {
    /// Machines led by the first, over a province that has come to life.
    pub async fn set_up(count: u16, settings: &Settings) -> Self {
        let (relays, running) = (BTreeMap::new(), BTreeMap::new());
        let mut machines = Machines { settings: settings.clone(), relays, running };
        machines.seat(1).await;
        machines[1].member.found().await.unwrap();
        for machine in 2..=count {
            machines.seat(machine).await;
            machines.follow(machine).await;
            machines[1].member.cluster.promote(machine.into()).await.unwrap();
        }
        for command in set_up() {
            let outcome = machines.ask(1, command).await;
            assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
        machines
    }

    /// Starts a machine that belongs to no hub yet.
    pub async fn seat(&mut self, machine: u16) {
        self.relays.insert(machine, Relay::new().await);
        self.start(machine, Arc::new(tempfile::tempdir().unwrap())).await;
    }

    /// Stops a machine in good order; its files stay.
    pub async fn stop(&mut self, machine: u16) -> Arc<TempDir> {
        self.running.remove(&machine).unwrap().stop().await
    }

    /// Stops a machine in good order and starts it over its files.
    pub async fn restart(&mut self, machine: u16) {
        let data = self.stop(machine).await;
        self.start(machine, data).await;
    }

    /// The same, where it may be refused: the machine is gone then.
    pub async fn try_restart(&mut self, machine: u16) -> anyhow::Result<()> {
        let data = self.stop(machine).await;
        self.try_start(machine, data).await
    }

    /// Starts a machine over its files.
    pub async fn start(&mut self, machine: u16, data: Arc<TempDir>) {
        self.try_start(machine, data).await.unwrap();
    }

    async fn try_start(&mut self, machine: u16, data: Arc<TempDir>) -> anyhow::Result<()> {
        let relay = &self.relays[&machine];
        let seated = Running::seated(data, machine, relay.address.to_string(), self.settings.clone()).await?;
        relay.target(seated.member.cluster.local_address().unwrap());
        self.running.insert(machine, seated);
        Ok(())
    }

    /// Has the first machine take another one in, and waits until it has caught up.
    pub async fn follow(&self, machine: u16) {
        let address = self.peer_address(machine);
        self[1].member.cluster.add_learner(machine.into(), &address).await.unwrap();
    }

    /// Where the others reach it.
    pub fn peer_address(&self, machine: u16) -> String {
        self.relays[&machine].address.to_string()
    }

    /// Proposes through one of them.
    pub async fn ask(&self, machine: u16, command: Command) -> Outcome {
        self[machine].sequencer.propose(Actor::System, command).await.unwrap()
    }

    /// Waits until one of them has applied the log up to a place.
    pub async fn applied(&self, machine: u16, position: LogPosition) {
        let mut applied = self[machine].member.followed.applied.clone();
        tokio::time::timeout(LONG, applied.wait_for(|applied| *applied >= position)).await.unwrap().unwrap();
    }

    /// Nothing passes between this machine and the others.
    pub fn isolate(&self, machine: u16) {
        self.relays[&machine].cut(true);
        let own = self[machine].member.cluster.local_address().unwrap();
        self.relays.values().for_each(|relay| relay.block(own));
    }

    /// Everything passes again but between machine `away` and the others.
    pub fn heal_but(&self, away: u16) {
        let own = self[away].member.cluster.local_address().unwrap();
        for (machine, relay) in &self.relays {
            relay.unblock_all();
            relay.block(own);
            relay.cut(*machine == away);
        }
    }

    /// Everything passes again.
    pub fn heal(&self) {
        for relay in self.relays.values() {
            relay.cut(false);
            relay.unblock_all();
        }
    }
}

impl std::ops::Index<u16> for Machines {
    type Output = Running;

    fn index(&self, machine: u16) -> &Running {
        &self.running[&machine]
    }
}
