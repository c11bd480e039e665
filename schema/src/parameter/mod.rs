//! Parameters: figures that the centre changes by maker and checker, from a day on, for the province or a part of it.
//!
//! The list is closed: a key that is not here cannot be set, and each has one reader, [`Parameter::read`].

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::id::PrefectureCode;
use crate::time::TimeMs;

/// For what part of the province a value holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ParameterScope {
    /// All of it.
    Province,
    /// One prefecture: goes before the province's value.
    Prefecture(PrefectureCode),
}

impl ParameterScope {
    /// The number under which it is stored: 0 for the province.
    pub const fn number(self) -> u16 {
        match self {
            ParameterScope::Province => 0,
            ParameterScope::Prefecture(code) => code.get(),
        }
    }
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $variant:ident: $key:literal, $unit:literal, $default:literal, $min:literal..=$max:literal, $wide:literal;)+) => {
        /// A parameter.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Parameter { $($(#[$doc])* $variant,)+ }

        impl Parameter {
            /// All parameters.
            pub const ALL: &[Parameter] = &[$(Parameter::$variant,)+];

            /// Its key in interfaces and events.
            pub const fn key(self) -> &'static str {
                match self { $(Parameter::$variant => $key,)+ }
            }

            /// Its unit.
            pub const fn unit(self) -> &'static str {
                match self { $(Parameter::$variant => $unit,)+ }
            }

            /// Its value while none was set.
            pub const fn default_value(self) -> i64 {
                match self { $(Parameter::$variant => $default,)+ }
            }

            /// Its least and highest value.
            pub const fn range(self) -> (i64, i64) {
                match self { $(Parameter::$variant => ($min, $max),)+ }
            }

            /// Whether it is the same in the whole province.
            pub const fn is_province_wide(self) -> bool {
                match self { $(Parameter::$variant => $wide,)+ }
            }
        }
    };
}

parameters! {
    /// A staff session that was not used for so long has ended.
    StaffSessionIdle: "staff_session_idle", "minutes", 15, 1..=60, true;
    /// A staff session ends after so long, used or not.
    StaffSession: "staff_session", "hours", 10, 1..=24, true;
    /// A staff password must be changed after so long.
    StaffPasswordAge: "staff_password_age", "days", 90, 1..=365, true;
    /// Fewest characters of a staff password.
    StaffPasswordLength: "staff_password_length", "characters", 12, 8..=64, true;
    /// Longest session of an outlet's operator: one shift.
    TerminalSession: "terminal_session", "minutes", 720, 5..=1_440, false;
    /// A proposed change that nobody approved in so long is void.
    ChangeValidity: "change_validity", "days", 7, 1..=30, true;
}

impl Parameter {
    /// The parameter of a key.
    pub fn from_key(key: &str) -> Option<Self> {
        Parameter::ALL.iter().copied().find(|parameter| parameter.key() == key)
    }

    /// What is wrong with a value for a scope, in a sentence.
    pub fn fault(self, scope: ParameterScope, value: i64) -> Option<String> {
        let (min, max) = self.range();
        if self.is_province_wide() && scope != ParameterScope::Province {
            return Some(format!("{} is the same in the whole province", self.key()));
        }
        (!(min..=max).contains(&value)).then(|| format!("{} lies between {min} and {max} {}", self.key(), self.unit()))
    }

    /// The value in force at a time: the prefecture's own, else the province's, else the default.
    pub fn read(self, store: &Connection, scope: ParameterScope, at_ms: TimeMs) -> Result<i64, rusqlite::Error> {
        let sql = "SELECT value FROM parameter WHERE key = ?1 AND scope IN (0, ?2) AND effective_from_ms <= ?3 \
                   ORDER BY scope DESC, effective_from_ms DESC, seq DESC LIMIT 1";
        let value = store.prepare_cached(sql)?.query_row((self.key(), scope.number(), at_ms.ms()), |row| row.get(0));
        Ok(value.optional()?.unwrap_or(self.default_value()))
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::store::{MIGRATIONS, migrate};

    fn store() -> Connection {
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "projection", MIGRATIONS).unwrap();
        store
    }

    fn prefecture(code: u16) -> ParameterScope {
        ParameterScope::Prefecture(PrefectureCode::new(code).unwrap())
    }

    #[test]
    fn every_default_is_possible_and_every_key_is_one_parameters() {
        for parameter in Parameter::ALL {
            assert_eq!(parameter.fault(ParameterScope::Province, parameter.default_value()), None, "{parameter:?}");
            assert_eq!(Parameter::from_key(parameter.key()), Some(*parameter));
        }
        assert_eq!(Parameter::from_key("prize_fund"), None);
    }

    #[test]
    fn a_value_out_of_range_or_in_the_wrong_scope_has_a_fault() {
        let session = Parameter::TerminalSession;
        assert_eq!(session.fault(prefecture(1301), 60), None);
        for value in [i64::MIN, -1, 0, 4, 1_441, i64::MAX] {
            assert!(session.fault(ParameterScope::Province, value).is_some(), "{value}");
        }
        assert!(Parameter::StaffSession.fault(prefecture(1301), 8).is_some());
    }

    #[test]
    fn the_reader_agrees_with_a_plain_search_through_all_that_was_set() {
        let seed: u64 = std::env::var("JIKAI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        let rerun = format!("JIKAI_SEED={seed} cargo test -p jikai-schema parameter");
        let mut draw = StdRng::seed_from_u64(seed);
        let (store, mut set) = (store(), Vec::new());
        for seq in 1..=200_i64 {
            let (scope, from) = ([0_u16, 1301, 1302][draw.random_range(0..3)], draw.random_range(0..50_i64));
            let value = draw.random_range(5..=1_440_i64);
            let insert = "INSERT INTO parameter VALUES ('terminal_session', ?1, ?2, ?3, ?4, 'a', 'b')";
            store.execute(insert, (scope, from, seq, value)).unwrap();
            set.push((scope, from, seq, value));
        }
        for at in 0..60 {
            for scope in [ParameterScope::Province, prefecture(1301), prefecture(1303)] {
                let known = set.iter().filter(|(of, from, ..)| (*of == 0 || *of == scope.number()) && *from <= at);
                let plain = known.max_by_key(|(of, from, seq, _)| (*of, *from, *seq)).map_or(720, |(.., value)| *value);
                let read = Parameter::TerminalSession.read(&store, scope, TimeMs::from_ms(at)).unwrap();
                assert_eq!(read, plain, "at {at} in {scope:?}: {rerun}");
            }
        }
    }
}
