//! One session of the hub while it runs.

use std::sync::Arc;
use std::time::Duration;

use jikai_schema::id::NodeId;
use quinn::Connection;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::seats::{Held, object};
use super::{Duplex, Shared};
use crate::identity::Certified;
use crate::session::{Action, HubSession};
use crate::transport::driver::{Incoming, Writers, now_ms, read_streams, until, wake};
use crate::transport::intake::Intake;
use crate::transport::store::Admission;
use crate::wire::{Hello, Mark, RefusalV1, WireVersion};

/// How long a session that is to end in order waits for what it is committing.
const SETTLE_WAIT: Duration = Duration::from_millis(300);

/// One session: its state machine, its streams, and what it holds once the node is admitted.
pub(super) struct Run {
    shared: Arc<Shared>,
    node: NodeId,
    certified: Certified,
    connection: Connection,
    session: HubSession,
    writers: Writers,
    incoming: mpsc::Receiver<Incoming>,
    admitted: Option<Admitted>,
    draining: watch::Receiver<bool>,
    /// Once the session is to end in order: when it ends at the latest.
    leaving_at: Option<Instant>,
}

/// What only an admitted node is given.
struct Admitted {
    /// Which store it is.
    hello: Hello,
    /// Which run of it, where it told.
    mark: Option<Mark>,
    /// Looks whether the node lives, while another process says that it does not.
    objecting: Option<AbortOnDropHandle<()>>,
    intake: Intake<RefusalV1>,
    down_head: watch::Receiver<u64>,
    revocations: watch::Receiver<u64>,
    /// Once the node agrees with the hub about its log.
    answering: Option<AbortOnDropHandle<()>>,
    _seat: Held,
}

impl Run {
    pub(super) fn new(
        shared: Arc<Shared>,
        certified: Certified,
        (connection, version): (Connection, WireVersion),
        (up_send, up_receive): Duplex,
        (down_send, down_receive): Duplex,
    ) -> Self {
        let draining = shared.draining.subscribe();
        Run {
            shared,
            node: certified.node,
            certified,
            connection,
            session: HubSession::over(version, now_ms()),
            writers: Writers { up: up_send, down: down_send },
            incoming: read_streams(up_receive, down_receive),
            admitted: None,
            draining,
            leaving_at: None,
        }
    }

    /// Runs to its end; `Err` with the reason where the protocol gave one. Nothing is being committed when it returns.
    pub(super) async fn until_end(mut self) -> Result<(), RefusalV1> {
        let ended = self.drive().await;
        if let Some(admitted) = self.admitted.take() {
            admitted.intake.stop().await;
        }
        ended
    }

    async fn drive(&mut self) -> Result<(), RefusalV1> {
        loop {
            self.leave_when_settled();
            while let Some(action) = self.session.poll() {
                if let Action::Close(refusal) = action {
                    self.writers.finish().await;
                    return Err(refusal);
                }
                if !self.perform(action).await {
                    return Ok(());
                }
            }
            if !self.wait().await {
                return Ok(());
            }
        }
    }

    /// Ends a session that is to leave once what it was committing is acknowledged, or has taken too long.
    fn leave_when_settled(&mut self) {
        let Some(leaving_at) = self.leaving_at else { return };
        let committing = self.admitted.as_ref().is_some_and(|admitted| admitted.intake.is_committing());
        if !committing || Instant::now() >= leaving_at {
            self.session.refuse(RefusalV1::Draining, now_ms());
        }
    }

    /// Waits for the next thing to happen; `false` when the connection is gone. In this order, so that what has come in
    /// counts before silence is measured.
    async fn wait(&mut self) -> bool {
        let (outcome, grown, revocations) = match &mut self.admitted {
            Some(admitted) => {
                (Some(&mut admitted.intake), Some(&mut admitted.down_head), Some(&mut admitted.revocations))
            }
            None => (None, None, None),
        };
        let leaving_at = self.leaving_at;
        tokio::select! {
            biased;
            true = is_set(&mut self.draining), if leaving_at.is_none() => {
                self.leaving_at = Some(Instant::now() + SETTLE_WAIT);
            }
            () = until(leaving_at) => {}
            revoked = or_never(revocations, async |revocations| revocations.changed().await) => {
                if revoked.is_err() {
                    return false;
                }
                if let Some(admitted) = &mut self.admitted {
                    if let Err(refusal) = check(&self.shared, &self.certified, &admitted.hello).await {
                        self.session.refuse(refusal, now_ms());
                    } else if let Some(mark) = admitted.mark {
                        let (store, connection) = (self.shared.store.clone(), self.connection.clone());
                        let objecting = tokio::spawn(object(store, self.node, mark, connection));
                        admitted.objecting = Some(AbortOnDropHandle::new(objecting));
                    }
                }
            }
            outcome = or_never(outcome, async |intake| intake.next_outcome().await) => match outcome {
                Some(Ok(cursor)) => self.session.delivered(cursor, now_ms()),
                Some(Err(refusal)) => self.session.refuse(refusal, now_ms()),
                None => return false,
            },
            // Whoever is to leave is not listened to any more: what it sends now goes to another machine.
            chunk = self.incoming.recv(), if leaving_at.is_none() => match chunk {
                Some((stream, Some(bytes))) => self.session.on_bytes(stream, &bytes, now_ms()),
                Some((_, None)) | None => return false,
            },
            head_seq = or_never(grown, async |head| head.changed().await.map(|()| *head.borrow_and_update())) => {
                match head_seq {
                    Ok(head_seq) => self.session.feed_grew(head_seq),
                    Err(_) => return false,
                }
            }
            () = wake(self.session.wake_at_ms()) => self.session.tick(now_ms()),
        }
        true
    }

    /// `false` when the connection is gone.
    async fn perform(&mut self, action: Action) -> bool {
        let store = &self.shared.store;
        match action {
            Action::Send(stream, bytes) => return self.writers.send(stream, &bytes).await.is_ok(),
            Action::Admit(hello, mark) => self.admit(hello, mark).await,
            Action::ReadLog { from_seq, events_max, bytes_max } => {
                match store.read_down(self.node, from_seq, events_max, bytes_max).await {
                    Ok(records) => self.session.log_read(&records, now_ms()),
                    Err(refusal @ RefusalV1::SchemaTooOld { .. }) => {
                        store.feed_stopped(self.node, &refusal);
                        self.session.feed_stopped(refusal, now_ms());
                    }
                    Err(refusal) => self.session.refuse(refusal, now_ms()),
                }
            }
            Action::Deliver(batch) => {
                if let Some(admitted) = &mut self.admitted {
                    admitted.intake.put(batch).await;
                }
            }
            Action::Acked(cursor) => store.down_acked(self.node, cursor),
            Action::Agreed => {
                // Before anything is answered: what this certificate has replaced opens nothing any more.
                store.agreed(&self.certified).await;
                // Requests may ask for batch keys: a store that is not the node's own is not answered.
                let (certified, connection) = (self.certified.clone(), self.connection.clone());
                let answering = tokio::spawn(self.shared.clone().answer_requests(certified, connection));
                if let Some(admitted) = &mut self.admitted {
                    admitted.answering = Some(AbortOnDropHandle::new(answering));
                }
            }
            Action::LocateUp(_) | Action::FeedStopped(_) | Action::Close(_) => {}
        }
        true
    }

    async fn admit(&mut self, hello: Hello, mark: Option<Mark>) {
        let (claimed, incarnation) = (hello.node, hello.incarnation);
        let (shared, node) = (self.shared.clone(), self.node);
        let admitted = match shared.store.check_certificate(&self.certified).await {
            Err(refusal) => Err(refusal),
            Ok(()) if claimed == node => {
                shared.seats.admit(shared.store.as_ref(), &hello, mark, &self.connection).await
            }
            Ok(()) => Err(RefusalV1::WrongNode { certified: node, claimed }),
        };
        let (Admission { welcome, mut down_head, revocations }, seat) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return self.session.refuse(refusal, now_ms()),
        };
        // Revoked or replaced since the first look: from here on the watch tells.
        if let Err(refusal) = check(&shared, &self.certified, &hello).await {
            return self.session.refuse(refusal, now_ms());
        }
        let head_seq = *down_head.borrow_and_update();
        let store = shared.store.clone();
        let intake = Intake::start(move |batch| {
            let store = store.clone();
            async move { store.ingest(node, incarnation, batch).await }
        });
        let (answering, objecting) = (None, None);
        self.admitted =
            Some(Admitted { hello, mark, objecting, intake, down_head, revocations, answering, _seat: seat });
        self.session.admitted(welcome, head_seq, now_ms());
    }
}

/// Whether a session may go on: store and certificate.
async fn check(shared: &Shared, certified: &Certified, hello: &Hello) -> Result<(), RefusalV1> {
    shared.store.check_store(hello).await?;
    shared.store.check_certificate(certified).await
}

/// Waits until the machine is taken out of use; `false` when nobody can do that any more.
async fn is_set(draining: &mut watch::Receiver<bool>) -> bool {
    draining.wait_for(|draining| *draining).await.is_ok()
}

/// Waits for what an admitted node has; before, for ever.
async fn or_never<T, R>(source: Option<&mut T>, wait: impl AsyncFnOnce(&mut T) -> R) -> R {
    match source {
        Some(source) => wait(source).await,
        None => std::future::pending().await,
    }
}
