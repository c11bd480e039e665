//! Work that a server does again and again beside its requests.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Does `work` every `period`, until cancelled.
pub async fn every(period: Duration, cancelled: CancellationToken, mut work: impl FnMut()) {
    while cancelled.run_until_cancelled(tokio::time::sleep(period)).await.is_some() {
        work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_every_period_until_it_is_cancelled() {
        let (cancelled, mut count) = (CancellationToken::new(), 0);
        let stop = cancelled.clone();
        every(Duration::from_millis(1), cancelled, || {
            count += 1;
            if count == 3 {
                stop.cancel();
            }
        })
        .await;
        assert_eq!(count, 3);
    }
}
