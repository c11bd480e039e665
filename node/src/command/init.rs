//! `init` and `enrol`.

use anyhow::{Context, bail};
use jikai_schema::id::NodeId;
use jikai_sync::identity::{KeyAndRequest, TlsIdentity, create_private_dir, node_of_certificate, write_private_file};
use jikai_sync::secrets::Secrets;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{EnrolArgs, InitArgs};
use crate::config::Config;
use crate::secrets::{NODE_KEY, secrets_place};
use crate::store::{self, STORE_FILE, StoreIdentity};

pub(super) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    if data.join(STORE_FILE).exists() {
        bail!(
            "{} holds a store already: a store is never made anew over another. Choose an empty directory.",
            data.display()
        );
    }
    let node = NodeId::new(args.node).context("read --node")?;
    if node.is_hub() {
        bail!("node 0 is the hub: choose the number that was registered for this node");
    }
    args.crypto_suite.choose()?;
    create_private_dir(data)?;
    let connection = store::open(data).context("make the store")?;
    let incarnation = *uuid::Uuid::new_v4().as_bytes();
    let identity = StoreIdentity { environment: args.environment.clone(), node, incarnation, epoch: 1 };
    identity.create(&connection).context("write the store's identity")?;
    let config = Config {
        crypto_suite: args.crypto_suite,
        master_key: args.master_key.clone(),
        ..Config::new(args.node, args.environment.clone(), args.hub.clone(), args.listen, args.ack)
    };
    let secrets = Secrets::create(&secrets_place(data, &config))?;
    let KeyAndRequest { key, request_pem } = KeyAndRequest::for_node(node)?;
    secrets.keep_key(NODE_KEY, &key)?;
    std::fs::write(data.join("node.csr"), request_pem).context("write the certificate request")?;
    config.save(data)?;
    let data = data.display();
    println!("Made node {node} in {data}. Next:");
    println!(
        "  1. At the hub: jikai-hub ca sign --data HUB --csr node.csr --node {node} --out node.pem   (take {data}/node.csr there)"
    );
    println!("  2. Here:       jikai-node enrol --data {data} --certificate node.pem --ca ca.pem");
    println!("  3. Here:       jikai-node run --data {data}");
    Ok(())
}

pub(super) fn enrol(args: &EnrolArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let config = Config::load(data)?;
    let read =
        |path: &std::path::Path| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
    let (certificate, authority) = (read(&args.certificate)?, read(&args.ca)?);
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).context("read the certificate")?;
    let named = node_of_certificate(&der)?;
    if named.get() != config.node {
        bail!("the certificate is node {named}'s, this is node {}: sign the request of this node", config.node);
    }
    let key = Secrets::open(&secrets_place(data, &config))?.key(NODE_KEY)?;
    let identity = TlsIdentity::from_pem(&certificate, &key, &authority)?;
    jikai_sync::identity::sync_client(&identity).context("the certificate does not belong to this node's key")?;
    write_private_file(&data.join("node.pem"), certificate.as_bytes())?;
    write_private_file(&data.join("ca.pem"), authority.as_bytes())?;
    println!("Enrolled node {named}. Next: jikai-node run --data {}", data.display());
    Ok(())
}
