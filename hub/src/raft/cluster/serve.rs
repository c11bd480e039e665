//! Answers what the peers ask.

use std::sync::{Arc, Weak};

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use tokio::time::Instant;

use super::Shared;
use super::heard::Heard;
use crate::raft::network::{Call, Handler, Reply, Request};
use crate::raft::settings::CATCH_UP_ENTRIES;
use crate::raft::types::{InstanceId, Types};

/// The machine, as long as it runs. Weak: calls under way do not keep a stopped machine's files open.
pub(super) struct Served(pub Weak<Shared>);

impl Handler for Served {
    async fn handle(&self, from: u64, request: Request) -> Reply {
        let Some(shared) = self.0.upgrade() else { return Reply::Failed("it is stopping".to_owned()) };
        let to = request.to_instance;
        if to != InstanceId::default() && to != shared.instance {
            // Whatever this machine promised before it was wiped is forgotten: as a voter it would break promises.
            tracing::error!(from, "the cluster knows this machine with another log: it must join under a new id");
            return Reply::OtherInstance;
        }
        if let Some(turned_down) = shared.turns_down(from, &request.call) {
            return turned_down;
        }
        shared.answer(from, request.call).await
    }
}

impl Shared {
    /// Why a machine gets no answer to this. One that was removed is heard until it is outside of the membership: until then its vote
    /// may be needed, and what it took in before it drained.
    fn turns_down(&self, from: u64, call: &Call) -> Option<Reply> {
        let is_member = self.membership().get_node(&from).is_some();
        match call {
            _ if !is_member && self.turned_away.read().contains(&from) => Some(Reply::Removed),
            // Engines know whom they listen to; and a machine is asked who it is before it belongs to the cluster.
            Call::Append(_) | Call::Vote(_) | Call::Snapshot(_) | Call::Status => None,
            _ if !is_member => Some(Reply::Failed(format!("machine {from} does not belong to the cluster"))),
            _ => None,
        }
    }

    /// A machine that has no vote and catches up rests as long as it worked, before it asks for more by its reply: others serve
    /// meanwhile, and share the leader's time with it. Not beyond the patience of the sender's engine, a heartbeat. One whose vote may
    /// be needed goes on as fast as it can.
    async fn take_in(&self, append: AppendEntriesRequest<Types>) -> Reply {
        let (is_catching_up, began) = (append.entries.len() >= CATCH_UP_ENTRIES, Instant::now());
        let reply = match self.raft.append_entries(append).await {
            Ok(response) => {
                if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                    *self.heard.write() = Heard::now();
                }
                Reply::Append(response)
            }
            Err(fatal) => Reply::Failed(fatal.to_string()),
        };
        if is_catching_up && self.membership().voter_ids().all(|voter| voter != self.id) {
            let worked = began.elapsed();
            tokio::time::sleep(worked.min((self.settings.heartbeat * 3 / 4).saturating_sub(worked))).await;
        }
        reply
    }

    async fn answer(self: Arc<Self>, from: u64, call: Call) -> Reply {
        match call {
            Call::Append(append) => self.take_in(append).await,
            Call::Vote(vote) => match self.raft.vote(vote.clone()).await {
                Ok(response) => {
                    self.heard.write().note_vote(from, &vote, &response, self.settings.election_max);
                    Reply::Vote(response)
                }
                Err(fatal) => Reply::Failed(fatal.to_string()),
            },
            Call::Snapshot(piece) => self.receive(piece).await,
            Call::Propose(entry) => Reply::Proposed(self.append_here(entry, self.settings.propose_wait).await),
            Call::Status => Reply::Status(Box::new(self.status())),
            Call::ReadIndex => Reply::ReadIndex(self.read_index_here().await),
            Call::Change(change) => Reply::Changed(self.change_here(&change).await.map_err(Into::into)),
            Call::Digests => Reply::Digests(Box::new(self.digests.told())),
            Call::Links => Reply::Links(self.told_links()),
            Call::Yield { term, to } => match self.leader() {
                Some((leader, _)) if leader == from => match self.yield_to(term, to).await {
                    Ok(()) => Reply::Yielded,
                    Err(why) => Reply::Failed(why),
                },
                _ => Reply::Failed(format!("machine {from} does not lead")),
            },
            Call::Elect => match self.raft.trigger().elect().await {
                Ok(()) => Reply::Elected,
                Err(fatal) => Reply::Failed(fatal.to_string()),
            },
        }
    }
}
