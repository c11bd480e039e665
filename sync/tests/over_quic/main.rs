//! Both drivers over real QUIC and mutual TLS on this machine.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod certificates;
mod ends;
mod links;
mod relay;
mod sessions;
mod strangers;
mod versions;
