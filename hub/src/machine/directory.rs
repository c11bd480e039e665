//! Where terminals reach the nodes, and what they are told of it.

use jikai_schema::command::{DirectoryCommand, Outcome};
use jikai_schema::directory::{Directory, DirectoryError, SignedDirectory, addresses_of, check_addresses};
use jikai_schema::event::{DirectoryEvent, EventBody};
use jikai_schema::id::NodeId;

use super::error::Stop;
use super::{Machine, Stamp, rule, unknown};

impl Machine<'_> {
    pub(super) fn directory(&mut self, stamp: Stamp<'_>, command: &DirectoryCommand) -> Result<Outcome, Stop> {
        match command {
            DirectoryCommand::Reach { node, addresses } => self.reach(stamp, *node, addresses),
            DirectoryCommand::Publish { fence, bytes, signature } => self.publish(stamp, *fence, bytes, signature),
        }
    }

    /// Checks: the node is registered; its addresses can be used.
    fn reach(&mut self, stamp: Stamp<'_>, node: NodeId, addresses: &[String]) -> Result<Outcome, Stop> {
        if !self.feeds.is_registered(node) {
            return Err(unknown("node", node).into());
        }
        check_addresses(addresses).map_err(|error| rule("invalid_address", error.to_string()))?;
        if addresses_of(self.tx, node)? == addresses {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        // After this point the command must succeed.
        let addresses = addresses.to_vec();
        self.emit(stamp, EventBody::Directory(DirectoryEvent::NodeReached { node, addresses }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    /// Checks: the lease holds; the key that the document names signed it; it is of the environment of the one before, and newer.
    fn publish(&mut self, stamp: Stamp<'_>, fence: u64, bytes: &[u8], signature: &[u8]) -> Result<Outcome, Stop> {
        self.check_fence(fence)?;
        let invalid = |error: DirectoryError| rule("invalid_directory", error.to_string());
        let read = Directory::read(bytes).map_err(invalid)?;
        let before = SignedDirectory::load(self.tx)?;
        let environment = match &before {
            Some(before) => Directory::read(&before.bytes).map_err(invalid)?.environment,
            None => read.environment.clone(),
        };
        let version = read.version;
        let signed = SignedDirectory { version, bytes: bytes.to_vec(), signature: signature.to_vec() };
        if before.as_ref() == Some(&signed) {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        signed.verify_own(&environment).map_err(|error| match error {
            DirectoryError::WrongEnvironment { .. } => rule("wrong_environment", error.to_string()),
            _ => invalid(error),
        })?;
        let newest = before.map_or(0, |before| before.version);
        if version <= newest || i64::try_from(version).is_err() {
            return Err(rule("directory_older", format!("directory {version} is not newer than {newest}")).into());
        }
        // After this point the command must succeed.
        let SignedDirectory { version, bytes, signature } = signed;
        self.emit(stamp, EventBody::Directory(DirectoryEvent::DirectoryPublished { version, bytes, signature }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }
}
