//! Who is who on the network: a private CA, certificates that name a node, mutual TLS.
//!
//! A node makes its key and never shows it; the hub signs a request for the node that the operator names. Whoever
//! connects is the node of the certificate, whatever a message says.

mod authority;
mod certified;
mod files;
mod tls;
mod verify;

pub use authority::{CERTIFICATE_MS, CertificateAuthority, HUB_NAME, Key, KeyAndRequest, machine_name, node_name};
pub use certified::{
    Certified, certified, certified_by_pem, check_authority, machine_by_pem, machine_of_certificate,
    node_of_certificate, not_after_ms,
};
pub use files::{create_private_dir, write_private_file};
pub use tls::{TlsIdentity, client_only_trust, https_server, sync_client, sync_server};
pub use verify::verify_node;

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
    /// A certificate of another node than was asked for.
    #[error("the certificate is node {0}'s")]
    OtherNode(jikai_schema::id::NodeId),
    /// The authority's own certificate has expired.
    #[error("the authority has expired: make another one and enrol every node with it")]
    AuthorityEnded,
    /// An authority of another environment.
    #[error(
        "the authority is `{found}`, not that of the environment `{environment}`: no certificate goes from one to another"
    )]
    OtherEnvironment {
        /// The environment that was expected.
        environment: String,
        /// What the authority calls itself.
        found: String,
    },
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
}
