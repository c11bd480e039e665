//! What openraft is told about us: entries, answers, machines.

use core::fmt;

use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// The type configuration of the hub's replicated log.
    pub Types:
        D            = EntryBytes,
        R            = Answer,
        NodeId       = u64,
        Node         = Machine,
        SnapshotData = tokio::fs::File,
);

/// Place of an entry: its leader (term and machine) and its index.
pub type LogId = openraft::LogId<u64>;
/// An entry of the log.
pub type Entry = openraft::Entry<Types>;
/// Which leader a machine follows or votes for.
pub type Vote = openraft::Vote<u64>;
/// Voters and learners.
pub type Membership = openraft::Membership<u64, Machine>;
/// Voters and learners with the entry that made them so.
pub type StoredMembership = openraft::StoredMembership<u64, Machine>;
/// What a snapshot holds.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, Machine>;
/// The engine.
pub type Raft = openraft::Raft<Types>;
/// What the engine tells about itself.
pub type Metrics = openraft::RaftMetrics<u64, Machine>;
/// Storage that failed: the engine stops.
pub type StorageError = openraft::StorageError<u64>;

/// The place with this leader and index.
pub fn log_id(term: u64, node: u64, index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(term, node), index)
}

/// Longest entry. Bytes.
pub const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// One encoded entry: many commands that are committed and applied together.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryBytes(#[serde(with = "octets")] pub Vec<u8>);

/// The encoded outcomes of one entry; empty for entries without commands.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer(#[serde(with = "octets")] pub Vec<u8>);

impl fmt::Debug for EntryBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Commands hold personal data: never in a log line.
        write!(f, "EntryBytes({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer({} bytes)", self.0.len())
    }
}

/// Made at random with a log file; says whether a machine still has the log it had when it joined.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceId(pub [u8; 16]);

/// What every machine knows of another one; part of the membership, so replicated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Where its peers reach it: `host:port`, UDP.
    pub peer_address: String,
    /// Its log file when it joined. A machine that answers with another one was wiped and is not listened to.
    pub instance: InstanceId,
}

/// Bytes as one run: serde's own `Vec<u8>` goes byte by byte.
mod octets {
    use core::fmt;

    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Octets)
    }

    struct Octets;

    impl Visitor<'_> for Octets {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }
}
