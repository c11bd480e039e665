//! Nodes that lost their disk: what they alone had acknowledged may be gone, and is no longer taken for known.

use std::collections::VecDeque;
use std::sync::Mutex;

use super::tally::locked;

/// Changes are remembered for so long; a node is dead for less before it is replaced. Milliseconds.
const REMEMBERED_MS: i64 = 300_000;
/// Losses of one run: a fault has at most 1,000 trials.
const LOSSES_MAX: usize = 1_000;

/// What an acknowledgement changed on a shelf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Packs came, or went back.
    Packs(Vec<usize>),
    /// A ticket was paid.
    Paid {
        /// Its pack, by its place on the shelf.
        pack: usize,
        /// Its number.
        ticket: u16,
    },
    /// Money or tickets were turned over.
    Turnover,
}

/// What changed lately, and whose word it was.
#[derive(Debug, Default)]
pub struct Recent(VecDeque<(i64, u16, Change)>);

impl Recent {
    /// Remembers a change that a node acknowledged. What is old is forgotten: a store has long been the hub's by then.
    pub fn note(&mut self, at_ms: i64, node: u16, change: Change) {
        while self.0.front().is_some_and(|(noted_ms, ..)| noted_ms + REMEMBERED_MS < at_ms) {
            self.0.pop_front();
        }
        self.0.push_back((at_ms, node, change));
    }

    /// Takes out what this node acknowledged since then.
    pub fn take_since(&mut self, node: u16, since_ms: i64) -> Vec<Change> {
        let (taken, kept) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(at_ms, by, _): &(i64, u16, Change)| *by == node && *at_ms >= since_ms);
        self.0 = kept;
        let taken: VecDeque<(i64, u16, Change)> = taken;
        taken.into_iter().map(|(.., change)| change).collect()
    }
}

/// A node's disk was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loss {
    node: u16,
    /// What was acknowledged before, the hub has. Unix ms.
    since_ms: i64,
    /// The node was dead, and the store in its place did not answer yet. Unix ms.
    until_ms: i64,
}

/// All losses of a run so far.
#[derive(Debug, Default)]
pub struct Losses(Mutex<Vec<Loss>>);

impl Losses {
    /// One more.
    pub fn add(&self, node: u16, since_ms: i64, until_ms: i64) {
        let mut losses = locked(&self.0);
        if losses.len() < LOSSES_MAX {
            losses.push(Loss { node, since_ms, until_ms });
        }
    }

    /// Whether what this node acknowledged then may be gone.
    pub fn doubt(&self, node: u16, acknowledged_ms: i64) -> bool {
        let is_doubtful = |loss: &Loss| loss.node == node && (loss.since_ms..=loss.until_ms).contains(&acknowledged_ms);
        locked(&self.0).iter().any(is_doubtful)
    }

    /// Whether the disk was lost while an operation was on its way: it was asked for by what one store knew, and answered by what the
    /// next one does.
    pub fn crossed(&self, node: u16, from_ms: i64, to_ms: i64) -> bool {
        locked(&self.0).iter().any(|loss| loss.node == node && (from_ms..=to_ms).contains(&loss.until_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_node_acknowledged_since_then_is_taken_out() {
        let mut recent = Recent::default();
        let packs = |index| Change::Packs(vec![index]);
        for (at_ms, node, index) in [(10, 1, 0), (20, 1, 1), (20, 2, 2), (30, 1, 3)] {
            recent.note(at_ms, node, packs(index));
        }
        assert_eq!(recent.take_since(1, 20), [packs(1), packs(3)]);
        assert_eq!(recent.take_since(1, 0), [packs(0)]);
        assert_eq!(recent.take_since(2, 0), [packs(2)]);
        recent.note(40, 1, packs(4));
        recent.note(41 + REMEMBERED_MS, 1, packs(5));
        assert_eq!(recent.take_since(1, 0), [packs(5)]);
    }

    #[test]
    fn a_loss_is_of_its_node_and_its_time() {
        let losses = Losses::default();
        losses.add(3, 100, 200);
        let doubted = [(3, 99), (3, 100), (3, 200), (3, 201), (4, 150)].map(|(node, at)| losses.doubt(node, at));
        assert_eq!(doubted, [false, true, true, false, false]);
        let crossed = [(3, 10, 199), (3, 10, 200), (3, 200, 300), (3, 201, 300), (4, 10, 300)];
        assert_eq!(crossed.map(|(node, from, to)| losses.crossed(node, from, to)), [false, true, true, false, false]);
    }
}
