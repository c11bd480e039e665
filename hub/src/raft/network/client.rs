//! openraft's calls to one peer.

use std::sync::Arc;
use std::time::Duration;

use openraft::error::{InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable};
use openraft::network::{Backoff, RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use openraft::{AnyError, RaftNetwork};
use tokio::task::JoinSet;

use super::message::{Call, Reply};
use super::peer::{CallError, Peer};
use crate::raft::types::{LogId, Machine, Types, Vote};

/// How long an append may be on its way, however short openraft's patience.
const APPEND_WAIT: Duration = Duration::from_secs(30);
/// How long a heartbeat beside it may be; nobody waits for its reply.
const HEARTBEAT_WAIT: Duration = Duration::from_secs(1);
/// Pause of openraft after a peer could not be reached.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(200);

type Error<E = RaftError<u64>> = RPCError<u64, Machine, E>;

/// openraft's calls to one peer.
///
/// openraft 0.9 gives up waiting for an append after one heartbeat, and sends the same again. What takes longer, on its
/// way or to the peer's disk, would never succeed. So the call goes on by itself, and the next one from the same place
/// waits for its reply. (The engine then takes the peer's support to be up to one round trip younger than it is; 0.9
/// uses that time for metrics only, a linearizable read asks the peers with clients of its own.)
pub(crate) struct PeerClient {
    peer: Arc<Peer>,
    entries: Option<UnderWay>,
    /// Apart from entries, for which it must neither wait nor make them start again.
    heartbeat: Option<UnderWay>,
}

/// An append that is on its way. Given up together with the client.
struct UnderWay {
    vote: Vote,
    before: Option<LogId>,
    /// Newest entry that it brings; none in a heartbeat.
    last: Option<LogId>,
    reply: JoinSet<Result<Reply, CallError>>,
}

impl PeerClient {
    pub fn new(peer: Arc<Peer>) -> Self {
        PeerClient { peer, entries: None, heartbeat: None }
    }

    /// Waits for the reply to an append; sends it unless one from the same place is on its way. May be dropped at any
    /// time.
    async fn append(&mut self, rpc: AppendEntriesRequest<Types>, option: RPCOption) -> Result<Reply, CallError> {
        let last = rpc.entries.last().map(|entry| entry.log_id);
        let slot = if last.is_some() { &mut self.entries } else { &mut self.heartbeat };
        let (peer, connection_wait) = (self.peer.clone(), option.soft_ttl());
        let joins = slot.as_ref().is_some_and(|slot| slot.vote == rpc.vote && slot.before == rpc.prev_log_id);
        if joins {
            // Long entries must not cost the leader its place: the peer hears of it meanwhile.
            let heartbeat = Call::Append(AppendEntriesRequest { entries: Vec::new(), ..rpc });
            tokio::spawn(async move { peer.call_once_connected(heartbeat, connection_wait, HEARTBEAT_WAIT).await });
        } else {
            let (vote, before, mut reply) = (rpc.vote, rpc.prev_log_id, JoinSet::new());
            let call = Call::Append(rpc);
            reply.spawn(async move { peer.call_once_connected(call, connection_wait, APPEND_WAIT).await });
            *slot = Some(UnderWay { vote, before, last, reply });
        }
        let not_connected = || CallError::NotConnected { peer: self.peer.id };
        let under_way = slot.as_mut().ok_or_else(not_connected)?;
        let reply = under_way.reply.join_next().await;
        let brought = under_way.last;
        *slot = None;
        let reply = reply.and_then(Result::ok).ok_or_else(not_connected)??;
        Ok(match reply {
            // A leader's log only grows, so what was on its way is the beginning of what is asked for now, or all of it.
            Reply::Append(AppendEntriesResponse::Success) if index(brought) < index(last) => {
                Reply::Append(AppendEntriesResponse::PartialSuccess(brought))
            }
            reply => reply,
        })
    }

    fn failed<E: std::error::Error>(&self, action: RPCTypes, error: CallError) -> Error<E> {
        match error {
            CallError::NoReply { peer, waited } => {
                // Who asks is not known here and only printed.
                RPCError::Timeout(Timeout { action, id: 0, target: peer, timeout: waited })
            }
            CallError::Broken { .. } | CallError::Unsendable(_) => RPCError::Network(NetworkError::new(&error)),
            CallError::NotConnected { .. } | CallError::OtherInstance { .. } => {
                RPCError::Unreachable(Unreachable::new(&error))
            }
        }
    }

    /// A peer that answers, but not what was asked: its engine has stopped.
    fn unexpected<E: std::error::Error>(&self, reply: Reply) -> Error<E> {
        let why = match reply {
            Reply::Failed(why) => why,
            _ => "an answer to something else".to_owned(),
        };
        RPCError::Unreachable(Unreachable::new(&AnyError::error(format!("machine {}: {why}", self.peer.id))))
    }
}

fn index(id: Option<LogId>) -> Option<u64> {
    id.map(|id| id.index)
}

impl RaftNetwork<Types> for PeerClient {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, Error> {
        match self.append(rpc, option).await {
            Ok(Reply::Append(response)) => Ok(response),
            Ok(reply) => Err(self.unexpected(reply)),
            Err(error) => Err(self.failed(RPCTypes::AppendEntries, error)),
        }
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<Types>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, Error<RaftError<u64, InstallSnapshotError>>> {
        match self.peer.call(Call::Snapshot(rpc), option.hard_ttl()).await {
            Ok(Reply::Snapshot(response)) => Ok(response),
            Ok(Reply::SnapshotMismatch(mismatch)) => {
                let source = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
                Err(RPCError::RemoteError(RemoteError::new(self.peer.id, source)))
            }
            Ok(reply) => Err(self.unexpected(reply)),
            Err(error) => Err(self.failed(RPCTypes::InstallSnapshot, error)),
        }
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Result<VoteResponse<u64>, Error> {
        match self.peer.call(Call::Vote(rpc), option.hard_ttl()).await {
            Ok(Reply::Vote(response)) => Ok(response),
            Ok(reply) => Err(self.unexpected(reply)),
            Err(error) => Err(self.failed(RPCTypes::Vote, error)),
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}
