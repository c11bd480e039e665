//! What a machine knows of all of them.

use std::net::SocketAddr;
use std::time::Duration;

use jikai_schema::event::{HubLink, MachineState};

use super::{Machines, MachinesError};
use crate::machine::{LeaseRow, MachineRow, generation};
use crate::raft::cluster::{ChangeError, Cluster, Status};

/// How long a machine may take to tell how it stands.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(1);

/// What a machine is to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its word counts.
    Voter,
    /// It follows.
    Learner,
    /// It does not belong to the cluster, or no longer.
    Outside,
}

/// One machine.
#[derive(Debug, Clone)]
pub struct MachineView {
    /// Its number.
    pub machine: u16,
    /// What it is to the log.
    pub role: Role,
    /// Whether it is used; `None` while it has not told where it is reached.
    pub state: Option<MachineState>,
    /// Whether it only votes.
    pub voter_only: bool,
    /// Whether the leader has not heard it for a while.
    pub lost: bool,
    /// Where its peers reach it.
    pub peer_address: Option<String>,
    /// Where the centre's API listens.
    pub http: Option<SocketAddr>,
    /// Where nodes reach it.
    pub links: Vec<HubLink>,
    /// How it stands by its own word; an error where it does not answer.
    pub status: Result<Status, String>,
}

impl MachineView {
    /// Newest entry in its log, if it answers.
    pub fn last_index(&self) -> Option<u64> {
        self.status.as_ref().ok()?.last_index
    }
}

/// All machines, as one of them sees them.
#[derive(Debug, Clone)]
pub struct ClusterView {
    /// Who looks.
    pub machine: u16,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// The term; several leaders may share one.
    pub term: u64,
    /// How often a person had a machine take over without the others, from 1.
    pub generation: u32,
    /// Who does the jobs, and under which fence.
    pub lease: Option<LeaseRow>,
    /// By number.
    pub machines: Vec<MachineView>,
}

impl Machines {
    /// Asks all of them; those that do not answer cost a second, all together.
    pub async fn view(&self) -> Result<ClusterView, MachinesError> {
        let cluster = self.cluster()?;
        let read = self.pool.read(|store| Ok((MachineRow::list(store)?, LeaseRow::read(store)?, generation(store)?)));
        let read: Result<_, rusqlite::Error> = read.await?;
        let (rows, lease, generation) = read?;
        let own = cluster.status();
        let asked = rows.iter().map(|row| ask(&cluster, u64::from(row.machine)));
        let statuses = futures_util::future::join_all(asked).await;
        let machines = rows.into_iter().zip(statuses).map(|(row, status)| view_of(&own, &cluster, row, status));
        let machines = machines.collect();
        Ok(ClusterView { machine: self.number, leader: own.leader, term: own.term, generation, lease, machines })
    }
}

async fn ask(cluster: &Cluster, id: u64) -> Result<Status, String> {
    match cluster.status_of(id, ANSWER_WAIT).await {
        Ok(status) => Ok(status),
        Err(ChangeError::NotMember(_)) => Err("it does not belong to the cluster".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn view_of(own: &Status, cluster: &Cluster, row: MachineRow, status: Result<Status, String>) -> MachineView {
    let id = u64::from(row.machine);
    let role = match () {
        () if own.voters.contains(&id) => Role::Voter,
        () if own.learners.contains(&id) => Role::Learner,
        () => Role::Outside,
    };
    MachineView {
        machine: row.machine,
        role,
        state: row.state,
        voter_only: row.voter_only,
        lost: row.lost,
        peer_address: cluster.member_address(id),
        http: row.http,
        links: row.links,
        status,
    }
}
