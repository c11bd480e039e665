//! Commands about the machines of the hub.

use core::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::event::HubLink;
use crate::id::MachineNo;
use crate::time::TimeMs;

/// What is asked about the machines of the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClusterCommand {
    /// Give a number to a machine that is about to join.
    Invite {
        /// Whether it is to vote only.
        voter_only: bool,
    },
    /// A machine tells where it is reached; equal words change nothing.
    Announce {
        /// Which.
        machine: MachineNo,
        /// Where the centre's API listens.
        http: Option<SocketAddr>,
        /// Whether it only votes.
        voter_only: bool,
        /// Where nodes reach it.
        links: Vec<HubLink>,
    },
    /// Send whoever uses a machine to another one, or take that back.
    Drain {
        /// Which.
        machine: MachineNo,
        /// Whether it drains.
        draining: bool,
    },
    /// Take a machine out for ever, before it leaves the voters.
    Retire {
        /// Which.
        machine: MachineNo,
    },
    /// Do the jobs on this machine from now on. The fence of the outcome must stand in each of their results.
    TakeLease {
        /// Which machine.
        machine: MachineNo,
        /// Drawn at its start: tells it from itself before a restart.
        run: [u8; 16],
        /// The fence that it saw last: who saw an older one has slept, and takes nothing.
        after: u64,
    },
    /// A job has seen that a machine does not answer, or answers again.
    NoteMachine {
        /// The lease under which it looked.
        fence: u64,
        /// Which machine.
        machine: MachineNo,
        /// Whether it answers.
        answers: bool,
    },
    /// A person had this machine take over without the others.
    RaiseGeneration {
        /// Which machine.
        machine: MachineNo,
        /// When the person said so.
        said_at_ms: TimeMs,
    },
}
