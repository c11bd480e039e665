//! `run --voter-only`: a full replica that serves nobody. The third box of two machines in hot standby.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use jikai_schema::time::TimeMs;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Lock, conclude, end, open_secrets, seat, stop_signal};
use crate::config::Config;
use crate::identity::IdentityFiles;
use crate::machines::{Machines, OwnState, PATIENCE, Reached, follow_own_state, keep_announced, keep_only_voting};
use crate::member::Member;
use crate::store::ReadPool;

/// It reads its own row of the machines, and nothing else.
const READERS: usize = 1;

/// Votes until SIGTERM, SIGINT, a failure of the state, or its removal.
pub(super) async fn vote(data: &Path, config: Config) -> anyhow::Result<()> {
    let files = IdentityFiles::new(data);
    let _only_one = Lock::take(data)?;
    let secrets = open_secrets(data, &files, &config)?;
    let number = files.machine()?;
    let member = Member::start(data, &files.tls(&secrets)?, seat(&config, number), config.log_settings()).await?;
    let (sequencer, sequencing) = member.sequencer(Arc::new(TimeMs::now));
    let (pool, stopping) = (ReadPool::open(data, READERS)?, CancellationToken::new());
    let machines = Machines::new(number, &member.cluster, sequencer.clone(), pool);
    let (own_state, following) = follow_own_state(&machines, stopping.clone());
    let mut parts = JoinSet::new();
    parts.spawn(following);
    parts.spawn(keep_only_voting(machines.clone(), PATIENCE, stopping.clone()));
    let reached = Reached { http: None, sync: None, links: Vec::new(), voter_only: true };
    let announcing = tokio::spawn(keep_announced(machines.clone(), reached));
    let failed = sequencer.failed();
    drop(sequencer);
    let peer = member.cluster.local_address().map(|address| address.to_string()).unwrap_or_default();
    println!("ready peer={peer}");
    std::io::stdout().flush()?;
    tracing::info!(machine = number, peer, "this machine votes and serves nobody");
    stop_signal(failed.clone(), own_state.clone(), machines).await;
    stopping.cancel();
    announcing.abort();
    let removed = *own_state.borrow() == OwnState::Retired || *member.cluster.removed().borrow();
    end(member, sequencing, parts).await?;
    conclude(&failed, removed)
}
