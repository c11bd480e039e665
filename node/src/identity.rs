//! Who the node is on the network: its key and certificate in one file, and the request for the next ones.
//!
//! Key and certificate belong together: they lie in one file that one rename puts into place, so that a crash leaves the old
//! pair or the new one. Stores of before have two files, which are read where the one is not there.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context;
use jikai_schema::id::NodeId;
use jikai_sync::identity::{Certified, Key, KeyAndRequest, TlsIdentity, certified_by_pem, write_private_file};
use zeroize::Zeroizing;

/// Key and certificate, PEM, in this order.
const IDENTITY_FILE: &str = "secrets/identity.pem";
/// Key and request of a renewal that was not answered yet, PEM, in this order.
const RENEWAL_FILE: &str = "secrets/renewal.pem";
/// Key of the request that `init` or `request` wrote; before there was [`IDENTITY_FILE`], the node's.
const REQUEST_KEY_FILE: &str = "secrets/node.key.pem";
/// The request itself, which goes to the hub.
pub const REQUEST_FILE: &str = "node.csr";
/// The certificate, before there was [`IDENTITY_FILE`].
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
    pub fn load(data: &Path) -> anyhow::Result<Self> {
        let hint =
            || format!("read the node's certificate in {}: enrol it first (jikai-node enrol --help)", data.display());
        let authority_pem = read(data, AUTHORITY_FILE)?.with_context(hint)?;
        let (key, certificate_pem) = match read_pair(data, IDENTITY_FILE, CERTIFICATE_MARK)? {
            Some(pair) => pair,
            None => {
                let key = request_key(data)?.with_context(hint)?;
                (key, read(data, OLD_CERTIFICATE_FILE)?.with_context(hint)?)
            }
        };
        Ok(NodeIdentity { key, certificate_pem, authority_pem })
    }

    /// Puts key and certificate into place together. Durable when it returns.
    pub fn install(data: &Path, key: &Key, certificate_pem: &str) -> anyhow::Result<()> {
        write_pair(data, IDENTITY_FILE, key, certificate_pem)
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
pub fn make_request(data: &Path, node: NodeId) -> anyhow::Result<()> {
    if read(data, IDENTITY_FILE)?.is_none() && read(data, OLD_CERTIFICATE_FILE)?.is_some() {
        // The key of before lies where the new one will.
        let old = NodeIdentity::load(data)?;
        NodeIdentity::install(data, &old.key, &old.certificate_pem)?;
    }
    let KeyAndRequest { key, request_pem } = KeyAndRequest::for_node(node)?;
    write_private_file(&data.join(REQUEST_KEY_FILE), key.pem().as_bytes())?;
    std::fs::write(data.join(REQUEST_FILE), request_pem).context("write the certificate request")
}

/// The key of that request.
pub fn request_key(data: &Path) -> anyhow::Result<Option<Key>> {
    Ok(read(data, REQUEST_KEY_FILE)?.map(Key::from_pem))
}

/// Writes the authority's certificate.
pub fn keep_authority(data: &Path, authority_pem: &str) -> anyhow::Result<()> {
    Ok(write_private_file(&data.join(AUTHORITY_FILE), authority_pem.as_bytes())?)
}

/// The request of the renewal that is under way: the one that was not answered yet, also before a restart; else a new one with
/// a new key. On disk before it is sent: the hub answers the same bytes with the same certificate.
pub fn pending_renewal(data: &Path, node: NodeId, current: &Key) -> anyhow::Result<KeyAndRequest> {
    if let Some((key, request_pem)) = read_pair(data, RENEWAL_FILE, REQUEST_MARK)?
        && key.pem().trim() != current.pem().trim()
    {
        return Ok(KeyAndRequest { key, request_pem });
    }
    let made = KeyAndRequest::for_node(node)?;
    write_pair(data, RENEWAL_FILE, &made.key, &made.request_pem)?;
    Ok(made)
}

/// Forgets the request of a renewal, answered or refused.
pub fn forget_renewal(data: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(data.join(RENEWAL_FILE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("remove the request of the renewal"),
        _ => Ok(()),
    }
}

fn write_pair(data: &Path, name: &str, key: &Key, second_pem: &str) -> anyhow::Result<()> {
    let text = Zeroizing::new(format!("{}\n{}\n", key.pem().trim_end(), second_pem.trim_end()));
    Ok(write_private_file(&data.join(name), text.as_bytes())?)
}

/// A key and what follows it from `mark` on.
fn read_pair(data: &Path, name: &str, mark: &str) -> anyhow::Result<Option<(Key, String)>> {
    let Some(text) = read(data, name)?.map(Zeroizing::new) else { return Ok(None) };
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
    use jikai_sync::identity::{CertificateAuthority, create_private_dir};

    use super::*;

    fn node() -> NodeId {
        NodeId::new(3).unwrap()
    }

    fn sign(authority: &CertificateAuthority, request_pem: &str) -> String {
        authority.sign_node(request_pem, node(), &[], TimeMs::now()).unwrap()
    }

    /// A data directory as it was before key and certificate shared a file.
    fn old_layout() -> (tempfile::TempDir, CertificateAuthority) {
        let data = tempfile::tempdir().unwrap();
        create_private_dir(&data.path().join("secrets")).unwrap();
        assert!(format!("{:#}", NodeIdentity::load(data.path()).unwrap_err()).contains("jikai-node enrol"));
        let authority = CertificateAuthority::create("test", TimeMs::now()).unwrap();
        make_request(data.path(), node()).unwrap();
        let request = std::fs::read_to_string(data.path().join(REQUEST_FILE)).unwrap();
        std::fs::write(data.path().join(OLD_CERTIFICATE_FILE), sign(&authority, &request)).unwrap();
        keep_authority(data.path(), authority.certificate_pem()).unwrap();
        (data, authority)
    }

    #[test]
    fn two_files_of_before_are_read_until_the_one_file_takes_their_place() {
        let (data, authority) = old_layout();
        let old = NodeIdentity::load(data.path()).unwrap();
        old.tls().unwrap();
        make_request(data.path(), node()).unwrap();
        let kept = NodeIdentity::load(data.path()).unwrap();
        jikai_sync::identity::sync_client(&kept.tls().unwrap()).unwrap();
        assert_eq!(kept.certified().unwrap(), old.certified().unwrap());
        let made = KeyAndRequest::for_node(node()).unwrap();
        let certificate = sign(&authority, &made.request_pem);
        NodeIdentity::install(data.path(), &made.key, &certificate).unwrap();
        let new = NodeIdentity::load(data.path()).unwrap();
        assert_eq!(new.certified().unwrap(), certified_by_pem(&certificate).unwrap());
        assert_ne!(new.certified().unwrap().serial, old.certified().unwrap().serial);
        jikai_sync::identity::sync_client(&new.tls().unwrap()).unwrap();
    }

    #[test]
    fn a_crash_before_the_rename_leaves_the_old_pair_whole() {
        let (data, _authority) = old_layout();
        let made = KeyAndRequest::for_node(node()).unwrap();
        let before = NodeIdentity::load(data.path()).unwrap();
        std::fs::write(data.path().join(format!("{IDENTITY_FILE}.partial")), made.key.pem()).unwrap();
        assert_eq!(NodeIdentity::load(data.path()).unwrap().certified().unwrap(), before.certified().unwrap());
        std::fs::write(data.path().join(IDENTITY_FILE), made.key.pem()).unwrap();
        assert!(format!("{:#}", NodeIdentity::load(data.path()).unwrap_err()).contains("damaged"));
    }

    #[test]
    fn an_unanswered_request_is_the_same_after_a_restart_and_never_for_the_key_in_use() {
        let (data, _authority) = old_layout();
        let current = NodeIdentity::load(data.path()).unwrap().key;
        let first = pending_renewal(data.path(), node(), &current).unwrap();
        let again = pending_renewal(data.path(), node(), &current).unwrap();
        assert_eq!(again.request_pem.trim(), first.request_pem.trim());
        let installed = pending_renewal(data.path(), node(), &first.key).unwrap();
        assert_ne!(installed.request_pem.trim(), first.request_pem.trim(), "a crash fell behind its installation");
        forget_renewal(data.path()).unwrap();
        forget_renewal(data.path()).unwrap();
        let next = pending_renewal(data.path(), node(), &current).unwrap();
        assert_ne!(next.request_pem.trim(), installed.request_pem.trim());
    }
}
