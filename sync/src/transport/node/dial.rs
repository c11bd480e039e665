//! Opening a connection: over the route that the book chooses, and over further ones as long as none answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use quinn::{ClientConfig, Connection, Endpoint};
use tokio::task::JoinSet;

use super::NodeUplink;
use super::failure::Failure;
use crate::identity::HUB_NAME;
use crate::routes::{Measurement, Route};
use crate::transport::closing::{ENDED, told};
use crate::transport::driver::now_ms;
use crate::transport::limits::OPENING_WAIT;
use crate::wire::RefusalV1;

/// How long a route may leave a call unanswered before the next one is called too.
const ANSWER_WAIT: Duration = Duration::from_millis(150);
/// Most routes that are called at once, besides those that have long not answered.
const CALLS_MAX: usize = 3;
/// How long a call counts among them: longer ones may still be answered, but what they wait for may be a dead line, and all of three may.
const COUNTED_WAIT: Duration = Duration::from_millis(600);
/// How long a connection that only measures waits for a hub that ends it.
const OBJECTION_WAIT_MIN: Duration = Duration::from_millis(50);

/// A connection, and the way it takes.
#[derive(Debug, Clone)]
pub(super) struct Connected {
    pub(super) route: Route,
    pub(super) connection: Connection,
}

/// A call that has no answer yet.
struct Call {
    route: Route,
    since: Instant,
}

impl NodeUplink {
    /// Opens a connection over any route but those of `without`, rather far from `left`. `Err` with the last failure once each
    /// has failed. Routes that do not answer are told of in the book.
    pub(super) async fn dial(
        &self,
        config: &ClientConfig,
        left: Option<&Route>,
        without: &[SocketAddr],
    ) -> Result<Connected, Failure> {
        // By what the book knows of it now: an address out of the settings had neither link nor machine when it was called.
        let known = left.and_then(|left| self.book.lock().get(left.address).cloned());
        let left = known.as_ref().or(left);
        let mut tried = without.to_vec();
        let mut calls: Vec<Call> = Vec::new();
        let mut answers = JoinSet::new();
        let mut last = Failure::from("no other route to the hub is known".to_string());
        loop {
            // Every route is called once, so this ends.
            if counted(&calls) < CALLS_MAX
                && let Some(route) = self.book.lock().choose(left, &tried, now_ms(), &mut rand::rng())
            {
                tried.push(route.address);
                calls.push(Call { route: route.clone(), since: Instant::now() });
                answers.spawn(call(self.endpoint.clone(), config.clone(), route));
            }
            let answer = tokio::select! {
                answer = answers.join_next() => answer,
                () = tokio::time::sleep(ANSWER_WAIT), if self.is_other_known(&tried) => continue,
            };
            let Some(Ok((route, opened))) = answer else { return Err(last) };
            calls.retain(|call| call.route.address != route.address);
            match opened {
                Ok(connection) => {
                    self.note_overtaken(&calls);
                    return Ok(Connected { route, connection });
                }
                Err(failure) => {
                    failure.tell(&route);
                    self.note_failed(&route);
                    last = failure;
                }
            }
        }
    }

    /// Opens a connection over this very route.
    pub(super) async fn dial_route(&self, config: &ClientConfig, route: &Route) -> Result<Connected, Failure> {
        let (route, opened) = call(self.endpoint.clone(), config.clone(), route.clone()).await;
        if opened.is_err() {
            self.note_failed(&route);
        }
        opened.map(|connection| Connected { route, connection })
    }

    /// Measures a route with a connection that opens no session.
    pub(super) async fn probe(&self, config: &ClientConfig, route: &Route) {
        let Ok(Connected { connection, .. }) = self.dial_route(config, route).await else {
            return tracing::debug!(%route, "a route does not answer");
        };
        let rtt = connection.rtt();
        // What the hub thinks of this node's certificate, and whether it is going out of use, comes behind the handshake.
        let objected = tokio::time::timeout(OBJECTION_WAIT_MIN.max(3 * rtt), connection.closed()).await.is_ok();
        let mut book = self.book.lock();
        match (objected, told(&connection)) {
            (true, Some(RefusalV1::Draining)) => book.drained(route, now_ms(), &mut rand::rng()),
            (true, _) => book.failed(route.address, now_ms(), &mut rand::rng()),
            (false, _) => {
                let measured = Measurement { rtt_ms: rtt.as_secs_f64() * 1e3, sent: 0, lost: 0 };
                book.measured(route.address, measured, now_ms());
                book.succeeded(route.address, now_ms());
                connection.close(ENDED, b"measured");
            }
        }
    }

    fn is_other_known(&self, tried: &[SocketAddr]) -> bool {
        self.book.lock().choose(None, tried, now_ms(), &mut rand::rng()).is_some()
    }

    /// A route failed. What several calls find out at once counts once.
    pub(super) fn note_failed(&self, route: &Route) {
        let mut book = self.book.lock();
        if book.is_live(route.address, now_ms()) || !book.has_live(&[], now_ms()) {
            book.failed(route.address, now_ms(), &mut rand::rng());
        }
    }

    /// Others answered first, although these were called so much earlier.
    fn note_overtaken(&self, calls: &[Call]) {
        for call in calls.iter().filter(|call| call.since.elapsed() >= ANSWER_WAIT) {
            tracing::info!(route = %call.route, "a route to the hub does not answer; another one did");
            self.note_failed(&call.route);
        }
    }
}

/// Calls that were made a short time ago.
fn counted(calls: &[Call]) -> usize {
    calls.iter().filter(|call| call.since.elapsed() < COUNTED_WAIT).count()
}

async fn call(endpoint: Endpoint, config: ClientConfig, route: Route) -> (Route, Result<Connection, Failure>) {
    let opened = async {
        let connecting =
            endpoint.connect_with(config, route.address, HUB_NAME).map_err(|error| Failure::from(error.to_string()))?;
        let opened = tokio::time::timeout(OPENING_WAIT, connecting).await;
        Ok(opened.map_err(|_| Failure::from("no answer".to_string()))??)
    };
    let opened = opened.await;
    (route, opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_has_long_not_been_answered_keeps_no_other_from_being_made() {
        let now = Instant::now();
        let call = |since| Call { route: Route::to("127.0.0.1:9".parse().unwrap(), 1), since };
        let calls = [now, now - COUNTED_WAIT, now - 2 * COUNTED_WAIT].map(call);
        assert_eq!(counted(&calls), 1);
    }
}
