//! What a process knows of the nodes: the newest directory that the hub signed, shared by all of its terminals.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey};
use rustls::ClientConfig;
use serde::Deserialize;
use serde_json::Value;

use super::Endpoint;

/// What a signature is for, in front of the document.
const PURPOSE: &[u8] = b"jikai-directory-v1\n";
/// Longest document that is read. Bytes.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// The document, as far as a terminal needs it.
#[derive(Deserialize)]
struct Document {
    environment: String,
    version: u64,
    nodes: Vec<DocumentNode>,
}

#[derive(Deserialize)]
struct DocumentNode {
    node: u16,
    addresses: Vec<String>,
}

#[derive(Default)]
struct Known {
    version: u64,
    nodes: BTreeMap<u16, Vec<SocketAddr>>,
}

/// The newest directory. One that the hub did not sign, of another environment, or older, changes nothing.
pub struct Directory {
    environment: String,
    key: VerifyingKey,
    tls: Arc<ClientConfig>,
    known: Mutex<Known>,
    /// The newest version that somebody is fetching.
    fetching: AtomicU64,
}

/// The hub's public key for directories, from the file that its `init` writes beside the CA certificate.
pub fn directory_key(path: &Path) -> Result<VerifyingKey> {
    let hint = || format!("read the directory's key {}; the hub writes it as ca/directory.pub", path.display());
    let text = std::fs::read_to_string(path).with_context(hint)?;
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).with_context(hint)?;
    VerifyingKey::from_bytes(&key).with_context(hint)
}

impl Directory {
    /// Knows nothing yet. It will believe `key` about nodes of this environment, which prove themselves by `tls`.
    pub fn new(environment: &str, key: VerifyingKey, tls: Arc<ClientConfig>) -> Self {
        Directory {
            environment: environment.to_owned(),
            key,
            tls,
            known: Mutex::default(),
            fetching: AtomicU64::new(0),
        }
    }

    /// Version of the newest; 0 before the first.
    pub fn version(&self) -> u64 {
        self.locked().version
    }

    /// Whether the caller is to fetch the directory, of which it heard that there is a newer one: one terminal does for all.
    pub fn is_to_be_fetched(&self, version: u64) -> bool {
        version > self.version() && self.fetching.fetch_max(version, Ordering::Relaxed) < version
    }

    /// Takes a directory as nodes show it (`version`, `document`, `signature`). An older one is good, and changes nothing.
    pub fn take(&self, view: &Value) -> Result<()> {
        let bytes = |name: &str| {
            let text = view[name].as_str().with_context(|| format!("the directory has no {name}"))?;
            STANDARD.decode(text).with_context(|| format!("decode the directory's {name}"))
        };
        let (document, signature) = (bytes("document")?, bytes("signature")?);
        ensure!(document.len() <= DOCUMENT_BYTES_MAX, "the directory is too long");
        let signature = Signature::from_slice(&signature).context("read the directory's signature")?;
        let signed = [PURPOSE, &document].concat();
        self.key.verify_strict(&signed, &signature).context("the directory's signature is not the hub's")?;
        let Document { environment, version, nodes } =
            serde_json::from_slice(&document).context("read the directory")?;
        if environment != self.environment {
            bail!("a directory of the environment `{environment}` came to a terminal of `{}`", self.environment);
        }
        let mut known = self.locked();
        if version > known.version {
            // Names are not looked up here: the nodes of a demo have addresses.
            let addresses = |node: DocumentNode| node.addresses.iter().filter_map(|text| text.parse().ok()).collect();
            *known = Known { version, nodes: nodes.into_iter().map(|node| (node.node, addresses(node))).collect() };
        }
        Ok(())
    }

    /// A node at an address that another node named, whom its certificate must prove to be that node.
    pub fn endpoint(&self, node: u16, address: &str) -> Result<Endpoint> {
        let address = address.parse().with_context(|| format!("{address} is no IP:PORT"))?;
        Endpoint::of_node(node, address, self.tls.clone())
    }

    /// A way to every node but this one.
    pub fn others(&self, than: u16) -> Vec<(u16, Endpoint)> {
        let known = self.locked();
        let others = known.nodes.iter().filter(|(node, _)| **node != than);
        let first = |(node, addresses): (&u16, &Vec<SocketAddr>)| {
            let endpoint = Endpoint::of_node(*node, *addresses.first()?, self.tls.clone()).ok()?;
            Some((*node, endpoint))
        };
        others.filter_map(first).collect()
    }

    /// A way to this node by the directory.
    pub fn way_to(&self, node: u16) -> Option<Endpoint> {
        let address = *self.locked().nodes.get(&node)?.first()?;
        Endpoint::of_node(node, address, self.tls.clone()).ok()
    }

    fn locked(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ed25519_dalek::{Signer, SigningKey};
    use serde_json::json;

    use super::*;

    fn directory() -> Directory {
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        Directory::new("test", key(1).verifying_key(), Arc::new(tls))
    }

    /// One that knows nodes 1 and 2.
    pub(crate) fn of_two_nodes() -> Directory {
        let directory = directory();
        directory.take(&view(&key(1), "test", 1, 1)).unwrap();
        directory
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn view(signer: &SigningKey, environment: &str, version: u64, port: u16) -> Value {
        let nodes = json!([{ "node": 1, "name": "n", "prefectures": [], "addresses": [format!("10.0.0.1:{port}")] },
            { "node": 2, "name": "m", "prefectures": [], "addresses": ["10.0.0.2:1"] }]);
        let document = json!({ "environment": environment, "version": version, "issued_at_ms": 1, "nodes": nodes });
        let document = document.to_string().into_bytes();
        let signature = signer.sign(&[PURPOSE, &document].concat()).to_bytes();
        json!({ "version": version, "document": STANDARD.encode(document), "signature": STANDARD.encode(signature) })
    }

    #[test]
    fn only_the_hubs_newest_directory_of_the_own_environment_is_kept() {
        let directory = directory();
        assert!(directory.take(&json!({})).is_err());
        assert!(directory.take(&view(&key(2), "test", 9, 1)).is_err(), "signed by somebody else");
        assert!(directory.take(&view(&key(1), "production", 9, 1)).is_err(), "of another environment");
        assert_eq!((directory.version(), directory.others(9).len()), (0, 0));
        directory.take(&view(&key(1), "test", 3, 1)).unwrap();
        directory.take(&view(&key(1), "test", 2, 2)).unwrap();
        assert_eq!(directory.version(), 3, "an older one does not replace a newer one");
        let mut bent = view(&key(1), "test", 4, 1);
        bent["document"] = view(&key(1), "test", 5, 1)["document"].clone();
        assert!(directory.take(&bent).is_err(), "altered on its way");
        assert_eq!(directory.version(), 3);
    }

    #[test]
    fn a_terminal_finds_the_other_nodes() {
        let directory = of_two_nodes();
        let others: Vec<u16> = directory.others(1).into_iter().map(|(node, _)| node).collect();
        assert_eq!(others, [2]);
        assert!(!directory.is_to_be_fetched(1) && directory.is_to_be_fetched(2));
        assert!(!directory.is_to_be_fetched(2), "somebody does already");
        assert!(directory.way_to(1).is_some() && directory.way_to(3).is_none());
        assert!(directory.endpoint(4, "10.0.0.4:1").is_ok() && directory.endpoint(4, "name:1").is_err());
    }
}
