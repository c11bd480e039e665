//! Times and limits of a cluster.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy};

/// Bytes of entries read at once, for replication and for the state; one longer entry passes alone.
pub const READ_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a snapshot in one message.
const SNAPSHOT_CHUNK_BYTES: u64 = 1024 * 1024;
/// Entries in one message; their bytes are bounded by [`READ_BYTES_MAX`] as well. Few, for a busy machine should take them in before
/// the engine of the sender loses its patience, which is a heartbeat: it would read them anew, and ask again. Not fewer, for one
/// message is on its way to a machine at once: over 30 ms there and back this is 2,000 entries a second.
const PAYLOAD_ENTRIES_MAX: u64 = 64;
/// Entries in one message that are more than come in while the one before is on its way: whoever gets so many catches up.
pub const CATCH_UP_ENTRIES: usize = 16;

/// Times and limits of a cluster; the same on every machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often a leader shows that it is there. openraft also gives up waiting for an append after it, see
    /// [`crate::raft::network`].
    pub heartbeat: Duration,
    /// Shortest time without a leader before a machine stands for election; greater than the heartbeat.
    pub election_min: Duration,
    /// Longest such time, and how long a voter that has heard of a leader supports no other one.
    pub election_max: Duration,
    /// How long a machine may take to answer one piece of a snapshot. The last one includes verifying and installing the whole, little by
    /// little: a gigabyte on a slow disk takes minutes. A lost connection ends it after seconds, and a new one is waited for as long.
    pub snapshot_wait: Duration,
    /// Entries after which the state is copied and the log behind the copy is shortened.
    pub snapshot_entries: u64,
    /// Entries kept behind a snapshot, so that a machine that was away shortly needs no snapshot.
    pub log_entries_kept: u64,
    /// How long a proposal may take in all, with finding a leader; after it its outcome is unknown.
    pub propose_wait: Duration,
    /// How long a joining machine may take to catch up.
    pub catch_up_wait: Duration,
    /// Entries after which the state is digested and compared with those of the other machines; 0: never.
    pub digest_entries: u64,
    /// How long the others are waited for when digests are compared.
    pub digest_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            // The engine stands for election `election_max` (the leader's lease) and then `election_min` to `election_max` after
            // the leader's last word, and looks every one and a half heartbeats: 1.5 to 2.1 s. Ten appends must take less: they take some
            // ms (p99 12 beside the load of a province on two cores), as `jikai_log_append_ms` tells.
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(600),
            election_max: Duration::from_millis(900),
            snapshot_wait: Duration::from_secs(300),
            snapshot_entries: 50_000,
            log_entries_kept: 2_000,
            propose_wait: Duration::from_secs(10),
            catch_up_wait: Duration::from_secs(600),
            digest_entries: 20_000,
            digest_wait: Duration::from_secs(60),
        }
    }
}

impl Settings {
    pub(crate) fn engine(&self) -> Result<Arc<Config>, ConfigError> {
        let config = Config {
            cluster_name: "hub".into(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max: millis(self.election_max),
            install_snapshot_timeout: millis(self.snapshot_wait),
            snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
            max_payload_entries: PAYLOAD_ENTRIES_MAX,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.log_entries_kept,
            // Greater than what a snapshot is behind at most, or sending one would not end the lag.
            replication_lag_threshold: self.snapshot_entries.saturating_mul(2).max(1),
            ..Config::default()
        };
        config.validate().map(Arc::new)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
