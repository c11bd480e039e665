//! What goes on beside a session: whether its path lives, whether its route is still one, and whether another is better.
//! A session moves only to a connection that is open already.

use std::time::Duration;

use quinn::{ClientConfig, Connection};
use rand::RngExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::NodeUplink;
use super::dial::Connected;
use crate::backoff::Backoff;
use crate::routes::{Measurement, Pulse, Route, TICK_MS};
use crate::transport::driver::now_ms;

/// How often the path in use is measured, in looks.
const TICKS_A_MEASUREMENT: u64 = 10;

/// How long a node takes its time to leave a route that is none any more; half to one and a half of it. Far less than the hub gives.
const LEAVE_MS: u64 = 500;

/// Why a session moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nothing arrives over its path.
    Silent,
    /// Its route is none any more: its machine drains, or was removed.
    Removed,
    /// Another is much better.
    Better,
    /// The choice was made anew, so that nodes come back to a machine that was away.
    Spread,
}

impl Why {
    pub(super) fn words(self) -> &'static str {
        match self {
            Why::Silent => "nothing arrives over it",
            Why::Removed => "the hub lists it for nodes no more: its machine drains or was removed",
            Why::Better => "another one is much better",
            Why::Spread => "nodes spread anew",
        }
    }
}

/// Where a session moves.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) to: Connected,
    pub(super) why: Why,
}

/// A session's present connection, as the lookout sees it.
#[derive(Clone, Copy)]
pub(super) struct Present<'a> {
    pub(super) connected: &'a Connected,
    pub(super) config: &'a ClientConfig,
}

impl NodeUplink {
    /// Returns when the session is to move.
    pub(super) async fn look_out(&self, present: Present<'_>, routes: watch::Receiver<Vec<Route>>) -> Move {
        tokio::select! {
            moved = self.move_when_silent(present) => moved,
            moved = self.move_when_removed(present, routes) => moved,
            moved = self.move_for_better(present) => moved,
        }
    }

    /// A path over which nothing comes is left once another connection is open; if it speaks meanwhile, it is kept. The same
    /// route is called too, after others: QUIC speaks less and less often on a dead path, and would find out late that it is
    /// there again.
    async fn move_when_silent(&self, Present { connected, config }: Present<'_>) -> Move {
        let Connected { route, connection } = connected;
        let (mut pulse, mut meter, mut pacing) = (Pulse::default(), Meter::default(), Backoff::default());
        let mut looks = interval(Duration::from_millis(TICK_MS));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 1_u64.. {
            looks.tick().await;
            if look.is_multiple_of(TICKS_A_MEASUREMENT) {
                self.book.lock().measured(route.address, meter.read(connection), now_ms());
                self.publish(Some(route));
            }
            if !pulse.is_silent(received(connection), connection.rtt()) {
                pacing.reset();
                continue;
            }
            tracing::info!(%route, "nothing arrives over the route in use: calling another");
            let dialed = tokio::select! {
                () = speaks_again(connection) => {
                    tracing::info!(%route, "the route in use speaks again: it is kept");
                    continue;
                }
                dialed = self.dial(config, Some(route), &[]) => dialed,
            };
            match dialed {
                Ok(to) => return Move { to, why: Why::Silent },
                Err(_) => {
                    self.publish(Some(route));
                    sleep(pacing.next_wait()).await;
                }
            }
        }
        std::future::pending().await
    }

    async fn move_when_removed(
        &self,
        Present { connected, config }: Present<'_>,
        mut routes: watch::Receiver<Vec<Route>>,
    ) -> Move {
        let (route, mut pacing) = (&connected.route, Backoff::default());
        loop {
            let (is_empty, is_known) = {
                let mut book = self.book.lock();
                book.replace(&routes.borrow_and_update());
                (book.is_empty(), book.get(route.address).is_some())
            };
            // Nowhere to go: what is open stays open.
            if is_known || is_empty {
                changed(&mut routes).await;
                continue;
            }
            // The hub gives notice: not all nodes need to call the other machines in the same moment.
            sleep(jittered(LEAVE_MS)).await;
            if let Ok(to) = self.dial(config, Some(route), &[route.address]).await {
                return Move { to, why: Why::Removed };
            }
            tokio::select! {
                () = sleep(pacing.next_wait()) => {}
                () = changed(&mut routes) => {}
            }
        }
    }

    /// Looks at one other route after the other, and moves for much better; from time to time, chooses anew.
    async fn move_for_better(&self, Present { connected, config }: Present<'_>) -> Move {
        let route = &connected.route;
        let pace = self.options.pace;
        let mut probe_at = Instant::now() + jittered(pace.probe_ms);
        let mut rebalance_at = Instant::now() + jittered(pace.rebalance_ms);
        loop {
            let rebalances = rebalance_at < probe_at;
            sleep_until(rebalance_at.min(probe_at)).await;
            let candidate = if rebalances {
                rebalance_at = Instant::now() + jittered(pace.rebalance_ms);
                self.redraw().map(|route| (route, Why::Spread))
            } else {
                probe_at = Instant::now() + jittered(pace.probe_ms);
                self.compare(route, config).await.map(|route| (route, Why::Better))
            };
            let Some((candidate, why)) = candidate.filter(|(candidate, _)| candidate.address != route.address) else {
                continue;
            };
            if let Ok(to) = self.dial_route(config, &candidate).await {
                return Move { to, why };
            }
        }
    }

    /// The choice that a node without a session would make now.
    fn redraw(&self) -> Option<Route> {
        let book = self.book.lock();
        book.has_live(&[], now_ms()).then(|| book.choose(None, &[], now_ms(), &mut rand::rng())).flatten()
    }

    async fn compare(&self, used: &Route, config: &ClientConfig) -> Option<Route> {
        let other = {
            let mut book = self.book.lock();
            if self.connection.borrow().is_some() {
                book.succeeded(used.address, now_ms());
            }
            book.to_probe(used.address, now_ms())
        };
        if let Some(other) = other {
            self.probe(config, &other).await;
        }
        self.book.lock().better(used.address, now_ms())
    }
}

/// Reads what a connection measured since it was read last.
#[derive(Default)]
struct Meter {
    sent: u64,
    lost: u64,
}

impl Meter {
    fn read(&mut self, connection: &Connection) -> Measurement {
        let path = connection.stats().path;
        let measured = Measurement {
            rtt_ms: path.rtt.as_secs_f64() * 1e3,
            sent: path.sent_packets.saturating_sub(self.sent),
            lost: path.lost_packets.saturating_sub(self.lost),
        };
        *self = Meter { sent: path.sent_packets, lost: path.lost_packets };
        measured
    }
}

fn received(connection: &Connection) -> u64 {
    connection.stats().udp_rx.datagrams
}

async fn speaks_again(connection: &Connection) {
    let before = received(connection);
    while received(connection) == before {
        sleep(Duration::from_millis(TICK_MS / 2)).await;
    }
}

/// Waits for other routes; for ever once nobody gives any.
pub(super) async fn changed(routes: &mut watch::Receiver<Vec<Route>>) {
    if routes.changed().await.is_err() {
        std::future::pending().await
    }
}

/// Half to one and a half of it, so that nodes do not move in step.
fn jittered(whole_ms: u64) -> Duration {
    let whole_ms = whole_ms.max(2);
    Duration::from_millis(rand::rng().random_range(whole_ms / 2..=whole_ms + whole_ms / 2))
}
