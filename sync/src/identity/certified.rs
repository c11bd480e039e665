//! What a certificate says of its holder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate};

use super::IdentityError;
use super::authority::{HUB_NAME, LOCAL_ADDRESS, authority_name};

/// Suffix of every name that an authority gives a meaning.
pub(super) const SUFFIX: &str = ".jikai";

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
    /// Further names and addresses of the holder, as they were given when it was signed.
    pub hosts: Vec<String>,
}

impl Certified {
    /// Seconds until it expires; negative once it has.
    pub fn expires_in_s(&self, now_ms: TimeMs) -> i64 {
        (self.not_after_ms.ms() - now_ms.ms()).div_euclid(1_000)
    }

    /// Whether no more than this share of its validity is left: then it is to be renewed. Percent, 0 to 100.
    pub fn is_due(&self, remaining_percent: u32, now_ms: TimeMs) -> bool {
        let whole_ms = i128::from(self.not_after_ms.ms()) - i128::from(self.not_before_ms.ms());
        let left_ms = i128::from(self.not_after_ms.ms()) - i128::from(now_ms.ms());
        left_ms * 100 <= whole_ms * i128::from(remaining_percent)
    }
}

/// Reads a certificate in PEM.
pub fn certified_by_pem(pem: &str) -> Result<Certified, IdentityError> {
    certified(&der_of(pem)?)
}

/// Refuses an authority's certificate (PEM) of another environment: whoever trusts it would meet that one's nodes and hub.
pub fn check_authority(pem: &str, environment: &str) -> Result<(), IdentityError> {
    let der = der_of(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| IdentityError::Pem("CA certificate"))?;
    let name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok()).unwrap_or("without a name");
    if name == authority_name(environment) {
        return Ok(());
    }
    Err(IdentityError::OtherEnvironment { environment: environment.to_owned(), found: name.to_owned() })
}

/// Reads a certificate in DER, which TLS has verified already.
pub fn certified(der: &[u8]) -> Result<Certified, IdentityError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::NoNode)?;
    let validity = certificate.validity();
    let node = node_named(&certificate)?;
    Ok(Certified {
        node,
        serial: format!("{:x}", certificate.tbs_certificate.serial),
        not_before_ms: at_ms(validity.not_before.timestamp()),
        not_after_ms: at_ms(validity.not_after.timestamp()),
        hosts: hosts_named(&certificate, node),
    })
}

/// The node that a presented certificate (DER, already verified by TLS) names; the hub's is [`NodeId::HUB`].
pub fn node_of_certificate(der: &[u8]) -> Result<NodeId, IdentityError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::NoNode)?;
    node_named(&certificate)
}

/// The machine of the hub whose certificate (DER, already verified by TLS) this is; `None` for a node's.
pub fn machine_of_certificate(der: &[u8]) -> Result<Option<u16>, IdentityError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::NoNode)?;
    if !node_named(&certificate)?.is_hub() {
        return Ok(None);
    }
    let machine = names(&certificate).find_map(|name| match name {
        GeneralName::DNSName(name) => machine_named(name),
        _ => None,
    });
    // Made before machines had numbers: there was one.
    Ok(Some(machine.unwrap_or(1)))
}

/// The same of a certificate in PEM.
pub fn machine_by_pem(pem: &str) -> Result<Option<u16>, IdentityError> {
    machine_of_certificate(&der_of(pem)?)
}

fn machine_named(name: &str) -> Option<u16> {
    name.strip_prefix("hub-")?.strip_suffix(SUFFIX)?.parse().ok()
}

/// When a certificate in PEM expires, an authority's too.
pub fn not_after_ms(pem: &str) -> Result<TimeMs, IdentityError> {
    let der = der_of(pem)?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| IdentityError::Pem("certificate"))?;
    Ok(at_ms(certificate.validity().not_after.timestamp()))
}

fn der_of(pem: &str) -> Result<CertificateDer<'static>, IdentityError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| IdentityError::Pem("certificate"))
}

fn at_ms(seconds: i64) -> TimeMs {
    TimeMs::from_ms(seconds.saturating_mul(1_000))
}

/// The subject's alternative names.
fn names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let lists = certificate.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
        _ => None,
    });
    lists.flatten()
}

fn node_named(certificate: &X509Certificate<'_>) -> Result<NodeId, IdentityError> {
    let named = names(certificate).find_map(|name| match name {
        GeneralName::DNSName(name) => holder_of_name(name),
        _ => None,
    });
    named.ok_or(IdentityError::NoNode)
}

/// Who a reserved name means.
fn holder_of_name(name: &str) -> Option<NodeId> {
    if name == HUB_NAME || machine_named(name).is_some() {
        return Some(NodeId::HUB);
    }
    let number = name.strip_prefix("node-")?.strip_suffix(SUFFIX)?;
    NodeId::new(number.parse().ok()?).ok()
}

/// All names but the holder's own and the machine's.
fn hosts_named(certificate: &X509Certificate<'_>, node: NodeId) -> Vec<String> {
    let host = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) if holder_of_name(name) != Some(node) => Some(name.to_string()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    };
    names(certificate).filter_map(host).filter(|host| host != LOCAL_ADDRESS).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|sixteen| Ipv6Addr::from(sixteen).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_once_no_more_than_a_third_of_it_is_left() {
        let at = TimeMs::from_ms;
        let (node, serial) = (NodeId::HUB, String::new());
        let certified = Certified { node, serial, not_before_ms: at(1_000), not_after_ms: at(4_000), hosts: vec![] };
        assert!(!certified.is_due(33, at(3_009)));
        assert!(certified.is_due(33, at(3_010)) && certified.is_due(33, at(9_000)));
        assert!(!certified.is_due(0, at(3_999)) && certified.is_due(0, at(4_000)));
        assert!(certified.is_due(100, at(1_000)));
        assert_eq!((certified.expires_in_s(at(2_000)), certified.expires_in_s(at(4_001))), (2, -1));
    }
}
