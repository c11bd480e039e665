//! What a machine heard of who leads. The engine's own word is no help: it names a dead leader for as long as nobody has won after it.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::raft::{VoteRequest, VoteResponse};
use tokio::time::Instant;

use super::Cluster;

/// Since a leader was heard last, this machine itself not counted; since the start where none ever was.
pub(super) struct Heard {
    at: Instant,
    /// Machines that stood for election since and were refused here: their logs lack what this one's has.
    lesser: BTreeSet<u64>,
}

impl Heard {
    /// A leader is heard now, or the machine starts.
    pub(super) fn now() -> Self {
        Heard { at: Instant::now(), lesser: BTreeSet::new() }
    }

    /// A machine asked for this one's vote. `lease`: how long after a leader's word all are refused, whatever their log holds.
    pub(super) fn note_vote(
        &mut self,
        from: u64,
        asked: &VoteRequest<u64>,
        answered: &VoteResponse<u64>,
        lease: Duration,
    ) {
        if answered.vote_granted {
            self.lesser.clear();
        } else if asked.last_log_id < answered.last_log_id && self.at.elapsed() > lease {
            self.lesser.insert(from);
        }
    }

    /// Whether nobody of these can win but machine `own`: it had to refuse all that stand, and one is silent, which led.
    fn needs(&self, own: u64, voters: impl Iterator<Item = u64>) -> bool {
        let others = voters.filter(|voter| *voter != own && !self.lesser.contains(voter)).count();
        !self.lesser.is_empty() && others <= 1
    }
}

impl Cluster {
    /// How long no leader was heard, this machine itself not counted; since the start where none ever was.
    pub fn unheard(&self) -> Duration {
        self.shared.heard.read().at.elapsed()
    }

    /// Whether no leader is heard, and nobody else can win: every other voter but the one that led has stood for election since, and was
    /// refused here, because its log lacks what this machine has.
    pub fn is_needed_to_lead(&self) -> bool {
        let membership = self.shared.membership();
        self.shared.heard.read().needs(self.shared.id, membership.voter_ids())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::types::{LogId, Vote, log_id};

    const LEASE: Duration = Duration::from_millis(900);

    /// Behind the lease of the leader that was heard last.
    fn alone() -> Heard {
        Heard { at: Instant::now().checked_sub(2 * LEASE).unwrap(), lesser: BTreeSet::new() }
    }

    fn stands(heard: &mut Heard, from: u64, its: LogId, own: LogId, vote_granted: bool) {
        let asked = VoteRequest::new(Vote::new(3, from), Some(its));
        heard.note_vote(from, &asked, &VoteResponse::new(Vote::new(2, 1), Some(own), vote_granted), LEASE);
    }

    #[tokio::test]
    async fn a_machine_is_needed_where_every_voter_but_the_one_that_led_lacks_what_it_has() {
        let (older, newer) = (log_id(2, 1, 40), log_id(2, 1, 41));
        let mut heard = alone();
        assert!(!heard.needs(3, 1..=3), "nobody has stood");
        stands(&mut heard, 2, older, newer, false);
        assert!(heard.needs(3, 1..=3));
        assert!(!heard.needs(3, 1..=5), "two more may win");
        stands(&mut heard, 4, older, newer, false);
        stands(&mut heard, 5, older, newer, false);
        assert!(heard.needs(3, 1..=5));
        stands(&mut heard, 4, newer, newer, true);
        assert!(!heard.needs(3, 1..=5), "the fourth has its vote");
    }

    #[tokio::test]
    async fn a_machine_is_not_needed_where_it_refused_for_another_reason() {
        let (older, newer) = (log_id(2, 1, 40), log_id(2, 1, 41));
        let mut heard = alone();
        stands(&mut heard, 2, newer, newer, false);
        assert!(!heard.needs(3, 1..=3), "it has voted for another one");
        let mut heard = Heard::now();
        stands(&mut heard, 2, older, newer, false);
        assert!(!heard.needs(3, 1..=3), "a leader was heard just now");
    }
}
