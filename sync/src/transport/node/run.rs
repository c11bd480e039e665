//! One session of a node while it runs.

use std::time::Duration;

use quinn::{ClientConfig, Connection};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::NodeUplink;
use crate::session::{Action, NodeSession};
use crate::transport::agreed::wire_version;
use crate::transport::driver::{Incoming, Writers, now_ms, read_streams, until, wake};
use crate::transport::intake::Intake;
use crate::transport::store::LogError;
use crate::wire::RefusalV1;

/// How long a session that moves waits for the acknowledgement of what it sent.
const SETTLE_WAIT: Duration = Duration::from_millis(200);

/// Whether a session goes on here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// It does.
    Stay,
    /// It moves once what it sent is acknowledged.
    InOrder,
    /// It moves: nothing comes through here.
    Now,
}

const MOVES: &str = "it moves to another route";

/// One session: its state machine, its streams, and the feed on its way into the store.
pub(super) struct Run<'a> {
    uplink: &'a NodeUplink,
    connection: &'a Connection,
    session: NodeSession,
    writers: Writers,
    incoming: mpsc::Receiver<Incoming>,
    head: watch::Receiver<u64>,
    /// Another certificate than this session's, once there is one.
    newer: watch::Receiver<ClientConfig>,
    leave: watch::Receiver<Leave>,
    /// Once the session is to move in order: when it does at the latest.
    leaving_at: Option<Instant>,
    intake: Intake<LogError>,
    /// Where the hub stood when the session opened.
    agreed_next_seq: u64,
    /// Whether the hub has taken in events that were sent in this session.
    sent: bool,
}

impl<'a> Run<'a> {
    /// Opens the streams, and greets with where the store stands.
    pub(super) async fn open(
        uplink: &'a NodeUplink,
        connection: &'a Connection,
        newer: watch::Receiver<ClientConfig>,
        leave: watch::Receiver<Leave>,
    ) -> Result<Self, String> {
        let (up_send, up_receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let (down_send, down_receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let head = uplink.store.up_head();
        let hello = uplink.store.hello().await.map_err(|error| error.to_string())?;
        let version = wire_version(connection).ok_or("the hub names no version of the wire")?;
        let store = uplink.store.clone();
        let intake = Intake::start(move |batch| {
            let store = store.clone();
            async move { store.apply_down(batch).await }
        });
        let session = NodeSession::over(version, hello, uplink.store.mark(), now_ms())
            .with_hub_generation_min(uplink.store.hub_generation());
        Ok(Run {
            uplink,
            connection,
            session: if uplink.store.takes_feed() { session } else { session.without_feed() },
            writers: Writers { up: up_send, down: down_send },
            incoming: read_streams(up_receive, down_receive),
            head,
            newer,
            leave,
            leaving_at: None,
            intake,
            agreed_next_seq: 0,
            sent: false,
        })
    }

    /// Runs to its end: the reason that the protocol gave, or what failed; and whether the hub took events in. The store
    /// stands still when it returns, so that the next greeting tells the truth.
    pub(super) async fn until_end(mut self) -> (Result<RefusalV1, String>, bool) {
        let ended = self.drive().await;
        self.intake.stop().await;
        (ended, self.sent)
    }

    async fn drive(&mut self) -> Result<RefusalV1, String> {
        loop {
            while let Some(action) = self.session.poll() {
                if let Action::Close(refusal) = action {
                    self.writers.finish().await;
                    return Ok(refusal);
                }
                self.perform(action).await?;
            }
            let is_due = |leaving_at| self.session.is_settled() || Instant::now() >= leaving_at;
            if self.leaving_at.is_some_and(is_due) {
                return Err(MOVES.into());
            }
            self.wait().await?;
        }
    }

    /// Waits for the next thing to happen. In this order, so that what has come in counts before silence is measured.
    async fn wait(&mut self) -> Result<(), String> {
        let leaving_at = self.leaving_at;
        tokio::select! {
            biased;
            leave = told_to(&mut self.leave), if leaving_at.is_none() => match leave {
                Leave::Now => return Err(MOVES.into()),
                Leave::InOrder | Leave::Stay => {
                    self.session.finish_sending();
                    self.leaving_at = Some(Instant::now() + SETTLE_WAIT);
                }
            },
            () = until(leaving_at) => {}
            _ = self.newer.changed() => return Err("another certificate takes its place".into()),
            outcome = self.intake.next_outcome() => match outcome {
                Some(Ok(cursor)) => self.session.delivered(cursor, now_ms()),
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the store stopped taking the feed".into()),
            },
            chunk = self.incoming.recv() => match chunk {
                Some((stream, Some(bytes))) => self.session.on_bytes(stream, &bytes, now_ms()),
                Some((_, None)) | None => return Err("the connection ended".into()),
            },
            changed = self.head.changed() => match changed {
                Ok(()) => self.session.log_grew(*self.head.borrow_and_update()),
                Err(_) => return Err("the store is closing".into()),
            },
            () = wake(self.session.wake_at_ms()) => self.session.tick(now_ms()),
        }
        Ok(())
    }

    async fn perform(&mut self, action: Action) -> Result<(), String> {
        let store = &self.uplink.store;
        let failed = |error: LogError| error.to_string();
        match action {
            Action::Send(stream, bytes) => {
                self.writers.send(stream, &bytes).await.map_err(|error| error.to_string())?;
            }
            Action::LocateUp(welcome) => {
                let hash = store.chain_at(welcome.up.next_seq - 1).await.map_err(failed)?;
                if hash == Some(welcome.up.hash) {
                    store.met_hub(welcome.hub_generation, welcome.up).await.map_err(failed)?;
                }
                self.agreed_next_seq = welcome.up.next_seq;
                self.session.located(hash, now_ms());
                if self.session.is_open() {
                    // Requests must not show an older certificate than the one that was installed.
                    self.uplink.connection.send_if_modified(|open| {
                        let is_newest = self.newer.has_changed().is_ok_and(|changed| !changed);
                        *open = is_newest.then(|| self.connection.clone());
                        true
                    });
                    store.connected();
                }
            }
            Action::ReadLog { from_seq, events_max, bytes_max } => {
                let records = store.read_up(from_seq, events_max, bytes_max).await.map_err(failed)?;
                self.session.log_read(&records, now_ms());
            }
            Action::Deliver(batch) => self.intake.put(batch).await,
            Action::Acked(cursor) => {
                store.acked(cursor);
                self.sent |= cursor.next_seq > self.agreed_next_seq;
            }
            Action::FeedStopped(refusal) => store.feed_stopped(&refusal),
            Action::Admit(..) | Action::Agreed | Action::Close(_) => {}
        }
        Ok(())
    }
}

/// Waits until the session is to leave; for ever when nobody says so any more.
async fn told_to(leave: &mut watch::Receiver<Leave>) -> Leave {
    let told = leave.wait_for(|leave| *leave != Leave::Stay).await.map(|leave| *leave);
    match told {
        Ok(leave) => leave,
        Err(_) => std::future::pending().await,
    }
}
