//! Returning to a hub that was put back from an older copy what this node had received of it.

use std::sync::Arc;

use jikai_schema::codec;
use jikai_schema::event::{EventBody, MasterEvent};
use jikai_schema::id::BatchNo;
use jikai_schema::peer::{HubReply, NodeRequest, PlainKey, RETURN_BYTES_MAX};
use jikai_schema::rules::BatchKeys;
use jikai_sync::backoff::Backoff;
use jikai_sync::transport::Requester;
use jikai_sync::wire::BATCH_EVENTS_MAX;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::LinkState;
use crate::keyring::Keyring;
use crate::store::{DownCursor, OwnLog, ReadPool, ReceivedFeed};

/// What a node returns from.
pub struct Returning {
    /// Asks the hub.
    pub requester: Requester,
    /// Reads the received feed.
    pub pool: ReadPool,
    /// Keys of batches that the hub may lack.
    pub keys: Arc<Keyring>,
    /// Identity of the store.
    pub incarnation: [u8; 16],
}

/// What the hub wants next.
enum Wanted {
    Feed {
        generation: u32,
        next_seq: u64,
    },
    /// Its own log, on which what comes next rests.
    Log {
        next_seq: u64,
    },
    /// Something, later.
    Later,
    Nothing,
}

/// Asks, whenever a session opens, whether the hub wants its feed back, and returns it.
pub async fn return_feed(returning: Returning, mut link: watch::Receiver<LinkState>, cancelled: CancellationToken) {
    let work = async {
        let mut backoff = Backoff::default();
        while link.wait_for(|state| state.connected).await.is_ok() {
            match returning.once().await {
                Ok(()) => {
                    backoff.reset();
                    if link.wait_for(|state| !state.connected).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let hint = "a hub that was put back from a copy waits for this node, or leaves it out: jikai-hub restore --status";
                    tracing::warn!(
                        error,
                        hint,
                        "whether the hub wants its feed back, or the feed itself, was not told"
                    );
                    let wait = backoff.next_wait_ms(&mut rand::rng());
                    tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
                }
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = cancelled.cancelled() => {}
    }
}

impl Returning {
    async fn once(&self) -> Result<(), String> {
        let mut wanted = self.ask(&NodeRequest::FeedPlace).await?;
        if matches!(wanted, Wanted::Nothing) {
            return Ok(());
        }
        tracing::warn!("the hub was put back from a copy: this node returns what it had received of it");
        loop {
            wanted = match wanted {
                Wanted::Nothing => break,
                Wanted::Later => self.ask(&NodeRequest::FeedPlace).await?,
                Wanted::Feed { generation, next_seq } => self.return_run(generation, next_seq).await?,
                Wanted::Log { next_seq } => self.return_log(next_seq).await?,
            };
        }
        tracing::info!("the hub has back what this node had received of it");
        Ok(())
    }

    async fn return_run(&self, generation: u32, first_seq: u64) -> Result<Wanted, String> {
        let (events, end) = self.read(first_seq).await?;
        let keys = self.keys_of(&events);
        if !keys.is_empty() {
            self.ask(&NodeRequest::ReturnKeys { keys }).await?;
        }
        let (end_seq, end_hash, incarnation) = (end.next_seq, end.hash, self.incarnation);
        let request = NodeRequest::ReturnFeed { incarnation, generation, first_seq, events, end_seq, end_hash };
        match self.ask(&request).await? {
            Wanted::Feed { next_seq, .. } if next_seq <= first_seq => Err("the hub does not take it".into()),
            wanted => Ok(wanted),
        }
    }

    async fn return_log(&self, first_seq: u64) -> Result<Wanted, String> {
        let read = self.pool.read(move |store| {
            let log = OwnLog(store);
            let before = log.hash_at(first_seq.saturating_sub(1))?;
            Ok::<_, rusqlite::Error>((before, log.read(first_seq, BATCH_EVENTS_MAX, RETURN_BYTES_MAX)?))
        });
        let (before, stored) = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let prev_hash = before.filter(|_| !stored.is_empty());
        let prev_hash = prev_hash.ok_or("the hub needs more of this node's log than there is here")?;
        let events = stored.into_iter().map(|event| event.bytes).collect();
        let incarnation = self.incarnation;
        match self.ask(&NodeRequest::ReturnLog { incarnation, first_seq, prev_hash, events }).await? {
            Wanted::Log { next_seq } if next_seq <= first_seq => Err("the hub does not take the log".into()),
            wanted => Ok(wanted),
        }
    }

    /// What comes next, and where the feed ends here: as long as the hub awaits it, nothing comes in.
    async fn read(&self, next_seq: u64) -> Result<(Vec<Vec<u8>>, DownCursor), String> {
        let read = self.pool.read(move |store| {
            let end = DownCursor::load(store)?;
            let events = match end.next_seq > next_seq {
                true => ReceivedFeed(store).read(next_seq, RETURN_BYTES_MAX)?,
                false => Some(Vec::new()),
            };
            Ok::<_, rusqlite::Error>((events, end))
        });
        let (events, end) = read.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let lost = || {
            format!("event {next_seq} of the hub's feed is not kept here any more: the hub must leave this node out")
        };
        Ok((events.ok_or_else(lost)?, end))
    }

    fn keys_of(&self, events: &[Vec<u8>]) -> Vec<(BatchNo, PlainKey)> {
        let defined = |bytes: &Vec<u8>| match codec::decode_event(bytes).ok()?.body {
            EventBody::Master(MasterEvent::BatchDefined(facts)) => Some(facts.batch),
            _ => None,
        };
        let key = |batch| Some((batch, PlainKey(*self.keys.batch_key(batch)?.as_bytes())));
        events.iter().filter_map(defined).filter_map(key).collect()
    }

    async fn ask(&self, request: &NodeRequest) -> Result<Wanted, String> {
        let request = request.encode().map_err(|error| error.to_string())?;
        let reply = self.requester.request(&request).await.map_err(|error| error.to_string())?;
        match HubReply::decode(&reply).map_err(|error| error.to_string())? {
            HubReply::FeedWanted { generation, next_seq, complete: false } => Ok(Wanted::Feed { generation, next_seq }),
            HubReply::FeedWanted { .. } => Ok(Wanted::Later),
            HubReply::LogWanted { next_seq } => Ok(Wanted::Log { next_seq }),
            HubReply::FeedNotWanted => Ok(Wanted::Nothing),
            HubReply::Refused(reason) => Err(reason),
            _ => Err("the hub answered another question".into()),
        }
    }
}
