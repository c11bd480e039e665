//! Where the files of a run lie.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::machines::KeptMachine;
use crate::audit::KeptSalvage;
use crate::world::Plan;

/// The folder of a run: plan, import files, stores, journals, logs.
#[derive(Debug)]
pub struct Layout {
    root: PathBuf,
    temporary: Option<TempDir>,
}

impl Layout {
    /// Makes the folder: the given one, or a temporary one that is removed unless `keep`.
    pub fn make(data: Option<&Path>, keep: bool) -> Result<Self> {
        let layout = match data {
            Some(root) => Layout { root: absolute(root)?, temporary: None },
            None => {
                let folder =
                    tempfile::Builder::new().prefix("jikai-demo-").tempdir().context("make a temporary folder")?;
                match keep {
                    true => Layout { root: folder.keep(), temporary: None },
                    false => Layout { root: folder.path().to_owned(), temporary: Some(folder) },
                }
            }
        };
        ensure!(
            !layout.plan_file().exists(),
            "{} already holds a run: choose another --data, or remove it first",
            layout.root.display()
        );
        for folder in [layout.journals(), layout.logs(), layout.world()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
        }
        Ok(layout)
    }

    /// The folder of a kept run.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Layout { root: absolute(root)?, temporary: None };
        ensure!(
            layout.plan_file().exists(),
            "{} holds no run of the demo: make one with `jikai-sim demo --data {0}`",
            root.display()
        );
        Ok(layout)
    }

    /// What the world was made from.
    pub fn read_plan(&self) -> Result<Plan> {
        let path = self.plan_file();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// Writes down what the world is made from.
    pub fn write_plan(&self, plan: &Plan) -> Result<()> {
        let path = self.plan_file();
        std::fs::write(&path, serde_json::to_vec_pretty(plan)?).with_context(|| format!("write {}", path.display()))
    }

    /// Tells where kept data lies.
    pub fn say_where_it_is(&self) {
        if self.temporary.is_none() {
            println!("kept in {}; audit it again with `jikai-sim check --data {0}`", self.root.display());
        }
    }

    /// The machines of the hub, as they were when the run ended.
    pub(super) fn read_machines(&self) -> Result<Vec<KeptMachine>> {
        let path = self.machines_file();
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// Writes down what is needed to start the hub again.
    pub(super) fn write_machines(&self, machines: &[KeptMachine]) -> Result<()> {
        let path = self.machines_file();
        std::fs::write(&path, serde_json::to_vec_pretty(machines)?).with_context(|| format!("write {}", path.display()))
    }

    fn machines_file(&self) -> PathBuf {
        self.root.join("machines.json")
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn plan_file(&self) -> PathBuf {
        self.root.join("demo.json")
    }

    /// Import files.
    pub fn world(&self) -> PathBuf {
        self.root.join("world")
    }

    /// Data directory of the hub's first machine.
    pub fn hub(&self) -> PathBuf {
        self.root.join("hub")
    }

    /// Data directory of a node.
    pub fn node(&self, node: u16) -> PathBuf {
        self.root.join("nodes").join(node.to_string())
    }

    /// The nodes that were made, with their data directories.
    pub fn nodes(&self) -> Result<BTreeMap<u16, PathBuf>> {
        let folder = self.root.join("nodes");
        let listed = std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        let mut nodes = BTreeMap::new();
        for entry in listed {
            let entry = entry.with_context(|| format!("list {}", folder.display()))?;
            if let Some(node) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                nodes.insert(node, entry.path());
            }
        }
        Ok(nodes)
    }

    /// Where a node's store is put that is no longer in its place, or was never meant to be: `what` became of it in which trial.
    pub(super) fn aside(&self, what: &str, node: u16, trial: u32) -> Result<PathBuf> {
        let folder = self.root.join("aside");
        std::fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
        Ok(folder.join(format!("{what}-{node}-{}", trial + 1)))
    }

    /// What the old stores of replaced nodes hold alone, in the order of their replacement.
    pub(super) fn read_salvages(&self) -> Result<Vec<KeptSalvage>> {
        let path = self.salvages_file();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// Writes one more down.
    pub(super) fn keep_salvage(&self, salvage: KeptSalvage) -> Result<()> {
        let mut salvages = self.read_salvages()?;
        salvages.push(salvage);
        let path = self.salvages_file();
        std::fs::write(&path, serde_json::to_vec(&salvages)?).with_context(|| format!("write {}", path.display()))
    }

    fn salvages_file(&self) -> PathBuf {
        self.root.join("salvages.json")
    }

    /// Nodes that were taken out of use. Their stores stay where they are.
    pub(super) fn read_removed(&self) -> Result<BTreeSet<u16>> {
        let path = self.removed_file();
        if !path.exists() {
            return Ok(BTreeSet::new());
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("understand {}", path.display()))
    }

    /// Writes one more down.
    pub(super) fn keep_removed(&self, node: u16) -> Result<()> {
        let mut removed = self.read_removed()?;
        removed.insert(node);
        let path = self.removed_file();
        std::fs::write(&path, serde_json::to_vec(&removed)?).with_context(|| format!("write {}", path.display()))
    }

    fn removed_file(&self) -> PathBuf {
        self.root.join("removed.json")
    }

    /// Journals of the load processes.
    pub fn journals(&self) -> PathBuf {
        self.root.join("journals")
    }

    /// Standard error of all processes.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Addresses of the nodes.
    pub fn endpoints(&self) -> PathBuf {
        self.root.join("endpoints.json")
    }
}

/// The hub reads files by the paths it is told, from a folder of its own.
fn absolute(root: &Path) -> Result<PathBuf> {
    std::path::absolute(root).with_context(|| format!("find the folder {}", root.display()))
}
