//! The machines of the hub: made, joined, started, killed, asked. With several, each is a process with a data directory of its
//! own at fixed addresses; where a fault needs it, relays lie before its links or before its peers.

mod digests;
mod kept;
mod ports;
mod program;
mod status;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::Instant;

use super::Family;
use super::cluster::{run, value};
use super::relay::{Block, Relay, Way};
use crate::client::{Endpoint, Service, trust};

pub use digests::Difference;
pub use kept::KeptMachine;
pub use program::HUB_NICENESS;
pub(super) use program::at_hub;
pub use status::Status;

/// Names of the two links of a machine.
pub const LINKS: [&str; 2] = ["telecom", "unicom"];
/// Time for one question about the cluster: who does not answer by then is asked later.
const STATUS_LIMIT: Duration = Duration::from_secs(2);
/// Time for another question.
const ASK_LIMIT: Duration = Duration::from_secs(60);
/// Time for a machine that was taken in to get its vote, where the order that takes it in did not give it one.
const VOTE_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks at the cluster.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What lies in the path, besides the machines themselves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wiring {
    /// A relay before each of two links.
    pub has_link_relays: bool,
    /// A relay before the address at which peers call.
    pub has_peer_relays: bool,
    /// Whether there will be more than one machine: one alone needs no address for peers.
    pub has_peers: bool,
    /// Entries after which machines compare their tables; `None`: as seldom as an operator wants it.
    pub compare_entries: Option<u32>,
}

/// One machine.
#[derive(Debug)]
pub struct Machine {
    /// From 1.
    pub number: u16,
    /// Its data directory.
    pub data: PathBuf,
    /// Whether it serves nobody.
    pub is_voter_only: bool,
    /// Whether its process runs.
    pub is_up: bool,
    http: SocketAddr,
    sync: SocketAddr,
    peer: SocketAddr,
    peer_relay: Option<Relay>,
    link_relays: Vec<Relay>,
}

/// All machines that belong to the hub now.
#[derive(Debug)]
pub struct Machines {
    binary: PathBuf,
    /// The folder in which their data directories lie.
    folder: PathBuf,
    wiring: Wiring,
    list: Vec<Machine>,
    /// Machines that ever were: a number is not used again.
    made: u16,
}

impl Machine {
    /// A machine that is not made yet.
    async fn plan(number: u16, data: PathBuf, is_voter_only: bool, wiring: Wiring) -> Result<Self> {
        let (http, sync, peer) = (ports::free_address()?, ports::free_address()?, ports::free_address()?);
        let mut link_relays = Vec::new();
        if wiring.has_link_relays && !is_voter_only {
            for _ in LINKS {
                link_relays.push(Relay::start(ports::free_address()?, sync).await?);
            }
        }
        let peer_relay = match wiring.has_peer_relays {
            true => Some(Relay::start(ports::free_address()?, peer).await?),
            false => None,
        };
        Ok(Machine { number, data, is_voter_only, is_up: false, http, sync, peer, peer_relay, link_relays })
    }

    /// The name of its process.
    pub fn name(&self) -> String {
        process_name(self.number)
    }

    /// Where its peers call it.
    pub fn peer_address(&self) -> SocketAddr {
        self.peer_relay.as_ref().map_or(self.peer, |relay| relay.address)
    }

    /// Where nodes call it, a link each.
    fn links(&self) -> Vec<SocketAddr> {
        match self.link_relays.is_empty() {
            true => vec![self.sync],
            false => self.link_relays.iter().map(|relay| relay.address).collect(),
        }
    }

    fn address_options(&self, wiring: Wiring) -> Vec<String> {
        let mut options = vec!["--listen".to_owned(), self.http.to_string()];
        options.extend(["--sync-listen".to_owned(), self.sync.to_string()]);
        if wiring.has_peers {
            options.extend(["--peer-listen".to_owned(), self.peer.to_string()]);
        }
        if wiring.has_peer_relays {
            options.extend(["--peer-address".to_owned(), self.peer_address().to_string()]);
        }
        if wiring.has_link_relays && !self.is_voter_only {
            for (name, address) in LINKS.iter().zip(self.links()) {
                options.extend(["--link".to_owned(), format!("{name}={address}")]);
            }
        }
        options
    }

    /// Has the machine compare its tables with the others' often, where that is wanted. Those that join take over the settings of the
    /// first.
    fn compare_often(&self, wiring: Wiring) -> Result<()> {
        let Some(entries) = wiring.compare_entries else { return Ok(()) };
        let path = self.data.join("hub.toml");
        let settings = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let (usual, often) = ("digest_entries = 20000\n", format!("digest_entries = {entries}\n"));
        ensure!(settings.contains(usual), "{} does not say how often tables are compared", path.display());
        std::fs::write(&path, settings.replace(usual, &often)).with_context(|| format!("write {}", path.display()))
    }

    /// A client of its API with its administrator's token; each try may take `limit`.
    fn service(&self, limit: Duration) -> Result<Service> {
        let path = self.data.join("admin.token");
        let token =
            std::fs::read_to_string(&path).with_context(|| format!("read the hub's token {}", path.display()))?;
        let endpoint = Endpoint::of_hub(self.http, trust(&self.data.join("ca").join("ca.pem"))?)?;
        Ok(Service::new(endpoint, Some(token.trim().to_owned()), limit))
    }

    fn is_asked(&self) -> bool {
        self.is_up && !self.is_voter_only
    }
}

/// The name of a machine's process.
pub fn process_name(number: u16) -> String {
    format!("hub-{number}")
}

impl Machines {
    /// Makes the first machine in `folder`/hub and starts it. `options` are those of `init` besides its addresses.
    pub async fn found(
        binary: &Path,
        folder: &Path,
        wiring: Wiring,
        options: &[String],
        family: &mut Family,
    ) -> Result<Self> {
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let machine = Machine::plan(1, kept::data_of(&folder, 1), false, wiring).await?;
        let mut init = at_hub(&binary, "init", &machine.data);
        init.args(machine.address_options(wiring)).args(options);
        run(init).await.context("initialise the hub")?;
        machine.compare_often(wiring)?;
        let mut machines = Machines { binary, folder, wiring, list: vec![machine], made: 1 };
        machines.start(1, family).await?;
        Ok(machines)
    }

    /// Makes the next machine, takes it in as a voter, and waits until it is one. Returns its number.
    pub async fn join(&mut self, is_voter_only: bool, family: &mut Family) -> Result<u16> {
        let number = self.made + 1;
        let data = kept::data_of(&self.folder, number);
        let machine = Machine::plan(number, data, is_voter_only, self.wiring).await?;
        let (invitation, code) =
            (self.folder.join(format!("invitation-{number}")), self.folder.join(format!("code-{number}")));
        let mut invite = Command::new(&self.binary);
        invite.args(["cluster", "invite", "--data"]).arg(&self.front()?.data);
        invite.arg("--out").arg(&invitation).arg("--code-file").arg(&code);
        if is_voter_only {
            invite.arg("--voter-only");
        }
        run(invite).await.with_context(|| format!("invite machine {number}"))?;
        let mut join = at_hub(&self.binary, "join", &machine.data);
        join.arg("--invitation").arg(&invitation).arg("--code-file").arg(&code);
        join.args(machine.address_options(self.wiring));
        let told = run(join).await.with_context(|| format!("make machine {number}"))?;
        let given = told.lines().find_map(|line| line.trim().strip_prefix("machine="));
        ensure!(given == Some(&number.to_string()), "machine {number} was to join, and `join` printed: {told}");
        let address = machine.peer_address().to_string();
        self.list.push(machine);
        self.made = number;
        self.start(number, family).await?;
        self.take_in(number, &address).await?;
        Ok(number)
    }

    /// Takes a machine in and gives it a vote. `add` does both; where the second was refused because the machine, which
    /// has caught up, did not answer within a second, an operator asks for it again.
    async fn take_in(&self, number: u16, address: &str) -> Result<()> {
        let Err(first) = self.order("add", number, &["--address", address]).await else { return Ok(()) };
        eprintln!("asked again for a vote: {first:#}");
        let deadline = Instant::now() + VOTE_LIMIT;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.order("promote", number, &[]).await {
                Ok(()) => return Ok(()),
                Err(last) if Instant::now() >= deadline => return Err(last.context(format!("behind {first:#}"))),
                Err(_) => {}
            }
        }
    }

    /// Starts the process of a machine and waits until it is ready.
    pub async fn start(&mut self, number: u16, family: &mut Family) -> Result<()> {
        self.spawn(number, family)?;
        self.wait_ready(number, family).await
    }

    /// Starts the process of a machine. More than one that was down: none is ready before enough of them run.
    pub fn spawn(&mut self, number: u16, family: &mut Family) -> Result<()> {
        let binary = self.binary.clone();
        let machine = self.machine_mut(number)?;
        let mut start = at_hub(&binary, "run", &machine.data);
        if machine.is_voter_only {
            start.arg("--voter-only");
        }
        family.start(&machine.name(), start).map(drop)
    }

    /// Waits for a process that was started.
    pub async fn wait_ready(&mut self, number: u16, family: &mut Family) -> Result<()> {
        let machine = self.machine_mut(number)?;
        let ready = family.child(&machine.name())?.wait_ready().await?;
        if !machine.is_voter_only {
            machine.http = value(&ready, "http")?.parse().context("read the hub's address")?;
        }
        machine.is_up = true;
        Ok(())
    }

    /// Kills a machine's process (SIGKILL).
    pub async fn kill(&mut self, number: u16, family: &mut Family) -> Result<()> {
        self.machine_mut(number)?.is_up = false;
        family.kill(&process_name(number)).await
    }

    /// Pauses a machine's process (SIGSTOP); it is not asked anything until it goes on.
    pub async fn pause(&mut self, number: u16, family: &mut Family) -> Result<()> {
        self.machine_mut(number)?.is_up = false;
        family.signal(&process_name(number), "STOP").await
    }

    /// Lets a paused process go on (SIGCONT).
    pub async fn go_on(&mut self, number: u16, family: &mut Family) -> Result<()> {
        family.signal(&process_name(number), "CONT").await?;
        self.machine_mut(number)?.is_up = true;
        Ok(())
    }

    /// `jikai-hub cluster VERB --machine NUMBER`, at a machine that runs.
    pub async fn order(&self, verb: &str, number: u16, options: &[&str]) -> Result<()> {
        let mut order = Command::new(&self.binary);
        order.args(["cluster", verb, "--data"]).arg(&self.front()?.data);
        order.args(["--machine", &number.to_string()]).args(options);
        run(order).await.with_context(|| format!("{verb} machine {number}")).map(drop)
    }

    /// `jikai-hub handoff VERB`, at a machine that runs. Gives what it printed.
    pub async fn handoff(&self, verb: &str, options: &[&str]) -> Result<String> {
        let mut order = Command::new(&self.binary);
        order.args(["handoff", verb, "--data"]).arg(&self.front()?.data).args(options);
        run(order).await.with_context(|| format!("handoff {verb} {}", options.join(" ")))
    }

    /// Takes a machine out of the hub and stops its process.
    pub async fn remove(&mut self, number: u16, family: &mut Family) -> Result<()> {
        family.child(&process_name(number))?.allow_any_end();
        self.order("remove", number, &[]).await?;
        family.retire(&process_name(number)).await?;
        self.list.retain(|machine| machine.number != number);
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> &[Machine] {
        &self.list
    }

    /// Their numbers.
    pub fn numbers(&self) -> Vec<u16> {
        self.list.iter().map(|machine| machine.number).collect()
    }

    /// One of them.
    fn machine(&self, number: u16) -> Result<&Machine> {
        let found = self.list.iter().find(|machine| machine.number == number);
        found.with_context(|| format!("the hub has no machine {number}"))
    }

    fn machine_mut(&mut self, number: u16) -> Result<&mut Machine> {
        let found = self.list.iter_mut().find(|machine| machine.number == number);
        found.with_context(|| format!("the hub has no machine {number}"))
    }

    /// The first that runs and serves: commands, imports and questions go there.
    pub fn front(&self) -> Result<&Machine> {
        self.list.iter().find(|machine| machine.is_asked()).context("no machine of the hub runs and serves")
    }

    /// A client of the front's API.
    pub fn front_service(&self) -> Result<Service> {
        self.front()?.service(ASK_LIMIT)
    }

    /// Where nodes find the hub: every link of every machine that serves.
    pub fn sync_addresses(&self) -> String {
        let serving = self.list.iter().filter(|machine| !machine.is_voter_only);
        serving.flat_map(Machine::links).map(|address| address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// What the machines that serve say of the nodes. Each tells of the nodes of all.
    pub async fn nodes(&self) -> Result<Vec<Value>> {
        let asked = self.list.iter().find(|machine| machine.is_asked()).context("no machine serves")?;
        // What it has not applied yet it would not miss.
        let answer = asked.service(ASK_LIMIT)?.get_json("/v1/nodes?consistent=true").await?;
        answer["nodes"].as_array().cloned().context("the hub's reply lists no nodes")
    }

    /// Nodes that are connected to this machine.
    pub async fn nodes_at(&self, number: u16) -> Result<usize> {
        let nodes = self.nodes().await?;
        Ok(nodes.iter().filter(|node| node["connected"] == true && node["machine"] == number).count())
    }

    /// What a machine says of the cluster; an error when it does not answer soon.
    pub async fn status_at(&self, number: u16) -> Result<Status> {
        let machine = self.machine(number)?;
        let asked = machine.service(STATUS_LIMIT)?.once("/v1/cluster").await?;
        ensure!(asked.status == 200, "machine {number} answered with {}", asked.status);
        serde_json::from_slice(&asked.body).with_context(|| format!("read what machine {number} says of the cluster"))
    }

    /// Waits until one of these machines says so.
    pub async fn wait_for(
        &self,
        asked: &[u16],
        what: &str,
        limit: Duration,
        is_so: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let deadline = Instant::now() + limit;
        let asked: Vec<u16> = asked.iter().copied().filter(|&n| self.machine(n).is_ok_and(Machine::is_asked)).collect();
        loop {
            let mut last = String::from("no machine is there to be asked");
            for &number in &asked {
                match self.status_at(number).await {
                    Ok(status) if is_so(&status) => return Ok(status),
                    Ok(status) => last = format!("machine {number} says {status:?}"),
                    Err(error) => last = format!("machine {number}: {error:#}"),
                }
            }
            if Instant::now() > deadline {
                bail!("{what} did not come within {limit:?}; {last}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The machine that leads, by the word of those that serve.
    pub async fn leader(&self, limit: Duration) -> Result<u16> {
        let status = self.wait_for(&self.numbers(), "a leader", limit, |status| status.leader.is_some()).await?;
        status.leader.context("the status has no leader")
    }

    /// Cuts this link of every machine.
    pub fn cut_link(&self, link: usize) -> Result<()> {
        let relays: Vec<&Relay> = self.list.iter().filter_map(|machine| machine.link_relays.get(link)).collect();
        ensure!(!relays.is_empty(), "no relay lies before link {link}");
        relays.iter().for_each(|relay| relay.gate.block(&Block::ALL));
        Ok(())
    }

    /// Parts a machine from its peers: what it sends is dropped, or what it is sent, or both.
    pub fn part(&self, number: u16, is_unheard: bool, is_deaf: bool) -> Result<()> {
        let parted = self.machine(number)?;
        for machine in &self.list {
            let relay = machine.peer_relay.as_ref().context("no relay lies before the machines")?;
            // Its peers call it through its own relay; it calls each of them through theirs, from the address it listens at.
            let (client, sends, is_sent) = match machine.number == number {
                true => (None, Way::ToClient, Way::ToTarget),
                false => (Some(parted.peer), Way::ToTarget, Way::ToClient),
            };
            let ways = [(is_unheard, sends), (is_deaf, is_sent)];
            let blocks: Vec<Block> =
                ways.iter().filter(|(is_cut, _)| *is_cut).map(|&(_, way)| Block { client, way }).collect();
            relay.gate.block(&blocks);
        }
        Ok(())
    }

    /// All relays carry everything again. Returns how many datagrams they dropped.
    pub fn heal(&self) -> u64 {
        let relays = self.list.iter().flat_map(|machine| machine.link_relays.iter().chain(&machine.peer_relay));
        relays.map(|relay| relay.gate.open()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_partition_cuts_only_what_the_machine_says_or_only_what_it_hears() {
        let wiring = Wiring { has_peers: true, has_peer_relays: true, has_link_relays: true, compare_entries: None };
        let mut list = Vec::new();
        for number in 1..=2 {
            list.push(Machine::plan(number, PathBuf::new(), false, wiring).await.unwrap());
        }
        let machines = Machines { binary: PathBuf::new(), folder: PathBuf::new(), wiring, list, made: 2 };
        let (first, second) = (&machines.all()[0], &machines.all()[1]);
        let passes = |to: &Machine, from: &Machine, way| to.peer_relay.as_ref().unwrap().gate.passes(from.peer, way);
        // Of a call from the second to the first, what it asks and what it is answered; then of a call the other way.
        let ways = || {
            [(first, second, Way::ToTarget), (first, second, Way::ToClient)]
                .into_iter()
                .chain([(second, first, Way::ToTarget), (second, first, Way::ToClient)])
                .map(|(to, from, way)| passes(to, from, way))
                .collect::<Vec<_>>()
        };
        for (is_unheard, is_deaf, expected) in [
            (false, false, [true, true, true, true]),
            (true, false, [true, false, false, true]),
            (false, true, [false, true, true, false]),
            (true, true, [false, false, false, false]),
        ] {
            machines.part(1, is_unheard, is_deaf).unwrap();
            assert_eq!(ways(), expected, "unheard {is_unheard}, deaf {is_deaf}");
            machines.heal();
        }
        machines.cut_link(1).unwrap();
        let carries = |link: usize| first.link_relays[link].gate.passes(second.peer, Way::ToTarget);
        assert_eq!((carries(0), carries(1)), (true, false));
        assert_eq!(machines.sync_addresses().split(',').count(), 4);
    }
}
