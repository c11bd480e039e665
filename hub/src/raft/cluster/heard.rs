//! What a machine heard of who leads. The engine's own word is no help: it names a dead leader for as long as nobody has won after it.

use std::time::Duration;

use openraft::raft::{VoteRequest, VoteResponse};
use tokio::time::Instant;

use super::Cluster;

/// Since a leader was heard last, this machine itself not counted; since the start where none ever was.
pub(super) struct Heard {
    at: Instant,
    /// A machine stood for election and was refused here: its log lacks what this one's has.
    lesser_stood: bool,
}

impl Heard {
    /// A leader is heard now, or the machine starts.
    pub(super) fn now() -> Self {
        Heard { at: Instant::now(), lesser_stood: false }
    }

    /// A machine asked for this one's vote.
    pub(super) fn note_vote(&mut self, asked: &VoteRequest<u64>, answered: &VoteResponse<u64>) {
        self.lesser_stood |= !answered.vote_granted && asked.last_log_id < answered.last_log_id;
    }
}

impl Cluster {
    /// How long no leader was heard, this machine itself not counted; since the start where none ever was.
    pub fn unheard(&self) -> Duration {
        self.shared.heard.read().at.elapsed()
    }

    /// Whether nobody leads, all others had the time to stand for election, and one of them did with a log that lacks what this machine
    /// has: where no other voter has it either, nobody wins but this machine.
    pub fn is_needed_to_lead(&self) -> bool {
        let stood_by = 2 * self.shared.settings.election_max;
        let heard = self.shared.heard.read();
        heard.lesser_stood && heard.at.elapsed() >= stood_by
    }
}
