//! What was done by command line on a machine: a file a command, until the running server has taken it into its log.
//!
//! Whoever administers the machine may delete the files: they make an honest administrator's work traceable, they do not
//! stop a dishonest one. Once taken over, the fact stands in the chain.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};
use serde::{Deserialize, Serialize};

use crate::identity::{IdentityError, create_private_dir, write_private_file};

/// Folder of the files inside a data directory.
const FOLDER: &str = "machine-log";
/// Most files that are read at once.
const FILES_MAX: usize = 1_000;
/// Largest file that is read. Bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// The outcome of a command that has not ended.
const BEGUN: &str = "begun, and not ended";
/// How long a command may run before it counts as cut off. Milliseconds.
const RUNNING_MS_MAX: i64 = 3_600_000;
/// Longest text of each part that is kept. Bytes.
const TEXT_BYTES_MAX: usize = 500;
/// Words of the environment that may say who became the account; the first that says another counts.
const CLAIMS: [&str; 4] = ["SUDO_USER", "DOAS_USER", "LOGNAME", "USER"];
/// What stands behind an address that only the environment knows.
pub const CLAIMED: &str = " (claimed)";

/// One command, as it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineCommand {
    /// Drawn; tells two like commands apart, and one from its copy.
    pub id: u64,
    /// When it began. Unix ms.
    pub at_ms: i64,
    /// The account of the machine, by the operating system's word, and who the environment claims became it, such as
    /// `root (claimed: wei)`.
    pub user: String,
    /// Where that person sat, as the environment claims, such as `10.0.0.7 (claimed)`; empty where it says nothing.
    pub address: String,
    /// The words behind the program's name.
    pub command: String,
    /// `done`, or why it failed.
    pub outcome: String,
}

impl MachineCommand {
    /// The command that this process was started with, by the operating system's word for whose it is. Whatever the
    /// environment says of persons and places anybody can set: it is kept as a claim.
    pub fn of_this_process(id: u64, at_ms: i64) -> Self {
        let word = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let user = with_claim(account(), word);
        let address =
            word("SSH_CONNECTION").and_then(|line| line.split(' ').next().map(|from| format!("{from}{CLAIMED}")));
        let command: Vec<String> = std::env::args().skip(1).collect();
        MachineCommand {
            id,
            at_ms,
            user: shortened(&user),
            address: shortened(&address.unwrap_or_default()),
            command: shortened(&command.join(" ")),
            outcome: String::new(),
        }
    }

    /// Does the command's work, and leaves word of it before and behind. Where there is no server (a wrong path: `settings` is
    /// not there) there is no log to stand in; in a copy that cannot be written the work is done all the same.
    ///
    /// # Errors
    /// What the work fails with.
    pub fn noting<E: Display>(
        self,
        data: &Path,
        settings: &str,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let noted = |left: Result<(), _>| {
            if let Err(error) = left {
                tracing::warn!(%error, "this command could not be left for the server's log");
            }
        };
        let exists = || data.join(settings).exists();
        if exists() {
            noted(self.begin(data));
        }
        let done = work();
        if exists() {
            noted(self.leave(data, &done.as_ref().err().map_or("done".to_string(), |error| format!("{error:#}"))));
        }
        done
    }

    /// Leaves word that the command has begun: one that is cut off is known all the same.
    pub fn begin(&self, data: &Path) -> Result<(), IdentityError> {
        self.clone().leave(data, BEGUN)
    }

    /// Leaves the command, with how it ended, for the running server, whose account owns the data directory.
    pub fn leave(mut self, data: &Path, outcome: &str) -> Result<(), IdentityError> {
        self.outcome = shortened(outcome);
        let folder = data.join(FOLDER);
        create_private_dir(&folder)?;
        give_to_owner(data, &folder)?;
        let text = serde_json::to_vec(&self).expect("numbers and texts can be written as JSON");
        let file = folder.join(format!("{:020}-{:016x}.json", self.at_ms.max(0), self.id));
        write_private_file(&file, &text)?;
        give_to_owner(data, &file)
    }
}

/// The account that this process runs as: its name, or its number where it has none.
fn account() -> String {
    let uid = Uid::effective();
    match User::from_uid(uid) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

/// The account, with who else the environment claims it to be.
fn with_claim(account: String, word: impl Fn(&str) -> Option<String>) -> String {
    match CLAIMS.into_iter().filter_map(word).find(|person| *person != account) {
        Some(person) => format!("{account} (claimed: {person})"),
        None => account,
    }
}

/// What root leaves must be readable by the server's own account. Whoever is not root leaves files of the own account anyway.
fn give_to_owner(data: &Path, path: &Path) -> Result<(), IdentityError> {
    let refuse = |source| IdentityError::File { path: path.display().to_string(), source };
    let (owner, own) = (fs::metadata(data).map_err(refuse)?, fs::metadata(path).map_err(refuse)?);
    if (own.uid(), own.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    match chown(path, Some(owner.uid()), Some(owner.gid())) {
        Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => Err(refuse(error)),
        _ => Ok(()),
    }
}

/// At most so many bytes of a text on one line, cut between characters.
fn shortened(text: &str) -> String {
    let plain: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    plain[..plain.floor_char_boundary(TEXT_BYTES_MAX)].to_string()
}

/// A command that waits, and its file.
#[derive(Debug)]
pub struct Waiting {
    /// The command.
    pub command: MachineCommand,
    file: PathBuf,
}

impl Waiting {
    /// The commands that wait in a data directory, oldest first; one that runs is left for an hour. A file that holds no
    /// command is put aside; one that may not be opened is an error, for what was done must not be lost.
    pub fn all(data: &Path, now_ms: i64) -> Result<Vec<Waiting>, std::io::Error> {
        let entries = match fs::read_dir(data.join(FOLDER)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if files.len() < FILES_MAX && path.extension().is_some_and(|extension| extension == "json") {
                files.push(path);
            }
        }
        files.sort();
        let mut waiting = Vec::with_capacity(files.len());
        for file in files {
            match read(&file)? {
                Some(command) if command.outcome == BEGUN && now_ms - command.at_ms < RUNNING_MS_MAX => {}
                Some(command) => waiting.push(Waiting { command, file }),
                None => fs::rename(&file, file.with_extension("unreadable"))?,
            }
        }
        Ok(waiting)
    }

    /// Forgets it: the log has it.
    pub fn taken_over(self) -> Result<(), std::io::Error> {
        fs::remove_file(self.file)
    }
}

fn read(file: &Path) -> Result<Option<MachineCommand>, std::io::Error> {
    let facts = fs::symlink_metadata(file)?;
    if !facts.is_file() || facts.len() > FILE_BYTES_MAX {
        return Ok(None);
    }
    let Ok(mut command) = serde_json::from_slice::<MachineCommand>(&fs::read(file)?) else { return Ok(None) };
    for text in [&mut command.user, &mut command.address, &mut command.command, &mut command.outcome] {
        *text = shortened(text);
    }
    Ok(Some(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(id: u64, at_ms: i64) -> MachineCommand {
        let text = str::to_string;
        let (user, address) = (text("root (claimed: wei)"), text("10.0.0.7 (claimed)"));
        MachineCommand { id, at_ms, user, address, command: text("digest --node 3"), outcome: String::new() }
    }

    #[test]
    fn commands_wait_in_order_until_they_are_taken_over_once() {
        let data = tempfile::tempdir().unwrap();
        assert!(Waiting::all(data.path(), 0).unwrap().is_empty());
        command(7, 2_000).leave(data.path(), "done").unwrap();
        command(9, 1_000).leave(data.path(), "no such\nnode").unwrap();
        let waiting = Waiting::all(data.path(), 0).unwrap();
        let seen: Vec<_> =
            waiting.iter().map(|waiting| (waiting.command.id, waiting.command.outcome.as_str())).collect();
        assert_eq!(seen, [(9, "no such node"), (7, "done")]);
        waiting.into_iter().next().unwrap().taken_over().unwrap();
        assert_eq!(Waiting::all(data.path(), 0).unwrap().len(), 1);
    }

    #[test]
    fn a_command_that_was_cut_off_is_known_after_an_hour_and_one_that_ended_at_once() {
        let data = tempfile::tempdir().unwrap();
        command(7, 2_000).begin(data.path()).unwrap();
        assert!(Waiting::all(data.path(), 3_000).unwrap().is_empty(), "it runs");
        let cut_off = Waiting::all(data.path(), 2_000 + RUNNING_MS_MAX).unwrap();
        assert_eq!(cut_off[0].command.outcome, BEGUN);
        command(7, 2_000).leave(data.path(), "done").unwrap();
        let ended = Waiting::all(data.path(), 3_000).unwrap();
        assert_eq!((ended.len(), ended[0].command.outcome.as_str()), (1, "done"), "in the same file");
    }

    #[test]
    fn what_cannot_be_read_is_put_aside_and_holds_nothing_up() {
        let data = tempfile::tempdir().unwrap();
        command(7, 2_000).leave(data.path(), "done").unwrap();
        let folder = data.path().join(FOLDER);
        fs::write(folder.join("0.json"), "{").unwrap();
        fs::write(folder.join("1.json"), vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", folder.join("2.json")).unwrap();
        assert_eq!(Waiting::all(data.path(), 0).unwrap().len(), 1);
        assert_eq!(Waiting::all(data.path(), 0).unwrap().len(), 1);
        assert!(folder.join("0.unreadable").exists() && folder.join("2.unreadable").exists());
    }

    #[test]
    fn long_texts_and_control_characters_do_not_reach_the_log() {
        let long = "查".repeat(400);
        let data = tempfile::tempdir().unwrap();
        MachineCommand { command: long.clone(), ..command(1, 1) }
            .leave(data.path(), &format!("a\u{1b}[2J{long}"))
            .unwrap();
        let waiting = Waiting::all(data.path(), 0).unwrap();
        let command = &waiting[0].command;
        assert!(command.command.len() <= TEXT_BYTES_MAX && command.outcome.len() <= TEXT_BYTES_MAX);
        assert!(command.outcome.starts_with("a [2J查"));
    }

    #[test]
    fn work_is_noted_with_how_it_ended_and_only_where_a_server_is() {
        let data = tempfile::tempdir().unwrap();
        let run = |id| MachineCommand::of_this_process(id, 1_000);
        run(1).noting(data.path(), "hub.toml", || Ok::<_, String>(())).unwrap();
        assert!(Waiting::all(data.path(), 1_000).unwrap().is_empty(), "no server, no log");
        fs::write(data.path().join("hub.toml"), "").unwrap();
        run(2).noting(data.path(), "hub.toml", || Ok::<_, String>(())).unwrap();
        assert_eq!(run(3).noting(data.path(), "hub.toml", || Err("no such game")), Err("no such game"));
        let waiting = Waiting::all(data.path(), 1_000).unwrap();
        let ended: Vec<_> = waiting.iter().map(|one| (one.command.id, &*one.command.outcome)).collect();
        assert_eq!(ended, [(2, "done"), (3, "no such game")]);
    }

    #[test]
    fn the_account_is_the_operating_systems_word_and_the_environments_only_a_claim() {
        let said = std::process::Command::new("id").arg("-un").env("USER", "somebody_else").output().unwrap();
        let account = String::from_utf8(said.stdout).unwrap().trim().to_string();
        let user = MachineCommand::of_this_process(1, 1).user;
        assert!(user == account || user.starts_with(&format!("{account} (claimed: ")), "{user} is {account}");
    }

    #[test]
    fn who_became_the_account_is_marked_as_claimed_and_no_claim_takes_its_place() {
        let user = |words: &[(&str, &str)]| {
            let word = |name: &str| words.iter().find(|(word, _)| *word == name).map(|(_, value)| value.to_string());
            with_claim("root".to_string(), word)
        };
        assert_eq!(user(&[]), "root");
        assert_eq!(user(&[("USER", "root"), ("LOGNAME", "root")]), "root");
        assert_eq!(user(&[("USER", "mallory")]), "root (claimed: mallory)");
        assert_eq!(user(&[("USER", "root"), ("SUDO_USER", "wei")]), "root (claimed: wei)");
        assert_eq!(user(&[("SUDO_USER", "wei"), ("USER", "mallory")]), "root (claimed: wei)");
    }
}
