//! The technical log of a server: for its operator on the standard error, and as JSON in a file a day, kept for as many days
//! as the centre's parameter says. No business fact stands only here.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::PathBuf;

use tracing_appender::rolling::{RollingFileAppender, Rotation};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::identity::create_private_dir;

/// Name of the folder inside a data directory.
pub const FOLDER: &str = "log";

/// Where a server keeps its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlace {
    /// The folder.
    pub folder: PathBuf,
    /// What file names begin with.
    pub name: &'static str,
    /// How many days are kept.
    pub days: usize,
}

/// Starts logging for this process: level by `JIKAI_LOG`, else `info` (of the engine of the log: nothing, what matters of it is told by us). A file that cannot be written is told, and goes without.
pub fn start(place: Option<&LogPlace>) {
    let level = || EnvFilter::try_from_env("JIKAI_LOG").unwrap_or_else(|_| "info,openraft=off".into());
    let console =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(has_colours()).with_filter(level());
    let (file, failure) = match place.map(open).transpose() {
        Ok(file) => (file, None),
        Err(error) => (None, Some(error)),
    };
    // What strangers can cause as often as they like stays out of the files: it would fill the disk.
    let strangers = "jikai_sync::transport=warn".parse();
    let quiet =
        || strangers.iter().fold(level(), |level, directive: &Directive| level.add_directive(directive.clone()));
    let file = file.map(|file| tracing_subscriber::fmt::layer().json().with_writer(file).with_filter(quiet()));
    tracing_subscriber::registry().with(console).with(file).init();
    if let Some(error) = failure {
        tracing::warn!("the log is written to no file: {error}");
    }
}

/// Colours are for a person at a terminal who wants them (<https://no-color.org>): set to anything but nothing, `NO_COLOR`
/// says no.
fn has_colours() -> bool {
    shows_colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
}

fn shows_colours(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

/// Opens today's file and removes those that are older than is kept.
fn open(place: &LogPlace) -> Result<RollingFileAppender, String> {
    create_private_dir(&place.folder).map_err(|error| error.to_string())?;
    RollingFileAppender::builder()
        .rotation(Rotation::DAILY)
        .filename_prefix(place.name)
        .filename_suffix("jsonl")
        .max_log_files(place.days)
        .build(&place.folder)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn colours_are_for_a_terminal_whose_person_did_not_refuse_them() {
        assert!(shows_colours(true, None) && shows_colours(true, Some(OsStr::new(""))));
        assert!(!shows_colours(false, None) && !shows_colours(true, Some(OsStr::new("1"))));
    }

    #[test]
    fn only_as_many_days_are_kept_as_the_parameter_says() {
        let data = tempfile::tempdir().unwrap();
        let place = LogPlace { folder: data.path().join(FOLDER), name: "hub", days: 3 };
        std::fs::create_dir(&place.folder).unwrap();
        for day in 1..=9 {
            std::fs::write(place.folder.join(format!("hub.2020-01-0{day}.jsonl")), "{}").unwrap();
        }
        std::fs::write(place.folder.join("note.txt"), "not ours").unwrap();
        writeln!(open(&place).unwrap(), "{{}}").unwrap();
        let mut kept: Vec<String> = std::fs::read_dir(&place.folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        kept.sort();
        assert_eq!(kept.len(), 4, "three days and what is not ours: {kept:?}");
        assert!(kept.iter().any(|name| name == "note.txt"));
    }
}
