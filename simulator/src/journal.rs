//! What the terminals were told: one JSON line for every acknowledged mutation. The auditor believes nothing else.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
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
pub fn journal_files(directory: &Path) -> Result<Vec<PathBuf>> {
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

    #[tokio::test]
    async fn what_was_recorded_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let (journal, writer) = Journal::create(&path).unwrap();
        let item = Item { subject: "G0201-26001-0000001-001".to_owned(), amount_fen: 200 };
        let entry = |n: i64| Entry {
            at_ms: n,
            node: 1,
            terminal: "1301000101".to_owned(),
            outlet: "13010001".to_owned(),
            verb: Verb::Sell,
            key: format!("key-{n}"),
            request: request_hex("1301000101", &format!("key-{n}")),
            status: 200,
            items: vec![item.clone()],
        };
        for n in 0..100 {
            journal.record(entry(n)).await.unwrap();
        }
        drop(journal);
        assert_eq!(tokio::task::spawn_blocking(|| writer.finish()).await.unwrap().unwrap(), 100);
        assert_eq!(read_journal(&path).unwrap(), (0..100).map(entry).collect::<Vec<_>>());
        assert_eq!(journal_files(directory.path()).unwrap(), [path]);
    }
}
