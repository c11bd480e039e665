//! Parameters: figures that the centre changes by maker and checker, from a day on, for the province or a part of it.
//!
//! The list is closed: a key that is not here cannot be set, and each has one reader, [`Parameter::read`].

use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::id::{GameCode, OutletClass, OutletId, PrefectureCode};
use crate::time::TimeMs;

/// For what part of the province a value holds. Of several that fit the narrowest goes first: game, class, prefecture,
/// province. Append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ParameterScope {
    /// All of it.
    Province,
    /// One prefecture.
    Prefecture(PrefectureCode),
    /// Outlets of one class.
    OutletClass(OutletClass),
    /// One game.
    Game(GameCode),
}

impl ParameterScope {
    /// The number under which it is stored: the narrower, the greater. 0 for the province, 4 digits for a prefecture,
    /// 10,001 to 10,009 for a class, from 1,000,000 for a game.
    pub const fn number(self) -> u32 {
        match self {
            ParameterScope::Province => 0,
            ParameterScope::Prefecture(code) => code.get() as u32,
            ParameterScope::OutletClass(class) => 10_000 + class.get() as u32,
            ParameterScope::Game(game) => 1_000_000 + game.packed(),
        }
    }
}

/// Where a value is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    prefecture: Option<PrefectureCode>,
    class: Option<OutletClass>,
    game: Option<GameCode>,
}

impl Place {
    /// Nowhere in particular.
    pub const PROVINCE: Place = Place { prefecture: None, class: None, game: None };

    /// At an outlet of a class.
    pub fn outlet(outlet: OutletId, class: OutletClass) -> Self {
        Place { prefecture: Some(outlet.prefecture()), class: Some(class), game: None }
    }

    /// There, for a game.
    #[must_use]
    pub fn with_game(self, game: GameCode) -> Self {
        Place { game: Some(game), ..self }
    }

    /// The stored numbers of the scopes that hold there; the province's in the place of those that do not apply.
    fn scopes(&self) -> [u32; 4] {
        let number = |scope: Option<ParameterScope>| scope.unwrap_or(ParameterScope::Province).number();
        [
            0,
            number(self.prefecture.map(ParameterScope::Prefecture)),
            number(self.class.map(ParameterScope::OutletClass)),
            number(self.game.map(ParameterScope::Game)),
        ]
    }
}

/// How narrow a parameter's values may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Narrowest {
    /// The same in the whole province.
    Province,
    /// By prefecture and outlet class.
    Outlet,
    /// By game too.
    Game,
}

/// All that was set of one parameter, to be asked often.
#[derive(Debug, Default)]
pub struct Settings {
    default: i64,
    /// Scope, first instant, position at the hub, value.
    set: Vec<(u32, i64, i64, i64)>,
}

impl Settings {
    /// Reads them.
    pub fn read(store: &Connection, parameter: Parameter) -> Result<Self, rusqlite::Error> {
        let mut statement =
            store.prepare_cached("SELECT scope, effective_from_ms, seq, value FROM parameter WHERE key = ?1")?;
        let rows =
            statement.query_map([parameter.key()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(Settings { default: parameter.default_value(), set: rows.collect::<Result<_, _>>()? })
    }

    /// The value in force at a place and time.
    pub fn at(&self, place: &Place, at_ms: TimeMs) -> i64 {
        let scopes = place.scopes();
        let holds = |(scope, from_ms, ..): &&(u32, i64, i64, i64)| scopes.contains(scope) && *from_ms <= at_ms.ms();
        let narrowest = self.set.iter().filter(holds).max_by_key(|(scope, from_ms, seq, _)| (*scope, *from_ms, *seq));
        narrowest.map_or(self.default, |(.., value)| *value)
    }
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $variant:ident: $key:literal, $unit:literal, $default:literal, $min:literal..=$max:literal, $narrowest:ident;)+) => {
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

            /// How narrow its values may be.
            pub const fn narrowest(self) -> Narrowest {
                match self { $(Parameter::$variant => Narrowest::$narrowest,)+ }
            }
        }
    };
}

parameters! {
    /// A staff session that was not used for so long has ended.
    StaffSessionIdle: "staff_session_idle", "minutes", 15, 1..=60, Province;
    /// A staff session ends after so long, used or not.
    StaffSession: "staff_session", "hours", 10, 1..=24, Province;
    /// A staff password must be changed after so long.
    StaffPasswordAge: "staff_password_age", "days", 90, 1..=365, Province;
    /// Fewest characters of a staff password.
    StaffPasswordLength: "staff_password_length", "characters", 12, 8..=64, Province;
    /// Longest session of an outlet's operator: one shift.
    TerminalSession: "terminal_session", "minutes", 720, 5..=1_440, Outlet;
    /// A proposed change that nobody approved in so long is void.
    ChangeValidity: "change_validity", "days", 7, 1..=30, Province;
    /// Highest prize that an outlet pays, where it is less than the game's own limit.
    OutletClaimLimit: "outlet_claim_limit", "fen", 1_000_000, 0..=1_000_000, Game;
    /// Facts about money are kept at least so long. Nothing deletes them before; nothing at all deletes them yet.
    RetentionMoney: "retention_money", "days", 1_826, 1_826..=36_500, Province;
    /// Files of the technical log, one a day, go after so long; read when a server starts.
    RetentionTechnical: "retention_technical", "days", 180, 180..=3_650, Province;
}

impl Parameter {
    /// The parameter of a key.
    pub fn from_key(key: &str) -> Option<Self> {
        Parameter::ALL.iter().copied().find(|parameter| parameter.key() == key)
    }

    /// What is wrong with a value for a scope, in a sentence.
    pub fn fault(self, scope: ParameterScope, value: i64) -> Option<String> {
        let (min, max) = self.range();
        let asked = match scope {
            ParameterScope::Province => Narrowest::Province,
            ParameterScope::Prefecture(_) | ParameterScope::OutletClass(_) => Narrowest::Outlet,
            ParameterScope::Game(_) => Narrowest::Game,
        };
        if asked > self.narrowest() {
            let allowed = match self.narrowest() {
                Narrowest::Province => "is the same in the whole province",
                _ => "differs by prefecture and outlet class only",
            };
            return Some(format!("{} {allowed}", self.key()));
        }
        (!(min..=max).contains(&value)).then(|| format!("{} lies between {min} and {max} {}", self.key(), self.unit()))
    }

    /// The value in force at a place and time. Whoever asks often keeps [`Settings`].
    pub fn read(self, store: &Connection, place: &Place, at_ms: TimeMs) -> Result<i64, rusqlite::Error> {
        let sql = "SELECT value FROM parameter WHERE key = ?1 AND scope IN (?2, ?3, ?4, ?5) AND effective_from_ms <= ?6 \
                   ORDER BY scope DESC, effective_from_ms DESC, seq DESC LIMIT 1";
        let [province, prefecture, class, game] = place.scopes();
        let asked = (self.key(), province, prefecture, class, game, at_ms.ms());
        let value = store.prepare_cached(sql)?.query_row(asked, |row| row.get(0));
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

    fn class(class: u8) -> OutletClass {
        OutletClass::new(class).unwrap()
    }

    fn game() -> GameCode {
        "G0201".parse().unwrap()
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
        let (class, game) = (ParameterScope::OutletClass(class(2)), ParameterScope::Game(game()));
        assert_eq!(session.fault(class, 60), None);
        assert_eq!(Parameter::OutletClaimLimit.fault(game, 500_000), None);
        for (parameter, scope, value) in
            [(Parameter::StaffSession, prefecture(1301), 8), (Parameter::StaffSession, class, 8), (session, game, 60)]
        {
            assert!(parameter.fault(scope, value).is_some(), "{parameter:?} {scope:?}");
        }
        assert!(Parameter::RetentionMoney.fault(ParameterScope::Province, 365).is_some(), "five years at least");
    }

    #[test]
    fn the_reader_agrees_with_a_plain_search_through_all_that_was_set() {
        let seed: u64 = std::env::var("JIKAI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        let rerun = format!("JIKAI_SEED={seed} cargo test -p jikai-schema parameter");
        let mut draw = StdRng::seed_from_u64(seed);
        let (store, mut set) = (store(), Vec::new());
        let scopes = [
            ParameterScope::Province,
            prefecture(1301),
            prefecture(1302),
            ParameterScope::OutletClass(class(1)),
            ParameterScope::OutletClass(class(2)),
            ParameterScope::Game(game()),
        ];
        for seq in 1..=300_i64 {
            let (scope, from) = (scopes[draw.random_range(0..scopes.len())], draw.random_range(20..70_i64));
            let value = draw.random_range(5..=1_440_i64);
            let insert = "INSERT INTO parameter VALUES ('outlet_claim_limit', ?1, ?2, ?3, ?4, 'a', 'b')";
            store.execute(insert, (scope.number(), from, seq, value)).unwrap();
            set.push((scope, from, seq, value));
        }
        let parameter = Parameter::OutletClaimLimit;
        let settings = Settings::read(&store, parameter).unwrap();
        let outlet = |id, of| Place::outlet(OutletId::new(id).unwrap(), class(of));
        let places = [
            Place::PROVINCE,
            outlet(13_010_001, 1),
            outlet(13_030_001, 2),
            outlet(13_030_001, 3),
            outlet(13_020_001, 3).with_game(game()),
            outlet(13_010_001, 1).with_game("G9999".parse().unwrap()),
        ];
        for at in 0..80 {
            for place in &places {
                let fits = |scope: &ParameterScope| match scope {
                    ParameterScope::Province => true,
                    ParameterScope::Prefecture(code) => place.prefecture == Some(*code),
                    ParameterScope::OutletClass(class) => place.class == Some(*class),
                    ParameterScope::Game(game) => place.game == Some(*game),
                };
                let known = set.iter().filter(|(of, from, ..)| fits(of) && *from <= at);
                let plain =
                    known.max_by_key(|(of, from, seq, _)| (*of, *from, *seq)).map_or(1_000_000, |(.., value)| *value);
                let at_ms = TimeMs::from_ms(at);
                assert_eq!(parameter.read(&store, place, at_ms).unwrap(), plain, "at {at} in {place:?}: {rerun}");
                assert_eq!(settings.at(place, at_ms), plain, "at {at} in {place:?}: {rerun}");
            }
        }
    }
}
