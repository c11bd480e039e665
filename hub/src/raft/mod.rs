//! Replication of the hub's command log by openraft.
//!
//! In reading order: [`types`] names what openraft is told about us; [`log_store`] keeps entries and votes in an SQLite
//! file of its own; [`state`] is the seam to whatever the entries change, [`snapshots`] the folder of its copies;
//! [`network`] carries messages between the machines over QUIC; [`digests`] is what they tell each other of their states;
//! [`cluster`] starts all of it and is what callers use.
//! Only this module names openraft.

pub mod cluster;
pub mod digests;
pub mod log_store;
pub mod network;
pub mod settings;
pub mod snapshots;
pub mod state;
pub mod types;
mod worker;
