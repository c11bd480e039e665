//! Messages between the machines: QUIC with certificates on both sides, one connection per pair and direction, every
//! call on a stream of its own.
//!
//! openraft 0.9 cancels an append after one heartbeat; how entries that take longer still arrive is told at
//! `client::PeerClient`.

mod client;
mod endpoint;
mod frame;
mod message;
mod peer;
mod peers;
mod server;

pub use endpoint::{EndpointError, Identify, Identity};
pub use frame::FrameError;

pub(crate) use endpoint::{bind, server_config};
pub(crate) use message::{Call, Proposed, Reply, Request};
pub(crate) use peer::CallError;
pub(crate) use peers::Peers;
pub(crate) use server::{Handler, serve};
