//! The cluster as the hub's log.

use super::{Cluster, ProposeError, ReadError};
use crate::log::{LogError, ReplicatedLog, Reply};

impl ReplicatedLog for Cluster {
    fn commit(&self, entry: Vec<u8>) -> Reply<'_, Vec<u8>> {
        Box::pin(async {
            self.propose(entry).await.map(|committed| committed.answer.0).map_err(|error| match error {
                ProposeError::NotTaken { why } => LogError::NotTaken(why),
                ProposeError::Unknown => LogError::Unknown,
                ProposeError::Stopped { why } => LogError::Stopped(why),
                ProposeError::TooLong { .. } => LogError::NotTaken(error.to_string()),
            })
        })
    }

    fn catch_up(&self) -> Reply<'_, ()> {
        Box::pin(async {
            let caught_up = self.ensure_linearizable().await;
            caught_up.map(drop).map_err(|ReadError { why }| LogError::NotTaken(why))
        })
    }
}
