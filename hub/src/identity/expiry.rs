//! When the hub's certificate and its authority end, and whom that worries.

use jikai_schema::time::TimeMs;
use jikai_sync::identity::Certified;

/// From so long before its end on, the authority is to be replaced: nothing that it signs lasts longer, and every machine
/// has to be told of the next one. A year.
const AUTHORITY_WARNING_MS: i64 = 365 * 86_400_000;

/// Where the hub stands with its certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The hub's own.
    pub certificate: Certified,
    /// When the authority ends.
    pub authority_ends_ms: TimeMs,
}

impl Expiry {
    /// Seconds until the authority ends; negative once it has.
    pub fn authority_expires_in_s(&self, now_ms: TimeMs) -> i64 {
        (self.authority_ends_ms.ms() - now_ms.ms()).div_euclid(1_000)
    }

    /// What a person must look after, in words.
    pub fn warnings(&self, now_ms: TimeMs) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.authority_ends_ms.ms().saturating_sub(now_ms.ms()) <= AUTHORITY_WARNING_MS {
            let day = self.authority_ends_ms.business_day();
            warnings.push(format!(
                "the certificate authority ends on {day}: plan its successor, no certificate outlives it"
            ));
        }
        if self.certificate.not_after_ms <= now_ms {
            warnings.push("the hub's certificate has expired: no node and no browser can connect".to_string());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use jikai_schema::id::NodeId;

    use super::*;

    #[test]
    fn an_authority_in_its_last_year_and_an_expired_certificate_are_warned_of() {
        const DAY_MS: i64 = 86_400_000;
        let at = |days: i64| TimeMs::from_ms(1_790_000_000_000 + days * DAY_MS);
        let (node, serial) = (NodeId::HUB, String::new());
        let certificate = Certified { node, serial, not_before_ms: at(0), not_after_ms: at(30), hosts: Vec::new() };
        let expiry = Expiry { certificate, authority_ends_ms: at(400) };
        assert_eq!(expiry.warnings(at(10)), Vec::<String>::new());
        assert_eq!(expiry.warnings(at(30)).len(), 1, "expired");
        let both = expiry.warnings(at(35));
        assert!(both.len() == 2 && both[0].contains("ends on 2027-"), "{both:?}");
        assert_eq!(expiry.authority_expires_in_s(at(399)), 86_400);
        assert_eq!(expiry.authority_expires_in_s(at(401)), -86_400);
    }
}
