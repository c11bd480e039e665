//! One chain while it is walked: where it stands, and the first thing that is wrong with it.

use core::fmt;

use jikai_schema::chain::ChainHash;

/// A chain of hashes. Numbers are kept as stored, so that a row that nobody may write is still named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainName {
    /// The hub's own log.
    Hub,
    /// What a node is sent: the hub's log filtered.
    Feed(i64),
    /// A node's log as the hub holds it.
    Node(i64),
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainName::Hub => f.write_str("log of the hub"),
            ChainName::Feed(node) => write!(f, "feed of node {node}"),
            ChainName::Node(node) => write!(f, "log of node {node}"),
        }
    }
}

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Break {
    /// Which chain.
    pub chain: ChainName,
    /// Position in it.
    pub seq: u64,
    /// What is wrong there.
    pub flaw: Flaw,
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, event {}: {}", self.chain, self.seq, self.flaw)
    }
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The bytes and the stored hash do not belong together.
    #[error("it was altered, swapped or put in: its bytes give the chain {computed}, stored is {stored}")]
    Altered {
        /// Hash of the bytes behind everything before them.
        computed: ChainHash,
        /// Hash as stored.
        stored: ChainHash,
    },
    /// As [`Flaw::Altered`], in a batch that has one hash for all its events, and the command log does not know better.
    #[error(
        "one of the events {first}..={last} was altered, removed, swapped or put in: they give the chain {computed}, stored is {stored}"
    )]
    BatchAltered {
        /// First event of the batch.
        first: u64,
        /// Its last event.
        last: u64,
        /// Hash of the bytes.
        computed: ChainHash,
        /// Hash as stored.
        stored: ChainHash,
    },
    /// The bytes are those that were proposed, the stored hash is not theirs.
    #[error("the stored hash of the batch {first}..={last} was altered; the events are those of the command log")]
    HashAltered {
        /// First event of the batch.
        first: u64,
        /// Its last event.
        last: u64,
    },
    /// The next row has another position.
    #[error("it is missing: the next one kept is {found}")]
    Missing {
        /// Position found instead.
        found: i64,
    },
    /// A batch whose lengths do not add up.
    #[error("its batch is damaged: {count} events are promised, the lengths in front of them do not add up to that")]
    Framing {
        /// Events that the row promises.
        count: i64,
    },
    /// The event carries another place.
    #[error("the event says that it is event {seq} of log {origin}")]
    OtherPlace {
        /// The log it names.
        origin: u16,
        /// The position it names.
        seq: u64,
    },
    /// An event of the hub that is none.
    #[error("it cannot be read as an event: {0}")]
    Unreadable(String),
    /// The column beside the event says something else than the event.
    #[error("its audience is stored as {stored}, the event's own is {own}")]
    Audience {
        /// As stored.
        stored: i64,
        /// As the event says.
        own: i64,
    },
    /// Time goes back.
    #[error("it was decided at {at_ms} ms, before the event in front of it ({before_ms} ms)")]
    Time {
        /// Its stamp.
        at_ms: i64,
        /// The stamp before.
        before_ms: i64,
    },
    /// An event for this node is not in its feed.
    #[error("event {hub_seq} of the hub is for this node and is missing here")]
    NotFed {
        /// Position in the hub's log.
        hub_seq: i64,
    },
    /// The feed holds what the hub's log does not, or what is not for this node.
    #[error("it holds event {hub_seq} of the hub, which is not kept there or is not for this node")]
    NotForIt {
        /// Position in the hub's log.
        hub_seq: i64,
    },
    /// A chain without a stored head.
    #[error("the chain has no head in `{0}`: that row was removed, or these events were put in")]
    NoHead(&'static str),
    /// The stored head is not the end of the chain.
    #[error(
        "the chain ends at event {seq} with {hash}, the stored head in `{table}` is event {head_seq} with {head_hash}"
    )]
    Head {
        /// Where the head is stored.
        table: &'static str,
        /// End of the chain.
        seq: u64,
        /// Hash at the end.
        hash: ChainHash,
        /// Stored position.
        head_seq: i64,
        /// Stored hash.
        head_hash: ChainHash,
    },
    /// Checkpoint and chain differ.
    #[error("checkpoint {checkpoint} signed {signed} here, the chain now has {computed}: it was rewritten")]
    Rewritten {
        /// Number of the checkpoint.
        checkpoint: u64,
        /// As signed.
        signed: ChainHash,
        /// As recomputed.
        computed: ChainHash,
    },
    /// The chain is shorter than it was.
    #[error(
        "checkpoint {checkpoint} signed this event with {signed}, the chain ends at event {end}: the end was cut off"
    )]
    CutOff {
        /// Number of the checkpoint.
        checkpoint: u64,
        /// As signed.
        signed: ChainHash,
        /// Newest position now.
        end: u64,
    },
    /// The copy in quarantine is not the event.
    #[error("its copy in quarantine differs from the event")]
    Quarantine,
    /// SQLite could not read on.
    #[error("the rows from here on cannot be read: {0}")]
    Storage(String),
}

/// A head that a checkpoint signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHead {
    /// Number of the checkpoint.
    pub checkpoint: u64,
    /// Position.
    pub seq: u64,
    /// Chain after that event.
    pub hash: ChainHash,
}

/// A chain that was walked.
#[derive(Debug, Clone)]
pub struct VerifiedChain {
    /// Which.
    pub name: ChainName,
    /// Events whose hashes were recomputed.
    pub events: u64,
    /// Newest position reached.
    pub seq: u64,
    /// The chain there.
    pub hash: ChainHash,
    /// Signed heads that were met and agreed.
    pub signed: u64,
    /// What is wrong first; `None` when the chain is whole.
    pub broken: Option<Break>,
}

/// Stored position and hash of a chain's end.
#[derive(Clone, Copy)]
pub(super) struct StoredHead {
    pub table: &'static str,
    pub seq: i64,
    pub hash: ChainHash,
}

/// The walk along one chain.
pub(super) struct Walk<'a> {
    chain: VerifiedChain,
    /// Signed heads that are still ahead, by position.
    ahead: &'a [SignedHead],
}

impl<'a> Walk<'a> {
    /// Stands behind event `seq`, whose chain is `hash`.
    pub fn behind(name: ChainName, seq: u64, hash: ChainHash, signed: &'a [SignedHead]) -> Self {
        let chain = VerifiedChain { name, events: 0, seq, hash, signed: 0, broken: None };
        let passed = signed.partition_point(|head| head.seq <= seq);
        // A range begins behind an event whose stored hash is taken for granted, unless it was signed.
        let at = signed[..passed].iter().rev().take_while(|head| head.seq == seq);
        let mut walk = Walk { chain, ahead: &signed[passed..] };
        for head in at {
            walk.meet(head);
        }
        walk
    }

    pub fn is_broken(&self) -> bool {
        self.chain.broken.is_some()
    }

    pub fn seq(&self) -> u64 {
        self.chain.seq
    }

    pub fn hash(&self) -> ChainHash {
        self.chain.hash
    }

    pub fn stop_at(&mut self, seq: u64, flaw: Flaw) {
        self.chain.broken.get_or_insert(Break { chain: self.chain.name, seq, flaw });
    }

    /// Notes what is wrong with the next event.
    pub fn stop(&mut self, flaw: Flaw) {
        self.stop_at(self.chain.seq + 1, flaw);
    }

    /// Whether the next row has the next position.
    pub fn expects(&mut self, seq: i64) -> bool {
        let expected = self.chain.seq as i64 + 1;
        if seq != expected {
            self.stop(Flaw::Missing { found: seq });
        }
        seq == expected
    }

    /// Goes over one event with its stored hash.
    pub fn step(&mut self, seq: i64, bytes: &[u8], stored: ChainHash) {
        if self.is_broken() || !self.expects(seq) {
            return;
        }
        let computed = self.chain.hash.next(bytes);
        if computed == stored {
            self.advance(1, computed);
        } else {
            self.stop(Flaw::Altered { computed, stored });
        }
    }

    /// Goes over so many events, behind which the chain is `hash`; stops early only for a signed head, of which it meets
    /// those at the end: see [`Walk::signs_within`].
    pub fn advance(&mut self, events: u64, hash: ChainHash) {
        self.chain.hash = hash;
        self.chain.seq += events;
        self.chain.events += events;
        while let Some((head, rest)) = self.ahead.split_first()
            && head.seq <= self.chain.seq
        {
            self.ahead = rest;
            self.meet(head);
        }
    }

    /// Whether a signed head lies before the end of the next so many events.
    pub fn signs_within(&self, events: u64) -> bool {
        self.ahead.first().is_some_and(|head| head.seq < self.chain.seq + events)
    }

    /// Ends the walk. `head` is what is stored as the end, `None` where a range ends before it.
    pub fn finish(mut self, head: Option<StoredHead>) -> VerifiedChain {
        let Some(head) = head.filter(|_| !self.is_broken()) else { return self.chain };
        let (seq, hash) = (self.chain.seq, self.chain.hash);
        if let Some(cut) = self.ahead.first() {
            let (checkpoint, signed) = (cut.checkpoint, cut.hash);
            self.stop_at(cut.seq, Flaw::CutOff { checkpoint, signed, end: seq });
        } else if head.seq != seq as i64 || head.hash != hash {
            let at = if head.seq > seq as i64 { seq + 1 } else { seq };
            self.stop_at(at, Flaw::Head { table: head.table, seq, hash, head_seq: head.seq, head_hash: head.hash });
        }
        self.chain
    }

    fn meet(&mut self, head: &SignedHead) {
        if head.hash == self.chain.hash {
            self.chain.signed += 1;
        } else {
            let (signed, computed) = (head.hash, self.chain.hash);
            self.stop_at(head.seq, Flaw::Rewritten { checkpoint: head.checkpoint, signed, computed });
        }
    }
}
