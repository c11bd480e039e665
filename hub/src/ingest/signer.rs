//! The authority at hand, to renew certificates of nodes.

use std::sync::Arc;

use anyhow::bail;
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::secrets::Secrets;

use crate::identity::{IdentityFiles, SigningTerms};

/// Signs requests of nodes.
pub struct Signer {
    files: IdentityFiles,
    secrets: Arc<Secrets>,
    certificate_ms: i64,
}

impl Signer {
    /// Signs with these files, for so long. Milliseconds, > 0.
    pub fn new(files: IdentityFiles, secrets: Arc<Secrets>, certificate_ms: i64) -> Self {
        Signer { files, secrets, certificate_ms }
    }

    /// Signs a request, unless the authority ends with the certificate that it is to follow: another one would be no better.
    pub(super) fn sign(
        &self,
        request_pem: &str,
        node: NodeId,
        hosts: &[String],
        follows_until_ms: TimeMs,
        now_ms: TimeMs,
    ) -> anyhow::Result<String> {
        let authority_ends_ms = jikai_sync::identity::not_after_ms(&self.files.authority_pem()?)?;
        if authority_ends_ms <= follows_until_ms {
            let day = authority_ends_ms.business_day();
            bail!("the authority ends on {day}, and so does the certificate that was shown");
        }
        let terms = SigningTerms { now_ms, certificate_ms: self.certificate_ms };
        self.files.sign_node(&self.secrets, request_pem, node, hosts, terms)
    }
}
