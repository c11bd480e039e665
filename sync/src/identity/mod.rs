//! Who is who on the network: a private CA, certificates that name a node, mutual TLS.
//!
//! A node makes its key and never shows it; the hub signs a request for the node that the operator names. Whoever
//! connects is the node of the certificate, whatever a message says.

mod authority;
mod files;
mod tls;

pub use authority::{
    CertificateAuthority, Certified, HUB_NAME, Key, KeyAndRequest, certified, certified_by_pem, node_name,
    node_of_certificate,
};
pub use files::{create_private_dir, write_private_file};
pub use tls::{TlsIdentity, client_only_trust, https_server, sync_client, sync_server};

/// An identity that cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A key, request or certificate that cannot be made or read.
    #[error("{what}: {source}")]
    Certificate {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// TLS refuses the material.
    #[error("the TLS identity cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// A PEM file without what it should hold.
    #[error("no {0} in the PEM text")]
    Pem(&'static str),
    /// A host name that only the authority itself may give.
    #[error("the host name `{0}` is reserved: names under `.jikai` say who is who")]
    ReservedName(String),
    /// A certificate that does not name a node.
    #[error("the certificate does not name a node")]
    NoNode,
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}
