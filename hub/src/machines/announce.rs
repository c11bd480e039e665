//! A machine tells where it is reached.

use std::net::SocketAddr;
use std::time::Duration;

use super::Machines;
use crate::config::Link;
use crate::machine::RECOVERING;
use jikai_schema::command::{ClusterCommand, Command, Outcome};
use jikai_schema::event::{Actor, HubLink};
use jikai_schema::id::MachineNo;

/// How long to wait before it is told again, where it could not be.
const PAUSE: Duration = Duration::from_secs(1);
/// Name of the only link of a machine that names none.
const ONLY_LINK: &str = "default";

/// What a machine has to tell.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Where the centre's API listens; `None` for one that serves nobody.
    pub http: Option<SocketAddr>,
    /// Where nodes connect.
    pub sync: Option<SocketAddr>,
    /// The links of its settings.
    pub links: Vec<Link>,
    /// Whether it only votes.
    pub voter_only: bool,
}

impl Reached {
    /// The links of the settings; without any the address on which nodes are listened for, where that is one that can be told.
    fn links(&self) -> Vec<HubLink> {
        let set = self.links.iter();
        let links: Vec<_> = set
            .map(|Link { name, address, weight }| HubLink { name: name.clone(), address: *address, weight: *weight })
            .collect();
        match self.sync {
            Some(address) if links.is_empty() && !address.ip().is_unspecified() => {
                vec![HubLink { name: ONLY_LINK.to_owned(), address, weight: 100 }]
            }
            _ => links,
        }
    }
}

/// Tells it once the machine belongs to the hub, and the other machines its address where they believe another one. Ends when
/// both are known, or when the hub refuses.
pub async fn keep_announced(machines: Machines, reached: Reached) {
    let number = machines.number;
    let Ok(machine) = MachineNo::new(number) else { return };
    let (http, voter_only, links) = (reached.http, reached.voter_only, reached.links());
    if !machines.is_member() {
        tracing::warn!(
            machine = number,
            "this machine belongs to no hub yet: take it in with `jikai-hub cluster add` at one of its machines"
        );
    }
    let announce = ClusterCommand::Announce { machine, http, voter_only, links };
    loop {
        if belongs(&machines).await {
            match machines.sequencer.propose(Actor::System, Command::Cluster(announce.clone())).await {
                // Nothing is appended until the nodes have returned what a copy lacks.
                Ok(Outcome::Refused(refusal)) if refusal.code() == RECOVERING => {}
                Ok(Outcome::Refused(refusal)) => {
                    return tracing::error!(%refusal, "where this machine is reached was refused");
                }
                Ok(_) => return,
                Err(error) => tracing::info!(%error, "where this machine is reached could not be told yet"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn belongs(machines: &Machines) -> bool {
    let Ok(cluster) = machines.cluster() else { return false };
    if cluster.member_address(u64::from(machines.number)).is_none() {
        return false;
    }
    if let Some(apart_ms) = machines.clock_apart_ms().await {
        tracing::error!(
            apart_ms,
            hint = "set the clock right (NTP)",
            "the clock of this machine differs from the leader's: it proposes nothing yet"
        );
        return false;
    }
    match cluster.tell_address().await {
        Ok(()) => true,
        Err(error) => {
            tracing::info!(%error, "the other machines could not be told where this one is");
            false
        }
    }
}
