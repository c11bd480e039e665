//! The area in which a request may act.

use std::collections::BTreeSet;

use jikai_schema::staff::Area;
use serde::Serialize;

/// Where a permission holds: everywhere, or in the union of some areas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// The whole province.
    Everywhere,
    /// Only there.
    Within(Areas),
}

/// Some areas; an outlet counts if any of them holds it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Areas {
    prefectures: BTreeSet<u16>,
    counties: BTreeSet<u32>,
    outlets: BTreeSet<u32>,
}

impl Scope {
    /// The union of some areas; `None` of none.
    pub fn of<'a>(areas: impl Iterator<Item = &'a Area>) -> Option<Self> {
        let mut union = Areas::default();
        let mut any = false;
        for area in areas {
            any = true;
            match area {
                Area::Province => return Some(Scope::Everywhere),
                Area::Prefecture(code) => drop(union.prefectures.insert(code.get())),
                Area::County(code) => drop(union.counties.insert(*code)),
                Area::Outlets(outlets) => union.outlets.extend(outlets.iter().map(|outlet| outlet.get())),
            }
        }
        any.then_some(Scope::Within(union))
    }

    /// Whether it is the whole province.
    pub fn is_everywhere(&self) -> bool {
        matches!(self, Scope::Everywhere)
    }

    /// The areas as the parameter of [`Scope::condition`]; `None` (SQL null) means everywhere.
    pub fn filter_json(&self) -> Option<String> {
        match self {
            Scope::Everywhere => None,
            Scope::Within(areas) => Some(serde_json::to_string(areas).expect("numbers can be written as JSON")),
        }
    }

    /// The SQL condition that an outlet's number, given by the expression `outlet`, lies within the areas of parameter
    /// `parameter`. The text is the same whatever the areas, so it is compiled once. A column named `outlet` must be
    /// written with its table, or the subquery would take its own.
    pub fn condition(outlet: &str, parameter: &str) -> String {
        let listed = |path: &str| format!("SELECT value FROM json_each({parameter}, '$.{path}')");
        format!(
            "({parameter} IS NULL OR ({outlet}) / 10000 IN ({}) OR ({outlet}) IN ({}) OR \
             (SELECT scoped.township / 1000 FROM outlet AS scoped WHERE scoped.outlet = ({outlet})) IN ({}))",
            listed("prefectures"),
            listed("outlets"),
            listed("counties")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jikai_schema::id::{OutletId, PrefectureCode};
    use rusqlite::Connection;

    fn held(scope: &Scope) -> Vec<i64> {
        let store = Connection::open_in_memory().unwrap();
        store
            .execute_batch(
                "CREATE TABLE outlet (outlet INTEGER PRIMARY KEY, township INTEGER); \
                 INSERT INTO outlet VALUES (13010001, 130102001), (13010002, 130104001), (13020001, 130202001)",
            )
            .unwrap();
        let sql = format!(
            "SELECT outlet FROM outlet AS listed WHERE {} ORDER BY outlet",
            Scope::condition("listed.outlet", "?1")
        );
        let mut statement = store.prepare(&sql).unwrap();
        statement.query_map([scope.filter_json()], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn a_condition_holds_exactly_the_outlets_of_its_areas() {
        let of = |areas: &[Area]| Scope::of(areas.iter()).unwrap();
        let prefecture = |code| Area::Prefecture(PrefectureCode::new(code).unwrap());
        let outlets = |ids: &[u32]| Area::Outlets(ids.iter().map(|id| OutletId::new(*id).unwrap()).collect());
        assert_eq!(held(&Scope::Everywhere), [13_010_001, 13_010_002, 13_020_001]);
        assert_eq!(held(&of(&[prefecture(1301)])), [13_010_001, 13_010_002]);
        assert_eq!(held(&of(&[Area::County(130_104)])), [13_010_002]);
        assert_eq!(held(&of(&[outlets(&[13_010_001, 13_030_001])])), [13_010_001]);
        assert_eq!(held(&of(&[Area::County(130_104), prefecture(1302)])), [13_010_002, 13_020_001]);
        assert_eq!(held(&of(&[prefecture(1304)])), [0; 0]);
        assert_eq!(Scope::of([prefecture(1301), Area::Province].iter()), Some(Scope::Everywhere));
        assert_eq!(Scope::of([].iter()), None);
    }
}
