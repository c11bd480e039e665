//! Sessions over QUIC: the drivers, and all that names quinn.

mod agreed;
mod closing;
mod driver;
mod hub;
mod intake;
mod limits;
mod node;
mod requests;
mod reset;
mod store;

pub use hub::{HubDrain, HubEndpoint, HubIdentity, HubOptions};
pub use node::{NodeUplink, UplinkIdentity, UplinkOptions, UplinkPace, UplinkStatus};
pub use requests::{RequestError, Requester};
pub use reset::endpoint_settings;
pub use store::{Admission, Future, HubStore, LogError, NodeStore};

/// A transport that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address cannot be used.
    #[error("the address {address} cannot be used: {source}")]
    Bind {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// TLS refuses the identity.
    #[error(transparent)]
    Identity(#[from] crate::identity::IdentityError),
    /// TLS without the cipher suite that QUIC starts with.
    #[error("the TLS configuration cannot start a QUIC connection")]
    NoInitialCipher,
}
