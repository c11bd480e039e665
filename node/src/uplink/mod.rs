//! The link to the hub: what the node's store offers to a sync session, the ways there, and the batch keys it fetches.

mod acked;
mod contact;
mod gauges;
mod generation;
mod keys;
mod reached;
mod returns;
mod routes;
mod runs;
mod store;

use jikai_schema::time::TimeMs;

pub use acked::{HubAcked, HubMemory, keep_acked};
pub use contact::{Contact, keep_contact};
pub use gauges::keep_gauges;
pub use generation::HubGeneration;
pub use keys::{fetch_first_keys, fetch_keys};
pub use reached::keep_reached;
pub use returns::{Returning, return_feed};
pub use routes::HubRoutes;
pub use runs::Runs;
pub use store::UplinkStore;

/// Why a store that was replaced serves nobody, and greets nobody.
pub const REPLACED: &str = "another store has taken the place of this one, which greets no hub any more; keep its disk for `jikai-node salvage`";

/// How the link stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether a session with the hub is open.
    pub connected: bool,
    /// Newest event that the hub has committed, by its own word; falls where a hub comes back with less.
    pub acked_seq: u64,
    /// How often a hub came back with less than it had acknowledged, see [`HubMemory::forgot`].
    pub hub_forgot: u64,
    /// Why the hub refused this node, if it did.
    pub refused: Option<String>,
    /// Whether that refusal says that this store must not serve. Kept over restarts; a session that opens ends it.
    pub fenced: bool,
    /// Whether it said that another store has taken this one's place. That stays true at every hub, so no hub is greeted any more: one
    /// that was put back from an older copy would take this store for the node's. Kept over restarts.
    pub replaced: bool,
    /// How far the hub's feed was applied: what is new may name batches whose keys are missing.
    pub down_next_seq: u64,
    /// When the link was open last; means nothing while it is open.
    pub left_at_ms: TimeMs,
    /// Where the hub's feed stopped because this build cannot read what comes next.
    pub feed_stop: Option<FeedStop>,
}

/// A place at which the hub's feed stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedStop {
    /// Position that comes next.
    pub place: u64,
    /// Since when.
    pub since_ms: TimeMs,
    /// Whether the session that is open was told so.
    pub is_told: bool,
}

impl LinkState {
    /// When the hub was heard last. One whose feed is stopped does not say who was put out of use since.
    pub fn contact_at_ms(&self, now_ms: TimeMs) -> TimeMs {
        match (self.connected, self.feed_stop) {
            (false, _) => self.left_at_ms,
            (true, Some(FeedStop { since_ms, is_told: true, .. })) => since_ms,
            (true, _) => now_ms,
        }
    }

    /// A session was opened.
    fn opened(&mut self) {
        (self.connected, self.refused, self.fenced) = (true, None, false);
        if let Some(stop) = &mut self.feed_stop {
            stop.is_told = false;
        }
    }

    /// The session is told that the feed stops at the place where it stands. One that is told so again counts from the first time.
    fn stop_feed(&mut self, now_ms: TimeMs) {
        let place = self.down_next_seq;
        let known = self.feed_stop.filter(|known| known.place == place);
        let since_ms = known.map_or(now_ms, |known| known.since_ms);
        self.feed_stop = Some(FeedStop { place, since_ms, is_told: true });
    }

    /// The feed was applied up to here, which may have been on its way when the session was told.
    fn fed(&mut self, next_seq: u64, now_ms: TimeMs) {
        self.down_next_seq = next_seq;
        if let Some(stop) = &mut self.feed_stop {
            (stop.place, stop.since_ms) = (next_seq, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_feed_counts_as_a_hub_that_is_not_heard_also_over_sessions() {
        let at = TimeMs::from_ms;
        let mut link = LinkState { connected: true, down_next_seq: 7, ..LinkState::default() };
        assert_eq!(link.contact_at_ms(at(100)), at(100));
        link.stop_feed(at(100));
        link.fed(9, at(101));
        assert_eq!(link.contact_at_ms(at(500)), at(101));
        link.opened();
        assert_eq!(link.contact_at_ms(at(600)), at(600), "this hub may have another feed");
        link.stop_feed(at(601));
        assert_eq!(link.contact_at_ms(at(700)), at(101));
        link.fed(10, at(800));
        link.stop_feed(at(801));
        assert_eq!(link.contact_at_ms(at(900)), at(800));
    }
}
