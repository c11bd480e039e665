//! Finds the programs of the system.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// Environment variable that names the folder of the programs.
const FOLDER_VARIABLE: &str = "JIKAI_BIN";

/// The three programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `jikai-hub`.
    pub hub: PathBuf,
    /// `jikai-node`.
    pub node: PathBuf,
    /// This program.
    pub simulator: PathBuf,
}

impl Binaries {
    /// Looks in `JIKAI_BIN`, otherwise beside this program.
    pub fn find() -> Result<Self> {
        let simulator = std::env::current_exe().context("find this program's own file")?;
        let folder = match std::env::var_os(FOLDER_VARIABLE) {
            Some(folder) => PathBuf::from(folder),
            None => simulator.parent().context("find this program's folder")?.to_owned(),
        };
        Ok(Binaries { hub: program(&folder, "jikai-hub")?, node: program(&folder, "jikai-node")?, simulator })
    }
}

fn program(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    ensure!(
        path.is_file(),
        "{name} is not in {}: build it with `cargo build --release`, or name its folder in {FOLDER_VARIABLE}",
        folder.display()
    );
    Ok(path)
}
