//! Where outlets are served that this node does not know: the hub's word, remembered for a moment.

use std::collections::BTreeMap;
use std::time::Duration;

use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::peer::{HubReply, NodeRequest};
use jikai_schema::time::TimeMs;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::renewal::AskHub;

/// How long an answer is good. Milliseconds: outlets move seldom, and whoever comes to their old node is sent on from there.
const GOOD_MS: i64 = 5_000;
/// Answers that are remembered.
const KNOWN_MAX: usize = 4_096;
/// How long an answer is of this moment. Milliseconds: about as long as a terminal waits before it comes again.
const NOW_MS: i64 = 100;
/// Questions on their way to the hub at once, for who logs in, and as many for who bears a token.
const ASKING_MAX: usize = 16;
/// How long a question may take: a terminal waits.
const ASK_WAIT: Duration = Duration::from_secs(2);

/// The hub could not be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreachable;

/// What the hub said of outlets that are not in this slice.
#[derive(Debug)]
pub struct Whereabouts {
    /// What was told, and when.
    known: Mutex<BTreeMap<OutletId, (Option<NodeId>, i64)>>,
    asking: Semaphore,
    asking_now: Semaphore,
}

impl Default for Whereabouts {
    fn default() -> Self {
        let asking = || Semaphore::new(ASKING_MAX);
        Whereabouts { known: Mutex::default(), asking: asking(), asking_now: asking() }
    }
}

impl Whereabouts {
    /// The node that serves an outlet by the hub's word; `None`: there is no such outlet.
    pub async fn of(
        &self,
        hub: Option<&dyn AskHub>,
        outlet: OutletId,
        now_ms: TimeMs,
    ) -> Result<Option<NodeId>, Unreachable> {
        self.told_within(GOOD_MS, (hub, &self.asking), outlet, now_ms).await
    }

    /// The same by a word of this moment, for an outlet that may have moved just now.
    pub async fn of_now(
        &self,
        hub: Option<&dyn AskHub>,
        outlet: OutletId,
        now_ms: TimeMs,
    ) -> Result<Option<NodeId>, Unreachable> {
        self.told_within(NOW_MS, (hub, &self.asking_now), outlet, now_ms).await
    }

    async fn told_within(
        &self,
        good_ms: i64,
        (hub, asking): (Option<&dyn AskHub>, &Semaphore),
        outlet: OutletId,
        now_ms: TimeMs,
    ) -> Result<Option<NodeId>, Unreachable> {
        if let Some((node, told_at_ms)) = self.known.lock().get(&outlet).copied()
            && (0..good_ms).contains(&(now_ms.ms() - told_at_ms))
        {
            return Ok(node);
        }
        let _permit = asking.try_acquire().map_err(|_| Unreachable)?;
        let request = NodeRequest::WhereIs { outlet }.encode().map_err(|_| Unreachable)?;
        let asked = hub.ok_or(Unreachable)?.ask(request);
        let reply = tokio::time::timeout(ASK_WAIT, asked).await.map_err(|_| Unreachable)?.map_err(|_| Unreachable)?;
        let Ok(HubReply::OutletAt(node)) = HubReply::decode(&reply) else { return Err(Unreachable) };
        let mut known = self.known.lock();
        if known.len() >= KNOWN_MAX {
            known.retain(|_, (_, told_at_ms)| now_ms.ms() - *told_at_ms < GOOD_MS);
        }
        if known.len() < KNOWN_MAX || known.contains_key(&outlet) {
            known.insert(outlet, (node, now_ms.ms()));
        }
        Ok(node)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use jikai_sync::transport::{Future, RequestError};

    use super::*;

    /// Says that every outlet is at node 2, and counts the questions.
    struct Hub(AtomicU64);

    impl AskHub for Hub {
        fn ask(&self, _: Vec<u8>) -> Future<'_, Result<Vec<u8>, RequestError>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Ok(HubReply::OutletAt(NodeId::new(2).ok()).encode().unwrap()) })
        }
    }

    fn outlet(number: u32) -> OutletId {
        OutletId::new(13_010_000 + number).unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_good_for_a_moment_and_only_so_many_are_remembered() {
        let (hub, whereabouts) = (Hub(AtomicU64::new(0)), Whereabouts::default());
        let ask = async |number, at_ms| whereabouts.of(Some(&hub), outlet(number), TimeMs::from_ms(at_ms)).await;
        for at_ms in [0, 1, GOOD_MS - 1, GOOD_MS] {
            assert_eq!(ask(1, at_ms).await, Ok(NodeId::new(2).ok()));
        }
        assert_eq!(hub.0.load(Ordering::Relaxed), 2);
        for number in 0..KNOWN_MAX as u32 + 9 {
            ask(number, GOOD_MS).await.unwrap();
        }
        assert_eq!(whereabouts.known.lock().len(), KNOWN_MAX);
        ask(0, 3 * GOOD_MS).await.unwrap();
        ask(KNOWN_MAX as u32 + 9, 3 * GOOD_MS).await.unwrap();
        assert!(whereabouts.known.lock().len() <= 2, "what is no longer good makes room");
    }

    #[tokio::test]
    async fn without_the_hub_only_what_is_remembered_is_told() {
        let (hub, whereabouts) = (Hub(AtomicU64::new(0)), Whereabouts::default());
        assert_eq!(whereabouts.of(None, outlet(1), TimeMs::from_ms(0)).await, Err(Unreachable));
        whereabouts.of(Some(&hub), outlet(1), TimeMs::from_ms(0)).await.unwrap();
        assert_eq!(whereabouts.of(None, outlet(1), TimeMs::from_ms(1)).await, Ok(NodeId::new(2).ok()));
    }
}
