//! TLS configurations from certificates. aws-lc-rs is the one crypto provider, named explicitly each time.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::{IdentityError, Key};
use crate::wire::WireVersion;

/// A certificate, its key, and the authority that all parties trust. The chain is never empty.
pub struct TlsIdentity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    /// Application protocols of a sync connection, the one to be preferred first.
    protocols: Vec<Vec<u8>>,
}

impl TlsIdentity {
    /// Reads the three PEM texts.
    pub fn from_pem(certificate_pem: &str, key: &Key, authority_pem: &str) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|_| IdentityError::Pem("certificate"))?;
        if chain.is_empty() {
            return Err(IdentityError::Pem("certificate"));
        }
        let key = PrivateKeyDer::from_pem_slice(key.pem().as_bytes()).map_err(|_| IdentityError::Pem("private key"))?;
        let protocols = WireVersion::ALL.iter().map(|version| version.alpn().to_vec()).collect();
        Ok(TlsIdentity { chain, key, roots: Arc::new(roots(authority_pem)?), protocols })
    }

    /// The same for a party that speaks these versions of the wire and no other, the one to be preferred first: as earlier and later
    /// builds do.
    pub fn speaking(self, protocols: &[&[u8]]) -> Self {
        TlsIdentity { protocols: protocols.iter().map(|protocol| protocol.to_vec()).collect(), ..self }
    }

    /// The certificate itself.
    pub(super) fn leaf(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// Whom all parties trust.
    pub(super) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }

    /// The private key, to derive other secrets from that must outlive the process.
    pub(crate) fn private_key_der(&self) -> &[u8] {
        self.key.secret_der()
    }
}

fn roots(authority_pem: &str) -> Result<RootCertStore, IdentityError> {
    let authority =
        CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(|_| IdentityError::Pem("CA certificate"))?;
    let mut roots = RootCertStore::empty();
    roots.add(authority)?;
    Ok(roots)
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The hub's side of sync: TLS 1.3, and a node must present a certificate of the authority.
pub fn sync_server(identity: &TlsIdentity) -> Result<ServerConfig, IdentityError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(identity.roots.clone(), provider())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = identity.protocols.clone();
    Ok(config)
}

/// A node's side of sync: TLS 1.3, presents its certificate, trusts the authority only.
pub fn sync_client(identity: &TlsIdentity) -> Result<ClientConfig, IdentityError> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(identity.roots.clone())
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = identity.protocols.clone();
    Ok(config)
}

/// A server of JSON over HTTPS (HTTP/2 and 1.1) under this identity; clients prove themselves otherwise. TLS 1.3, and 1.2 where
/// old devices ask for it.
pub fn https_server(identity: &TlsIdentity, tls_1_2: bool) -> Result<ServerConfig, IdentityError> {
    let versions: &[&SupportedProtocolVersion] = if tls_1_2 { &[&TLS13, &TLS12] } else { &[&TLS13] };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A client that trusts only the authority and shows no certificate: the command line against its own server.
pub fn client_only_trust(authority_pem: &str) -> Result<ClientConfig, IdentityError> {
    Ok(ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots(authority_pem)?)
        .with_no_client_auth())
}
