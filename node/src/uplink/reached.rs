//! Telling the hub where terminals reach this node.

use std::time::Duration;

use jikai_schema::peer::{HubReply, NodeRequest};
use jikai_sync::backoff::Backoff;
use jikai_sync::transport::Requester;
use tokio::sync::watch;

use super::LinkState;

/// What became of telling the hub.
enum Told {
    Noted,
    /// It does not pass by itself.
    Refused(String),
    /// The line, or the hub, cannot now.
    Unanswered(String),
}

/// Tells the hub once in each session with it: equal words change nothing there, and a hub that was restored may have lost them.
pub async fn keep_reached(hub: Requester, addresses: Vec<String>, mut link: watch::Receiver<LinkState>) {
    let mut backoff = Backoff::default();
    if addresses.is_empty() {
        let hint = "set public_addresses in node.toml";
        tracing::warn!(hint, "terminals are not told where this node is reached");
    }
    while link.wait_for(|state| state.connected).await.is_ok() {
        match tell(&hub, &addresses).await {
            Told::Noted => backoff.reset(),
            Told::Refused(reason) => {
                tracing::error!(reason, ?addresses, "the hub does not take where this node is reached");
            }
            Told::Unanswered(reason) => {
                tracing::info!(reason, "the hub could not be told where this node is reached");
                let wait_ms = backoff.next_wait_ms(&mut rand::rng());
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                continue;
            }
        }
        if link.wait_for(|state| !state.connected).await.is_err() {
            return;
        }
    }
}

async fn tell(hub: &Requester, addresses: &[String]) -> Told {
    let request = match (NodeRequest::Reached { addresses: addresses.to_vec() }).encode() {
        Ok(request) => request,
        Err(error) => return Told::Refused(error.to_string()),
    };
    let reply = match hub.request(&request).await {
        Ok(reply) => reply,
        Err(error) => return Told::Unanswered(error.to_string()),
    };
    match HubReply::decode(&reply) {
        Ok(HubReply::Noted) => Told::Noted,
        Ok(HubReply::Refused(reason)) => Told::Refused(reason),
        Ok(_) => Told::Unanswered("the hub answered another question".into()),
        Err(error) => Told::Unanswered(error.to_string()),
    }
}
