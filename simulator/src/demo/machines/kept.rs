//! What is written down of the machines of a run, so that `check` can start them again as they were.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Family, Machine, Machines, Wiring};
use crate::demo::relay::Relay;

/// A machine of a kept run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMachine {
    /// From 1.
    number: u16,
    /// Whether it serves nobody.
    is_voter_only: bool,
    http: SocketAddr,
    sync: SocketAddr,
    peer: SocketAddr,
    /// Address of the relay before its peers' line.
    peer_relay: Option<SocketAddr>,
}

impl Machines {
    /// What `check` needs to know.
    pub fn to_kept(&self) -> Vec<KeptMachine> {
        let kept = |machine: &Machine| KeptMachine {
            number: machine.number,
            is_voter_only: machine.is_voter_only,
            http: machine.http,
            sync: machine.sync,
            peer: machine.peer,
            peer_relay: machine.peer_relay.as_ref().map(|relay| relay.address),
        };
        self.list.iter().map(kept).collect()
    }

    /// Starts the machines of a kept run. Of its relays only those come back without which the machines would not find one
    /// another: nodes do not run then.
    pub async fn resume(binary: &Path, folder: &Path, kept: &[KeptMachine], family: &mut Family) -> Result<Self> {
        let mut list = Vec::new();
        for machine in kept {
            let &KeptMachine { number, is_voter_only, http, sync, peer, peer_relay } = machine;
            let peer_relay = match peer_relay {
                Some(address) => Some(Relay::start(address, peer).await.context("start the relays of the run again")?),
                None => None,
            };
            let data = data_of(folder, number);
            let link_relays = Vec::new();
            list.push(Machine { number, data, is_voter_only, is_up: false, http, sync, peer, peer_relay, link_relays });
        }
        let (binary, folder) = (binary.to_owned(), folder.to_owned());
        let made = kept.iter().map(|machine| machine.number).max().unwrap_or(0);
        let mut machines = Machines { binary, folder, wiring: Wiring::default(), list, made };
        for number in machines.numbers() {
            machines.spawn(number, family)?;
        }
        for number in machines.numbers() {
            machines.wait_ready(number, family).await?;
        }
        Ok(machines)
    }
}

/// The data directory of a machine.
pub(super) fn data_of(folder: &Path, number: u16) -> PathBuf {
    match number {
        1 => folder.join("hub"),
        number => folder.join(format!("hub-{number}")),
    }
}
