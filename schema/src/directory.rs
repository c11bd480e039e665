//! The directory: what terminals are told of all nodes, so that one whose node does not answer finds another one, which
//! sends it on. Signed by the hub; the same bytes everywhere.

use ed25519_dalek::{Signature, VerifyingKey};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::id::NodeId;
use crate::time::TimeMs;

/// Most addresses of one node.
pub const ADDRESSES_MAX: usize = 8;
/// Longest address. Bytes: a host name of 253, a colon, a port.
pub const ADDRESS_BYTES_MAX: usize = 260;
/// Longest document. Bytes: with its signature well within an event; about 150 nodes of one address.
pub const DIRECTORY_BYTES_MAX: usize = 24 * 1024;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;
/// What a signature is for, in front of the document.
const PURPOSE: &[u8] = b"jikai-directory-v1\n";

/// All nodes, as terminals know them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// production, training or test: a terminal takes none of another.
    pub environment: String,
    /// Grows with each; an older one never replaces a newer one.
    pub version: u64,
    /// When it was signed. Unix ms.
    pub issued_at_ms: TimeMs,
    /// The public key that signed it, hex.
    pub key: String,
    /// The nodes, by number.
    pub nodes: Vec<DirectoryNode>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryNode {
    /// Its number; its certificate bears the name `node-NUMBER.jikai`.
    pub node: NodeId,
    /// Display name.
    pub name: String,
    /// The prefectures whose outlets it serves, four digits each.
    pub prefectures: Vec<String>,
    /// `HOST:PORT`, the one to be tried first in front. Empty: it told none.
    pub addresses: Vec<String>,
}

/// A directory with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedDirectory {
    /// Its version.
    pub version: u64,
    /// The document, as it was signed.
    pub bytes: Vec<u8>,
    /// Ed25519.
    pub signature: Vec<u8>,
}

/// A directory that is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Not a document of this form.
    #[error("the directory cannot be read: {0}")]
    Malformed(String),
    /// Signed by somebody else, or altered.
    #[error("the directory's signature is not the hub's")]
    Signature,
    /// Of another environment.
    #[error("the directory is of the environment `{found}`, not `{expected}`")]
    WrongEnvironment {
        /// One's own.
        expected: String,
        /// The document's.
        found: String,
    },
}

/// An address at which nobody can be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is no address for terminals: {why}")]
pub struct AddressError {
    /// As given, shortened.
    pub address: String,
    /// What is wrong.
    pub why: &'static str,
}

impl Directory {
    /// Reads a document without believing it.
    pub fn read(bytes: &[u8]) -> Result<Self, DirectoryError> {
        if bytes.len() > DIRECTORY_BYTES_MAX {
            return Err(DirectoryError::Malformed(format!("it is longer than {DIRECTORY_BYTES_MAX} bytes")));
        }
        serde_json::from_slice(bytes).map_err(|error| DirectoryError::Malformed(error.to_string()))
    }

    /// What is signed of a document: the purpose, a line feed, and its bytes.
    pub fn signed_text(bytes: &[u8]) -> Vec<u8> {
        [PURPOSE, bytes].concat()
    }
}

impl SignedDirectory {
    /// The newest one; `None` before the first.
    pub fn load(store: &Connection) -> Result<Option<Self>, rusqlite::Error> {
        let mut statement = store.prepare_cached("SELECT version, bytes, signature FROM directory")?;
        let read = |row: &rusqlite::Row<'_>| {
            Ok(SignedDirectory { version: row.get::<_, i64>(0)? as u64, bytes: row.get(1)?, signature: row.get(2)? })
        };
        statement.query_row([], read).optional()
    }

    /// The document, if the key that it names signed it and it is of this environment: it was not altered on its way. Whether
    /// that key is the hub's is for [`SignedDirectory::verify`].
    pub fn verify_own(&self, environment: &str) -> Result<Directory, DirectoryError> {
        let mut key = [0; 32];
        hex::decode_to_slice(&Directory::read(&self.bytes)?.key, &mut key).map_err(|_| DirectoryError::Signature)?;
        self.verify(&VerifyingKey::from_bytes(&key).map_err(|_| DirectoryError::Signature)?, environment)
    }

    /// The document, if `key` signed it and it is of this environment.
    pub fn verify(&self, key: &VerifyingKey, environment: &str) -> Result<Directory, DirectoryError> {
        let signature = Signature::from_slice(&self.signature).map_err(|_| DirectoryError::Signature)?;
        let text = Directory::signed_text(&self.bytes);
        key.verify_strict(&text, &signature).map_err(|_| DirectoryError::Signature)?;
        let directory = Directory::read(&self.bytes)?;
        if directory.environment != environment {
            let (expected, found) = (environment.to_owned(), directory.environment);
            return Err(DirectoryError::WrongEnvironment { expected, found });
        }
        if directory.version != self.version {
            return Err(DirectoryError::Malformed("it names another version than its envelope".to_owned()));
        }
        Ok(directory)
    }
}

/// Where terminals reach a node, in the order to be tried; empty where it told nothing.
pub fn addresses_of(store: &Connection, node: NodeId) -> Result<Vec<String>, rusqlite::Error> {
    let mut statement = store.prepare_cached("SELECT address FROM node_address WHERE node = ?1 ORDER BY place")?;
    statement.query_map([node.get()], |row| row.get(0))?.collect()
}

/// The same; `None` for a node that was taken out of use. One that is not known (yet) has none.
pub fn addresses_in_use(store: &Connection, node: NodeId) -> Result<Option<Vec<String>>, rusqlite::Error> {
    let mut statement = store.prepare_cached("SELECT EXISTS (SELECT 1 FROM node_retired WHERE node = ?1)")?;
    let is_retired: bool = statement.query_row([node.get()], |row| row.get(0))?;
    (!is_retired).then(|| addresses_of(store, node)).transpose()
}

/// All nodes with their addresses, by number.
pub fn nodes_of(store: &Connection) -> Result<Vec<DirectoryNode>, rusqlite::Error> {
    let mut statement = store.prepare_cached("SELECT node, name, prefectures FROM node ORDER BY node")?;
    let mut rows = statement.query([])?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        let node = NodeId::new(row.get(0)?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, 0))?;
        let prefectures: String = row.get(2)?;
        let prefectures = prefectures.split(',').filter(|code| !code.is_empty()).map(str::to_owned).collect();
        nodes.push(DirectoryNode { node, name: row.get(1)?, prefectures, addresses: addresses_of(store, node)? });
    }
    Ok(nodes)
}

/// Refuses what is not `HOST:PORT` at which a terminal could reach somebody: a name of letters, digits, `-` and `.`, an IPv4
/// address, or an IPv6 address in brackets; a port from 1 on.
pub fn check_address(address: &str) -> Result<(), AddressError> {
    let refuse = |why| AddressError { address: address.chars().take(80).collect(), why };
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(refuse("it is longer than 260 bytes"));
    }
    let (host, port) = address.rsplit_once(':').ok_or_else(|| refuse("an address reads HOST:PORT"))?;
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(refuse("a port is 1 to 65535"));
    }
    if let Some(ip) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match ip.parse::<core::net::Ipv6Addr>() {
            Ok(ip) if !ip.is_unspecified() => Ok(()),
            _ => Err(refuse("nobody is reached at this IPv6 address")),
        };
    }
    let is_label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    if !host.split('.').all(is_label) {
        return Err(refuse("a host is a name, an IPv4 address, or an IPv6 address in brackets"));
    }
    // What looks like an IPv4 address is one, or nothing.
    let looks_like_ip = host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match host.parse::<core::net::Ipv4Addr>() {
        Ok(ip) if ip.is_unspecified() => Err(refuse("nobody is reached at this IPv4 address")),
        Err(_) if looks_like_ip => Err(refuse("it is no IPv4 address")),
        _ => Ok(()),
    }
}

/// Checks all addresses of a node: each by [`check_address`], none twice, at most [`ADDRESSES_MAX`].
pub fn check_addresses(addresses: &[String]) -> Result<(), AddressError> {
    if addresses.len() > ADDRESSES_MAX {
        let address = addresses.get(ADDRESSES_MAX).cloned().unwrap_or_default().chars().take(80).collect();
        return Err(AddressError { address, why: "a node has at most 8 addresses" });
    }
    for (at, address) in addresses.iter().enumerate() {
        check_address(address)?;
        if addresses[..at].contains(address) {
            return Err(AddressError { address: address.clone(), why: "it stands there twice" });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn signed(environment: &str, version: u64, key: &SigningKey) -> SignedDirectory {
        let directory = Directory {
            environment: environment.into(),
            version,
            issued_at_ms: TimeMs::from_ms(5),
            key: hex::encode(key.verifying_key().as_bytes()),
            nodes: vec![DirectoryNode {
                node: NodeId::new(1).unwrap(),
                name: "石家庄".into(),
                prefectures: vec!["1301".into()],
                addresses: vec!["node1.example:8443".into()],
            }],
        };
        let bytes = serde_json::to_vec(&directory).unwrap();
        let signature = key.sign(&Directory::signed_text(&bytes)).to_bytes().to_vec();
        SignedDirectory { version, bytes, signature }
    }

    #[test]
    fn a_directory_is_believed_as_the_hub_signed_it_and_not_otherwise() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let good = signed("test", 3, &key);
        assert_eq!(good.verify(&key.verifying_key(), "test").unwrap().version, 3);
        assert_eq!(good.verify(&other.verifying_key(), "test"), Err(DirectoryError::Signature));
        let mut bent = good.clone();
        let at = bent.bytes.iter().position(|byte| *byte == b'8').unwrap();
        bent.bytes[at] = b'9';
        assert_eq!(bent.verify(&key.verifying_key(), "test"), Err(DirectoryError::Signature));
        let newer = SignedDirectory { version: 4, ..good.clone() };
        assert!(matches!(newer.verify(&key.verifying_key(), "test"), Err(DirectoryError::Malformed(_))));
        let short = SignedDirectory { signature: vec![1; 63], ..good };
        assert_eq!(short.verify(&key.verifying_key(), "test"), Err(DirectoryError::Signature));
    }

    #[test]
    fn a_terminal_takes_no_directory_of_another_environment() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let refused = signed("training", 3, &key).verify(&key.verifying_key(), "production").unwrap_err();
        assert_eq!(refused.to_string(), "the directory is of the environment `training`, not `production`");
    }

    #[test]
    fn an_address_is_a_host_and_a_port_that_somebody_can_be_reached_at() {
        for good in ["node1.example:8443", "10.0.0.1:1", "[2001:db8::1]:65535", "localhost:443"] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        let long = format!("{}:1", "a.".repeat(140));
        for bad in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            "host:+1",
            ":1",
            "0.0.0.0:1",
            "[::]:1",
            "::1:1",
            "300.1.1.1:1",
            "1.2.3:4",
            "a b:1",
            "a..b:1",
            "-a:1",
            "https://a:1",
            "a/b:1",
            "[node]:1",
            &long,
        ] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_node_has_at_most_eight_addresses_and_none_twice() {
        let some = |count: usize| (0..count).map(|number| format!("host{number}:1")).collect::<Vec<_>>();
        assert_eq!(check_addresses(&some(8)), Ok(()));
        assert!(check_addresses(&some(9)).is_err());
        assert!(check_addresses(&["a:1".to_string(), "a:1".to_string()]).is_err());
        assert_eq!(check_addresses(&[]), Ok(()));
    }
}
