//! Secrets of the state under a newer version of the keys. The machine has no keys: it takes what the proposer encrypted
//! anew, and only in place of the very ciphertext from which that was made.

use jikai_schema::command::{Outcome, Reseal, ResealedFactor, ResealedKey};
use jikai_schema::crypto::KeyVersion;
use jikai_schema::event::{EventBody, SecretsEvent};
use rusqlite::OptionalExtension;

use super::batches::WRAPPED_KEY_BYTES;
use super::error::Stop;
use super::{Machine, Stamp, rule, unknown};

impl Machine<'_> {
    /// Checks: the version is one; batches ascend, are known, and hold what was read, as do the second factors. Nothing is
    /// taken unless all is. What lies so already is skipped.
    pub(super) fn reseal(&mut self, stamp: Stamp<'_>, command: &Reseal) -> Result<Outcome, Stop> {
        let Reseal { key_version, batch_keys, factors } = command;
        if KeyVersion::new(*key_version).is_none() {
            return Err(rule("invalid_key_version", "a version of the keys is a number from 1 to 63").into());
        }
        let ascending = batch_keys.is_sorted_by_key(|key| key.batch)
            && batch_keys.windows(2).all(|two| two[0].batch != two[1].batch);
        if !ascending || !factors.windows(2).all(|two| two[0].login < two[1].login) {
            return Err(rule("not_ascending", "batches and login names ascend, each named once").into());
        }
        let (mut new_keys, mut new_factors) = (Vec::new(), Vec::new());
        for key in batch_keys {
            if self.has_other_key(key)? {
                new_keys.push(key);
            }
        }
        for factor in factors {
            if self.has_other_factor(factor)? {
                new_factors.push(factor);
            }
        }
        // After this point the command must succeed.
        let existing = (batch_keys.len() - new_keys.len() + factors.len() - new_factors.len()) as u64;
        let (batch_key_count, factor_count) = (new_keys.len() as u32, new_factors.len() as u32);
        let mut update = self.tx.prepare_cached("UPDATE batch_key SET wrapped = ?2 WHERE batch = ?1")?;
        for key in new_keys {
            update.execute((key.batch.get(), &key.after))?;
        }
        let mut update = self.tx.prepare_cached("UPDATE staff SET factor_sealed = ?2 WHERE login = ?1")?;
        for factor in new_factors {
            update.execute((&factor.login, &factor.after))?;
        }
        let key_version = *key_version;
        self.emit(stamp, EventBody::Secrets(SecretsEvent::Resealed { key_version, batch_key_count, factor_count }))?;
        Ok(Outcome::Done { events: 1, existing })
    }

    /// Whether the state holds what the proposer read; an error where it holds neither that nor what the proposer made.
    fn has_other_key(&self, key: &ResealedKey) -> Result<bool, Stop> {
        let sql = "SELECT wrapped FROM batch_key WHERE batch = ?1";
        let mut statement = self.tx.prepare_cached(sql)?;
        let stored: Option<Vec<u8>> = statement.query_row([key.batch.get()], |row| row.get(0)).optional()?;
        let stored = stored.ok_or_else(|| unknown("batch", key.batch))?;
        if key.after.len() != WRAPPED_KEY_BYTES {
            return Err(rule("invalid_batch_key", "the batch key is not wrapped").into());
        }
        is_other(&stored, &key.before, &key.after)
    }

    fn has_other_factor(&self, factor: &ResealedFactor) -> Result<bool, Stop> {
        let sql = "SELECT factor_sealed FROM staff WHERE login = ?1";
        let mut statement = self.tx.prepare_cached(sql)?;
        let stored = statement.query_row([&factor.login], |row| row.get::<_, Option<Vec<u8>>>(0)).optional()?;
        let stored = stored.flatten().ok_or_else(|| unknown("second_factor", factor.login.escape_default()))?;
        if factor.after.len() != factor.before.len() {
            return Err(rule("invalid_factor", "a secret keeps its length under any key").into());
        }
        is_other(&stored, &factor.before, &factor.after)
    }
}

fn is_other(stored: &[u8], before: &[u8], after: &[u8]) -> Result<bool, Stop> {
    match (stored == after, stored == before) {
        (true, _) => Ok(false),
        (false, true) => Ok(true),
        (false, false) => {
            Err(rule("changed_meanwhile", "a secret is not what it was when it was read: read it again").into())
        }
    }
}
