//! `jikai-sim load`: one worker process for a slice of the terminals.
//!
//! A worker speaks lines: it prints a [`Progress`] every 250 ms, and reads `start` and `stop`. The demo runs several,
//! because one process may not have 20,000 open files; by hand it runs against any node.

mod args;
mod progress;
mod ramp;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use args::{Endpoints, LoadArgs};
pub use progress::{Phase, Progress, Retries};

use crate::journal::Journal;
use crate::printer::Pools;
use crate::terminal::{Actor, Shift, Street, Tally};
use crate::world::World;
use progress::Reporter;
use ramp::Ramp;

/// Open files that a worker needs besides its connections.
const OTHER_FILES: u64 = 64;

/// Runs one worker to its end.
pub fn load(args: &LoadArgs) -> Result<()> {
    args.mix.verify()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(run_worker(args))
}

async fn run_worker(args: &LoadArgs) -> Result<()> {
    let world = Arc::new(World::make(&args.plan.plan())?);
    let slice = world.slice(args.from, args.to.unwrap_or(world.terminals.len()).min(world.terminals.len()));
    ensure!(!slice.is_empty(), "the slice {}..{:?} holds no terminal; --to must be above --from", args.from, args.to);
    raise_open_files(slice.len() as u64 + OTHER_FILES)?;
    let endpoints = Endpoints::read(&args.endpoints)?;
    let pools = Arc::new(Pools::print(world.plan.seed, &world.games)?);
    let (journal, writer) = Journal::create(&args.journal)?;
    let tally = Arc::new(Tally::new()?);
    let reporter = Reporter::start(tally.clone(), slice.len());
    let stop = CancellationToken::new();
    let street = Arc::new(Street::new(&world, pools, slice.clone(), args.outlets_move));
    let told = (street.clone(), tally.clone());
    let mut orders = if args.start_at_once { None } else { Some(Orders::listen(stop.clone(), told)?) };
    let ramp =
        Ramp { world: &world, street, endpoints: &endpoints, journal, tally: tally.clone(), args, stop: stop.clone() };
    let mut actors = ramp.connect(slice.clone()).await?;
    actors.iter_mut().for_each(|actor| actor.line.notice_closed());
    reporter.enter(Phase::Ready);
    if let Some(orders) = &mut orders {
        stand_by(orders, &mut actors).await?;
    }
    if stop.is_cancelled() {
        // The journal ends when the last terminal is gone.
        drop(actors);
    } else {
        reporter.enter(Phase::Running);
        work(actors, args, slice.len(), &stop, &tally).await;
    }
    let written = tokio::task::spawn_blocking(|| writer.finish()).await.context("finish the journal")??;
    reporter.finish(written).await
}

/// Waits for `start`. Meanwhile connections that a node closes are counted out.
async fn stand_by(orders: &mut Orders, actors: &mut [Actor]) -> Result<()> {
    let mut beat = tokio::time::interval(PROGRESS_EVERY);
    let mut started = std::pin::pin!(orders.wait_for_start());
    loop {
        tokio::select! {
            started = &mut started => return started,
            _ = beat.tick() => actors.iter_mut().for_each(|actor| actor.line.notice_closed()),
        }
    }
}

/// Lets all terminals work their shift.
async fn work(actors: Vec<Actor>, args: &LoadArgs, terminal_count: usize, stop: &CancellationToken, tally: &Tally) {
    let from = Instant::now();
    let shift = Shift { from, to: from + args.duration, pace: args.rate, terminal_count };
    let mut tasks = JoinSet::new();
    for actor in actors {
        tasks.spawn(actor.work(shift, stop.clone()));
    }
    join(tasks, tally).await;
}

/// Waits for all terminals. One that panicked has failed, and with it whatever it had under way.
async fn join(mut tasks: JoinSet<()>, tally: &Tally) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tally.fail(format!("a terminal's task ended badly: {error}"));
        }
    }
}

/// Raises the soft limit of open files, or says what to do.
fn raise_open_files(needed: u64) -> Result<()> {
    let reached = rlimit::increase_nofile_limit(needed.max(1024)).context("raise the limit of open files")?;
    ensure!(
        reached >= needed,
        "{needed} open files are needed, the limit is {reached}: load a smaller slice in each process (--from, --to), or raise \
         the hard limit with `ulimit -Hn`"
    );
    Ok(())
}

/// What the operator or the demo says on standard input.
struct Orders {
    started: watch::Receiver<bool>,
    stop: CancellationToken,
}

impl Orders {
    /// Listens for `start`, `stop` and `doubt`. The end of the input means stop, unless the load was started.
    fn listen(stop: CancellationToken, (street, tally): (Arc<Street>, Arc<Tally>)) -> Result<Self> {
        let (start, started) = watch::channel(false);
        let token = stop.clone();
        let listen = move || {
            for line in std::io::stdin().lines().map_while(std::io::Result::ok) {
                match line.trim() {
                    "start" => drop(start.send_replace(true)),
                    "stop" => token.cancel(),
                    other => match lost_node(other) {
                        Some((node, since_ms)) => {
                            street.doubt(node, since_ms);
                            tally.orders.fetch_add(1, Ordering::Relaxed);
                        }
                        None => eprintln!("unknown order {other:?}; say start, stop, or doubt NODE SINCE_MS"),
                    },
                }
            }
            if !*start.borrow() {
                token.cancel();
            }
        };
        std::thread::Builder::new().name("orders".to_owned()).spawn(listen).context("start the thread that listens")?;
        Ok(Orders { started, stop })
    }

    async fn wait_for_start(&mut self) -> Result<()> {
        tokio::select! {
            started = self.started.wait_for(|started| *started) => {
                started.map(|_| ()).context("the input ended before the line `start`; or give --start-at-once")
            }
            () = self.stop.cancelled() => Ok(()),
        }
    }
}

/// Reads `doubt NODE SINCE_MS`.
fn lost_node(order: &str) -> Option<(u16, i64)> {
    let (node, since_ms) = order.strip_prefix("doubt ")?.split_once(' ')?;
    Some((node.parse().ok()?, since_ms.parse().ok()?))
}

/// Terminals that are connected now.
pub(crate) fn connected(tally: &Tally) -> u64 {
    tally.connected.load(Ordering::Relaxed)
}

/// Time between two progress lines.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_about_a_lost_disk_names_node_and_time() {
        assert_eq!(lost_node("doubt 3 1795363200000"), Some((3, 1_795_363_200_000)));
        for odd in ["doubt", "doubt 3", "doubt x 1", "doubt 3 x", "doubt 70000 1", "start"] {
            assert_eq!(lost_node(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn a_terminal_that_panics_has_failed_and_one_that_ends_has_not() {
        let tally = Tally::new().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async {});
        join(tasks, &tally).await;
        assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
        let mut tasks = JoinSet::new();
        tasks.spawn(async { panic!("a terminal broke") });
        tasks.spawn(async {});
        join(tasks, &tally).await;
        assert_eq!(tally.failed.load(Ordering::Relaxed), 1);
        assert!(tally.failures()[0].contains("a terminal broke"), "{:?}", tally.failures());
    }
}
