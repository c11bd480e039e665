//! Settings: `node.toml` in the data directory. Unknown keys are refused.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context, bail};
use jikai_schema::crypto::Suite;
use jikai_schema::directory::check_addresses;
use jikai_sync::secrets::MasterSource;
use serde::{Deserialize, Serialize};

use crate::renewal::RenewalSettings;
use crate::store::FeedRetention;

/// File name inside the data directory.
pub const CONFIG_FILE: &str = "node.toml";

/// When a mutation is acknowledged to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Acknowledge {
    /// Once it is on this node's disk.
    Local,
    /// Once the hub has committed it: losing this node's disk loses nothing.
    Hub,
}

/// Settings of a node. Every key carries its unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node's number.
    pub node: u16,
    /// production, training or test.
    pub environment: String,
    /// international (SHA-256, AES-256-GCM) or national (SM3, SM4-GCM); chosen before the first start, the hub's.
    #[serde(default)]
    pub crypto_suite: Suite,
    /// From where the key comes that opens all secrets: file:PATH, env:NAME or credential:NAME. `keys rewrap` changes it.
    #[serde(default)]
    pub master_key: MasterSource,
    /// Addresses of the hub for the first contact. Once the hub has told of its machines, those are used; of these, the ones that
    /// it told nothing of only when no other answers.
    pub hub: Vec<SocketAddr>,
    /// Where terminals connect.
    pub listen: SocketAddr,
    /// Where terminals reach this node, HOST:PORT, the one to be tried first in front, at most 8: the hub tells all terminals. None:
    /// `listen`, where that is one address. Each must be a name of the node's certificate, or lead to what bears one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub public_addresses: Vec<String>,
    /// When mutations are acknowledged.
    pub ack: Acknowledge,
    /// With `ack = "local"`: prizes and charges from this amount on wait for the hub all the same. Fen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_ack_from_fen: Option<i64>,
    /// Requests a second that one terminal may make in the long run.
    pub terminal_requests_per_second: NonZeroU32,
    /// Requests that one terminal may make at once.
    pub terminal_requests_burst: NonZeroU32,
    /// A node that did not hear the hub for so long trusts no session and no login: it may not know who was put out of use.
    /// Milliseconds.
    #[serde(default = "offline_ms_max")]
    pub offline_ms_max: i64,
    /// The certificate is renewed once no more than this share of its validity is left. Percent, 0 to 90.
    #[serde(default = "renewal_remaining_percent")]
    pub renewal_remaining_percent: u32,
    /// Longest wait before a renewal that failed is tried again. Seconds, > 0.
    #[serde(default = "renewal_retry_s_max")]
    pub renewal_retry_s_max: u64,
    /// Connections of terminals at once.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Requests a second without a session (login, enrolment) from one address; outlets of a network may share one.
    #[serde(default = "strangers_per_second")]
    pub strangers_per_second: NonZeroU32,
    /// How long a handshake, the headers, and then the body of a request may each take. Milliseconds.
    #[serde(default = "patience_ms")]
    pub patience_ms: u64,
    /// Whether TLS 1.2 is spoken beside 1.3, for old devices.
    #[serde(default)]
    pub tls_1_2: bool,
    /// Largest request body. Bytes.
    pub body_bytes_max: usize,
    /// What the hub told is kept for so long, for a hub that is put back from an older copy. Days, at most 3,650.
    #[serde(default = "feed_kept_days")]
    pub feed_kept_days: u32,
    /// So many of the hub's newest events are kept whatever their age.
    #[serde(default = "feed_kept_events_min")]
    pub feed_kept_events_min: u64,
    /// Read-only connections.
    pub readers: usize,
    /// How long a stopping node waits for the hub to confirm its last events. Milliseconds.
    pub drain_ms_max: u64,
}

impl Config {
    /// Settings of a new node.
    pub fn new(node: u16, environment: String, hub: Vec<SocketAddr>, listen: SocketAddr, ack: Acknowledge) -> Self {
        let count = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Config {
            node,
            environment,
            crypto_suite: Suite::default(),
            master_key: MasterSource::default(),
            hub,
            listen,
            public_addresses: Vec::new(),
            ack,
            hub_ack_from_fen: None,
            terminal_requests_per_second: count(50),
            terminal_requests_burst: count(100),
            offline_ms_max: offline_ms_max(),
            renewal_remaining_percent: renewal_remaining_percent(),
            renewal_retry_s_max: renewal_retry_s_max(),
            connections_max: connections_max(),
            strangers_per_second: strangers_per_second(),
            patience_ms: patience_ms(),
            tls_1_2: false,
            body_bytes_max: 64 * 1024,
            feed_kept_days: feed_kept_days(),
            feed_kept_events_min: feed_kept_events_min(),
            readers: 4,
            drain_ms_max: 10_000,
        }
    }

    /// How much of the received feed is kept.
    pub fn feed_retention(&self) -> FeedRetention {
        let age_ms = i64::from(self.feed_kept_days) * 24 * 60 * 60 * 1000;
        FeedRetention { age_ms, events_min: self.feed_kept_events_min }
    }

    /// When the certificate is renewed.
    pub fn renewal_settings(&self) -> RenewalSettings {
        RenewalSettings {
            remaining_percent: self.renewal_remaining_percent,
            retry_ms_max: self.renewal_retry_s_max.saturating_mul(1_000),
        }
    }

    /// Reads the settings of a data directory.
    pub fn load(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!("read {}: run `jikai-node init --data {}` first", path.display(), data.display())
        })?;
        let config: Config =
            toml::from_str(&text).with_context(|| format!("read the settings in {}", path.display()))?;
        if config.renewal_remaining_percent > 90 || config.renewal_retry_s_max == 0 {
            bail!("{}: renewal_remaining_percent is 0 to 90, renewal_retry_s_max above 0", path.display());
        }
        check_addresses(&config.public_addresses)
            .with_context(|| format!("{}: read public_addresses", path.display()))?;
        if config.feed_kept_days > FEED_KEPT_DAYS_MAX {
            bail!("{}: feed_kept_days is at most {FEED_KEPT_DAYS_MAX}", path.display());
        }
        Ok(config)
    }

    /// What terminals are told, where the node listens at this address; empty where nobody can be told anything.
    pub fn reached_at(&self, listening: SocketAddr) -> Vec<String> {
        match self.public_addresses.is_empty() {
            true if listening.ip().is_unspecified() => Vec::new(),
            true => vec![listening.to_string()],
            false => self.public_addresses.clone(),
        }
    }

    /// Settles this process's suite by the settings in `data`; before `init` made them, nothing is settled.
    pub fn choose_suite(data: &Path) -> anyhow::Result<()> {
        if data.join(CONFIG_FILE).exists() {
            Config::load(data)?.crypto_suite.choose()?;
        }
        Ok(())
    }

    /// Writes the settings into a data directory.
    pub fn save(&self, data: &Path) -> anyhow::Result<()> {
        let text = toml::to_string_pretty(self).context("write the settings")?;
        std::fs::write(data.join(CONFIG_FILE), text).context("write the settings")
    }
}

/// As many as the open files of a process usually allow, with room.
fn connections_max() -> usize {
    16_000
}

/// A region's terminals logging in at the start of a day through one address.
fn strangers_per_second() -> NonZeroU32 {
    NonZeroU32::new(500).unwrap_or(NonZeroU32::MIN)
}

fn patience_ms() -> u64 {
    10_000
}

/// Ten years.
const FEED_KEPT_DAYS_MAX: u32 = 3_650;

fn feed_kept_days() -> u32 {
    7
}

fn feed_kept_events_min() -> u64 {
    FeedRetention::default().events_min
}

/// A third.
fn renewal_remaining_percent() -> u32 {
    33
}

/// An hour.
fn renewal_retry_s_max() -> u64 {
    3_600
}

/// A day: a region works on through a night's repair of the line.
fn offline_ms_max() -> i64 {
    24 * 60 * 60 * 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_their_file_and_an_unknown_key_is_refused() {
        let dir = std::env::temp_dir().join(format!("jikai-node-config-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        Config::new(3, "test".into(), vec![address], address, Acknowledge::Hub).save(&dir).unwrap();
        assert_eq!(Config::load(&dir).unwrap().node, 3);
        let text = std::fs::read_to_string(dir.join(CONFIG_FILE)).unwrap();
        std::fs::write(dir.join(CONFIG_FILE), format!("unknown = 1\n{text}")).unwrap();
        assert!(Config::load(&dir).is_err());
        std::fs::write(dir.join(CONFIG_FILE), text.replace("percent = 33", "percent = 91")).unwrap();
        assert!(Config::load(&dir).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn terminals_are_told_the_public_addresses_or_the_one_that_is_listened_on() {
        let data = tempfile::tempdir().unwrap();
        let (any, one): (SocketAddr, SocketAddr) = ("0.0.0.0:8443".parse().unwrap(), "10.0.0.1:8443".parse().unwrap());
        let config = Config::new(3, "test".into(), vec![one], any, Acknowledge::Local);
        assert_eq!(config.reached_at(any), [""; 0], "nobody reaches 0.0.0.0");
        assert_eq!(config.reached_at(one), ["10.0.0.1:8443"]);
        let told = Config { public_addresses: vec!["node3.example:443".into()], ..config };
        told.save(data.path()).unwrap();
        assert_eq!(Config::load(data.path()).unwrap().reached_at(one), ["node3.example:443"]);
        Config { public_addresses: vec!["node3.example".into()], ..told }.save(data.path()).unwrap();
        assert!(format!("{:#}", Config::load(data.path()).unwrap_err()).contains("HOST:PORT"));
    }
}
