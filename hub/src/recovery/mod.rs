//! Drives a recovery of a hub that was put back from an older copy, and tells how it stands.

mod report;

use std::time::Duration;

use jikai_schema::command::{Command, Outcome, RecoveryCommand};
use jikai_schema::event::Actor;
use rusqlite::Connection;
use tokio_util::sync::CancellationToken;

use crate::machine::{NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState};
use crate::machines::Machines;
use crate::sequencer::Sequencer;
use crate::store::ReadPool;

pub use report::{NodeLine, Report};

/// How long to wait before the next look, where nothing was heard.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be done next.
enum Next {
    Nothing,
    Wait,
    Propose(RecoveryCommand),
}

/// Ends the waiting once every node has returned, and merges; until the recovery is over, or cancelled. Every machine may propose
/// it: who comes late changes nothing.
pub async fn keep_recovering(machines: Machines, sequencer: Sequencer, pool: ReadPool, cancelled: CancellationToken) {
    let mut changes = sequencer.machines();
    let mut told = false;
    let work = async {
        loop {
            changes.borrow_and_update();
            let next = match pool.read(|store| look(store)).await {
                Ok(Ok(next)) => next,
                Ok(Err(_)) | Err(_) => Next::Wait,
            };
            match next {
                Next::Nothing => break,
                Next::Propose(command) if machines.leads() => {
                    match sequencer.propose(Actor::System, Command::Recovery(command)).await {
                        Ok(Outcome::Refused(refusal)) => tracing::info!(%refusal, "the recovery does not go on yet"),
                        Ok(_) => continue,
                        Err(error) => tracing::info!(%error, "the recovery does not go on yet"),
                    }
                }
                Next::Propose(_) | Next::Wait => {}
            }
            if !std::mem::replace(&mut told, true) {
                let hint = "let every node connect; or leave some out: jikai-hub restore --finish --without NODES";
                tracing::warn!(
                    hint,
                    "the hub was put back from a copy: it takes nothing in until its nodes have returned their feeds"
                );
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        if told {
            tell_end(&pool).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = cancelled.cancelled() => {}
    }
}

fn look(store: &Connection) -> Result<Next, rusqlite::Error> {
    let Some(row) = RecoveryRow::read(store)? else { return Ok(Next::Nothing) };
    Ok(match row.state {
        RecoveryState::Over => Next::Nothing,
        RecoveryState::Merging if row.release.is_some() => Next::Wait,
        RecoveryState::Merging => Next::Propose(RecoveryCommand::Merge { from_seq: row.merged_seq + 1 }),
        RecoveryState::Awaiting => {
            let nodes = RecoveryNodeRow::list(store)?;
            // Where the copy knows of no node at all, those that came since are not known to be awaited: a person ends it.
            let awaited = nodes.is_empty() || nodes.iter().any(|node| node.state == NodeReturn::Awaited);
            if awaited { Next::Wait } else { Next::Propose(RecoveryCommand::Finish { without: Vec::new() }) }
        }
    })
}

async fn tell_end(pool: &ReadPool) {
    let Ok(Ok(Some(row))) = pool.read(|store| RecoveryRow::read(store)).await else { return };
    let RecoveryRow { recovered, lost, conflicts, .. } = row;
    let hint = "jikai-hub restore --status tells what must be entered again";
    match conflicts {
        0 => tracing::warn!(
            recovered,
            lost,
            hint,
            "the hub has back what its nodes had received: it takes everything in again"
        ),
        _ => tracing::error!(
            recovered,
            lost,
            conflicts,
            hint,
            "nodes had received different events at the same places; what most had was taken, see /v1/nodes for who is refused"
        ),
    }
}
