//! The directory of all nodes as this one shows it to terminals: the newest that the hub has published.

mod whereabouts;

use std::sync::Arc;

use jikai_schema::directory::SignedDirectory;
use jikai_schema::event::{DirectoryEvent, EventBody};
use rusqlite::Connection;
use tokio::sync::watch;

pub use whereabouts::{Unreachable, Whereabouts};

/// A directory that may be shown, and the key that it names.
#[derive(Debug)]
struct Shown {
    signed: Arc<SignedDirectory>,
    key: String,
}

/// Shows the newest directory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DirectoryBoard {
    environment: Arc<str>,
    newest: watch::Sender<Option<Shown>>,
}

impl DirectoryBoard {
    /// An empty board of a node of this environment.
    pub fn new(environment: &str) -> Self {
        DirectoryBoard { environment: environment.into(), newest: watch::Sender::new(None) }
    }

    /// A board with what the store knows.
    pub fn load(store: &Connection, environment: &str) -> Result<Self, rusqlite::Error> {
        let board = DirectoryBoard::new(environment);
        board.publish(SignedDirectory::load(store)?);
        Ok(board)
    }

    /// Shows this one from now on. An older one, one of another environment and one that was altered are not shown.
    pub fn publish(&self, signed: Option<SignedDirectory>) {
        let Some(signed) = signed else { return };
        let key = match signed.verify_own(&self.environment) {
            Ok(directory) => directory.key,
            Err(error) => return tracing::error!(%error, "a directory is not shown to terminals"),
        };
        self.newest.send_if_modified(|newest| {
            let is_newer = newest.as_ref().is_none_or(|shown| shown.signed.version < signed.version);
            if is_newer {
                *newest = Some(Shown { signed: Arc::new(signed), key });
            }
            is_newer
        });
    }

    /// What is shown now; `None` before the first.
    pub fn newest(&self) -> Option<Arc<SignedDirectory>> {
        self.newest.borrow().as_ref().map(|shown| shown.signed.clone())
    }

    /// Hex of the public key that signed what is shown.
    pub fn key(&self) -> Option<String> {
        self.newest.borrow().as_ref().map(|shown| shown.key.clone())
    }
}

/// Whether this fact publishes a directory.
pub fn changes_directory(body: &EventBody) -> bool {
    matches!(body, EventBody::Directory(DirectoryEvent::DirectoryPublished { .. }))
}
