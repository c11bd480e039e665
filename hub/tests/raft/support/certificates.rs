//! A small authority: one certificate per machine, told apart by the certificate itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use jikai_hub::raft::network::{Identify, Identity};
use quinn::EndpointConfig;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

const PEER_NAME: &str = "raft-peer";

/// Issues certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    issued: Arc<Mutex<BTreeMap<Vec<u8>, u64>>>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Authority { issuer, issued: Arc::default() }
    }

    /// A certificate that says who its holder is.
    pub fn identity(&self, id: u64) -> Identity {
        let (identity, certificate) = self.unregistered();
        self.issued.lock().unwrap().insert(certificate, id);
        identity
    }

    /// A certificate of this authority that belongs to no machine.
    pub fn unregistered(&self) -> (Identity, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![PEER_NAME.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![certificate.der().clone()];
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let roots = Arc::new(roots);
        let provider = Arc::new(default_provider());
        let private = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), private())
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, private())
            .unwrap();
        let issued = self.issued.clone();
        let identify: Identify =
            Arc::new(move |chain: &[CertificateDer<'_>]| issued.lock().unwrap().get(chain.first()?.as_ref()).copied());
        let identity = Identity {
            server: Arc::new(server),
            client: Arc::new(client),
            server_name: PEER_NAME.to_owned(),
            identify,
            endpoint: EndpointConfig::default(),
        };
        (identity, certificate.der().to_vec())
    }
}
