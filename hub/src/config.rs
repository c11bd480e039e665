//! Settings: `hub.toml` in the data directory. Unknown keys are refused.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, bail};
use jikai_schema::crypto::Suite;
use jikai_schema::money::{Money, RatePpm, SaleShares};
use jikai_schema::time::TimeMs;
use jikai_sync::secrets::MasterSource;
use serde::{Deserialize, Serialize};

use crate::identity::SigningTerms;
use crate::raft::settings::Settings;

/// File name inside the data directory.
pub const CONFIG_FILE: &str = "hub.toml";

/// Settings of a hub. Every key carries its unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// production, training or test.
    pub environment: String,
    /// international (SHA-256, AES-256-GCM) or national (SM3, SM4-GCM); chosen before the first start, the same at all nodes.
    #[serde(default)]
    pub crypto_suite: Suite,
    /// From where the key comes that opens all secrets: file:PATH, env:NAME or credential:NAME. `keys rewrap` changes it.
    #[serde(default)]
    pub master_key: MasterSource,
    /// Where the centre's API listens.
    pub listen: SocketAddr,
    /// Where nodes connect (QUIC).
    pub sync_listen: SocketAddr,
    /// Where the other machines of the hub connect (QUIC); of no use to a hub of one machine.
    #[serde(default = "peer_listen")]
    pub peer_listen: SocketAddr,
    /// What the other machines are told instead, HOST:PORT, where they reach this one under another address.
    #[serde(default)]
    pub peer_address: Option<String>,
    /// Where nodes reach this machine: they spread over all links of all machines. None: they must know it by themselves, or, where
    /// `sync_listen` is one address, that is its only link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Where a front door reaches the centre's API, if `listen` is no address that it could.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_address: Option<SocketAddr>,
    /// Addresses of front doors (HAProxy): they are believed about who is behind them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub front_doors: Vec<IpAddr>,
    /// Whether this machine only votes: it keeps all data and serves nobody.
    #[serde(default)]
    pub voter_only: bool,
    /// Ed25519 public keys of trusted printers, hex.
    pub printer_keys: Vec<String>,
    /// Read-only connections.
    pub readers: usize,
    /// Most nodes connected at once.
    pub nodes_max: usize,
    /// UDP segmentation offload; some virtual network cards cannot do it.
    pub segmentation_offload: bool,
    /// Largest uploaded file. Bytes.
    pub import_bytes_max: usize,
    /// Largest body of any other request. Bytes.
    pub body_bytes_max: usize,
    /// How long an importing or reporting request may take while the hub stops. Milliseconds.
    pub drain_ms_max: u64,
    /// Connections of the centre at once.
    #[serde(default = "connections_max")]
    pub connections_max: usize,
    /// Requests a second without a session (login) from one address; an office may share one.
    #[serde(default = "strangers_per_second")]
    pub strangers_per_second: NonZeroU32,
    /// Requests a second of one member of staff, all sessions together; ten seconds' worth at once.
    #[serde(default = "account_per_second")]
    pub account_per_second: NonZeroU32,
    /// How long a handshake, and then the headers of a request, may take. Milliseconds.
    #[serde(default = "patience_ms")]
    pub patience_ms: u64,
    /// Whether TLS 1.2 is spoken beside 1.3, for old browsers.
    #[serde(default)]
    pub tls_1_2: bool,
    /// How long certificates of nodes and of the hub are good, at most until the authority ends. Days, 1 to 3650.
    #[serde(default = "certificate_days")]
    pub certificate_days: u32,
    /// The hub's own certificate is renewed once no more than this share of its validity is left. Percent, 0 to 90.
    #[serde(default = "renewal_remaining_percent")]
    pub renewal_remaining_percent: u32,
    /// Longest wait before a renewal that failed is tried again. Seconds, > 0.
    #[serde(default = "renewal_retry_s_max")]
    pub renewal_retry_s_max: u64,
    /// Entries of the log after which the tables are digested and compared with those of the other machines; 0: never. The same on
    /// every machine.
    #[serde(default = "digest_entries")]
    pub digest_entries: u64,
    /// Rates and limits of imported games; the game list does not carry them.
    pub game: GameParameters,
}

/// A way to this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The carrier's name, the same on every machine.
    pub name: String,
    /// Where nodes connect (QUIC).
    pub address: SocketAddr,
    /// Its share among the links, 1 to 1000.
    #[serde(default = "link_weight")]
    pub weight: u16,
}

impl FromStr for Link {
    type Err = anyhow::Error;

    /// `NAME=IP:PORT` or `NAME=IP:PORT@WEIGHT`.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let shape = "a link reads NAME=IP:PORT or NAME=IP:PORT@WEIGHT";
        let (name, rest) = text.split_once('=').context(shape)?;
        let (address, weight) = match rest.split_once('@') {
            Some((address, weight)) => (address, weight.parse().context("weight is 1 to 1000")?),
            None => (rest, link_weight()),
        };
        Ok(Link { name: name.to_string(), address: address.parse().context(shape)?, weight })
    }
}

/// Rates and limits of imported games.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GameParameters {
    /// Share of the prize fund, parts per million.
    pub prize_fund_ppm: u32,
    /// Share of the welfare fund, parts per million.
    pub welfare_fund_ppm: u32,
    /// Commission of the outlet, parts per million; out of the issue fee.
    pub commission_ppm: u32,
    /// Highest prize that an outlet pays. Fen.
    pub outlet_limit_fen: i64,
    /// Highest prize that a city centre pays. Fen.
    pub city_limit_fen: i64,
}

impl GameParameters {
    /// The values of the demo province.
    pub const DEMO: GameParameters = GameParameters {
        prize_fund_ppm: 650_000,
        welfare_fund_ppm: 200_000,
        commission_ppm: 80_000,
        outlet_limit_fen: 1_000_000,
        city_limit_fen: 5_000_000,
    };

    /// The shares, if they leave enough to pay the commission.
    pub fn shares(&self) -> Option<SaleShares> {
        let rate = RatePpm::new;
        SaleShares::new(rate(self.prize_fund_ppm)?, rate(self.welfare_fund_ppm)?, rate(self.commission_ppm)?)
    }

    /// Highest prizes that an outlet and a city centre pay.
    pub fn limits(&self) -> (Money, Money) {
        (Money::from_fen(self.outlet_limit_fen), Money::from_fen(self.city_limit_fen))
    }
}

impl Config {
    /// Settings of a new hub.
    pub fn new(environment: String, listen: SocketAddr, sync_listen: SocketAddr, printer_keys: Vec<String>) -> Self {
        Config {
            environment,
            crypto_suite: Suite::default(),
            master_key: MasterSource::default(),
            listen,
            sync_listen,
            peer_listen: peer_listen(),
            peer_address: None,
            links: Vec::new(),
            http_address: None,
            front_doors: Vec::new(),
            voter_only: false,
            printer_keys,
            readers: 4,
            nodes_max: 256,
            segmentation_offload: true,
            import_bytes_max: 32 << 20,
            body_bytes_max: 64 << 10,
            drain_ms_max: 10_000,
            connections_max: connections_max(),
            strangers_per_second: strangers_per_second(),
            account_per_second: account_per_second(),
            patience_ms: patience_ms(),
            tls_1_2: false,
            certificate_days: certificate_days(),
            renewal_remaining_percent: renewal_remaining_percent(),
            renewal_retry_s_max: renewal_retry_s_max(),
            digest_entries: digest_entries(),
            game: GameParameters::DEMO,
        }
    }

    /// Reads and checks the settings in `data`.
    pub fn load(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(CONFIG_FILE);
        let hint = || format!("read {}: run `jikai-hub init --data {}` first", path.display(), data.display());
        let text = std::fs::read_to_string(&path).with_context(hint)?;
        let config: Config = toml::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        config.check().with_context(|| format!("check {}", path.display()))?;
        Ok(config)
    }

    /// Settles this process's suite by the settings in `data`; before `init` made them, nothing is settled.
    pub fn choose_suite(data: &Path) -> anyhow::Result<()> {
        if data.join(CONFIG_FILE).exists() {
            Config::load(data)?.crypto_suite.choose()?;
        }
        Ok(())
    }

    /// Writes the settings into `data`.
    pub fn save(&self, data: &Path) -> anyhow::Result<()> {
        let path = data.join(CONFIG_FILE);
        let text = toml::to_string_pretty(self).context("write the settings")?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// What the other machines of the hub are told; `None`: the address that it listens on.
    pub fn peer_address(&self) -> Option<String> {
        self.peer_address.clone()
    }

    /// Whether other machines can find this one: not where the system chooses the port at each start.
    pub fn has_peer_address(&self) -> bool {
        self.peer_address.is_some() || (self.peer_listen.port() != 0 && !self.peer_listen.ip().is_unspecified())
    }

    /// Times and limits of the replicated log.
    pub fn log_settings(&self) -> Settings {
        Settings { digest_entries: self.digest_entries, ..Settings::default() }
    }

    /// Signs now, for as long as is set.
    pub fn signing_terms(&self, now_ms: TimeMs) -> SigningTerms {
        SigningTerms { now_ms, certificate_ms: i64::from(self.certificate_days) * 86_400_000 }
    }

    /// Refuses what must not be set.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.game.shares().is_none() {
            bail!("game: the shares leave an issue fee that does not pay the commission");
        }
        if !(1..=3_650).contains(&self.certificate_days) {
            bail!("certificate_days: a certificate is good for 1 to 3650 days");
        }
        if self.renewal_remaining_percent > 90 || self.renewal_retry_s_max == 0 {
            bail!("renewal_remaining_percent is 0 to 90, renewal_retry_s_max above 0");
        }
        crate::import::printer_keys(&self.printer_keys).context("read printer_keys")?;
        Ok(())
    }
}

/// Any port: nobody connects to a hub of one machine.
fn peer_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn link_weight() -> u16 {
    100
}

fn connections_max() -> usize {
    1_024
}

fn digest_entries() -> u64 {
    Settings::default().digest_entries
}

/// Two years.
fn certificate_days() -> u32 {
    730
}

/// A third.
fn renewal_remaining_percent() -> u32 {
    33
}

/// An hour.
fn renewal_retry_s_max() -> u64 {
    3_600
}

/// Some people of one office who log in at once, and no guesser's pace.
fn strangers_per_second() -> NonZeroU32 {
    NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN)
}

/// A person with some screens open, and no program that reads everything through a stolen session.
fn account_per_second() -> NonZeroU32 {
    NonZeroU32::new(50).unwrap_or(NonZeroU32::MIN)
}

fn patience_ms() -> u64 {
    10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> Config {
        Config::new("test".into(), listen.parse().unwrap(), "0.0.0.0:0".parse().unwrap(), Vec::new())
    }

    #[test]
    fn settings_come_back_and_an_unknown_key_is_refused() {
        let data = tempfile::tempdir().unwrap();
        config("127.0.0.1:0").save(data.path()).unwrap();
        assert_eq!(Config::load(data.path()).unwrap().environment, "test");
        let path = data.path().join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("surprise = 1\n{text}")).unwrap();
        assert!(format!("{:#}", Config::load(data.path()).unwrap_err()).contains("surprise"));
    }

    #[test]
    fn settings_without_a_suite_are_international_and_a_suite_that_is_none_is_refused() {
        let data = tempfile::tempdir().unwrap();
        config("127.0.0.1:0").save(data.path()).unwrap();
        let path = data.path().join(CONFIG_FILE);
        let written = std::fs::read_to_string(&path).unwrap();
        let with = |line: &str| {
            std::fs::write(&path, written.replace("crypto_suite = \"international\"\n", line)).unwrap();
            Config::load(data.path()).map(|config| config.crypto_suite)
        };
        assert_eq!(with("").unwrap(), Suite::International);
        assert_eq!(with("crypto_suite = \"national\"\n").unwrap(), Suite::National);
        assert!(with("crypto_suite = \"sm\"\n").is_err());
    }

    #[test]
    fn validities_and_waits_have_bounds() {
        for days in [1, 3_650] {
            assert!(Config { certificate_days: days, ..config("127.0.0.1:0") }.check().is_ok());
        }
        for days in [0, 3_651] {
            assert!(Config { certificate_days: days, ..config("127.0.0.1:0") }.check().is_err());
        }
        assert!(Config { renewal_remaining_percent: 91, ..config("127.0.0.1:0") }.check().is_err());
        assert!(Config { renewal_retry_s_max: 0, ..config("127.0.0.1:0") }.check().is_err());
    }

    #[test]
    fn the_master_key_lies_in_its_file_unless_the_settings_say_otherwise() {
        let data = tempfile::tempdir().unwrap();
        config("127.0.0.1:0").save(data.path()).unwrap();
        let path = data.path().join(CONFIG_FILE);
        let written = std::fs::read_to_string(&path).unwrap();
        let with = |line: &str| {
            let changed = written.replace("master_key = \"file:secrets/master.key\"\n", line);
            assert_ne!(changed, written);
            std::fs::write(&path, changed).unwrap();
            Config::load(data.path()).map(|config| config.master_key.to_string())
        };
        assert_eq!(with("").unwrap(), "file:secrets/master.key");
        assert_eq!(with("master_key = \"env:JIKAI_KEY\"\n").unwrap(), "env:JIKAI_KEY");
        assert!(format!("{:#}", with("master_key = \"JIKAI_KEY\"\n").unwrap_err()).contains("env:NAME"));
    }

    #[test]
    fn a_printer_key_that_is_none_is_refused() {
        let mut bad = config("127.0.0.1:0");
        bad.printer_keys.push("abcd".into());
        assert!(bad.check().is_err());
    }
}
