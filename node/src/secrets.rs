//! Private keys of the node at rest: where they lie, and their names.

use std::path::Path;

use jikai_sync::secrets::{Place, PlainFile};

use crate::config::Config;

/// Name of the key of the node's last request by hand; before there was [`IDENTITY`], its TLS key.
pub const NODE_KEY: &str = "node.key";

/// Name of the node's TLS key and certificate, together, among its secrets.
pub const IDENTITY: &str = "node.identity";
/// Name of the key and the request of a renewal that was not answered yet.
pub const RENEWAL: &str = "node.renewal";

/// What a build before the ring of keys kept in the clear.
const PLAIN: &[PlainFile] = &[PlainFile { plain: "node.key.pem", name: NODE_KEY }];

/// Where the secrets of the node in `data` lie.
pub fn secrets_place(data: &Path, config: &Config) -> Place {
    Place::new(data, format!("node {} {}", config.node, config.environment), config.master_key.clone(), PLAIN)
}
