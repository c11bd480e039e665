//! Log shipping between a node and the hub.
//!
//! Two logs travel: the node's own (*up*) and the hub's feed for that node (*down*). To this crate their events are opaque
//! bytes with positions 1, 2, 3 … and a hash chain; what they mean is `jikai-schema`'s business.
//!
//! [`wire`] frames and their codec → [`session`] the sans-I/O state machines (bytes and `now_ms` in, actions out) →
//! [`identity`] the private CA and mutual TLS, [`secrets`] private keys at rest, [`https`] the bounded servers of hub and node → [`backoff`] →
//! [`routes`] which way to the hub → [`transport`] the only code that names quinn → [`machine_log`], [`technical_log`], [`causes`], [`upkeep`].

pub mod backoff;
pub mod causes;
pub mod https;
pub mod identity;
pub mod invitation;
pub mod machine_log;
pub mod routes;
pub mod secrets;
pub mod session;
pub mod technical_log;
pub mod transport;
pub mod upkeep;
pub mod wire;
