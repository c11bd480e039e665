//! The hub's private certificate authority.

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, SigningKey,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::IdentityError;

/// Name that the hub's certificates carry.
pub const HUB_NAME: &str = "hub.jikai";
/// Suffix of every name of this authority.
const SUFFIX: &str = ".jikai";
/// Validity of the authority: ten years.
const AUTHORITY_YEARS: i32 = 10;
/// Validity of a node's or hub's certificate: two years.
const CERTIFICATE_YEARS: i32 = 2;

/// Name that node `N`'s certificate carries.
pub fn node_name(node: NodeId) -> String {
    format!("node-{node}{SUFFIX}")
}

/// A private key as PEM, wiped when dropped. `Debug` hides it.
pub struct Key(zeroize::Zeroizing<String>);

impl Key {
    /// Makes a new key.
    pub fn generate() -> Result<Self, IdentityError> {
        let pair = KeyPair::generate().map_err(failed("make a key"))?;
        Ok(Key(zeroize::Zeroizing::new(pair.serialize_pem())))
    }

    /// Takes a key read from its file.
    pub fn from_pem(pem: String) -> Self {
        Key(zeroize::Zeroizing::new(pem))
    }

    /// The PEM text, for its file.
    pub fn pem(&self) -> &str {
        &self.0
    }

    fn pair(&self) -> Result<KeyPair, IdentityError> {
        KeyPair::from_pem(&self.0).map_err(failed("read the key"))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A new key with the request to have it certified. Only the request leaves the machine.
#[derive(Debug)]
pub struct KeyAndRequest {
    /// Stays.
    pub key: Key,
    /// Goes to the hub, PEM.
    pub request_pem: String,
}

impl KeyAndRequest {
    /// Makes a key for a node and the request for it.
    pub fn for_node(node: NodeId) -> Result<Self, IdentityError> {
        let key = Key::generate()?;
        let params = CertificateParams::new(vec![node_name(node)]).map_err(failed("make a request"))?;
        let request = params.serialize_request(&key.pair()?).map_err(failed("make a request"))?;
        let request_pem = request.pem().map_err(failed("make a request"))?;
        Ok(KeyAndRequest { key, request_pem })
    }
}

/// The authority: signs certificates of nodes and of the hub.
#[derive(Debug)]
pub struct CertificateAuthority {
    certificate_pem: String,
    key: Key,
}

impl CertificateAuthority {
    /// Makes a new authority for one environment of one province.
    pub fn create(environment: &str, now_ms: TimeMs) -> Result<Self, IdentityError> {
        let key = Key::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&format!("Jikai {environment} CA"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_ms, AUTHORITY_YEARS);
        let certificate = params.self_signed(&key.pair()?).map_err(failed("make the authority"))?;
        Ok(CertificateAuthority { certificate_pem: certificate.pem(), key })
    }

    /// Takes an authority read from its files.
    pub fn from_pem(certificate_pem: String, key: Key) -> Self {
        CertificateAuthority { certificate_pem, key }
    }

    /// The authority's certificate, to be trusted by everybody.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key, for its file only.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Signs a node's request. Name and use are set here; of the request only the public key is taken. `hosts` are further
    /// names and addresses for its terminals; none may be one that this authority gives a meaning.
    pub fn sign_node(
        &self,
        request_pem: &str,
        node: NodeId,
        hosts: &[String],
        now_ms: TimeMs,
    ) -> Result<String, IdentityError> {
        if let Some(reserved) = hosts.iter().find(|host| is_reserved(host)) {
            return Err(IdentityError::ReservedName(reserved.clone()));
        }
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).map_err(failed("read the request"))?;
        request.params = leaf_params(&node_name(node), hosts, now_ms)?;
        let issuer = self.issuer()?;
        Ok(request.signed_by(&issuer).map_err(failed("sign the request"))?.pem())
    }

    /// Makes a certificate for the hub's own key.
    pub fn certify_hub(&self, key: &Key, hosts: &[String], now_ms: TimeMs) -> Result<String, IdentityError> {
        let params = leaf_params(HUB_NAME, hosts, now_ms)?;
        let issuer = self.issuer()?;
        Ok(params.signed_by(&key.pair()?, &issuer).map_err(failed("certify the hub"))?.pem())
    }

    fn issuer(&self) -> Result<Issuer<'static, impl SigningKey>, IdentityError> {
        Issuer::from_ca_cert_pem(&self.certificate_pem, self.key.pair()?).map_err(failed("read the authority"))
    }
}

/// Whether a host name could pass for the hub or another node. Names of hosts have no case and may end with a dot.
fn is_reserved(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host.ends_with(SUFFIX)
}

fn leaf_params(name: &str, hosts: &[String], now_ms: TimeMs) -> Result<CertificateParams, IdentityError> {
    let names = [&[name.to_string()], hosts].concat();
    let mut params = CertificateParams::new(names).map_err(failed("name the certificate"))?;
    // Drawn: by itself the library derives it from the key, and two certificates of one key could not be told apart.
    let mut serial = rand::rng().random::<[u8; 16]>();
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.subject_alt_names.push(SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
    params.distinguished_name = common_name(name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, now_ms, CERTIFICATE_YEARS);
    Ok(params)
}

/// Valid from the day before (clocks differ) to the same day some years on; the 29th of a month becomes the 28th.
fn set_validity(params: &mut CertificateParams, now_ms: TimeMs, years: i32) {
    let part = |day: &str, range: std::ops::Range<usize>| day[range].parse::<i32>().unwrap_or(1);
    let day = now_ms.business_day().plus_days(-1).to_string();
    let (year, month, date) = (part(&day, 0..4), part(&day, 5..7) as u8, part(&day, 8..10).min(28) as u8);
    params.not_before = rcgen::date_time_ymd(year, month, date);
    params.not_after = rcgen::date_time_ymd(year + years, month, date);
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// What a certificate of this authority says of its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certified {
    /// Whose it is; the hub's is [`NodeId::HUB`].
    pub node: NodeId,
    /// Its serial number, lower-case hex without leading zero bytes.
    pub serial: String,
    /// When it begins.
    pub not_before_ms: TimeMs,
    /// When it expires.
    pub not_after_ms: TimeMs,
}

/// Reads a certificate in PEM.
pub fn certified_by_pem(pem: &str) -> Result<Certified, IdentityError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| IdentityError::Pem("certificate"))?;
    certified(&der)
}

/// Reads a certificate in DER, which TLS has verified already.
pub fn certified(der: &[u8]) -> Result<Certified, IdentityError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::NoNode)?;
    let validity = certificate.validity();
    let at_ms = |seconds: i64| TimeMs::from_ms(seconds.saturating_mul(1_000));
    Ok(Certified {
        node: node_of_certificate(der)?,
        serial: format!("{:x}", certificate.tbs_certificate.serial),
        not_before_ms: at_ms(validity.not_before.timestamp()),
        not_after_ms: at_ms(validity.not_after.timestamp()),
    })
}

/// The node that a presented certificate (DER, already verified by TLS) names; the hub's is [`NodeId::HUB`].
pub fn node_of_certificate(der: &[u8]) -> Result<NodeId, IdentityError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::NoNode)?;
    let names = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    for name in names.flatten() {
        let GeneralName::DNSName(name) = name else { continue };
        if *name == HUB_NAME {
            return Ok(NodeId::HUB);
        }
        let number = name.strip_prefix("node-").and_then(|name| name.strip_suffix(SUFFIX));
        if let Some(Ok(node)) = number.and_then(|number| number.parse().ok()).map(NodeId::new) {
            return Ok(node);
        }
    }
    Err(IdentityError::NoNode)
}

fn failed(what: &'static str) -> impl Fn(rcgen::Error) -> IdentityError {
    move |source| IdentityError::Certificate { what, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> TimeMs {
        TimeMs::from_ms(1_790_000_000_000)
    }

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    #[test]
    fn a_signed_request_names_the_node_the_operator_chose_not_the_one_it_asked_for() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        let request = KeyAndRequest::for_node(node(9)).unwrap();
        let pem = authority.sign_node(&request.request_pem, node(3), &[], now()).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(node_of_certificate(&der).unwrap(), node(3));
    }

    #[test]
    fn every_certificate_has_a_serial_number_of_its_own_and_tells_its_validity() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        let request = KeyAndRequest::for_node(node(3)).unwrap();
        let sign = || authority.sign_node(&request.request_pem, node(3), &[], now()).unwrap();
        let (one, other) = (certified_by_pem(&sign()).unwrap(), certified_by_pem(&sign()).unwrap());
        assert_eq!((one.node, other.node), (node(3), node(3)));
        assert_ne!(one.serial, other.serial);
        assert_eq!((one.serial.len(), other.serial.len()), (32, 32));
        assert!(one.not_before_ms < now() && now() < one.not_after_ms);
        assert!(certified_by_pem("junk").is_err());
    }

    #[test]
    fn the_hubs_certificate_names_the_hub_and_the_authoritys_nobody() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        let key = Key::generate().unwrap();
        let pem = authority.certify_hub(&key, &["hub.example".into()], now()).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(node_of_certificate(&der).unwrap(), NodeId::HUB);
        let der = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
        assert!(node_of_certificate(&der).is_err());
        assert!(node_of_certificate(b"junk").is_err());
    }

    #[test]
    fn no_host_name_can_make_a_node_pass_for_the_hub_or_another_node() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        let request = KeyAndRequest::for_node(node(3)).unwrap();
        let sign = |host: &str| authority.sign_node(&request.request_pem, node(3), &[host.to_string()], now());
        for reserved in ["hub.jikai", "HUB.jikai", "node-4.jikai", "*.jikai", "hub.jikai."] {
            assert!(matches!(sign(reserved), Err(IdentityError::ReservedName(_))), "{reserved}");
        }
        for free in ["node3.example", "10.1.2.3", "jikai.example"] {
            sign(free).unwrap();
        }
    }

    #[test]
    fn a_request_that_cannot_be_read_is_refused() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        assert!(authority.sign_node("junk", node(1), &[], now()).is_err());
    }
}
