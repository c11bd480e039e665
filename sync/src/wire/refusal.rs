//! Why a session is refused or ended.

use jikai_schema::id::NodeId;
use serde::{Deserialize, Serialize};

use super::WireVersion;

/// Why a session is refused or ended, with both positions where there are two. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum RefusalV1 {
    /// A store of another environment.
    #[error("this store belongs to the environment `{theirs}`, the hub to `{ours}`")]
    WrongEnvironment {
        /// The hub's.
        ours: String,
        /// The node's.
        theirs: String,
    },
    /// The certificate names another node.
    #[error("the certificate is node {certified}'s, the store says it is node {claimed}'s")]
    WrongNode {
        /// By certificate.
        certified: NodeId,
        /// By store.
        claimed: NodeId,
    },
    /// The hub does not know the node.
    #[error("node {node} is not registered")]
    UnknownNode {
        /// Which.
        node: NodeId,
    },
    /// Another store reported as this node before.
    #[error("node {node} reported with another store before: this one is a copy, or was made anew")]
    Incarnation {
        /// Which node.
        node: NodeId,
    },
    /// The node was replaced.
    #[error("node {node} was replaced: epoch {theirs}, now {ours}")]
    Fenced {
        /// Which node.
        node: NodeId,
        /// Epoch now.
        ours: u32,
        /// Epoch of the store.
        theirs: u32,
    },
    /// The node's tables are newer than the hub's.
    #[error("the node's tables have version {theirs}, the hub's {ours}")]
    SchemaTooNew {
        /// The hub's.
        ours: u32,
        /// The node's.
        theirs: u32,
    },
    /// A run begins behind the place that is expected.
    #[error("events {expected} to {} are missing", found.saturating_sub(1))]
    Gap {
        /// Next position expected.
        expected: u64,
        /// Position found.
        found: u64,
    },
    /// Two histories.
    #[error("the histories differ before event {at}")]
    Fork {
        /// Position before which they must agree.
        at: u64,
    },
    /// The sender's log is shorter than what the receiver has of it: restored from an old copy.
    #[error("the log ends with event {}, but events up to {} were received before", theirs.saturating_sub(1), ours.saturating_sub(1))]
    Rewound {
        /// Next position by the receiver.
        ours: u64,
        /// Next position by the sender.
        theirs: u64,
    },
    /// Bytes that are no valid frame or batch.
    #[error("the peer sent what cannot be read: {what}")]
    Malformed {
        /// What was wrong.
        what: String,
    },
    /// Nothing came for too long.
    #[error("nothing was received for {silent_ms} ms")]
    Silent {
        /// For how long.
        silent_ms: i64,
    },
    /// The receiver cannot take events now.
    #[error("the hub cannot take events now: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
    /// The same node connected again; the newer session wins.
    #[error("the node opened a newer session")]
    Superseded,
    /// The certificate was revoked.
    #[error("the certificate of node {node} was revoked")]
    Revoked {
        /// Which node.
        node: NodeId,
    },
    /// The certificate was renewed, and the newer one is in use.
    #[error("the certificate of node {node} was renewed, and the newer one is in use")]
    Renewed {
        /// Which node.
        node: NodeId,
    },
    /// The feed that the hub has is not the one that the node received: the hub was restored from an older copy. The node's
    /// own history is good, and it goes on serving.
    #[error("the node has the hub's feed up to event {}, the hub has another one or less", theirs.saturating_sub(1))]
    HubBehind {
        /// Newest position of the feed at the hub.
        ours: u64,
        /// Next position by the node.
        theirs: u64,
    },
    /// This machine of the hub is being taken out of use.
    #[error(
        "this machine of the hub serves no nodes now: it drains, or no majority of the machines confirms its state"
    )]
    Draining,
    /// The node has met a hub of a later generation: this one was left behind by a take-over or a restore.
    #[error("the hub is of generation {theirs}, the node has met generation {ours}: this machine was left behind")]
    HubSuperseded {
        /// Highest generation that the node has met.
        ours: u32,
        /// Generation of the hub.
        theirs: u32,
    },
    /// The feed goes on with an event that the node cannot read. None is ever skipped.
    #[error(
        "the hub's feed goes on with an event, or rows, of version {ours}, the node reads them up to version {theirs}"
    )]
    SchemaTooOld {
        /// The event's; of rows of an outlet that of their tables.
        ours: u8,
        /// The newest that the node can read; of rows that of its tables.
        theirs: u8,
    },
    /// The store is a copy: another process runs on the original, or has run on it since the copy was made.
    #[error("the store of node {node} is a copy: another process runs, or has run since, on the original")]
    Cloned {
        /// Which node.
        node: NodeId,
    },
    /// The node was taken out of use.
    #[error("node {node} was taken out of use at the hub")]
    Retired {
        /// Which node.
        node: NodeId,
    },
    /// The hub was put back from a copy and got back what other nodes had received, not what this one had.
    #[error("node {node} was left out when the hub was put back from a copy")]
    LeftOut {
        /// Which node.
        node: NodeId,
    },
}

impl RefusalV1 {
    /// As a peer of this version of the wire can read it: what it does not know is told in words.
    pub(crate) fn in_words_of(self, version: WireVersion) -> Self {
        match (&self, version) {
            // One that it takes for a fence: the store must not go on serving.
            (RefusalV1::Retired { node } | RefusalV1::LeftOut { node }, WireVersion::V1) => {
                RefusalV1::Revoked { node: *node }
            }
            (RefusalV1::SchemaTooOld { .. } | RefusalV1::Cloned { .. }, WireVersion::V1) => {
                RefusalV1::Unavailable { why: format!("{self}. {}", self.hint()) }
            }
            _ => self,
        }
    }

    /// What an operator does next.
    pub fn hint(&self) -> &'static str {
        match self {
            RefusalV1::WrongEnvironment { .. } => "Never point a training or test node at another environment's hub.",
            RefusalV1::WrongNode { .. } => "Install the certificate that was signed for this node.",
            RefusalV1::UnknownNode { .. } => "Register the node at the hub first.",
            RefusalV1::Incarnation { .. } => {
                "Stop this store. Go on with the original, or have the hub replace the node."
            }
            RefusalV1::Fenced { .. } => "Stop this node; its replacement is serving.",
            RefusalV1::SchemaTooNew { .. } => "Upgrade the hub first.",
            RefusalV1::SchemaTooOld { .. } => "Upgrade the node: it serves its outlets meanwhile, and loses nothing.",
            RefusalV1::Gap { .. } | RefusalV1::Fork { .. } | RefusalV1::Rewound { .. } => {
                "Keep both stores as they are and call the maintainers: events would be lost or rewritten."
            }
            RefusalV1::Malformed { .. } => "Check that both sides run supported versions.",
            RefusalV1::Silent { .. } | RefusalV1::Unavailable { .. } => "Nothing: the node tries again by itself.",
            RefusalV1::Revoked { .. } => "If this node is to go on, have another certificate signed for it.",
            RefusalV1::Renewed { .. } => {
                "This store is a copy, or was restored: go on with the one that has the newer certificate, or revoke all of them and enrol anew."
            }
            RefusalV1::HubBehind { .. } => {
                "The hub lacks what it told its nodes: bring its newest copy and log back, or have it get back what they received (jikai-hub restore)."
            }
            RefusalV1::Draining => "Nothing: the node goes to another machine of the hub by itself.",
            RefusalV1::Cloned { .. } => {
                "Stop this process, and find out who copied the store; the original goes on. If the original is lost, have the hub replace the node."
            }
            RefusalV1::Retired { .. } => {
                "Stop this node: other nodes serve its outlets, and its number is not used again. A node in this place gets another one."
            }
            RefusalV1::LeftOut { .. } => {
                "Stop this node, keep its disk, and have the hub replace it: jikai-hub node replace. jikai-node salvage names what the disk holds alone."
            }
            RefusalV1::HubSuperseded { .. } => {
                "Stop this machine of the hub: another one took over without it. Then join it anew."
            }
            RefusalV1::Superseded => "Nothing, unless two machines run as this node: then stop one.",
        }
    }

    /// Whether the store may not go on serving: what it decides would never reach the hub, and another store may decide the
    /// same. The rest (versions, settings, a hub that does not know the node yet) leaves its history good.
    pub fn is_fence(&self) -> bool {
        matches!(
            self,
            RefusalV1::Incarnation { .. }
                | RefusalV1::Fenced { .. }
                | RefusalV1::Fork { .. }
                | RefusalV1::Rewound { .. }
                | RefusalV1::Revoked { .. }
                | RefusalV1::Renewed { .. }
                | RefusalV1::Cloned { .. }
                | RefusalV1::Retired { .. }
                | RefusalV1::LeftOut { .. }
        )
    }

    /// Whether trying again by itself can help. The others need a person.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            RefusalV1::Silent { .. } | RefusalV1::Unavailable { .. } | RefusalV1::Superseded | RefusalV1::Draining
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals() -> [(RefusalV1, &'static str); 22] {
        let node = NodeId::HUB;
        let text = || "x".to_string();
        [
            (RefusalV1::WrongEnvironment { ours: text(), theirs: text() }, "0001780178"),
            (RefusalV1::WrongNode { certified: node, claimed: node }, "010000"),
            (RefusalV1::UnknownNode { node }, "0200"),
            (RefusalV1::Incarnation { node }, "0300"),
            (RefusalV1::Fenced { node, ours: 2, theirs: 1 }, "04000201"),
            (RefusalV1::SchemaTooNew { ours: 1, theirs: 2 }, "050102"),
            (RefusalV1::Gap { expected: 1, found: 300 }, "0601ac02"),
            (RefusalV1::Fork { at: 9 }, "0709"),
            (RefusalV1::Rewound { ours: 9, theirs: 4 }, "080904"),
            (RefusalV1::Malformed { what: text() }, "090178"),
            (RefusalV1::Silent { silent_ms: 1 }, "0a02"),
            (RefusalV1::Unavailable { why: text() }, "0b0178"),
            (RefusalV1::Superseded, "0c"),
            (RefusalV1::Revoked { node }, "0d00"),
            (RefusalV1::Renewed { node }, "0e00"),
            (RefusalV1::HubBehind { ours: 4, theirs: 9 }, "0f0409"),
            (RefusalV1::Draining, "10"),
            (RefusalV1::HubSuperseded { ours: 2, theirs: 1 }, "110201"),
            (RefusalV1::SchemaTooOld { ours: 4, theirs: 3 }, "120403"),
            (RefusalV1::Cloned { node }, "1300"),
            (RefusalV1::Retired { node }, "1400"),
            (RefusalV1::LeftOut { node }, "1500"),
        ]
    }

    #[test]
    fn no_refusals_bytes_have_changed() {
        for (refusal, golden) in refusals() {
            let bytes = postcard::to_stdvec(&refusal).unwrap();
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden, "{refusal:?}");
            assert_eq!(postcard::from_bytes(&bytes), Ok(refusal));
        }
    }

    #[test]
    fn a_store_whose_history_is_no_good_is_fenced_and_no_other() {
        let fences: Vec<usize> =
            refusals().iter().enumerate().filter(|(_, (refusal, _))| refusal.is_fence()).map(|(at, _)| at).collect();
        let named = "Incarnation, Fenced, Fork, Rewound, Revoked, Renewed, Cloned, Retired, LeftOut";
        assert_eq!(fences, [3, 4, 7, 8, 13, 14, 19, 20, 21], "{named}");
        assert!(refusals().iter().all(|(refusal, _)| !(refusal.is_fence() && refusal.is_passing())));
    }

    #[test]
    fn a_peer_of_the_version_before_is_told_in_words_what_it_does_not_know() {
        let too_old = RefusalV1::SchemaTooOld { ours: 4, theirs: 3 };
        assert_eq!(too_old.clone().in_words_of(WireVersion::V2), too_old);
        let RefusalV1::Unavailable { why } = too_old.in_words_of(WireVersion::V1) else { panic!("not in words") };
        assert!(why.contains("version 4") && why.contains("Upgrade the node"), "{why}");
        assert_eq!(RefusalV1::Draining.in_words_of(WireVersion::V1), RefusalV1::Draining);
        let node = NodeId::HUB;
        assert_eq!(RefusalV1::Retired { node }.in_words_of(WireVersion::V1), RefusalV1::Revoked { node });
    }

    #[test]
    fn every_refusal_says_what_happened_where_and_what_to_do() {
        for (refusal, _) in refusals() {
            assert!(refusal.hint().ends_with('.') && !refusal.to_string().ends_with('.'), "{refusal}");
        }
        let sentence = |refusal: RefusalV1| refusal.to_string();
        assert_eq!(sentence(RefusalV1::Gap { expected: 5, found: 9 }), "events 5 to 8 are missing");
        assert_eq!(
            sentence(RefusalV1::Rewound { ours: 9, theirs: 4 }),
            "the log ends with event 3, but events up to 8 were received before"
        );
    }
}
