//! The node's driver: keeps a session with the hub, route after route, try after try.
//!
//! [`NodeUplink`] the loop → [`dial`] a connection over the best route that answers → [`run`] a session over it →
//! [`lookout`] what goes on beside it, and when it moves.

mod dial;
mod failure;
mod lookout;
mod run;
mod waits;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::TransportError;
use super::closing::{ENDED, close, told};
use super::driver::now_ms;
use super::limits::{NODE_KEEP_ALIVE, transport_config};
use super::requests::Requester;
use super::store::NodeStore;
use crate::identity::{TlsIdentity, sync_client};
use crate::routes::{Route, Routes};
use crate::wire::RefusalV1;
use dial::Connected;
use failure::{Failure, are_strangers};
use lookout::{Move, Present, Why, changed};
use run::{Leave, Run};
use waits::Waits;

/// A session that lasted so long counts as a success, even if nothing had to be sent.
const STEADY: Duration = Duration::from_secs(10);
/// How long a session that moves may take to end in order.
const LEAVE_WAIT: Duration = Duration::from_millis(300);

/// Settings of an uplink.
#[derive(Debug, Clone)]
pub struct UplinkOptions {
    /// The routes to the hub as they are known now, and as they change. None: the uplink waits for one.
    pub routes: watch::Receiver<Vec<Route>>,
    /// Local address; port 0 lets the system choose. With an unspecified address the system also chooses the address that packets
    /// leave from, so that a connection goes on (QUIC migration) when the machine's own address changes.
    pub bind: SocketAddr,
    /// UDP segmentation offload; some virtual network cards cannot do it.
    pub segmentation_offload: bool,
    /// How often it looks for a better route.
    pub pace: UplinkPace,
}

/// How often an uplink looks at other routes. Each wait is between half and one and a half of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UplinkPace {
    /// Between two probes of another route. Milliseconds, > 0.
    pub probe_ms: u64,
    /// Until the choice is made anew, so that nodes come back to a machine that was away. Milliseconds, > 0.
    pub rebalance_ms: u64,
}

impl Default for UplinkPace {
    fn default() -> Self {
        UplinkPace { probe_ms: 20_000, rebalance_ms: 300_000 }
    }
}

/// How an uplink stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UplinkStatus {
    /// The route in use; `None` between two.
    pub route: Option<Route>,
    /// Its smoothed round trip, once measured. Milliseconds.
    pub rtt_ms: Option<f64>,
    /// Its smoothed share of lost packets, 0 to 1.
    pub loss: f64,
    /// Routes that are known.
    pub known: usize,
    /// Routes of them that are left alone now because they failed.
    pub ejected: usize,
    /// How often another route was taken than the one before.
    pub switches: u64,
}

/// Keeps a node connected to the hub.
pub struct NodeUplink {
    endpoint: Endpoint,
    options: UplinkOptions,
    store: Arc<dyn NodeStore>,
    connection: watch::Sender<Option<Connection>>,
    /// How the next connection proves who we are.
    identity: watch::Sender<ClientConfig>,
    book: Mutex<Routes>,
    status: watch::Sender<UplinkStatus>,
}

/// Gives a running uplink another certificate.
#[derive(Clone)]
pub struct UplinkIdentity {
    identity: watch::Sender<ClientConfig>,
    connection: watch::Sender<Option<Connection>>,
    segmentation_offload: bool,
}

impl UplinkIdentity {
    /// Shows this certificate from now on: the open session ends in order, and the next one follows at once. No request is sent
    /// over the older certificate's connection any more.
    pub fn present(&self, identity: &TlsIdentity) -> Result<(), TransportError> {
        self.identity.send_replace(client_config(identity, self.segmentation_offload)?);
        self.connection.send_replace(None);
        Ok(())
    }
}

fn client_config(identity: &TlsIdentity, segmentation_offload: bool) -> Result<ClientConfig, TransportError> {
    let crypto = QuicClientConfig::try_from(sync_client(identity)?).map_err(|_| TransportError::NoInitialCipher)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport_config(segmentation_offload, NODE_KEEP_ALIVE));
    Ok(config)
}

/// How a try went.
struct Ended {
    /// The way it took; `None` where no connection opened.
    route: Option<Route>,
    /// The reason that the protocol or the peer gave, or else what failed.
    reason: Result<RefusalV1, Failure>,
    /// Whether the hub took events in, or the session lasted: then the next try comes soon.
    succeeded: bool,
    /// Where the session goes on, if it moved.
    moved: Option<Move>,
}

impl Ended {
    fn words(&self) -> String {
        match (&self.moved, &self.reason) {
            (Some(moved), _) => moved.why.words().to_string(),
            (None, Ok(refusal)) => refusal.to_string(),
            (None, Err(failure)) => failure.error.clone(),
        }
    }
}

/// A route that was left, and why.
struct Left {
    route: Route,
    why: String,
}

impl NodeUplink {
    /// Binds the local address. Nothing is sent until [`NodeUplink::run`].
    pub fn bind(
        identity: &TlsIdentity,
        options: UplinkOptions,
        store: Arc<dyn NodeStore>,
    ) -> Result<Self, TransportError> {
        let address = options.bind;
        let endpoint = Endpoint::client(address).map_err(|source| TransportError::Bind { address, source })?;
        let identity = watch::Sender::new(client_config(identity, options.segmentation_offload)?);
        let (connection, status) = (watch::Sender::new(None), watch::Sender::default());
        Ok(NodeUplink { endpoint, options, store, connection, identity, book: Mutex::default(), status })
    }

    /// To give it another certificate while it runs.
    pub fn identity(&self) -> UplinkIdentity {
        UplinkIdentity {
            identity: self.identity.clone(),
            connection: self.connection.clone(),
            segmentation_offload: self.options.segmentation_offload,
        }
    }

    /// Sends requests beside the logs while a session is open.
    pub fn requester(&self) -> Requester {
        Requester { connection: self.connection.subscribe() }
    }

    /// How it stands, renewed about every second.
    pub fn status(&self) -> watch::Receiver<UplinkStatus> {
        self.status.subscribe()
    }

    /// Keeps sessions going until cancelled.
    pub async fn run(self, cancelled: CancellationToken) {
        let (mut identity, mut routes) = (self.identity.subscribe(), self.options.routes.clone());
        let (mut waits, mut failures) = (Waits::default(), 0);
        let (mut ready, mut left) = (None, None);
        loop {
            self.book.lock().replace(&routes.borrow_and_update());
            let config = identity.borrow_and_update().clone();
            let ended = tokio::select! {
                ended = self.visit(ready.take(), &mut left, config, identity.clone()) => ended,
                () = cancelled.cancelled() => break,
            };
            self.publish(None);
            self.store.disconnected(ended.reason.as_ref().ok().filter(|_| ended.moved.is_none()));
            if ended.succeeded {
                failures = 0;
                waits.start_over();
            }
            if !self.goes_on_at_once(&ended, &mut failures) {
                let wait_ms = waits.next_ms(ended.reason == Ok(RefusalV1::Draining), &mut rand::rng());
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait_ms)) => {}
                    // Whoever shows another certificate, or knows other ways, begins anew.
                    _ = identity.changed() => waits.start_over(),
                    () = changed(&mut routes) => waits.start_over(),
                    () = cancelled.cancelled() => break,
                }
            }
            let why = ended.words();
            left = ended.route.map(|route| Left { route, why }).or(left);
            // A connection that shows the older certificate is of no use any more.
            ready = ended.moved.map(|moved| moved.to).filter(|_| matches!(identity.has_changed(), Ok(false)));
        }
        self.connection.send_replace(None);
        self.endpoint.close(ENDED, b"stopping");
        self.endpoint.wait_idle().await;
    }

    /// Tells the book and the operator how a try went; whether the next one follows at once. It does not when every route has
    /// failed in a row, nor when another machine runs as this node: those must slow down, not go round and round.
    fn goes_on_at_once(&self, ended: &Ended, failures: &mut usize) -> bool {
        if let Some(moved) = &ended.moved {
            let left = ended.route.as_ref().filter(|route| route.address != moved.to.route.address);
            if let (Why::Silent, Some(route)) = (moved.why, left) {
                self.note_failed(route);
            }
            return true;
        }
        // Each of the routes failed, and was told of, while none opened.
        let Some(route) = &ended.route else { return false };
        match &ended.reason {
            // Told once of each while nothing else happens.
            Ok(RefusalV1::Draining) if *failures > self.book.lock().len() => {
                tracing::debug!(%route, "this machine of the hub still serves no nodes");
            }
            Ok(RefusalV1::Draining) => tracing::info!(%route, "this machine of the hub serves no nodes now"),
            Ok(refusal) => {
                tracing::warn!(%route, %refusal, hint = refusal.hint(), "the session with the hub ended");
            }
            Err(failure) => failure.tell(route),
        }
        match &ended.reason {
            Ok(RefusalV1::Superseded) => return false,
            Ok(RefusalV1::Draining) => self.book.lock().drained(route, now_ms(), &mut rand::rng()),
            _ => self.note_failed(route),
        }
        *failures += 1;
        let book = self.book.lock();
        *failures < book.len() && book.has_live(&[], now_ms())
    }

    /// One try: a connection, a session over it, and what goes on beside it.
    async fn visit(
        &self,
        ready: Option<Connected>,
        left: &mut Option<Left>,
        config: ClientConfig,
        newer: watch::Receiver<ClientConfig>,
    ) -> Ended {
        let dialed = match ready {
            Some(ready) => Ok(ready),
            None => self.dial(&config, left.as_ref().map(|left| &left.route), &[]).await,
        };
        let connected = match dialed {
            Ok(connected) => connected,
            Err(failure) => return Ended { route: None, reason: Err(failure), succeeded: false, moved: None },
        };
        self.note_taken(&connected.route, left.take());
        let Connected { route, connection } = &connected;
        let opened_at = Instant::now();
        let (leave, leaving) = watch::channel(Leave::Stay);
        let mut session = pin!(async {
            match Run::open(self, connection, newer, leaving).await {
                Ok(run) => run.until_end().await,
                Err(error) => (Err(error), false),
            }
        });
        let present = Present { connected: &connected, config: &config };
        let (moved, (reason, sent)) = tokio::select! {
            biased;
            ended = &mut session => (None, ended),
            moved = self.look_out(present, self.options.routes.clone()) => {
                leave.send_replace(if moved.why == Why::Silent { Leave::Now } else { Leave::InOrder });
                if let Ok(ended) = tokio::time::timeout(LEAVE_WAIT, &mut session).await {
                    (Some(moved), ended)
                } else {
                    // What it writes, or waits for, does not come through.
                    connection.close(ENDED, b"moved");
                    (Some(moved), session.await)
                }
            }
        };
        // TLS 1.3 tells a client what its certificate is worth only after its handshake.
        let strangers = connection.close_reason().is_some_and(|closed| are_strangers(&closed));
        let mut reason = reason.map_err(|error| Failure { error, strangers, no_version: false });
        self.connection.send_replace(None);
        if let Some(told) = told(connection) {
            reason = Ok(told);
        }
        close(connection, reason.as_ref().ok());
        let superseded = reason == Ok(RefusalV1::Superseded);
        let succeeded = !superseded && (sent || opened_at.elapsed() >= STEADY);
        Ended { route: Some(route.clone()), reason, succeeded, moved }
    }

    /// A connection opened over this route.
    fn note_taken(&self, route: &Route, left: Option<Left>) {
        if let Some(Left { route: from, why }) = left.filter(|left| left.route.address != route.address) {
            tracing::info!(%from, to = %route, why, "the uplink takes another route to the hub");
            self.status.send_modify(|status| status.switches += 1);
        }
        self.publish(Some(route));
    }

    /// Shows how it stands.
    fn publish(&self, route: Option<&Route>) {
        let book = self.book.lock();
        let rtt_ms = route.and_then(|route| book.rtt_ms(route.address));
        let loss = route.map_or(0.0, |route| book.loss(route.address));
        self.status.send_modify(|status| {
            let switches = status.switches;
            *status = UplinkStatus {
                route: route.cloned(),
                rtt_ms,
                loss,
                known: book.len(),
                ejected: book.ejected_count(now_ms()),
                switches,
            };
        });
    }
}
