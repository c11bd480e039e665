//! What lies encrypted in the state, by version of the keys, and bringing it under the newest one.
//!
//! The state is replicated and the machine has no keys, so secrets are encrypted anew by whoever holds the ring and
//! proposed as one command, [`Command::Reseal`]: every replica takes the same bytes at the same place of the log.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use jikai_schema::command::{Command, Outcome, Reseal, ResealedFactor, ResealedKey};
use jikai_schema::crypto::{KeyRing, KeyVersion};
use jikai_schema::event::Actor;
use jikai_schema::id::BatchNo;
use jikai_schema::vault;
use rand::TryRng;
use rand::rngs::SysRng;
use rusqlite::Connection;

use crate::sequencer::Sequencer;
use crate::staff::Factors;

/// Most secrets of one sort in a command: with their old and new form far below its limit.
const SECRETS_MAX: usize = 1_000;

/// Secrets of the state by the version under which they lie.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Batch keys.
    pub batch_keys: BTreeMap<KeyVersion, u64>,
    /// Second factors of staff.
    pub factors: BTreeMap<KeyVersion, u64>,
    /// Secrets that no key opens.
    pub unreadable: u64,
    /// Versions that unreadable secrets name: they are not to be forgotten.
    named: BTreeSet<KeyVersion>,
}

/// How many secrets were encrypted anew.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// Batch keys.
    pub batch_keys: u64,
    /// Second factors of staff.
    pub factors: u64,
}

/// The encrypted secrets of a state.
struct Stored {
    batch_keys: Vec<(BatchNo, Vec<u8>)>,
    factors: Vec<(String, Vec<u8>)>,
}

impl Stored {
    fn read(state: &Connection) -> Result<Self, rusqlite::Error> {
        let mut statement = state.prepare_cached("SELECT batch, wrapped FROM batch_key ORDER BY batch")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get(1)?)))?;
        let rows: Vec<(u32, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
        let number = |(number, wrapped)| BatchNo::new(number).ok().map(|batch| (batch, wrapped));
        let sql = "SELECT login, factor_sealed FROM staff WHERE factor_sealed IS NOT NULL ORDER BY login";
        let mut statement = state.prepare_cached(sql)?;
        let factors = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(Stored {
            batch_keys: rows.into_iter().filter_map(number).collect(),
            factors: factors.collect::<Result<_, _>>()?,
        })
    }
}

impl Counted {
    /// Counts the secrets of a state.
    pub fn of(state: &Connection, ring: &KeyRing) -> Result<Self, rusqlite::Error> {
        let (stored, factors) = (Stored::read(state)?, Factors::new(ring));
        let mut counted = Counted::default();
        for (batch, wrapped) in &stored.batch_keys {
            match vault::version_of(ring, *batch, wrapped) {
                Ok(version) => *counted.batch_keys.entry(version).or_default() += 1,
                Err(_) => counted.note_unreadable(wrapped),
            }
        }
        for (login, sealed) in &stored.factors {
            match factors.version_of(login, sealed) {
                Ok(version) => *counted.factors.entry(version).or_default() += 1,
                Err(_) => counted.note_unreadable(sealed),
            }
        }
        Ok(counted)
    }

    fn note_unreadable(&mut self, sealed: &[u8]) {
        self.unreadable += 1;
        self.named.insert(KeyVersion::FIRST);
        self.named.extend(KeyRing::version_of(sealed));
    }

    /// Versions that must stay in the ring.
    pub fn in_use(&self) -> BTreeSet<KeyVersion> {
        self.batch_keys.keys().chain(self.factors.keys()).chain(&self.named).copied().collect()
    }
}

/// Encrypts what lies under older versions anew and proposes it. With `always`, the trail gets the fact even if there was
/// nothing to do. What does not open stays as it is, and is told in the log.
pub async fn reseal(
    sequencer: &Sequencer,
    state: &Connection,
    ring: &KeyRing,
    actor: &Actor,
    always: bool,
) -> anyhow::Result<Resealed> {
    let stored = Stored::read(state).context("read the secrets of the state")?;
    let (batch_keys, factors) = (stale_keys(&stored, ring)?, stale_factors(&stored, ring)?);
    let done = Resealed { batch_keys: batch_keys.len() as u64, factors: factors.len() as u64 };
    let (mut batch_keys, mut factors) = (batch_keys.chunks(SECRETS_MAX), factors.chunks(SECRETS_MAX));
    for first in [true].into_iter().chain(std::iter::repeat(false)) {
        let parts = (batch_keys.next(), factors.next());
        if parts == (None, None) && !(first && always) {
            return Ok(done);
        }
        let command = Command::Reseal(Reseal {
            key_version: ring.newest().get(),
            batch_keys: parts.0.unwrap_or_default().to_vec(),
            factors: parts.1.unwrap_or_default().to_vec(),
        });
        match sequencer.propose(actor.clone(), command).await.context("propose the secrets under the newest key")? {
            Outcome::Refused(refusal) => bail!("the secrets under the newest key were refused: {refusal}; ask again"),
            _ => tracing::info!(version = %ring.newest(), ?done, "secrets of the state lie under the newest key"),
        }
    }
    Ok(done)
}

fn stale_keys(stored: &Stored, ring: &KeyRing) -> anyhow::Result<Vec<ResealedKey>> {
    let mut stale = Vec::new();
    for (batch, before) in &stored.batch_keys {
        let mut nonce = [0; 12];
        SysRng.try_fill_bytes(&mut nonce).context("draw random bytes from the system")?;
        match vault::rewrap(ring, *batch, before, nonce) {
            Ok(Some(after)) => stale.push(ResealedKey { batch: *batch, before: before.clone(), after }),
            Ok(None) => {}
            Err(error) => tracing::error!(%batch, %error, "it stays as it is; restore secrets/ of this machine"),
        }
    }
    Ok(stale)
}

fn stale_factors(stored: &Stored, ring: &KeyRing) -> anyhow::Result<Vec<ResealedFactor>> {
    let (keys, mut stale) = (Factors::new(ring), Vec::new());
    for (login, before) in &stored.factors {
        match keys.reseal(login, before) {
            Ok(Some(after)) => stale.push(ResealedFactor { login: login.clone(), before: before.clone(), after }),
            Ok(None) => {}
            Err(error) => {
                tracing::error!(login, %error, "a second factor stays as it is; clear it, or restore secrets/")
            }
        }
    }
    Ok(stale)
}
