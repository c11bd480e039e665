//! Private keys of the node at rest: where they lie, and their names.

use std::path::Path;

use jikai_sync::secrets::{Place, PlainFile};

use crate::config::Config;

/// Name of the node's TLS key among its secrets.
pub const NODE_KEY: &str = "node.key";

/// What a build before the ring of keys kept in the clear.
const PLAIN: &[PlainFile] = &[PlainFile { plain: "node.key.pem", name: NODE_KEY }];

/// Where the secrets of the node in `data` lie.
pub fn secrets_place(data: &Path, config: &Config) -> Place {
    Place::new(data, format!("node {} {}", config.node, config.environment), config.master_key.clone(), PLAIN)
}
