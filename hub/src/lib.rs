//! The hub: decides what happens at the centre, takes in what the nodes decided, and reports on both.
//!
//! Every change is a `Command` in one totally ordered log. Read in this order: [`config`], [`identity`], [`store`] (what
//! it stands on) → [`log`] (the ordered log), [`raft`] (how it is replicated) → [`machine`] (what a command does, the
//! same on every machine) → [`replica`] (the tables that it builds here) → [`member`] (both as one machine of the cluster) → [`sequencer`] (group commit) → [`ingest`] (the nodes' logs and feeds) → [`import`] (files into
//! commands) → [`reports`] (reads) → [`audit`] (proof) → [`staff`] (passwords, second factors), [`keys`] (what lies encrypted in the state) → [`rights`] (who may do
//! what) → [`http`] (the centre's API) → [`app`] and [`command`] (how it is put together).

pub mod app;
pub mod audit;
pub mod background;
pub mod command;
pub mod config;
pub mod directory;
pub mod front_door;
pub mod handoff;
pub mod http;
pub mod identity;
pub mod import;
pub mod ingest;
pub mod jobs;
pub mod keys;
pub mod log;
pub mod machine;
pub mod machine_log;
pub mod machines;
pub mod member;
pub mod personal;
#[cfg(test)]
mod province;
pub mod raft;
pub mod recovery;
pub mod replica;
pub mod reports;
pub mod rights;
pub mod sequencer;
pub mod staff;
pub mod store;
