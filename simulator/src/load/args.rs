//! Options of a worker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::duration::parse_duration;
use crate::terminal::{Mix, Pace};
use crate::world::PlanArgs;

/// Options of `load`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    # a node that serves the whole province of `jikai-sim generate --terminals 100 --nodes 1`\n  \
    echo '{\"1\":\"127.0.0.1:8443\"}' > nodes.json\n  \
    jikai-sim load --terminals 100 --nodes 1 --endpoints nodes.json --ca hub/ca/ca.pem \\\n    \
    --journal day.jsonl --rate 50 --ramp 5s --duration 60s --start-at-once\n\n\
    It prints one JSON line every 250 ms (phase, connected, acked, refused, failed, and a histogram of\n\
    latencies in microseconds since the last line, base64 of HdrHistogram V2).\n\
    Without --start-at-once it waits for the line `start` on its input; `stop` ends it early; `doubt NODE SINCE_MS` tells\n\
    that a node lost its disk: what it acknowledged since then (Unix ms) is no longer taken for known.\n\
    Terminals predict every answer from a day that has not begun: load a world that was just imported.")]
pub struct LoadArgs {
    #[command(flatten)]
    pub(super) plan: PlanArgs,
    /// First terminal of the slice, from 0
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    pub(super) from: usize,
    /// End of the slice, exclusive [default: all terminals]
    #[arg(long, value_name = "INDEX")]
    pub(super) to: Option<usize>,
    /// JSON file with the address of every node: {"1":"127.0.0.1:8443"}
    #[arg(long, value_name = "FILE")]
    pub(super) endpoints: PathBuf,
    /// The CA certificate (PEM) that the nodes' certificates hang on
    #[arg(long, value_name = "FILE")]
    pub(super) ca: PathBuf,
    /// The hub's public key for the directory of the nodes (its ca/directory.pub): terminals then know all nodes, and go where they
    /// are sent
    #[arg(long, value_name = "FILE")]
    pub(super) directory_key: Option<PathBuf>,
    /// Outlets move between nodes meanwhile: what a node does not decide about a neighbour's ticket is no failure
    #[arg(long)]
    pub(super) outlets_move: bool,
    /// How long an operation waits for a node that takes no connection, beyond the usual six tries: it may be replaced meanwhile
    #[arg(long, default_value = "0s", value_parser = parse_duration, value_name = "TIME")]
    pub(super) node_away_max: Duration,
    /// The environment of the nodes, which their directory must name
    #[arg(long, default_value = "test", value_name = "NAME")]
    pub(super) environment: String,
    /// Where acknowledged mutations are written, one JSON line each
    #[arg(long, value_name = "FILE")]
    pub(super) journal: PathBuf,
    /// Operations a second of this slice, or max
    #[arg(long, default_value = "100", value_name = "N|max")]
    pub(super) rate: Pace,
    /// Time over which the terminals connect and log in
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    pub(super) ramp: Duration,
    /// Time of load
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "TIME")]
    pub(super) duration: Duration,
    /// Do not wait for `start`
    #[arg(long)]
    pub(super) start_at_once: bool,
    #[command(flatten)]
    pub(super) mix: Mix,
}

/// Addresses of the nodes by number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints(pub BTreeMap<u16, SocketAddr>);

impl Endpoints {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read the endpoints file {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} must look like {{\"1\":\"127.0.0.1:8443\"}}", path.display()))
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_vec(self)?).with_context(|| format!("write {}", path.display()))
    }

    /// The address of a node.
    pub fn of_node(&self, node: u16) -> Result<SocketAddr> {
        self.0.get(&node).copied().with_context(|| format!("the endpoints file has no address for node {node}; add it"))
    }
}
