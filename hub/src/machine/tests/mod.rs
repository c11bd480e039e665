//! Every command's success beside its refusals.

mod access;
mod answered;
mod batches;
mod changes;
mod cluster;
mod determinism;
mod directory;
mod fleet;
mod handoff;
mod ingest;
mod master;
mod nodes;
mod recovery;
mod recovery_handoffs;
mod recovery_stores;
mod secrets;
mod staff;
mod stamps;
mod stock;
