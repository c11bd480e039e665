//! HTTPS as the simulator speaks it: HTTP/1.1 over one TLS connection at a time, with the hub's CA as the only root.

mod connection;
mod service;

pub use connection::{Call, Connection, Endpoint, Reply, TransportError, trust};
pub use service::Service;
