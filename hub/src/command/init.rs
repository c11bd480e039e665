//! `init`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use jikai_schema::command::{Command, NewStaff, Outcome, StaffCommand};
use jikai_schema::event::Actor;
use jikai_schema::staff::{Grant, Role, check_login};
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{TlsIdentity, create_private_dir};
use jikai_sync::secrets::{Secrets, SecretsError};
use zeroize::Zeroizing;

use super::InitArgs;
use super::client::run_to_end;
use crate::app::INBOX;
use crate::audit::checkpoint::{AuditKey, PublicKeys};
use crate::config::{CONFIG_FILE, Config};
use crate::directory::DirectoryKey;
use crate::identity::{IdentityFiles, secrets_place};
use crate::member::{Member, Seat};
use crate::raft::log_store::LOG_FILE;
use crate::raft::settings::Settings;
use crate::staff::Passwords;

pub(super) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    if data.join(CONFIG_FILE).exists() || data.join(LOG_FILE).exists() {
        bail!(
            "{} holds a hub already: a hub is never made anew over another. Choose an empty directory.",
            data.display()
        );
    }
    let mut printer_keys = Vec::new();
    for path in &args.printer_key {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read the printer's key {}", path.display()))?;
        printer_keys.push(text.trim().to_lowercase());
    }
    let config = Config {
        crypto_suite: args.crypto_suite,
        master_key: args.master_key.clone(),
        ..args.peers.apply(Config::new(args.environment.clone(), args.listen, args.sync_listen, printer_keys))
    };
    config.check()?;
    config.crypto_suite.choose()?;
    let secrets = make_secrets(data, &config)?;
    IdentityFiles::new(data).create(&secrets, &args.environment, &args.host)?;
    let audit_key = AuditKey::load_or_make(&secrets).context("make the audit key")?;
    PublicKeys::default().add(data, audit_key.public()).context("list the audit key")?;
    DirectoryKey::make(data, &secrets).context("make the key of the directory")?;
    create_private_dir(&data.join(INBOX))?;
    let tls = IdentityFiles::new(data).tls(&secrets)?;
    let password = run_to_end(make_administrator(data, &tls, &args.administrator))?;
    // Last: a directory without settings was not made to the end.
    config.save(data)?;
    let data = data.display();
    println!("Made a hub for the environment `{}` in {data}. Next:", args.environment);
    println!("  1. jikai-hub run --data {data}");
    println!(
        "  2. jikai-hub import --data {data} node --id 1 --name NAME --prefectures 1301   (each node, before its outlets)"
    );
    println!("  3. jikai-hub ca sign --data {data} --csr node.csr --node 1 --out node.pem");
    println!(
        "  4. jikai-hub import --data {data} divisions FILE, then townships, games, outlets, terminals, operators"
    );
    if args.listen.port() == 0 || args.sync_listen.port() == 0 {
        println!(
            "Warning: a port of 0 is another one at each start: set `listen` and `sync_listen` in {data}/{CONFIG_FILE}."
        );
    }
    println!("The machine's token is in {data}/admin.token. Keep {data}/secrets in one backup, without the master key");
    println!("({}), and that in another: leave secrets/master.key out of the backup of secrets/.", args.master_key);
    println!("The first administrator is `{}` with the one-time password", args.administrator);
    println!("    {}", password.as_str());
    println!("which is shown only now and must be changed at the first login, within three days.");
    Ok(())
}

/// Makes the ring of keys; an `init` that was cut off has made one that goes on to be used.
fn make_secrets(data: &Path, config: &Config) -> anyhow::Result<Secrets> {
    let place = secrets_place(data, config);
    create_private_dir(data)?;
    match Secrets::create(&place) {
        Err(SecretsError::Made(_)) => Ok(Secrets::open(&place)?),
        made => Ok(made?),
    }
}

/// Makes log and state with the first account; gives its one-time password.
async fn make_administrator(data: &Path, tls: &TlsIdentity, login: &str) -> anyhow::Result<Zeroizing<String>> {
    check_login(login).context("--administrator")?;
    // Nobody else is there to connect.
    let (listen, address) = (SocketAddr::from(([127, 0, 0, 1], 0)), Some(String::new()));
    let member = Member::start(data, tls, Seat { machine: 1, listen, address }, Settings::default()).await?;
    member.found().await?;
    let (sequencer, sequencing) = member.sequencer(Arc::new(TimeMs::now));
    let password = Passwords::one_time()?;
    let password_hash = Passwords::new()?.hash_blocking(&password)?;
    let staff = NewStaff { login: login.to_string(), name: login.to_string(), password_hash };
    let first = StaffCommand::CreateFirst(staff, Grant::everywhere(Role::SystemAdministrator));
    let outcome = sequencer.propose(Actor::System, Command::Staff(first)).await;
    drop(sequencer);
    sequencing.await.context("end the proposing")?;
    member.stop().await;
    match outcome? {
        Outcome::Refused(refusal) => bail!("the first account was refused: {refusal}"),
        _ => Ok(password),
    }
}
