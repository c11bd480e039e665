//! `join`: the directory of a further machine of the hub.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::Args;
use jikai_sync::identity::create_private_dir;
use jikai_sync::secrets::{MasterSource, Secrets};
use zeroize::Zeroizing;

use super::DataArg;
use crate::app::INBOX;
use crate::audit::checkpoint::{AuditKey, PublicKeys};
use crate::config::{CONFIG_FILE, Config, Link};
use crate::directory::DirectoryKey;
use crate::identity::{IdentityFiles, secrets_place};
use crate::machines::Invitation;
use crate::raft::log_store::LOG_FILE;

pub(super) const EXAMPLE: &str = "Example:
  jikai-hub join --data ./hub2 --invitation invitation.json --code-file code.txt --listen 10.0.0.2:8443 \\
      --sync-listen 0.0.0.0:7400 --peer-listen 10.0.0.2:7402 --link telecom=10.0.0.2:7400 --link unicom=10.1.0.2:7400
Then start it (jikai-hub run), and take it in at a machine of the hub (jikai-hub cluster add).";

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    #[command(flatten)]
    pub(super) data: DataArg,
    /// The file that `cluster invite` wrote.
    #[arg(long)]
    invitation: PathBuf,
    /// File with the invitation's code; without it the code is asked for.
    #[arg(long)]
    code_file: Option<PathBuf>,
    /// From where the key comes that opens this machine's secrets: file:PATH (made where it is missing), env:NAME or
    /// credential:NAME. Each machine has its own.
    #[arg(long, default_value_t = MasterSource::default())]
    master_key: MasterSource,
    /// Where the centre's API listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where nodes connect (QUIC, UDP).
    #[arg(long, default_value = "127.0.0.1:0")]
    sync_listen: SocketAddr,
    #[command(flatten)]
    peers: PeerArgs,
}

/// Where the other machines and the nodes find a machine.
#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    /// Where the other machines of the hub connect (QUIC, UDP). Needed to join; `init` of a hub that stays one machine can do without.
    #[arg(long, default_value = "127.0.0.1:0")]
    peer_listen: SocketAddr,
    /// What the other machines are told instead, HOST:PORT.
    #[arg(long)]
    peer_address: Option<String>,
    /// A way for nodes to this machine, NAME=IP:PORT or NAME=IP:PORT@WEIGHT. May be given several times.
    #[arg(long)]
    link: Vec<Link>,
    /// Where a front door reaches the centre's API, if that listens on no address that it could.
    #[arg(long)]
    http_address: Option<SocketAddr>,
    /// Address of a front door (HAProxy), which is believed about who is behind it. May be given several times; a machine that joins
    /// believes those that the others believe.
    #[arg(long)]
    front_door: Vec<IpAddr>,
}

impl PeerArgs {
    /// The settings with these.
    pub(super) fn apply(&self, config: Config) -> Config {
        Config {
            peer_listen: self.peer_listen,
            peer_address: self.peer_address.clone(),
            links: self.link.clone(),
            http_address: self.http_address,
            front_doors: [config.front_doors.as_slice(), self.front_door.as_slice()].concat(),
            ..config
        }
    }
}

pub(super) fn join(args: &JoinArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    if data.join(CONFIG_FILE).exists() || data.join(LOG_FILE).exists() {
        bail!("{} holds a machine of a hub already. Choose an empty directory.", data.display());
    }
    let path = &args.invitation;
    let text = std::fs::read_to_string(path).with_context(|| format!("read the invitation {}", path.display()))?;
    let invitation = Invitation::read(&text)?;
    invitation.settings.crypto_suite.choose()?;
    let sealed = invitation.open(&read_code(args)?).context("open the invitation: check the code, or invite anew")?;
    let config = Config {
        master_key: args.master_key.clone(),
        listen: args.listen,
        sync_listen: args.sync_listen,
        voter_only: invitation.voter_only,
        ..args.peers.apply(invitation.settings.clone())
    };
    config.check()?;
    ensure!(
        config.has_peer_address(),
        "--peer-listen: the other machines must find this one: give it a port, or say --peer-address"
    );
    create_private_dir(data)?;
    let place = secrets_place(data, &config);
    let secrets = match sealed.ring()? {
        Some(ring) => Secrets::create_with(&place, ring)?,
        None => Secrets::create(&place)?,
    };
    IdentityFiles::new(data).install(&secrets, &invitation.authority, &sealed)?;
    let audit_key = AuditKey::load_or_make(&secrets).context("make the audit key")?;
    PublicKeys::default().add(data, audit_key.public()).context("list the audit key")?;
    if let Some(digits) = sealed.directory_key() {
        DirectoryKey::take(data, &secrets, digits).context("keep the key of the directory")?;
    }
    create_private_dir(&data.join(INBOX))?;
    // Last: a directory without settings was not made to the end.
    config.save(data)?;
    println!("machine={}", invitation.machine);
    println!("Made the directory of machine {} in {}. Next:", invitation.machine, data.display());
    println!("  1. remove the invitation and its code");
    println!("  2. jikai-hub run --data {}", data.display());
    let address = config.peer_address().unwrap_or_else(|| config.peer_listen.to_string());
    println!(
        "  3. at a machine of the hub: jikai-hub cluster add --data HUB --machine {} --address {address}",
        invitation.machine
    );
    Ok(())
}

fn read_code(args: &JoinArgs) -> anyhow::Result<Zeroizing<String>> {
    let Some(path) = &args.code_file else {
        eprint!("Code of the invitation: ");
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line).context("read the code")?;
        return Ok(line);
    };
    let code = std::fs::read_to_string(path).with_context(|| format!("read the code {}", path.display()))?;
    Ok(Zeroizing::new(code))
}
