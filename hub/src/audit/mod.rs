//! Proof of what was done: the chains of all logs, recomputed offline from a data directory.
//!
//! [`verify`] walks the hub's log with the nodes' feeds beside it, and every node's log, one group a thread, and compares
//! with the hashes and heads that are stored. Only reads; a hub may run meanwhile. [`checkpoint`] signs heads, so that a
//! state rewritten with hashes that fit is found too. [`search`] reads the events themselves.

mod chain;
pub mod checkpoint;
mod hub_log;
mod node_log;
mod range;
pub mod search;
#[cfg(test)]
mod tests;
mod verify;
mod witness;

pub use chain::{Break, ChainName, Flaw, SignedHead, VerifiedChain};
pub use range::{Bound, Range};
pub use verify::{Report, SignedHeads, verify};

/// An audit that could not be made. What it finds is no error.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The state could not be opened.
    #[error("the state could not be opened: {0}")]
    Open(#[from] jikai_schema::store::StoreError),
    /// The state could not be read.
    #[error("the state could not be read: {0}")]
    Read(#[from] rusqlite::Error),
    /// The kept logs could not be read.
    #[error(transparent)]
    History(#[from] crate::machine::StorageError),
    /// A position or day that cannot be meant.
    #[error("`{0}` is neither a position such as 4711 nor a day such as 2026-11-23")]
    Bound(String),
    /// A line could not be written.
    #[error("the result could not be written: {0}")]
    Write(#[from] std::io::Error),
    /// A thread was lost.
    #[error("a verifying thread ended early: run the audit again")]
    Thread,
}
