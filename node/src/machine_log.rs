//! Takes what was done on this machine by command line over into the node's log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jikai_schema::crypto::{Suite, hash};
use jikai_schema::event::{CommandRun, EventBody, MachineEvent, RequestKey};
use jikai_schema::time::TimeMs;
use jikai_sync::machine_log::{MachineCommand, Waiting};
use tokio_util::sync::CancellationToken;

use crate::writer::Writer;

/// How often it is looked for commands.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Notes the commands that wait in `data`, now and again, until cancelled. A file goes once the log has its command; one that
/// stays behind is noted once all the same.
pub async fn take_over(data: PathBuf, writer: Writer, cancelled: CancellationToken) {
    loop {
        if let Err(error) = take_waiting(&data, &writer).await {
            tracing::warn!(%error, "what was done on this machine could not be noted; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = cancelled.cancelled() => return,
        }
    }
}

/// Notes the commands that wait now.
pub async fn take_waiting(data: &Path, writer: &Writer) -> anyhow::Result<()> {
    let folder = data.to_owned();
    for waiting in tokio::task::spawn_blocking(move || Waiting::all(&folder, TimeMs::now().ms())).await?? {
        let MachineCommand { id, at_ms, user, address, command, outcome } = waiting.command.clone();
        let run = CommandRun { id, began_at_ms: at_ms, user, address, command, outcome };
        let mut key = RequestKey { id: [0; 16], body_hash: [0; 8] };
        key.id.copy_from_slice(&hash(Suite::configured(), &[b"machine command\n", &id.to_be_bytes()])[..16]);
        writer.note(EventBody::Machine(MachineEvent::RunAtNode(run)), key).await?;
        waiting.taken_over()?;
    }
    Ok(())
}
