//! One transaction: decide, append, apply, commit, answer.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use jikai_schema::codec::{self, CodecError};
use jikai_schema::event::{
    Actor, BatchNames, Event, EventBody, EventKey, HandoffEvent, MOVED_REQUESTS_MAX, RequestKey, SessionEvent,
};
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::projection::{Catalog, Projection, ProjectionError};
use jikai_schema::store::Statements;
use jikai_schema::time::TimeMs;
use parking_lot::RwLock;
use rusqlite::{Connection, TransactionBehavior, params};

use super::{CommitTimes, Core, DownBatch, Reply, Request, StartError, WriteError};
use crate::decide::{AnsweredRequests, Asked, DecideError, Decision, Refusal, decide};
use crate::keyring::Keyring;
use crate::session::Ended;
use crate::store::{
    DownCursor, FeedRetention, LogHead, OwnLog, ReceivedFeed, RequestIndex, StoreIdentity, append, outlet_of_event,
    take_moved,
};

/// Where the time of events comes from: the wall clock, or a test's.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

impl Core {
    /// Takes over an initialised store.
    pub fn new(store: Connection, keys: Arc<Keyring>, clock: Clock) -> Result<Self, StartError> {
        let node = StoreIdentity::load(&store)?.ok_or(StartError::NoIdentity)?.node;
        let head = OwnLog(&store).head()??;
        let down_at_ms = DownCursor::latest_at_ms(&store)?;
        let requests = RequestIndex::load(&store, node)?;
        let names = Arc::new(RwLock::new(Arc::new(BatchNames::load(&store)?)));
        Ok(Core {
            node,
            store,
            keys,
            clock,
            head,
            down_at_ms,
            requests,
            catalog: Catalog::default(),
            names,
            times: CommitTimes::default(),
            feed_kept: FeedRetention::default(),
        })
    }

    /// Where the time went so far.
    pub fn times(&self) -> CommitTimes {
        self.times
    }

    /// The writing connection, to set what a measurement needs.
    pub fn store(&self) -> &Connection {
        &self.store
    }

    /// Runs the requests in one transaction. `Err` means that none of them left a trace.
    pub fn commit(&mut self, requests: &[&Request]) -> Result<Vec<Result<Reply, WriteError>>, WriteError> {
        self.in_transaction(|batch| requests.iter().map(|request| batch.run(request)).collect())
    }

    /// Writes a fact that nobody at a terminal asked for, once for each key.
    pub(super) fn note(&mut self, body: EventBody, key: RequestKey) -> Result<(), WriteError> {
        self.in_transaction(|batch| {
            let known = earlier(batch.node, batch.requests, batch.projection.statements(), (None, &key), 1)?;
            if matches!(known, Earlier::Never) {
                let now_ms = batch.next_at_ms();
                batch.write(Actor::System, now_ms, vec![(body, key)])?;
            }
            Ok(())
        })
    }

    /// Lets go of outlets that the hub ordered away; one that is on no way, or was let go of before, is passed over. First the end of
    /// sessions that the hub ended here (only this node knows that), then its requests, then the last word about it.
    pub(super) fn release(&mut self, outlets: &[OutletId]) -> Result<(), WriteError> {
        self.in_transaction(|batch| {
            for outlet in outlets {
                let way = batch.projection.handoff(*outlet)?;
                let Some(way) = way.filter(|way| way.node == batch.node && !way.released) else { continue };
                let (handoff, outlet, to) = (way.handoff, *outlet, way.to);
                let key = RequestKey::of_fact("outlet released", handoff as i64);
                let ended = Ended::open_rows(batch.projection.store(), outlet)?.into_iter();
                let closed = ended.map(|terminal| EventBody::Session(SessionEvent::Closed { terminal }));
                let requests = batch.requests.of_outlet(batch.projection.store(), outlet)?;
                let listed = requests.chunks(MOVED_REQUESTS_MAX).map(|requests| HandoffEvent::RequestsListed {
                    handoff,
                    outlet,
                    requests: requests.to_vec(),
                });
                let released = HandoffEvent::Released { handoff, outlet, to };
                let facts = closed.chain(listed.chain([released]).map(EventBody::Handoff));
                let facts = facts.map(|fact| (fact, key)).collect();
                let now_ms = batch.next_at_ms();
                batch.write(Actor::System, now_ms, facts)?;
            }
            Ok(())
        })
    }

    fn in_transaction<T>(
        &mut self,
        work: impl FnOnce(&mut Batch<'_, '_>) -> Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        let mut head = self.head;
        let catalog = std::mem::take(&mut self.catalog);
        let outcome = run_transaction(&mut self.store, &mut self.times, |store| {
            let mut batch = Batch {
                node: self.node,
                keys: &self.keys,
                clock: &self.clock,
                requests: &mut self.requests,
                projection: Projection::with_catalog(store, catalog),
                head: &mut head,
                down_at_ms: self.down_at_ms,
            };
            let value = work(&mut batch)?;
            let catalog = batch.projection.flush()?;
            self.requests.merge_when_due(store)?;
            Ok((value, catalog))
        });
        match outcome {
            Ok((value, catalog)) => {
                self.requests.committed();
                self.head = head;
                self.catalog = catalog;
                Ok(value)
            }
            Err(error) => {
                self.requests.rolled_back();
                Err(error)
            }
        }
    }

    /// Applies a run of the hub's feed and moves the cursor, in one transaction. An event that breaks a table's rule may
    /// have had half its effect by then: everything is rolled back and run again, with that event in quarantine.
    pub(super) fn commit_down(&mut self, batch: &DownBatch) -> Result<DownCursor, WriteError> {
        let mut poison = BTreeMap::new();
        loop {
            let mut culprit = None;
            match self.run_down(batch, &poison, &mut culprit) {
                Ok(cursor) => return Ok(cursor),
                Err(error) => match culprit {
                    Some((seq, reason)) => poison.insert(seq, reason),
                    None => return Err(error),
                },
            };
        }
    }

    fn run_down(
        &mut self,
        batch: &DownBatch,
        poison: &BTreeMap<u64, String>,
        culprit: &mut Option<(u64, String)>,
    ) -> Result<DownCursor, WriteError> {
        let catalog = std::mem::take(&mut self.catalog);
        let (feed_kept, now_ms) = (self.feed_kept, (self.clock)());
        let outcome = run_transaction(&mut self.store, &mut self.times, |store| {
            let cursor = DownCursor::load(store)?;
            if batch.first_seq != cursor.next_seq || batch.prev_hash != cursor.hash {
                return Err(WriteError::Storage(format!(
                    "a run of the hub's feed begins at {}, expected {}",
                    batch.first_seq, cursor.next_seq
                )));
            }
            let mut projection = Projection::with_catalog(store, catalog);
            let mut latest_at_ms = self.down_at_ms;
            for (seq, bytes) in (batch.first_seq..).zip(&batch.events) {
                let applied = match poison.get(&seq) {
                    Some(reason) => Applied::Poison(reason.clone()),
                    None => apply_hub_event(&mut projection, bytes)?,
                };
                let at_ms = if let Applied::Whole(at_ms) = &applied { *at_ms } else { latest_at_ms };
                ReceivedFeed(store).keep(seq, at_ms, bytes)?;
                match applied {
                    Applied::Whole(at_ms) => latest_at_ms = latest_at_ms.max(at_ms),
                    Applied::Poison(reason) => quarantine(store, seq, &reason, bytes)?,
                    Applied::Half(reason) => {
                        *culprit = Some((seq, reason.clone()));
                        return Err(WriteError::Storage(reason));
                    }
                }
            }
            let catalog = projection.flush()?;
            let next = DownCursor { next_seq: batch.first_seq + batch.events.len() as u64, hash: batch.last_hash };
            next.save(store)?;
            ReceivedFeed(store).forget(&feed_kept, now_ms, next.next_seq, batch.events.len())?;
            DownCursor::save_latest_at_ms(store, latest_at_ms)?;
            Ok((next, catalog, latest_at_ms, BatchNames::load(store)?))
        });
        let (next, catalog, latest_at_ms, names) = outcome?;
        (self.catalog, self.down_at_ms) = (catalog, latest_at_ms);
        *self.names.write() = Arc::new(names);
        Ok(next)
    }
}

/// What became of one event of the hub.
enum Applied {
    /// With this stamp.
    Whole(TimeMs),
    /// Refused before it changed anything, for this reason.
    Poison(String),
    /// A table refused it in the middle.
    Half(String),
}

/// Applies one event of the hub. One of a newer version, or with rows of newer tables, is an error: it stops the stream until this node is
/// upgraded, for what is skipped would be missing for ever.
fn apply_hub_event(projection: &mut Projection<'_>, bytes: &[u8]) -> Result<Applied, WriteError> {
    let event = match codec::decode_event(bytes) {
        Ok(event) => event,
        Err(error @ CodecError::UnknownVersion(_)) => return Err(WriteError::Storage(error.to_string())),
        Err(error) => return Ok(Applied::Poison(error.to_string())),
    };
    if !event.key.origin.is_hub() {
        return Ok(Applied::Poison("not an event of the hub".to_string()));
    }
    match projection.apply(&event) {
        Ok(()) => {
            if let Some(ended) = Ended::by(&event.body) {
                ended.note(projection.store())?;
            }
            if let EventBody::Handoff(HandoffEvent::RequestsMoved { outlet, requests, .. }) = &event.body {
                take_moved(projection.store(), *outlet, requests)?;
            }
            Ok(Applied::Whole(event.at_ms))
        }
        Err(error) if error.is_poison() => Ok(Applied::Poison(error.to_string())),
        Err(ProjectionError::Storage(error))
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
        {
            Ok(Applied::Half(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Puts a bad event of the hub aside: it never blocks the stream.
fn quarantine(store: &Connection, seq: u64, reason: &str, bytes: &[u8]) -> Result<(), WriteError> {
    tracing::error!(seq, reason, "an event of the hub waits in quarantine");
    metrics::counter!("jikai_quarantined_total").increment(1);
    store.prepare_cached("INSERT INTO quarantine VALUES (?1, ?2, ?3)")?.execute(params![seq as i64, reason, bytes])?;
    Ok(())
}

fn run_transaction<T>(
    store: &mut Connection,
    times: &mut CommitTimes,
    work: impl FnOnce(&Connection) -> Result<T, WriteError>,
) -> Result<T, WriteError> {
    let started = Instant::now();
    let transaction = store.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = work(&transaction)?;
    let worked = Instant::now();
    transaction.commit()?;
    times.work += worked - started;
    times.commit += worked.elapsed();
    Ok(value)
}

/// The requests of one transaction.
struct Batch<'run, 'store> {
    node: NodeId,
    keys: &'run Arc<Keyring>,
    clock: &'run Clock,
    requests: &'run mut RequestIndex,
    projection: Projection<'store>,
    head: &'run mut LogHead,
    down_at_ms: TimeMs,
}

impl Batch<'_, '_> {
    /// When the next event is: by the clock, but behind the own newest one and behind all of the hub's that were applied. A hub
    /// whose clock is ahead, or whose import stamps a whole day's deposits, must not stand behind what they paid for.
    fn next_at_ms(&self) -> TimeMs {
        (self.clock)().clamp_after(self.head.at_ms).clamp_after(self.down_at_ms)
    }

    /// `Ok(Err(_))` is a refusal, which leaves no trace; `Err` fails the whole transaction.
    fn run(&mut self, request: &Request) -> Result<Result<Reply, WriteError>, WriteError> {
        let outlet = Some(request.caller.outlet());
        match earlier(
            self.node,
            self.requests,
            self.projection.statements(),
            (outlet, &request.key),
            REQUEST_EVENTS_MAX,
        )? {
            Earlier::Here(events) => return Ok(repeat(events, &request.key)),
            Earlier::Elsewhere { origin, seq } if !request.is_new => {
                return Ok(Err(WriteError::AnsweredElsewhere { origin, seq }));
            }
            Earlier::Elsewhere { .. } | Earlier::Never => {}
        }
        let statements = self.projection.statements().clone();
        let answered = Answered { node: self.node, requests: self.requests, statements, outlet };
        let now_ms = self.next_at_ms();
        let asked = Asked {
            node: self.node,
            caller: &request.caller,
            request: request.key,
            now_ms,
            keys: self.keys.as_ref(),
            answered: &answered,
        };
        let decision = match decide(&mut self.projection, &asked, &request.verb) {
            Ok(decision) => decision,
            Err(DecideError::Refused(refusal)) => return Ok(Err(count_refusal(refusal))),
            Err(DecideError::Store(error)) => return Err(error.into()),
        };
        let Decision { events, judgements, refusal } = decision;
        let events = self.write(request.caller.actor(), now_ms, events)?;
        match refusal {
            Some(refusal) => Ok(Err(count_refusal(refusal))),
            None => {
                let seq = events.last().map_or(0, |event| event.key.seq);
                Ok(Ok(Reply { events, judgements, seq }))
            }
        }
    }

    /// Appends and applies the events of one decision.
    fn write(
        &mut self,
        actor: Actor,
        first_at_ms: TimeMs,
        bodies: Vec<(EventBody, RequestKey)>,
    ) -> Result<Vec<Event>, WriteError> {
        let mut events: Vec<Event> = Vec::with_capacity(bodies.len());
        for (body, request) in bodies {
            let key = EventKey { origin: self.node, seq: self.head.seq + 1 };
            let at_ms = first_at_ms.clamp_after(self.head.at_ms);
            let event = Event { key, at_ms, actor: actor.clone(), request: Some(request), body };
            let bytes = codec::encode_event(&event).map_err(|error| WriteError::Storage(error.to_string()))?;
            *self.head = append(self.projection.statements(), self.head, &event, &bytes)?;
            self.projection.apply(&event)?;
            if events.last().is_none_or(|earlier| earlier.request != event.request) {
                self.requests.note(outlet_of_event(&event), &request, key.seq);
            }
            events.push(event);
        }
        Ok(events)
    }
}

fn count_refusal(refusal: Refusal) -> WriteError {
    metrics::counter!("jikai_refused_total", "code" => refusal.code()).increment(1);
    refusal.into()
}

/// The same key with the same body gets the same events, with another body a refusal.
pub(crate) fn repeat(events: Vec<Event>, key: &RequestKey) -> Result<Reply, WriteError> {
    metrics::counter!("jikai_repeated_requests_total").increment(1);
    if events.iter().any(|event| event.request != Some(*key)) {
        return Err(count_refusal(Refusal::IdempotencyKeyReused));
    }
    let seq = events.last().map_or(0, |event| event.key.seq);
    Ok(Reply { events, judgements: Vec::new(), seq })
}

/// Most events of one request: its packs or tickets.
const REQUEST_EVENTS_MAX: usize = crate::decide::PACKS_MAX;

/// Whether a request was answered before.
enum Earlier {
    /// By nobody.
    Never,
    /// By these events of the own log.
    Here(Vec<Event>),
    /// By the node that served its outlet then.
    Elsewhere { origin: NodeId, seq: u64 },
}

/// The first `events_max` events that answered a request with this id, if any did. The log is read no further than they go.
fn earlier(
    node: NodeId,
    requests: &RequestIndex,
    statements: &Statements<'_>,
    (outlet, key): (Option<OutletId>, &RequestKey),
    events_max: usize,
) -> Result<Earlier, WriteError> {
    let Some((origin, seq)) = requests.find(statements, outlet, key)? else { return Ok(Earlier::Never) };
    if origin != node {
        return Ok(Earlier::Elsewhere { origin, seq });
    }
    let mut events = Vec::new();
    let mut statement = statements.get("SELECT bytes FROM own_log WHERE seq >= ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query((seq as i64, events_max as i64))?;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        let event = codec::decode_event(&bytes).map_err(|error| WriteError::Storage(error.to_string()))?;
        match event.request {
            Some(request) if request.id == key.id => events.push(event),
            _ => break,
        }
    }
    // Another request may share the first 8 bytes of the id: then this one is new.
    Ok(if events.is_empty() { Earlier::Never } else { Earlier::Here(events) })
}

/// Looks requests up in the index and the log.
struct Answered<'run, 'store> {
    node: NodeId,
    requests: &'run RequestIndex,
    statements: Rc<Statements<'store>>,
    outlet: Option<OutletId>,
}

impl AnsweredRequests for Answered<'_, '_> {
    fn is_answered(&self, request: &RequestKey) -> Result<bool, ProjectionError> {
        match earlier(self.node, self.requests, &self.statements, (self.outlet, request), 1) {
            Ok(known) => Ok(!matches!(known, Earlier::Never)),
            Err(_) => Err(ProjectionError::Damaged { table: "own_log", key: request.index_key() }),
        }
    }
}
