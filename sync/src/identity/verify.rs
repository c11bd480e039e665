//! Proof that a certificate is what a node asked for, before it takes the place of the one that works.

use std::time::Duration;

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{ServerName, UnixTime};

use super::authority::node_name;
use super::tls::{provider, sync_client};
use super::{Certified, IdentityError, Key, TlsIdentity, certified};

/// Checks, in this order: it can be read → it belongs to the key → it is this node's → the authority signed it, it is valid at
/// `now_ms`, and it is good as a server's and as a client's.
pub fn verify_node(
    certificate_pem: &str,
    key: &Key,
    authority_pem: &str,
    node: NodeId,
    now_ms: TimeMs,
) -> Result<(Certified, TlsIdentity), IdentityError> {
    let identity = TlsIdentity::from_pem(certificate_pem, key, authority_pem)?;
    sync_client(&identity)?;
    let leaf = identity.leaf();
    let certified = certified(leaf)?;
    if certified.node != node {
        return Err(IdentityError::OtherNode(certified.node));
    }
    let unusable = |error: rustls::server::VerifierBuilderError| rustls::Error::General(error.to_string());
    let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now_ms.ms()).unwrap_or(0)));
    let roots = identity.roots();
    let server = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider()).build().map_err(unusable)?;
    let name = ServerName::try_from(node_name(node)).map_err(|_| IdentityError::NoNode)?;
    server.verify_server_cert(leaf, &[], &name, &[], now)?;
    let client = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build().map_err(unusable)?;
    client.verify_client_cert(leaf, &[], now)?;
    Ok((certified, identity))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{CertificateAuthority, KeyAndRequest, check_authority};

    const NOW_MS: i64 = 1_790_000_000_000;
    const DAY_MS: i64 = 86_400_000;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    /// An authority, a key of node 3, and its certificate, good for ten days.
    fn issued() -> (CertificateAuthority, Key, String) {
        let now_ms = TimeMs::from_ms(NOW_MS);
        let authority = CertificateAuthority::create("test", now_ms).unwrap().signing_for(10 * DAY_MS);
        let KeyAndRequest { key, request_pem } = KeyAndRequest::for_node(node(3)).unwrap();
        let certificate = authority.sign_node(&request_pem, node(3), &[], now_ms).unwrap();
        (authority, key, certificate)
    }

    #[test]
    fn a_certificate_is_good_a_day_before_it_was_made_and_until_it_ends_and_not_beyond() {
        let (authority, key, certificate) = issued();
        let at = |ms| verify_node(&certificate, &key, authority.certificate_pem(), node(3), TimeMs::from_ms(ms));
        for good in [NOW_MS - DAY_MS, NOW_MS, NOW_MS + DAY_MS, NOW_MS + 10 * DAY_MS - 1_000] {
            assert_eq!(at(good).unwrap().0.node, node(3), "{good}");
        }
        for bad in [NOW_MS - DAY_MS - 3_601_000, NOW_MS + 10 * DAY_MS + 1_000, NOW_MS + 11 * DAY_MS] {
            assert!(matches!(at(bad), Err(IdentityError::Tls(rustls::Error::InvalidCertificate(_)))), "{bad}");
        }
    }

    #[test]
    fn an_authority_belongs_to_its_environment() {
        let authority = |environment| CertificateAuthority::create(environment, TimeMs::from_ms(NOW_MS)).unwrap();
        let test = authority("test");
        assert!(check_authority(test.certificate_pem(), "test").is_ok());
        let refused = check_authority(test.certificate_pem(), "production").unwrap_err().to_string();
        assert!(refused.contains("`Jikai test CA`") && refused.contains("`production`"), "{refused}");
        assert!(check_authority("junk", "test").is_err());
    }

    #[test]
    fn a_certificate_of_another_key_node_or_authority_is_refused() {
        let (authority, key, certificate) = issued();
        let now_ms = TimeMs::from_ms(NOW_MS);
        let verify =
            |pem: &str, key: &Key, authority: &str, number| verify_node(pem, key, authority, node(number), now_ms);
        let trusted = authority.certificate_pem();
        assert!(verify(&certificate, &key, trusted, 3).is_ok());
        assert!(verify(&certificate, &Key::generate().unwrap(), trusted, 3).is_err());
        assert!(matches!(verify(&certificate, &key, trusted, 4), Err(IdentityError::OtherNode(_))));
        let other = CertificateAuthority::create("test", now_ms).unwrap();
        assert!(verify(&certificate, &key, other.certificate_pem(), 3).is_err());
        assert!(verify("junk", &key, trusted, 3).is_err());
        let hub = authority.certify_hub(&key, &[], now_ms).unwrap();
        assert!(verify(&hub, &key, trusted, 3).is_err());
    }
}
