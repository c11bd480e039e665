//! `init`, `request`, `enrol` and `renew`.

use std::path::Path;

use anyhow::{Context, bail};
use jikai_schema::directory::check_addresses;
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{check_authority, create_private_dir, verify_node};
use jikai_sync::invitation::StoreInvitation;
use jikai_sync::secrets::Secrets;
use zeroize::Zeroizing;

use super::keys::take;
use super::{EnrolArgs, InitArgs};
use crate::config::{CONFIG_FILE, Config};
use crate::identity::{NodeIdentity, forget_renewal, keep_authority, make_request, request_key};
use crate::renewal;
use crate::secrets::secrets_place;
use crate::store::{self, Joining, STORE_FILE, StoreIdentity};
use crate::uplink::HubAcked;

pub(super) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    if data.join(STORE_FILE).exists() {
        bail!(
            "{} holds a store already: a store is never made anew over another. Choose an empty directory.",
            data.display()
        );
    }
    if let Some(invitation) = &args.join {
        return join(args, invitation);
    }
    let number = args.node.context("say --node")?;
    let environment = args.environment.clone().context("say --environment")?;
    let node = NodeId::new(number).context("read --node")?;
    if node.is_hub() {
        bail!("node 0 is the hub: choose the number that was registered for this node");
    }
    check_addresses(&args.public_address).context("read --public-address")?;
    args.crypto_suite.choose()?;
    create_private_dir(data)?;
    HubAcked::forget(data).context("forget what the hub acknowledged of an earlier store")?;
    let connection = store::open(data).context("make the store")?;
    let incarnation = *uuid::Uuid::new_v4().as_bytes();
    let identity = StoreIdentity { environment: environment.clone(), node, incarnation, epoch: 1 };
    identity.create(&connection).context("write the store's identity")?;
    let config = Config {
        crypto_suite: args.crypto_suite,
        master_key: args.master_key.clone(),
        public_addresses: args.public_address.clone(),
        ..Config::new(number, environment, args.hub.clone(), args.listen, args.ack)
    };
    make_request(data, &Secrets::create(&secrets_place(data, &config))?, node)?;
    config.save(data)?;
    let data = data.display();
    println!("Made node {node} in {data}. Next:");
    println!(
        "  1. At the hub: jikai-hub ca sign --data HUB --csr node.csr --node {node} --out node.pem   (take {data}/node.csr there)"
    );
    println!("  2. Here:       jikai-node enrol --data {data} --certificate node.pem --ca ca.pem");
    println!("  3. Here:       jikai-node run --data {data}");
    if args.listen.port() == 0 {
        println!("Warning: a port of 0 is another one at each start: set `listen` in {data}/{CONFIG_FILE}.");
    }
    println!("Keep {data}/secrets in one backup, without the master key ({}), and that in another.", args.master_key);
    Ok(())
}

/// Makes the first store of a new node, or one that takes the place of a lost one. Its slice comes when it first runs.
fn join(args: &InitArgs, path: &Path) -> anyhow::Result<()> {
    let data = &args.data.data;
    let text = std::fs::read_to_string(path).with_context(|| format!("read the invitation {}", path.display()))?;
    let invitation = StoreInvitation::read(&text)?;
    invitation.crypto_suite.choose()?;
    let sealed = invitation.open(&read_code(args)?, TimeMs::now())?;
    let node = NodeId::new(invitation.node).context("read the node's number in the invitation")?;
    check_addresses(&args.public_address).context("read --public-address")?;
    let hub = if args.hub.is_empty() { invitation.hub.clone() } else { args.hub.clone() };
    let config = Config {
        crypto_suite: invitation.crypto_suite,
        master_key: args.master_key.clone(),
        public_addresses: args.public_address.clone(),
        ..Config::new(node.get(), invitation.environment.clone(), hub, args.listen, args.ack)
    };
    let hint = "the certificate of the invitation is not good here: check the clock, or have the node replaced anew";
    verify_node(&sealed.certificate, &sealed.key(), &invitation.authority, node, TimeMs::now()).context(hint)?;
    create_private_dir(data)?;
    HubAcked::forget(data).context("forget what the hub acknowledged of an earlier store")?;
    let connection = store::open(data).context("make the store")?;
    let (environment, incarnation, epoch) = (invitation.environment, sealed.incarnation, invitation.epoch);
    StoreIdentity { environment, node, incarnation, epoch }.create(&connection).context("write its identity")?;
    Joining { up_next: invitation.up.next_seq, up_hash: invitation.up.hash }.save(&connection)?;
    keep_authority(data, &invitation.authority)?;
    NodeIdentity::install(&Secrets::create(&secrets_place(data, &config))?, &sealed.key(), &sealed.certificate)?;
    // Last: a directory without settings was not made to the end.
    config.save(data)?;
    let data = data.display();
    println!("Made the store of node {node}, epoch {epoch}, in {data}. Next:");
    println!("  1. remove the invitation and its code");
    println!("  2. jikai-node run --data {data}   (it receives its slice first, and serves nobody before)");
    if args.listen.port() == 0 {
        println!("Warning: a port of 0 is another one at each start: set `listen` in {data}/{CONFIG_FILE}.");
    }
    println!("Keep {data}/secrets in one backup, without the master key ({}), and that in another.", args.master_key);
    Ok(())
}

fn read_code(args: &InitArgs) -> anyhow::Result<Zeroizing<String>> {
    let Some(path) = &args.code_file else {
        eprint!("Code of the invitation: ");
        let mut line = Zeroizing::new(String::new());
        std::io::stdin().read_line(&mut line).context("read the code")?;
        return Ok(line);
    };
    let code = std::fs::read_to_string(path).with_context(|| format!("read the code {}", path.display()))?;
    Ok(Zeroizing::new(code))
}

pub(super) fn enrol(args: &EnrolArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let config = Config::load(data)?;
    let read =
        |path: &std::path::Path| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let (certificate, authority) = (read(&args.certificate)?, read(&args.ca)?);
    check_authority(&authority, &config.environment).context("check the file of --ca")?;
    let node = NodeId::new(config.node).context("read the node's number in node.toml")?;
    let secrets = take(data, &config)?;
    let key = request_key(&secrets)?.context("there is no request of this node: run `jikai-node request` first")?;
    let hint = "the certificate is not good for this node's last request: sign that one, and take the authority's own certificate";
    let (certified, _) = verify_node(&certificate, &key, &authority, node, TimeMs::now()).context(hint)?;
    // The authority first: without the certificate it changes nothing that works.
    keep_authority(data, &authority)?;
    NodeIdentity::install(&secrets, &key, &certificate)?;
    forget_renewal(&secrets)?;
    println!("Enrolled node {node} until {}.", certified.not_after_ms.business_day());
    println!("Next: jikai-node run --data {}", data.display());
    Ok(())
}

pub(super) fn request(data: &Path) -> anyhow::Result<()> {
    let config = Config::load(data)?;
    let node = NodeId::new(config.node).context("read the node's number in node.toml")?;
    make_request(data, &Secrets::open(&secrets_place(data, &config))?, node)?;
    let data = data.display();
    println!("Made a new key, and the request for it. The certificate in use stays until the next is enrolled. Next:");
    println!(
        "  1. At the hub: jikai-hub ca sign --data HUB --csr node.csr --node {node} --out node.pem   (take {data}/node.csr there)"
    );
    println!("  2. Here:       jikai-node enrol --data {data} --certificate node.pem --ca ca.pem");
    Ok(())
}

pub(super) fn renew(data: &Path) -> anyhow::Result<()> {
    println!("Renewed: {}.", renewal::ask_running(data)?);
    Ok(())
}
