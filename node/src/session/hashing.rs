//! Room for hashing passwords: each takes memory and a core.

use tokio::sync::{Semaphore, SemaphorePermit};

/// How many passwords are hashed at once, and how many may wait for that.
pub struct Hashing {
    running: Semaphore,
    waiting: Semaphore,
}

impl Hashing {
    /// So many at once, so many more waiting.
    pub fn new(running_max: usize, waiting_max: usize) -> Self {
        Hashing { running: Semaphore::new(running_max), waiting: Semaphore::new(running_max + waiting_max) }
    }

    /// Waits for room; `None` where too many wait already.
    pub async fn room(&self) -> Option<[SemaphorePermit<'_>; 2]> {
        let waiting = self.waiting.try_acquire().ok()?;
        let running = self.running.acquire().await.ok()?;
        Some([waiting, running])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_finds_too_many_waiting_is_told_so_at_once_and_the_rest_get_room_in_turn() {
        let hashing = Hashing::new(1, 1);
        let first = hashing.room().await.unwrap();
        let mut second = Box::pin(hashing.room());
        let pending = tokio::time::timeout(std::time::Duration::ZERO, &mut second).await;
        assert!(pending.is_err(), "one is hashed at a time");
        assert!(hashing.room().await.is_none());
        drop(first);
        assert!(second.await.is_some());
        assert!(hashing.room().await.is_some());
    }
}
