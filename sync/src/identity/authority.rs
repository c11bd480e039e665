//! The hub's private certificate authority.

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rand::RngExt;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, SigningKey,
};

use super::IdentityError;
use super::certified::{SUFFIX, not_after_ms};

/// Name that the hub's certificates carry.
pub const HUB_NAME: &str = "hub.jikai";
/// Every certificate is good on its own machine.
pub(super) const LOCAL_ADDRESS: &str = "127.0.0.1";
/// One day. Milliseconds.
const DAY_MS: i64 = 86_400_000;
/// Validity of the authority: ten years.
const AUTHORITY_MS: i64 = 3_652 * DAY_MS;
/// Validity of a node's or hub's certificate, unless another is set: two years.
pub const CERTIFICATE_MS: i64 = 730 * DAY_MS;
/// A certificate is good from so long before it is made: clocks may differ by a day, and the hour is the room beyond it.
const SKEW_MS: i64 = DAY_MS + 3_600_000;

/// Name that node `N`'s certificate carries.
pub fn node_name(node: NodeId) -> String {
    format!("node-{node}{SUFFIX}")
}

/// Name that machine `N` of the hub carries besides the hub's.
pub fn machine_name(machine: u16) -> String {
    format!("hub-{machine}{SUFFIX}")
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

/// What the authority of an environment calls itself.
pub(super) fn authority_name(environment: &str) -> String {
    format!("Jikai {environment} CA")
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
    certificate_ms: i64,
}

impl CertificateAuthority {
    /// Makes a new authority for one environment of one province.
    pub fn create(environment: &str, now_ms: TimeMs) -> Result<Self, IdentityError> {
        let key = Key::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(&authority_name(environment));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, now_ms, now_ms.ms().saturating_add(AUTHORITY_MS));
        let certificate = params.self_signed(&key.pair()?).map_err(failed("make the authority"))?;
        Ok(CertificateAuthority::from_pem(certificate.pem(), key))
    }

    /// Takes an authority read from its files.
    pub fn from_pem(certificate_pem: String, key: Key) -> Self {
        CertificateAuthority { certificate_pem, key, certificate_ms: CERTIFICATE_MS }
    }

    /// Signs for so long from now on. Milliseconds, > 0.
    pub fn signing_for(self, certificate_ms: i64) -> Self {
        CertificateAuthority { certificate_ms, ..self }
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
    /// names and addresses for its terminals; none may be one that this authority gives a meaning. What is signed never
    /// outlives the authority.
    pub fn sign_node(
        &self,
        request_pem: &str,
        node: NodeId,
        hosts: &[String],
        now_ms: TimeMs,
    ) -> Result<String, IdentityError> {
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).map_err(failed("read the request"))?;
        request.params = self.leaf_params(&node_name(node), hosts, now_ms)?;
        let issuer = self.issuer()?;
        Ok(request.signed_by(&issuer).map_err(failed("sign the request"))?.pem())
    }

    /// Makes a certificate for the key of the hub's first machine.
    pub fn certify_hub(&self, key: &Key, hosts: &[String], now_ms: TimeMs) -> Result<String, IdentityError> {
        self.certify_machine(key, 1, hosts, now_ms)
    }

    /// Makes a certificate for the key of a machine of the hub: all of them are the hub, its number tells it from the others.
    pub fn certify_machine(
        &self,
        key: &Key,
        machine: u16,
        hosts: &[String],
        now_ms: TimeMs,
    ) -> Result<String, IdentityError> {
        let mut params = self.leaf_params(HUB_NAME, hosts, now_ms)?;
        let name = machine_name(machine).try_into().map_err(failed("name the machine"))?;
        params.subject_alt_names.push(SanType::DnsName(name));
        let issuer = self.issuer()?;
        Ok(params.signed_by(&key.pair()?, &issuer).map_err(failed("certify the hub"))?.pem())
    }

    /// When the authority itself ends: nothing that it signs lasts longer.
    pub fn not_after_ms(&self) -> Result<TimeMs, IdentityError> {
        not_after_ms(&self.certificate_pem)
    }

    fn leaf_params(&self, name: &str, hosts: &[String], now_ms: TimeMs) -> Result<CertificateParams, IdentityError> {
        if let Some(reserved) = hosts.iter().find(|host| is_reserved(host)) {
            return Err(IdentityError::ReservedName(reserved.clone()));
        }
        let authority_ends_ms = self.not_after_ms()?;
        if authority_ends_ms <= now_ms {
            return Err(IdentityError::AuthorityEnded);
        }
        let mut names = vec![name.to_string(), LOCAL_ADDRESS.to_string()];
        names.extend(hosts.iter().filter(|host| *host != LOCAL_ADDRESS).cloned());
        let mut params = CertificateParams::new(names).map_err(failed("name the certificate"))?;
        // Drawn: by itself the library derives it from the key, and two certificates of one key could not be told apart.
        let mut serial = rand::rng().random::<[u8; 16]>();
        serial[0] = serial[0] & 0x7f | 0x40;
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let not_after_ms = now_ms.ms().saturating_add(self.certificate_ms).min(authority_ends_ms.ms());
        set_validity(&mut params, now_ms, not_after_ms);
        Ok(params)
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

/// Valid from [`SKEW_MS`] before now to that instant; both in whole seconds.
fn set_validity(params: &mut CertificateParams, now_ms: TimeMs, not_after_ms: i64) {
    let since_1970 = |ms: i64| std::time::Duration::from_secs(u64::try_from(ms / 1_000).unwrap_or(0));
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(now_ms.ms() - SKEW_MS);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(not_after_ms);
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn failed(what: &'static str) -> impl Fn(rcgen::Error) -> IdentityError {
    move |source| IdentityError::Certificate { what, source }
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;
    use crate::identity::{certified_by_pem, node_of_certificate};

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
    fn nothing_outlives_the_authority_and_an_authority_that_has_ended_signs_nothing() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        let ends_ms = authority.not_after_ms().unwrap();
        let request = KeyAndRequest::for_node(node(3)).unwrap();
        let until = |at_ms: i64| {
            let pem = authority.sign_node(&request.request_pem, node(3), &[], TimeMs::from_ms(at_ms))?;
            Ok::<_, IdentityError>(certified_by_pem(&pem)?.not_after_ms)
        };
        let early_ms = ends_ms.ms() - CERTIFICATE_MS - DAY_MS;
        assert_eq!(until(early_ms).unwrap().ms(), early_ms + CERTIFICATE_MS);
        assert_eq!(until(ends_ms.ms() - DAY_MS).unwrap(), ends_ms);
        assert!(matches!(until(ends_ms.ms()), Err(IdentityError::AuthorityEnded)));
        let key = Key::generate().unwrap();
        let hub = authority.certify_hub(&key, &[], TimeMs::from_ms(ends_ms.ms() - DAY_MS)).unwrap();
        assert_eq!(certified_by_pem(&hub).unwrap().not_after_ms, ends_ms);
        assert!(authority.certify_hub(&key, &[], ends_ms).is_err());
    }

    #[test]
    fn host_names_are_read_back_as_they_were_given() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        let request = KeyAndRequest::for_node(node(3)).unwrap();
        let given = ["node3.example".to_string(), "10.1.2.3".to_string(), "2001:db8::1".to_string()];
        let hosts = |given: &[String]| {
            certified_by_pem(&authority.sign_node(&request.request_pem, node(3), given, now()).unwrap()).unwrap().hosts
        };
        assert_eq!(hosts(&given), given);
        assert_eq!(hosts(&["127.0.0.1".to_string()]), Vec::<String>::new(), "which every certificate names");
        let key = Key::generate().unwrap();
        assert!(authority.certify_hub(&key, &["node-3.jikai".into()], now()).is_err());
        let hub = authority.certify_hub(&key, &given, now()).unwrap();
        assert_eq!(certified_by_pem(&hub).unwrap().hosts, given);
    }

    #[test]
    fn a_request_that_cannot_be_read_is_refused() {
        let authority = CertificateAuthority::create("test", now()).unwrap();
        assert!(authority.sign_node("junk", node(1), &[], now()).is_err());
    }
}
