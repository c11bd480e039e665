//! The live sessions in memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::sync::Arc;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jikai_schema::event::{AccessEvent, EventBody, MasterEvent, OperatorRole, TokenTag};
use jikai_schema::id::{OperatorId, OutletId, TerminalId};
use jikai_schema::time::TimeMs;
use parking_lot::RwLock;
use rusqlite::{Connection, OptionalExtension};

use crate::decide::Caller;

/// A live session.
pub struct Session {
    /// Who is logged in where.
    pub caller: Caller,
    /// When it ends at the latest.
    pub expires_at_ms: TimeMs,
    limiter: DefaultDirectRateLimiter,
}

impl Session {
    /// Takes one request from the terminal's allowance; `false` when it is used up.
    pub fn allow(&self) -> bool {
        self.limiter.check().is_ok()
    }
}

/// Whose sessions a fact of the hub leaves without ground: a device that was revoked or has another key, a person who was put
/// out of use or has another role or password. Who may still, logs in again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The session at this device.
    Terminal(TerminalId),
    /// The sessions of this person.
    Operator(OperatorId),
}

impl Ended {
    /// Whose sessions a fact ends, if it does.
    pub fn by(fact: &EventBody) -> Option<Ended> {
        match fact {
            EventBody::Access(AccessEvent::TerminalRevoked { terminal, .. })
            | EventBody::Master(MasterEvent::TerminalDefined { terminal, .. }) => Some(Ended::Terminal(*terminal)),
            EventBody::Access(AccessEvent::OperatorDisabled { operator, .. })
            | EventBody::Master(MasterEvent::OperatorDefined { operator, .. }) => Some(Ended::Operator(*operator)),
            _ => None,
        }
    }

    /// Notes in the transaction of the fact which open sessions it ended: a restart reads that again, also when the device
    /// or person was taken back meanwhile.
    pub fn note(self, store: &Connection) -> Result<(), rusqlite::Error> {
        self.note_before(store, TimeMs::from_ms(i64::MAX))
    }

    /// Notes which sessions the fact ended that was decided then: those that were opened before. For a store that receives sessions
    /// and facts together.
    pub fn note_before(self, store: &Connection, at_ms: TimeMs) -> Result<(), rusqlite::Error> {
        let (sql, key) = match self {
            Ended::Terminal(terminal) => (
                "INSERT OR IGNORE INTO session_end SELECT token_tag FROM session WHERE closed_at_ms IS NULL AND terminal = ?1 AND opened_at_ms < ?2",
                terminal.get(),
            ),
            Ended::Operator(operator) => (
                "INSERT OR IGNORE INTO session_end SELECT token_tag FROM session WHERE closed_at_ms IS NULL AND operator = ?1 AND opened_at_ms < ?2",
                operator.get(),
            ),
        };
        if store.prepare_cached(sql)?.execute((key as i64, at_ms.ms()))? > 0 {
            // A terminal has one row: what later sessions replaced is not looked for any more.
            let forget = "DELETE FROM session_end WHERE token_tag NOT IN (SELECT token_tag FROM session)";
            store.prepare_cached(forget)?.execute([])?;
        }
        Ok(())
    }

    /// The terminals of an outlet whose sessions were ended, but whose rows are open still: another node, which has these rows and
    /// not the facts, would take them for live.
    pub fn open_rows(store: &Connection, outlet: OutletId) -> Result<Vec<TerminalId>, rusqlite::Error> {
        let mut statement = store.prepare_cached(
            "SELECT terminal FROM session WHERE terminal BETWEEN ?1 AND ?2 AND closed_at_ms IS NULL \
             AND token_tag IN (SELECT token_tag FROM session_end) ORDER BY terminal",
        )?;
        let [first, last] = terminals_of(outlet);
        let rows = statement.query_map([first, last], |row| row.get::<_, i64>(0))?;
        let terminals = rows.collect::<Result<Vec<_>, _>>()?;
        Ok(terminals.into_iter().filter_map(|terminal| TerminalId::new(terminal as u64).ok()).collect())
    }

    /// Whether the session of this token is the terminal's, and was not ended.
    pub fn spares(store: &Connection, terminal: TerminalId, token: &TokenTag) -> Result<bool, rusqlite::Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM session WHERE terminal = ?1 AND token_tag = ?2 AND closed_at_ms IS NULL \
                   AND token_tag NOT IN (SELECT token_tag FROM session_end))";
        store.prepare_cached(sql)?.query_row((terminal.get() as i64, token.0), |row| row.get(0))
    }
}

/// What a store tells of a token that nobody remembers.
pub enum Stored {
    /// Its session lives, and is remembered now.
    Live(Arc<Session>),
    /// Its session is open there, but its outlet is not whole yet, or another one of its terminal is remembered, or somebody's were ended just
    /// now: this view of the store may be behind what is remembered, or ahead of it. A moment later it is clear.
    Unsure,
    /// Nothing that lives.
    No,
}

/// All live sessions by the tag of their token: one a terminal, so bounded by the terminals of the region.
pub struct Sessions {
    live: RwLock<Live>,
    quota: Quota,
}

#[derive(Default)]
struct Live {
    by_token: HashMap<TokenTag, Arc<Session>>,
    by_terminal: HashMap<TerminalId, TokenTag>,
    /// How often somebody's sessions were ended, or somebody logged in.
    endings: u64,
}

impl Sessions {
    /// An empty registry with this allowance per terminal.
    pub fn new(requests_per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Sessions { live: RwLock::default(), quota: Quota::per_second(requests_per_second).allow_burst(burst) }
    }

    /// Reads the sessions that are still open at `now_ms`.
    pub fn load(&self, store: &Connection, now_ms: TimeMs) -> Result<usize, rusqlite::Error> {
        self.load_between(store, now_ms, [0, i64::MAX], None)
    }

    /// Reads the sessions of an outlet that came from another node: whoever was logged in there is here. What was opened here since
    /// [`Sessions::close_outlet`] stays.
    pub fn load_outlet(&self, store: &Connection, outlet: OutletId, now_ms: TimeMs) -> Result<usize, rusqlite::Error> {
        self.load_between(store, now_ms, terminals_of(outlet), None)
    }

    /// Reads the session of a token that nobody remembers.
    pub fn load_one(&self, store: &Connection, token: &TokenTag, now_ms: TimeMs) -> Result<Stored, rusqlite::Error> {
        // What is ended from here on may live in this view of the store still.
        let endings = self.live.read().endings;
        let sql = "SELECT terminal, terminal / 100 IN (SELECT outlet FROM handoff WHERE node = to_node) FROM session \
                   WHERE token_tag = ?1 AND closed_at_ms IS NULL";
        let mut statement = store.prepare_cached(sql)?;
        let row: Option<(i64, bool)> =
            statement.query_row([token.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (terminal, first) = match row {
            None => return Ok(Stored::No),
            Some((_, true)) => return Ok(Stored::Unsure),
            Some((terminal, false)) => (TerminalId::new(terminal as u64).ok(), terminal),
        };
        self.load_between(store, now_ms, [first, first], Some(endings))?;
        let live = self.live.read();
        Ok(match (live.by_token.get(token), terminal.and_then(|terminal| live.by_terminal.get(&terminal))) {
            (Some(session), _) => Stored::Live(session.clone()),
            (None, Some(_)) => Stored::Unsure,
            (None, None) if live.endings != endings => Stored::Unsure,
            (None, None) => Stored::No,
        })
    }

    fn load_between(
        &self,
        store: &Connection,
        now_ms: TimeMs,
        [first, last]: [i64; 2],
        endings: Option<u64>,
    ) -> Result<usize, rusqlite::Error> {
        let mut statement = store.prepare_cached(
            "SELECT session.terminal, session.operator, operator.role, token_tag, expires_at_ms \
             FROM session JOIN operator USING (operator) WHERE closed_at_ms IS NULL AND expires_at_ms > ?1 \
             AND session.terminal BETWEEN ?2 AND ?3 \
             AND session.terminal / 100 NOT IN (SELECT outlet FROM handoff WHERE node = to_node) \
             AND terminal NOT IN (SELECT terminal FROM terminal_revoked) \
             AND operator NOT IN (SELECT operator FROM operator_disabled) \
             AND token_tag NOT IN (SELECT token_tag FROM session_end)",
        )?;
        let mut rows = statement.query([now_ms.ms(), first, last])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let (terminal, operator): (i64, i64) = (row.get(0)?, row.get(1)?);
            let ids = (TerminalId::new(terminal as u64), OperatorId::new(operator as u64));
            if let (Ok(terminal), Ok(operator)) = ids {
                let role = if row.get::<_, i64>(2)? == 0 { OperatorRole::Owner } else { OperatorRole::Clerk };
                let caller = Caller { terminal, operator, role, address: None };
                self.open_known(TokenTag(row.get(3)?), caller, TimeMs::from_ms(row.get(4)?), endings);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Takes in a session of the store, unless its terminal has one: that one is newer than the view of the store. `endings`: how many had been
    /// heard of before that view was taken, where others may be heard of meanwhile.
    fn open_known(&self, token: TokenTag, caller: Caller, expires_at_ms: TimeMs, endings: Option<u64>) {
        let session = self.session(caller, expires_at_ms);
        let mut live = self.live.write();
        if endings.is_some_and(|endings| endings != live.endings) {
            return;
        }
        if let Entry::Vacant(terminal) = live.by_terminal.entry(caller.terminal) {
            terminal.insert(token);
            live.by_token.insert(token, session);
        }
    }

    fn session(&self, caller: Caller, expires_at_ms: TimeMs) -> Arc<Session> {
        Arc::new(Session { caller, expires_at_ms, limiter: RateLimiter::direct(self.quota) })
    }

    /// Starts a session and ends the terminal's earlier one.
    pub fn open(&self, token: TokenTag, caller: Caller, expires_at_ms: TimeMs) {
        let session = self.session(caller, expires_at_ms);
        let mut live = self.live.write();
        live.endings += 1;
        if let Some(earlier) = live.by_terminal.insert(caller.terminal, token) {
            live.by_token.remove(&earlier);
        }
        live.by_token.insert(token, session);
    }

    /// Ends the terminal's session.
    pub fn close(&self, terminal: TerminalId) {
        let mut live = self.live.write();
        live.endings += 1;
        if let Some(token) = live.by_terminal.remove(&terminal) {
            live.by_token.remove(&token);
        }
    }

    /// Ends the sessions at all terminals of an outlet: it comes back, and what was decided of them elsewhere only the store knows.
    pub fn close_outlet(&self, outlet: OutletId) {
        self.close_where(|session| session.caller.outlet() == outlet);
    }

    /// Ends the sessions of whom facts of the hub left without ground, see [`Ended`].
    pub fn obey(&self, facts: &[Ended]) {
        for fact in facts {
            match fact {
                Ended::Terminal(terminal) => self.close(*terminal),
                Ended::Operator(operator) => self.close_where(|session| session.caller.operator == *operator),
            }
        }
    }

    /// Ends the session of a token, if it still is the terminal's.
    pub fn close_token(&self, token: &TokenTag) {
        let mut live = self.live.write();
        live.endings += 1;
        if let Some(session) = live.by_token.remove(token) {
            live.by_terminal.remove(&session.caller.terminal);
        }
    }

    fn close_where(&self, is_meant: impl Fn(&Session) -> bool) {
        let mut live = self.live.write();
        live.endings += 1;
        let meant = live.by_token.values().filter(|session| is_meant(session));
        let terminals: Vec<TerminalId> = meant.map(|session| session.caller.terminal).collect();
        drop(live);
        terminals.into_iter().for_each(|terminal| self.close(terminal));
    }

    /// The session of a token, expired or not.
    pub fn find(&self, token: &TokenTag) -> Option<Arc<Session>> {
        self.live.read().by_token.get(token).cloned()
    }

    /// Live sessions.
    pub fn count(&self) -> usize {
        self.live.read().by_terminal.len()
    }
}

/// The first and the last number that a terminal of the outlet may have.
fn terminals_of(outlet: OutletId) -> [i64; 2] {
    let first = i64::from(outlet.get()) * 100;
    [first, first + 99]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(terminal: u64) -> Caller {
        let operator = OperatorId::new(1_301_000_101).unwrap();
        Caller { terminal: TerminalId::new(terminal).unwrap(), operator, role: OperatorRole::Owner, address: None }
    }

    fn sessions(burst: u32) -> Sessions {
        Sessions::new(NonZeroU32::MIN, NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn a_new_session_of_a_terminal_ends_the_earlier_one() {
        let sessions = sessions(1);
        let (first, second) = (TokenTag([1; 16]), TokenTag([2; 16]));
        sessions.open(first, caller(1_301_000_101), TimeMs::from_ms(9));
        sessions.open(second, caller(1_301_000_101), TimeMs::from_ms(9));
        assert!(sessions.find(&first).is_none() && sessions.find(&second).is_some());
        assert_eq!(sessions.count(), 1);
        sessions.close(TerminalId::new(1_301_000_101).unwrap());
        assert!(sessions.find(&second).is_none());
    }

    #[test]
    fn facts_of_the_hub_end_the_sessions_of_what_they_name_and_no_other() {
        let node = jikai_schema::id::NodeId::new(1).unwrap();
        let (here, there) = (caller(1_301_000_101), caller(1_301_000_201));
        let revoked = |caller: &Caller| {
            let (terminal, reason) = (caller.terminal, "lost".to_string());
            EventBody::Access(AccessEvent::TerminalRevoked { terminal, node, reason })
        };
        let disabled = EventBody::Access(AccessEvent::OperatorDisabled { operator: here.operator, node });
        let other = Caller { operator: OperatorId::new(1_301_000_102).unwrap(), ..there };
        for fact in [revoked(&here), disabled] {
            let sessions = sessions(1);
            sessions.open(TokenTag([1; 16]), here, TimeMs::from_ms(9));
            sessions.open(TokenTag([2; 16]), other, TimeMs::from_ms(9));
            sessions.obey(&[Ended::by(&fact).unwrap()]);
            assert!(sessions.find(&TokenTag([1; 16])).is_none(), "{fact:?}");
            assert!(sessions.find(&TokenTag([2; 16])).is_some(), "{fact:?}");
        }
    }

    #[test]
    fn a_session_that_came_with_its_outlet_is_found_in_the_store_and_one_that_was_replaced_or_ended_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = crate::store::open(folder.path()).unwrap();
        store.execute_batch("PRAGMA foreign_keys = OFF").unwrap();
        let (now_ms, here) = (TimeMs::from_ms(5), caller(1_301_000_101));
        let operator = "INSERT INTO operator VALUES (?1, ?1 / 100, 1, '', 0, '$argon2id$')";
        store.execute(operator, [here.operator.get() as i64]).unwrap();
        let row = (here.terminal.get() as i64, here.operator.get() as i64, [1_u8; 16]);
        store.execute("INSERT INTO session VALUES (?1, ?2, ?3, 1, 9, NULL)", row).unwrap();
        let (tag, other) = (TokenTag([1; 16]), TokenTag([2; 16]));
        let found = |sessions: &Sessions, tag| match sessions.load_one(&store, tag, now_ms).unwrap() {
            Stored::Live(session) => session.caller == here,
            Stored::Unsure => panic!("unsure"),
            Stored::No => false,
        };
        let fresh = sessions(1);
        assert!(!found(&fresh, &other) && found(&fresh, &tag));
        assert!(fresh.find(&tag).is_some());
        let newer = sessions(1);
        newer.open(other, here, TimeMs::from_ms(9));
        assert!(matches!(newer.load_one(&store, &tag, now_ms).unwrap(), Stored::Unsure));
        assert!(newer.find(&other).is_some(), "the terminal's newer one stays");
        store.execute("INSERT INTO session_end VALUES (?1)", [[1_u8; 16]]).unwrap();
        assert!(!found(&sessions(1), &tag));
    }

    #[test]
    fn one_terminals_flood_does_not_use_up_anothers_allowance() {
        let sessions = sessions(3);
        sessions.open(TokenTag([1; 16]), caller(1_301_000_101), TimeMs::from_ms(9));
        sessions.open(TokenTag([2; 16]), caller(1_301_000_102), TimeMs::from_ms(9));
        let flooding = sessions.find(&TokenTag([1; 16])).unwrap();
        let allowed = (0..10).filter(|_| flooding.allow()).count();
        assert_eq!(allowed, 3);
        assert!(sessions.find(&TokenTag([2; 16])).unwrap().allow());
    }
}
