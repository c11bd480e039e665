//! Questions that change nothing, answered from read-only connections.

mod outlet;
mod packs;
mod sales;
mod statement;
mod stock;

pub use outlet::outlet_name;
pub use packs::{PackLine, packs_of};
pub use sales::{SALES_DAYS_MAX, SalesBy, SalesLine, sales_of};
pub use statement::{Cursor, StatementLine, StatementPage, statement};
pub use stock::{StockLine, stock_of};

use jikai_schema::projection::ProjectionError;

/// A question that was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] ProjectionError),
    /// A page mark that this node did not hand out.
    #[error("the page mark `{0}` was not handed out here")]
    BadCursor(String),
}

impl From<rusqlite::Error> for QueryError {
    fn from(error: rusqlite::Error) -> Self {
        QueryError::Store(error.into())
    }
}
