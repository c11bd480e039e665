//! Who the hub is: its authority, its certificate, its secrets. All under the data directory, readable by its owner only.

mod expiry;
mod renewal;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jikai_schema::crypto::{Suite, equal, hash};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{
    CertificateAuthority, Certified, Key, TlsIdentity, certified_by_pem, create_private_dir, machine_by_pem,
    write_private_file,
};
use jikai_sync::secrets::{Place, PlainFile, Secrets};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::machines::Sealed;

pub use expiry::Expiry;
pub use renewal::{HubCertificate, Present, keep_certified};

/// File with the machine's token.
pub const TOKEN_FILE: &str = "admin.token";

/// Name of the authority's key among the secrets.
pub const CA_KEY: &str = "ca.key";
/// Name of the hub's own TLS key among the secrets.
pub const HUB_KEY: &str = "hub.key";
/// Name of the key that signs checkpoints among the secrets.
pub const AUDIT_KEY: &str = "audit.key";
/// Name of the key that signs the directory of the nodes among the secrets.
pub const DIRECTORY_KEY: &str = "directory.key";

/// What a build before the ring of keys kept in the clear.
const PLAIN: &[PlainFile] = &[
    PlainFile { plain: "ca.key.pem", name: CA_KEY },
    PlainFile { plain: "hub.key.pem", name: HUB_KEY },
    PlainFile { plain: "audit.key", name: AUDIT_KEY },
];

/// Where the secrets of the hub in `data` lie.
pub fn secrets_place(data: &Path, config: &Config) -> Place {
    Place::new(data, format!("hub {}", config.environment), config.master_key.clone(), PLAIN)
}

/// The hub's identity files.
pub struct IdentityFiles {
    data: PathBuf,
}

impl IdentityFiles {
    /// The files under this data directory.
    pub fn new(data: &Path) -> Self {
        IdentityFiles { data: data.to_owned() }
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Makes authority, certificate and token of a new hub. `hosts` are names by which browsers reach it.
    pub fn create(&self, secrets: &Secrets, environment: &str, hosts: &[String]) -> anyhow::Result<()> {
        for dir in ["", "ca"] {
            create_private_dir(&self.data.join(dir))?;
        }
        let now_ms = TimeMs::now();
        let authority = CertificateAuthority::create(environment, now_ms)?;
        let key = Key::generate()?;
        let certificate = authority.certify_hub(&key, &[&["localhost".to_string()], hosts].concat(), now_ms)?;
        secrets.keep_key(CA_KEY, authority.key())?;
        self.write("ca/ca.pem", authority.certificate_pem())?;
        secrets.keep_key(HUB_KEY, &key)?;
        self.write("hub.pem", &certificate)?;
        self.write(TOKEN_FILE, &Zeroizing::new(hex::encode(random_bytes()?)))
    }

    /// Installs what a machine was invited with, and makes its token.
    pub fn install(&self, secrets: &Secrets, authority_pem: &str, sealed: &Sealed) -> anyhow::Result<()> {
        for dir in ["", "ca"] {
            create_private_dir(&self.data.join(dir))?;
        }
        if let Some(key) = sealed.authority_key() {
            secrets.keep_key(CA_KEY, &key)?;
        }
        self.write("ca/ca.pem", authority_pem)?;
        secrets.keep_key(HUB_KEY, &sealed.key())?;
        self.write("hub.pem", &sealed.certificate)?;
        self.write(TOKEN_FILE, &Zeroizing::new(hex::encode(random_bytes()?)))
    }

    /// The authority's certificate, PEM.
    pub fn authority_pem(&self) -> anyhow::Result<String> {
        self.read("ca/ca.pem")
    }

    /// Signs a node's request as `terms` say; gives its certificate, PEM. `hosts` are further names and addresses of it.
    pub fn sign_node(
        &self,
        secrets: &Secrets,
        request_pem: &str,
        node: NodeId,
        hosts: &[String],
        terms: SigningTerms,
    ) -> anyhow::Result<String> {
        if node.is_hub() {
            bail!("node 0 is the hub: name the node's own number with --node");
        }
        let signed = self.authority(secrets, terms)?.sign_node(request_pem, node, hosts, terms.now_ms);
        signed.context("sign the request: is it the .csr file that `jikai-node init` wrote?")
    }

    /// Certifies the hub's own key again, with the names of its certificate, and installs the result; gives what it says. The
    /// key stays: what tells nodes of a restarted hub hangs on it.
    pub fn renew_hub(&self, secrets: &Secrets, terms: SigningTerms) -> anyhow::Result<Certified> {
        let key = secrets.key(HUB_KEY)?;
        let hosts = self.certified()?.hosts;
        let machine = self.machine()?;
        let certificate = self.authority(secrets, terms)?.certify_machine(&key, machine, &hosts, terms.now_ms)?;
        self.write("hub.pem", &certificate)?;
        Ok(certified_by_pem(&certificate)?)
    }

    /// What the hub's certificate says.
    pub fn certified(&self) -> anyhow::Result<Certified> {
        Ok(certified_by_pem(&self.read("hub.pem")?)?)
    }

    /// Which machine of the hub this is, by its certificate.
    pub fn machine(&self) -> anyhow::Result<u16> {
        machine_by_pem(&self.read("hub.pem")?)?.context("hub.pem is a node's certificate")
    }

    fn authority(&self, secrets: &Secrets, terms: SigningTerms) -> anyhow::Result<CertificateAuthority> {
        let key = secrets.key(CA_KEY)?;
        Ok(CertificateAuthority::from_pem(self.authority_pem()?, key).signing_for(terms.certificate_ms))
    }

    /// Certificate and key for TLS.
    pub fn tls(&self, secrets: &Secrets) -> anyhow::Result<TlsIdentity> {
        Ok(TlsIdentity::from_pem(&self.read("hub.pem")?, &secrets.key(HUB_KEY)?, &self.authority_pem()?)?)
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

/// When something is signed, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct SigningTerms {
    /// Now.
    pub now_ms: TimeMs,
    /// Validity. Milliseconds, > 0.
    pub certificate_ms: i64,
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
    use jikai_sync::identity::KeyAndRequest;

    #[test]
    fn a_new_hub_has_secrets_that_only_its_owner_reads_and_signs_for_the_node_that_the_operator_names() {
        let data = tempfile::tempdir().unwrap();
        let files = IdentityFiles::new(data.path());
        let any = "127.0.0.1:0".parse().unwrap();
        let place = secrets_place(data.path(), &Config::new("test".into(), any, any, Vec::new()));
        let secrets = Secrets::create(&place).unwrap();
        files.create(&secrets, "test", &["hub.example".to_string()]).unwrap();
        let sealed = ["secrets/master.key", "secrets/keys.sealed", "secrets/ca.key.sealed", "secrets/hub.key.sealed"];
        for name in sealed.into_iter().chain([TOKEN_FILE]) {
            let mode = std::fs::metadata(data.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        files.tls(&secrets).unwrap();
        let node = |number| NodeId::new(number).unwrap();
        let request = KeyAndRequest::for_node(node(9)).unwrap().request_pem;
        let terms = SigningTerms { now_ms: TimeMs::now(), certificate_ms: 86_400_000 };
        let hosts = ["node3.example".to_string()];
        let signed = certified_by_pem(&files.sign_node(&secrets, &request, node(3), &hosts, terms).unwrap()).unwrap();
        assert_eq!((signed.node, signed.hosts.as_slice()), (node(3), hosts.as_slice()));
        assert!(files.sign_node(&secrets, &request, NodeId::HUB, &[], terms).is_err());
        assert!(files.sign_node(&secrets, &request, node(3), &["node-4.jikai".to_string()], terms).is_err());
        assert!(format!("{:#}", files.sign_node(&secrets, "junk", node(3), &[], terms).unwrap_err()).contains(".csr"));
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
