//! HTTPS as the simulator speaks it: HTTP/1.1 over one TLS connection at a time, with the hub's CA as the only root.

mod connection;
mod directory;
mod service;

pub use connection::{Call, Connection, Endpoint, Reply, TransportError, trust};
#[cfg(test)]
pub(crate) use directory::tests::of_two_nodes;
pub use directory::{Directory, directory_key};
pub use service::Service;
