//! Facts about the machines themselves: what was done on them by command line.

use serde::{Deserialize, Serialize};

use super::Audience;

/// Facts about a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MachineEvent {
    /// A command was run on a machine of the hub.
    RunAtHub(CommandRun),
    /// A command was run on a node's machine.
    RunAtNode(CommandRun),
}

/// A command that was run on a machine, as it said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRun {
    /// Drawn by the command: tells it apart from its copy.
    pub id: u64,
    /// When it began; the event's own time is when the log took it over. Unix ms.
    pub began_at_ms: i64,
    /// The account of the machine, and who the environment claims became it.
    pub user: String,
    /// Where that person sat, as the environment claims; empty where it says nothing.
    pub address: String,
    /// The words behind the program's name.
    pub command: String,
    /// `done`, or why it failed.
    pub outcome: String,
}

impl MachineEvent {
    pub(super) fn audience(&self) -> Audience {
        Audience::HubOnly
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        let (MachineEvent::RunAtHub(run) | MachineEvent::RunAtNode(run)) = self;
        serde_json::json!({
            "kind": "machine_command_run", "began_at_ms": run.began_at_ms, "user": run.user, "address": run.address,
            "command": run.command, "outcome": run.outcome,
        })
    }
}
