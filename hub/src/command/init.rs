//! `init`.

use anyhow::{Context, bail};
use jikai_sync::identity::create_private_dir;

use super::InitArgs;
use crate::app::INBOX;
use crate::audit::checkpoint::AuditKey;
use crate::config::{CONFIG_FILE, Config};
use crate::identity::IdentityFiles;
use crate::log::LocalLog;
use crate::store;

pub(super) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    if data.join(CONFIG_FILE).exists() || data.join(crate::log::LOG_FILE).exists() {
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
        ..Config::new(args.environment.clone(), args.listen, args.sync_listen, printer_keys)
    };
    config.check()?;
    config.crypto_suite.choose()?;
    IdentityFiles::new(data).create(&args.environment)?;
    AuditKey::load_or_make(data).context("make the audit key")?;
    create_private_dir(&data.join(INBOX))?;
    LocalLog::open(data).context("make the command log")?;
    store::open(data).context("make the state")?;
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
    println!("The administrator's token is in {data}/admin.token; keep {data}/secrets in a backup of its own.");
    Ok(())
}
