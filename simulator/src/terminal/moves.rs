//! How long operations of outlets waited that moved to another node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::tally::{Tally, locked};

/// What became of the operations that met a move of their outlet.
#[derive(Debug, Default)]
pub struct Moves {
    /// Operations that are not answered yet: since when they wait.
    under_way: BTreeMap<u64, Instant>,
    met: u64,
    /// The longest wait of those that ended, by outlet.
    longest: BTreeMap<String, Duration>,
}

impl Moves {
    /// An operation met a move, and has been waiting since then. Gives its mark.
    fn begin(&mut self, since: Instant) -> u64 {
        self.met += 1;
        self.under_way.insert(self.met, since);
        self.met
    }

    /// It was answered, or given up.
    fn end(&mut self, mark: u64, outlet: &str, now: Instant) {
        let Some(since) = self.under_way.remove(&mark) else { return };
        let waited = now.saturating_duration_since(since);
        let longest = self.longest.entry(outlet.to_owned()).or_default();
        *longest = waited.max(*longest);
    }

    /// Takes the longest waits that ended since the last call, by outlet.
    pub fn take(&mut self) -> BTreeMap<String, Duration> {
        std::mem::take(&mut self.longest)
    }

    /// How long the one has been waiting that waits longest now; 0 where none waits.
    pub fn waiting(&self, now: Instant) -> Duration {
        let waits = self.under_way.values().map(|since| now.saturating_duration_since(*since));
        waits.max().unwrap_or_default()
    }
}

/// An operation that met a move of its outlet; its wait ends when this is dropped.
pub(super) struct Interrupted {
    mark: u64,
    outlet: String,
    tally: Arc<Tally>,
}

impl Interrupted {
    /// It has been waiting since then.
    pub(super) fn begin(tally: &Arc<Tally>, outlet: &str, since: Instant) -> Self {
        let mark = locked(&tally.moves).begin(since);
        Interrupted { mark, outlet: outlet.to_owned(), tally: tally.clone() }
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        locked(&self.tally.moves).end(self.mark, &self.outlet, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_of_each_outlet_is_kept_until_it_is_taken_and_one_that_lasts_is_seen() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut moves = Moves::default();
        let marks = [0, 100, 200].map(|ms| moves.begin(at(ms)));
        assert_eq!(moves.waiting(at(300)), Duration::from_millis(300));
        moves.end(marks[0], "13010001", at(70));
        moves.end(marks[1], "13010001", at(400));
        moves.end(marks[1], "13010001", at(9_000));
        assert_eq!(moves.waiting(at(1_000)), Duration::from_millis(800));
        assert_eq!(moves.take(), BTreeMap::from([("13010001".to_owned(), Duration::from_millis(300))]));
        moves.end(marks[2], "13010002", at(5_200));
        assert_eq!(moves.take(), BTreeMap::from([("13010002".to_owned(), Duration::from_secs(5))]));
        assert_eq!((moves.take(), moves.waiting(at(6_000))), (BTreeMap::new(), Duration::ZERO));
    }

    #[test]
    fn an_operation_waits_until_it_is_let_go() {
        let tally = Arc::new(Tally::new().unwrap());
        let interrupted = Interrupted::begin(&tally, "13010001", Instant::now());
        assert!(locked(&tally.moves).take().is_empty());
        drop(interrupted);
        let taken = locked(&tally.moves).take();
        assert_eq!(taken.into_keys().collect::<Vec<_>>(), ["13010001"]);
    }
}
