//! What a new machine needs to join, sealed under a code that a person carries apart from the file.
//!
//! One that serves gets the ring of keys and the authority's key: it opens the secrets of the state and signs for nodes. One that
//! only votes gets neither: its certificate lasts as long as the authority.

use anyhow::{Context, bail};
use jikai_schema::crypto::{KeyRing, SecretKey, Suite};
use jikai_schema::id::MachineNo;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{CertificateAuthority, Key};
use jikai_sync::secrets::Secrets;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::config::Config;
use crate::directory::DirectoryKey;
use crate::identity::{CA_KEY, IdentityFiles};
use crate::staff::{InvitationCode, code_hash};

/// How long an invitation is good. Milliseconds: a week.
const GOOD_MS: i64 = 7 * 86_400_000;
/// The form of the file.
const FORM: u8 = 1;

/// An invitation that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvitationError {
    /// The code is another invitation's, or was mistyped.
    #[error("the code does not open this invitation")]
    Code,
    /// It is too old.
    #[error("this invitation has expired: have another one made")]
    Expired,
    /// The file is none.
    #[error("this is no invitation of this build: {0}")]
    Form(String),
}

/// The file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    form: u8,
    /// The number of the machine that joins.
    pub machine: u16,
    /// Whether it only votes.
    pub voter_only: bool,
    /// Settings of the machine that invited: environment, suite, limits.
    pub settings: Config,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// Until when it is good. Unix ms.
    expires_at_ms: i64,
    /// Hex.
    sealed: String,
}

/// What only the code opens.
#[derive(Serialize, Deserialize)]
pub struct Sealed {
    /// The machine's certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    key: String,
    /// The ring of keys, hex; only for one that serves.
    ring: Option<String>,
    /// The authority's private key, PEM; only for one that serves.
    authority_key: Option<String>,
    /// The key that signs the directory of the nodes, hex; only for one that serves.
    #[serde(default)]
    directory_key: Option<String>,
}

impl Drop for Sealed {
    fn drop(&mut self) {
        self.key.zeroize();
        self.ring.zeroize();
        self.authority_key.zeroize();
        self.directory_key.zeroize();
    }
}

/// A machine that may join.
pub struct Invited {
    /// The file.
    pub invitation: Invitation,
    /// Told once.
    pub code: Zeroizing<String>,
}

impl Invitation {
    /// Makes the invitation of a machine, reached by browsers under these names.
    pub fn make(
        files: &IdentityFiles,
        secrets: &Secrets,
        settings: &Config,
        machine: MachineNo,
        voter_only: bool,
        hosts: &[String],
    ) -> anyhow::Result<Invited> {
        let (key, now_ms) = (Key::generate()?, TimeMs::now());
        let authority_pem = files.authority_pem()?;
        let authority_key = secrets.key(CA_KEY)?;
        let directory_key = DirectoryKey::load(files.data(), secrets)?.secret_hex();
        let certificate_ms = match voter_only {
            true => i64::MAX,
            false => settings.signing_terms(now_ms).certificate_ms,
        };
        let authority = CertificateAuthority::from_pem(authority_pem.clone(), secrets.key(CA_KEY)?);
        let names = [&["localhost".to_string()], hosts].concat();
        let certificate = authority.signing_for(certificate_ms).certify_machine(&key, machine.get(), &names, now_ms)?;
        let serves = !voter_only;
        let sealed = Sealed {
            certificate,
            key: key.pem().to_owned(),
            ring: serves.then(|| hex::encode(secrets.ring().to_bytes().as_slice())),
            authority_key: serves.then(|| authority_key.pem().to_owned()),
            directory_key: serves.then(|| directory_key.to_string()),
        };
        let code = InvitationCode::draw().context("the system gives no random numbers")?;
        let mut nonce = [0; 12];
        SysRng.try_fill_bytes(&mut nonce).context("draw a nonce")?;
        let plain = Zeroizing::new(serde_json::to_vec(&sealed)?);
        let mut settings = settings.clone();
        settings.links.clear();
        settings.peer_address = None;
        settings.http_address = None;
        let (machine, authority, expires_at_ms) = (machine.get(), authority_pem, now_ms.ms() + GOOD_MS);
        let unsealed =
            Invitation { form: FORM, machine, voter_only, settings, authority, expires_at_ms, sealed: String::new() };
        let sealed = hex::encode(ring_of(&code).seal(Suite::configured(), nonce, &unsealed.context()?, &plain));
        Ok(Invited { invitation: Invitation { sealed, ..unsealed }, code })
    }

    /// Reads the file.
    pub fn read(text: &str) -> Result<Self, InvitationError> {
        let invitation: Invitation =
            serde_json::from_str(text).map_err(|error| InvitationError::Form(error.to_string()))?;
        match invitation.form {
            FORM => Ok(invitation),
            other => Err(InvitationError::Form(format!("form {other}"))),
        }
    }

    /// Opens what the code seals. The suite of the settings must be this process's.
    pub fn open(&self, code: &str) -> Result<Sealed, InvitationError> {
        let sealed = hex::decode(&self.sealed).map_err(|error| InvitationError::Form(error.to_string()))?;
        let context = self.context().map_err(|error| InvitationError::Form(error.to_string()))?;
        let plain = ring_of(code).open(&context, &sealed).map_err(|_| InvitationError::Code)?;
        if TimeMs::now().ms() > self.expires_at_ms {
            return Err(InvitationError::Expired);
        }
        serde_json::from_slice(&plain).map_err(|error| InvitationError::Form(error.to_string()))
    }
}

impl Invitation {
    /// All that stands in the open is bound to the code: whoever alters the file without knowing the code has made another one.
    fn context(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Invitation { sealed: String::new(), ..self.clone() })
    }
}

impl Sealed {
    /// The machine's private key.
    pub fn key(&self) -> Key {
        Key::from_pem(self.key.clone())
    }

    /// The ring of keys, for one that serves.
    pub fn ring(&self) -> anyhow::Result<Option<KeyRing>> {
        let Some(digits) = &self.ring else { return Ok(None) };
        let bytes = Zeroizing::new(hex::decode(digits).context("read the ring")?);
        match KeyRing::from_bytes(&bytes) {
            Ok(ring) => Ok(Some(ring)),
            Err(error) => bail!("read the ring: {error}"),
        }
    }

    /// The authority's private key, for one that serves.
    pub fn authority_key(&self) -> Option<Key> {
        self.authority_key.clone().map(Key::from_pem)
    }

    /// The key that signs the directory of the nodes, hex, for one that serves; `None` also from a hub that is older than it.
    pub fn directory_key(&self) -> Option<&str> {
        self.directory_key.as_deref()
    }
}

/// 80 drawn bits need no stretching.
fn ring_of(code: &str) -> KeyRing {
    KeyRing::of(SecretKey::from_bytes(code_hash("invitation of a machine", code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::province::secrets_in;

    fn made(voter_only: bool) -> Invited {
        let data = tempfile::tempdir().unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        let settings = Config::new("test".into(), any, any, Vec::new());
        let (secrets, files) = (secrets_in(data.path()), IdentityFiles::new(data.path()));
        files.create(&secrets, "test", &[]).unwrap();
        let machine = MachineNo::new(2).unwrap();
        Invitation::make(&files, &secrets, &settings, machine, voter_only, &["hub2.example".into()]).unwrap()
    }

    #[test]
    fn the_code_opens_what_a_serving_machine_needs() {
        let Invited { invitation, code } = made(false);
        let text = serde_json::to_string(&invitation).unwrap();
        let again = Invitation::read(&text).unwrap();
        let sealed = again.open(&code.to_uppercase()).unwrap();
        assert!(sealed.ring().unwrap().is_some() && sealed.authority_key().is_some());
        assert!(sealed.directory_key().is_some(), "machines that serve sign with the same key");
        assert_eq!(jikai_sync::identity::machine_by_pem(&sealed.certificate).unwrap(), Some(2));
        assert!(!text.contains("PRIVATE KEY"), "a key lies in the clear");
    }

    #[test]
    fn a_machine_that_only_votes_gets_no_keys_of_others() {
        let Invited { invitation, code } = made(true);
        let sealed = invitation.open(&code).unwrap();
        assert!(sealed.ring().unwrap().is_none() && sealed.authority_key().is_none());
        assert!(sealed.directory_key().is_none());
    }

    #[test]
    fn another_code_or_another_machines_file_opens_nothing() {
        let Invited { invitation, code } = made(false);
        assert!(matches!(invitation.open("abcd-efgh-jkmn-2345"), Err(InvitationError::Code)));
        let other = Invitation { machine: 3, ..invitation.clone() };
        assert!(matches!(other.open(&code), Err(InvitationError::Code)));
        let more = Invitation { voter_only: true, ..invitation.clone() };
        assert!(matches!(more.open(&code), Err(InvitationError::Code)));
        let mut bent = invitation.clone();
        bent.settings.front_doors.push([10, 0, 0, 66].into());
        assert!(matches!(bent.open(&code), Err(InvitationError::Code)), "a door was added to the file");
        let longer = Invitation { expires_at_ms: invitation.expires_at_ms + 1, ..invitation };
        assert!(matches!(longer.open(&code), Err(InvitationError::Code)));
        assert!(matches!(Invitation::read("{}"), Err(InvitationError::Form(_))));
    }
}
