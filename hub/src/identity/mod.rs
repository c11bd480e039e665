//! Who the hub is: its authority, its certificate, its secrets. All under the data directory, readable by its owner only.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jikai_schema::crypto::{Suite, equal, hash};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_schema::vault::MasterKey;
use jikai_sync::identity::{CertificateAuthority, Key, TlsIdentity, create_private_dir, write_private_file};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// File with the machine's token.
pub const TOKEN_FILE: &str = "admin.token";

/// The hub's identity files.
pub struct IdentityFiles {
    data: PathBuf,
}

impl IdentityFiles {
    /// The files under this data directory.
    pub fn new(data: &Path) -> Self {
        IdentityFiles { data: data.to_owned() }
    }

    /// Makes authority, certificate, master key and token of a new hub. `hosts` are names by which browsers reach it.
    pub fn create(&self, environment: &str, hosts: &[String]) -> anyhow::Result<()> {
        for dir in ["", "ca", "secrets"] {
            create_private_dir(&self.data.join(dir))?;
        }
        let now_ms = TimeMs::now();
        let authority = CertificateAuthority::create(environment, now_ms)?;
        let key = Key::generate()?;
        let certificate = authority.certify_hub(&key, &[&["localhost".to_string()], hosts].concat(), now_ms)?;
        self.write("secrets/ca.key.pem", authority.key().pem())?;
        self.write("ca/ca.pem", authority.certificate_pem())?;
        self.write("secrets/hub.key.pem", key.pem())?;
        self.write("hub.pem", &certificate)?;
        self.write("secrets/master.key", &Zeroizing::new(hex::encode(random_bytes()?)))?;
        self.write(TOKEN_FILE, &Zeroizing::new(hex::encode(random_bytes()?)))
    }

    /// The authority's certificate, PEM.
    pub fn authority_pem(&self) -> anyhow::Result<String> {
        self.read("ca/ca.pem")
    }

    /// Signs a node's request; gives its certificate, PEM.
    pub fn sign_node(&self, request_pem: &str, node: NodeId) -> anyhow::Result<String> {
        if node.is_hub() {
            bail!("node 0 is the hub: name the node's own number with --node");
        }
        let key = Key::from_pem(self.read("secrets/ca.key.pem")?);
        let authority = CertificateAuthority::from_pem(self.authority_pem()?, key);
        let signed = authority.sign_node(request_pem, node, &[], TimeMs::now());
        signed.context("sign the request: is it the .csr file that `jikai-node init` wrote?")
    }

    /// Certificate and key for TLS.
    pub fn tls(&self) -> anyhow::Result<TlsIdentity> {
        let key = Key::from_pem(self.read("secrets/hub.key.pem")?);
        Ok(TlsIdentity::from_pem(&self.read("hub.pem")?, &key, &self.authority_pem()?)?)
    }

    /// The key that encrypts the batch keys.
    pub fn master_key(&self) -> anyhow::Result<MasterKey> {
        let text = Zeroizing::new(self.read("secrets/master.key")?);
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .context("secrets/master.key must hold 32 bytes in hex: restore it from the backup of this machine")?;
        Ok(MasterKey::from_bytes(bytes))
    }

    /// The machine's token.
    pub fn token(&self) -> anyhow::Result<Zeroizing<String>> {
        let text = Zeroizing::new(self.read(TOKEN_FILE)?);
        Ok(Zeroizing::new(text.trim().to_string()))
    }

    fn read(&self, name: &str) -> anyhow::Result<String> {
        let path = self.data.join(name);
        let hint = || format!("read {}: run `jikai-hub init --data {}` first", path.display(), self.data.display());
        std::fs::read_to_string(&path).with_context(hint)
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<()> {
        Ok(write_private_file(&self.data.join(name), text.as_bytes())?)
    }
}

/// What is kept of a token in memory: its hash, compared without telling how many bytes agree.
#[derive(Clone)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        TokenHash(hash(Suite::configured(), &[token.as_bytes()]))
    }

    /// Whether this is the token. The time taken does not depend on where a wrong one differs.
    pub fn is_of(&self, token: &str) -> bool {
        equal(&self.0, &TokenHash::of(token).0)
    }
}

fn random_bytes() -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(bytes.as_mut()).context("draw random bytes from the system")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use jikai_sync::identity::{KeyAndRequest, node_of_certificate};
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    #[test]
    fn a_new_hub_has_secrets_that_only_its_owner_reads_and_signs_for_the_node_that_the_operator_names() {
        let data = tempfile::tempdir().unwrap();
        let files = IdentityFiles::new(data.path());
        files.create("test", &["hub.example".to_string()]).unwrap();
        for name in ["secrets/master.key", "secrets/ca.key.pem", "secrets/hub.key.pem", TOKEN_FILE] {
            let mode = std::fs::metadata(data.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        files.tls().unwrap();
        files.master_key().unwrap();
        let node = |number| NodeId::new(number).unwrap();
        let request = KeyAndRequest::for_node(node(9)).unwrap().request_pem;
        let pem = files.sign_node(&request, node(3)).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert_eq!(node_of_certificate(&der).unwrap(), node(3));
        assert!(files.sign_node(&request, NodeId::HUB).is_err());
        assert!(format!("{:#}", files.sign_node("junk", node(3)).unwrap_err()).contains(".csr"));
    }

    #[test]
    fn only_the_very_token_is_accepted() {
        let hash = TokenHash::of("abc");
        assert!(hash.is_of("abc"));
        for other in ["", "ab", "abcd", "abd", "ABC"] {
            assert!(!hash.is_of(other), "{other}");
        }
    }

    #[test]
    fn without_init_the_error_says_so() {
        let data = tempfile::tempdir().unwrap();
        let error = format!("{:#}", IdentityFiles::new(data.path()).token().unwrap_err());
        assert!(error.contains("jikai-hub init"), "{error}");
    }
}
