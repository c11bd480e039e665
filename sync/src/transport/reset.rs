//! How a hub that has restarted tells nodes at once that their old connections are gone.
//!
//! A node cannot see that the process behind the address died: QUIC would retransmit until the idle limit. With keys that
//! outlive the process, the new one answers packets of a connection it does not know with a *stateless reset* that the
//! node can tell from a forged one (RFC 9000 §10.3), and the node opens a new session right away.

use std::sync::Arc;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;

use crate::identity::TlsIdentity;

/// Settings of an endpoint of another protocol under this identity: who calls it notices a restart at once.
pub fn endpoint_settings(identity: &TlsIdentity, protocol: &str) -> EndpointConfig {
    named_endpoint_config(identity.private_key_der(), protocol)
}

/// Settings of an endpoint whose resets are known by the peers of its predecessors under the same private key.
pub(super) fn endpoint_config(private_key_der: &[u8]) -> EndpointConfig {
    named_endpoint_config(private_key_der, "jikai-sync/1")
}

/// The same for another protocol: resets of one are not those of another.
fn named_endpoint_config(private_key_der: &[u8], protocol: &str) -> EndpointConfig {
    let secret = Key::new(HMAC_SHA256, private_key_der);
    let reset = sign(&secret, format!("{protocol} stateless reset").as_bytes());
    let names = sign(&secret, format!("{protocol} connection ids").as_bytes());
    let name_key = names.as_ref().iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
    let mut config = EndpointConfig::new(Arc::new(Key::new(HMAC_SHA256, reset.as_ref())));
    // Only ids that this key made are answered; others are not even QUIC, or are meant for somebody else.
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(name_key)));
    config
}
