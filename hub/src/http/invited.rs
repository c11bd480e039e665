//! A store that is to be made elsewhere: what it needs, drawn before the machine is asked, and sealed behind its answer.

use std::net::SocketAddr;

use jikai_schema::command::{AccessCommand, Command};
use jikai_schema::event::MachineState;
use jikai_schema::id::NodeId;
use jikai_sync::identity::{Key, KeyAndRequest, certified_by_pem};
use jikai_sync::invitation::{SealedStore, StoreInvitation, StoreTerms};
use jikai_sync::wire::Cursor;
use zeroize::Zeroizing;

use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::identity::IdentityFiles;
use crate::machine::MachineRow;
use crate::staff::InvitationCode;

/// Most further names of a node.
const HOSTS_MAX: usize = 16;
/// Most addresses of the hub.
const ADDRESSES_MAX: usize = 16;

/// All that can fail has been done.
pub(super) struct Invited {
    node: NodeId,
    hub: Vec<SocketAddr>,
    certificate: String,
    key: Key,
    /// Identity of the store, for the machine.
    pub(super) incarnation: [u8; 16],
    code: Zeroizing<String>,
}

/// Refuses further names of a node that are too many or too long.
pub(super) fn check_hosts(hosts: &[String]) -> Result<(), Problem> {
    if hosts.len() > HOSTS_MAX || hosts.iter().any(|host| !(1..=253).contains(&host.len())) {
        return Err(Problem::invalid("hosts", format!("At most {HOSTS_MAX} names of 1 to 253 bytes can be given.")));
    }
    Ok(())
}

impl Invited {
    /// Draws identity, key and code of the store, and certifies the key.
    pub(super) async fn draw(
        app: &App,
        node: NodeId,
        hosts: Vec<String>,
        hub: Vec<SocketAddr>,
    ) -> Result<Self, Problem> {
        check_hosts(&hosts)?;
        let hub = addresses(app, hub).await?;
        let (certificate, key) = certificate(app, node, hosts).await?;
        let incarnation = *uuid::Uuid::new_v4().as_bytes();
        let code = InvitationCode::draw().ok_or_else(|| Problem::internal(&"the system gives no random numbers"))?;
        Ok(Invited { node, hub, certificate, key, incarnation, code })
    }

    /// Remembers the certificate and seals the store of this epoch, which goes on at `up`: the file, and the code that opens it.
    pub(super) async fn seal(
        self,
        app: &App,
        caller: &Caller,
        epoch: u32,
        up: Cursor,
    ) -> Result<(serde_json::Value, String), Problem> {
        let Invited { node, hub, certificate, key, incarnation, code } = self;
        let certified = certified_by_pem(&certificate).map_err(|error| Problem::internal(&error))?;
        let (serial, not_after_ms) = (certified.serial, certified.not_after_ms);
        caller.ask(app, Command::Access(AccessCommand::RecordCertificate { node, serial, not_after_ms })).await?;
        let authority = IdentityFiles::new(&app.data).authority_pem().map_err(|error| Problem::internal(&error))?;
        let environment = app.config.environment.clone();
        let terms = StoreTerms { node, epoch, environment, hub, authority, up };
        let sealed = SealedStore::new(certificate, &key, incarnation);
        let made = StoreInvitation::make(terms, &sealed, &code, app.sequencer.now_ms());
        let invitation = made.map_err(|error| Problem::internal(&error))?;
        let invitation = serde_json::to_value(&invitation).map_err(|error| Problem::internal(&error))?;
        Ok((invitation, code.to_string()))
    }
}

/// A new key of the node, and its certificate.
async fn certificate(app: &App, node: NodeId, hosts: Vec<String>) -> Result<(String, Key), Problem> {
    let made = KeyAndRequest::for_node(node).map_err(|error| Problem::internal(&error))?;
    let (files, secrets) = (IdentityFiles::new(&app.data), app.secrets.clone());
    let terms = app.config.signing_terms(app.sequencer.now_ms());
    let sign = move || {
        files.sign_node(&secrets, &made.request_pem, node, &hosts, terms).map(|certificate| (certificate, made.key))
    };
    let signed = tokio::task::spawn_blocking(sign).await.map_err(|error| Problem::internal(&error))?;
    signed.map_err(|error| Problem::invalid("hosts", jikai_sync::causes::with_causes(error.as_ref())))
}

/// Where the store finds the hub.
async fn addresses(app: &App, given: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Problem> {
    let mut hub = given;
    if hub.is_empty() {
        let machines = app.pool.read(|store| MachineRow::list(store)).await??;
        let serving = machines.into_iter().filter(|row| row.state == Some(MachineState::Serving) && !row.voter_only);
        hub.extend(serving.flat_map(|row| row.links).map(|link| link.address));
        hub.truncate(ADDRESSES_MAX);
    }
    match (1..=ADDRESSES_MAX).contains(&hub.len()) {
        true => Ok(hub),
        false => {
            Err(Problem::invalid("hub", format!("Name 1 to {ADDRESSES_MAX} addresses at which nodes reach the hub.")))
        }
    }
}
