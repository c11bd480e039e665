//! Connecting a slice of terminals, evenly over the ramp.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Endpoints, LoadArgs};
use crate::client::{Directory, Endpoint, directory_key, trust};
use crate::journal::Journal;
use crate::terminal::{Actor, Credentials, Line, Street, Tally, Way, now_ms};
use crate::world::{World, password, terminal_key};

/// Handshakes and logins on their way at once, in one process.
const HANDSHAKES_MAX: usize = 64;
/// Time after the ramp within which the last terminal must be connected.
const GRACE: Duration = Duration::from_secs(120);
/// Longest pause between two tries of one terminal.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// What all terminals of a process share.
pub(super) struct Ramp<'a> {
    pub(super) world: &'a World,
    pub(super) street: Arc<Street>,
    pub(super) endpoints: &'a Endpoints,
    pub(super) journal: Journal,
    pub(super) tally: Arc<Tally>,
    pub(super) args: &'a LoadArgs,
    pub(super) stop: CancellationToken,
}

impl Ramp<'_> {
    /// Connects and logs in all terminals of the slice.
    pub(super) async fn connect(self, slice: Range<usize>) -> Result<Vec<Actor>> {
        let begin = Instant::now();
        let deadline = begin + self.args.ramp + GRACE;
        let gate = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let count = slice.len() as u32;
        let mut tasks = JoinSet::new();
        for (place, actor) in (0u32..).zip(self.actors(slice)?) {
            let at = begin + self.args.ramp * place / count.max(1);
            tasks.spawn(connect_one(actor, at, deadline, gate.clone(), self.stop.clone()));
        }
        let mut actors = Vec::with_capacity(count as usize);
        while let Some(connected) = tasks.join_next().await {
            actors.extend(connected.context("connect a terminal")??);
        }
        Ok(actors)
    }

    fn actors(&self, slice: Range<usize>) -> Result<Vec<Actor>> {
        let tls = trust(&self.args.ca)?;
        let directory = match &self.args.directory_key {
            Some(file) => Some(Arc::new(Directory::new(&self.args.environment, directory_key(file)?, tls.clone()))),
            None => None,
        };
        let run_id: Arc<str> = Arc::from(format!("{:x}", now_ms()));
        let mix = Arc::new(self.args.mix.clone());
        let seed = self.world.plan.seed;
        let actor = |index: usize| {
            let terminal = &self.world.terminals[index];
            let outlet = &self.world.outlets[terminal.outlet];
            let address = self.endpoints.of_node(outlet.node)?;
            let credentials = Credentials {
                terminal_id: terminal.id.clone(),
                operator_id: terminal.operator_id.clone(),
                password: password(seed, &terminal.operator_id),
                key: terminal_key(seed, &terminal.id),
                outlet_id: outlet.id.clone(),
                role: terminal.role.as_str(),
            };
            let way = Way::new(outlet.node, Endpoint::of_node(outlet.node, address, tls.clone())?);
            let way = match &directory {
                Some(directory) => way.with_directory(directory.clone()),
                None => way,
            };
            let line = Line::new(way, credentials, self.tally.clone(), seed.dice("line", &terminal.id));
            Ok(Actor {
                line: line.waiting_for(self.args.node_away_max),
                street: self.street.clone(),
                outlet: terminal.outlet,
                node: outlet.node,
                role: terminal.role,
                journal: self.journal.clone(),
                tally: self.tally.clone(),
                mix: mix.clone(),
                dice: seed.dice("day", &terminal.id),
                run_id: run_id.clone(),
                serial: 0,
                echo: None,
                newest: None,
            })
        };
        slice.map(actor).collect()
    }
}

/// Connects one terminal at its time; tries again until the deadline. `None` when stopped.
async fn connect_one(
    mut actor: Actor,
    at: Instant,
    deadline: Instant,
    gate: Arc<Semaphore>,
    stop: CancellationToken,
) -> Result<Option<Actor>> {
    tokio::time::sleep_until(at).await;
    let mut pause = Duration::from_millis(100);
    while !stop.is_cancelled() {
        let permit = gate.acquire().await.context("wait for a free handshake")?;
        let error = match actor.line.ensure_session().await {
            Ok(()) => return Ok(Some(actor)),
            Err(error) => error,
        };
        drop(permit);
        actor.line.drop_connection();
        if Instant::now() + pause >= deadline {
            bail!("terminal {} could not log in: {error:#}", actor.line.credentials().terminal_id);
        }
        let jitter_ms = actor.dice.below(pause.as_millis() as u64 + 1);
        tokio::time::sleep(pause + Duration::from_millis(jitter_ms)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    Ok(None)
}
