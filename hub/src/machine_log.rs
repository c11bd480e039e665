//! Takes what was done on this machine by command line over into the hub's log.

use std::path::PathBuf;
use std::time::Duration;

use jikai_schema::command::{Command, Outcome};
use jikai_schema::event::{Actor, CommandRun};
use jikai_schema::time::TimeMs;
use jikai_sync::machine_log::{MachineCommand, Waiting};
use tokio_util::sync::CancellationToken;

use crate::sequencer::Sequencer;

/// How often it is looked for commands.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The fact that a command left behind.
pub fn fact(command: &MachineCommand) -> CommandRun {
    let MachineCommand { id, at_ms, user, address, command, outcome } = command.clone();
    CommandRun { id, began_at_ms: at_ms, user, address, command, outcome }
}

/// Notes the commands that wait in `data`, now and again, until cancelled. A file goes once the log has its command; one that
/// stays behind is noted once all the same.
pub async fn take_over(data: PathBuf, sequencer: Sequencer, cancelled: CancellationToken) {
    loop {
        if let Err(error) = take_waiting(&data, &sequencer).await {
            tracing::warn!(%error, "what was done on this machine could not be noted; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = cancelled.cancelled() => return,
        }
    }
}

async fn take_waiting(data: &std::path::Path, sequencer: &Sequencer) -> anyhow::Result<()> {
    let folder = data.to_owned();
    let waiting = tokio::task::spawn_blocking(move || Waiting::all(&folder, TimeMs::now().ms())).await??;
    for waiting in waiting {
        let actor = Actor::Staff("@console".to_string());
        match sequencer.propose(actor, Command::NoteMachineCommand(fact(&waiting.command))).await? {
            Outcome::Refused(refusal) => anyhow::bail!("{refusal}"),
            _ => waiting.taken_over()?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::province::Running;

    #[tokio::test]
    async fn each_command_is_noted_once_also_when_its_file_comes_back() {
        let hub = Running::empty().await;
        let data = hub.data.path();
        let text = str::to_string;
        let (user, address, command) =
            (text("root (claimed: wei)"), text("10.0.0.7"), text("audit export --kind ticket_claimed"));
        let run = MachineCommand { id: 7, at_ms: 1_000, user, address, command, outcome: String::new() };
        for _ in 0..2 {
            run.clone().leave(data, "done").unwrap();
            take_waiting(data, &hub.sequencer).await.unwrap();
            assert!(Waiting::all(data, 0).unwrap().is_empty());
        }
        MachineCommand { id: 8, ..run }.leave(data, "no such file").unwrap();
        take_waiting(data, &hub.sequencer).await.unwrap();
        let data = hub.stop().await;
        let mut state = crate::store::open(data.path()).unwrap();
        let log = String::from_utf8(crate::reports::hub_events(&mut state, 0, 9).unwrap()).unwrap();
        assert_eq!(log.matches("machine_command_run").count(), 2, "{log}");
        assert!(
            log.contains("audit export --kind ticket_claimed")
                && log.contains("no such file")
                && log.contains("root (claimed: wei)")
        );
    }
}
