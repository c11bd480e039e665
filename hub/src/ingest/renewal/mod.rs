//! Nodes that ask for another certificate over the connection that their present one opened.

#[cfg(test)]
mod tests;

use jikai_schema::command::{AccessCommand, Command, Outcome};
use jikai_schema::crypto::{Suite, hash};
use jikai_schema::event::Actor;
use jikai_schema::peer::HubReply;
use jikai_sync::identity::{Certified, certified_by_pem};

use super::NodeGate;
use super::admission::check_certificate;
use crate::machine::CertificateRow;

/// Longest request. Bytes.
const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// Decides about one request. Checks: its size → the certificate that the connection showed is good, and has not expired since
/// → its node is registered → the same request was not answered before (then the same certificate is given) → it can be signed → the machine's own checks.
/// The connection's session was admitted: a fenced, copied or misdirected store does not get here.
pub(super) async fn renew(gate: &NodeGate, shown: &Certified, request_pem: String) -> Result<HubReply, String> {
    let node = shown.node;
    if request_pem.len() > REQUEST_BYTES_MAX {
        return Err(format!("a request for a certificate has at most {REQUEST_BYTES_MAX} bytes"));
    }
    check_certificate(gate, shown).await.map_err(|refusal| refusal.to_string())?;
    if shown.not_after_ms <= gate.sequencer.now_ms() {
        return Err("the certificate that was shown has expired".into());
    }
    if gate.sequencer.heads().watch(node).is_none() {
        return Err(format!("node {node} is not registered"));
    }
    let request_hash = hash(Suite::configured(), &[b"jikai certificate request\n", request_pem.as_bytes()]);
    if let Some(reply) = answered(gate, shown, request_hash).await? {
        return Ok(reply);
    }
    let certificate_pem = sign(gate, shown, request_pem).await?;
    let certified = certified_by_pem(&certificate_pem).map_err(|error| error.to_string())?;
    let (renews, serial, not_after_ms) = (shown.serial.clone(), certified.serial.clone(), certified.not_after_ms);
    let renewal = AccessCommand::RenewCertificate { node, renews, request_hash, serial, not_after_ms, certificate_pem };
    let outcome = gate.sequencer.propose(Actor::System, Command::Access(renewal)).await;
    if let Outcome::Refused(refusal) = outcome.map_err(|error| error.to_string())? {
        return Err(refusal.to_string());
    }
    tracing::info!(%node, renews = shown.serial, serial = certified.serial, "a node's certificate was renewed");
    metrics::counter!("jikai_certificates_renewed_total").increment(1);
    // As it was recorded: the same request may have come twice at once.
    let reply = answered(gate, shown, request_hash).await?;
    reply.ok_or_else(|| "the certificate was not recorded".to_string())
}

/// A session of this certificate is open: what it takes the place of opens nothing from now on.
pub(super) async fn used(gate: &NodeGate, certified: &Certified) {
    let Certified { node, serial, .. } = certified.clone();
    let looked_up = serial.clone();
    let superseded = async {
        let some = gate.read(move |store| CertificateRow::replaces_some(store, node, &looked_up)).await;
        if !some.map_err(|error| error.to_string())? {
            return Ok(());
        }
        let command = Command::Access(AccessCommand::SupersedeCertificates { node, serial });
        match gate.sequencer.propose(Actor::System, command).await.map_err(|error| error.to_string())? {
            Outcome::Refused(refusal) => Err(refusal.to_string()),
            _ => Ok(()),
        }
    };
    if let Err(error) = superseded.await {
        // The next session of the node tries again.
        tracing::error!(%node, error, "the certificate that a node has replaced is still good");
    }
}

/// The answer that a request got before.
async fn answered(gate: &NodeGate, shown: &Certified, request_hash: [u8; 32]) -> Result<Option<HubReply>, String> {
    let (node, now_ms) = (shown.node, gate.sequencer.now_ms());
    let read = gate.read(move |store| CertificateRow::of_request(store, node, &request_hash)).await;
    match read.map_err(|error| error.to_string())? {
        None => Ok(None),
        Some((row, certificate_pem)) if row.is_good() && row.not_after_ms > now_ms => {
            Ok(Some(HubReply::CertificateRenewed { certificate_pem }))
        }
        Some(_) => Err("this request was answered with a certificate that is no longer good: make a new one".into()),
    }
}

/// Signs for the node of the certificate that was shown, and for its hosts. What the request says of itself is not taken.
async fn sign(gate: &NodeGate, shown: &Certified, request_pem: String) -> Result<String, String> {
    let signer = gate.signer.clone().ok_or("this hub signs no certificates")?;
    let now_ms = gate.sequencer.now_ms();
    let (node, hosts, until_ms) = (shown.node, shown.hosts.clone(), shown.not_after_ms);
    let signing = tokio::task::spawn_blocking(move || signer.sign(&request_pem, node, &hosts, until_ms, now_ms));
    let signed = signing.await.map_err(|error| error.to_string())?;
    signed.map_err(|error| {
        tracing::warn!(%node, error = format!("{error:#}"), "a node's certificate could not be renewed");
        format!("{error:#}")
    })
}
