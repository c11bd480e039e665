//! The shared ground of Jikai: what a fact is, how it is written, and what it does to the tables.
//!
//! Node and hub run this very code over the same tables: a node's database is its slice of the hub's.
//! Read in this order: [`id`], [`money`], [`time`], [`barcode`] (values) → [`event`], [`codec`], [`chain`] (facts) →
//! [`crypto`], [`seal`], [`vault`] (secrets) → [`store`], [`ledger`], [`projection`] (tables) → [`rules`] (what node and hub
//! decide alike) → [`command`] (what the hub is asked) → [`digest`] (the proof that two stores agree).
//!
//! No clock is read in a projection, no randomness, no float; nothing here knows of networks or threads.

pub mod barcode;
pub mod chain;
pub mod codec;
pub mod command;
pub mod crypto;
pub mod digest;
pub mod directory;
pub mod event;
pub mod id;
pub mod ledger;
pub mod money;
pub mod outlet_rows;
pub mod parameter;
pub mod peer;
pub mod personal;
pub mod projection;
pub mod rules;
pub mod seal;
pub mod slice;
pub mod staff;
pub mod store;
pub mod time;
pub mod vault;
