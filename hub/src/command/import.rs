//! `import`: a client of the running hub.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::client::{Client, block_on};
use super::{ImportWhat, NodeArgs};
use crate::app::INBOX;
use crate::import::Kind;

/// Files of a printer's directory.
const PRINTER_FILES: [&str; 5] = ["PACKAGE", "SIGNATURE", "MAP", "REWARD", "CODES"];

pub(super) fn import(data: &Path, what: &ImportWhat) -> anyhow::Result<()> {
    let client = Client::open(data)?;
    let (kind, file) = match what {
        ImportWhat::Batch(args) => return import_batch(&client, data, &args.directory),
        ImportWhat::Node(args) => return register(&client, args),
        ImportWhat::Divisions(args) => (Kind::Divisions, &args.file),
        ImportWhat::Townships(args) => (Kind::Townships, &args.file),
        ImportWhat::Games(args) => (Kind::Games, &args.file),
        ImportWhat::Outlets(args) => (Kind::Outlets, &args.file),
        ImportWhat::Terminals(args) => (Kind::Terminals, &args.file),
        ImportWhat::Operators(args) => (Kind::Operators, &args.file),
        ImportWhat::Shipments(args) => (Kind::Shipments, &args.file),
        ImportWhat::Deposits(args) => (Kind::Deposits, &args.file),
        ImportWhat::Openings(args) => (Kind::Openings, &args.file),
        ImportWhat::Holds(args) => (Kind::Holds, &args.file),
        ImportWhat::RedemptionEnds(args) => (Kind::RedemptionEnds, &args.file),
    };
    let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let path = format!("/v1/imports/lists/{}", kind.name());
    let done = block_on(client.post(&path, "text/csv", bytes));
    let done = done.with_context(|| format!("import {} from {}", kind.name(), file.display()))?;
    println!(
        "{}: {} lines, {} events written, {} parts were there already",
        kind.name(),
        done["lines"],
        done["events"],
        done["existing"]
    );
    Ok(())
}

fn register(client: &Client, args: &NodeArgs) -> anyhow::Result<()> {
    let body = json!({ "id": args.id, "name": args.name, "prefectures": args.prefectures });
    let done = block_on(client.post_json("/v1/nodes", &body))?;
    let changed = if done["changed"] == Value::Bool(true) { "registered" } else { "was registered just so before" };
    println!("node {}: {changed}", args.id);
    Ok(())
}

/// Brings the directory into the hub's inbox, asks for its import, and leaves nothing behind.
fn import_batch(client: &Client, data: &Path, directory: &Path) -> anyhow::Result<()> {
    let inbox = data.join(INBOX).canonicalize().context("find the hub's inbox")?;
    let name = directory.file_name().map_or_else(|| "batch".into(), |name| name.to_string_lossy().into_owned());
    let copy = Copy(inbox.join(format!("{name}-{}", uuid::Uuid::new_v4())));
    jikai_sync::identity::create_private_dir(&copy.0)?;
    for file in PRINTER_FILES {
        bring(&directory.join(file), &copy.0.join(file))?;
    }
    let body = json!({ "directory": copy.0 });
    let done = block_on(client.post_json("/v1/imports/batches", &body));
    let done = done.with_context(|| format!("import the batch in {}", directory.display()))?;
    let name = done["name"].as_str().unwrap_or_default();
    println!(
        "batch {name}: {} tickets in {} packs, {} packs were there already",
        done["tickets"], done["packs"], done["existing"]
    );
    println!("Next: open its sale with `import openings FILE` (game_code,batch,approval_number,notice_day).");
    Ok(())
}

/// The copy in the inbox, removed however the import ends.
struct Copy(PathBuf);

impl Drop for Copy {
    fn drop(&mut self) {
        // The hub has removed it where it got so far.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Links the file where both lie on one disk, else copies it.
fn bring(from: &Path, to: &Path) -> anyhow::Result<()> {
    let hint = || format!("read {}: a printer's directory holds {}", from.display(), PRINTER_FILES.join(", "));
    if !std::fs::symlink_metadata(from).with_context(hint)?.is_file() {
        bail!("{} is no regular file", from.display());
    }
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).with_context(|| format!("copy {} into the hub's inbox", from.display()))?;
    }
    Ok(())
}
