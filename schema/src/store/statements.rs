//! Statements that one transaction runs again and again.

use std::cell::{RefCell, RefMut};

use rusqlite::{CachedStatement, Connection};

/// A connection's statements, each fetched from its cache once: fetching costs as much as running a small one.
///
/// One statement is used at a time: [`Statements::get`] panics while an earlier borrow is alive.
pub struct Statements<'store> {
    store: &'store Connection,
    open: RefCell<Vec<(&'static str, CachedStatement<'store>)>>,
}

impl<'store> Statements<'store> {
    /// Nothing is fetched yet.
    pub fn new(store: &'store Connection) -> Self {
        Statements { store, open: RefCell::default() }
    }

    /// The store they run on.
    pub fn store(&self) -> &'store Connection {
        self.store
    }

    /// The statement of this text, for as long as it is borrowed.
    pub fn get(&self, sql: &'static str) -> Result<RefMut<'_, CachedStatement<'store>>, rusqlite::Error> {
        let mut open = self.open.borrow_mut();
        // The text's address tells it apart; a copy of the same text elsewhere is fetched once more, no harm done.
        let at = match open.iter().position(|(known, _)| std::ptr::eq(*known, sql)) {
            Some(at) => at,
            None => {
                open.push((sql, self.store.prepare_cached(sql)?));
                open.len() - 1
            }
        };
        Ok(RefMut::map(open, |open| &mut open[at].1))
    }
}
