//! What the terminals were told: one JSON line for every acknowledged mutation. The auditor believes nothing else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

/// Entries that may wait for the disk; a terminal waits when there are more.
const QUEUE_MAX: usize = 16 * 1024;

/// The mutation that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Packs checked in.
    Receive,
    /// Packs sent back.
    Return,
    /// Tickets sold.
    Sell,
    /// Prizes paid.
    Pay,
}

impl Verb {
    /// The kind of event that one item of the reply must have left behind.
    pub fn event_kind(self) -> &'static str {
        match self {
            Verb::Receive => "pack_checked_in",
            Verb::Return => "pack_returned",
            Verb::Sell => "ticket_sold",
            Verb::Pay => "ticket_claimed",
        }
    }
}

/// One pack or ticket of a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Pack or ticket id.
    pub subject: String,
    /// Face value, price or prize as replied. Fen.
    pub amount_fen: i64,
}

/// One acknowledged mutation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the reply arrived. Unix ms.
    pub at_ms: i64,
    /// The node that replied.
    pub node: u16,
    /// Nodes that were asked before and whose answer did not come: one of them may have done it, and the one that replied tells its answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub perhaps_done_at: Vec<u16>,
    /// The terminal that asked.
    pub terminal: String,
    /// Its outlet.
    pub outlet: String,
    /// What was done.
    pub verb: Verb,
    /// The `Idempotency-Key`.
    pub key: String,
    /// The request as events name it, see [`request_hex`].
    pub request: String,
    /// HTTP status of the reply.
    pub status: u16,
    /// What the reply listed.
    pub items: Vec<Item>,
}

/// The name of a request in events: first 16 bytes of SHA-256(terminal id ‖ "\n" ‖ key), in hex.
pub fn request_hex(terminal_id: &str, key: &str) -> String {
    hex::encode(&Sha256::digest(format!("{terminal_id}\n{key}"))[..16])
}

/// Where terminals hand in their entries.
#[derive(Clone)]
pub struct Journal {
    queue: mpsc::Sender<Entry>,
}

/// The thread that writes; finish it after the last [`Journal`] is dropped.
pub struct JournalWriter {
    thread: std::thread::JoinHandle<Result<u64>>,
}

impl Journal {
    /// Begins the journal file at `path`.
    pub fn create(path: &Path) -> Result<(Journal, JournalWriter)> {
        let file = File::create(path).with_context(|| format!("create the journal {}", path.display()))?;
        let (queue, mut entries) = mpsc::channel::<Entry>(QUEUE_MAX);
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            let mut writer = BufWriter::with_capacity(256 * 1024, file);
            let mut count = 0;
            while let Some(entry) = entries.blocking_recv() {
                serde_json::to_writer(&mut writer, &entry).context("write the journal; is the disk full?")?;
                writer.write_all(b"\n").context("write the journal; is the disk full?")?;
                count += 1;
            }
            writer.flush().context("write the journal; is the disk full?")?;
            Ok(count)
        });
        Ok((Journal { queue }, JournalWriter { thread: thread.context("start the journal's thread")? }))
    }

    /// Hands in one entry; waits while the disk is behind.
    pub async fn record(&self, entry: Entry) -> Result<()> {
        self.queue.send(entry).await.map_err(|_| anyhow!("the journal has stopped; see the message before"))
    }
}

impl JournalWriter {
    /// Waits until all is written. Returns the number of entries.
    pub fn finish(self) -> Result<u64> {
        self.thread.join().unwrap_or_else(|_| Err(anyhow!("the journal's thread panicked")))
    }
}

/// Entries that each journal of a folder must hold, by file name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts(pub BTreeMap<String, u64>);

/// Where [`Counts`] lie beside the journals.
const COUNTS_FILE: &str = "counts.json";

impl Counts {
    /// Writes them beside the journals.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join(COUNTS_FILE);
        std::fs::write(&path, serde_json::to_vec_pretty(self)?).with_context(|| format!("write {}", path.display()))
    }

    fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(COUNTS_FILE);
        let hint =
            || format!("read {}: the load did not come to its end, so that its journals prove nothing", path.display());
        serde_json::from_slice(&std::fs::read(&path).with_context(hint)?).with_context(hint)
    }
}

/// Reads all journals of a folder. A journal that is missing, short, long or uncounted is refused: what was acknowledged in
/// it could be lost without being missed.
pub fn read_journals(directory: &Path) -> Result<Vec<Entry>> {
    let Counts(counts) = Counts::read(directory)?;
    let paths = journal_files(directory)?;
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let found: BTreeMap<String, PathBuf> = paths.into_iter().map(|path| (name(&path), path)).collect();
    if let Some(uncounted) = found.keys().find(|name| !counts.contains_key(*name)) {
        bail!("the journal {uncounted} in {} is not counted in {COUNTS_FILE}", directory.display());
    }
    let mut entries = Vec::new();
    for (name, &count) in &counts {
        let path =
            found.get(name).with_context(|| format!("the journal {name} in {} is missing", directory.display()))?;
        let journal = read_journal(path)?;
        let held = journal.len();
        ensure!(held as u64 == count, "the journal {} holds {held} entries, {count} were written", path.display());
        entries.extend(journal);
    }
    Ok(entries)
}

/// Reads one journal file whole.
pub fn read_journal(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).with_context(|| format!("open the journal {}", path.display()))?;
    let lines = BufReader::new(file).lines().zip(1..);
    let entries = lines.map(|(line, number)| {
        serde_json::from_str(&line?).with_context(|| format!("read line {number} of the journal {}", path.display()))
    });
    entries.collect()
}

/// The journal files of a folder, in order.
fn journal_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let listing =
        std::fs::read_dir(directory).with_context(|| format!("list the journals in {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = listing.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_name_is_the_documented_hash() {
        let whole = Sha256::digest(b"1301000101\nkey-0000000000001");
        assert_eq!(request_hex("1301000101", "key-0000000000001"), hex::encode(whole)[..32]);
    }

    fn entry(n: i64) -> Entry {
        let item = Item { subject: "G0201-26001-0000001-001".to_owned(), amount_fen: 200 };
        Entry {
            at_ms: n,
            node: 1,
            perhaps_done_at: vec![],
            terminal: "1301000101".to_owned(),
            outlet: "13010001".to_owned(),
            verb: Verb::Sell,
            key: format!("key-{n}"),
            request: request_hex("1301000101", &format!("key-{n}")),
            status: 200,
            items: vec![item],
        }
    }

    /// A folder with two journals of a hundred entries each, and their counts.
    async fn two_journals() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let mut counts = BTreeMap::new();
        for (name, from) in [("a.jsonl", 0), ("b.jsonl", 100)] {
            let (journal, writer) = Journal::create(&directory.path().join(name)).unwrap();
            for n in from..from + 100 {
                journal.record(entry(n)).await.unwrap();
            }
            drop(journal);
            let written = tokio::task::spawn_blocking(|| writer.finish()).await.unwrap().unwrap();
            counts.insert(name.to_owned(), written);
        }
        Counts(counts).write(directory.path()).unwrap();
        directory
    }

    fn refusal(directory: &Path) -> String {
        format!("{:#}", read_journals(directory).unwrap_err())
    }

    #[tokio::test]
    async fn what_was_recorded_is_read_again() {
        let directory = two_journals().await;
        assert_eq!(read_journals(directory.path()).unwrap(), (0..200).map(entry).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_short_journal_is_refused() {
        let directory = two_journals().await;
        let path = directory.path().join("b.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        let (short, _) = text.trim_end().rsplit_once('\n').unwrap();
        std::fs::write(&path, short).unwrap();
        assert!(
            refusal(directory.path()).contains("holds 99 entries, 100 were written"),
            "{}",
            refusal(directory.path())
        );
        std::fs::write(&path, &text[..text.len() - 9]).unwrap();
        assert!(refusal(directory.path()).contains("read line 100"), "{}", refusal(directory.path()));
    }

    #[tokio::test]
    async fn a_missing_or_uncounted_journal_is_refused_and_so_are_missing_counts() {
        let directory = two_journals().await;
        let (first, other) = (directory.path().join("a.jsonl"), directory.path().join("c.jsonl"));
        std::fs::rename(&first, &other).unwrap();
        assert!(refusal(directory.path()).contains("c.jsonl"), "{}", refusal(directory.path()));
        std::fs::remove_file(&other).unwrap();
        assert!(refusal(directory.path()).contains("a.jsonl"), "{}", refusal(directory.path()));
        std::fs::remove_file(directory.path().join(COUNTS_FILE)).unwrap();
        assert!(refusal(directory.path()).contains("did not come to its end"), "{}", refusal(directory.path()));
    }
}
