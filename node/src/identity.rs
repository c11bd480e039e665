//! Who the node is on the network: its key and certificate in one file, and the request for the next ones.
//!
//! Key and certificate belong together: they lie in one sealed file that one rename puts into place, so that a crash leaves the
//! old pair or the new one. Stores of before have two files, which are read where the one is not there.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use jikai_schema::id::NodeId;
use jikai_sync::identity::{Certified, Key, KeyAndRequest, TlsIdentity, certified_by_pem, write_private_file};
use jikai_sync::secrets::Secrets;
use zeroize::Zeroizing;

use crate::secrets::{IDENTITY, NODE_KEY, RENEWAL};

/// The request that a person takes to the hub, which goes to the hub.
pub const REQUEST_FILE: &str = "node.csr";
/// The certificate, before there was [`IDENTITY`].
const OLD_CERTIFICATE_FILE: &str = "node.pem";
/// The authority's certificate.
const AUTHORITY_FILE: &str = "ca.pem";

const CERTIFICATE_MARK: &str = "-----BEGIN CERTIFICATE-----";
const REQUEST_MARK: &str = "-----BEGIN CERTIFICATE REQUEST-----";

/// The node's key, its certificate, and the authority that it trusts.
#[derive(Debug)]
pub struct NodeIdentity {
    /// Never leaves the machine.
    pub key: Key,
    /// PEM.
    pub certificate_pem: String,
    /// PEM.
    pub authority_pem: String,
}

impl NodeIdentity {
    /// Reads what was installed last.
    pub fn load(data: &Path, secrets: &Secrets) -> anyhow::Result<Self> {
        let hint =
            || format!("read the node's certificate in {}: enrol it first (jikai-node enrol --help)", data.display());
        let authority_pem = read(data, AUTHORITY_FILE)?.with_context(hint)?;
        let (key, certificate_pem) = match read_pair(secrets, IDENTITY, CERTIFICATE_MARK)? {
            Some(pair) => pair,
            None => {
                let key = request_key(secrets)?.with_context(hint)?;
                (key, read(data, OLD_CERTIFICATE_FILE)?.with_context(hint)?)
            }
        };
        Ok(NodeIdentity { key, certificate_pem, authority_pem })
    }

    /// Puts key and certificate into place together. Durable when it returns.
    pub fn install(secrets: &Secrets, key: &Key, certificate_pem: &str) -> anyhow::Result<()> {
        write_pair(secrets, IDENTITY, key, certificate_pem)
    }

    /// For TLS.
    pub fn tls(&self) -> anyhow::Result<TlsIdentity> {
        Ok(TlsIdentity::from_pem(&self.certificate_pem, &self.key, &self.authority_pem)?)
    }

    /// What the certificate says.
    pub fn certified(&self) -> anyhow::Result<Certified> {
        Ok(certified_by_pem(&self.certificate_pem)?)
    }
}

/// Makes a new key, and the request that a person takes to the hub. What is in use stays.
pub fn make_request(data: &Path, secrets: &Secrets, node: NodeId) -> anyhow::Result<()> {
    if secrets.read(IDENTITY)?.is_none() && read(data, OLD_CERTIFICATE_FILE)?.is_some() {
        // The key of before lies where the new one will.
        let old = NodeIdentity::load(data, secrets)?;
        NodeIdentity::install(secrets, &old.key, &old.certificate_pem)?;
    }
    let KeyAndRequest { key, request_pem } = KeyAndRequest::for_node(node)?;
    secrets.keep_key(NODE_KEY, &key)?;
    std::fs::write(data.join(REQUEST_FILE), request_pem).context("write the certificate request")
}

/// The key of that request.
pub fn request_key(secrets: &Secrets) -> anyhow::Result<Option<Key>> {
    Ok(if secrets.read(NODE_KEY)?.is_some() { Some(secrets.key(NODE_KEY)?) } else { None })
}

/// Writes the authority's certificate.
pub fn keep_authority(data: &Path, authority_pem: &str) -> anyhow::Result<()> {
    Ok(write_private_file(&data.join(AUTHORITY_FILE), authority_pem.as_bytes())?)
}

/// The request of the renewal that is under way: the one that was not answered yet, also before a restart; else a new one with
/// a new key. On disk before it is sent: the hub answers the same bytes with the same certificate.
pub fn pending_renewal(secrets: &Secrets, node: NodeId, current: &Key) -> anyhow::Result<KeyAndRequest> {
    if let Some((key, request_pem)) = read_pair(secrets, RENEWAL, REQUEST_MARK)?
        && key.pem().trim() != current.pem().trim()
    {
        return Ok(KeyAndRequest { key, request_pem });
    }
    let made = KeyAndRequest::for_node(node)?;
    write_pair(secrets, RENEWAL, &made.key, &made.request_pem)?;
    Ok(made)
}

/// Forgets the request of a renewal, answered or refused.
pub fn forget_renewal(secrets: &Secrets) -> anyhow::Result<()> {
    Ok(secrets.remove(RENEWAL)?)
}

fn write_pair(secrets: &Secrets, name: &str, key: &Key, second_pem: &str) -> anyhow::Result<()> {
    let text = Zeroizing::new(format!("{}\n{}\n", key.pem().trim_end(), second_pem.trim_end()));
    Ok(secrets.write(name, text.as_bytes())?)
}

/// A key and what follows it from `mark` on.
fn read_pair(secrets: &Secrets, name: &str, mark: &str) -> anyhow::Result<Option<(Key, String)>> {
    let Some(bytes) = secrets.read(name)? else { return Ok(None) };
    let text = std::str::from_utf8(&bytes).with_context(|| format!("{name} is damaged: it holds no text"))?;
    let at = text.find(mark).with_context(|| format!("{name} is damaged: it holds no `{mark}`"))?;
    Ok(Some((Key::from_pem(text[..at].to_string()), text[at..].to_string())))
}

/// A file's text; `None` where it is not there.
fn read(data: &Path, name: &str) -> anyhow::Result<Option<String>> {
    let path = data.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use jikai_schema::time::TimeMs;
    use jikai_sync::identity::CertificateAuthority;

    use super::*;
    use crate::renewal::tests::secrets_in;

    fn node() -> NodeId {
        NodeId::new(3).unwrap()
    }

    fn sign(authority: &CertificateAuthority, request_pem: &str) -> String {
        authority.sign_node(request_pem, node(), &[], TimeMs::now()).unwrap()
    }

    /// A data directory as it was before key and certificate shared a file.
    fn old_layout() -> (tempfile::TempDir, Secrets, CertificateAuthority) {
        let data = tempfile::tempdir().unwrap();
        let secrets = secrets_in(data.path());
        assert!(format!("{:#}", NodeIdentity::load(data.path(), &secrets).unwrap_err()).contains("jikai-node enrol"));
        let authority = CertificateAuthority::create("test", TimeMs::now()).unwrap();
        make_request(data.path(), &secrets, node()).unwrap();
        let request = std::fs::read_to_string(data.path().join(REQUEST_FILE)).unwrap();
        std::fs::write(data.path().join(OLD_CERTIFICATE_FILE), sign(&authority, &request)).unwrap();
        keep_authority(data.path(), authority.certificate_pem()).unwrap();
        (data, secrets, authority)
    }

    #[test]
    fn two_files_of_before_are_read_until_the_one_file_takes_their_place() {
        let (data, secrets, authority) = old_layout();
        let load = || NodeIdentity::load(data.path(), &secrets).unwrap();
        let old = load();
        make_request(data.path(), &secrets, node()).unwrap();
        let kept = load();
        jikai_sync::identity::sync_client(&kept.tls().unwrap()).unwrap();
        assert_eq!(kept.certified().unwrap(), old.certified().unwrap());
        let made = KeyAndRequest::for_node(node()).unwrap();
        let certificate = sign(&authority, &made.request_pem);
        NodeIdentity::install(&secrets, &made.key, &certificate).unwrap();
        let new = load();
        assert_eq!(new.certified().unwrap(), certified_by_pem(&certificate).unwrap());
        assert_ne!(new.certified().unwrap().serial, old.certified().unwrap().serial);
        jikai_sync::identity::sync_client(&new.tls().unwrap()).unwrap();
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_pair_whole() {
        let (data, secrets, _authority) = old_layout();
        let made = KeyAndRequest::for_node(node()).unwrap();
        let load = || NodeIdentity::load(data.path(), &secrets);
        let before = load().unwrap().certified().unwrap();
        std::fs::write(data.path().join("secrets/node.identity.sealed.partial"), made.key.pem()).unwrap();
        assert_eq!(load().unwrap().certified().unwrap(), before);
        secrets.write(IDENTITY, made.key.pem().as_bytes()).unwrap();
        assert!(format!("{:#}", load().unwrap_err()).contains("damaged"));
    }

    #[test]
    fn an_unanswered_request_is_the_same_after_a_restart_and_never_for_the_key_in_use() {
        let (data, secrets, _authority) = old_layout();
        let current = NodeIdentity::load(data.path(), &secrets).unwrap().key;
        let pending = |current: &Key| pending_renewal(&secrets, node(), current).unwrap();
        let first = pending(&current);
        let again = pending(&current);
        assert_eq!(again.request_pem.trim(), first.request_pem.trim());
        let installed = pending(&first.key);
        assert_ne!(installed.request_pem.trim(), first.request_pem.trim(), "a crash fell behind its installation");
        forget_renewal(&secrets).unwrap();
        forget_renewal(&secrets).unwrap();
        assert_ne!(pending(&current).request_pem.trim(), installed.request_pem.trim());
    }
}
