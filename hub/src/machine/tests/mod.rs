//! Every command's success beside its refusals.

mod batches;
mod determinism;
mod ingest;
mod master;
mod staff;
mod stock;
