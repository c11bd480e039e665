//! Members of one hub in this process, each with its own files and threads.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jikai_hub::log::ReplicatedLog;
use jikai_hub::member::{Member, Seat};
use jikai_hub::raft::settings::Settings;
use jikai_hub::raft::types::Answer;
use jikai_hub::replica::decode_outcomes;
use jikai_hub::store::{digest_all, open_reader};
use jikai_schema::command::{Outcome, encode_entry};
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{CertificateAuthority, Key, TlsIdentity};
use tokio::runtime::Runtime;

use crate::world::World;
use crate::{Contender, Entry, cpu, directory};

/// How long a follower may take to have applied what was answered.
const SETTLE_WAIT: Duration = Duration::from_secs(60);

struct Voter {
    member: Member,
    data: PathBuf,
    /// Its own threads, and what they had used when all were ready.
    threads: BTreeSet<u64>,
    used_before: Duration,
    // Last: the member ends before what it runs on.
    runtime: Runtime,
}

impl Voter {
    fn used(&self) -> Duration {
        self.threads.iter().map(|thread| cpu::of(*thread)).sum::<Duration>()
    }
}

/// All voters of one hub; the first leads.
pub struct Voters(Vec<Voter>);

impl Voters {
    pub fn start(dir: &Path, world: &World, count: u16) -> Result<Self> {
        let authority = CertificateAuthority::create("bench", TimeMs::now())?;
        let mut voters = Voters(Vec::new());
        for machine in 1..=count {
            let (voter, address) = voters.seat(dir, world, &authority, (count, machine))?;
            voters.0.push(voter);
            let leader = &voters.0[0];
            leader.runtime.block_on(async {
                if machine == 1 {
                    return leader.member.found().await;
                }
                leader.member.cluster.add_learner(machine.into(), &address).await.context("take a voter in")?;
                leader.member.cluster.promote(machine.into()).await.context("make it a voter")
            })?;
        }
        for voter in &mut voters.0 {
            voter.used_before = voter.used();
        }
        Ok(voters)
    }

    fn seat(
        &self,
        dir: &Path,
        world: &World,
        authority: &CertificateAuthority,
        (count, machine): (u16, u16),
    ) -> Result<(Voter, String)> {
        let data = directory(dir, world, &format!("voter-{machine}-of-{count}"))?;
        let key = Key::generate()?;
        let certificate = authority.certify_machine(&key, machine, &[], TimeMs::now())?;
        let tls = TlsIdentity::from_pem(&certificate, &key, authority.certificate_pem())?;
        let listen = free_address()?;
        let seat = Seat { machine, listen, address: Some(listen.to_string()) };
        let before = cpu::threads();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let member = runtime.block_on(Member::start(&data, &tls, seat, Settings::default()))?;
        let threads = cpu::threads().difference(&before).copied().collect();
        Ok((Voter { member, data, threads, used_before: Duration::ZERO, runtime }, listen.to_string()))
    }

    /// CPU time of the leader's threads and of all others', since the start.
    pub fn cpu(&self) -> (Duration, Duration) {
        let used = |voters: &[Voter]| voters.iter().map(|voter| voter.used() - voter.used_before).sum();
        let (leader, others) = self.0.split_at(1);
        (used(leader), used(others))
    }

    /// All voters have the same tables.
    pub fn check_agreement(&self) -> Result<()> {
        let digests = self.0.iter().map(|voter| Ok(digest_all(&open_reader(&voter.data)?)?));
        let digests = digests.collect::<Result<Vec<_>>>()?;
        ensure!(digests.windows(2).all(|pair| pair[0] == pair[1]), "the voters have different states");
        println!("the states of {} voters agree in all {} tables", self.0.len(), digests[0].len());
        Ok(())
    }
}

impl Contender for Voters {
    fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Outcome>> {
        let leader = &self.0[0];
        leader.runtime.block_on(async {
            let mut outcomes = Vec::new();
            for entry in entries {
                let answer = leader.member.cluster.commit(encode_entry(entry)?).await?;
                outcomes.append(&mut decode_outcomes(&Answer(answer))?);
            }
            Ok(outcomes)
        })
    }

    fn settle(&mut self) -> Result<()> {
        let position = *self.0[0].member.followed.applied.borrow();
        for voter in &self.0 {
            let mut applied = voter.member.followed.applied.clone();
            voter.runtime.block_on(async {
                let reached = applied.wait_for(|applied| *applied >= position);
                tokio::time::timeout(SETTLE_WAIT, reached).await.context("a follower is too slow")??;
                anyhow::Ok(())
            })?;
        }
        Ok(())
    }
}

/// An address that nobody listens on now.
fn free_address() -> Result<SocketAddr> {
    Ok(UdpSocket::bind("127.0.0.1:0")?.local_addr()?)
}
