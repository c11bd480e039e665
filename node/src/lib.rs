//! A regional node: it decides what happens at its outlets, keeps it in SQLite, and ships its log to the hub.
//!
//! Read in this order: [`config`], [`store`], [`secrets`], [`keyring`] (what it stands on) → [`decide`] (the rules of each verb) →
//! [`writer`] (group commit) → [`query`] (reads) → [`session`], [`directory`], [`http`] (the terminals' API) → [`uplink`], [`join`]
//! (sync) →
//! [`identity`], [`renewal`] (its certificate) → [`app`] and [`command`] (how it is put together and run).

pub mod app;
pub mod command;
pub mod config;
pub mod decide;
pub mod directory;
pub mod handoff;
pub mod http;
pub mod identity;
pub mod join;
pub mod keyring;
pub mod machine_log;
pub mod query;
pub mod renewal;
pub mod rights;
pub mod secrets;
pub mod session;
pub mod store;
pub mod uplink;
pub mod writer;
