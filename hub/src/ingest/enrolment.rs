//! Devices that want to be enrolled, brought by the node that they came to.

use jikai_schema::command::{AccessCommand, Command, Outcome};
use jikai_schema::event::Actor;
use jikai_schema::id::NodeId;
use jikai_schema::peer::{Enrolment, HubReply};

use super::NodeGate;

/// Decides about one device. A wrong code is noted, and some of them make it void.
pub(super) async fn enrol(gate: &NodeGate, node: NodeId, enrolment: Enrolment) -> Result<HubReply, String> {
    let terminal = enrolment.terminal;
    if !enrolment.is_signed() {
        return Ok(HubReply::NotEnrolled);
    }
    let code_hash = Enrolment::code_hash(terminal, &enrolment.code);
    let public_key = enrolment.public_key;
    let enrol = AccessCommand::Enrol { node, terminal, code_hash, public_key };
    match propose(gate, enrol).await? {
        Outcome::Refused(_) => {
            propose(gate, AccessCommand::NoteEnrolmentFailure { node, terminal }).await?;
            metrics::counter!("jikai_enrolments_refused_total").increment(1);
            Ok(HubReply::NotEnrolled)
        }
        _ => {
            tracing::info!(%node, %terminal, "a device was enrolled");
            Ok(HubReply::Enrolled)
        }
    }
}

async fn propose(gate: &NodeGate, command: AccessCommand) -> Result<Outcome, String> {
    gate.sequencer.propose(Actor::System, Command::Access(command)).await.map_err(|error| error.to_string())
}
